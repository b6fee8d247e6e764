"""The command line without a command: compute the cells that have no record yet, and report."""

from __future__ import annotations

from pathlib import Path

from suite.cli import selection
from suite.cli.console import console
from suite.cli.records import show_report
from suite.config.cell import Cell
from suite.config.profile import load_profile
from suite.core import devices
from suite.executors import factory
from suite.executors.base import Executor
from suite.matrix import listing
from suite.matrix.progress import Progress
from suite.matrix.run import run_matrix
from suite.matrix.schedule import shard
from suite.records.store import Store


def run_profile(options: dict) -> None:
    """Run or list the cells that the options select.

    Raises:
        UserError: bad input.
        SystemExit: status 1, because a cell diverged or failed.
    """
    kinds, executor = _executor(options)
    cells, data = selection.cells(options, kinds, executor.cores), selection.data_folder(options)
    if options["shard"]:
        cells = shard(cells, *options["shard"])
    store = selection.store(options)
    if options["list_cells"] or options["dry_run"]:
        listing.show_cells(cells, store, data, console, executor.lanes, details=options["dry_run"])
    elif not cells:
        console.print("this shard has no cells, because there are more shards than cells.")
    else:
        _compute(cells, store, data, executor, options)


def _executor(options: dict) -> tuple[list[str], Executor]:
    """Return the resolved kinds of device and the executor of the cells."""
    cluster = factory.cluster(options["executor"], options["address"])
    names = options["device_names"] or load_profile(options["profile"]).devices
    kinds = devices.resolve(names, cluster.kinds if cluster else None)
    wanted = factory.ExecutorOptions(
        kinds,
        workers=options["workers"],
        lanes=options["lanes"],
        cluster=cluster,
        plugins=options["plugins"],
        cores=(options["threads"] or 1) * (options["processes"] or 1),
    )
    return kinds, factory.make_executor(options["executor"], wanted)


def _compute(
    cells: list[Cell], store: Store, data: Path | None, executor: Executor, options: dict
) -> None:
    summary = run_matrix(
        cells,
        store,
        data,
        Progress(console),
        executor,
        alone=not options["busy_machine"],
        checkpoint_every=options["checkpoint_every"],
        keep_weights=options["keep_weights"],
        checkpoints=options["checkpoints"],
    )
    for problem in store.problems:
        console.print(f"invalid record: {problem}", markup=False, soft_wrap=True)
    console.print(
        f"{summary.done} cells done, {summary.skipped} already there, "
        f"{len(summary.diverged)} diverged, {len(summary.failed)} failed, "
        f"in {summary.seconds:.0f} s."
    )
    if summary.whole or store.records():
        show_report(store, options)
    if not summary.whole:
        raise SystemExit(1)
