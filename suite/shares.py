"""The outer gradient of a cell's meta-batches, shared out over its processes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

from suite.algorithms.base import Algorithm, Draws, Outer
from suite.crew import Crew, Job, runs, shared
from suite.engines.base import Engine
from suite.episodes import Episodes
from suite.training import Outers

#: Times that a meta-batch is done whole and in shares to see which is faster, and the share of the
#: time below which the latter are: they keep other cores awake.
TRIALS, WORTH = 5, 0.9


class Shares:
    """What each process of a crew does of an outer step, and how its results come together.

    A meta-batch of several parts is shared out by parts. One that the engine takes whole is shared
    out by episodes where that changes no bit and is faster, both seen on the first meta-batch: the
    rows of `Algorithm.each` are then those of the whole batch, and their mean is taken over all.

    Args:
        engine, algorithm: of the gradient.
        batch: returns the meta-batch of a step; all have one shape.
        draws: returns what the first episode of a step's meta-batch takes from outside.
    """

    def __init__(
        self,
        engine: Engine,
        algorithm: Algorithm,
        batch: Callable[[int], Episodes],
        draws: Callable[[int], Draws],
    ) -> None:
        self._engine, self._algorithm = engine, algorithm
        self._batch, self._draws = batch, draws
        first = batch(0)
        self._count, self.parts = len(first), engine.parts(algorithm, first)
        rows = len(self.parts) if len(self.parts) > 1 else self._count
        # What travels with every outer step: the weights one way, gradients and losses back.
        self._theta = shared(engine.layout.size, dtype=engine.dtype)
        self._rows = shared(rows, engine.layout.size, dtype=engine.dtype)
        self._losses = shared(rows, dtype=engine.dtype)

    def jobs(self) -> Mapping[str, Job]:
        """Return the jobs that `outers` sends the processes of a crew."""
        return {"part": self._part, "episodes": self._episodes}

    def outers(self, crew: Crew) -> Outers | None:
        """Return what an outer loop calls for its gradients; None leaves them to the loop."""
        if len(crew) == 1:
            return None

        def by_part(step: int, theta: Tensor, parts: list[slice]) -> Iterable[Outer]:
            self._theta.copy_(theta)
            crew.map("part", list(enumerate(parts)), step)
            return map(Outer, self._rows, self._losses)

        cuts = runs(self._count, len(crew))

        def by_episode(step: int, theta: Tensor, parts: list[slice]) -> Iterable[Outer]:
            self._theta.copy_(theta)
            crew.map("episodes", cuts, step)
            return [self._algorithm.gather(self._theta, self._rows, self._losses)]

        if len(self.parts) > 1:
            return by_part
        apart = self._count >= len(crew) and self._algorithm.by_episode
        if not apart or self._algorithm.carried(self._engine) is not None:
            return None
        return by_episode if self._same(by_episode) and self._faster(by_episode) else None

    @torch.no_grad()
    def _same(self, by_episode: Outers) -> bool:
        """Return whether the shares of the first meta-batch are, bit for bit, the whole's."""
        engine, algorithm = self._engine, self._algorithm
        theta, batch, draws = engine.layout.flatten(engine.model), self._batch(0), self._draws(0)
        (shared_out,) = by_episode(0, theta, self.parts)
        whole = engine.outer(algorithm, self._theta, batch, draws)
        rows, losses = engine.each(algorithm, self._theta, batch, draws)
        pairs = [
            (rows, self._rows),
            (losses, self._losses),
            (whole.gradient, shared_out.gradient),
            (whole.loss, shared_out.loss),
        ]
        return all(torch.equal(*pair) for pair in pairs)

    @torch.no_grad()
    def _faster(self, by_episode: Outers) -> bool:
        """Return whether the first meta-batch is done sooner in shares."""
        theta = self._theta.clone()

        def whole() -> None:
            self._engine.outer(self._algorithm, theta, self._batch(0), self._draws(0))

        def in_shares() -> None:
            by_episode(0, theta, self.parts)

        least = [math.inf, math.inf]
        for _ in range(TRIALS):
            for i, work in enumerate((whole, in_shares)):
                began = time.perf_counter()
                work()
                least[i] = min(least[i], time.perf_counter() - began)
        return least[1] < WORTH * least[0]

    @torch.no_grad()
    def _part(self, at: tuple[int, slice], step: int) -> None:
        row, part = at
        episodes, draws = self._batch(step)[part], self._draws(step).after(part.start)
        outer = self._engine.outer(self._algorithm, self._theta, episodes, draws)
        self._rows[row], self._losses[row] = outer.gradient, outer.loss

    @torch.no_grad()
    def _episodes(self, cut: slice, step: int) -> None:
        episodes, draws = self._batch(step)[cut], self._draws(step).after(cut.start)
        found = self._engine.each(self._algorithm, self._theta, episodes, draws)
        self._rows[cut], self._losses[cut] = found
