"""The parameters of T episodes as one tensor, and the primitives that an engine gives algorithms.

Parameters of T episodes are one tensor ``theta`` of shape (T, P): row t holds all P parameters of
the model for episode t, one after another in the order of ``model.named_parameters()``. Algorithms
see nothing else of a model, so their formulas read as in the papers. The engine decides the order
of the numbers within one parameter (`Layout`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from suite.core.episodes import EpisodeContext, Episodes, Examples, OuterGradient


@dataclass(frozen=True)
class Span:
    """Place and strides of one parameter in the flat vector."""

    name: str
    shape: torch.Size
    start: int
    stop: int
    strides: tuple[int, ...]
    #: Whether a convolution's weight (O, C, k, k) is stored in memory as (O, k, k, C).
    channels_last: bool

    def row(self, value: Tensor) -> Tensor:
        """Return values (T, *shape) as rows of numbers (T, n) in the order of this span."""
        if value.ndim == 2:
            return value
        return (value.permute(0, 1, 3, 4, 2) if self.channels_last else value).flatten(1)

    def value(self, row: Tensor) -> Tensor:
        """Return a view of numbers (..., n) in the order of this span as (..., *shape)."""
        if not self.channels_last:
            return row.unflatten(-1, self.shape)
        o, c, high, wide = self.shape
        return row.unflatten(-1, (o, high, wide, c)).movedim(-1, -3)


class Layout:
    """The P parameters of a model as one flat vector.

    Args:
        model: model with these parameters.
        channels_last: whether weights of convolutions are stored channels-last.
    """

    def __init__(self, model: nn.Module, channels_last: bool = False) -> None:
        self.spans: list[Span] = []
        start = 0
        for name, parameter in model.named_parameters():
            stop = start + parameter.numel()
            last = channels_last and parameter.ndim == 4
            form = torch.channels_last if last else torch.contiguous_format
            strides = torch.empty(parameter.shape, device="meta", memory_format=form).stride()
            self.spans.append(Span(name, parameter.shape, start, stop, strides, last))
            start = stop
        self.size = start
        outer_only = frozenset(getattr(model, "outer_only", ()))
        self.adapted = torch.ones(start)
        self.head = [span for span in self.spans if span.name in getattr(model, "head", ())]
        for span in self.spans:
            if span.name in outer_only:
                self.adapted[span.start : span.stop] = 0

    def flatten(self, model: nn.Module) -> Tensor:
        """Return the model's parameters as one vector (P,)."""
        return self.join({name: p.detach()[None] for name, p in model.named_parameters()})[0]

    def join(self, values: Mapping[str, Tensor]) -> Tensor:
        """Return values by name, each (T, *shape), as one tensor (T, P); a missing one is 0."""
        like = next(iter(values.values()))
        rows = [
            span.row(values[span.name])
            if span.name in values
            else like.new_zeros(len(like), span.stop - span.start)
            for span in self.spans
        ]
        return torch.cat(rows, dim=1)

    def unflatten(self, theta: Tensor) -> dict[str, Tensor]:
        """Return views of ``theta`` (..., P) by name, each (..., *shape)."""
        # One split instead of one slice per parameter: its backward is one concatenation.
        parts = theta.split([s.stop - s.start for s in self.spans], dim=-1)
        return {s.name: s.value(part) for s, part in zip(self.spans, parts, strict=True)}

    def views(self, theta: Tensor) -> dict[str, Tensor]:
        """Return the same as `unflatten`, (T, *shape) from (T, P), faster and outside any graph.

        The values are views of ``theta`` if its rows are contiguous.
        """
        theta = theta if theta.stride(-1) == 1 else theta.contiguous()
        count, row, first = len(theta), theta.stride(0), theta.storage_offset()
        return {
            span.name: theta.as_strided(
                (count, *span.shape), (row, *span.strides), first + span.start
            )
            for span in self.spans
        }

    def natural(self, theta: Tensor) -> Tensor:
        """Return weights (T, P) of this layout with every parameter in its own order."""
        return torch.cat([v.flatten(1) for v in self.unflatten(theta).values()], dim=1)

    def arranged(self, theta: Tensor) -> Tensor:
        """Undo `natural`."""
        return self.join(
            {s.name: theta[:, s.start : s.stop].unflatten(1, s.shape) for s in self.spans}
        )


class LinearisedPoint(ABC):
    """The loss of T episodes at ``theta``: its value, its gradient and, on demand, its Hessian.

    Attributes:
        loss: (T,) the loss of each episode.
        gradient: (T, P) its gradient.
    """

    loss: Tensor
    gradient: Tensor

    @abstractmethod
    def hessian_vector(self, v: Tensor) -> Tensor:
        """Return H_t v_t for every episode, (T, P), where ``v`` is (T, P)."""


class Primitives(Protocol):
    """The mathematical part of an engine, which algorithms use."""

    @property
    def loss(self) -> str:
        """Name of the loss: ``"cross_entropy"`` or ``"squared_error"``."""

    @property
    def layout(self) -> Layout:
        """Place of each parameter in a row of ``theta``."""

    @property
    def adapted(self) -> Tensor:
        """Mask (P,): 1 for weights that the inner loop adapts and 0 for the others."""

    @property
    def device(self) -> torch.device:
        """Device of parameters and inputs."""

    @property
    def dtype(self) -> torch.dtype:
        """Data type of parameters and inputs."""

    def gradient(self, theta: Tensor, data: Examples) -> tuple[Tensor, Tensor]:
        """Return the loss (T,) and its gradient (T, P) at ``theta`` (T, P)."""

    def linearise(self, theta: Tensor, data: Examples) -> LinearisedPoint:
        """Return loss, gradient and Hessian-vector products at ``theta`` (T, P)."""

    def outputs(self, theta: Tensor, x: Tensor) -> Tensor:
        """Return the model's outputs (T, n, outputs) for inputs ``x`` (T, n, *input_shape)."""

    def losses(self, theta: Tensor, data: Examples) -> Tensor:
        """Return the loss (T,) at ``theta`` (T, P), without a gradient."""

    def differentiate(
        self, algorithm: Any, theta: Tensor, episodes: Episodes, context: EpisodeContext
    ) -> OuterGradient:
        """Return the gradient of the query loss through ``algorithm.adapt``, if it can do that."""
