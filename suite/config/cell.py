"""Validated protocols and cells.

A cell is a complete description of one computation, identified by the hash of that description.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from suite.algorithms.base import Algorithm
from suite.core import registry
from suite.core.component import Strict, added_field, validated
from suite.core.errors import UserError
from suite.core.streams import Stream
from suite.core.version import COMMON, RESULTS_VERSION
from suite.tasks.base import EpisodeShape, Split, Task


class TrainProtocol(EpisodeShape):
    """Settings of meta-training that can change a number: episodes, steps, loss and clip.

    ``loss`` ``per_shot`` sums the cross-entropy over the examples and divides by shots, as MAML's
    code does (utils.py:56-58). It thus multiplies the given inner rate by the number of ways;
    ``mean`` does not.
    """

    meta_batch: int = Field(ge=1)
    steps: int = Field(ge=0)
    loss: Literal["mean", "per_shot"] = "mean"
    clip: float | None = Field(None, gt=0)
    """Element-wise bound on the outer gradient; none by default."""

    @field_validator("tasks")
    @classmethod
    def _drawn(cls, tasks: int | str | None) -> int | str | None:
        if isinstance(tasks, str):
            raise ValueError("the tasks of training are drawn; give their number, or leave it out")
        return tasks

    @property
    def outer_scale(self) -> float:
        """Factor of the outer gradient: MAML's code also divides the query loss by shots."""
        return self.query_shots / self.shots if self.loss == "per_shot" else 1.0


class EvaluationProtocol(EpisodeShape):
    """One meta-test: its episodes, the number of inner steps, and the step of the headline.

    ``batch_norm`` ``transductive`` normalises the query images with each other; ``support``
    classifies each query image in a batch with the whole support set (Reptile, reptile.py:129);
    ``running`` normalises with running statistics (see `suite.cell.batchnorm_statistics`).
    """

    name: str = Field(pattern=r"^[^.]+$")
    """Name without dots, because dots separate the parts of an item's path."""
    split: Split = "test"
    episodes: int = Field(ge=2)
    steps: int = Field(ge=0)
    report_step: int = Field(-1, ge=-1)
    """Inner step whose score is the headline; -1 means the last."""
    batch_norm: Literal["transductive", "support", "running"] = "transductive"
    inner_batch: int | None = added_field(None, ge=0)
    """Number of examples in an inner mini-batch here, instead of the algorithm's; 0 takes all."""
    scored: Annotated[tuple[int, ...], Field(min_length=1)] | None = added_field(None)
    """Inner steps after which the query set is scored; ``report_step`` must be one of them; all
    steps by default."""
    by_class: bool = added_field(False)
    """Whether the hits of each class are kept, in addition to the episodes' scores."""

    @field_validator("tasks")
    @classmethod
    def _of_a_paper(cls, tasks: int | str | None) -> int | str | None:
        if isinstance(tasks, int):
            raise ValueError("a test has its episodes; name a paper whose tasks they are")
        return tasks

    @property
    def headline(self) -> int:
        """Inner step whose score the tables show."""
        return self.steps if self.report_step == -1 else self.report_step

    @property
    def scored_steps(self) -> tuple[int, ...]:
        """Inner steps after which the query set is scored, in order."""
        return tuple(range(self.steps + 1)) if self.scored is None else self.scored

    def column(self, step: int) -> int:
        """Return the index of an inner step among those that are scored."""
        return self.scored_steps.index(step)


def episode_stream(task: Task, protocol: EvaluationProtocol) -> Stream:
    """Return the stream of the test episodes.

    Its names are only data, split, ways and shots. The test set is therefore the same for all
    settings of algorithms, seeds and devices, and one query image is a prefix of fifteen.
    """
    identity = ",".join(f"{k}={v}" for k, v in sorted(task.data_identity().items()))
    return Stream("test", identity, protocol.split, protocol.ways, protocol.shots)


class Protocol(Strict):
    """All settings that can change a number and are not part of the algorithm."""

    train: TrainProtocol
    evaluations: tuple[EvaluationProtocol, ...] = Field(min_length=1)
    curve_points: int = Field(10, ge=0)
    """Number of samples of the learning curve, on meta-validation episodes."""
    curve_episodes: int = Field(50, ge=1)

    @model_validator(mode="after")
    def _same_ways(self) -> Protocol:
        for evaluation in self.evaluations:
            if evaluation.ways != self.train.ways:
                raise ValueError(
                    f"evaluation {evaluation.name!r} has {evaluation.ways} ways and training "
                    f"{self.train.ways}; one model has one number of outputs"
                )
        return self

    @field_validator("evaluations")
    @classmethod
    def _checked(
        cls, evaluations: tuple[EvaluationProtocol, ...]
    ) -> tuple[EvaluationProtocol, ...]:
        names = [evaluation.name for evaluation in evaluations]
        if len(set(names)) < len(names):
            raise ValueError("two evaluations have one name")
        for evaluation in evaluations:
            if evaluation.report_step > evaluation.steps:
                raise ValueError(
                    f"report_step {evaluation.report_step} of {evaluation.name!r} is beyond its "
                    f"{evaluation.steps} steps"
                )
            steps = list(evaluation.scored_steps)
            within = steps == sorted(set(steps)) and 0 <= steps[0] <= steps[-1] <= evaluation.steps
            if not within or evaluation.headline not in steps:
                raise ValueError(
                    f"scored of {evaluation.name!r} are different steps in order, from 0 to "
                    f"{evaluation.steps}, and its report_step {evaluation.headline} is one of them"
                )
        return evaluations


class Numerics(Strict):
    """How a cell is computed: part of its description, because it can change the last bits."""

    device: str
    engine: str = "auto"
    threads: int = Field(1, ge=1)
    """Number of threads of the library's operations; more than one only with one process."""
    shards: int = Field(1, ge=1)
    """Number of processes that divide the episodes on the CPU, which changes no bit."""
    dtype: Literal["float32", "float64"] = "float32"


class Cell(Strict):
    """Algorithm x task x seed x device under one protocol: a pure function of this description.

    ``experiment`` and ``variant`` are its names in tables and do not enter the hash.
    """

    experiment: str
    variant: str
    algorithm: dict[str, Any]
    task: dict[str, Any]
    model: dict[str, Any]
    seed: int
    protocol: Protocol
    numerics: Numerics
    results_version: str = RESULTS_VERSION
    versions: dict[str, int] = added_field({})
    """Versions of parts that are not 1: ``algorithm``, ``task``, ``model`` or one of `COMMON`."""

    @property
    def label(self) -> str:
        """Readable name, unique within a profile."""
        return f"{self.experiment}--{self.variant}--seed{self.seed}--{self.numerics.device}"

    def description(self) -> dict[str, Any]:
        """Return all that the computation depends on, as JSON values."""
        return self.model_dump(mode="json", exclude={"experiment", "variant"})

    def sha256(self) -> str:
        """Return the hash that names this cell."""
        return digest(self.description())

    def bits_sha256(self) -> str:
        """Return the hash of all that decides the results, without the number of processes."""
        description = self.description()
        del description["numerics"]["shards"]
        return digest(description)

    def training_sha256(self) -> str:
        """Return the hash of only the training: cells with the same hash have the same weights."""
        description = self.description()
        del description["protocol"]["evaluations"]
        return digest(description)

    def curve_sha256(self) -> str:
        """Return the hash of the training and of the evaluation that its learning curve follows.

        Cells with the same hash differ only in their other tests.
        """
        description = self.description()
        del description["protocol"]["evaluations"][1:]
        return digest(description)

    def data_key(self) -> str:
        """Return the key of the cell's data: its task, with the split of its seed, as JSON."""
        return json.dumps(self.make_task().identity())

    def make_algorithm(self) -> Algorithm:
        """Build the algorithm from its recorded parameters."""
        return make_algorithm(self.algorithm)

    def make_task(self) -> Task:
        """Build the task from its recorded parameters, with the split of this seed."""
        return make_task(self.task).for_seed(self.seed)


def results_versions(cell: Cell) -> dict[str, str]:
    """Return the versions of the numbers of all parts of a cell, by the part's name."""
    parts = {part: getattr(cell, part)["name"] for part in ("algorithm", "task", "model")}
    versions = {f"{part} {name}": cell.versions.get(part, 1) for part, name in parts.items()}
    versions |= {part: cell.versions.get(part, 1) for part in COMMON}
    return {"results": cell.results_version} | {p: str(v) for p, v in versions.items()}


def newer_parts(cell: Cell) -> list[str]:
    """Say which parts of a cell have a newer version now, such as ``task glyphs is now version 2``.

    A part whose plug-in is not loaded is left out.
    """
    names = {"algorithm": cell.algorithm, "task": cell.task, "model": cell.model}
    newer = []
    for part, version in versions_of(*(one["name"] for one in names.values())).items():
        if version > cell.versions.get(part, 1):
            name = f"{part} {names[part]['name']}" if part in names else part
            newer.append(f"{name} is now version {version}")
    return newer


def versions_of(algorithm: str, task: str, model: str) -> dict[str, int]:
    """Return the present versions of the parts of a cell that are not 1, by part."""
    parts = {
        "algorithm": registry.algorithms.find(algorithm),
        "task": registry.tasks.find(task),
        "model": registry.models.find(model),
    }
    versions = {part: getattr(found, "version", 1) for part, found in parts.items()} | COMMON
    return {part: version for part, version in versions.items() if version != 1}


def digest(value: Any) -> str:
    """Return the SHA-256 of a JSON value in canonical form."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def make_algorithm(identity: dict[str, Any]) -> Algorithm:
    """Build an algorithm from ``{"name": ..., parameters}``; raise `UserError` if it is not one."""
    name, parameters = named(identity, "algorithm")
    component = registry.algorithms.get(name)
    return validated(component, json.dumps(parameters), f"algorithm {name}", json=True)


def make_task(identity: dict[str, Any]) -> Task:
    """Build a task from ``{"name": ..., parameters}``; raise `UserError` if it is not one."""
    name, parameters = named(identity, "task")
    return validated(registry.tasks.get(name), json.dumps(parameters), f"task {name}", json=True)


def named(identity: dict[str, Any], kind: str) -> tuple[str, dict[str, Any]]:
    """Split ``{"name": ..., parameters}``; raise `UserError` if there is no name."""
    parameters = dict(identity)
    name = parameters.pop("name", None)
    if not isinstance(name, str):
        raise UserError(f"a {kind} without a name: write {kind} = {{ name = ... }}.")
    return name, parameters
