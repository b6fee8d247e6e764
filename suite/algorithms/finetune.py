"""Joint pre-training over all meta-train tasks, then SGD on the support set."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from suite.algorithms.base import Algorithm
from suite.core import registry
from suite.core.component import added_field
from suite.core.episodes import EpisodeContext, Episodes, OuterGradient
from suite.core.parameters import Primitives
from suite.core.streams import uniform


@registry.algorithm("finetune")
class FineTune(Algorithm):
    """Fit one model to everything, then adapt it.

    Regression pools the points of all tasks (MAML 5.1, "pretrain"). Classification trains one
    softmax over all meta-train classes; an episode then gets a new last layer, and all weights
    are tuned (Ravi & Larochelle 2017; pre-trained-SGD.lua:31-53, 73-76).
    """

    title = "fine-tuning"
    rank = 10
    colour, marker, dashes = "#e69f00", "s", (5, 1.5)

    trains_on = "joint"
    query_loss = False

    new_head: Literal["zero", "random"] = "zero"
    """Initial last layer of a classification episode. ``zero`` favours no class: the first step
    moves each class vector towards the mean features of its examples. ``random`` is uniform in
    +-1/sqrt(fan in)."""

    inner_decay: float = added_field(0.0, ge=0)
    """Decay of the inner rate: step k = 0, 1, ... has the rate inner_rate / (1 + k inner_decay), as
    in Torch7's SGD with learning-rate decay (pre-trained-SGD.lua:52, 88)."""

    def outer(
        self, engine: Primitives, theta: Tensor, episodes: Episodes, context: EpisodeContext
    ) -> OuterGradient:
        """Return the gradient of the joint loss: an ordinary supervised step on the pool."""
        loss, gradient = engine.gradient(theta[None], episodes.support)
        return OuterGradient(gradient[0], loss[0])

    def start(
        self, engine: Primitives, theta: Tensor, count: int, context: EpisodeContext
    ) -> Tensor:
        """Give each episode of a classification task its own last layer."""
        theta = theta.repeat(count, 1)
        if engine.loss != "cross_entropy":
            return theta
        fan_in = max((span.shape[-1] for span in engine.layout.head), default=1)
        bound = fan_in**-0.5
        for span in engine.layout.head:
            weights = theta[:, span.start : span.stop]
            if self.new_head == "zero":
                weights.zero_()
            else:
                words = context.stream.child("head", span.name).rows(
                    context.first, count, weights.shape[1]
                )
                weights.copy_(torch.from_numpy(uniform(words, -bound, bound)))
        return theta

    def step_rates(self, engine: Primitives, steps: int) -> Iterator[Tensor]:
        """Yield the rates (P,) of each inner step, which decay."""
        rates = super().step_rates(engine, steps)
        return (rate / (1 + k * self.inner_decay) for k, rate in enumerate(rates))
