"""Work on meta-batches, recorded on the first and replayed on every later one, on the same memory.

A meta-step of few-shot episodes is hundreds or thousands of operations of a few microseconds each,
and the host that issues them is what it waits for. On a GPU they are recorded as one CUDA graph, on
the CPU as a `Tape`. What an inner loop draws on the host cannot be recorded: an algorithm that
draws mini-batches runs as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor

from suite.algorithms.base import Algorithm, Draws
from suite.engines.base import Engine
from suite.engines.tape import Tape, Unrecorded
from suite.episodes import Episodes, Examples

WARM_UP = 3
#: Times from which on a recording, which takes as long as some twenty steps, is made up for.
OFTEN = 50
#: Weights at which a tape must do, bit for bit, what the work does.
PROOFS = 4

#: Called with weights (P,), a meta-batch, and what its inner loops take from outside.
Work = Callable[[Tensor, Episodes, Draws], Sequence[Tensor]]


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


def pays(engine: Engine, parts: Sequence[slice], times: int) -> bool:
    """Return whether to record what is done so often to a meta-batch of these parts.

    On the CPU dispatch is what a batch costs that the engine takes whole.
    """
    bound = engine.device.type == "cuda" or len(parts) == 1
    return bound and times >= OFTEN and not engine.differentiates


def outer_work(engine: Engine, algorithm: Algorithm) -> Work:
    """Return the work of an outer step: its gradient (P,) and loss ()."""

    def work(theta: Tensor, episodes: Episodes, draws: Draws) -> Sequence[Tensor]:
        outer = engine.meta_gradient(algorithm, theta, episodes, draws)
        return outer.gradient, outer.loss

    return work


class Capture:
    """Work on meta-batches of one shape, recorded if that is possible.

    Args:
        work: what is to be done; returns the same tensors' worth for every meta-batch.
        device: on which.
    """

    def __init__(self, work: Work, device: torch.device) -> None:
        self._work, self._device = work, device
        self._inputs: list[Tensor] = []
        self._outputs: Sequence[Tensor] = []
        self._replay: Callable[[], None] | None = None
        #: Why nothing is recorded, once that is known.
        self.refused: str | None = None

    def __call__(self, theta: Tensor, episodes: Episodes, draws: Draws) -> Sequence[Tensor]:
        """Return what the work returns; the next call overwrites it."""
        if self.refused is not None:
            return self._work(theta, episodes, draws)
        support, query = episodes.support, episodes.query
        inputs = [theta, support.x, support.y, query.x, query.y]
        if self._replay is None:
            self._inputs = [value.clone() for value in inputs]
            try:
                self._replay = self._graph() if self._device.type == "cuda" else self._tape()
            except Unrecorded as reason:
                self.refused, self._inputs, self._outputs = str(reason), [], []
                return self._work(theta, episodes, draws)
        for buffer, value in zip(self._inputs, inputs, strict=True):
            buffer.copy_(value)
        self._replay()
        return self._outputs

    @torch.no_grad()
    def _afresh(self) -> Sequence[Tensor]:
        """Do the work on the buffers."""
        theta, support_x, support_y, query_x, query_y = self._inputs
        # New examples every time: what an engine remembers of them belongs to one meta-batch.
        support, query = Examples(support_x, support_y), Examples(query_x, query_y)
        nothing: Any = _Nothing()
        return self._work(theta, Episodes(support, query, nothing), Draws(nothing, nothing))

    def _tape(self) -> Callable[[], None]:
        self._afresh()  # what the engine does once only, it has done
        tape = Tape(self._afresh)
        theta = self._inputs[0].clone()
        for proof in range(PROOFS):
            torch.mul(theta, 1 + proof / PROOFS, out=self._inputs[0])
            tape.replay()
            if not all(map(torch.equal, tape.outputs, self._afresh())):
                raise Unrecorded("a replay is not the work, bit for bit")
        self._outputs = tape.outputs
        return tape.replay

    def _graph(self) -> Callable[[], None]:
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        waiting = torch.cuda.get_sync_debug_mode()
        try:
            torch.cuda.set_sync_debug_mode("error")
            with torch.cuda.stream(aside):
                for _ in range(WARM_UP):
                    self._afresh()
        except RuntimeError as error:
            if "synchroniz" not in str(error):
                raise
            raise Unrecorded(str(error)) from error
        finally:
            torch.cuda.set_sync_debug_mode(waiting)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._outputs = self._afresh()
        return graph.replay
