"""Cells of a run that are still to do; each is locked against other runs while computed here."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import NamedTuple

from suite.config.cell import Cell
from suite.matrix.estimates import Estimates
from suite.matrix.progress import Progress
from suite.matrix.schedule import makespan
from suite.records.schema import Record
from suite.records.store import Store

#: Seconds between two checks of the cells that other runs hold.
POLL = 0.5


class _Held(NamedTuple):
    cell: Cell
    since: float
    lock: ExitStack


class CellQueue:
    """A `Queue` of cells of a results folder that other runs may use at the same time.

    It is a context manager: at its end it releases the cells that it still holds.

    Args:
        todo: cells that had no record when this run began.
        store: store to which their records are written.
        progress: display that is told when cells begin and when another run has done one.
        estimates: estimated seconds of cells; the longest cell is taken first.
    """

    def __init__(
        self, todo: Sequence[Cell], store: Store, progress: Progress, estimates: Estimates
    ) -> None:
        self._waiting = list(todo)
        self._store, self._progress, self._estimates = store, progress, estimates
        self._held: dict[str, _Held] = {}
        self._sort()
        self._looked: dict[frozenset[str], float] = {}
        #: Records of cells that another run has done in the meantime.
        self.done_by_others: list[Record] = []
        #: Whether another run holds or held cells: it may have slowed down the timed work.
        self.met_others = False

    def __enter__(self) -> CellQueue:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        for held in self._held.values():
            held.lock.close()

    def left(self) -> bool:
        """Return whether there are cells that are neither done nor taken by this run."""
        return bool(self._waiting)

    def take(self, devices: Collection[str]) -> Cell | None:
        """Hold and return the next cell for these devices that no other run holds, or None."""
        kinds = frozenset(devices)
        if time.monotonic() - self._looked.get(kinds, float("-inf")) < POLL:
            return None  # other runs rarely release cells, and each check takes a lock
        for cell in [cell for cell in self._waiting if cell.numerics.device in kinds]:
            with ExitStack() as lock:
                if not lock.enter_context(self._store.lock(cell)):
                    self.met_others = True
                    self._looked[kinds] = time.monotonic()
                    continue
                self._waiting.remove(cell)
                record = self._store.find(cell)
                if record is None:
                    for path in self._store.make_room(cell):
                        self._progress.note(f"invalid record, set aside: {path}")
                    self._held[cell.label] = _Held(cell, time.monotonic(), lock.pop_all())
                    self._progress.begin(cell.label)
                    return cell
                self.done_by_others.append(record)
                self._estimates.learn(record)
                self._progress.finished(cell.label, "done by another run")
        return None

    def release(self, cell: Cell, record: Record | None) -> None:
        """Release a cell whose outcome is kept, and use its record for the estimates of others."""
        self._held.pop(cell.label).lock.close()
        if record is not None:
            self._estimates.learn(record)
            self._sort()

    def seconds_left(self, lanes: Sequence[Collection[str]]) -> float | None:
        """Return the approximate seconds of all cells left; None if it is not known."""
        now, cells = time.monotonic(), []
        for cell, since in [
            *((held.cell, held.since) for held in self._held.values()),
            *((cell, now) for cell in self._waiting),
        ]:
            seconds = self._estimates.seconds(cell)
            if seconds is None:
                return None
            cells.append((cell.numerics.device, max(0.0, seconds - (now - since))))
        return makespan(cells, lanes)

    def _sort(self) -> None:
        self._waiting.sort(key=self._estimates.order, reverse=True)

    def wait(self) -> None:
        """Report that other runs hold the cells that are left, and sleep a moment."""
        self._progress.waits(f"{len(self._waiting)} cells are being done by other runs")
        time.sleep(POLL)
