"""Progress display of a matrix: bars on a terminal, plain lines if there is none."""

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
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars
from rich.text import Text

#: Seconds between two plain lines about one cell.
LINE_EVERY = 30.0


class _Rate(ProgressColumn):
    """Number of outer steps per second."""

    def render(self, task: Task) -> Text:
        """Return the rate, or nothing while it is not known."""
        return Text(f"{task.speed:,.0f}/s" if task.speed and task.fields.get("rate") else "")


class _Left(TimeRemainingColumn):
    """Time left: for the whole run from the known cells, for one cell from its rate."""

    def render(self, task: Task) -> Text:
        """Return the time until the given end, or else until the end at the current rate."""
        if (end := task.fields.get("end")) is None:
            return super().render(task)
        return Text(in_words(max(0.0, end - time.monotonic())), style="progress.remaining")


def in_words(seconds: float) -> str:
    """Return a duration in the largest unit of which it has at least two."""
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


class Progress:
    """Display of cells, outer steps, rate and time left; several cells may run at once.

    Args:
        console: console to print to. Only a terminal shows bars, one for each running cell.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._at, self._total = 0, 0
        self._printed: dict[str, float] = {}  # time of the last line; "" is a wait
        self._bars: Bars | None = None
        self._shown: dict[str, TaskID] = {}
        self._free: list[TaskID] = []

    def note(self, text: str) -> None:
        """Print a line."""
        self.console.print(text, markup=False, soft_wrap=True)

    @contextlib.contextmanager
    def over(self, total: int, skipped: int, left: float | None = None) -> Iterator[None]:
        """Show progress while the block runs over ``total`` cells, ``left`` seconds in all."""
        self._at, self._total = 0, total
        self._printed = {"": time.monotonic()}
        if skipped:
            about = f", about {in_words(left)}" if left else ""
            self.note(f"{skipped} cells are done already; {total} to do{about}.")
        if not self.console.is_terminal:
            yield
            return
        self._bars = Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeElapsedColumn(),
            _Left(),
            console=self.console,
        )
        self._matrix = self._bars.add_task("cells", total=total, end=_end(left))
        self._shown, self._free = {}, []
        try:
            with self._bars:
                yield
        finally:
            self._bars = None

    def begin(self, label: str) -> None:
        """Show that a cell begins."""
        self._printed[label] = time.monotonic()
        if self._bars is not None:
            new = not self._free
            bar = self._bars.add_task(label, total=None, rate=True) if new else self._free.pop()
            self._shown[label] = bar
            self._bars.update(self._matrix, description="cells")
            self._bars.reset(bar, total=None, description=label, visible=True)

    def waits(self, why: str) -> None:
        """Show from time to time that the run is waiting, and why."""
        if self._bars is not None:
            self._bars.update(self._matrix, description=why)
        elif self._due(""):
            self.note(f"  {why}")

    def step(self, label: str, done: int, steps: int, phase: str) -> None:
        """Show how many outer steps a cell has done."""
        if self._bars is not None:
            self._bars.update(
                self._shown[label],
                completed=done,
                total=max(steps, 1),
                description=f"{label}: {phase}",
            )
        elif self._due(label):
            self.note(f"  {label}: {phase}, outer step {done} of {steps}")

    def finished(self, label: str, outcome: str, left: float | None = None) -> None:
        """Show how a cell ended, and how many seconds all others will take, if that is known."""
        self._at += 1
        if self._bars is not None:
            if label in self._shown:
                bar = self._shown.pop(label)
                self._bars.update(bar, visible=False)
                self._free.append(bar)
            self._bars.update(self._matrix, advance=1, end=_end(left))
        more = f" (about {in_words(left)} to go)" if left else ""
        self.note(f"[{self._at}/{self._total}] {label}: {outcome}{more}")
        self._printed.pop(label, None)
        self._printed[""] = time.monotonic()

    def _due(self, label: str) -> bool:
        """Return whether it is time for another plain line about ``label``."""
        now = time.monotonic()
        if now - self._printed[label] <= LINE_EVERY:
            return False
        self._printed[label] = now
        return True


def _end(left: float | None) -> float | None:
    return None if left is None else time.monotonic() + left
