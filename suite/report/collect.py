"""Records -> groups of seeds; records that must not be combined in one table are refused."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

from suite.config.cell import Cell, results_versions
from suite.core import registry
from suite.core.errors import UserError
from suite.records.schema import Record
from suite.records.store import Store, file_stem
from suite.report.groups import Collection, Group, Runs


def collect(store: Store) -> Collection:
    """Read and group the records of a profile.

    Raises:
        UserError: if there are no records, or if they must not be combined in one table.
    """
    records = store.records()
    if not records:
        raise UserError(
            f"there are no records in {str(store.folder)!r}; run the profile "
            f"{store.profile!r} first, or name its folder with --results."
        )
    _check_versions(records)
    by_cell: dict[tuple[str, str, str], list[Record]] = {}
    for record in records:
        cell = record.cell
        key = (cell.experiment, cell.variant, cell.numerics.device)
        by_cell.setdefault(key, []).append(record)
    runs = sorted((_runs(store, found) for found in by_cell.values()), key=_order)
    metrics = _metrics(records)
    evaluations: dict[str, list[str]] = {}  # by experiment, in the protocol's order
    for run in runs:
        names = evaluations.setdefault(run.experiment, [])
        names += [e.name for e in run.cell.protocol.evaluations if e.name not in names]
    groups = [
        Group(run, evaluation, metrics.get((run.experiment, evaluation.name), ""))
        for run in runs
        for evaluation in run.cell.protocol.evaluations
    ]
    groups.sort(
        key=lambda group: (
            group.runs.experiment,
            evaluations[group.runs.experiment].index(group.evaluation.name),
            group.runs.device,
        )
    )
    return Collection(store.profile, tuple(runs), tuple(groups), tuple(store.problems))


def _runs(store: Store, records: list[Record]) -> Runs:
    records = sorted(records, key=lambda record: record.cell.seed)
    first = records[0]
    for record in records[1:]:
        if _without_seed(record.cell) != _without_seed(first.cell):
            raise _unlike(first, record, "have one name but other settings")
    for before, after in pairwise(records):
        if before.cell.seed == after.cell.seed:
            raise _unlike(
                before, after, "are of one seed, run with other numbers of threads or processes"
            )
    return Runs(
        store,
        tuple(record for record in records if record.results is not None),
        tuple(record for record in records if record.results is None),
    )


def _without_seed(cell: Cell) -> dict[str, Any]:
    # The number of threads can change the last bits, but not the quantity that is measured, so a
    # run that was finished on a larger machine is still one run.
    description = cell.description()
    del description["seed"], description["numerics"]["threads"], description["numerics"]["shards"]
    return description


def _order(runs: Runs) -> tuple[str, str, int, str]:
    place = registry.algorithms.find(runs.algorithm).rank
    return runs.experiment, runs.device, place, runs.variant


def _metrics(records: list[Record]) -> dict[tuple[str, str], str]:
    """Return the metric by experiment and evaluation; check that all used the same episodes."""
    metrics: dict[tuple[str, str], str] = {}
    seen: dict[tuple[Any, ...], tuple[str, Record]] = {}
    for record in records:
        if record.results is None:
            continue
        for name, result in record.results.evaluations.items():
            metrics[record.cell.experiment, name] = result.metric
            # It must be the same for all algorithms of a seed, and for all seeds of one task.
            for alike in (record.cell.seed, _drawn_from(record.cell)):
                key = (record.cell.experiment, name, alike)
                episodes, first = seen.setdefault(key, (result.episodes_sha256, record))
                if episodes != result.episodes_sha256:
                    raise _unlike(first, record, f"were tested on other episodes of {name!r}")
    return metrics


def _drawn_from(cell: Cell) -> str:
    """Return a text that identifies the task of the test episodes, with the seed's split."""
    try:
        return json.dumps(cell.make_task().data_identity(), sort_keys=True)
    except UserError:  # the task's plug-in is missing
        return json.dumps(cell.task, sort_keys=True)


def _check_versions(records: list[Record]) -> None:
    """Refuse records in one table that used a part in different versions."""
    seen: dict[str, dict[str, Record]] = {}
    for record in records:
        for part, version in results_versions(record.cell).items():
            seen.setdefault(part, {})[version] = record
    for part, by_version in seen.items():
        if len(by_version) > 1:
            old, new, *_ = sorted(by_version, key=lambda version: (len(version), version))
            raise UserError(
                f"records of versions {old} ({file_stem(by_version[old].cell)}) and {new} "
                f"({file_stem(by_version[new].cell)}) of {part} must not stand in one table; move "
                "the old ones to another folder, or make them again with this version."
            )


def _unlike(first: Record, second: Record, how: str) -> UserError:
    return UserError(
        f"the records {file_stem(first.cell)!r} and {file_stem(second.cell)!r} {how}; move the "
        "stale one to another folder, or use a new one with --results."
    )
