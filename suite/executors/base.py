"""The contract of executors: the source of their cells and the receiver of their outcomes.

An executor asks a `Queue` for cells that it has room for, computes each as `run_cell` does, and
yields an `Outcome` when one finishes. It writes no records: its caller does, and then releases the
cell in the queue. An executor decides only where and when a cell is computed, which changes no bit
of its results.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from suite.config.cell import Cell
from suite.core.errors import first_line
from suite.core.process_pool import MEMORY
from suite.records.checkpoint import Checkpoint
from suite.records.files import Arrays
from suite.records.schema import Record


class Failure(NamedTuple):
    """Why a cell has no record, as text, because it may come from another process."""

    reason: str
    """Reason in one line."""
    details: str
    """Text for the log: a traceback, if there is one."""


class Outcome(NamedTuple):
    """A finished cell: its record and arrays, or why it failed."""

    cell: Cell
    record: Record | None
    arrays: Arrays
    failure: Failure | None


class Queue(Protocol):
    """Cells of a run that are not computed yet; each is given out once."""

    def take(self, devices: Collection[str]) -> Cell | None:
        """Return a cell for one of these kinds of device, or None if none can begin now.

        The cell is locked against other runs until its outcome is written.
        """

    def left(self) -> bool:
        """Return whether cells are left, also ones held by other runs, which may release them."""

    def wait(self) -> None:
        """Wait a moment, because other runs hold all cells that are left."""


@dataclass(frozen=True)
class RunWork:
    """Settings and callbacks that all cells of a run have in common."""

    profile: str
    data: Path | None
    """Folder of data sets."""
    alone: Callable[[], bool]
    """Whether no other work uses the devices, as far as this run knows; called as cells begin."""
    checkpoint: Callable[[Cell], Checkpoint]
    step: Callable[[str, int, int, str], None]
    """Callback for a running cell: label, outer steps done, outer steps in all, and phase."""
    note: Callable[[str], None]
    """Callback for a message of one line to the user."""


class Executor(Protocol):
    """Computes cells: in this process, or in other processes of this or another machine."""

    @property
    def lanes(self) -> Sequence[Collection[str]]:
        """Kinds of device that each of the cells computed at the same time may be for."""

    @property
    def cores(self) -> int:
        """Number of cores that a cell on the CPU may use."""

    @property
    def elsewhere(self) -> bool:
        """Whether other processes compute: this one then keeps no data and uses no device."""

    @property
    def sees_files(self) -> bool:
        """Whether the processes that compute see this machine's files, as checkpoints require."""

    def run(self, cells: Queue, work: RunWork) -> Generator[Outcome]:
        """Yield the outcome of each cell as it finishes, until none is left.

        Raises:
            UserError: bad input; raised at once, because other cells would fail too.
            Stopped: a signal came; if weights were being trained, a checkpoint is written.
        """


def failure_of(error: Exception, details: str) -> Failure:
    """Return the `Failure` that describes an error to the user; ``details`` is its traceback."""
    first = first_line(error)
    if isinstance(error, MEMORY) or "allocate memory" in first:
        advice = "use --processes 1, or a smaller meta_batch in the profile"
        return Failure(f"out of memory; {advice} ({first})", details)
    return Failure(f"{type(error).__name__}: {first}", details)
