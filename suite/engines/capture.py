"""The outer gradient as one CUDA graph.

On a GPU a meta-step of few-shot episodes is thousands of launches of a few microseconds each, and
the host that issues them is what it waits for. The launches of one meta-batch are recorded once and
replayed for every later one, on the same memory: nothing is dispatched and nothing waits for the
host in between. What an inner loop draws on the host cannot be recorded, so an algorithm that draws
mini-batches runs as it is.

On the CPU the recorded work is called instead, on the same buffers, so that tests meet what a
replay could get wrong: inputs that are not copied in, results that the next call overwrites, and
what outlives a call though it depends on the data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import Tensor

from suite.engines.base import Engine
from suite.episodes import Episodes, Examples

if TYPE_CHECKING:
    from suite.algorithms.base import Algorithm, Outer

WARM_UP = 3


class Unrecorded(Exception):
    """The work draws on the host or waits for the device; recorded, it would repeat itself."""


class _Nothing:
    """A stream of which nothing may be drawn, the number of an episode that nothing may ask."""

    def __getattr__(self, name: str) -> NoReturn:
        raise Unrecorded(f"the inner loop draws on the host ({name})")

    def __add__(self, episodes: int) -> _Nothing:
        return self

    def __index__(self) -> NoReturn:
        raise Unrecorded("the inner loop asks for the number of an episode")

    def __getitem__(self, rows: Any) -> _Nothing:
        if not isinstance(rows, slice):
            raise Unrecorded("the inner loop asks how an episode was drawn")
        return self


class Capture:
    """The outer gradient of one algorithm, for meta-batches of one shape."""

    def __init__(self, engine: Engine, algorithm: Algorithm) -> None:
        self._engine, self._algorithm = engine, algorithm
        self._inputs: list[Tensor] = []
        self._outputs: list[Tensor] = []
        self._replay: Callable[[], None] | None = None

    def outer(self, theta: Tensor, episodes: Episodes) -> Outer:
        """Return the loss and, until the next call, the outer gradient at ``theta`` (P,).

        Raises:
            Unrecorded: nothing can be recorded of this algorithm; asking again raises again.
        """
        from suite.algorithms.base import Outer

        support, query = episodes.support, episodes.query
        inputs = [theta, support.x, support.y, query.x, query.y]
        if self._replay is None:
            self._inputs = [value.clone() for value in inputs]
            self._replay = self._recorded()
        for buffer, value in zip(self._inputs, inputs, strict=True):
            buffer.copy_(value)
        self._replay()
        gradient, loss = self._outputs
        return Outer(gradient, loss.clone())

    @torch.no_grad()
    def _work(self) -> list[Tensor]:
        from suite.algorithms.base import Draws

        theta, support_x, support_y, query_x, query_y = self._inputs
        # New examples every time: what an engine remembers of them belongs to one meta-batch.
        support, query = Examples(support_x, support_y), Examples(query_x, query_y)
        nothing: Any = _Nothing()
        episodes, draws = Episodes(support, query, nothing), Draws(nothing, nothing)
        outer = self._engine.meta_gradient(self._algorithm, theta, episodes, draws)
        return [outer.gradient, outer.loss]

    def _recorded(self) -> Callable[[], None]:
        if self._engine.device.type != "cuda":
            self._outputs = self._work()

            def again() -> None:
                for buffer, value in zip(self._outputs, self._work(), strict=True):
                    buffer.copy_(value)

            return again
        return self._graph()

    def _graph(self) -> Callable[[], None]:
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        waiting = torch.cuda.get_sync_debug_mode()
        try:
            torch.cuda.set_sync_debug_mode("error")
            with torch.cuda.stream(aside):
                for _ in range(WARM_UP):
                    self._work()
        except RuntimeError as error:
            if "synchroniz" not in str(error):
                raise
            raise Unrecorded(str(error)) from error
        finally:
            torch.cuda.set_sync_debug_mode(waiting)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._outputs = self._work()
        return graph.replay
