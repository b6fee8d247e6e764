"""Averaging in parameter space: MAML's "multi-task" baselines (Finn et al. 2017, appendix)."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from suite.algorithms.adam import Epsilon, epsilon
from suite.algorithms.base import Algorithm
from suite.core import registry
from suite.core.component import added_field
from suite.core.episodes import EpisodeContext, Episodes, OuterGradient
from suite.core.parameters import Primitives
from suite.core.streams import uniform


@registry.algorithm("multitask")
class MultiTask(Algorithm):
    """Train a model of its own for every task from random weights; start from their mean.

        theta = mean_i phi_i,    phi_i = argmin_phi L_i(phi) + lambda |phi - anchor|^2

    The outer loop takes ``meta_batch`` tasks a step and keeps the mean so far: SGD with the rate
    1 / (step + 1) on theta - mean_i phi_i, which is the schedule ``harmonic``. The anchor is 0
    (``"zero"``, weight decay) or theta, the mean parameters so far (``"mean"``; in the first step
    the model's initial weights); the paper has results with either anchor and with none. Each phi_i
    takes ``task_steps`` steps of Adam on mini-batches of the task's support set. At test the inner
    loop is gradient descent from theta.
    """

    title = "multi-task averaging"

    query_loss = False

    outer_optimiser: Literal["adam", "sgd"] = "sgd"
    outer_rate: float = Field(1.0, gt=0)
    outer_schedule: Literal["constant", "linear", "harmonic"] = "harmonic"

    task_steps: int = Field(5, ge=1)
    task_rate: float = Field(1e-3, gt=0)
    task_batch: int = Field(0, ge=0)
    """Number of examples in a mini-batch of a task's training; 0 is the whole support set."""
    task_epsilon: Epsilon = added_field("pytorch")
    """Form of Adam's epsilon; see `suite.algorithms.adam`."""
    anchor: Literal["none", "zero", "mean"] = "none"
    weight: float = Field(0.0, ge=0)
    """lambda, the weight of the squared distance from the anchor."""

    @property
    def tolerance(self) -> float:
        """Tolerance; as in `Reptile`, Adam's division by |g| + 1e-8 magnifies rounding errors."""
        return 1e-7

    @property
    def gradients(self) -> tuple[int, int]:
        """Numbers of gradient passes of a task's training and of examples in each pass."""
        return self.task_steps, self.task_batch

    @property
    def for_self_check(self) -> MultiTask:
        """Copy with a short training; thousands of steps of Adam magnify any rounding error."""
        return self.model_copy(update={"task_steps": min(self.task_steps, 200)})

    def episode_terms(
        self, engine: Primitives, theta: Tensor, episodes: Episodes, context: EpisodeContext
    ) -> tuple[Tensor, Tensor]:
        """Return phi_i (T, P) and the loss (T,) on the last mini-batches."""
        phi = self._random(engine, theta, len(episodes), context)  # (T, P)
        anchor = theta if self.anchor == "mean" else torch.zeros_like(theta)
        weight = 0.0 if self.anchor == "none" else self.weight
        first, second = torch.zeros_like(phi), torch.zeros_like(phi)
        loss = phi.new_zeros(len(phi))
        batches = context.minibatches(episodes.support, self.task_batch, self.task_steps)
        for k, batch in enumerate(batches, start=1):  # Adam (Kingma and Ba 2015, algorithm 1)
            loss, gradient = engine.gradient(phi, batch)
            gradient = gradient + 2 * weight * (phi - anchor)
            first = 0.9 * first + 0.1 * gradient
            second = 0.999 * second + 0.001 * gradient.square()
            scale = (second / (1 - 0.999**k)).sqrt() + epsilon(self.task_epsilon, 0.999, k)
            phi = phi - self.task_rate * (first / (1 - 0.9**k)) / scale
        return phi, loss

    def combine(self, theta: Tensor, rows: Tensor, losses: Tensor) -> OuterGradient:
        """Return theta - mean_i phi_i (P,)."""
        return OuterGradient(theta - rows.mean(0), losses.mean())

    def _random(
        self, engine: Primitives, theta: Tensor, count: int, context: EpisodeContext
    ) -> Tensor:
        """Return random weights (count, P): uniform in +-1/sqrt(fan in), a bias as its layer.

        A norm's scale and offset start at 1 and 0.
        """
        phi, bound = theta.new_ones(count, len(theta)), 1.0
        for span in engine.layout.spans:
            if len(span.shape) > 1:
                bound = span.shape[1:].numel() ** -0.5
            elif span.name.endswith("weight"):
                bound = 0.0
                continue
            rows = context.stream.child("weights", span.name).rows(
                context.first, count, span.stop - span.start
            )
            phi[:, span.start : span.stop] = torch.from_numpy(uniform(rows, -bound, bound))
        return phi
