"""Batches of few-shot episodes, other inputs of inner loops, and the result of an outer step."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from suite.core.streams import Stream, choose


@dataclass(frozen=True)
class Examples:
    """Labelled examples of T problems, n for each problem.

    ``x`` has shape (T, n, *input_shape); ``y`` is (T, n) int64 for classification and
    (T, n, outputs) float for regression. In ``memo`` an engine may store values that depend only on
    ``x`` (the unfolded images of a first convolution); it is never part of the value.
    """

    x: Tensor
    y: Tensor
    memo: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)

    def __len__(self) -> int:
        return self.x.shape[0]

    def __getitem__(self, episodes: slice) -> Examples:
        return Examples(self.x[episodes], self.y[episodes])

    def take(self, index: Tensor) -> Examples:
        """Return the examples ``index`` (T, b) of each episode: a mini-batch."""
        row = torch.arange(len(self), device=self.x.device)[:, None]
        return Examples(self.x[row, index], self.y[row, index])

    def to(self, device: torch.device, dtype: torch.dtype) -> Examples:
        """Return the examples on ``device``, floating-point values as ``dtype``."""
        y = self.y.to(device, dtype) if self.y.is_floating_point() else self.y.to(device)
        return Examples(self.x.to(device, dtype), y)


@dataclass(frozen=True)
class Episodes:
    """T episodes: support and query sets, and the drawn integers and parameters behind them."""

    support: Examples
    query: Examples
    draw_ids: np.ndarray  # (T, d), one row an episode: its identity
    classes: np.ndarray | None = None  # (T, ways), class of each label, if there are classes

    def __len__(self) -> int:
        return len(self.support)

    def __getitem__(self, episodes: slice) -> Episodes:
        classes = None if self.classes is None else self.classes[episodes]
        return Episodes(
            self.support[episodes], self.query[episodes], self.draw_ids[episodes], classes
        )

    def to(self, device: torch.device, dtype: torch.dtype) -> Episodes:
        """Return the episodes on ``device``, floating-point values as ``dtype``."""
        support, query = self.support.to(device, dtype), self.query.to(device, dtype)
        return Episodes(support, query, self.draw_ids, self.classes)

    def sha256(self) -> str:
        """Return the hash of the draws: equal hashes mean the same episodes of the same data."""
        return draws_sha256(self.draw_ids)


def draws_sha256(draw_ids: np.ndarray) -> str:
    """Return the hash of episodes' draws (T, d)."""
    draw_ids = np.ascontiguousarray(draw_ids)
    return hashlib.sha256(str(draw_ids.dtype).encode() + draw_ids.tobytes()).hexdigest()


class OuterGradient(NamedTuple):
    """The gradient (P,) that an outer step follows, and the mean loss () that it reports."""

    gradient: Tensor
    loss: Tensor
    inner_state: Tensor | None = None
    """State (S,) of the inner optimiser after the last episode, if the algorithm keeps one."""


class EpisodeContext(NamedTuple):
    """Inputs of the inner loops of some episodes, other than weights and examples."""

    stream: Stream
    """Random stream of the inner loops' own draws."""
    first: int = 0
    """Index of the first episode in the stream."""
    inner_state: Tensor | None = None
    """State (S,) in which the inner optimiser starts; None for a fresh one."""

    def after(self, episodes: int) -> EpisodeContext:
        """Return the context of the episodes that follow the first ``episodes``."""
        return self._replace(first=self.first + episodes)

    def minibatches(self, data: Examples, size: int, steps: int) -> list[Examples]:
        """Cut each episode's examples into ``steps`` mini-batches drawn without replacement.

        The examples of an episode are shuffled and used in order, and shuffled again when all are
        used; a batch that reaches the end continues in the next shuffle (Reptile,
        reptile.py:236-248). If ``size`` is 0 or at least the number of examples, every batch is the
        whole set.
        """
        count, n = len(data), data.x.shape[1]
        if size == 0 or size >= n:
            return [data] * steps
        rounds = -(-steps * size // n)
        orders = [
            choose(self.stream.child("shuffle", r).rows(self.first, count, n), n)
            for r in range(rounds)
        ]
        order = torch.from_numpy(np.concatenate(orders, axis=1)).to(data.x.device)
        return [data.take(order[:, k * size : (k + 1) * size]) for k in range(steps)]
