"""The contract of an engine: gradients and Hessian-vector products over a batch of episodes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from suite.algorithms.base import Algorithm
from suite.core.episodes import EpisodeContext, Episodes, Examples, OuterGradient
from suite.core.parameters import Layout, LinearisedPoint


class Engine(ABC):
    """Gradients of one model and loss.

    Args:
        model: base learner; only its structure is used, weights are always passed.
        loss: ``"cross_entropy"`` (mean over the examples) or ``"squared_error"`` (mean over the
            examples and outputs).
        loss_scale: factor on every loss: the number of ways if a protocol sums the cross-entropy
            over examples and divides by shots (MAML's utils.py:56-58).
        device, dtype: device and dtype of the parameters and inputs.
    """

    name: ClassVar[str] = ""
    #: Whether `differentiate` works; algorithms without `episode_terms` or `outer` need it.
    differentiates: ClassVar[bool] = False
    #: Whether weights of convolutions are stored channels-last in ``theta``.
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
    def linearise(self, theta: Tensor, data: Examples) -> LinearisedPoint:
        """Return loss, gradient and Hessian-vector products at ``theta`` (T, P)."""

    @abstractmethod
    def outputs(self, theta: Tensor, x: Tensor) -> Tensor:
        """Return the model's outputs (T, n, outputs) for inputs ``x`` (T, n, *input_shape)."""

    def losses(self, theta: Tensor, data: Examples) -> Tensor:
        """Return the loss (T,) at ``theta`` (T, P), without a gradient."""
        return self.loss_scale * episode_losses(self.loss, self.outputs(theta, data.x), data.y)

    def differentiate(
        self, algorithm: Algorithm, theta: Tensor, episodes: Episodes, context: EpisodeContext
    ) -> OuterGradient:
        """Return the gradient of the query loss through ``algorithm.adapt``.

        Raises:
            NotImplementedError: this engine does not differentiate automatically.
        """
        raise NotImplementedError(f"engine {self.name} does not differentiate through adapt")

    def outer(
        self, algorithm: Algorithm, theta: Tensor, episodes: Episodes, context: EpisodeContext
    ) -> OuterGradient:
        """Return the outer gradient (P,) of one part of a meta-batch at common weights (P,)."""
        return algorithm.outer(self, theta, episodes, context)

    def episode_terms(
        self, algorithm: Algorithm, theta: Tensor, episodes: Episodes, context: EpisodeContext
    ) -> tuple[Tensor, Tensor]:
        """Return `Algorithm.episode_terms`: the term of each episode, (T, P), and its loss (T,)."""
        return algorithm.episode_terms(self, theta, episodes, context)

    def parts(self, algorithm: Algorithm, episodes: Episodes) -> list[slice]:
        """Cut a meta-batch into the parts that are computed one by one.

        The parts depend only on shapes, so the sum over parts is the same in every process. A
        meta-batch stays whole if the algorithm carries a state from episode to episode.
        """
        if algorithm.carries_state(self):
            return [slice(0, len(episodes))]
        return self.cut(algorithm, episodes)

    def cut(self, algorithm: Algorithm, episodes: Episodes) -> list[slice]:
        """Return the parts that suit this engine."""
        return [slice(t, t + 1) for t in range(len(episodes))]

    def meta_gradient(
        self, algorithm: Algorithm, theta: Tensor, episodes: Episodes, context: EpisodeContext
    ) -> OuterGradient:
        """Return the outer gradient of one meta-batch at the common weights ``theta`` (P,)."""
        parts = self.parts(algorithm, episodes)
        outers = (
            self.outer(algorithm, theta, episodes[part], context.after(part.start))
            for part in parts
        )
        return averaged(theta, parts, outers)


def averaged(
    theta: Tensor, parts: Sequence[slice], outers: Iterable[OuterGradient]
) -> OuterGradient:
    """Return the mean over a meta-batch of the results of its ``parts``, summed in their order.

    The gradient has the shape (P,) of ``theta``, the loss has the shape ().
    """
    gradient, loss, inner_state = torch.zeros_like(theta), theta.new_zeros(()), None
    for part, outer in zip(parts, outers, strict=True):
        share = (part.stop - part.start) / parts[-1].stop
        gradient.add_(outer.gradient, alpha=share)
        loss.add_(outer.loss, alpha=share)
        inner_state = outer.inner_state
    return OuterGradient(gradient, loss, inner_state)


def episode_losses(loss: str, outputs: Tensor, y: Tensor) -> Tensor:
    """Return the mean loss of each episode, (T,), from outputs (T, n, outputs) and targets."""
    if loss == "cross_entropy":
        each = F.cross_entropy(outputs.flatten(0, 1), y.flatten(), reduction="none")
        return each.view(y.shape).mean(-1)
    return (outputs - y).square().flatten(1).mean(-1)
