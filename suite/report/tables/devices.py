"""The table of devices: one row for each, with its times, and its scores against the first's."""

from __future__ import annotations

from collections.abc import Iterator

from suite.core.statistics import HEADLINE_SEEDS
from suite.report import format as written
from suite.report.columns import Column, Label, make_table, stamp_columns
from suite.report.groups import Collection, Group, Runs
from suite.report.notes import provenance
from suite.report.render import Table
from suite.report.tables.scores import paired
from suite.report.tables.timing import alone, duration, milliseconds


def device_table(collection: Collection) -> Table | None:
    """Return the table of devices, or None if all cells ran on one kind."""
    rows = [_columns(group, groups[0]) for groups in _on_several(collection) for group in groups]
    if not rows:
        return None
    notes = (
        "Minus the first: difference of the headline scores to those on the first device of the "
        "algorithm, on the same test episodes. Episodes are averaged within a seed, and seeds are "
        "paired. ± seeds: half width of its 95 % Student t interval. p: two-sided paired t test, "
        f"not corrected for the number of tests, given from {HEADLINE_SEEDS} seeds: a small one "
        "says that the devices disagree.",
        "Times: medians over seeds of each part's median and quartiles, of cells that had their "
        "device to themselves.",
        *provenance(collection),
    )
    title = f"Agreement and times of devices, profile {collection.profile}"
    return make_table("devices", title, rows, notes)


def _on_several(collection: Collection) -> Iterator[list[Group]]:
    """Yield the groups with results that ran on several kinds of devices, by device."""
    found: dict[tuple[str, str, str], list[Group]] = {}
    for group in collection.groups:
        if group.runs.done:
            key = (group.runs.experiment, group.evaluation.name, group.runs.variant)
            found.setdefault(key, []).append(group)
    for groups in found.values():
        if len(groups) > 1:
            yield sorted(groups, key=lambda group: group.runs.device)


def _columns(group: Group, first: Group) -> tuple[Column, ...]:
    """Return the columns of a group, which is paired with the one on the first device."""
    runs, metric, mean = group.runs, group.metric, group.summary.mean
    made_on = [record.provenance for record in runs.done]
    models = written.listed(place.accelerator or place.processor for place in made_on)
    found = paired(group, first)
    p, difference, width = None, written.NONE, written.NONE
    if group is not first:
        p = found.p
        difference = "diverged" if found.mean is None else written.signed(found.mean, metric)
        width = written.half_width(found.interval, found.mean, metric)
    return (
        Label("Experiment", "experiment", runs.experiment),
        Label("Evaluation", "evaluation", group.evaluation.name),
        Label("Algorithm", "variant", runs.variant),
        Label(None, "device", runs.device),
        Label("Device", "model", models),
        Label("Metric", "metric", metric, written.column(metric)),
        Column(None, "step", group.evaluation.headline),
        Column("Mean", "mean", mean, written.score(mean, metric)),
        Label(None, "minus", first.runs.device),
        Column("minus the first", "difference", found.mean, difference),
        Column("± seeds", "seed_interval_95", found.interval, width),
        Column("p", "p", p, written.p_value(p)),
        Column("Seeds", "seeds", found.seeds, runs.seed_count),
        _time("Inner loop, ms", "inner_loop", runs),
        _time("Outer step, ms", "outer_step", runs),
        *stamp_columns(runs.records),
    )


def _time(heading: str, part: str, runs: Runs) -> Column:
    found = duration(alone(runs), part)
    return Column(heading, f"{part}_seconds", found and found[0], milliseconds(found))
