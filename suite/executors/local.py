"""The local executor: one worker process for each slot of this machine, several cells at once.

Workers are spawned, not forked, because CUDA does not work after a fork. They inherit the
environment and with it the allocator's settings. If a worker dies, by a signal or because the
system has no memory left, a new one runs its cell again, from its checkpoint.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from suite.config.cell import Cell
from suite.core import signals
from suite.core.errors import UserError
from suite.executors.base import Outcome, Queue, RunWork
from suite.executors.job import CellJob
from suite.executors.local_worker import STOP, serve
from suite.executors.slots import Slot
from suite.executors.supervision import TICK, CrashCounter, drive, outcome_of


class Local:
    """Executor that computes cells in workers, one on each slot; see `suite.executors.base`.

    Args:
        slots: slots of this machine.
        plugins: files that every worker loads.
    """

    elsewhere = True
    sees_files = True

    def __init__(self, slots: Sequence[Slot], plugins: Sequence[Path] = ()) -> None:
        self._slots, self._plugins = slots, plugins

    @property
    def lanes(self) -> list[tuple[str]]:
        """The kind of device of each slot."""
        return [(slot.device.type,) for slot in self._slots]

    @property
    def cores(self) -> int:
        """Number of cores of a CPU slot; all have the same number."""
        return max((len(s.cores) for s in self._slots if s.device.type == "cpu"), default=1)

    def run(self, cells: Queue, work: RunWork) -> Generator[Outcome]:
        """Yield outcomes as workers finish; a first signal waits for their checkpoints."""
        workers = _LocalWorkers(self._slots, self._plugins, work)
        try:
            yield from drive(workers, cells)
        finally:
            workers.end()


class _Worker:
    """A worker process as its parent sees it."""

    def __init__(
        self, slot: Slot, profile: str, data: Path | None, plugins: Sequence[Path]
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        arguments = (theirs, slot, profile, data, tuple(plugins))
        # It is not a daemon, because it has children of its own.
        self.process = context.Process(target=serve, args=arguments, daemon=False)
        try:
            self.process.start()
        except OSError as error:
            raise UserError(f"cannot start a worker ({error}); take fewer --workers.") from error
        theirs.close()
        self.cell: Cell | None = None
        self.stopping = False

    def send(self, message: CellJob | str) -> None:
        with suppress(OSError):  # it is dead, which `_read` finds out
            self.connection.send(message)

    def end(self) -> str:
        """End the process, and return in words how it ended."""
        self.connection.close()
        self.process.kill()
        self.process.join()
        code = self.process.exitcode or 0
        return f"{signal.strsignal(-code)}" if code < 0 else f"exit status {code}"


class _LocalWorkers:
    """The workers of one run, and the cells that they compute."""

    def __init__(self, slots: Sequence[Slot], plugins: Sequence[Path], work: RunWork) -> None:
        self._slots, self._plugins, self._work = slots, plugins, work
        self._workers: dict[int, _Worker] = {}  # by the number of the slot
        self._deaths = CrashCounter(work.note, "if memory ran out, take fewer --workers")
        if os.name == "posix":  # a later start would let signals reach a worker
            resource_tracker.ensure_running()

    @property
    def busy(self) -> bool:
        return any(worker.cell for worker in self._workers.values())

    def begin(self, cells: Queue) -> None:
        """Give a cell to every free slot, as long as there are cells."""
        for number, slot in enumerate(self._slots):
            worker = self._workers.get(number)
            if worker is None or worker.cell is None:
                cell = cells.take((slot.device.type,))
                if cell is not None:
                    self._give(number, cell)

    def _give(self, number: int, cell: Cell) -> None:
        slot, work = self._slots[number], self._work
        if number not in self._workers:
            with signals.blocked():
                worker = _Worker(slot, work.profile, work.data, self._plugins)
                self._workers[number] = worker
        worker = self._workers[number]
        worker.cell = cell
        keeper = work.checkpoint(cell)
        undisturbed = slot.exclusive and work.alone()
        worker.send(CellJob(cell, undisturbed, keeper.path, keeper.every, keeper.keep))

    def stop(self) -> None:
        """Ask every worker to end as soon as its checkpoint is written."""
        for worker in self._workers.values():
            if not worker.stopping:
                worker.send(STOP)
                worker.stopping = True

    def outcomes(self) -> Iterator[Outcome]:
        """Wait a moment for messages of the workers, and yield the outcomes of finished cells."""
        slots: dict[Any, int] = {}
        for number, worker in self._workers.items():
            slots |= {worker.connection: number, worker.process.sentinel: number}
        for number in sorted({slots[ready] for ready in wait(list(slots), TICK)}):
            outcome = self._read(number)
            if outcome is not None:
                yield outcome

    def _read(self, number: int) -> Outcome | None:
        """Read a worker's messages up to the end of its cell, and check that it is alive."""
        worker = self._workers[number]
        alive = worker.process.is_alive()  # first: messages that it sent before it died count
        cell = worker.cell
        try:
            while cell is not None and worker.connection.poll():
                match worker.connection.recv():
                    case "step", done, steps, phase:
                        self._work.step(cell.label, done, steps, phase)
                    case "note", text:
                        self._work.note(text)
                    case answer:
                        worker.cell = None
                        return outcome_of(cell, answer)
        except (EOFError, OSError):
            alive = False
        return None if alive else self._died(number)

    def _died(self, number: int) -> Outcome | None:
        """Remove a dead worker; begin its cell again, or return its failure."""
        worker = self._workers.pop(number)
        worker.process.join(1)  # its pipe closes a moment before it ends
        how, cell = worker.end(), worker.cell
        if cell is None or signals.stop_requested():
            return None
        failed = self._deaths.count(cell, how)
        if failed is None:
            self._give(number, cell)
        return failed

    def end(self) -> None:
        """End all workers at once."""
        with signals.blocked():
            for worker in self._workers.values():
                worker.end()
            self._workers.clear()
