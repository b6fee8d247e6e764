"""Run a matrix: skip what is done, compute the rest, keep every record as it comes."""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from suite.config import Cell
from suite.matrix import serial
from suite.matrix.progress import Progress
from suite.records.schema import Record
from suite.records.store import Store, write_atomically


@dataclass
class Summary:
    """How a run of a matrix ended."""

    done: int = 0
    skipped: int = 0
    diverged: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def whole(self) -> bool:
        """Whether every cell has a result."""
        return not self.diverged and not self.failed


def run_matrix(
    cells: Sequence[Cell],
    store: Store,
    data: Path | None,
    progress: Progress,
    *,
    alone: bool = True,
) -> Summary:
    """Compute every cell that has no record yet and write its record when it is finished.

    ``alone`` is False where the user says that other work shares the device: timings are then
    marked, and tables leave them out.

    Raises:
        UserError: bad input, or a results folder that cannot be written; what was computed stays.
    """
    store.check_writable()
    for name in store.set_aside(cells):
        progress.console.print(f"set aside, of another description: {name}", soft_wrap=True)
    summary, start = Summary(), time.perf_counter()
    records = {cell.label: store.find(cell) for cell in cells}
    todo = [cell for cell in cells if records[cell.label] is None]
    summary.skipped = len(cells) - len(todo)
    summary.diverged = [label for label, r in records.items() if r and r.status == "diverged"]
    with progress.over(todo, skipped=summary.skipped):
        for outcome in serial.run(todo, store.profile, data, progress.step, alone):
            label = outcome.cell.label
            if outcome.record is None:
                assert outcome.failure is not None
                log = _log(store, label, outcome.failure)
                summary.failed.append(label)
                progress.finished(f"failed: {_one_line(outcome.failure)} (see {log})")
                continue
            store.write(outcome.record, outcome.arrays)
            if outcome.record.status == "diverged":
                summary.diverged.append(label)
                progress.finished(f"diverged: {outcome.record.reason}")
            else:
                summary.done += 1
                progress.finished(headlines(outcome.record))
    summary.seconds = time.perf_counter() - start
    return summary


def headlines(record: Record) -> str:
    """Return a record's headline scores in one line."""
    parts = []
    for name, result in (record.results.evaluations if record.results else {}).items():
        value = result.mean[result.headline_step]
        if value is None:
            shown = "diverged episodes"
        elif result.metric == "accuracy":
            shown = f"{100 * value:.1f} %"
        else:
            shown = f"mse {value:.3g}"
        parts.append(f"{name} {shown}")
    return ", ".join(parts)


def _log(store: Store, label: str, failure: Exception) -> Path:
    path = store.results / "logs" / store.profile / f"{label.replace('/', '_')}.log"
    write_atomically(path, "".join(traceback.format_exception(failure)).encode())
    return path


def _one_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else 'no message'}"
