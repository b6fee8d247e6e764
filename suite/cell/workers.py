"""The processes of one cell: its outer gradients, inner loops and tests, shared out by episodes."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from functools import cached_property
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from suite.cell.evaluation import Scores, scores
from suite.cell.setup import Bench
from suite.cell.timing import PeakMemory, matrix_product_rate
from suite.cell.training import Outers
from suite.config.cell import EvaluationProtocol
from suite.core.episodes import Draws, Episodes
from suite.core.process_pool import Crew
from suite.core.streams import Stream
from suite.engines.capture import Capture, Work, pays
from suite.records.schema import Memory


class Team:
    """Works on a bench with as many processes as its cell has shards, where these can be forked.

    A context: the other processes end with it.
    """

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._shares = bench.shares() if bench.trains else None
        self._inner = Capture(_inner_loop(bench), bench.device)
        # Where there is an accelerator, autograd has threads that a fork would miss.
        autograd = bench.engine.differentiates or bench.trainer.differentiates
        alone = bench.device.type != "cpu" or (autograd and torch.accelerator.is_available())
        self._crew = Crew(self._jobs, 0 if alone else bench.cell.numerics.shards - 1)

    def __len__(self) -> int:
        return len(self._crew)

    def __enter__(self) -> Team:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._crew.close()

    @cached_property
    def _parts(self) -> list[slice]:
        return self._bench.trainer.parts(self._bench.algorithm, self._bench.batch)

    @cached_property
    def outers(self) -> Outers | None:
        """What `OuterLoop` asks for the outer gradients; None leaves them to the loop itself."""
        return self._shares.outers(self._crew) if self._shares else None

    def scores(
        self, theta: Tensor, protocol: EvaluationProtocol, draws: Draws, last: bool = False
    ) -> Scores:
        """Return the scores of all test episodes, adapted from ``theta`` (P,).

        With ``last`` those after the last step alone.
        """
        return scores(self.score(self._bench.test.parts(protocol), theta, protocol, draws, last))

    def score(
        self,
        parts: list[slice],
        theta: Tensor,
        protocol: EvaluationProtocol,
        draws: Draws,
        last: bool = False,
    ) -> list[Any]:
        """Return scores and draws of some parts of the test episodes."""
        carried = None if draws.carried is None else draws.carried.cpu().numpy()
        weights = theta.cpu().numpy()
        return self._crew.map("score", parts, weights, protocol, draws.stream, carried, last)

    def adapt(self) -> None:
        """Run the training's inner loop once on the first meta-batch, and forget the result."""
        self._crew.map("adapt", self._parts)

    def ceiling(self) -> float:
        """Return the FLOP/s of matrix products in all processes at once."""
        return sum(self._crew.everyone("ceiling"))

    def peak(self) -> Memory:
        """Return the sum over processes of their peaks, each above its own start."""
        peaks = self._crew.everyone("peak")
        known = [peak.peak_bytes for peak in peaks if peak.peak_bytes is not None]
        total = sum(known) if len(known) == len(peaks) else None
        return Memory(peak_bytes=total, kind=peaks[0].kind)

    def _jobs(self) -> dict[str, Any]:
        memory = PeakMemory(self._bench.device)
        return {
            **(self._shares.jobs() if self._shares else {}),
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
        engine = self._bench.engine

        def tensor(values: Any) -> Tensor:
            # A copy: aligned as every tensor is, which the last bits of a product can depend on.
            return torch.tensor(values, device=engine.device, dtype=engine.dtype)

        draws = Draws(stream, carried=None if carried is None else tensor(carried))
        return self._bench.test.part(part, tensor(theta), protocol, draws, last)

    def _ceiling(self, _: None) -> float:
        return matrix_product_rate(self._bench.device, self._bench.engine.dtype)

    @torch.no_grad()
    def _adapt(self, part: slice) -> None:
        bench, batch = self._bench, self._bench.batch[part]
        draws = Draws(bench.inner_draws).after(part.start)
        # Recorded where an outer step is, if in one piece: the two are compared.
        times, same = bench.cell.protocol.train.steps, bench.trainer is bench.engine
        often = same and pays(bench.engine, bench.algorithm, self._parts, times)
        often = often and len(self._parts) == 1
        (self._inner if often else _inner_loop(bench))(bench.initial, batch, draws)


def _inner_loop(bench: Bench) -> Work:
    """Return as work the adaptation to the support sets: the weights (T, P) at its end."""
    algorithm, engine = bench.algorithm, bench.engine

    def work(theta: Tensor, episodes: Episodes, draws: Draws) -> Sequence[Tensor]:
        steps = algorithm.inner_steps
        return deque(algorithm.adapt(engine, theta, episodes.support, steps, draws), maxlen=1)

    return work
