"""Run a matrix: skip what is done, compute the rest, keep every record as it comes."""

from __future__ import annotations

import time
import traceback
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import torch

from suite import stop
from suite.config import Cell
from suite.crew import MEMORY
from suite.errors import UserError
from suite.matrix import serial
from suite.matrix.bench import check
from suite.matrix.progress import Progress
from suite.provenance import processor
from suite.records.checkpoint import Checkpoint
from suite.records.files import write_atomically
from suite.records.schema import Record
from suite.records.store import Store, file_stem

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
    met_others: bool = False
    """Whether another run holds cells: timings are not this run's alone."""

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
    keep_weights: bool = False,
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
        keep_weights: whether the last checkpoint of each training stays.

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
    there, todo = [], []
    for cell in cells:
        record = store.find(cell)
        if record is None:
            todo.append(cell)
        else:
            there.append(record)

    def checkpoint(cell: Cell) -> Checkpoint:
        path = store.checkpoint(cell, keep_weights)
        return Checkpoint(path, every=checkpoint_every, keep=keep_weights, note=progress.note)

    for record in there:  # of a run that was killed just before it would have
        Checkpoint(store.checkpoint(record.cell)).remove()
    for cell in todo:  # all of the input first: nobody waits an hour for a wrong last cell
        _check(cell, data)
    summary.skipped = len(there)
    summary.diverged = [record.cell.label for record in there if record.status == "diverged"]
    _warn(there, progress)

    def undisturbed() -> bool:
        return alone and not summary.met_others

    mine = _claimed(todo, store, progress, summary)
    outcomes = serial.run(mine, store.profile, data, progress.step, undisturbed, checkpoint)
    with progress.over(len(todo), skipped=summary.skipped), closing(mine), closing(outcomes):
        for outcome in outcomes:
            _keep(outcome, store, progress, summary)
            if outcome.record is not None:
                checkpoint(outcome.cell).remove()
        stop.answer()
    summary.seconds = time.perf_counter() - start
    return summary


def _check(cell: Cell, data: Path | None) -> None:
    try:
        check(cell, data, torch.device(cell.numerics.device))
    except MEMORY as error:
        raise UserError(f"out of memory while {cell.label} is set up ({error}).") from error


def _keep(outcome: serial.Outcome, store: Store, progress: Progress, summary: Summary) -> None:
    """Write what came of a cell, and tell."""
    label = outcome.cell.label
    if outcome.record is None:
        assert outcome.failure is not None
        summary.failed.append(label)
        log = _log(store, outcome.cell, outcome.failure)
        progress.finished(f"failed: {_one_line(outcome.failure)} (see {log})")
        return
    store.write(outcome.record, outcome.arrays)
    if outcome.record.status == "diverged":
        summary.diverged.append(label)
        progress.finished(f"diverged: {outcome.record.reason}")
    else:
        summary.done += 1
        progress.finished(headlines(outcome.record))


def _claimed(
    todo: Sequence[Cell], store: Store, progress: Progress, summary: Summary
) -> Generator[Cell]:
    """Yield the cells that no other run computes; each is held until the next is asked for."""
    waiting = list(todo)
    while waiting:
        held = len(waiting)
        for cell in list(waiting):
            stop.answer()
            with store.claim(cell) as mine:
                if not mine:
                    summary.met_others = True
                    continue
                waiting.remove(cell)
                progress.begin(cell.label)
                record = store.find(cell)
                if record is None:
                    for path in store.make_room(cell):
                        progress.note(f"no whole record, set aside: {path}")
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


def _log(store: Store, cell: Cell, failure: Exception) -> Path:
    path = store.results / "logs" / store.profile / f"{file_stem(cell)}.log"
    write_atomically(path, "".join(traceback.format_exception(failure)).encode())
    return path


def _one_line(error: Exception) -> str:
    first = next(iter(str(error).strip().splitlines()), "no message")
    if isinstance(error, MEMORY) or "allocate memory" in first:
        return f"out of memory; use --shards 1, or a smaller meta_batch in the profile ({first})"
    return f"{type(error).__name__}: {first}"
