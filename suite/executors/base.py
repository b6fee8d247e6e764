"""The contract of executors: how cells are had, and what comes of them.

An executor asks a `Queue` for cells that it has room for, computes each as `run_cell` does, and
yields an `Outcome` as each finishes. It writes no records: whoever iterates over it does, and then
lets the queue go of the cell. What an executor decides is where and when a cell is computed, which
changes no bit of its results.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from suite.config.cell import Cell
from suite.core.process_pool import MEMORY
from suite.records.checkpoint import Checkpoint
from suite.records.files import Arrays
from suite.records.schema import Record


class Failure(NamedTuple):
    """Why a cell has no record, in text: it may come from another process."""

    reason: str
    """One line."""
    details: str
    """For the log: a traceback, where there is one."""


class Outcome(NamedTuple):
    """A finished cell: its record and arrays, or why it failed."""

    cell: Cell
    record: Record | None
    arrays: Arrays
    failure: Failure | None


class Queue(Protocol):
    """The cells of a run that nobody computes yet; each is given once."""

    def take(self, devices: Collection[str]) -> Cell | None:
        """Return a cell for one of these kinds of device, None where none can begin now.

        It is held against other runs until its outcome is kept.
        """

    def left(self) -> bool:
        """Return whether cells are left, if only with other runs, which may yet let go of them."""

    def wait(self) -> None:
        """Do nothing for a moment: all that is left is with other runs."""


@dataclass(frozen=True)
class RunWork:
    """What the cells of a run have in common."""

    profile: str
    data: Path | None
    """Folder of data sets."""
    alone: Callable[[], bool]
    """Whether no other work shares the devices, as far as this run knows; asked as cells begin."""
    checkpoint: Callable[[Cell], Checkpoint]
    step: Callable[[str, int, int, str], None]
    """Told a cell's label, outer steps done, outer steps in all, and phase, while it runs."""
    note: Callable[[str], None]
    """Told what a user should know, one line."""


class Executor(Protocol):
    """Computes cells: here one after the other, or in other processes, here or elsewhere."""

    @property
    def lanes(self) -> Sequence[Collection[str]]:
        """For each cell that can be computed at one time, the kinds of device it may be for."""

    @property
    def cores(self) -> int:
        """Cores that a cell on the CPU may use."""

    @property
    def elsewhere(self) -> bool:
        """Whether other processes compute: this one then keeps no data and leaves devices alone."""

    @property
    def sees_files(self) -> bool:
        """Whether what computes sees this machine's files, as for checkpoints it must."""

    def run(self, cells: Queue, work: RunWork) -> Generator[Outcome]:
        """Yield the outcome of each cell as it finishes, until none is left.

        Raises:
            UserError: bad input, at once: it would fail the other cells too.
            Stopped: a signal came; where weights were trained, a checkpoint is written.
        """


def failure_of(error: Exception, details: str) -> Failure:
    """Return what a user reads of an error in a cell; ``details`` is its traceback."""
    first = next(iter(str(error).strip().splitlines()), "no message")
    if isinstance(error, MEMORY) or "allocate memory" in first:
        mend = "use --processes 1, or a smaller meta_batch in the profile"
        return Failure(f"out of memory; {mend} ({first})", details)
    return Failure(f"{type(error).__name__}: {first}", details)
