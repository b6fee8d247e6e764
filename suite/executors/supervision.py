"""What executors share whose cells are computed by other processes, which may die."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Any, Protocol

from suite.config.cell import Cell
from suite.core import signals
from suite.core.errors import UserError
from suite.executors.base import Failure, Outcome, Queue

#: How often a cell is begun, at most, when its workers die.
TRIES = 3
#: Seconds in which workers are heard at the latest, and free places looked after.
TICK = 0.2


class WorkerGroup(Protocol):
    """Cells in the making."""

    @property
    def busy(self) -> bool:
        """Whether there are any."""

    def begin(self, cells: Queue) -> None:
        """Begin a cell wherever there is room for one."""

    def stop(self) -> None:
        """Have every cell end as soon as its checkpoint is written."""

    def outcomes(self) -> Iterator[Outcome]:
        """Listen for a moment, and yield what is finished."""


def drive(crowd: WorkerGroup, cells: Queue) -> Generator[Outcome]:
    """Yield outcomes until no cell is left; a first signal waits for the checkpoints."""
    with signals.deferring():
        while True:
            signals.raise_if_requested_twice()
            if signals.stop_requested():
                crowd.stop()
            else:
                crowd.begin(cells)
            if crowd.busy:
                yield from crowd.outcomes()
            elif signals.stop_requested() or not cells.left():
                break
            else:
                cells.wait()


class CrashCounter:
    """How the workers of each cell died.

    Args:
        note: told of each death, one line.
        mend: what to do about it if memory ran out.
    """

    def __init__(self, note: Callable[[str], None], mend: str) -> None:
        self._note, self._mend = note, mend
        self._deaths: dict[str, list[str]] = {}  # by the label of the cell

    def count(self, cell: Cell, how: str) -> Outcome | None:
        """Count a death; return None where the cell is to be begun again, else its failure."""
        deaths = self._deaths.setdefault(cell.label, [])
        deaths.append(how)
        if len(deaths) < TRIES:
            self._note(f"  {cell.label}: its worker died ({how}); the cell is begun again")
            return None
        reason = f"{TRIES} workers died of it ({', '.join(deaths)}); {self._mend}"
        return Outcome(cell, None, {}, Failure(reason, f"{cell.label}: {reason}\n"))


def outcome_of(cell: Cell, answer: tuple[Any, ...]) -> Outcome | None:
    """Return what came of an attempt; None where it was stopped.

    Args:
        cell: that was computed.
        answer: of `suite.executors.attempt.attempt`.

    Raises:
        UserError: the attempt met bad input.
    """
    match answer:
        case "refused", text:
            raise UserError(text)
        case "failed", failure:
            return Outcome(cell, None, {}, failure)
        case "done", record, arrays:
            return Outcome(cell, record, arrays, None)
    return None
