"""Reptile (Nichol, Achiam, Schulman 2018)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from suite.algorithms.adam import Epsilon, epsilon
from suite.algorithms.base import Algorithm, moved
from suite.core import registry
from suite.core.component import added_field
from suite.core.episodes import EpisodeContext, Episodes, Examples, OuterGradient
from suite.core.parameters import Primitives


@registry.algorithm("reptile")
class Reptile(Algorithm):
    """Move the weights towards where each task's own optimisation ended (Algorithm 2, batched).

        theta <- theta + epsilon * mean_i (theta_i,K - theta)

    that is, SGD with step size epsilon on the gradient theta - mean_i theta_i,K; epsilon is
    annealed to 0. Only weights that the inner loop adapts are learned. The inner optimiser is SGD,
    or Adam with beta1 = 0 (models.py:10):

        m     <- beta2 m + (1 - beta2) g^2
        theta <- theta - alpha g / (sqrt(m / (1 - beta2^k)) + eps)    after k steps

    With ``inner_state = "fresh"`` Adam starts again in every episode. With ``"carried"``, as in the
    paper's code, each episode continues with the m and k of the previous one, and every test
    episode starts with the values at the end of training (reptile.py:24-26, 72, 114-122;
    supervised-reptile issue 28); g is then the gradient of the sum over the mini-batch, as there.
    """

    title = "Reptile"
    papers = ("reptile",)
    rank = 20
    colour, marker, dashes = "#009e73", "^", (3, 1, 1, 1)

    query_loss = False

    outer_optimiser: Literal["adam", "sgd"] = "sgd"
    outer_rate: float = Field(1.0, gt=0)
    outer_schedule: Literal["constant", "linear", "harmonic"] = "linear"
    inner_optimiser: Literal["adam", "sgd"] = "adam"
    inner_beta2: float = Field(0.999, ge=0, lt=1)
    inner_state: Literal["fresh", "carried"] = added_field("fresh")
    inner_epsilon: Epsilon = added_field("pytorch")
    """Form of Adam's epsilon; see `suite.algorithms.adam`."""

    @model_validator(mode="after")
    def _has_state(self) -> Reptile:
        if self.inner_state == "carried" and self.inner_optimiser == "sgd":
            raise ValueError("inner_state carried: SGD has no state; leave it out, or use adam")
        if self.inner_epsilon != "pytorch" and self.inner_optimiser == "sgd":
            raise ValueError("inner_epsilon: SGD has none; leave it out, or use adam")
        return self

    @property
    def tolerance(self) -> float:
        """Tolerance; Adam divides by |g| + 1e-8 and magnifies a rounding error of 1e-16 to 1e-8."""
        return 1e-7 if self.inner_optimiser == "adam" else super().tolerance

    def initial_inner_state(self, engine: Primitives) -> Tensor | None:
        """Return m (P,) and its number k of steps as one vector of zeros; None if not carried."""
        if self.inner_state == "fresh":
            return None
        return torch.zeros(engine.layout.size + 1, device=engine.device, dtype=engine.dtype)

    def descend(
        self,
        engine: Primitives,
        theta: Tensor,
        support: Examples,
        steps: int,
        context: EpisodeContext,
    ) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yield theta_0 .. theta_K and the losses, by SGD or Adam on successive mini-batches."""
        if self.inner_optimiser == "sgd":
            yield from super().descend(engine, theta, support, steps, context)
            return
        for theta_k, loss, _ in self._adam(engine, theta, support, steps, context):
            yield theta_k, loss

    def _adam(
        self,
        engine: Primitives,
        theta: Tensor,
        support: Examples,
        steps: int,
        context: EpisodeContext,
    ) -> Iterator[tuple[Tensor, Tensor | None, Tensor]]:
        """Yield theta_k (T, P), the losses (T,) and m (T, P), each after k steps."""
        rate = self.inner_rate * engine.adapted
        theta = self.start(engine, theta, len(support), context)
        moment, before = torch.zeros_like(theta), 0
        if context.inner_state is not None:
            moment, before = context.inner_state[:-1].expand_as(theta), int(context.inner_state[-1])
        yield theta, None, moment
        batches = context.minibatches(support, self.inner_batch, steps)
        for k, batch in enumerate(batches, start=before + 1):
            loss, gradient = engine.gradient(theta, batch)
            if context.inner_state is not None:
                # The code sums the loss over the mini-batch (models.py:27-30). This factor does not
                # change Adam itself, but a state carried from batches of 10 to a test with 5.
                gradient = gradient * batch.x.shape[1]
            moment = self.inner_beta2 * moment + (1 - self.inner_beta2) * gradient.square()
            added = epsilon(self.inner_epsilon, self.inner_beta2, k)
            scale = (moment / (1 - self.inner_beta2**k)).sqrt() + added
            theta = moved(theta, rate, gradient / scale)
            yield theta, loss, moment

    def episode_terms(
        self, engine: Primitives, theta: Tensor, episodes: Episodes, context: EpisodeContext
    ) -> tuple[Tensor, Tensor]:
        """Return theta_i,K (T, P), and the loss (T,) on the last mini-batches.

        The query set is not used.
        """
        *_, (theta_k, loss) = self.descend(
            engine, theta, episodes.support, self.inner_steps, context
        )
        return theta_k, engine.losses(theta_k, episodes.support) if loss is None else loss

    def combine(self, theta: Tensor, rows: Tensor, losses: Tensor) -> OuterGradient:
        """Return theta - mean_i theta_i,K (P,)."""
        return OuterGradient(theta - rows.mean(0), losses.mean())

    def in_order(
        self, engine: Primitives, theta: Tensor, episodes: Episodes, context: EpisodeContext
    ) -> OuterGradient:
        """Return the same as `outer`; each episode's Adam continues the previous episode's."""
        gradient, total, count = torch.zeros_like(theta), theta.new_zeros(()), len(episodes)
        for t in range(count):
            assert context.inner_state is not None
            support = episodes.support[t : t + 1]
            *_, (theta_k, loss, moment) = self._adam(
                engine, theta, support, self.inner_steps, context
            )
            if loss is None:
                loss = engine.losses(theta_k, support)
            gradient += (theta - theta_k[0]) / count
            total += loss[0] / count
            steps = context.inner_state[-1:] + self.inner_steps
            context = context.after(1)._replace(inner_state=torch.cat([moment[0], steps]))
        return OuterGradient(gradient, total, context.inner_state)
