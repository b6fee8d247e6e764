"""Input of a report: the seeds of one algorithm, their scores, and all records of a profile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from suite.config.cell import Cell, EvaluationProtocol
from suite.core.errors import UserError
from suite.core.metrics import metric_of
from suite.core.statistics import Summary, class_interval, summarise
from suite.records.files import Arrays
from suite.records.schema import ArrayNames, Record
from suite.records.store import Store, file_stem


@dataclass(frozen=True, eq=False)
class Runs:
    """The cells of one algorithm on one experiment and device, which differ in their seed."""

    store: Store
    done: tuple[Record, ...]
    """Records with results, by seed."""
    diverged: tuple[Record, ...]
    """Records of cells whose training diverged; they have no results."""

    @property
    def records(self) -> tuple[Record, ...]:
        """All records, including those without results."""
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
        """Name of the algorithm with these parameters in the profile."""
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
        """Seeds of the cells that have results."""
        return tuple(record.cell.seed for record in self.done)

    @property
    def diverged_cells(self) -> str:
        """Number of cells that diverged, in words; '' if none."""
        return f"{len(self.diverged)} of {len(self.records)} diverged" if self.diverged else ""

    @property
    def seed_count(self) -> str:
        """Number of seeds with results; if some diverged, also the number of all seeds."""
        of = f" of {len(self.records)}" if self.diverged else ""
        return f"{len(self.done)}{of}"

    @cached_property
    def scores(self) -> list[Arrays]:
        """Scores of each record of `done`, and its hits by class; no other arrays are kept."""
        kept = (ArrayNames.SCORES, ArrayNames.BY_CLASS)
        return [
            {name: values for name, values in self.store.arrays(r).items() if name.startswith(kept)}
            for r in self.done
        ]


@dataclass(frozen=True, eq=False)
class Group:
    """The scores of one algorithm on one evaluation and device."""

    runs: Runs
    evaluation: EvaluationProtocol
    metric: str
    """``accuracy`` or ``mse``; '' if no cell of the experiment has results."""

    @property
    def cell(self) -> Cell:
        """One of the cells, for what they have in common."""
        return self.runs.cell

    @property
    def diverged_seeds(self) -> int:
        """Number of trainings that diverged and therefore have no scores."""
        return len(self.runs.diverged)

    @property
    def key(self) -> tuple[str, str, str]:
        """Experiment, evaluation and device; groups with the same key are compared."""
        return self.runs.experiment, self.evaluation.name, self.runs.device

    @property
    def higher_is_better(self) -> bool:
        """Whether a larger score is a better one."""
        return bool(self.metric) and metric_of(self.metric).higher_is_better

    @cached_property
    def scores(self) -> np.ndarray:
        """Scores (seeds, episodes, scored steps) of the seeds that have results."""
        shape = (self.evaluation.episodes, len(self.evaluation.scored_steps))
        name = ArrayNames.SCORES + self.evaluation.name
        found = [arrays.get(name) for arrays in self.runs.scores]
        for record, values in zip(self.runs.done, found, strict=True):
            if values is None or values.shape != shape:
                raise UserError(
                    f"the arrays of {file_stem(record.cell)!r} have no scores {shape} called "
                    f"{name!r}; remove that record and run again."
                )
        return np.stack([v for v in found if v is not None]) if found else np.empty((0, *shape))

    def after(self, step: int) -> np.ndarray:
        """Return the scores (seeds, episodes) after ``step`` inner steps, which must be scored."""
        return self.scores[:, :, self.evaluation.column(step)]

    def headline(self) -> np.ndarray:
        """Return the scores (seeds, episodes) after the headline number of steps."""
        return self.after(self.evaluation.headline)

    def class_interval(self, step: int) -> float | None:
        """Return the ± over classes after ``step`` inner steps, averaged over seeds.

        It is None if the records have no hits by class. Its unit is that of the scores.
        """
        head = f"{ArrayNames.BY_CLASS}{self.evaluation.name}/"
        column, queries = self.evaluation.column(step), self.evaluation.query_shots
        widths = [
            class_interval(arrays[head + "hits"][:, column], queries * arrays[head + "episodes"])
            for arrays in self.runs.scores
            if head + "hits" in arrays
        ]
        known = [width for width in widths if width is not None]
        return float(np.mean(known)) if known and len(known) == len(self.runs.done) else None

    @cached_property
    def summaries(self) -> dict[int, Summary]:
        """Summaries of the scores for a table, by scored inner step."""
        return {
            step: summarise(self.after(step), higher_is_better=self.higher_is_better)
            for step in self.evaluation.scored_steps
        }

    @property
    def summary(self) -> Summary:
        """Summary of the headline scores for a table."""
        return self.summaries[self.evaluation.headline]


@dataclass(frozen=True, eq=False)
class Collection:
    """The records of one profile, in the order of the tables."""

    profile: str
    runs: tuple[Runs, ...]
    groups: tuple[Group, ...]
    problems: tuple[str, ...]
    """Files that were left out, with the reasons."""

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
