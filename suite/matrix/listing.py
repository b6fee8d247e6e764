"""Output of ``--list``, ``--dry-run`` and ``list``."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from tabulate import tabulate

from suite.cell.setup import set_up
from suite.cell.workers import CellWorkers
from suite.config.cell import Cell
from suite.config.profile import load_profile, profile_names
from suite.core import registry
from suite.core.episodes import EpisodeContext
from suite.core.errors import UserError
from suite.matrix.estimates import Estimates, kind_of
from suite.matrix.progress import in_words
from suite.matrix.schedule import makespan
from suite.records.schema import Record
from suite.records.store import Store

#: Seconds above which a trial of an outer step is not repeated.
LONG = 2.0


def show_cells(
    cells: Sequence[Cell],
    store: Store,
    data: Path | None,
    console: Console,
    lanes: Sequence[Collection[str]],
    details: bool,
) -> None:
    """Print the cells and, if it is known from records, the time that each takes here.

    With ``details``, also print parameters and the state of each cell, and measure unknown times in
    short trials. ``lanes`` are the executor's; the total time depends on them.
    """
    estimates = Estimates(store.records())
    if not details:
        for cell in cells:
            seconds = estimates.known(cell)
            print(cell.label if seconds is None else f"{cell.label}  {in_words(seconds)}")
        return
    trials = _Trials(data, estimates)
    rows, left, done, unknown = [], [], 0, 0
    for cell in cells:
        record = store.find(cell)
        seconds, why = trials.seconds(cell)
        unknown += seconds is None
        done += record is not None
        if record is None and seconds is not None:
            left.append((cell.numerics.device, seconds))
        shown = why if seconds is None else in_words(seconds)
        rows.append([cell.label, _parameters(cell), _state(record), shown])
    headers = ["cell", "parameters", "state", "time"]
    console.print(tabulate(rows, headers, tablefmt="simple"), markup=False, soft_wrap=True)
    others = f", and {unknown} cells of unknown time" if unknown else ""
    left.sort(key=lambda cell: cell[1], reverse=True)
    whole = in_words(makespan(left, lanes))
    console.print(f"{len(cells)} cells, {done} done; about {whole} to go{others}.")


def show_registered(console: Console) -> None:
    """Print every name that a user may write, by kind."""
    rows = [["profile", n, load_profile(n).description] for n in profile_names()]
    for kind in (registry.algorithms, registry.tasks, registry.models, registry.engines):
        for name in kind.names():
            first = (kind.get(name).__doc__ or "").strip().splitlines()
            rows.append([kind.kind, name, first[0] if first else ""])
    console.print(tabulate(rows, ["kind", "name", ""], tablefmt="simple"), markup=False)


class _Trials:
    """Expected seconds of cells: from records, else from a short trial."""

    def __init__(self, data: Path | None, estimates: Estimates) -> None:
        self._data, self._estimates = data, estimates
        self._tried: dict[str, float] = {}
        self._reasons: dict[str, str] = {}

    def seconds(self, cell: Cell) -> tuple[float | None, str]:
        """Return the known seconds or those of a trial; None and the reason if there are none."""
        known, kind = self._estimates.known(cell), kind_of(cell)
        if known is not None:
            return known, ""
        if kind not in self._tried and kind not in self._reasons:
            try:
                self._tried[kind] = self._trial(cell)
            except UserError as error:  # without a data set, all else is still listed
                self._reasons[kind] = str(error).split(";")[0]
        return self._tried.get(kind), self._reasons.get(kind, "")

    def _trial(self, cell: Cell) -> float:
        """Time one or two outer steps and one test episode in every process, and scale up."""
        setup = set_up(cell, self._data, torch.device(cell.numerics.device))
        train, total = cell.protocol.train, 0.0
        with CellWorkers(setup) as workers:
            shards = len(workers)
            if setup.trains:
                loop = setup.outer_loop(workers.gradient)
                first = _timed(lambda: loop.step(0))
                # The first step is a warm-up, unless it takes so long that one is enough.
                again = first if first > LONG else _timed(lambda: loop.step(0))
                total += train.steps * again
            for protocol in cell.protocol.evaluations:
                parts = [slice(i, i + 1) for i in range(shards)]
                context = EpisodeContext(
                    setup.inner_stream,
                    inner_state=setup.algorithm.initial_inner_state(setup.engine),
                )
                score = partial(workers.score, parts, setup.initial, protocol, context)
                total += protocol.episodes / shards * _timed(score)
        return total


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _state(record: Record | None) -> str:
    return "to do" if record is None else record.status


def _parameters(cell: Cell) -> str:
    train = cell.protocol.train
    parameters = ", ".join(f"{k}={v}" for k, v in cell.algorithm.items() if k != "name")
    size = f"{train.ways}-way {train.shots}-shot"
    return f"{size}, {train.steps} x {train.meta_batch} episodes; {parameters}"
