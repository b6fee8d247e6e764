"""Comparison of records with published numbers: one row for each, with a verdict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from suite.config import presets as protocols
from suite.config.cell import Cell, EvaluationProtocol, make_task
from suite.config.presets import Preset, Result
from suite.core.metrics import metric_of, published_metric
from suite.core.statistics import Summary, summarise
from suite.published.counterpart import (
    BUDGET,
    Counterpart,
    counterparts,
    differing,
    item_value,
    shortening,
)
from suite.published.margins import known_before
from suite.published.numbers import Number, load
from suite.published.verdicts import SETTLED, Verdict, judge, no_value, not_run


class Tested(Protocol):
    """The seeds of one algorithm on one evaluation, in a report's grouping."""

    @property
    def cell(self) -> Cell:
        """One of the cells."""

    @property
    def evaluation(self) -> EvaluationProtocol:
        """The evaluation."""

    def after(self, step: int) -> np.ndarray:
        """Return the scores (seeds, episodes) after ``step`` inner steps."""

    @property
    def diverged_seeds(self) -> int:
        """Number of trainings that diverged and have no scores."""

    def class_interval(self, step: int) -> float | None:
        """Return the ± over classes after ``step`` inner steps, if hits by class are known."""


@dataclass(frozen=True)
class Row:
    """A published number, our result for it, and the verdict.

    ``tested`` is None if nothing was run; ``number`` is None if the paper has no number for this
    setting.
    """

    preset: Preset
    result: Result | None
    number: Number | None
    tested: Tested | None
    verdict: Verdict
    counterpart: Counterpart | None = None

    @property
    def test(self) -> str:
        """Name of the evaluation: ours, or the preset's if nothing was run."""
        if self.tested is not None:
            return self.tested.evaluation.name
        assert self.result is not None
        return self.result.evaluation

    @property
    def step(self) -> int:
        """Inner step of the comparison: the paper's, or ours if the paper has no number."""
        if self.result is not None:
            return self.result.step
        assert self.tested is not None
        return self.tested.evaluation.headline

    @property
    def metric(self) -> str:
        """The published metric, or the one that a paper would use."""
        if self.number is not None:
            return self.number.metric
        assert self.tested is not None
        return metric_of(self.tested.cell.make_task().metric).published

    @property
    def scores(self) -> np.ndarray:
        """Our scores (seeds, episodes) after that step, in the published unit."""
        if self.tested is None:
            return np.empty((0, 0))
        return published_metric(self.metric).scale * self.tested.after(self.step)

    @property
    def known_before(self) -> bool:
        """Whether scores of the setting were known when the rule of the margin was chosen."""
        return self.verdict.kind in SETTLED and known_before(self.preset.name)

    @property
    def class_interval(self) -> float | None:
        """± over classes of our scores, in the published unit, if known."""
        width = None if self.tested is None else self.tested.class_interval(self.step)
        return None if width is None else published_metric(self.metric).scale * width

    @cached_property
    def summary(self) -> Summary:
        """Summary of our scores for a table."""
        kind = published_metric(self.metric)
        return summarise(self.scores, higher_is_better=kind.higher_is_better)


def compare(tested: Sequence[Tested], presets: Sequence[Preset]) -> list[Row]:
    """Return a row for every published number that has or should have one of our results.

    Args:
        tested: groups of the records.
        presets: settings that should have been run; their numbers always have rows.
    """
    rows = _read_once([row for group in tested for row in _beside(group)])
    there = {(row.preset.name, row.result) for row in rows}
    for preset in presets:
        for result in preset.results:
            if (preset.name, result) not in there:
                number = load().number(result.number)
                rows.append(Row(preset, result, number, None, not_run(number, brought(preset))))
    return rows


def brought(preset: Preset) -> str:
    """Return the data that the user must provide for a setting; '' if none."""
    return make_task(preset.nested()["task"]).brought


def _read_once(rows: Sequence[Row]) -> list[Row]:
    """Keep one row per training if several of its tests match the same published number.

    If some tests are comparable, except for the budget, only these count. Among tests that differ
    from the paper's in the same items, the one on the paper's own tasks is kept, or else the one
    with the most episodes.
    """
    tests: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        tests.setdefault(_reading(row), []).append(row)
    kept: list[Row] = []
    for found in tests.values():
        judged = [row for row in found if row.counterpart and _near(row.counterpart)]
        best: dict[str, Row] = {}
        for row in judged or found:
            apart = repr(row.counterpart.differing) if row.counterpart else ""
            if _preference(row) > _preference(best.setdefault(apart, row)):
                best[apart] = row
        kept += best.values()
    return [row for row in rows if any(row is one for one in kept)]


def _near(found: Counterpart) -> bool:
    return found.comparable or bool(found.shortened)


def _reading(row: Row) -> tuple[Any, ...]:
    assert row.tested is not None
    cell = row.tested.cell
    return row.result, cell.experiment, cell.variant, cell.numerics.device


def _preference(row: Row) -> tuple[int, int]:
    """Rank tests: those on the paper's own tasks come first, then those with more episodes."""
    redrawn = len(row.counterpart.redrawn) if row.counterpart else 0
    return -redrawn, row.tested.evaluation.episodes if row.tested else 0


def _beside(group: Tested) -> Iterator[Row]:
    unpublished = _without_number(group)
    if unpublished is not None:
        preset, shortened = unpublished
        if group.evaluation.name == next(iter(preset.nested()["evaluations"])):
            yield Row(preset, None, None, group, no_value(shortened))
        return
    for found in counterparts(group.cell, group.evaluation):
        number = load().number(found.result.number)
        row = Row(found.preset, found.result, number, group, not_run(number), found)
        verdict = judge(
            row.scores,
            number,
            assuming=_assumed(found),
            differing=() if found.shortened else _differences(found),
            shortened=found.shortened,
            diverged_seeds=group.diverged_seeds,
            their_tasks=_on_their_tasks(found, group.evaluation, number),
            own_tasks=_own_tasks(group.cell),
        )
        yield replace(row, verdict=verdict)


def _on_their_tasks(found: Counterpart, test: EvaluationProtocol, number: Number) -> bool:
    """Return whether an evaluation has all the tasks of the paper, which are known by name."""
    named = isinstance(test.tasks, str) and not found.redrawn
    return named and number.pm_n in (None, test.episodes)


def _own_tasks(cell: Cell) -> bool:
    """Return whether every seed is tested on classes of its own."""
    task = cell.make_task()
    return task.for_seed(0).identity() != task.for_seed(1).identity()


def _without_number(group: Tested) -> tuple[Preset, str] | None:
    """Return the preset of this evaluation if the paper has no number for it.

    The second value says how much shorter our training is.
    """
    name = f"{group.cell.experiment.split('@')[0]}/{group.cell.variant}"
    preset, test = protocols.load().get(name), group.evaluation.name
    if preset is None or preset.results:
        return None
    own = preset.nested()["evaluations"].get(test, {})
    if (own.get("ways"), own.get("shots")) != (group.evaluation.ways, group.evaluation.shots):
        return None
    apart = differing(group.cell, test, preset, test)
    return (preset, shortening(apart)) if set(apart) <= {BUDGET} else None


def _assumed(found: Counterpart) -> list[str]:
    """Return the assumed items of a verdict, without those of other evaluations."""
    own = f"evaluations.{found.result.evaluation}."
    return [
        item
        for item in found.preset.assumed
        if not item.startswith("evaluations.") or item.startswith(own)
    ]


def _differences(found: Counterpart) -> list[str]:
    items = sorted(found.differing, key=lambda path: (path == BUDGET, path))
    return [f"{path} {shown(found.differing[path])}" for path in items]


def shown(pair: tuple[Any, Any]) -> str:
    """Write a pair of values as "ours, not theirs"."""
    ours, theirs = map(item_value, pair)
    return f"{ours}, not {theirs}"
