"""Validated protocols and cells.

A cell is a complete description of one computation, known by the hash of that description.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from suite import registry
from suite.algorithms.base import Algorithm
from suite.component import Strict, later, validated
from suite.errors import UserError
from suite.tasks.base import EpisodeShape, Split, Task
from suite.version import RESULTS_VERSION


class TrainProtocol(EpisodeShape):
    """What meta-training sees: episodes, how many, and what else can move a number.

    ``loss`` ``per_shot`` sums the cross-entropy over the examples and divides by shots, as MAML's
    code does (utils.py:56-58), so that a typed inner rate counts ways-fold; ``mean`` does not.
    """

    meta_batch: int = Field(ge=1)
    steps: int = Field(ge=0)
    loss: Literal["mean", "per_shot"] = "mean"
    clip: float | None = Field(None, gt=0)
    """Element-wise bound on the outer gradient; none by default."""

    @property
    def outer_scale(self) -> float:
        """What stands before the outer gradient: that code divides the query loss by shots, too."""
        return self.query_shots / self.shots if self.loss == "per_shot" else 1.0


class EvaluationProtocol(EpisodeShape):
    """One meta-test: which episodes, how many inner steps, and which step is the headline.

    ``batch_norm`` ``transductive`` normalises the query images with each other; ``support``
    classifies each query image in a batch with the whole support set (Reptile, reptile.py:129);
    ``running`` normalises with running statistics (see `suite.running`).
    """

    name: str = Field(pattern=r"^[^.]+$")
    """Without dots, which part the items of a protocol."""
    split: Split = "test"
    episodes: int = Field(ge=2)
    steps: int = Field(ge=0)
    report_step: int = Field(-1, ge=-1)
    """The inner step whose score is the headline; -1 is the last."""
    batch_norm: Literal["transductive", "support", "running"] = "transductive"
    inner_batch: int | None = later(None, ge=0)
    """Examples of an inner mini-batch here, instead of the algorithm's; 0 is the whole set."""

    @property
    def headline(self) -> int:
        """The inner step whose score the tables give."""
        return self.steps if self.report_step == -1 else self.report_step


class Protocol(Strict):
    """Everything that can move a number and is not the algorithm's idea."""

    train: TrainProtocol
    evaluations: tuple[EvaluationProtocol, ...] = Field(min_length=1)
    curve_points: int = Field(10, ge=0)
    """How often the learning curve is sampled, on meta-validation episodes."""
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
    def _checked(cls, found: tuple[EvaluationProtocol, ...]) -> tuple[EvaluationProtocol, ...]:
        names = [evaluation.name for evaluation in found]
        if len(set(names)) < len(names):
            raise ValueError("two evaluations have one name")
        for evaluation in found:
            if evaluation.report_step > evaluation.steps:
                raise ValueError(
                    f"report_step {evaluation.report_step} of {evaluation.name!r} is beyond its "
                    f"{evaluation.steps} steps"
                )
        return found


class Numerics(Strict):
    """How a cell is computed: part of its description, since it can change the last bits."""

    device: str
    engine: str = "auto"
    threads: int = Field(1, ge=1)
    """Of the library's operations; more than one only in a cell of one process."""
    shards: int = Field(1, ge=1)
    """Processes that share out the episodes on the CPU, which changes no bit."""
    dtype: Literal["float32", "float64"] = "float32"


class Cell(Strict):
    """Algorithm x task x seed x device under one protocol: a pure function of this description.

    ``experiment`` and ``variant`` are what tables call it and do not enter the hash.
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

    @property
    def label(self) -> str:
        """A readable name, unique within a profile."""
        return f"{self.experiment}--{self.variant}--seed{self.seed}--{self.numerics.device}"

    def description(self) -> dict[str, Any]:
        """Return what the computation depends on, as JSON values."""
        return self.model_dump(mode="json", exclude={"experiment", "variant"})

    def sha256(self) -> str:
        """Return the hash that names this cell."""
        return digest(self.description())

    def bits_sha256(self) -> str:
        """Return the hash of what decides the results: the number of processes does not."""
        description = self.description()
        del description["numerics"]["shards"]
        return digest(description)

    def training_sha256(self) -> str:
        """Return the hash of the training alone: cells that share it share their weights."""
        description = self.description()
        del description["protocol"]["evaluations"]
        return digest(description)

    def curve_sha256(self) -> str:
        """Return the hash of the training and of the evaluation that its learning curve is like.

        Cells that share it differ in their other tests alone.
        """
        description = self.description()
        del description["protocol"]["evaluations"][1:]
        return digest(description)

    def make_algorithm(self) -> Algorithm:
        """Build the algorithm from its recorded parameters."""
        return make_algorithm(self.algorithm)

    def make_task(self) -> Task:
        """Build the task from its recorded parameters."""
        return make_task(self.task)


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
    """Split ``{"name": ..., parameters}``; raise `UserError` where there is no name."""
    parameters = dict(identity)
    name = parameters.pop("name", None)
    if not isinstance(name, str):
        raise UserError(f"a {kind} without a name: write {kind} = {{ name = ... }}.")
    return name, parameters
