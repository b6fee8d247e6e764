"""The contract of an algorithm: how it adapts to an episode and how its weights are meta-trained.

An algorithm is a few hyper-parameters and two pieces of mathematics: `Algorithm.adapt` (the inner
loop, which every algorithm uses at test) and `Algorithm.episode_terms` (the term of each episode in
the gradient that the outer optimiser follows). Both use an engine's gradients and Hessian-vector
products and do not depend on devices, clocks or how these are computed.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from suite.algorithms.adam import Epsilon
from suite.core.component import Component, added_field
from suite.core.episodes import EpisodeContext, Episodes, Examples, OuterGradient
from suite.core.parameters import Primitives


class Algorithm(Component):
    """An algorithm's hyper-parameters, which are its identity, and its mathematics.

    Class attributes
        trains_on: ``"episodes"``; ``"joint"`` for one model over all meta-train tasks; None if
            nothing is meta-trained.
        second_order: whether the outer gradient differentiates through `adapt`.
        query_loss: whether the outer gradient is that of the query loss, and so scales with it.
    """

    #: Place in tables, from no meta-training to full meta-training; equal ranks go by name.
    rank: ClassVar[int] = 100
    #: Colour, marker and dashes in figures; () is a solid line. If it is empty, the colour is the
    #: next one that is free.
    colour: ClassVar[str] = ""
    marker: ClassVar[str] = ""
    dashes: ClassVar[tuple[float, ...]] = ()

    trains_on: ClassVar[Literal["episodes", "joint"] | None] = "episodes"
    second_order: ClassVar[bool] = False
    query_loss: ClassVar[bool] = True

    inner_rate: float = Field(0.01, gt=0)
    inner_steps: int = Field(1, ge=0)
    inner_batch: int = Field(0, ge=0)
    """Number of examples in an inner mini-batch; 0 takes the whole support set."""

    outer_optimiser: Literal["adam", "sgd"] = "adam"
    outer_rate: float = Field(1e-3, gt=0)
    outer_schedule: Literal["constant", "linear", "harmonic"] = "constant"
    """Schedule of the outer rate: ``linear`` reduces it from its value to 0 over the run;
    ``harmonic`` divides it by 1, 2, 3, ..., which turns SGD into a mean over the steps so far."""
    outer_epsilon: Epsilon = added_field("pytorch")
    """Place of epsilon in the outer Adam's formula, see `suite.algorithms.adam`."""

    @model_validator(mode="after")
    def _has_an_outer_adam(self) -> Self:
        if self.outer_epsilon != "pytorch" and self.outer_optimiser != "adam":
            raise ValueError(f"outer_epsilon: {self.outer_optimiser} has none; leave it out")
        return self

    @property
    def tolerance(self) -> float:
        """Relative distance from the reference that an engine may have in float64."""
        return 1e-9

    @property
    def gradients(self) -> tuple[int, int]:
        """Gradient passes of a training episode, and examples in each; 0 means its support set."""
        return self.inner_steps, self.inner_batch

    @property
    def is_separable(self) -> bool:
        """Whether the outer gradient is `combine` of `episode_terms`, and nothing else."""
        return self._writes_terms and type(self).outer is Algorithm.outer

    @property
    def writes_outer(self) -> bool:
        """Whether the algorithm writes its outer gradient, instead of `Engine.differentiate`."""
        return self._writes_terms or type(self).outer is not Algorithm.outer

    @property
    def _writes_terms(self) -> bool:
        return type(self).episode_terms is not Algorithm.episode_terms

    @property
    def for_self_check(self) -> Algorithm:
        """Algorithm that an engine's self-check runs: this one, or a shorter one, same formulas."""
        return self

    def initial_inner_state(self, engine: Primitives) -> Tensor | None:
        """Return the state (S,) of an inner optimiser before any training; None if none is kept."""
        return None

    def carries_state(self, engine: Primitives) -> bool:
        """Return whether a state goes from episode to episode, so that their order matters."""
        return self.initial_inner_state(engine) is not None

    def start(
        self, engine: Primitives, theta: Tensor, count: int, context: EpisodeContext
    ) -> Tensor:
        """Return the weights (count, P) with which ``count`` episodes start their inner loop."""
        return theta.expand(count, -1)

    def step_rates(self, engine: Primitives, steps: int) -> Iterator[Tensor]:
        """Yield the rates (P,) of each inner step of `descend`, 0 for weights not adapted."""
        return repeat(self.inner_rate * engine.adapted, steps)

    def adapt(
        self,
        engine: Primitives,
        theta: Tensor,
        support: Examples,
        steps: int,
        context: EpisodeContext,
    ) -> Iterator[Tensor]:
        """Yield theta_0 .. theta_K, each (T, P): an algorithm writes this or `descend`."""
        for theta_k, _ in self.descend(engine, theta, support, steps, context):
            yield theta_k

    def descend(
        self,
        engine: Primitives,
        theta: Tensor,
        support: Examples,
        steps: int,
        context: EpisodeContext,
    ) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yield each theta_k (T, P) with the losses (T,) of the step to it, None for theta_0.

        Gradient descent on the support set (MAML, the equation before (1)):

            theta_{k+1} = theta_k - alpha * grad L_support(theta_k)

        with alpha from `step_rates`.
        """
        theta = self.start(engine, theta, len(support), context)
        yield theta, None
        batches = context.minibatches(support, self.inner_batch, steps)
        for rate, batch in zip(self.step_rates(engine, steps), batches, strict=True):
            loss, gradient = engine.gradient(theta, batch)
            theta = moved(theta, rate, gradient)
            yield theta, loss

    def episode_terms(
        self, engine: Primitives, theta: Tensor, episodes: Episodes, context: EpisodeContext
    ) -> tuple[Tensor, Tensor]:
        """Return the term of each episode in the outer gradient, (T, P), and its loss (T,).

        An episode's row must not depend on the other episodes. An algorithm writes this method or
        `outer`, or neither; an engine may call it in inference mode, in which autograd is off.
        """
        raise NotImplementedError(f"{self.name} does not say what each episode gives")

    def combine(self, theta: Tensor, rows: Tensor, losses: Tensor) -> OuterGradient:
        """Return the gradient (P,) that the outer optimiser follows, from `episode_terms`."""
        return OuterGradient(rows.mean(0), losses.mean())

    def outer(
        self, engine: Primitives, theta: Tensor, episodes: Episodes, context: EpisodeContext
    ) -> OuterGradient:
        """Return the gradient (P,) that the outer optimiser follows, averaged over the episodes.

        If an algorithm writes neither this nor `episode_terms`, the query loss is differentiated
        through `adapt` by automatic differentiation, which only the reference engine can do.
        """
        if context.inner_state is not None:
            return self.in_order(engine, theta, episodes, context)
        if not self._writes_terms:
            return engine.differentiate(self, theta, episodes, context)
        return self.combine(theta, *self.episode_terms(engine, theta, episodes, context))

    def in_order(
        self, engine: Primitives, theta: Tensor, episodes: Episodes, context: EpisodeContext
    ) -> OuterGradient:
        """Return the result of `outer` if a state is carried from each episode to the next."""
        raise NotImplementedError(f"{self.name} carries nothing from episode to episode")


def moved(theta: Tensor, rate: Tensor, gradient: Tensor) -> Tensor:
    """Return theta - rate * gradient, in one pass over memory."""
    return torch.addcmul(theta, rate, gradient, value=-1)
