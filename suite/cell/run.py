"""Run one cell: load, meta-train, meta-test, time, and return the record."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from suite.cell.setup import CellSetup, set_up
from suite.cell.timed_parts import time_parts
from suite.cell.timing import Clock, synchronise
from suite.cell.training import Curves, Diverged, OuterLoop, curve_points
from suite.cell.workers import CellWorkers
from suite.config.cell import Cell, EvaluationProtocol
from suite.core import signals
from suite.core.episodes import EpisodeContext
from suite.core.errors import UserError
from suite.records.checkpoint import Checkpoint
from suite.records.files import Arrays, arrays_sha256
from suite.records.provenance import current_provenance, source_sha256
from suite.records.schema import (
    ArrayNames,
    Curve,
    EvaluationResult,
    Provenance,
    Record,
    Results,
    result_sha256,
)

#: Function of (outer steps done, outer steps in all, phase), called while a cell runs.
Report = Callable[[int, int, str], None]


#: Seconds of training from which a checkpoint is written at its end, whatever the interval.
WORTH_KEEPING = 5.0


def silent(done: int, steps: int, phase: str) -> None:
    """Report nothing."""


def nothing() -> None:
    """Do nothing."""


def run_cell(
    cell: Cell,
    profile: str,
    data: Path | None,
    device: torch.device,
    report: Report = silent,
    alone: bool = True,
    checkpoint: Checkpoint | None = None,
    pause: Callable[[], None] = nothing,
) -> tuple[Record, Arrays]:
    """Compute a cell, continuing from its ``checkpoint`` if it exists; return record and arrays.

    Args:
        cell: cell to compute.
        profile: name of the profile, for the record.
        data: folder of data sets.
        device: device on which to compute.
        report: function that is told how far the cell is.
        alone: whether the cell has the device to itself, so that its times mean something.
        checkpoint: checkpoint of its training; by default none is read or written.
        pause: function that is called after each outer step.

    Raises:
        UserError: the cell cannot be computed with these data on this device.
        Stopped: a signal came; the checkpoint is written, if one is requested.
    """
    came_from = current_provenance(device, cell.numerics.threads)
    setup = set_up(cell, data, device)
    with CellWorkers(setup) as workers:
        threads = cell.numerics.threads * len(workers)
        came_from = came_from.model_copy(update={"threads": threads})
        keeper = checkpoint or Checkpoint()
        keeper.identity = _identity(setup, came_from)
        return _run(setup, workers, profile, came_from, report, alone, keeper, pause)


def _identity(setup: CellSetup, came_from: Provenance) -> dict[str, Any]:
    """Return all that decides bits: a run continues only from a checkpoint with the same values."""
    libraries = ("python", "torch", "numpy", "cuda", "higher")
    parts = (setup.algorithm, setup.task, setup.trainer.model)
    return {
        "training": setup.cell.curve_sha256(),
        "engine": setup.use.used,
        "processor": came_from.processor,
        "accelerator": came_from.accelerator,
        "libraries": [came_from.versions.get(name) for name in libraries],
        "source": source_sha256(*parts),
        "initial weights": _sha256(setup.initial),
        "data": setup.sampler.data_sha256,
    }


def _run(
    setup: CellSetup,
    workers: CellWorkers,
    profile: str,
    came_from: Provenance,
    report: Report,
    alone: bool,
    checkpoint: Checkpoint,
    pause: Callable[[], None],
) -> tuple[Record, Arrays]:
    cell, curves = setup.cell, Curves()
    base: dict[str, Any] = {
        "profile": profile,
        "sha256": cell.sha256(),
        "training_sha256": cell.training_sha256(),
        "cell": cell,
        "engine": setup.use,
        "provenance": came_from,
    }
    try:
        theta, carried, seconds = _train(setup, workers, curves, report, checkpoint, pause)
    except Diverged as reason:
        without: dict[str, Any] = {
            "results": None,
            "result_sha256": None,
            "timing": None,
            "memory": workers.peak(),
        }
        return Record(status="diverged", reason=str(reason), **base, **without), {}
    base["provenance"] = came_from.model_copy(update={"resumed": curves.resumed})
    trained = time.perf_counter()
    context = EpisodeContext(setup.inner_stream.child("test"), inner_state=carried)
    arrays, evaluations = _evaluate(setup, workers, theta, context, report)
    evaluated = time.perf_counter()
    results = Results(
        evaluations=evaluations,
        curve=Curve(
            steps=curves.steps,
            train_loss=curves.train_loss,
            validation=curves.validation,
            validation_split=(
                "validation" if any(v is not None for v in curves.validation) else None
            ),
        ),
        parameters=setup.engine.layout.size,
        initial_sha256=_sha256(setup.engine.layout.natural(setup.initial[None])),
        weights_sha256=_sha256(setup.engine.layout.natural(theta[None])),
        data_sha256=setup.sampler.data_sha256,
        arrays_sha256=arrays_sha256(arrays),
    )
    # Memory is read before parts and ceiling are timed, because these take memory of their own.
    memory = workers.peak()
    timing = time_parts(setup, workers, theta, context, seconds, evaluated - trained, alone)
    if setup.trains:
        how = {"mode": workers.gradient.mode, "mode_reason": workers.gradient.reason}
        base["engine"] = setup.use.model_copy(update=how)
    record = Record(
        status="done",
        **base,
        results=results,
        result_sha256=result_sha256(results),
        timing=timing.model_copy(update={"matrix_product_rate": workers.ceiling()}),
        memory=memory,
    )
    return record, arrays


def _train(
    setup: CellSetup,
    workers: CellWorkers,
    curves: Curves,
    report: Report,
    checkpoint: Checkpoint,
    pause: Callable[[], None],
) -> tuple[Tensor, Tensor | None, float]:
    """Meta-train the cell.

    Returns:
        The weights (P,) from which episodes are adapted, the state in which their inner optimiser
        starts, and the seconds of training without learning curves.
    """
    protocol, steps = setup.cell.protocol, setup.cell.protocol.train.steps
    if not setup.trains:
        return setup.initial, setup.algorithm.initial_inner_state(setup.engine), 0.0
    loop = setup.outer_loop(workers.gradient)
    points = set(curve_points(steps, protocol.curve_points))
    watched = sorted(points | set(curve_points(steps, 100)))
    validation = _validation(setup)
    clock = _resume(loop, curves, checkpoint)
    began = clock.seconds

    def visit(done: int, losses: Tensor | None) -> None:
        report(done, steps, "training")
        if losses is not None:
            curves.window.append(losses)
        if done and done not in points:
            return
        with clock.stopped():
            curves.steps.append(done)
            curves.train_loss.append(float(torch.cat(curves.window).mean()) if done else None)
            curves.window.clear()
            curves.validation.append(
                None if validation is None else _validate(setup, workers, loop, validation)
            )

    def save() -> None:
        synchronise(setup.device)  # steps that still run are part of training
        with clock.stopped():
            state, arrays = curves.state()
            arrays |= {f"loop/{name}": value.numpy() for name, value in loop.state().items()}
            checkpoint.save({"done": loop.done, "seconds": clock.seconds, **state}, arrays)

    def between() -> None:
        if checkpoint.due() or signals.stop_requested():
            save()
            signals.raise_if_requested()
        pause()

    with signals.deferring():
        loop.run(watched, visit, between)
        if checkpoint.keep or clock.seconds - began >= min(checkpoint.every, WORTH_KEEPING):
            save()  # the tests that follow may also be stopped
    return setup.adapted_from(loop.theta), loop.inner_state, clock.seconds


def _resume(loop: OuterLoop, curves: Curves, checkpoint: Checkpoint) -> Clock:
    """Restore the state of a checkpoint, and return a clock that includes the time before it."""
    found = checkpoint.load()
    if found is None:
        return Clock()
    state, arrays = found
    tensors = {name: torch.from_numpy(value) for name, value in arrays.items()}
    loop.restore(
        state["done"],
        {k.removeprefix("loop/"): v for k, v in tensors.items() if k.startswith("loop/")},
    )
    curves.restore(state, tensors["window"].to(loop.engine.device))
    return Clock(state["seconds"])


def _validation(setup: CellSetup) -> EvaluationProtocol | None:
    """Return the evaluation of the learning curve, if the task has a validation split."""
    protocol = setup.cell.protocol
    if protocol.curve_points == 0:
        return None
    # It is like the first test: learning curves must compare the same quantity for all algorithms.
    like = protocol.evaluations[0]
    validation = EvaluationProtocol(
        name="validation",
        split="validation",
        ways=like.ways,
        shots=like.shots,
        query_shots=like.query_shots,
        episodes=max(2, protocol.curve_episodes),
        steps=like.headline,
        batch_norm=like.batch_norm,
        inner_batch=like.inner_batch,
        rotations=like.rotations,
    )
    try:
        setup.sampler.check(validation, "validation")
    except UserError:
        return None
    return validation


def _validate(
    setup: CellSetup, workers: CellWorkers, loop: OuterLoop, protocol: EvaluationProtocol
) -> float | None:
    context = EpisodeContext(setup.inner_stream.child("validation"), inner_state=loop.inner_state)
    scores = workers.scores(setup.adapted_from(loop.theta), protocol, context, last=True)
    return _finite(float(scores.values[:, -1].mean(dtype=np.float64)))


def _evaluate(
    setup: CellSetup, workers: CellWorkers, theta: Tensor, context: EpisodeContext, report: Report
) -> tuple[Arrays, dict[str, EvaluationResult]]:
    steps = setup.cell.protocol.train.steps
    arrays: Arrays = {}
    found: dict[str, EvaluationResult] = {}
    for protocol in setup.cell.protocol.evaluations:
        report(steps, steps, f"evaluating {protocol.name}")
        scores = workers.scores(theta, protocol, context)
        arrays[ArrayNames.SCORES + protocol.name] = scores.values
        if scores.by_class is not None:
            arrays |= {
                f"{ArrayNames.BY_CLASS}{protocol.name}/{name}": values
                for name, values in vars(scores.by_class).items()
            }
        found[protocol.name] = summarise(
            setup.task.metric, protocol, scores.values, scores.episodes_sha256
        )
    first = setup.cell.protocol.evaluations[0]
    arrays |= setup.test.probe(theta, first, context)
    return arrays, found


def summarise(
    metric: str, protocol: EvaluationProtocol, scores: np.ndarray, episodes_sha256: str
) -> EvaluationResult:
    """Return the summary of scores (episodes, scored steps) that the record's JSON holds."""
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


def _sha256(tensor: Tensor) -> str:
    return hashlib.sha256(tensor.detach().cpu().contiguous().numpy().tobytes()).hexdigest()


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
