"""Run one cell: load, meta-train, meta-test, time, and say it all in a record."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from suite import registry
from suite.algorithms.base import Algorithm, Draws
from suite.config import Cell, EvaluationProtocol, make_task
from suite.engines import selection
from suite.engines.base import Engine
from suite.errors import UserError
from suite.evaluation import adapted_scores, episode_stream, evaluate, probe
from suite.models.base import build
from suite.provenance import provenance
from suite.records.schema import (
    Curve,
    EngineUse,
    EvaluationResult,
    Record,
    Results,
    Timing,
    result_sha256,
)
from suite.records.store import Arrays, arrays_sha256
from suite.streams import Stream
from suite.tasks.base import EpisodeShape, Sampler, Task
from suite.timing import PeakMemory, count_flops, measure
from suite.training import Curves, Diverged, OuterLoop, Source, curve_points, transfer

#: Called with (outer steps done, outer steps in all, phase) while a cell runs.
Report = Callable[[int, int, str], None]


def silent(done: int, steps: int, phase: str) -> None:
    """Report nothing."""


@lru_cache(maxsize=4)
def _sampler(identity: str, data: Path | None, device: torch.device) -> Sampler:
    return make_task(json.loads(identity)).load(data, device)


def load(cell: Cell, data: Path | None, device: torch.device) -> Sampler:
    """Return the cell's data on the device, loaded once a process, checked against its shapes.

    Raises:
        UserError: data missing or broken, or too few classes or drawings for the protocol.
    """
    sampler = _sampler(json.dumps(cell.task), data, device)
    if cell.make_algorithm().trains_on is not None:
        sampler.check(cell.protocol.train, "train")
    for evaluation in cell.protocol.evaluations:
        sampler.check(evaluation, evaluation.split)
    return sampler


@dataclass
class Bench:
    """A cell set up: its task, engines, initial weights and meta-training batches."""

    cell: Cell
    device: torch.device
    sampler: Sampler
    task: Task
    algorithm: Algorithm
    engine: Engine
    trainer: Engine
    use: EngineUse
    initial: Tensor
    source: Source

    @property
    def inner_draws(self) -> Stream:
        """Stream of the inner loops' own draws in meta-training."""
        return Stream("inner", self.cell.seed)

    def outer_loop(self) -> OuterLoop:
        """Return a fresh outer loop at the initial weights."""
        return OuterLoop(
            self.trainer,
            self.algorithm,
            self.cell.protocol.train,
            self.trainer.layout.flatten(self.trainer.model),
            self.source,
            self.inner_draws,
        )

    def adapted_from(self, theta: Tensor) -> Tensor:
        """Return the weights that episodes start from, given the trained ones."""
        return transfer(theta, self.trainer.layout, self.engine.layout, self.initial)


def set_up(cell: Cell, data: Path | None, device: torch.device) -> Bench:
    """Load the data and build models and engines of a cell."""
    torch.set_num_threads(cell.numerics.threads)
    sampler = load(cell, data, device)
    task, algorithm = cell.make_task(), cell.make_algorithm()
    train = cell.protocol.train
    scale = float(train.ways) if train.loss == "per_shot" else 1.0
    outputs = task.outputs(cell.protocol.evaluations[0])
    joint = algorithm.trains_on == "joint"
    dtype = getattr(torch, cell.numerics.dtype)

    def engine_of(width: int, shape: EpisodeShape) -> tuple[Engine, selection.Choice]:
        options = {k: v for k, v in cell.model.items() if k != "name"}
        model = build(
            cell.model["name"], options, task.input_shape, width, Stream("init", cell.seed)
        )
        choice = selection.choose(
            cell.numerics.engine, model, task.loss, algorithm, shape, task.input_shape, width, scale
        )
        made = registry.engines.get(choice.name)(
            model,
            task.loss,
            loss_scale=scale,
            device=device,
            dtype=dtype,
            shards=cell.numerics.shards,
        )
        return made, choice

    engine, choice = engine_of(outputs, train)
    trainer = engine
    if joint and sampler.joint_outputs() != outputs:
        trainer, _ = engine_of(sampler.joint_outputs(), train)
    use = EngineUse(
        requested=cell.numerics.engine,
        used=choice.name,
        reason=choice.reason,
        self_check=choice.distance,
    )
    source = Source(sampler, train, Stream("train", cell.seed), joint, trainer)
    initial = engine.layout.flatten(engine.model)
    return Bench(cell, device, sampler, task, algorithm, engine, trainer, use, initial, source)


def run_cell(
    cell: Cell,
    profile: str,
    data: Path | None,
    device: torch.device,
    report: Report = silent,
    alone: bool = True,
) -> tuple[Record, Arrays]:
    """Compute a cell and return its record and arrays.

    Raises:
        UserError: the cell cannot be computed with these data on this device.
    """
    came_from = provenance(device, cell.numerics.threads)
    bench = set_up(cell, data, device)
    memory = PeakMemory(device)
    curves = Curves()
    base: dict[str, Any] = {
        "profile": profile,
        "sha256": cell.sha256(),
        "training_sha256": cell.training_sha256(),
        "cell": cell,
        "engine": bench.use,
        "provenance": came_from,
    }
    start = time.perf_counter()
    try:
        theta = _train(bench, curves, report)
    except Diverged as reason:
        nothing: dict[str, Any] = {
            "results": None,
            "result_sha256": None,
            "timing": None,
            "memory": memory.read(),
        }
        return Record(status="diverged", reason=str(reason), **base, **nothing), {}
    trained = time.perf_counter()
    arrays, evaluations = _evaluate(bench, theta, report)
    evaluated = time.perf_counter()
    results = Results(
        evaluations=evaluations,
        curve=Curve(
            steps=curves.steps,
            train_loss=curves.train_loss,
            validation=curves.validation,
            validation_split="validation" if any(curves.validation) else None,
        ),
        parameters=bench.engine.layout.size,
        initial_sha256=_sha256(bench.initial),
        weights_sha256=_sha256(theta),
        data_sha256=bench.sampler.data_sha256,
        arrays_sha256=arrays_sha256(arrays),
    )
    record = Record(
        status="done",
        **base,
        results=results,
        result_sha256=result_sha256(results),
        timing=_timing(bench, theta, trained - start, evaluated - trained, alone),
        memory=memory.read(),
    )
    return record, arrays


def _train(bench: Bench, curves: Curves, report: Report) -> Tensor:
    """Meta-train and return the weights (P,) from which episodes adapt."""
    protocol, steps = bench.cell.protocol, bench.cell.protocol.train.steps
    if bench.algorithm.trains_on is None or steps == 0:
        return bench.initial
    loop = bench.outer_loop()
    points = set(curve_points(steps, protocol.curve_points))
    watched = sorted(points | set(curve_points(steps, 100)))
    validation = _validation(bench)

    def visit(done: int, loss: float | None) -> None:
        report(done, steps, "training")
        window.append(loss)
        if done and done not in points:
            return
        seen = [value for value in window if value is not None]
        window.clear()
        curves.steps.append(done)
        curves.train_loss.append(float(np.mean(seen)) if seen else None)
        curves.validation.append(
            None if validation is None else _validate(bench, loop.theta, validation)
        )

    window: list[float | None] = []
    loop.run(watched, visit)
    return bench.adapted_from(loop.theta)


def _validation(bench: Bench) -> EvaluationProtocol | None:
    """Return the evaluation behind the learning curve, where the task has such a split."""
    protocol = bench.cell.protocol
    if protocol.curve_points == 0:
        return None
    like = protocol.evaluations[0]
    validation = EvaluationProtocol(
        name="validation",
        split="validation",
        ways=like.ways,
        shots=protocol.train.shots,
        query_shots=like.query_shots,
        episodes=max(2, protocol.curve_episodes),
        steps=max(1, bench.algorithm.inner_steps),
        batch_norm=like.batch_norm,
    )
    try:
        bench.sampler.check(validation, "validation")
    except UserError:
        return None
    return validation


def _validate(bench: Bench, theta: Tensor, protocol: EvaluationProtocol) -> float | None:
    scores = evaluate(
        bench.engine,
        bench.algorithm,
        bench.adapted_from(theta),
        bench.task,
        bench.sampler,
        protocol,
        bench.inner_draws.child("validation"),
    )
    return _finite(float(scores.values[:, -1].mean(dtype=np.float64)))


def _evaluate(
    bench: Bench, theta: Tensor, report: Report
) -> tuple[Arrays, dict[str, EvaluationResult]]:
    steps = bench.cell.protocol.train.steps
    draws = bench.inner_draws.child("test")
    arrays: Arrays = {}
    found: dict[str, EvaluationResult] = {}
    for protocol in bench.cell.protocol.evaluations:
        report(steps, steps, f"evaluating {protocol.name}")
        scores = evaluate(
            bench.engine, bench.algorithm, theta, bench.task, bench.sampler, protocol, draws
        )
        arrays[f"scores/{protocol.name}"] = scores.values
        found[protocol.name] = summarise(
            bench.task.metric, protocol, scores.values, scores.episodes_sha256
        )
    first = bench.cell.protocol.evaluations[0]
    arrays |= probe(bench.engine, bench.algorithm, theta, bench.task, bench.sampler, first, draws)
    return arrays, found


def summarise(
    metric: str, protocol: EvaluationProtocol, scores: np.ndarray, episodes_sha256: str
) -> EvaluationResult:
    """Return the summary of scores (episodes, steps + 1) that the record's JSON holds."""
    values = scores.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        columns = [values.mean(0), np.median(values, axis=0), values.std(0, ddof=1)]
    mean, median, std = ([_finite(float(v)) for v in column] for column in columns)
    return EvaluationResult(
        metric=metric,  # type: ignore[arg-type]
        episodes=len(scores),
        episodes_sha256=episodes_sha256,
        headline_step=protocol.headline,
        mean=mean,
        median=median,
        std=std,
        diverged=(~np.isfinite(values)).sum(0).tolist(),
    )


def _timing(bench: Bench, theta: Tensor, training: float, evaluation: float, alone: bool) -> Timing:
    """Time the parts of the cell again, each apart, on its own first meta-batch."""
    train, device = bench.cell.protocol.train, bench.device
    algorithm, engine = bench.algorithm, bench.engine
    sampling = outer = inner = flops = None
    draws = Draws(bench.inner_draws)
    if algorithm.trains_on is not None and train.steps:
        ahead = max(1, min(16, train.steps))
        drawn = measure(
            f"drawing {ahead} meta-batches in one go, divided by {ahead}",
            lambda: bench.source.draw(0, ahead),
            device,
        )
        share = {k: getattr(drawn, k) / ahead for k in ("median", "q1", "q3")}
        sampling = drawn.model_copy(update=share)
        loop, batch = bench.outer_loop(), bench.source.step(0)
        outer = measure("one outer step: meta-gradient and optimiser", _outer(loop, batch), device)
        flops = count_flops(_outer(loop, batch))
    if algorithm.inner_steps:
        episodes = bench.sampler.sample(
            Stream("train", bench.cell.seed), 0, train.meta_batch, train, "train"
        ).to(engine.device, engine.dtype)

        def adapt() -> None:
            with torch.no_grad():
                path = algorithm.adapt(
                    engine, bench.initial, episodes.support, algorithm.inner_steps, draws
                )
                for _ in path:
                    pass

        inner = measure(
            f"adaptation of {train.meta_batch} episodes by {algorithm.inner_steps} steps",
            adapt,
            device,
        )
    protocol = bench.cell.protocol.evaluations[0]
    count = min(4, protocol.episodes)
    tested = bench.sampler.sample(
        episode_stream(bench.task, protocol), 0, count, protocol, protocol.split
    ).to(engine.device, engine.dtype)

    def test() -> None:
        for _ in adapted_scores(engine, algorithm, theta, bench.task, tested, protocol, draws):
            pass

    tested_in = measure(
        f"adapting to {count} test episodes by {protocol.steps} steps, scored at every step, "
        f"divided by {count}",
        test,
        device,
    )
    share = {k: getattr(tested_in, k) / count for k in ("median", "q1", "q3")}
    return Timing(
        inner_loop=inner,
        outer_step=outer,
        sampling=sampling,
        evaluation=tested_in.model_copy(update=share),
        training_seconds=training,
        evaluation_seconds=evaluation,
        flops_per_outer_step=flops,
        alone=alone,
    )


def _outer(loop: OuterLoop, batch: object) -> Callable[[], object]:
    return lambda: loop.step(0, batch)  # type: ignore[arg-type]


def _sha256(tensor: Tensor) -> str:
    return hashlib.sha256(tensor.detach().cpu().contiguous().numpy().tobytes()).hexdigest()


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
