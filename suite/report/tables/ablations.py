"""The effect of one protocol item, in points, from pairs of results that differ in that item only.

No profile needs a mark for this table. If a group of seeds follows a published protocol, except for
its budget and for items that it leaves at their defaults, it is compared with every other group of
the same budget that differs in few items of training or test, and with other readings of the same
training. If two such groups differ in one item, the base is the one nearer to its protocol, or the
one whose protocol has fewer inferred items.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from suite.config.cell import episode_stream
from suite.core.statistics import HEADLINE_SEEDS, NORMAL_95, seed_interval, seed_means
from suite.published.counterpart import (
    BUDGET,
    Counterpart,
    counterparts,
    differing,
    item_value,
    without_effect,
)
from suite.report import format as written
from suite.report.columns import Column, Label, make_table, stamp_columns
from suite.report.groups import Collection, Group, Runs
from suite.report.notes import diverged_cells, provenance
from suite.report.render import Table

STEP = "test.report_step"
#: Paths of another problem or another budget; a difference in them is not one item.
_NO_ITEM = (BUDGET, "test.ways", "test.shots", "task.oracle", "task.folder")


@dataclass(frozen=True)
class Pair:
    """Two readings that differ in one item."""

    base: Group
    other: Group
    changed: Mapping[str, tuple[Any, Any]]
    """Items by path, as (value of the base, value of the other)."""
    steps: tuple[int, int]
    """Numbers of inner steps after which base and other are read."""

    @property
    def where(self) -> str:
        """Part of the protocol that the item belongs to."""
        test = all(path.startswith("test.") for path in self.changed)
        return "test" if test else "training"

    def scores(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the scores (seeds, episodes) of base and other for the seeds that both have."""
        common = sorted(set(self.base.runs.seeds) & set(self.other.runs.seeds))
        base, other = (
            group.after(step)[[group.runs.seeds.index(seed) for seed in common]]
            for group, step in zip((self.base, self.other), self.steps, strict=True)
        )
        return base, other

    @property
    def paired(self) -> bool:
        """Whether episode i is the same in both, except for the changes by the item."""
        one, two = (
            {
                record.cell.seed: episode_stream(record.cell.make_task(), group.evaluation).names
                for record in group.runs.done
            }
            for group in (self.base, self.other)
        )
        same = all(one[seed] == two[seed] for seed in one.keys() & two.keys())
        # Rotations as classes draw other classes; any other rule rotates the same drawings.
        classes = [
            "classes" in str(group.evaluation.rotations) for group in (self.base, self.other)
        ]
        alike = all(
            getattr(self.base.evaluation, key) == getattr(self.other.evaluation, key)
            for key in ("episodes", "tasks")
        )
        return same and alike and classes[0] == classes[1]


def item_table(collection: Collection) -> Table | None:
    """Return the table of the effects of protocol items, or None if there are no pairs."""
    pairs = list(_pairs(collection))
    if not pairs:
        return None
    rows = [_columns(pair, several=len(collection.devices) > 1) for pair in pairs]
    few = min(len(pair.scores()[0]) for pair in pairs) < HEADLINE_SEEDS
    notes = (
        "Each row changes one item of a published protocol (its own value under 'Protocol') and "
        "nothing else; budgets are the same on both sides. Difference: other minus protocol's; "
        "accuracy in points.",
        "± seeds: half width of the 95 % Student t interval of the difference, paired over seeds. "
        "± episodes: 1.96 standard errors of the difference over test episodes, averaged over "
        "seeds and paired by episode; with u the two have other test episodes and are not paired.",
        *(
            (
                f"With fewer than {HEADLINE_SEEDS} seeds the table is indicative: another training "
                "might order items differently.",
            )
            if few
            else ()
        ),
        *_budgets(pairs),
        *_defaults(pairs),
        *diverged_cells(collection),
        *provenance(collection),
    )
    title = f"What one protocol item is worth, profile {collection.profile}"
    return make_table("items", title, rows, notes)


def _pairs(collection: Collection) -> Iterator[Pair]:
    done = [group for group in collection.groups if group.runs.done]
    nearest: dict[Runs, tuple[tuple[int, ...], Group, Counterpart]] = {}
    for group in done:
        if found := _published(group):
            distance = (*_distance(found), -group.evaluation.episodes)
            if group.runs not in nearest or distance < nearest[group.runs][0]:
                nearest[group.runs] = (distance, group, found)
    said: set[tuple[Any, ...]] = set()
    read: set[tuple[Any, ...]] = set()
    for _, base, behind in sorted(nearest.values(), key=_nearness):
        training = (base.runs.experiment, base.runs.device, behind.preset.name)
        if (training, base.cell.protocol.train.steps) not in read:
            read.add((training, base.cell.protocol.train.steps))
            yield from _read_elsewhere(base)
        step = base.evaluation.headline
        # If several tests of another training are like the base's, a test with the same number of
        # episodes comes first.
        for other in sorted(done, key=lambda g: _episodes(g) != _episodes(base)):
            changed = _changed(base, other, behind)
            of = other if other.runs is base.runs else other.runs
            if changed and (base.runs, of) not in said:
                said |= {(base.runs, of), (of, base.runs)}
                yield Pair(base, other, changed, (step, step))


def _distance(found: Counterpart) -> tuple[int, int]:
    return len(found.differing), len(found.redrawn)


def _nearness(each: tuple[tuple[int, ...], Group, Counterpart]) -> tuple[int, ...]:
    return (*_distance(each[2]), len(each[2].preset.assumed))


def _episodes(group: Group) -> int:
    return group.evaluation.episodes


def _published(group: Group) -> Counterpart | None:
    """Return the published protocol that a group follows, except for budget and defaults."""
    for found in counterparts(group.cell, group.evaluation):
        followed = all(
            path == BUDGET or ours is None for path, (ours, _) in found.differing.items()
        )
        if followed and found.result.step == group.evaluation.headline:
            return found
    return None


def _changed(base: Group, other: Group, behind: Counterpart) -> dict[str, tuple[Any, Any]]:
    """Return the items in which two groups differ; empty if they are more than one decision."""
    if (other.runs.device, other.evaluation.headline) != (
        base.runs.device,
        base.evaluation.headline,
    ):
        return {}
    idle = without_effect(behind.preset, behind.result.evaluation)
    found = differing(base.cell, base.evaluation.name, other.cell, other.evaluation.name)
    changed = {path: values for path, values in found.items() if path not in idle}
    # The kind of batch norm and its adaptation are two items but one decision.
    one = len(changed) == 1 or all(path.startswith("model.norm") for path in changed)
    another_problem = any(path in changed for path in _NO_ITEM)
    another_problem |= any(path in behind.differing for path in changed)
    tests = any(path.startswith("test.") for path in changed)
    if not one or another_problem or (tests and base.runs is not other.runs):
        return {}
    return changed  # empty if the protocols are the same


def _read_elsewhere(base: Group) -> Iterator[Pair]:
    step = base.evaluation.headline
    for other in sorted({1, base.evaluation.steps} - {step}):
        if other in base.evaluation.scored_steps:
            yield Pair(base, base, {STEP: (step, other)}, (step, other))


def _columns(pair: Pair, *, several: bool) -> tuple[Column, ...]:
    metric, runs, test = pair.base.metric, pair.base.runs, pair.base.evaluation
    base, other = pair.scores()
    means = seed_means(base), seed_means(other)
    difference = means[1] - means[0]  # (seeds,)
    whole = len(difference) > 0 and bool(np.isfinite(difference).all())
    mean = float(difference.mean()) if whole else None
    seeds = seed_interval(difference) if whole else None
    episodes = _episode_interval(base, other, pair.paired) if whole else None
    over_seeds = written.half_width(seeds, mean, metric)
    if seeds is not None and len(difference) < HEADLINE_SEEDS:
        over_seeds = f"({over_seeds})"
    over_episodes = written.half_width(episodes, mean, metric) + ("" if pair.paired else "u")
    ours = [float(values.mean()) if whole else None for values in means]
    return (
        Label("Setting", "experiment", runs.experiment),
        Label("Algorithm", None, runs.variant),
        Label("Test", None, test.name),
        Label("Device" if several else None, "device", runs.device),
        Label("Touches", "touches", pair.where),
        Label("Item", "item", ", ".join(pair.changed)),
        Label("Protocol", "protocol", _said(pair, 0)),
        Label("Instead", "instead", _said(pair, 1)),
        Label(None, "base", runs.variant),
        Label(None, "other", pair.other.runs.variant),
        Label(None, "base_test", test.name),
        Label(None, "other_test", pair.other.evaluation.name),
        Label("Metric", None, metric, written.column(metric)),
        Column("Protocol's", "base_mean", ours[0], _mean(means[0], metric)),
        Column("Other", "other_mean", ours[1], _mean(means[1], metric)),
        Column("Difference", "difference", mean, written.signed(mean, metric)),
        Column("± seeds", "seed_interval_95", seeds, over_seeds),
        Column("± episodes", "episode_interval_95", episodes, over_episodes),
        Column(None, "paired_episodes", pair.paired),
        Column("Seeds", "seeds", len(difference)),
        Column(None, "episodes", test.episodes),
        Column(None, "outer_steps", pair.base.cell.protocol.train.steps),
        *stamp_columns([*runs.records, *pair.other.runs.records]),
    )


def _said(pair: Pair, side: int) -> str:
    return ", ".join(item_value(values[side]) for values in pair.changed.values())


def _mean(values: np.ndarray, metric: str) -> str:
    found = float(values.mean()) if len(values) and np.isfinite(values).all() else None
    return written.score(found, metric)


def _episode_interval(base: np.ndarray, other: np.ndarray, paired: bool) -> float:
    """Return the half width of the 95 % interval of the difference over test episodes."""
    sides = [values.astype(np.float64).mean(axis=0) for values in (base, other)]
    parts = [sides[1] - sides[0]] if paired else sides
    return NORMAL_95 * math.sqrt(sum(float(v.var(ddof=1)) / len(v) for v in parts))


def _budgets(pairs: Sequence[Pair]) -> tuple[str, ...]:
    budgets = {
        f"{pair.base.runs.experiment}/{pair.base.runs.variant}": (
            f"{pair.base.cell.protocol.train.steps:,} outer steps"
        )
        for pair in pairs
    }
    said = ", ".join(f"{name} {budget}" for name, budget in budgets.items())
    short = any(_shortened(pair.base) for pair in pairs)
    return (
        f"Budgets: {said}."
        + (
            " Where that is less than the published protocol's, an item of training may be worth "
            "another amount, of the other sign even, in the full one."
            if short
            else ""
        ),
    )


def _defaults(pairs: Sequence[Pair]) -> tuple[str, ...]:
    """Name the items in which the bases differ from their protocols."""
    left: dict[tuple[str, ...], list[str]] = {}
    for pair in pairs:
        found = _published(pair.base)
        items = tuple(path for path in found.differing if path != BUDGET) if found else ()
        name = f"{pair.base.runs.experiment}/{pair.base.runs.variant}"
        if items and name not in left.setdefault(items, []):
            left[items].append(name)
    said = "; ".join(f"{', '.join(names)} {', '.join(items)}" for items, names in left.items())
    return (f"Items of the protocols that both sides leave at their defaults: {said}.",) * bool(
        said
    )


def _shortened(group: Group) -> bool:
    return any(found.shortened for found in counterparts(group.cell, group.evaluation))
