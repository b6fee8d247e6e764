"""Set up one cell: its data on the device, its models, engines and meta-training batches."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path

import torch
from torch import Tensor, nn

from suite.algorithms.base import Algorithm
from suite.cell.batchnorm_statistics import PASSES
from suite.cell.evaluation import MetaTest, at_test
from suite.cell.meta_gradient import MetaGradient, MetaGradients
from suite.cell.training import OuterLoop, Source, context_at, transfer
from suite.config.cell import Cell, EvaluationProtocol, episode_stream, make_task
from suite.core import registry
from suite.core.episodes import Episodes
from suite.core.errors import UserError
from suite.core.streams import Stream
from suite.engines import selection
from suite.engines.base import Engine
from suite.models.base import build_model
from suite.records.provenance import NO_REPLAY
from suite.records.schema import EngineUse
from suite.tasks.base import EpisodeShape, Sampler, Task

#: Number of data sets that a process keeps in memory: with a class split for every seed there are
#: many, of 100 MB each.
KEPT = 2
#: Data that another process has read, by the task's identity; this machine may not have the files.
_given: dict[str, Sampler] = {}


def give(cell: Cell, sampler: Sampler) -> None:
    """Make `load` take the data of the cell's task from ``sampler``, not from files."""
    while len(_given) >= KEPT:
        del _given[next(iter(_given))]
    _given[cell.data_key()] = sampler


@lru_cache(maxsize=KEPT)
def _sampler(identity: str, data: Path | None, device: torch.device) -> Sampler:
    if identity in _given:
        return _given[identity].to(device)
    return make_task(json.loads(identity)).load(data, device)


def load(cell: Cell, data: Path | None, device: torch.device) -> Sampler:
    """Return the cell's data on the device, loaded once per process and checked for its shapes.

    Raises:
        UserError: data are missing or damaged, or have too few classes or drawings for the
            protocol.
    """
    sampler = _sampler(cell.data_key(), data, device)
    sampler.check(cell.protocol.train, "train")
    for evaluation in cell.protocol.evaluations:
        sampler.check(evaluation, evaluation.split)
    return sampler


def forget() -> None:
    """Free the data that `load` keeps in this process."""
    _sampler.cache_clear()


@dataclass
class CellSetup:
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
    replay: bool = True
    """Whether outer steps may be recorded and replayed, if that is faster."""

    @property
    def trains(self) -> bool:
        """Whether the cell meta-trains."""
        return self.algorithm.trains_on is not None and self.cell.protocol.train.steps > 0

    @cached_property
    def test(self) -> MetaTest:
        """Meta-test with the model that is adapted."""
        return MetaTest(self.engine, self.algorithm, self.task, self.sampler, self._seen)

    def _seen(self) -> Iterator[Tensor]:
        """Return the first support sets of meta-training, which running statistics need."""
        steps = max(1, self.cell.protocol.train.steps)
        sets = (x for step in itertools.count() for x in self.source.step(step % steps).support.x)
        return itertools.islice(sets, PASSES)

    @cached_property
    def batch(self) -> Episodes:
        """First meta-batch of episodes, also if the algorithm does not train on episodes."""
        train = self.cell.protocol.train
        stream = Stream("train", self.cell.seed)
        episodes = self.sampler.sample(stream, 0, train.meta_batch, train, "train")
        return episodes.to(self.engine.device, self.engine.dtype)

    @property
    def inner_stream(self) -> Stream:
        """Stream of the inner loops' own draws in meta-training."""
        return Stream("inner", self.cell.seed)

    def meta_gradients(self, replay: bool | None = None) -> MetaGradients:
        """Return the ways to compute the outer gradients; ``replay`` as in `MetaGradients`."""
        train = self.cell.protocol.train
        context = partial(context_at, self.inner_stream, train)
        replay = False if replay is None and not self.replay else replay
        return MetaGradients(
            self.trainer, self.algorithm, self.source.step, context, train.steps, replay
        )

    def outer_loop(self, gradient: MetaGradient | None = None) -> OuterLoop:
        """Return a new outer loop at the initial weights; by default it runs in this process."""
        return OuterLoop(
            self.trainer,
            self.algorithm,
            self.cell.protocol.train,
            self.trainer.layout.flatten(self.trainer.model),
            gradient or self.meta_gradients().choose(),
        )

    def adapted_from(self, theta: Tensor) -> Tensor:
        """Return the weights that episodes start from, given the trained ones."""
        return transfer(theta, self.trainer.layout, self.engine.layout, self.initial)


def check(cell: Cell, data: Path | None, device: torch.device) -> None:
    """Raise `UserError` if the cell's data, shapes or model are invalid; compute nothing."""
    load(cell, data, device)
    task, algorithm = cell.make_task(), cell.make_algorithm()
    if cell.protocol.train.loss == "per_shot" and task.kind == "regression":
        raise UserError(
            f"{cell.label}: the loss per_shot sums over the ways of a classification; "
            "set loss = 'mean'."
        )
    if cell.protocol.train.tasks is not None and algorithm.trains_on == "joint":
        raise UserError(
            f"{cell.label}: joint training pools all tasks and draws none once; leave tasks out."
        )
    for evaluation in cell.protocol.evaluations:
        if evaluation.by_class and not _says_classes(cell, evaluation, data, device):
            raise UserError(
                f"{cell.label}: episodes of {task.name} do not say which classes they have; leave "
                f"by_class of {evaluation.name!r} out."
            )
        if evaluation.batch_norm == "running" and at_test(algorithm, evaluation).inner_batch:
            raise UserError(
                f"{cell.label}: running statistics of {evaluation.name!r} see whole support sets; "
                "set its inner_batch = 0."
            )
    model = _model(cell, task, task.outputs(cell.protocol.evaluations[0]))
    if _smallest_batch(cell, algorithm) == 1:
        try:
            model(torch.zeros(1, *task.input_shape))
        except ValueError as error:  # batch norm has no variance of one value
            raise UserError(
                f"{cell.label}: batches of one example do not go with the model's batch norm "
                f"({error}); ask for more shots, or for another norm."
            ) from error


def _model(cell: Cell, task: Task, outputs: int) -> nn.Module:
    """Return the cell's model with a number of outputs, at its initial weights."""
    options = {k: v for k, v in cell.model.items() if k != "name"}
    stream = Stream("init", cell.seed)
    return build_model(cell.model["name"], options, task.input_shape, outputs, stream)


def _says_classes(
    cell: Cell, evaluation: EvaluationProtocol, data: Path | None, device: torch.device
) -> bool:
    sampler, stream = load(cell, data, device), episode_stream(cell.make_task(), evaluation)
    return sampler.sample(stream, 0, 1, evaluation, evaluation.split).classes is not None


def _smallest_batch(cell: Cell, algorithm: Algorithm) -> int:
    """Return the number of examples of the smallest batch that passes through the model."""
    train, sizes = cell.protocol.train, []
    if algorithm.trains_on == "episodes":
        sizes.append(algorithm.inner_batch or train.support_size)
        sizes += [train.query_size] if algorithm.query_loss else []
    for test in cell.protocol.evaluations:
        sizes.append(at_test(algorithm, test).inner_batch or test.support_size)
        sizes += [test.query_size] if test.batch_norm == "transductive" else []
    return min(sizes)


def set_up(cell: Cell, data: Path | None, device: torch.device) -> CellSetup:
    """Load the data and build models and engines of a cell."""
    torch.set_num_threads(cell.numerics.threads)
    # These settings affect only CUDA: the same bits every time, in full float32.
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    sampler = load(cell, data, device)
    task, algorithm = cell.make_task(), cell.make_algorithm()
    train = cell.protocol.train
    ways = float(train.ways) if train.loss == "per_shot" else 1.0
    outputs = task.outputs(cell.protocol.evaluations[0])
    joint = algorithm.trains_on == "joint"
    dtype = getattr(torch, cell.numerics.dtype)

    def engine_of(
        width: int, shape: EpisodeShape, scale: float
    ) -> tuple[Engine, selection.EngineChoice]:
        model = _model(cell, task, width)
        choice = selection.choose(
            cell.numerics.engine,
            model,
            task.loss,
            algorithm,
            shape,
            task.input_shape,
            width,
            scale,
            json.dumps(cell.model),
        )
        made = registry.engines.get(choice.name)(
            model,
            task.loss,
            loss_scale=scale,
            device=device,
            dtype=dtype,
        )
        return made, choice

    engine, choice = engine_of(outputs, train, ways)
    trainer = engine
    if joint and (sampler.joint_outputs() != outputs or ways != 1):
        # The record describes the engine that trained.
        trainer, choice = engine_of(sampler.joint_outputs(), train, 1.0)
    use = EngineUse(
        requested=cell.numerics.engine,
        used=choice.name,
        reason=choice.reason,
        self_check=choice.distance,
    )
    source = Source(sampler, train, Stream("train", cell.seed), joint, trainer)
    initial = engine.layout.flatten(engine.model)
    return CellSetup(
        cell,
        device,
        sampler,
        task,
        algorithm,
        engine,
        trainer,
        use,
        initial,
        source,
        replay=NO_REPLAY not in os.environ,
    )
