"""The processes of one cell, among which the episodes of training and tests are divided."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from functools import cached_property
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from suite.cell.evaluation import Scores, scores
from suite.cell.meta_gradient import MetaGradient
from suite.cell.setup import CellSetup
from suite.cell.timing import PeakMemory, matrix_product_rate
from suite.config.cell import EvaluationProtocol
from suite.core.episodes import EpisodeContext, Episodes
from suite.core.process_pool import ForkPool
from suite.core.streams import Stream
from suite.engines.replay.capture import Work
from suite.records.schema import Memory


class CellWorkers:
    """The processes that compute a cell: as many as it has shards, if the system can fork them.

    It is a context manager: at its end it ends the other processes.
    """

    def __init__(self, setup: CellSetup) -> None:
        self._setup = setup
        self._gradients = setup.meta_gradients() if setup.trains else None
        # If there is an accelerator, autograd has threads that a fork does not copy.
        autograd = setup.engine.differentiates or setup.trainer.differentiates
        alone = setup.device.type != "cpu" or (autograd and torch.accelerator.is_available())
        self._pool = ForkPool(self._jobs, 0 if alone else setup.cell.numerics.shards - 1)

    def __len__(self) -> int:
        return len(self._pool)

    def __enter__(self) -> CellWorkers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._pool.close()

    @cached_property
    def _parts(self) -> list[slice]:
        return self._setup.trainer.parts(self._setup.algorithm, self._setup.batch)

    @cached_property
    def _inner(self) -> Work:
        """Inner loop of training, recorded if it is whole and an outer step may be recorded."""
        work, setup = _inner_loop(self._setup), self._setup
        whole = setup.trainer is setup.engine and len(self._parts) == 1
        return self._gradients.recorded(work) if self._gradients and whole else work

    @cached_property
    def gradient(self) -> MetaGradient:
        """Outer gradient as these processes compute it; only for a cell that trains."""
        assert self._gradients is not None
        return self._gradients.choose(self._pool)

    def scores(
        self,
        theta: Tensor,
        protocol: EvaluationProtocol,
        context: EpisodeContext,
        last: bool = False,
    ) -> Scores:
        """Return the scores of all test episodes, adapted from ``theta`` (P,).

        With ``last``, only the scores after the last step are returned.
        """
        return scores(self.score(self._setup.test.parts(protocol), theta, protocol, context, last))

    def score(
        self,
        parts: list[slice],
        theta: Tensor,
        protocol: EvaluationProtocol,
        context: EpisodeContext,
        last: bool = False,
    ) -> list[Any]:
        """Return the `TestPart` of each of some parts of the test episodes."""
        carried = None if context.inner_state is None else context.inner_state.cpu().numpy()
        weights = theta.cpu().numpy()
        return self._pool.map("score", parts, weights, protocol, context.stream, carried, last)

    def adapt(self) -> None:
        """Run the training's inner loop once on the first meta-batch, and discard the result."""
        self._pool.map("adapt", self._parts)

    def ceiling(self) -> float:
        """Return the FLOP/s of matrix products in all processes at the same time."""
        return sum(self._pool.broadcast("ceiling"))

    def peak(self) -> Memory:
        """Return the sum over processes of their peaks, each above its own start."""
        peaks = self._pool.broadcast("peak")
        known = [peak.peak_bytes for peak in peaks if peak.peak_bytes is not None]
        total = sum(known) if len(known) == len(peaks) else None
        return Memory(peak_bytes=total, kind=peaks[0].kind)

    def _jobs(self) -> dict[str, Any]:
        memory = PeakMemory(self._setup.device)
        return {
            **(self._gradients.jobs() if self._gradients else {}),
            "score": self._score,
            "adapt": self._adapt,
            "ceiling": self._ceiling,
            "peak": lambda _: memory.read(),
        }

    def _score(
        self,
        part: slice,
        theta: Any,
        protocol: EvaluationProtocol,
        stream: Stream,
        carried: Any,
        last: bool,
    ) -> Any:
        engine = self._setup.engine

        def tensor(values: Any) -> Tensor:
            # A copy has the usual alignment, on which the last bits of a product can depend.
            return torch.tensor(values, device=engine.device, dtype=engine.dtype)

        context = EpisodeContext(stream, inner_state=None if carried is None else tensor(carried))
        return self._setup.test.part(part, tensor(theta), protocol, context, last)

    def _ceiling(self, _: None) -> float:
        return matrix_product_rate(self._setup.device, self._setup.engine.dtype)

    @torch.no_grad()
    def _adapt(self, part: slice) -> None:
        setup, batch = self._setup, self._setup.batch[part]
        context = EpisodeContext(setup.inner_stream).after(part.start)
        self._inner(setup.initial, batch, context)


def _inner_loop(setup: CellSetup) -> Work:
    """Return the work that adapts to the support sets and gives the final weights (T, P)."""
    algorithm, engine = setup.algorithm, setup.engine

    def work(theta: Tensor, episodes: Episodes, context: EpisodeContext) -> Sequence[Tensor]:
        steps = algorithm.inner_steps
        return deque(algorithm.adapt(engine, theta, episodes.support, steps, context), maxlen=1)

    return work
