"""Common code of executors whose cells are computed by other processes, which may die."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Any, Protocol

from suite.config.cell import Cell
from suite.core import signals
from suite.core.errors import UserError
from suite.executors.base import Failure, Outcome, Queue

#: Maximum number of times that a cell is begun when its workers die.
TRIES = 3
#: Maximum seconds between two checks of messages from workers and of free places.
TICK = 0.2


class WorkerGroup(Protocol):
    """Workers and the cells that they compute."""

    @property
    def busy(self) -> bool:
        """Whether any cell is being computed."""

    def begin(self, cells: Queue) -> None:
        """Begin a cell in every free place."""

    def stop(self) -> None:
        """Make every cell end as soon as its checkpoint is written."""

    def outcomes(self) -> Iterator[Outcome]:
        """Wait a moment for messages, and yield the outcomes of finished cells."""


def drive(workers: WorkerGroup, cells: Queue) -> Generator[Outcome]:
    """Yield outcomes until no cell is left; a first signal waits for the checkpoints."""
    with signals.deferring():
        while True:
            signals.raise_if_requested_twice()
            if signals.stop_requested():
                workers.stop()
            else:
                workers.begin(cells)
            if workers.busy:
                yield from workers.outcomes()
            elif signals.stop_requested() or not cells.left():
                break
            else:
                cells.wait()


class CrashCounter:
    """Counter of dead workers of each cell, with how they died.

    Args:
        note: function that gets a message of one line about each death.
        advice: advice to the user in case memory ran out.
    """

    def __init__(self, note: Callable[[str], None], advice: str) -> None:
        self._note, self._advice = note, advice
        self._deaths: dict[str, list[str]] = {}  # by the label of the cell

    def count(self, cell: Cell, how: str) -> Outcome | None:
        """Count a death; return None if the cell is to be begun again, else its failure."""
        deaths = self._deaths.setdefault(cell.label, [])
        deaths.append(how)
        if len(deaths) < TRIES:
            self._note(f"  {cell.label}: its worker died ({how}); the cell is begun again")
            return None
        reason = f"{TRIES} workers died of it ({', '.join(deaths)}); {self._advice}"
        return Outcome(cell, None, {}, Failure(reason, f"{cell.label}: {reason}\n"))


def outcome_of(cell: Cell, answer: tuple[Any, ...]) -> Outcome | None:
    """Return the outcome of an attempt; None if it was stopped.

    Args:
        cell: cell that was computed.
        answer: answer of `suite.executors.job.attempt`.

    Raises:
        UserError: the input of the cell is invalid.
    """
    match answer:
        case "refused", text:
            raise UserError(text)
        case "failed", failure:
            return Outcome(cell, None, {}, failure)
        case "done", record, arrays:
            return Outcome(cell, record, arrays, None)
    return None
