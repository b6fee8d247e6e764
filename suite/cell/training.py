"""The outer loop of one cell."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from suite.algorithms.adam import epsilon
from suite.algorithms.base import Algorithm
from suite.cell.meta_gradient import MetaGradient
from suite.config.cell import TrainProtocol
from suite.core.episodes import EpisodeContext, Episodes, Examples
from suite.core.parameters import Layout
from suite.core.streams import Stream
from suite.engines.base import Engine
from suite.tasks.base import Sampler

#: Bytes of episodes that are drawn ahead at once, so that sampling is a small part of a step.
LOOKAHEAD_BYTES = 16 * 2**20
MAX_LOOKAHEAD = 64

#: Loss above which a training in float32 does not recover.
EXPLODED = 1e15


class Diverged(Exception):
    """The outer loss or the weights have diverged; the message names the outer step."""


@dataclass
class Curves:
    """The learning curve: at ``steps``, the mean outer loss since the last point, and a score."""

    steps: list[int] = field(default_factory=list)
    train_loss: list[float | None] = field(default_factory=list)
    validation: list[float | None] = field(default_factory=list)
    window: list[Tensor] = field(default_factory=list)
    """Outer losses since the last of ``steps``."""
    resumed: int = 0
    """Number of times that the training continued from a checkpoint."""

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return the curve as JSON values and arrays."""
        window = torch.cat(self.window) if self.window else torch.empty(0)
        values = {
            "steps": self.steps,
            "train_loss": self.train_loss,
            "validation": self.validation,
            "resumed": self.resumed,
        }
        return values, {"window": window.cpu().numpy()}

    def restore(self, values: dict[str, Any], window: Tensor) -> None:
        """Continue from a `state`."""
        self.steps, self.train_loss = values["steps"], values["train_loss"]
        self.validation = values["validation"]
        self.resumed = values["resumed"] + 1
        self.window = [window] if len(window) else []


class Source:
    """The meta-training batches of a cell, drawn many steps ahead.

    Step ``s`` uses episodes ``s * meta_batch`` onwards of the stream (seed, "train"): any step can
    be drawn again without the earlier ones. All algorithms of a seed use the same episodes.
    """

    def __init__(
        self,
        sampler: Sampler,
        protocol: TrainProtocol,
        stream: Stream,
        joint: bool,
        engine: Engine,
    ) -> None:
        self._sampler, self._protocol, self._stream = sampler, protocol, stream
        self._joint, self._engine = joint, engine
        self._first, self._ahead = 0, 0
        self._drawn: Episodes | Examples | None = None
        self._window: int | None = None

    def draw(self, step: int, count: int) -> Episodes | Examples:
        """Return the episodes or examples of ``count`` outer steps, from ``step`` on."""
        protocol, stream = self._protocol, self._stream
        batch = protocol.meta_batch
        if self._joint:
            drawn = self._sampler.joint(stream, step, count, batch, protocol)
            return drawn.to(self._engine.device, self._engine.dtype)
        episodes = self._sampler.sample(stream, step * batch, count * batch, protocol, "train")
        return episodes.to(self._engine.device, self._engine.dtype)

    def step(self, step: int) -> Episodes:
        """Return the meta-batch of one outer step; a joint batch is one support set."""
        if self._drawn is None or not self._first <= step < self._first + self._ahead:
            # Windows begin at fixed steps, so that a batch has the same place in memory if training
            # continues from a checkpoint: the last bits of a product can depend on that place.
            window = self.lookahead()
            self._first = step // window * window
            self._ahead = min(window, max(1, self._protocol.steps - self._first))
            self._drawn = self.draw(self._first, self._ahead)
        at = step - self._first
        if isinstance(self._drawn, Examples):
            pooled = self._drawn[at : at + 1]
            return Episodes(pooled, pooled, np.zeros((1, 0)))
        batch = self._protocol.meta_batch
        return self._drawn[at * batch : (at + 1) * batch]

    def lookahead(self) -> int:
        """Return the number of meta-batches that are drawn at once."""
        if self._window is None:
            one = self.draw(0, 1)
            sets = [one] if isinstance(one, Examples) else [one.support, one.query]
            size = sum(s.x.numel() * s.x.element_size() for s in sets)
            self._window = max(1, min(MAX_LOOKAHEAD, LOOKAHEAD_BYTES // size))
        return self._window


def context_at(stream: Stream, protocol: TrainProtocol, step: int) -> EpisodeContext:
    """Return the context of the first episode of a step's meta-batch."""
    return EpisodeContext(stream, step * protocol.meta_batch)


class OuterLoop:
    """Meta-training of weights: an outer optimiser follows the algorithm's gradient.

    Args:
        engine: engine of the model that is trained (with a wide head in joint training).
        algorithm: algorithm with the outer optimiser and its rate.
        protocol: protocol with the number of steps and the clip.
        theta: initial weights (P,).
        gradient: function that returns the outer gradient and loss of a step.
    """

    def __init__(
        self,
        engine: Engine,
        algorithm: Algorithm,
        protocol: TrainProtocol,
        theta: Tensor,
        gradient: MetaGradient,
    ) -> None:
        self.engine, self.algorithm, self.protocol = engine, algorithm, protocol
        self.gradient = gradient
        #: State that the inner optimiser takes from one meta-batch to the next, if any.
        self.inner_state = algorithm.initial_inner_state(engine)
        self.weights = nn.Parameter(theta.clone())
        optimiser = torch.optim.Adam if algorithm.outer_optimiser == "adam" else torch.optim.SGD
        self.optimiser = optimiser([self.weights], lr=algorithm.outer_rate)
        #: Number of outer steps done.
        self.done = 0
        self._losses: list[Tensor] = []  # since the last visit

    @property
    def theta(self) -> Tensor:
        """Current weights (P,)."""
        return self.weights.detach()

    def rate(self, step: int) -> float:
        """Return the outer rate of a step."""
        rate = self.algorithm.outer_rate
        match self.algorithm.outer_schedule:
            case "linear":
                return rate * (1 - step / self.protocol.steps)
            case "harmonic":
                return rate / (step + 1)
        return rate

    def step(self, step: int) -> Tensor:
        """Do one outer step and return its loss (), without waiting for the device."""
        outer = self.gradient(step, self.theta, self.inner_state)
        # A copy is an ordinary tensor, even if the engine computed in inference mode.
        self.inner_state = None if outer.inner_state is None else outer.inner_state.clone()
        clip = self.protocol.clip
        scale = self.protocol.outer_scale if self.algorithm.query_loss else 1
        gradient = outer.gradient if scale == 1 else outer.gradient * scale
        self.weights.grad = gradient if clip is None else gradient.clamp(-clip, clip)
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate(step)
            if "eps" in group:  # only Adam has it
                group["eps"] = epsilon(self.algorithm.outer_epsilon, group["betas"][1], step + 1)
        self.optimiser.step()
        return outer.loss

    def run(
        self,
        points: list[int],
        visit: Callable[[int, Tensor | None], None],
        pause: Callable[[], None] = lambda: None,
    ) -> None:
        """Do the outer steps that are left; call ``visit(steps done, losses since)`` at ``points``.

        ``pause`` is called between two steps, when `state` is complete.

        Raises:
            Diverged: at a point, a loss or weight was not finite or a loss was too large.
        """
        if self.done == 0:
            visit(0, None)
        for step in range(self.done, self.protocol.steps):
            self._losses.append(self.step(step))
            self.done = step + 1
            if self.done in points:
                window = torch.stack(self._losses)
                self._losses.clear()
                self._check(window)
                visit(self.done, window)
            pause()

    def state(self) -> dict[str, Tensor]:
        """Return all that later steps depend on, except `done`: weights, optimiser, losses."""
        found = {"weights": self.theta}
        if self.inner_state is not None:
            found["carried"] = self.inner_state
        for name, value in self.optimiser.state_dict()["state"].get(0, {}).items():
            if value is not None:
                found[f"optimiser/{name}"] = value
        if self._losses:
            found["losses"] = torch.stack(self._losses)
        return {name: value.detach().cpu().clone() for name, value in found.items()}

    def restore(self, done: int, state: dict[str, Tensor]) -> None:
        """Continue from the `state` after ``done`` steps."""
        self.done = done
        self._losses = list(state.get("losses", torch.empty(0)).to(self.engine.device))
        if self.inner_state is not None:
            self.inner_state = state["carried"].to(self.inner_state)
        with torch.no_grad():
            self.weights.copy_(state["weights"])
        own = {
            name.removeprefix("optimiser/"): value
            for name, value in state.items()
            if name.startswith("optimiser/")
        }
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": {0: own} if own else {}, "param_groups": groups})

    def _check(self, window: Tensor) -> None:
        bad = (~(window.abs() < EXPLODED)).nonzero()
        if len(bad):
            at = self.done - len(window) + int(bad[0]) + 1
            raise Diverged(f"the outer loss was {float(window[bad[0]]):.3g} at outer step {at}")
        if not bool(self.theta.isfinite().all()):
            raise Diverged(f"the weights were not finite after outer step {self.done}")


def curve_points(steps: int, points: int) -> list[int]:
    """Return the outer steps at which curves are sampled: evenly spaced, including the last."""
    points = min(max(points, 1), steps)
    return sorted({math.ceil(steps * (i + 1) / points) for i in range(points)})


def transfer(theta: Tensor, source: Layout, target: Layout, fallback: Tensor) -> Tensor:
    """Return ``fallback`` with every parameter replaced that has one name and shape in both models.

    In this way a model trained with one output per meta-train class passes on all but its head.
    """
    values = {name: value[None] for name, value in target.unflatten(fallback).items()}
    for name, value in source.unflatten(theta).items():
        if name in values and values[name][0].shape == value.shape:
            values[name] = value[None]
    return target.join(values)[0]
