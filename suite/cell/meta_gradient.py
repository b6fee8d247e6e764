"""How a cell computes the outer gradient of its meta-batches: decided once, in one place.

There are three modes, and all give the same bits:

- ``in-process``: this process computes the parts into which the engine cuts a meta-batch, in order.
- ``replayed``: the operations of a whole meta-batch were recorded once and are replayed.
- ``sharded``: each process of the cell computes some of the parts, or a run of episodes.

`MetaGradients.choose` returns the mode with its reason, and both are written to the record.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from suite.algorithms.base import Algorithm
from suite.core.episodes import EpisodeContext, Episodes, OuterGradient
from suite.core.process_pool import ForkPool, Job, runs, shared
from suite.engines.base import Engine, averaged
from suite.engines.replay.capture import Capture, Work, outer_work, why_not_record

#: Number of episodes between places where a meta-batch may be cut: vectors of up to 64 bytes then
#: begin at the same numbers in a shard and in the whole. The library uses another code path for
#: the remainder that does not fill a vector.
ALIGNMENT = 16
#: Number of weights at which a shard must equal its part of the whole bit for bit.
CHECKS = 8
#: Number of times that a meta-batch is computed whole and in shards, to see which is faster.
TRIALS = 5
#: Smallest speed-up at which shards are used, because they keep other cores busy.
MIN_SPEEDUP = 1.1

#: Function of the step, the weights (P,) and the state (S,) of an inner optimiser, if any.
Compute = Callable[[int, Tensor, Tensor | None], OuterGradient]


@dataclass(frozen=True)
class MetaGradient:
    """The outer gradient (P,) and mean loss () of the meta-batch of a step.

    The gradient may be overwritten by the next call.
    """

    compute: Compute
    _told: Callable[[], tuple[str, str]]

    def __call__(
        self, step: int, theta: Tensor, inner_state: Tensor | None = None
    ) -> OuterGradient:
        """Return gradient and loss at the weights ``theta`` (P,), with the state afterwards."""
        return self.compute(step, theta, inner_state)

    @property
    def mode(self) -> str:
        """Mode: ``in-process``, ``replayed`` or ``sharded``."""
        return self._told()[0]

    @property
    def reason(self) -> str:
        """Reason for this mode, in words."""
        return self._told()[1]


class MetaGradients:
    """The ways in which the processes of a cell can compute the outer gradient.

    A meta-batch of several parts is sharded by parts. One that the engine takes whole is sharded by
    runs of `ALIGNMENT` episodes, if a check on the first meta-batch shows that this changes no bit
    and is faster: the rows of `Algorithm.episode_terms` are then those of the whole batch, and the
    mean is taken over all rows. This is done only if the outer gradient depends only on these rows.

    Args:
        engine, algorithm: engine that computes the gradient, and algorithm that defines it.
        batch: function that returns the meta-batch of a step; all have one shape.
        context: function that returns the context of the first episode of a step's meta-batch.
        steps: number of outer steps.
        replay: whether operations may be recorded and replayed; with None they are if it is faster.
    """

    def __init__(
        self,
        engine: Engine,
        algorithm: Algorithm,
        batch: Callable[[int], Episodes],
        context: Callable[[int], EpisodeContext],
        steps: int,
        replay: bool | None = None,
    ) -> None:
        self._engine, self._algorithm = engine, algorithm
        self._batch, self._context = batch, context
        first = batch(0)
        self._count, self.parts = len(first), engine.parts(algorithm, first)
        self._why_not_replayed = "it is switched off" if replay is False else ""
        if replay is None:
            self._why_not_replayed = why_not_record(engine, algorithm, self.parts, steps)
        rows = len(self.parts) if len(self.parts) > 1 else self._count
        #: Work of a process on its shard; each process records it for itself.
        self._shard: Work = self.recorded(partial(engine.episode_terms, algorithm))
        # Shared memory of every outer step: the weights as input, gradients and losses as output.
        self._theta = shared(engine.layout.size, dtype=engine.dtype)
        self._rows = shared(rows, engine.layout.size, dtype=engine.dtype)
        self._losses = shared(rows, dtype=engine.dtype)

    def jobs(self) -> Mapping[str, Job]:
        """Return the jobs with which the processes of a pool compute shards."""
        return {"part": self._job_of_part, "episodes": self._job_of_episodes}

    def choose(self, pool: ForkPool | None = None) -> MetaGradient:
        """Return the chosen way to compute the outer gradient, with the processes of ``pool``."""
        by_process, why_not_sharded = self._sharded(pool)
        if by_process is not None:
            return by_process
        apart = f"not sharded: {why_not_sharded}"
        if self._why_not_replayed or self._algorithm.carries_state(self._engine):
            why = self._why_not_replayed or "a state goes from episode to episode"
            told = ("in-process", f"{apart}; not replayed: {why}")
            return MetaGradient(self._in_process, lambda: told)
        work = Capture(outer_work(self._engine, self._algorithm), self._engine.device)

        def replayed(step: int, theta: Tensor, _: Tensor | None) -> OuterGradient:
            gradient, loss = work(theta, self._batch(step), self._context(step))
            return OuterGradient(gradient, loss.clone())

        def told_of_replay() -> tuple[str, str]:
            if work.refused is not None:
                return "in-process", f"{apart}; not replayed: {work.refused}"
            return "replayed", apart

        return MetaGradient(replayed, told_of_replay)

    def recorded(self, work: Work) -> Work:
        """Return the work, recorded at its first call if outer steps may be recorded."""
        return work if self._why_not_replayed else Capture(work, self._engine.device)

    def _in_process(self, step: int, theta: Tensor, inner_state: Tensor | None) -> OuterGradient:
        context = self._context(step)._replace(inner_state=inner_state)
        return self._engine.meta_gradient(self._algorithm, theta, self._batch(step), context)

    def _sharded(self, pool: ForkPool | None) -> tuple[MetaGradient | None, str]:
        """Return the gradient in shards, or None and the reason."""
        if pool is None or len(pool) == 1:
            return None, "one process"

        def by_part(step: int, theta: Tensor, _: Tensor | None) -> OuterGradient:
            self._theta.copy_(theta)
            pool.map("part", list(enumerate(self.parts)), step)
            return averaged(theta, self.parts, map(OuterGradient, self._rows, self._losses))

        blocks = runs(-(-self._count // ALIGNMENT), len(pool))
        cuts = [slice(a.start * ALIGNMENT, min(a.stop * ALIGNMENT, self._count)) for a in blocks]
        cuts = [cut for cut in cuts if cut.start < cut.stop]

        def by_episodes(step: int, theta: Tensor, _: Tensor | None) -> OuterGradient:
            self._theta.copy_(theta)
            pool.map("episodes", cuts, step)
            whole = [self._algorithm.combine(self._theta, self._rows, self._losses)]
            return averaged(theta, self.parts, whole)

        if len(self.parts) > 1:
            told = ("sharded", f"{len(self.parts)} parts over {len(pool)} processes")
            return MetaGradient(by_part, lambda: told), ""
        if self._algorithm.carries_state(self._engine):
            return None, "a state goes from episode to episode"
        if not self._algorithm.is_separable:
            return None, "the outer gradient is not made of terms of the episodes"
        if len(cuts) < 2:
            return None, f"a meta-batch of {self._count} episodes is too small"
        if not self._same(by_episodes):
            return None, "shards do not give the bits of the whole"
        if not self._faster(by_episodes):
            return None, "shards are not faster"
        how = "" if self._why_not_replayed else ", each recorded and replayed"
        told = ("sharded", f"{len(cuts)} runs of episodes{how}")
        return MetaGradient(by_episodes, lambda: told), ""

    @torch.no_grad()
    def _same(self, by_episodes: Compute) -> bool:
        """Return whether the shards of the first meta-batch equal the whole bit for bit.

        This is checked at several weights, because a difference may be in few numbers only, and
        these may agree by chance.
        """
        theta, batch, context = self._theta.clone(), self._batch(0), self._context(0)
        for check in range(CHECKS):
            theta.copy_(self._engine.layout.flatten(self._engine.model)).mul_(1 + check / CHECKS)
            by_episodes(0, theta, None)
            rows, losses = self._engine.episode_terms(self._algorithm, self._theta, batch, context)
            if not (torch.equal(rows, self._rows) and torch.equal(losses, self._losses)):
                return False
        return True

    @torch.no_grad()
    def _faster(self, by_episodes: Compute) -> bool:
        """Return whether shards compute the first meta-batch faster."""
        theta = self._theta.clone()
        work = self.recorded(outer_work(self._engine, self._algorithm))

        def whole() -> Any:
            return work(theta, self._batch(0), self._context(0))

        def in_shards() -> Any:
            return by_episodes(0, theta, None)

        whole()  # the first call is not timed, because it records
        least = [math.inf, math.inf]
        for _ in range(TRIALS):
            for i, way in enumerate((whole, in_shards)):
                began = time.perf_counter()
                way()
                least[i] = min(least[i], time.perf_counter() - began)
        return least[0] > MIN_SPEEDUP * least[1]

    @torch.no_grad()
    def _job_of_part(self, at: tuple[int, slice], step: int) -> None:
        row, part = at
        episodes, context = self._batch(step)[part], self._context(step).after(part.start)
        outer = self._engine.outer(self._algorithm, self._theta, episodes, context)
        self._rows[row], self._losses[row] = outer.gradient, outer.loss

    @torch.no_grad()
    def _job_of_episodes(self, cut: slice, step: int) -> None:
        episodes, context = self._batch(step)[cut], self._context(step).after(cut.start)
        found = self._shard(self._theta, episodes, context)
        self._rows[cut], self._losses[cut] = found
