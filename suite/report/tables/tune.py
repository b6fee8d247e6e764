"""The choice from a grid: rates and steps with the best score on meta-validation episodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from suite.core.statistics import Summary
from suite.report import format as written
from suite.report.columns import Column, Label, make_table, stamp_columns
from suite.report.groups import Collection, Group
from suite.report.notes import diverged_cells, provenance
from suite.report.render import Bold, Table


@dataclass(frozen=True)
class GridPoint:
    """One point of a grid, at its best number of inner steps."""

    group: Group
    parameters: dict[str, Any]
    step: int | None
    """Number of inner steps; None if a cell diverged, or an episode at every step."""
    summary: Summary | None


@dataclass(frozen=True)
class TunedChoice:
    """Result of a grid for one algorithm on one validation evaluation."""

    experiment: str
    variant: str
    """Name of the variant without the grid's parameters."""
    evaluation: str
    device: str
    points: tuple[GridPoint, ...]
    chosen: GridPoint | None
    """Chosen point; None if every point diverged."""

    @property
    def parameters(self) -> dict[str, Any]:
        """The chosen values of the grid's parameters."""
        return {} if self.chosen is None else dict(self.chosen.parameters)

    @property
    def step(self) -> int | None:
        """The chosen number of inner steps."""
        return None if self.chosen is None else self.chosen.step

    @property
    def edges(self) -> tuple[str, ...]:
        """Parameters whose chosen value is an end of the grid; a better value may lie outside."""
        found = []
        for key, value in self.parameters.items():
            values = {point.parameters[key] for point in self.points}
            numbers = all(isinstance(v, int | float) for v in values)
            if numbers and len(values) > 1 and value in (min(values), max(values)):
                found.append(key)
        return tuple(found)


def has_grid(collection: Collection) -> bool:
    """Return whether a profile is a grid of parameters."""
    return any("[" in runs.variant for runs in collection.runs)


def choose(groups: Sequence[Group]) -> list[TunedChoice]:
    """Choose parameters and steps by the best mean over seeds on each validation evaluation.

    The test split is not used. Among equal means, the fewest steps win, then the grid's first
    point.
    """
    grids: dict[tuple[str, str, str, str], list[Group]] = {}
    for group in groups:
        if group.evaluation.split == "validation":
            base = group.runs.variant.partition("[")[0]
            grids.setdefault((*group.key, base), []).append(group)
    choices = []
    for (experiment, evaluation, device, base), found in grids.items():
        points = tuple(_point(group) for group in found)
        sign = 1 if found[0].higher_is_better else -1
        able = [
            (sign * point.summary.mean, -point.step, point)
            for point in points
            if point.step is not None and point.summary and point.summary.mean is not None
        ]
        chosen = max(able, key=lambda entry: entry[:2])[2] if able else None
        choices.append(TunedChoice(experiment, base, evaluation, device, points, chosen))
    return choices


def _point(group: Group) -> GridPoint:
    label = group.runs.variant.partition("[")[2].removesuffix("]")
    keys = [part.partition("=")[0] for part in label.split(",") if part]
    parameters = {key: group.runs.cell.algorithm[key] for key in keys}
    if group.runs.diverged:
        return GridPoint(group, parameters, None, None)
    sign = 1 if group.higher_is_better else -1
    means = [(sign * s.mean, -step) for step, s in group.summaries.items() if s.mean is not None]
    if not means:
        return GridPoint(group, parameters, None, None)
    step = -max(means)[1]
    return GridPoint(group, parameters, step, group.summaries[step])


def choice_table(collection: Collection) -> Table | None:
    """Return the table of all points of the grids, or None if there is no validation."""
    choices = choose(collection.groups)
    if not choices:
        return None
    rows = [_columns(found, point) for found in choices for point in found.points]
    notes = (
        "Chosen (bold): the best mean over seeds on meta-validation episodes, at the best number "
        "of inner steps; the test split has no say. Points: the size of the grid.",
        "± seeds: half width of the 95 % Student t interval over seeds. ± episodes: 1.96 standard "
        "errors over the episodes of one seed, averaged over seeds. 'edge': the chosen value is an "
        "end of the grid. A point of which a cell or an episode diverged is not chosen.",
        *diverged_cells(collection),
        *provenance(collection),
    )
    title = f"Choice of rates and steps, profile {collection.profile}"
    return make_table("choice", title, rows, notes)


def _columns(found: TunedChoice, point: GridPoint) -> tuple[Column, ...]:
    runs, metric, is_chosen = point.group.runs, point.group.metric, point is found.chosen
    parameters = ", ".join(f"{key} {value}" for key, value in point.parameters.items())
    mean, seeds, episodes = point.summary[:3] if point.summary else (None, None, None)
    text = "diverged" if mean is None else written.score(mean, metric)
    over_seeds, over_episodes = (written.half_width(w, mean, metric) for w in (seeds, episodes))
    edges = f" (edge: {', '.join(found.edges)})" if found.edges else ""
    return (
        Label("Experiment", "experiment", found.experiment),
        Label("Evaluation", "evaluation", found.evaluation),
        Label(None, "device", found.device),
        Label("Algorithm", "variant", found.variant),
        Label("Parameters", "parameters", parameters, parameters or written.NONE),
        Label("Device", None, found.device),
        Label("Metric", "metric", metric, written.column(metric)),
        Column("Best step", "best_step", point.step),
        Column("Mean", "mean", mean, Bold(text) if is_chosen else text),
        Column("± seeds", "seed_interval_95", seeds, over_seeds),
        Column("± episodes", "episode_interval_95", episodes, over_episodes),
        Column(None, "chosen", is_chosen),
        Label(None, "at_edge", " ".join(found.edges) if is_chosen else ""),
        Column("Seeds", "seeds", len(runs.done), runs.seed_count),
        Column(None, "diverged_seeds", len(runs.diverged)),
        Column("Points", "grid_points", len(found.points)),
        Column("Choice", None, is_chosen, Bold(f"chosen{edges}") if is_chosen else ""),
        *stamp_columns(runs.records),
    )
