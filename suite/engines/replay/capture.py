"""Work on meta-batches, recorded on the first and replayed on every later one, on the same memory.

A meta-step of few-shot episodes is hundreds or thousands of operations of a few microseconds each,
and most of its time goes into issuing them on the host. On a GPU they are recorded as one CUDA
graph, on the CPU as a `Tape`. Random draws of an inner loop on the host cannot be recorded: an
algorithm that draws mini-batches runs without a recording.
"""

from __future__ import annotations

import functools
import gc
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor

from suite.algorithms.base import Algorithm
from suite.core.episodes import EpisodeContext, Episodes, Examples
from suite.engines.base import Engine
from suite.engines.replay.tape import NotReplayable, Tape

WARM_UP = 3
#: Number of steps from which a recording, which takes as long as about twenty steps, saves time.
MIN_STEPS = 50
#: Factors on weights and examples with which a tape is checked against the work.
FACTORS = (-1.5, 0.5, 1.75)
#: Relative distance of a CUDA graph from the work that rounding cannot explain.
FAR = 1e-2

#: Function of weights (P,), a meta-batch, and the other inputs of its inner loops.
Work = Callable[[Tensor, Episodes, EpisodeContext], Sequence[Tensor]]


class _Nothing:
    """Placeholder for a stream, an episode's number or its draws; any use of it raises an error."""

    def __getattr__(self, name: str) -> NoReturn:
        raise NotReplayable(f"the inner loop draws on the host ({name})")

    def __add__(self, episodes: int) -> _Nothing:
        return self

    def __index__(self) -> NoReturn:
        raise NotReplayable("the inner loop asks for the number of an episode")

    def __getitem__(self, rows: Any) -> _Nothing:
        if not isinstance(rows, slice):
            raise NotReplayable("the inner loop asks how an episode was drawn")
        return self

    def _asked(self, *others: Any) -> NoReturn:
        raise NotReplayable("the inner loop asks for the number of an episode, or how it was drawn")

    # Python looks operators up in the class, without `__getattr__`.
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __bool__ = __hash__ = _asked
    __len__ = __iter__ = __contains__ = __array__ = __int__ = __float__ = __neg__ = _asked
    __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _asked
    __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = __pow__ = __rpow__ = _asked


def why_not_record(engine: Engine, algorithm: Algorithm, parts: Sequence[slice], steps: int) -> str:
    """Return why the work on meta-batches of these parts is not recorded; '' if it is.

    On the CPU, dispatch takes most of the time only if the engine takes a meta-batch whole. A state
    that is carried from episode to episode cannot be recorded.

    Args:
        engine, algorithm: engine that computes, and algorithm that it computes.
        parts: parts into which the engine cuts a meta-batch.
        steps: number of times that the work will be done.
    """
    if engine.differentiates:
        return "the engine differentiates automatically"
    if algorithm.carries_state(engine):
        return "a state goes from episode to episode"
    if engine.device.type != "cuda" and len(parts) > 1:
        return "the engine cuts a meta-batch into parts, which are large"
    return "" if steps >= MIN_STEPS else f"fewer than {MIN_STEPS} steps"


def outer_work(engine: Engine, algorithm: Algorithm) -> Work:
    """Return the work of an outer step: its gradient (P,) and loss ()."""

    def work(theta: Tensor, episodes: Episodes, context: EpisodeContext) -> Sequence[Tensor]:
        outer = engine.meta_gradient(algorithm, theta, episodes, context)
        return outer.gradient, outer.loss

    return work


class Capture:
    """Work on meta-batches of one shape, recorded if that is possible.

    Args:
        work: function to record. It returns tensors of the same shapes for every meta-batch. It
            must not write to memory that existed before, nor read numbers on the host, and it is
            run several times before the first result.
        device: device on which the work runs.
    """

    def __init__(self, work: Work, device: torch.device) -> None:
        self._work, self._device = work, device
        self._inputs: list[Tensor] = []
        self._kinds: list[Any] = []
        self._outputs: Sequence[Tensor] = []
        self._replay: Callable[[], None] | None = None
        #: Reason why nothing is recorded; None until that is known.
        self.refused: str | None = None

    def __call__(
        self, theta: Tensor, episodes: Episodes, context: EpisodeContext
    ) -> Sequence[Tensor]:
        """Return the tensors of the work for ``theta`` (P,); the next call overwrites them.

        Inputs whose shapes, dtypes or devices differ from the first call's are not replayed but
        computed directly.
        """
        support, query = episodes.support, episodes.query
        inputs = [theta, support.x, support.y, query.x, query.y]
        kinds = list(map(_kind, inputs))
        if self._replay is None and self.refused is None:
            self._inputs, self._kinds = [value.clone() for value in inputs], kinds
            try:
                self._replay = self._graph() if self._device.type == "cuda" else self._tape()
                self._prove(self._work(theta, episodes, context))
            except NotReplayable as reason:
                self.refused, self._replay = str(reason), None
                self._inputs, self._outputs, self._kinds = [], [], []
        if kinds != self._kinds:
            return self._work(theta, episodes, context)
        assert self._replay is not None
        for buffer, value in zip(self._inputs, inputs, strict=True):
            buffer.copy_(value)
        self._replay()
        return self._outputs

    @torch.no_grad()
    def _afresh(self) -> Sequence[Tensor]:
        """Do the work on the buffers."""
        theta, support_x, support_y, query_x, query_y = self._inputs
        # New objects every time, because an engine's memo in them belongs to one meta-batch.
        support, query = Examples(support_x, support_y), Examples(query_x, query_y)
        nothing: Any = _Nothing()
        try:
            return self._work(
                theta, Episodes(support, query, nothing), EpisodeContext(nothing, nothing)
            )
        except TypeError as error:  # compiled code was given `_Nothing`
            raise NotReplayable(str(error)) from error

    def _tape(self) -> Callable[[], None]:
        self._afresh()  # operations that the engine does only once are done here
        tape = Tape(self._afresh)
        self._outputs = tape.outputs
        return tape.replay

    def _prove(self, found: Sequence[Tensor]) -> None:
        """Check that a replay gives what the work ``found`` now, and the same on other numbers."""
        try:
            self._prove_on_others(found)
        except torch.OutOfMemoryError as error:
            raise NotReplayable("there is no memory for a graph beside the work") from error

    def _prove_on_others(self, found: Sequence[Tensor]) -> None:
        self._compare(found)
        first = [value.clone() for value in self._inputs]
        for factor in FACTORS:
            for buffer, value in zip(self._inputs, first, strict=True):
                buffer.copy_(value if buffer is self._inputs[0] else value.roll(1))
                if buffer.is_floating_point():
                    buffer.mul_(factor)
            self._compare(self._afresh())

    def _compare(self, found: Sequence[Tensor]) -> None:
        assert self._replay is not None
        try:
            self._replay()
        except RuntimeError as error:
            raise NotReplayable(f"it can't be replayed: {error}") from error
        for output, value in zip(self._outputs, found, strict=True):
            value = value.detach()
            if self._device.type == "cuda":
                # On a GPU the last bits may depend on the address of the examples in memory.
                if not close(output, value):
                    raise NotReplayable("a replay is not the work")
            # Bytes are compared: then NaN equals itself, and -0 differs from 0.
            elif output.numpy().tobytes() != value.numpy().tobytes():
                raise NotReplayable("a replay is not the work, bit for bit")

    def _graph(self) -> Callable[[], None]:
        aside = _aside(torch.cuda.current_device())
        aside.wait_stream(torch.cuda.current_stream())
        waiting = torch.cuda.get_sync_debug_mode()
        try:
            _set_sync_debug_mode("error")
            with torch.cuda.stream(aside):
                for _ in range(WARM_UP):
                    self._afresh()
        except RuntimeError as error:
            if "synchroniz" not in str(error):
                raise
            raise NotReplayable(str(error)) from error
        finally:
            _set_sync_debug_mode(waiting)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        gc.collect()  # now, because freeing an old graph calls the driver: not while recording
        try:
            # The stream is that of the warm-up, because its workspaces exist already.
            with torch.cuda.graph(graph, stream=aside):
                self._outputs = self._afresh()
        except RuntimeError as error:  # includes torch.OutOfMemoryError
            raise NotReplayable(f"it cannot be captured: {error}") from error
        return graph.replay


def close(output: Tensor, value: Tensor) -> bool:
    """Return whether every number of ``output`` is near that of ``value``, and as finite.

    Outdated numbers are far off, because weights and examples differ from check to check. If no
    number is finite, nothing is checked and the result is False.
    """
    whole = value.isfinite()
    if not bool(whole.any()) or not torch.equal(whole, output.isfinite()):
        return False
    output, value = output[whole], value[whole]
    size = value.abs() + value.square().mean().sqrt()
    return bool(((output - value).abs() <= FAR * size).all())


@functools.cache
def _aside(index: int) -> torch.cuda.Stream:
    """Return the one stream for recording: each new stream takes a cuBLAS workspace of 32 MB."""
    return torch.cuda.Stream(index)


def _set_sync_debug_mode(mode: int | str) -> None:
    with warnings.catch_warnings():
        # The library says that the mode misses some synchronisations. A user can do nothing about
        # it, and nothing is lost: those are found when the graph is captured.
        warnings.filterwarnings("ignore", "Synchronization debug mode is a prototype feature")
        torch.cuda.set_sync_debug_mode(mode)


def _kind(tensor: Tensor) -> tuple[torch.Size, torch.dtype, torch.device]:
    return tensor.shape, tensor.dtype, tensor.device
