"""Run a matrix: skip what is done, compute the rest, keep every record as it comes."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from suite import stop
from suite.config import Cell
from suite.matrix import serial
from suite.matrix.bench import check
from suite.matrix.progress import Progress
from suite.provenance import processor
from suite.records.checkpoint import Checkpoint
from suite.records.files import write_atomically
from suite.records.schema import Record
from suite.records.store import Store

#: Seconds between two looks at the cells that other runs hold.
POLL = 0.5


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
    checkpoint_every: float = 60.0,
) -> Summary:
    """Compute every cell that has no record yet and write its record when it is finished.

    Several runs may share a results folder: each cell is computed by one of them.

    Args:
        cells: of one profile.
        store: where records go.
        data: folder of data sets.
        progress: shows how it goes.
        alone: False where the user says that other work shares the device: timings are then
            marked, and tables leave them out.
        checkpoint_every: seconds of training between two checkpoints.

    Raises:
        UserError: bad input, or a results folder that cannot be written; what was computed stays.
        Stopped: a signal came; what was computed stays.
    """
    store.check_writable()
    with store.to_itself():
        store.tidy()
        for name in store.set_aside(cells):
            progress.note(f"set aside, of another description: {name}")
    summary, start = Summary(), time.perf_counter()
    records = {cell.label: store.find(cell) for cell in cells}
    todo = [cell for cell in cells if records[cell.label] is None]
    for cell in todo:  # all of the input first: nobody waits an hour for a wrong last cell
        check(cell, data, torch.device(cell.numerics.device))
    there = [record for record in records.values() if record is not None]
    summary.skipped = len(there)
    summary.diverged = [r.cell.label for r in there if r.status == "diverged"]
    _warn(there, progress)

    def checkpoint(cell: Cell) -> Checkpoint:
        return Checkpoint(store.checkpoint(cell), every=checkpoint_every, note=progress.note)

    with progress.over(len(todo), skipped=summary.skipped):
        mine = _claimed(todo, store, progress, summary)
        for outcome in serial.run(mine, store.profile, data, progress.step, alone, checkpoint):
            label = outcome.cell.label
            if outcome.record is None:
                assert outcome.failure is not None
                log = _log(store, label, outcome.failure)
                summary.failed.append(label)
                progress.finished(f"failed: {_one_line(outcome.failure)} (see {log})")
                continue
            store.write(outcome.record, outcome.arrays)
            checkpoint(outcome.cell).remove()
            if outcome.record.status == "diverged":
                summary.diverged.append(label)
                progress.finished(f"diverged: {outcome.record.reason}")
            else:
                summary.done += 1
                progress.finished(headlines(outcome.record))
    summary.seconds = time.perf_counter() - start
    return summary


def _claimed(
    todo: Sequence[Cell], store: Store, progress: Progress, summary: Summary
) -> Iterator[Cell]:
    """Yield the cells that no other run computes; each is held until the next is asked for."""
    waiting = list(todo)
    while waiting:
        held = len(waiting)
        for cell in list(waiting):
            stop.answer()
            with store.claim(cell) as mine:
                if not mine:
                    continue
                waiting.remove(cell)
                progress.begin(cell.label)
                record = store.find(cell)
                if record is None:
                    for name in store.make_room(cell):
                        progress.note(f"set aside, no whole record: {name}")
                    yield cell
                    continue
                summary.skipped += 1
                if record.status == "diverged":
                    summary.diverged.append(cell.label)
                progress.finished("done by another run")
        if len(waiting) == held:
            progress.waits(f"{held} cells are being done by other runs")
            time.sleep(POLL)


def _warn(records: Sequence[Record], progress: Progress) -> None:
    """Say where records come from another processor, on which the last bits may differ."""
    others = {r.provenance.processor for r in records} - {processor()}
    for other in sorted(others):
        progress.note(
            f"some records here were made on another processor ({other}): bits may differ from "
            "those of this one, and so do timings."
        )


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
    first = text[0] if text else "no message"
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in first:
        return (
            f"out of memory; use fewer --shards, or a smaller meta_batch in the profile ({first})"
        )
    return f"{type(error).__name__}: {first}"
