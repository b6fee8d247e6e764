"""The outer loop of one cell."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from suite.algorithms.base import Algorithm, Draws, Outer
from suite.config import TrainProtocol
from suite.engines.base import Engine, Layout, averaged
from suite.engines.capture import Capture, Unrecorded
from suite.episodes import Episodes, Examples
from suite.streams import Stream
from suite.tasks.base import Sampler

#: Bytes of episodes drawn ahead in one go: sampling is then a small part of a step.
LOOKAHEAD_BYTES = 16 * 2**20
MAX_LOOKAHEAD = 64


class Diverged(Exception):
    """The outer loss or the weights are no longer finite; says at which outer step."""


@dataclass
class Curves:
    """The learning curve: at ``steps``, the mean outer loss since the point before, and a score."""

    steps: list[int] = field(default_factory=list)
    train_loss: list[float | None] = field(default_factory=list)
    validation: list[float | None] = field(default_factory=list)


class Source:
    """The meta-training batches of a cell, drawn many steps ahead.

    Step ``s`` sees episodes ``s * meta_batch`` onwards of the stream (seed, "train"): any step can
    be drawn again without the ones before it. All algorithms of a seed see the same episodes.
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

    def draw(self, step: int, count: int) -> Episodes | Examples:
        """Return what ``count`` outer steps from ``step`` on see."""
        protocol, stream = self._protocol, self._stream
        batch = protocol.meta_batch
        if self._joint:
            drawn = self._sampler.joint(stream, step, count, batch, protocol)
            return drawn.to(self._engine.device, self._engine.dtype)
        episodes = self._sampler.sample(stream, step * batch, count * batch, protocol, "train")
        return episodes.to(self._engine.device, self._engine.dtype)

    def step(self, step: int) -> Episodes:
        """Return the meta-batch of one outer step; a joint batch stands as one support set."""
        if self._drawn is None or not self._first <= step < self._first + self._ahead:
            self._first, self._ahead = step, self._lookahead(step)
            self._drawn = self.draw(step, self._ahead)
        at = step - self._first
        if isinstance(self._drawn, Examples):
            pooled = self._drawn[at : at + 1]
            return Episodes(pooled, pooled, np.zeros((1, 0)))
        batch = self._protocol.meta_batch
        return self._drawn[at * batch : (at + 1) * batch]

    def _lookahead(self, step: int) -> int:
        one = self.draw(step, 1)
        sets = [one] if isinstance(one, Examples) else [one.support, one.query]
        size = sum(s.x.numel() * s.x.element_size() for s in sets)
        ahead = max(1, min(MAX_LOOKAHEAD, LOOKAHEAD_BYTES // size))
        return min(ahead, max(1, self._protocol.steps - step))


Outers = Callable[[int, Tensor, list[slice]], Iterable[Outer]]


class OuterLoop:
    """Meta-trains weights: an outer optimiser follows the algorithm's gradient.

    Args:
        engine: of the model that is trained (with a wide head in joint training).
        algorithm: gives the gradient, the optimiser and its rate.
        protocol: meta-batch, number of steps, clip.
        theta: the initial weights (P,).
        source: the meta-training batches.
        draws: stream of the inner loop's own draws.
        outers: called with a step, the weights and the parts of its meta-batch for the outer
            gradient and loss of each part in turn; by default they are computed here, in order.
        capture: whether to record the outer gradient once and replay it, where that is possible;
            by default on a GPU, if the engine records no graph of its own.
    """

    def __init__(
        self,
        engine: Engine,
        algorithm: Algorithm,
        protocol: TrainProtocol,
        theta: Tensor,
        source: Source,
        draws: Stream,
        outers: Outers | None = None,
        capture: bool | None = None,
    ) -> None:
        self.engine, self.algorithm, self.protocol = engine, algorithm, protocol
        self.source, self.draws = source, draws
        self._outers = outers or self._in_turn
        if capture is None:
            capture = engine.device.type == "cuda" and not engine.differentiates
        self._capture = Capture(engine, algorithm) if capture else None
        self.weights = nn.Parameter(theta.clone())
        optimiser = torch.optim.Adam if algorithm.outer_optimiser == "adam" else torch.optim.SGD
        self.optimiser = optimiser([self.weights], lr=algorithm.outer_rate)

    @property
    def theta(self) -> Tensor:
        """The weights (P,) as they are now."""
        return self.weights.detach()

    def rate(self, step: int) -> float:
        """Return the outer rate of a step: constant, or annealed linearly to 0."""
        if self.algorithm.outer_schedule == "constant":
            return self.algorithm.outer_rate
        return self.algorithm.outer_rate * (1 - step / self.protocol.steps)

    def outer(self, theta: Tensor, step: int, episodes: Episodes, part: slice) -> Outer:
        """Return the outer gradient and loss of one part of a step's meta-batch."""
        draws = Draws(self.draws, step * self.protocol.meta_batch).after(part.start)
        return self.engine.outer(self.algorithm, theta, episodes[part], draws)

    def _in_turn(self, step: int, theta: Tensor, parts: list[slice]) -> Iterator[Outer]:
        episodes = self.source.step(step)
        return (self.outer(theta, step, episodes, part) for part in parts)

    def step(self, step: int) -> Tensor:
        """Do one outer step and return its loss (), without waiting for the device."""
        outer = self._meta_gradient(step, self.source.step(step))
        clip = self.protocol.clip
        self.weights.grad = outer.gradient if clip is None else outer.gradient.clamp(-clip, clip)
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate(step)
        self.optimiser.step()
        return outer.loss

    def _meta_gradient(self, step: int, episodes: Episodes) -> Outer:
        if self._capture is not None:
            try:
                return self._capture.outer(self.theta, episodes)
            except Unrecorded:
                self._capture = None
        parts = self.engine.parts(self.algorithm, episodes)
        # One part is done here: to send for help would only cost.
        outers = self._outers if len(parts) > 1 else self._in_turn
        return averaged(self.theta, parts, outers(step, self.theta, parts))

    def run(self, points: list[int], visit: Callable[[int, Tensor | None], None]) -> None:
        """Do all outer steps; call ``visit(steps done, losses since)`` at each of ``points``.

        Raises:
            Diverged: a loss or weight was not finite at a point.
        """
        losses: list[Tensor] = []
        visit(0, None)
        for step in range(self.protocol.steps):
            losses.append(self.step(step))
            if step + 1 in points:
                window = torch.stack(losses)
                losses.clear()
                self._check(step + 1, window)
                visit(step + 1, window)

    def _check(self, done: int, window: Tensor) -> None:
        bad = (~window.isfinite()).nonzero()
        if len(bad):
            at = done - len(window) + int(bad[0]) + 1
            raise Diverged(f"the outer loss was not finite at outer step {at}")
        if not bool(self.theta.isfinite().all()):
            raise Diverged(f"the weights were not finite after outer step {done}")


def curve_points(steps: int, points: int) -> list[int]:
    """Return the outer steps, evenly spaced and ending with the last, at which curves are taken."""
    points = min(max(points, 1), steps)
    return sorted({math.ceil(steps * (i + 1) / points) for i in range(points)})


def transfer(theta: Tensor, source: Layout, target: Layout, fallback: Tensor) -> Tensor:
    """Return ``fallback`` with every parameter that both models share in name and shape replaced.

    This is how a model trained with one head per meta-train class hands its body on.
    """
    result = fallback.clone()
    old = {(span.name, span.shape): span for span in source.spans}
    for span in target.spans:
        match = old.get((span.name, span.shape))
        if match is not None:
            result[span.start : span.stop] = span.row(
                match.value(theta[match.start : match.stop])[None]
            )[0]
    return result
