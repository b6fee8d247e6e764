"""The tables of scores, and of differences to the algorithms without meta-learning."""

from __future__ import annotations

from collections.abc import Sequence

from suite.core.metrics import metric_of
from suite.core.statistics import HEADLINE_SEEDS, Difference, paired_difference
from suite.report import format as written
from suite.report.columns import Column, Label, csv_line, make_table, stamp_columns
from suite.report.groups import Collection, Group
from suite.report.notes import INTERVALS, diverged_cells, provenance, splits
from suite.report.render import Bold, Table

LEVEL = 0.05
TIED = "†"
BASELINES = ("sgd", "finetune")


def score_table(collection: Collection) -> Table:
    """Return the table of headline scores with both intervals; the CSV file has all steps."""
    several = len(collection.devices) > 1
    ragged = any(_ragged(groups) for groups in collection.compared())
    rows, data = [], []
    for groups in collection.compared():
        for group in groups:
            for step in group.summaries:
                columns = _score_columns(group, step, groups, several, ragged)
                data.append(csv_line(columns))
                if step == group.evaluation.headline:
                    rows.append(columns)
    notes = (
        INTERVALS,
        "Inner step: the number of adaptation steps of the headline score; step 0 is the score "
        "before adaptation.",
        "Bold: the best mean of its experiment, evaluation and device. "
        f"{TIED}: not significantly different from it (paired t test over at least "
        f"{HEADLINE_SEEDS} common seeds, p ≥ {LEVEL}, not corrected for the number of tests).",
        *(
            (
                "An episode whose score is not finite has diverged: it is counted, the mean that "
                "it touches is not given, and the "
                "medians, in which it ranks worst, stand beside the means.",
            )
            if ragged
            else ()
        ),
        *diverged_cells(collection),
        *provenance(collection),
    )
    title = f"Scores on the {splits(collection)} episodes, profile {collection.profile}"
    return make_table("scores", title, rows, notes, data=data)


def best_of(groups: Sequence[Group]) -> Group | None:
    """Return the group with the best mean among those without any divergence."""
    whole = [(group, group.summary.mean) for group in groups if not group.runs.diverged]
    found = [(group, mean) for group, mean in whole if mean is not None]
    if len(groups) < 2 or not found:
        return None
    sign = 1 if groups[0].higher_is_better else -1
    return max(found, key=lambda pair: sign * pair[1])[0]


def paired(a: Group, b: Group) -> Difference:
    """Return the difference of two groups' headline scores over the seeds that both have."""
    common = sorted(set(a.runs.seeds) & set(b.runs.seeds))
    pick = [[g.runs.seeds.index(seed) for seed in common] for g in (a, b)]
    return paired_difference(a.headline()[pick[0]], b.headline()[pick[1]])


def _ragged(groups: Sequence[Group]) -> bool:
    return any(group.summary.diverged for group in groups)


def _score_columns(
    group: Group, step: int, rivals: Sequence[Group], several: bool, ragged: bool
) -> tuple[Column, ...]:
    """Return the columns of a group's scores after a step.

    Args:
        group: results.
        step: number of inner steps.
        rivals: groups that it is compared with, among them itself.
        several: whether the table has several devices.
        ragged: whether the table has medians.
    """
    found, metric = group.summaries[step], group.metric
    before = group.summaries[0].mean if 0 in group.summaries else None
    over_seeds = written.half_width(found.seed_interval, found.mean, metric)
    if found.seeds < HEADLINE_SEEDS and found.seed_interval is not None:
        over_seeds = f"({over_seeds})"
    over_episodes = written.half_width(found.episode_interval, found.mean, metric)
    median = written.score(found.median if _ragged(rivals) else None, metric)
    diverged = f"{found.diverged} of {found.seeds * found.episodes}" if found.diverged else "0"
    return (
        *_names(group, several),
        Label("Metric", "metric", metric, written.column(metric)),
        Column("Inner step", "step", step),
        Column(None, "headline", step == group.evaluation.headline),
        Column("Mean", "mean", found.mean, _marked(found.mean, group, rivals)),
        Column("± seeds", "seed_interval_95", found.seed_interval, over_seeds),
        Column("± episodes", "episode_interval_95", found.episode_interval, over_episodes),
        Column("Median" if ragged else None, "median", found.median, median),
        Column("Diverged episodes" if ragged else None, None, found.diverged, diverged),
        Column("Step 0", None, before, written.score(before, metric)),
        Column("Seeds", "seeds", found.seeds, group.runs.seed_count),
        Column(None, "diverged_seeds", group.diverged_seeds),
        Column("Episodes", "episodes", found.episodes),
        Column(None, "diverged_episodes", found.diverged),
        *stamp_columns(group.runs.records),
    )


def _names(group: Group, several: bool) -> tuple[Column, ...]:
    return (
        Label("Experiment", "experiment", group.runs.experiment),
        Label("Evaluation", "evaluation", group.evaluation.name),
        Label("Device" if several else None, "device", group.runs.device),
        Label("Algorithm", "variant", group.runs.variant),
        Label(None, "algorithm", group.runs.algorithm),
    )


def _marked(mean: float | None, group: Group, rivals: Sequence[Group]) -> str:
    """Write a mean, in bold if the group is the best one, or with a mark if it may be as good."""
    text = "diverged" if mean is None else written.score(mean, group.metric)
    best = best_of(rivals)
    if group is best:
        return Bold(text)
    p = paired(group, best).p if best else None
    return text + TIED if p is not None and p >= LEVEL else text


def difference_table(collection: Collection) -> Table | None:
    """Return the table of paired differences to SGD from scratch and to fine-tuning, if any."""
    several = len(collection.devices) > 1
    rows, data = [], []
    for groups in collection.compared():
        baselines = {name: _baseline(groups, name) for name in BASELINES}
        for group in groups:
            names = (
                *_names(group, several),
                Label("Unit", "metric", group.metric, _unit(group.metric)),
                Column(None, "step", group.evaluation.headline),
            )
            others = {name: other for name, other in baselines.items() if other is not group}
            minus = {name: _minus(name, group, others.get(name)) for name in BASELINES}
            lines = [
                csv_line((*names, *minus[name], *stamp_columns(group.runs.records)))
                for name, other in others.items()
                if other
            ]
            if lines:
                rows.append((*names, *(column for each in minus.values() for column in each)))
                data += lines
    if not rows:
        return None
    notes = (
        "Difference of the headline scores: episodes are averaged within a seed, and seeds are "
        "paired. Accuracy: above 0 is better. MSE: below 0 is better.",
        "± seeds: half width of the 95 % Student t interval of the mean difference over seeds. p: "
        f"two-sided paired t test, not corrected for the number of tests, given from "
        f"{HEADLINE_SEEDS} seeds.",
        "'diverged': a test episode of one of the two diverged, so that the difference does not "
        "exist.",
        *diverged_cells(collection),
        *provenance(collection),
    )
    title = f"Differences to training without meta-learning, profile {collection.profile}"
    return make_table("differences", title, rows, notes, data=data)


def _baseline(groups: Sequence[Group], name: str) -> Group | None:
    """Return the group of that variant, or the first of that algorithm."""
    of_algorithm = [group for group in groups if group.runs.algorithm == name]
    by_variant = {group.runs.variant: group for group in of_algorithm}
    return by_variant.get(name, of_algorithm[0] if of_algorithm else None)


def _minus(name: str, group: Group, other: Group | None) -> tuple[Column, ...]:
    """Return the columns of the difference to a baseline; without values if ``other`` is None."""
    found = paired(group, other) if other else None
    mean, interval, p, seeds = found or (None, None, None, None)
    shown = "diverged" if found and mean is None else written.signed(mean, group.metric)
    width = written.half_width(interval, mean, group.metric)
    return (
        Label(None, "baseline", name),
        Column(f"minus {name}", "difference", mean, shown),
        Column("± seeds", "seed_interval_95", interval, width),
        Column("p", "p", p, written.p_value(p)),
        Column("Seeds", "seeds", seeds),
    )


def _unit(metric: str) -> str:
    return metric_of(metric).difference if metric else written.NONE
