"""Records -> groups of seeds: what every table and figure is made from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from suite.config import Cell, EvaluationProtocol
from suite.errors import UserError
from suite.records.schema import ArrayNames, Record
from suite.records.store import Arrays, Store, file_stem

#: The order of rows, from no meta-training to all of it; other algorithms follow by name.
ORDER = ("sgd", "finetune", "reptile", "fomaml", "maml")


@dataclass(frozen=True, eq=False)
class Runs:
    """The cells of one algorithm on one experiment and device: they differ in their seed."""

    store: Store
    done: tuple[Record, ...]
    """By seed."""
    diverged: tuple[Record, ...]
    """Cells whose training diverged: they have no results."""

    @property
    def records(self) -> tuple[Record, ...]:
        """All records, those without results too."""
        return self.done + self.diverged

    @property
    def cell(self) -> Cell:
        """One of the cells, for what they have in common."""
        return self.records[0].cell

    @property
    def experiment(self) -> str:
        """Name of the experiment."""
        return self.cell.experiment

    @property
    def variant(self) -> str:
        """What the profile calls the algorithm with these parameters."""
        return self.cell.variant

    @property
    def device(self) -> str:
        """Kind of device."""
        return self.cell.numerics.device

    @property
    def algorithm(self) -> str:
        """Registered name of the algorithm."""
        return str(self.cell.algorithm["name"])

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of the cells that have results."""
        return tuple(record.cell.seed for record in self.done)

    @property
    def diverged_cells(self) -> str:
        """How many cells diverged, in words; '' if none."""
        return f"{len(self.diverged)} of {len(self.records)} diverged" if self.diverged else ""

    @cached_property
    def scores(self) -> list[Arrays]:
        """Scores of each record of `done` by evaluation; no other arrays are kept."""
        prefix = ArrayNames.SCORES
        return [
            {name: values for name, values in self.store.arrays(r).items() if name.startswith(prefix)}
            for r in self.done
        ]


@dataclass(frozen=True, eq=False)
class Group:
    """The scores of one algorithm on one evaluation and device."""

    runs: Runs
    evaluation: EvaluationProtocol
    metric: str
    """``accuracy``, ``mse``, or '' where no cell of the experiment has results."""

    @property
    def key(self) -> tuple[str, str, str]:
        """Experiment, evaluation and device: groups with one key are compared."""
        return self.runs.experiment, self.evaluation.name, self.runs.device

    @property
    def higher_is_better(self) -> bool:
        """Whether a larger score is a better one."""
        return self.metric == "accuracy"

    @cached_property
    def scores(self) -> np.ndarray:
        """Scores (seeds, episodes, steps + 1) of the seeds that have results."""
        shape = (self.evaluation.episodes, self.evaluation.steps + 1)
        name = ArrayNames.SCORES + self.evaluation.name
        found = [arrays.get(name) for arrays in self.runs.scores]
        for record, values in zip(self.runs.done, found, strict=True):
            if values is None or values.shape != shape:
                raise UserError(
                    f"the arrays of {file_stem(record.cell)!r} have no scores {shape} called "
                    f"{name!r}; remove that record and run again."
                )
        return np.stack([v for v in found if v is not None]) if found else np.empty((0, *shape))

    def headline(self) -> np.ndarray:
        """Return the scores (seeds, episodes) after the headline number of steps."""
        return self.scores[:, :, self.evaluation.headline]


@dataclass(frozen=True, eq=False)
class Collection:
    """The records of one profile, in the order in which tables show them."""

    profile: str
    runs: tuple[Runs, ...]
    groups: tuple[Group, ...]
    problems: tuple[str, ...]
    """Files that were left out, with the reason."""

    @property
    def records(self) -> list[Record]:
        """All records."""
        return [record for runs in self.runs for record in runs.records]

    @property
    def devices(self) -> list[str]:
        """Kinds of devices."""
        return sorted({runs.device for runs in self.runs})

    def compared(self) -> Iterator[list[Group]]:
        """Yield the groups of each experiment, evaluation and device."""
        by_key: dict[tuple[str, str, str], list[Group]] = {}
        for group in self.groups:
            by_key.setdefault(group.key, []).append(group)
        yield from by_key.values()


def collect(store: Store) -> Collection:
    """Read and group the records of a profile.

    Raises:
        UserError: no records, or records that must not stand in one table.
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
    for before, after in zip(records, records[1:], strict=False):
        if before.cell.seed == after.cell.seed:
            raise _unlike(before, after, "are of one seed, run with other numbers of threads")
    return Runs(
        store,
        tuple(record for record in records if record.results is not None),
        tuple(record for record in records if record.results is None),
    )


def _without_seed(cell: Cell) -> dict[str, Any]:
    # Threads can move the last bits but not what is measured: a run that was finished on a larger
    # machine is still one run.
    description = cell.description()
    del description["seed"], description["numerics"]["threads"]
    return description


def _order(runs: Runs) -> tuple[str, str, int, str]:
    place = ORDER.index(runs.algorithm) if runs.algorithm in ORDER else len(ORDER)
    return runs.experiment, runs.device, place, runs.variant


def _metrics(records: list[Record]) -> dict[tuple[str, str], str]:
    """Return the metric by experiment and evaluation; check that all saw the same episodes."""
    metrics: dict[tuple[str, str], str] = {}
    seen: dict[tuple[str, str], tuple[str, Record]] = {}
    for record in records:
        if record.results is None:
            continue
        for name, result in record.results.evaluations.items():
            key = (record.cell.experiment, name)
            metrics[key] = result.metric
            episodes, first = seen.setdefault(key, (result.episodes_sha256, record))
            if episodes != result.episodes_sha256:
                raise _unlike(first, record, f"were tested on other episodes of {name!r}")
    return metrics


def _check_versions(records: list[Record]) -> None:
    by_version = {record.cell.results_version: record for record in records}
    if len(by_version) > 1:
        old, new, *_ = sorted(by_version)
        raise UserError(
            f"records of results versions {old} ({file_stem(by_version[old].cell)}) and {new} "
            f"({file_stem(by_version[new].cell)}) must not stand in one table; move the old ones "
            "to another folder, or make them again with this version."
        )


def _unlike(first: Record, second: Record, how: str) -> UserError:
    return UserError(
        f"the records {file_stem(first.cell)!r} and {file_stem(second.cell)!r} {how}; move the "
        "stale one to another folder, or use a new one with --results."
    )
