"""The contract of a task distribution.

A task draws episodes from a meta-train, meta-validation or meta-test split. Its data are on the
device once. Sampling is index arithmetic on words of a named stream, followed by a gather, for any
number of episodes at once.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from suite.core.component import Component, Strict, added_field
from suite.core.episodes import Episodes, Examples
from suite.core.errors import UserError
from suite.core.streams import Stream

Split = Literal["train", "validation", "test"]
Rotations = Literal["none", "episode", "classes"]


class EpisodeShape(Strict):
    """Size of an episode. In regression an episode has one "way" of ``shots`` points."""

    ways: int = Field(1, ge=1)
    shots: int = Field(ge=1)
    query_shots: int = Field(ge=1)
    rotations: Rotations | None = added_field(None)
    """Rotation rule for the characters of these episodes; None for the task's own rule."""
    tasks: Annotated[int, Field(ge=1)] | str | None = added_field(None)
    """Set of tasks for the episodes. By default each episode is a newly drawn task. A number, for
    training: this many tasks are drawn once, with their support and query examples, and used in
    turn, again and again (MAML, data_generator.py:86-104). The key of a paper, for a test: the
    tasks that the paper's code drew."""

    @property
    def support_size(self) -> int:
        """Number of support examples of an episode."""
        return self.ways * self.shots

    @property
    def query_size(self) -> int:
        """Number of query examples of an episode."""
        return self.ways * self.query_shots


class Task(Component):
    """A task distribution.

    Class attributes
        kind: ``"classification"`` (y is (T, n) int64, loss cross-entropy) or ``"regression"``
            (y is (T, n, outputs), loss squared error).
        reads_data: whether its data are files that may be missing on a machine.
        metric: score that `score` returns, ``"accuracy"`` in [0, 1] or ``"mse"``.
    """

    kind: ClassVar[Literal["classification", "regression"]]
    reads_data: ClassVar[bool] = False

    @property
    def metric(self) -> str:
        """Name of the score: ``accuracy`` (higher is better) or ``mse`` (lower is better)."""
        return "accuracy" if self.kind == "classification" else "mse"

    def score(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the score of each episode, (T,): accuracy in [0, 1], or mean squared error.

        A task with another `metric` writes this method, too.

        Args:
            outputs: outputs (T, n, outputs) of the model.
            y: labels (T, n) or targets (T, n, outputs).
        """
        if self.kind == "classification":
            return (outputs.argmax(-1) == y).to(outputs.dtype).mean(-1)
        return (outputs - y).square().flatten(1).mean(-1)

    @property
    def loss(self) -> str:
        """Name of the loss that the engines minimise."""
        return "cross_entropy" if self.kind == "classification" else "squared_error"

    @property
    def data(self) -> tuple[str, tuple[str, ...]]:
        """Title of its data set and keys of the papers to cite for it; '' if there is none."""
        return self.title, self.papers

    @property
    def brought(self) -> str:
        """Data that cannot be downloaded, so that the user must provide them; '' if none."""
        return ""

    def for_seed(self, seed: int) -> Task:
        """Return the task of a cell with this seed; the same task if all seeds have one split."""
        return self

    @property
    @abstractmethod
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one example, channels first for images."""

    def outputs(self, shape: EpisodeShape) -> int:
        """Return the width of the model's last layer for an episode."""
        return shape.ways if self.kind == "classification" else 1

    @abstractmethod
    def load(self, data: Path | None, device: torch.device) -> Sampler:
        """Read the data, put them on ``device`` and return the sampler.

        Raises:
            UserError: if the data are missing, invalid or not as the task expects.
        """

    def data_identity(self) -> dict[str, Any]:
        """Return the part of the identity that decides which episodes a stream draws."""
        return self.identity()


class Sampler:
    """A task with its data on a device, made by `Task.load`."""

    #: SHA-256 of the decoded data in canonical order; None if the data are a formula.
    data_sha256: str | None = None

    def check(self, shape: EpisodeShape, split: Split) -> None:
        """Raise `UserError` if the split cannot give episodes of this shape."""
        for name in ("rotations", "tasks"):
            if (value := getattr(shape, name)) is not None:
                raise UserError(f"this task does not know {name} = {value!r}; leave {name} out.")

    def sample(
        self, stream: Stream, first: int, count: int, shape: EpisodeShape, split: Split
    ) -> Episodes:
        """Return episodes ``first`` .. ``first + count - 1`` of the stream, float32, on the device.

        Episode i depends only on the stream, i, the split and the shape, and an episode with fewer
        query examples is a prefix of the one with more. If the shape has a number of ``tasks``,
        episode i is task i modulo that number.
        """
        raise NotImplementedError

    def to(self, device: torch.device) -> Sampler:
        """Return this sampler for another device, with its tensors there.

        The default is a copy in which the device and all attributes that are tensors are replaced.
        Samplers must also support pickling, because a cluster sends them to its nodes.
        """
        moved = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(moved, name, value.to(device))
            elif isinstance(value, torch.device):
                setattr(moved, name, device)
        return moved

    def joint_outputs(self) -> int:
        """Return the width of the last layer for joint training: all meta-train classes, or 1."""
        return 1

    def joint(
        self, stream: Stream, first: int, count: int, tasks: int, shape: EpisodeShape
    ) -> Examples:
        """Return mini-batches ``first`` .. ``first + count - 1`` pooled over meta-train tasks.

        Each has as many examples as the support sets of ``tasks`` episodes. The default is to pool
        these support sets (MAML's sinusoid pre-training, main.py:8); a classification task instead
        draws images of all its meta-train classes, with labels among all of them.
        """
        support = self.sample(stream, first * tasks, count * tasks, shape, "train").support
        return Examples(
            support.x.reshape(count, -1, *support.x.shape[2:]),
            support.y.reshape(count, -1, *support.y.shape[2:]),
        )

    def probe(self) -> Tensor | None:
        """Return inputs (m, *input_shape) at which a figure shows the adapted model, or None."""
        return None

    def truth(self, episodes: Episodes, inputs: Tensor) -> np.ndarray:
        """Return the true targets (T, m) of episodes at the `probe` inputs."""
        raise NotImplementedError


def hits(outputs: Tensor, y: Tensor, ways: int) -> Tensor:
    """Return the number of correctly classified queries of each label, (T, ways).

    Args:
        outputs: outputs (T, n, ways) of the model.
        y: labels (T, n) below ``ways``.
        ways: number of labels.
    """
    right = (outputs.argmax(-1) == y).long()
    return right.new_zeros(len(y), ways).scatter_add_(1, y, right)
