"""Reptile (Nichol, Achiam, Schulman 2018)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from suite import registry
from suite.algorithms.base import Algorithm, Draws, Outer, moved
from suite.engines.base import Engine
from suite.episodes import Episodes, Examples

EPSILON = 1e-8  # of the inner Adam, as in TensorFlow


@registry.algorithm("reptile")
class Reptile(Algorithm):
    """Move the weights towards where each task's own optimisation ended (Algorithm 2, batched).

        theta <- theta + epsilon * mean_i (theta_i,K - theta)

    that is, SGD with step size epsilon on the gradient theta - mean_i theta_i,K; epsilon is
    annealed to 0. Only what the inner loop adapts is learned. The inner optimiser is SGD, or Adam
    with beta1 = 0 (models.py:10):

        m     <- beta2 m + (1 - beta2) g^2
        theta <- theta - alpha g / (sqrt(m / (1 - beta2^k)) + eps)    after k steps

    Adam starts afresh in every episode; the paper's code carries its second moments from episode to
    episode and into the test (supervised-reptile issue 28).
    """

    outer_optimiser: Literal["adam", "sgd"] = "sgd"
    outer_rate: float = Field(1.0, gt=0)
    outer_schedule: Literal["constant", "linear"] = "linear"
    inner_optimiser: Literal["adam", "sgd"] = "adam"
    inner_beta2: float = Field(0.999, ge=0, lt=1)

    @property
    def tolerance(self) -> float:
        """Adam divides by |g| + 1e-8, which magnifies a rounding error of 1e-16 to 1e-8."""
        return 1e-7 if self.inner_optimiser == "adam" else super().tolerance

    def descend(
        self, engine: Engine, theta: Tensor, support: Examples, steps: int, draws: Draws
    ) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yield theta_0 .. theta_K with the losses met: inner SGD or Adam, serial mini-batches."""
        if self.inner_optimiser == "sgd":
            yield from super().descend(engine, theta, support, steps, draws)
            return
        rate = self.inner_rate * engine.adapted
        theta = self.start(engine, theta, len(support), draws)
        moment = torch.zeros_like(theta)
        yield theta, None
        batches = draws.minibatches(support, self.inner_batch, steps)
        for k, batch in enumerate(batches, start=1):
            loss, gradient = engine.gradient(theta, batch)
            moment = self.inner_beta2 * moment + (1 - self.inner_beta2) * gradient.square()
            scale = (moment / (1 - self.inner_beta2**k)).sqrt() + EPSILON
            theta = moved(theta, rate, gradient / scale)
            yield theta, loss

    def outer(self, engine: Engine, theta: Tensor, episodes: Episodes, draws: Draws) -> Outer:
        """Return theta - mean_i theta_i,K (P,), and the loss on the last mini-batches.

        The query set is not looked at.
        """
        *_, (theta_k, loss) = self.descend(engine, theta, episodes.support, self.inner_steps, draws)
        if loss is None:
            loss = engine.losses(theta_k, episodes.support)
        return Outer(theta - theta_k.mean(0), loss.mean())
