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
from suite.config import Cell, load_profile, profile_names
from suite.matrix.bench import set_up
from suite.matrix.team import Team
from suite.records.schema import Record
from suite.records.store import Store


def show(
    cells: Sequence[Cell], store: Store, data: Path | None, console: Console, details: bool
) -> None:
    """Print the cells; with ``details`` also parameters, what is done, and the expected time."""
    if not details:
        for cell in cells:
            print(cell.label)
        return
    records = [store.find(cell) for cell in cells]
    estimates = Estimates(data, [record for record in records if record is not None])
    rows, left = [], 0.0
    for cell, record in zip(cells, records, strict=True):
        seconds = estimates.seconds(cell)
        left += 0 if record else seconds
        rows.append([cell.label, _parameters(cell), _state(record), f"{seconds:.0f} s"])
    headers = ["cell", "parameters", "state", "time"]
    console.print(tabulate(rows, headers, tablefmt="simple"), markup=False, soft_wrap=True)
    done = sum(record is not None for record in records)
    console.print(f"{len(cells)} cells, {done} done; about {left / 60:.1f} minutes to go.")


def show_registered(console: Console) -> None:
    """Print every name that a user may write, by kind."""
    rows = [["profile", n, load_profile(n).description] for n in profile_names()]
    for kind in (registry.algorithms, registry.tasks, registry.models, registry.engines):
        for name in kind.names():
            first = (kind.get(name).__doc__ or "").strip().splitlines()
            rows.append([kind.kind, name, first[0] if first else ""])
    console.print(tabulate(rows, ["kind", "name", ""], tablefmt="simple"), markup=False)


class Estimates:
    """Expected seconds of cells: from records of the same training, else from a short trial."""

    def __init__(self, data: Path | None, records: Sequence[Record]) -> None:
        self._data = data
        self._known: dict[str, float] = {}
        for record in records:
            if record.timing is not None:
                timing = record.timing
                seconds = timing.training_seconds + timing.evaluation_seconds
                self._known[_kind(record.cell)] = seconds

    def seconds(self, cell: Cell) -> float:
        """Return the expected seconds of a cell; cells that differ by seed alone are alike."""
        kind = _kind(cell)
        if kind not in self._known:
            self._known[kind] = self._trial(cell)
        return self._known[kind]

    def _trial(self, cell: Cell) -> float:
        """Do two outer steps and a test episode in every process, and multiply."""
        bench = set_up(cell, self._data, torch.device(cell.numerics.device))
        train, total = cell.protocol.train, 0.0
        with Team(bench) as team:
            shards = len(team)
            if bench.trains:
                loop = bench.outer_loop(team.outers)
                loop.step(0)
                total += train.steps * _timed(lambda: loop.step(0))
            for protocol in cell.protocol.evaluations:
                parts = [slice(i, i + 1) for i in range(shards)]
                score = partial(team.score, parts, bench.initial, protocol, bench.inner_draws)
                total += protocol.episodes / shards * _timed(score)
        return total


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _kind(cell: Cell) -> str:
    return cell.model_copy(update={"seed": 0}).sha256()


def _state(record: Record | None) -> str:
    return "to do" if record is None else record.status


def _parameters(cell: Cell) -> str:
    train = cell.protocol.train
    own = ", ".join(f"{k}={v}" for k, v in cell.algorithm.items() if k != "name")
    size = f"{train.ways}-way {train.shots}-shot"
    return f"{size}, {train.steps} x {train.meta_batch} episodes; {own}"
