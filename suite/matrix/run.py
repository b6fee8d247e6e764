"""Run a matrix: skip finished cells, compute the others, keep every record as it comes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import torch

from suite.cell.setup import check, forget
from suite.config.cell import Cell
from suite.core import signals
from suite.core.errors import UserError
from suite.core.metrics import metric_of
from suite.core.process_pool import MEMORY
from suite.executors.base import Executor, Failure, Outcome, RunWork
from suite.executors.serial import Serial
from suite.matrix.estimates import Estimates
from suite.matrix.progress import Progress
from suite.matrix.queue import CellQueue
from suite.records.checkpoint import Checkpoint
from suite.records.files import write_atomically
from suite.records.provenance import processor
from suite.records.schema import Record
from suite.records.store import Store, file_stem


@dataclass
class RunSummary:
    """Result of a run of a matrix."""

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
    executor: Executor | None = None,
    *,
    alone: bool = True,
    checkpoint_every: float = 60.0,
    keep_weights: bool = False,
    checkpoints: Path | None = None,
) -> RunSummary:
    """Compute every cell that has no record yet and write its record when it is finished.

    Several runs may use one results folder: each cell is computed by one of them.

    Args:
        cells: cells of one profile.
        store: store to which records are written.
        data: folder of data sets.
        progress: progress display.
        executor: executor of the cells; by default they run one after the other in this process.
        alone: False if the user says that other work uses the device: timings are then marked, and
            tables leave them out.
        checkpoint_every: seconds of training between two checkpoints.
        keep_weights: whether the last checkpoint of each training is kept.
        checkpoints: folder of checkpoints and kept weights that every worker can read and write. By
            default it is the results folder, or none if workers cannot see that folder.

    Raises:
        UserError: bad input, or a results folder that cannot be written; finished records are kept.
        Stopped: a signal came; finished records are kept.
    """
    executor = executor or Serial()
    folder = checkpoints or (store.results if executor.sees_files else None)
    if keep_weights and folder is None:
        raise UserError(
            "the nodes of the cluster do not see the results folder, where weights would be kept; "
            "name a folder that they see with --checkpoints, or leave out --keep-weights."
        )
    paths = None if folder is None else Store(folder, store.profile)
    store.check_writable()
    with store.lock_folder():
        store.tidy()
        if paths:
            paths.tidy()
        for name in store.set_aside(cells):
            progress.note(f"superseded, of another description: {name}")
    summary, start = RunSummary(), time.perf_counter()
    existing, todo = [], []
    for cell in cells:
        record = store.find(cell)
        if record is None:
            todo.append(cell)
        else:
            existing.append(record)

    def checkpoint(cell: Cell) -> Checkpoint:
        path = paths.checkpoint(cell, keep_weights) if paths else None
        return Checkpoint(path, every=checkpoint_every, keep=keep_weights, note=progress.note)

    for record in existing:  # a run may have been killed just before it did this
        Checkpoint(paths.checkpoint(record.cell) if paths else None).remove()
    for cell in todo:  # check all input first: an invalid last cell must not fail after hours
        _check(cell, data, executor.elsewhere)
    if executor.elsewhere:
        forget()
    summary.skipped = len(existing)
    summary.diverged = [record.cell.label for record in existing if record.status == "diverged"]
    _warn(existing, progress)
    queue, lanes = CellQueue(todo, store, progress, Estimates(store.records())), executor.lanes
    left = queue.seconds_left(lanes)
    with queue, progress.over(len(todo), summary.skipped, left):
        work = RunWork(
            store.profile,
            data,
            alone=lambda: alone and not queue.met_others,
            checkpoint=checkpoint,
            step=progress.step,
            note=progress.note,
        )
        with closing(executor.run(queue, work)) as outcomes:
            for outcome in outcomes:
                message = _keep(outcome, store, summary)
                if outcome.record is not None:
                    checkpoint(outcome.cell).remove()
                queue.release(outcome.cell, outcome.record)
                progress.finished(outcome.cell.label, message, queue.seconds_left(lanes))
        signals.raise_if_requested()
    summary.skipped += len(queue.done_by_others)
    summary.diverged += [r.cell.label for r in queue.done_by_others if r.status == "diverged"]
    summary.seconds = time.perf_counter() - start
    return summary


def _check(cell: Cell, data: Path | None, elsewhere: bool) -> None:
    try:
        check(cell, data, torch.device("cpu" if elsewhere else cell.numerics.device))
    except MEMORY as error:
        raise UserError(f"out of memory while {cell.label} is set up ({error}).") from error


def _keep(outcome: Outcome, store: Store, summary: RunSummary) -> str:
    """Write the outcome of a cell, and return a message about it."""
    label = outcome.cell.label
    if outcome.record is None:
        assert outcome.failure is not None
        summary.failed.append(label)
        log = _log(store, outcome.cell, outcome.failure)
        return f"failed: {outcome.failure.reason} (see {log})"
    store.write(outcome.record, outcome.arrays)
    if outcome.record.status == "diverged":
        summary.diverged.append(label)
        return f"diverged: {outcome.record.reason}"
    summary.done += 1
    return headlines(outcome.record)


def _warn(records: Sequence[Record], progress: Progress) -> None:
    """Warn if records come from another processor, because the last bits may differ there."""
    others = {r.provenance.processor for r in records} - {processor()}
    for other in sorted(others):
        progress.note(
            f"some records here were made on another processor ({other}): bits may differ from "
            "those of this one, and so do timings."
        )


def headlines(record: Record) -> str:
    """Return a record's headline scores in one line."""
    if record.results is None:
        return ""
    parts = []
    for protocol in record.cell.protocol.evaluations:
        result = record.results.evaluations[protocol.name]
        value = result.mean[protocol.column(protocol.headline)]
        if value is None:
            shown = "diverged episodes"
        else:
            kind = metric_of(result.metric)
            percent = kind.is_proportion
            shown = f"{100 * value:.1f} %" if percent else f"{kind.name} {value:.3g}"
        parts.append(f"{protocol.name} {shown}")
    return ", ".join(parts)


def _log(store: Store, cell: Cell, failure: Failure) -> Path:
    path = store.results / "logs" / store.profile / f"{file_stem(cell)}.log"
    write_atomically(path, failure.details.encode())
    return path
