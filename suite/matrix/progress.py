"""What a user sees while a matrix runs: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

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
        self._label, self._at, self._total = "", 0, 0
        self._last = time.monotonic()
        self._bars: Bars | None = None

    def note(self, text: str) -> None:
        """Print a line."""
        self.console.print(text, markup=False, soft_wrap=True)

    @contextlib.contextmanager
    def over(self, total: int, skipped: int) -> Iterator[None]:
        """Show progress while the block runs over ``total`` cells."""
        self._at, self._total = 0, total
        self._last = time.monotonic()
        if skipped:
            self.note(f"{skipped} cells are done already; {total} to do.")
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
        self._matrix = self._bars.add_task("cells", total=total)
        self._cell = self._bars.add_task("", total=None, rate=True)
        try:
            with self._bars:
                yield
        finally:
            self._bars = None

    def begin(self, label: str) -> None:
        """Tell that a cell begins."""
        self._label = label

    def waits(self, why: str) -> None:
        """Tell, now and then, that nothing is done at the moment."""
        if self._bars is not None:
            self._bars.update(self._cell, description=why)
        elif time.monotonic() - self._last > LINE_EVERY:
            self._last = time.monotonic()
            self.note(f"  {why}")

    def step(self, done: int, steps: int, phase: str) -> None:
        """Tell that the current cell has done so many outer steps."""
        if self._bars is not None:
            self._bars.update(
                self._cell,
                completed=done,
                total=max(steps, 1),
                description=f"{self._label}: {phase}",
            )
        elif time.monotonic() - self._last > LINE_EVERY:
            self._last = time.monotonic()
            self.note(f"  {self._label}: {phase}, outer step {done} of {steps}")

    def finished(self, outcome: str) -> None:
        """Tell how the current cell ended."""
        self._at += 1
        now = time.monotonic()
        if self._bars is not None:
            self._bars.reset(self._cell, total=None, description="", rate=True)
            self._bars.advance(self._matrix)
        self.note(f"[{self._at}/{self._total}] {self._label}: {outcome}")
        self._last = now
