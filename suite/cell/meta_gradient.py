"""The outer gradient of a cell's meta-batches, shared out over its processes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from suite.algorithms.base import Algorithm
from suite.cell.training import Outers
from suite.core.episodes import EpisodeContext, Episodes, OuterGradient
from suite.core.process_pool import ForkPool, Job, runs, shared
from suite.engines.base import Engine
from suite.engines.capture import Capture, Work, outer_work, worth_recording

#: Episodes between places where a meta-batch may be cut: vectors of up to 64 bytes then begin at
#: the same numbers in a share and in the whole. What fills none the library computes otherwise.
ALIGNMENT = 16
#: Weights at which a share must be, bit for bit, what it is of the whole.
CHECKS = 8
#: Times that a meta-batch is done whole and in shares to see which is faster, and the share of the
#: time below which the latter are: they keep other cores awake.
TRIALS, WORTH = 5, 0.9


class Shares:
    """What each process of a crew does of an outer step, and how its results come together.

    A meta-batch of several parts is shared out by parts. One that the engine takes whole is shared
    out by runs of `ALIGNMENT` episodes where that is seen, on the first meta-batch, to change no
    bit and to be faster: the rows of `Algorithm.each` are then those of the whole batch, and their
    mean is taken over all. That is done only where they alone make the outer gradient.

    Args:
        engine, algorithm: of the gradient.
        batch: returns the meta-batch of a step; all have one shape.
        draws: returns what the first episode of a step's meta-batch takes from outside.
        times: how many steps there will be.
    """

    def __init__(
        self,
        engine: Engine,
        algorithm: Algorithm,
        batch: Callable[[int], Episodes],
        draws: Callable[[int], EpisodeContext],
        times: int,
    ) -> None:
        self._engine, self._algorithm = engine, algorithm
        self._batch, self._draws = batch, draws
        first = batch(0)
        self._count, self.parts = len(first), engine.parts(algorithm, first)
        rows = len(self.parts) if len(self.parts) > 1 else self._count
        share = partial(engine.each, algorithm)
        self._often = worth_recording(engine, algorithm, self.parts, times)
        #: What a process does of a meta-batch, recorded by each for itself.
        self._share: Work = Capture(share, engine.device) if self._often else share
        # What travels with every outer step: the weights one way, gradients and losses back.
        self._theta = shared(engine.layout.size, dtype=engine.dtype)
        self._rows = shared(rows, engine.layout.size, dtype=engine.dtype)
        self._losses = shared(rows, dtype=engine.dtype)

    def jobs(self) -> Mapping[str, Job]:
        """Return the jobs that `outers` sends the processes of a crew."""
        return {"part": self._part, "episodes": self._episodes}

    def outers(self, crew: ForkPool) -> Outers | None:
        """Return what an outer loop calls for its gradients; None leaves them to the loop."""
        if len(crew) == 1:
            return None

        def by_part(step: int, theta: Tensor, parts: list[slice]) -> Iterable[OuterGradient]:
            self._theta.copy_(theta)
            crew.map("part", list(enumerate(parts)), step)
            return map(OuterGradient, self._rows, self._losses)

        grains = runs(-(-self._count // ALIGNMENT), len(crew))
        cuts = [slice(a.start * ALIGNMENT, min(a.stop * ALIGNMENT, self._count)) for a in grains]
        cuts = [cut for cut in cuts if cut.start < cut.stop]

        def is_separable(step: int, theta: Tensor, parts: list[slice]) -> Iterable[OuterGradient]:
            self._theta.copy_(theta)
            crew.map("episodes", cuts, step)
            return [self._algorithm.combine(self._theta, self._rows, self._losses)]

        if len(self.parts) > 1:
            return by_part
        apart = len(cuts) > 1 and self._algorithm.is_separable
        if not apart or self._algorithm.carried(self._engine) is not None:
            return None
        return is_separable if self._same(is_separable) and self._faster(is_separable) else None

    @torch.no_grad()
    def _same(self, is_separable: Outers) -> bool:
        """Return whether the shares of the first meta-batch are, bit for bit, the whole's.

        At several weights, for in one place few numbers need differ, and they may agree by chance.
        """
        theta, batch, draws = self._theta.clone(), self._batch(0), self._draws(0)
        for proof in range(CHECKS):
            theta.copy_(self._engine.layout.flatten(self._engine.model)).mul_(1 + proof / CHECKS)
            is_separable(0, theta, self.parts)
            rows, losses = self._engine.each(self._algorithm, self._theta, batch, draws)
            if not (torch.equal(rows, self._rows) and torch.equal(losses, self._losses)):
                return False
        return True

    @torch.no_grad()
    def _faster(self, is_separable: Outers) -> bool:
        """Return whether the first meta-batch is done sooner in shares."""
        theta = self._theta.clone()

        # As an outer loop would do it.
        work = outer_work(self._engine, self._algorithm)
        work = Capture(work, self._engine.device) if self._often else work

        def whole() -> Any:
            return work(theta, self._batch(0), self._draws(0))

        def in_shares() -> Any:
            return is_separable(0, theta, self.parts)

        whole()  # is not timed: it records
        least = [math.inf, math.inf]
        for _ in range(TRIALS):
            for i, way in enumerate((whole, in_shares)):
                began = time.perf_counter()
                way()
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
        found = self._share(self._theta, episodes, draws)
        self._rows[cut], self._losses[cut] = found
