"""The interleaved executor: trains several cells side by side on one CUDA device, in one process.

The kernels of a few-shot outer step are too small to fill a GPU. Here several cells each have a
CUDA stream, and take turns: one issues an outer step, and while the device computes it, the next
one issues its own. The device computes the steps of different cells at the same time, and each cell
has the same bits as if it ran by itself. Times and peak memory of a cell mean nothing then: timings
are marked, and the peak is left out of the record.

Every lane is a thread, but only one runs at any moment, because neither torch's global state nor
the recording of CUDA graphs admits two. A thread hands over after each outer step.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Generator, Iterator
from contextlib import AbstractContextManager, nullcontext

import torch

from suite.config.cell import Cell
from suite.core import signals
from suite.executors.base import Outcome, Queue, RunWork
from suite.executors.serial import KINDS, compute_in_process
from suite.executors.supervision import drive
from suite.records.provenance import usable_cores
from suite.records.schema import Memory

#: Number of cells at a time, unless the user chooses it. On an H100, four trainings of MAML on
#: 5-way 1-shot Omniglot take 2.2 times as long as one, and eight take 3.6 times as long.
LANES = 4


class Interleaved:
    """Executor that computes cells side by side in this process; see `suite.executors.base`.

    Args:
        count: number of cells at a time.
    """

    elsewhere = False
    sees_files = True

    def __init__(self, count: int = LANES) -> None:
        self._count = count

    @property
    def lanes(self) -> list[Collection[str]]:
        """The kinds of device of each lane."""
        return [KINDS] * self._count

    @property
    def cores(self) -> int:
        """Number of cores that this process may use."""
        return usable_cores()

    def run(self, cells: Queue, work: RunWork) -> Generator[Outcome]:
        """Yield the outcome of each cell as it finishes."""
        return drive(_Lanes(self._count, work), cells)


class _Lanes:
    """The cells that are computed at the moment; a `WorkerGroup`."""

    def __init__(self, count: int, work: RunWork) -> None:
        self._count, self._work = count, work
        self._lanes: list[_CellThread] = []

    @property
    def busy(self) -> bool:
        return bool(self._lanes)

    def begin(self, cells: Queue) -> None:
        while len(self._lanes) < self._count:
            cell = cells.take(KINDS)
            if cell is None:
                return
            self._lanes.append(_CellThread(cell, self._work))

    def stop(self) -> None:
        """Do nothing: every training sees the request itself before its next outer step."""

    def outcomes(self) -> Iterator[Outcome]:
        for lane in list(self._lanes):
            if lane.advance():
                continue
            self._lanes.remove(lane)
            if lane.outcome is not None:
                yield lane.outcome


class _CellThread:
    """The computation of one cell, which stands still except during `advance`."""

    def __init__(self, cell: Cell, work: RunWork) -> None:
        self._cell, self._work = cell, work
        self._turn, self._handed_over = threading.Semaphore(0), threading.Semaphore(0)
        self._error: BaseException | None = None
        self._ended = False
        #: Outcome of the cell; None until it is finished, and if it was stopped.
        self.outcome: Outcome | None = None
        # A daemon, so that a second signal, which does not wait, can end the process.
        threading.Thread(target=self._compute, daemon=True).start()

    def advance(self) -> bool:
        """Compute up to the end of the next outer step; return whether the cell goes on.

        Raises:
            UserError: the input of the cell is invalid.
        """
        self._turn.release()
        self._handed_over.acquire()
        if self._error is not None and not isinstance(self._error, signals.Stopped):
            raise self._error
        return not self._ended

    def _hand_over(self) -> None:
        self._handed_over.release()
        self._turn.acquire()

    def _compute(self) -> None:
        self._turn.acquire()
        try:
            with _stream(torch.device(self._cell.numerics.device)):
                self.outcome = _without_peak(
                    compute_in_process(self._cell, self._work, alone=False, pause=self._hand_over)
                )
        except BaseException as error:  # `advance` raises it in the thread of the executor
            self._error = error
        finally:
            self._ended = True
            self._handed_over.release()


def _stream(device: torch.device) -> AbstractContextManager[object]:
    """Return a context in which work on a CUDA device goes to a new stream."""
    if device.type != "cuda":
        return nullcontext()
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))  # data sets may still be on their way
    return torch.cuda.stream(stream)


def _without_peak(outcome: Outcome) -> Outcome:
    """Return the outcome without peak memory: it is that of all cells together."""
    record = outcome.record
    if record is None or record.memory is None:
        return outcome
    unknown = Memory(peak_bytes=None, kind=record.memory.kind)
    return outcome._replace(record=record.model_copy(update={"memory": unknown}))
