"""The table of devices: one row for each, with its times, and its scores against the first's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from suite.core.statistics import HEADLINE_SEEDS
from suite.report import format as written
from suite.report.groups import Collection, Group
from suite.report.notes import provenance, stamp
from suite.report.render import Table
from suite.report.tables.scores import paired
from suite.report.tables.timing import alone, duration, milliseconds

#: Parts whose times are shown, with the headings of their columns.
PARTS = {"inner_loop": "Inner loop, ms", "outer_step": "Outer step, ms"}


def agreement(collection: Collection) -> Table | None:
    """Return the table of devices, or None if all cells ran on one kind."""
    rows: list[tuple[str, ...]] = []
    data: list[Mapping[str, Any]] = []
    for groups in _on_several(collection):
        for group in groups:
            rows.append(_row(group, groups[0]))
            data.append(_data(group, groups[0]))
    if not rows:
        return None
    columns = (
        *("Experiment", "Evaluation", "Algorithm", "Device", "Metric"),
        *("Mean", "minus the first", "± seeds", "p", "Seeds", *PARTS.values()),
    )
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
    return Table("devices", title, columns, tuple(rows), notes, tuple(data), text_columns=5)


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


def _row(group: Group, first: Group) -> tuple[str, ...]:
    metric, records = group.metric, alone(group.runs)
    difference = (written.NONE,) * 3
    if group is not first:
        found = paired(group, first)
        difference = (
            "diverged" if found.mean is None else written.signed(found.mean, metric),
            written.half_width(found.interval, found.mean, metric),
            written.p_value(found.p),
        )
    return (
        *(group.runs.experiment, group.evaluation.name, group.runs.variant),
        *(_model(group), written.column(metric)),
        *(written.score(group.summary.mean, metric), *difference, group.runs.seed_count),
        *(milliseconds(duration(records, part)) for part in PARTS),
    )


def _model(group: Group) -> str:
    """Return the models of the devices that a group ran on."""
    places = [record.provenance for record in group.runs.done]
    return written.listed(place.accelerator or place.processor for place in places)


def _data(group: Group, first: Group) -> Mapping[str, Any]:
    found, records = paired(group, first), alone(group.runs)
    times = {part: duration(records, part) for part in PARTS}
    return {
        "experiment": group.runs.experiment,
        "evaluation": group.evaluation.name,
        "variant": group.runs.variant,
        "device": group.runs.device,
        "model": _model(group),
        "metric": group.metric,
        "step": group.evaluation.headline,
        "mean": group.summary.mean,
        "minus": first.runs.device,
        "difference": found.mean,
        "seed_interval_95": found.interval,
        "p": None if group is first else found.p,
        "seeds": found.seeds,
        **{f"{part}_seconds": None if t is None else t[0] for part, t in times.items()},
        **stamp(group.runs.records),
    }
