"""What ``--list``, ``--dry-run`` and ``list`` print."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from tabulate import tabulate

from suite import registry
from suite.algorithms.base import Draws
from suite.config import Cell
from suite.errors import UserError
from suite.matrix.bench import set_up
from suite.matrix.team import Team
from suite.profile import load_profile, profile_names
from suite.provenance import processor
from suite.records.schema import Record
from suite.records.store import Store

#: Seconds of an outer step that are not tried twice.
LONG = 2.0


def show(
    cells: Sequence[Cell], store: Store, data: Path | None, console: Console, details: bool
) -> None:
    """Print the cells and the time that each takes here, where records tell.

    With ``details`` also parameters and what is done, and times that no record tells are tried.
    """
    records = [store.find(cell) for cell in cells]
    estimates = Estimates(data, [record for record in records if record is not None])
    if not details:
        for cell in cells:
            seconds = estimates.known(cell)
            print(cell.label if seconds is None else f"{cell.label}  {_duration(seconds)}")
        return
    rows, left, untold = [], 0.0, 0
    for cell, record in zip(cells, records, strict=True):
        seconds, why = estimates.tried(cell)
        untold += seconds is None
        left += 0 if record else seconds or 0
        told = why if seconds is None else _duration(seconds)
        rows.append([cell.label, _parameters(cell), _state(record), told])
    headers = ["cell", "parameters", "state", "time"]
    console.print(tabulate(rows, headers, tablefmt="simple"), markup=False, soft_wrap=True)
    done = sum(record is not None for record in records)
    others = f", and {untold} cells of unknown time" if untold else ""
    console.print(f"{len(cells)} cells, {done} done; about {_duration(left)} to go{others}.")


def show_registered(console: Console) -> None:
    """Print every name that a user may write, by kind."""
    rows = [["profile", n, load_profile(n).description] for n in profile_names()]
    for kind in (registry.algorithms, registry.tasks, registry.models, registry.engines):
        for name in kind.names():
            first = (kind.get(name).__doc__ or "").strip().splitlines()
            rows.append([kind.kind, name, first[0] if first else ""])
    console.print(tabulate(rows, ["kind", "name", ""], tablefmt="simple"), markup=False)


class Estimates:
    """Expected seconds of cells: from records of this processor, else from a short trial."""

    def __init__(self, data: Path | None, records: Sequence[Record]) -> None:
        self._data = data
        self._known: dict[str, float] = {}
        self._reasons: dict[str, str] = {}
        for record in records:
            if record.timing is not None and record.provenance.processor == processor():
                timing = record.timing
                seconds = timing.training_seconds + timing.evaluation_seconds
                self._known[_kind(record.cell)] = seconds

    def known(self, cell: Cell) -> float | None:
        """Return the seconds of a cell that differs by its seed alone from one with a record."""
        return self._known.get(_kind(cell))

    def tried(self, cell: Cell) -> tuple[float | None, str]:
        """Return what is known, or the seconds that a trial gives; None with the reason if none."""
        kind = _kind(cell)
        if kind not in self._known and kind not in self._reasons:
            try:
                self._known[kind] = self._trial(cell)
            except UserError as error:  # a data set that is not here is no reason to list nothing
                self._reasons[kind] = str(error).split(";")[0]
        return self._known.get(kind), self._reasons.get(kind, "")

    def _trial(self, cell: Cell) -> float:
        """Do one or two outer steps and a test episode in every process, and multiply."""
        bench = set_up(cell, self._data, torch.device(cell.numerics.device))
        train, total = cell.protocol.train, 0.0
        with Team(bench) as team:
            shards = len(team)
            if bench.trains:
                loop = bench.outer_loop(team.outers)
                first = _timed(lambda: loop.step(0))
                # The first step warms up; one that takes long says enough.
                again = first if first > LONG else _timed(lambda: loop.step(0))
                total += train.steps * again
            for protocol in cell.protocol.evaluations:
                parts = [slice(i, i + 1) for i in range(shards)]
                draws = Draws(bench.inner_draws, carried=bench.algorithm.carried(bench.engine))
                score = partial(team.score, parts, bench.initial, protocol, draws)
                total += protocol.episodes / shards * _timed(score)
        return total


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def _kind(cell: Cell) -> str:
    return cell.model_copy(update={"seed": 0}).sha256()


def _state(record: Record | None) -> str:
    return "to do" if record is None else record.status


def _parameters(cell: Cell) -> str:
    train = cell.protocol.train
    own = ", ".join(f"{k}={v}" for k, v in cell.algorithm.items() if k != "name")
    size = f"{train.ways}-way {train.shots}-shot"
    return f"{size}, {train.steps} x {train.meta_batch} episodes; {own}"
