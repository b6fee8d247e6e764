"""What a user sees while a matrix runs: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars
from rich.text import Text

from suite.config import Cell

#: Seconds between two plain lines about one cell.
LINE_EVERY = 30.0


class _Rate(ProgressColumn):
    """Outer steps a second."""

    def render(self, task: Task) -> Text:
        """Return the rate, or nothing while it is not known."""
        return Text(f"{task.speed:,.0f}/s" if task.speed and task.fields.get("rate") else "")


class Progress:
    """Shows cells, outer steps, rate and time left.

    Args:
        console: where to; bars only where it is a terminal.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._cells: list[Cell] = []
        self._at = 0
        self._last = time.monotonic()
        self._bars: Bars | None = None

    @contextlib.contextmanager
    def over(self, cells: Sequence[Cell], skipped: int) -> Iterator[None]:
        """Show progress while the block runs over ``cells``, in order."""
        self._cells, self._at = list(cells), 0
        self._last = time.monotonic()
        if skipped:
            self.console.print(f"{skipped} cells are done already; {len(cells)} to do.")
        if not self.console.is_terminal:
            yield
            return
        self._bars = Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self.console,
        )
        self._matrix = self._bars.add_task("cells", total=len(cells))
        self._cell = self._bars.add_task("", total=None, rate=True)
        with self._bars:
            yield
        self._bars = None

    def step(self, done: int, steps: int, phase: str) -> None:
        """Tell that the current cell has done so many outer steps."""
        label = self._cells[self._at].label
        if self._bars is not None:
            self._bars.update(
                self._cell, completed=done, total=max(steps, 1), description=f"{label}: {phase}"
            )
        elif time.monotonic() - self._last > LINE_EVERY:
            self._last = time.monotonic()
            self.console.print(
                f"  {label}: {phase}, outer step {done} of {steps}", markup=False, soft_wrap=True
            )

    def finished(self, outcome: str) -> None:
        """Tell how the current cell ended, and go on to the next."""
        cell = self._cells[self._at]
        self._at += 1
        now = time.monotonic()
        if self._bars is not None:
            self._bars.reset(self._cell, total=None, description="", rate=True)
            self._bars.advance(self._matrix)
        self.console.print(
            f"[{self._at}/{len(self._cells)}] {cell.label}: {outcome}", markup=False, soft_wrap=True
        )
        self._last = now
