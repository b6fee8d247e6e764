"""The contract of an engine: gradients and Hessian-vector products over a batch of episodes.

Parameters of T episodes are one tensor ``theta`` of shape (T, P): row t holds all P parameters of
the model for episode t, one after another in the order of ``model.named_parameters()``. Algorithms
see nothing else of a model, so their formulas read as in the papers. How the numbers of one
parameter are ordered among themselves is the engine's own affair (`Layout`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from suite.episodes import Episodes, Examples

if TYPE_CHECKING:
    from suite.algorithms.base import Algorithm, Draws, Outer


@dataclass(frozen=True)
class Span:
    """Where one parameter lies in the flat vector, and with which strides."""

    name: str
    shape: torch.Size
    start: int
    stop: int
    strides: tuple[int, ...]
    #: Whether a convolution's weight (O, C, k, k) lies in memory as (O, k, k, C).
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
        model: whose parameters they are.
        channels_last: whether weights of convolutions lie channels-last.
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
        # One split, not a slice a parameter: its backward is one concatenation.
        parts = theta.split([s.stop - s.start for s in self.spans], dim=-1)
        return {s.name: s.value(part) for s, part in zip(self.spans, parts, strict=True)}

    def views(self, theta: Tensor) -> dict[str, Tensor]:
        """Return what `unflatten` does, (T, *shape) from (T, P), quickly and outside any graph.

        They are views of ``theta`` where its rows are contiguous.
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


class Point(ABC):
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


class Engine(ABC):
    """Gradients of one model and loss.

    Args:
        model: the base learner; only its structure is used, weights are always passed.
        loss: ``"cross_entropy"`` (mean over the examples) or ``"squared_error"`` (mean over the
            examples and outputs).
        loss_scale: factor on every loss: the number of ways where a protocol sums the
            cross-entropy over examples and divides by shots
            (MAML's utils.py:56-58).
        device, dtype: of the parameters and inputs.
    """

    name: ClassVar[str] = ""
    #: Whether `differentiate` works: what an algorithm without `each` or `outer` needs.
    differentiates: ClassVar[bool] = False
    #: Whether weights of convolutions lie channels-last in ``theta``.
    channels_last: ClassVar[bool] = False

    def __init__(
        self,
        model: nn.Module,
        loss: str,
        *,
        loss_scale: float = 1.0,
        device: torch.device | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.device = device or torch.device("cpu")
        self.dtype = dtype
        self.model = model.to(self.device, dtype)
        self.loss = loss
        self.loss_scale = loss_scale
        self.layout = Layout(model, self.channels_last)
        self.adapted = self.layout.adapted.to(self.device, dtype)

    @classmethod
    def refuses(cls, model: nn.Module, loss: str, algorithm: Algorithm) -> str | None:
        """Return why this engine cannot run the algorithm on the model, or None if it can."""
        return None

    @abstractmethod
    def gradient(self, theta: Tensor, data: Examples) -> tuple[Tensor, Tensor]:
        """Return the loss (T,) and its gradient (T, P) at ``theta`` (T, P)."""

    @abstractmethod
    def linearise(self, theta: Tensor, data: Examples) -> Point:
        """Return loss, gradient and Hessian-vector products at ``theta`` (T, P)."""

    @abstractmethod
    def outputs(self, theta: Tensor, x: Tensor) -> Tensor:
        """Return the model's outputs (T, n, outputs) for inputs ``x`` (T, n, *input_shape)."""

    def losses(self, theta: Tensor, data: Examples) -> Tensor:
        """Return the loss (T,) at ``theta`` (T, P), without a gradient."""
        return self.loss_scale * episode_losses(self.loss, self.outputs(theta, data.x), data.y)

    def differentiate(
        self, algorithm: Algorithm, theta: Tensor, episodes: Episodes, draws: Draws
    ) -> Outer:
        """Return the gradient of the query loss through ``algorithm.adapt``, where it can."""
        raise NotImplementedError(f"engine {self.name} does not differentiate through adapt")

    def outer(self, algorithm: Algorithm, theta: Tensor, episodes: Episodes, draws: Draws) -> Outer:
        """Return the outer gradient (P,) of one part of a meta-batch at shared weights (P,)."""
        return algorithm.outer(self, theta, episodes, draws)

    def each(
        self, algorithm: Algorithm, theta: Tensor, episodes: Episodes, draws: Draws
    ) -> tuple[Tensor, Tensor]:
        """Return what each of some episodes gives, (T, P), and its loss (T,); see the algorithm."""
        return algorithm.each(self, theta, episodes, draws)

    def parts(self, algorithm: Algorithm, episodes: Episodes) -> list[slice]:
        """Cut a meta-batch into the parts that are worked through one by one.

        A function of shapes alone: the sum over parts is then the same whoever computes them. What
        carries a state from episode to episode stays whole.
        """
        if algorithm.carried(self) is not None:
            return [slice(0, len(episodes))]
        return self.cut(algorithm, episodes)

    def cut(self, algorithm: Algorithm, episodes: Episodes) -> list[slice]:
        """Return the parts that suit this engine."""
        return [slice(t, t + 1) for t in range(len(episodes))]

    def meta_gradient(
        self, algorithm: Algorithm, theta: Tensor, episodes: Episodes, draws: Draws
    ) -> Outer:
        """Return the outer gradient of one meta-batch at the shared weights ``theta`` (P,)."""
        parts = self.parts(algorithm, episodes)
        outers = (
            self.outer(algorithm, theta, episodes[part], draws.after(part.start)) for part in parts
        )
        return averaged(theta, parts, outers)


def averaged(theta: Tensor, parts: Sequence[slice], outers: Iterable[Outer]) -> Outer:
    """Return the mean over a meta-batch from what its ``parts`` gave, summed in their order.

    The gradient has the shape (P,) of ``theta``, the loss ().
    """
    from suite.algorithms.base import Outer

    gradient, loss, carried = torch.zeros_like(theta), theta.new_zeros(()), None
    for part, outer in zip(parts, outers, strict=True):
        share = (part.stop - part.start) / parts[-1].stop
        gradient.add_(outer.gradient, alpha=share)
        loss.add_(outer.loss, alpha=share)
        carried = outer.carried
    return Outer(gradient, loss, carried)


def episode_losses(loss: str, outputs: Tensor, y: Tensor) -> Tensor:
    """Return the mean loss of each episode, (T,), from outputs (T, n, outputs) and targets."""
    if loss == "cross_entropy":
        each = F.cross_entropy(outputs.flatten(0, 1), y.flatten(), reduction="none")
        return each.view(y.shape).mean(-1)
    return (outputs - y).square().flatten(1).mean(-1)
