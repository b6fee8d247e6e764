"""The tables of scores, and of differences to the algorithms without meta-learning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from suite.core.metrics import metric_of
from suite.core.statistics import (
    HEADLINE_SEEDS,
    Difference,
    paired_difference,
)
from suite.report import format as written
from suite.report.groups import Collection, Group
from suite.report.notes import INTERVALS, diverged_cells, provenance, splits, stamp
from suite.report.render import Bold, Table

LEVEL = 0.05
TIED = "†"
BASELINES = ("sgd", "finetune")


def scores(collection: Collection) -> Table:
    """Return the table of headline scores with both intervals."""
    devices = len(collection.devices) > 1
    ragged = any(_ragged(groups) for groups in collection.compared())
    rows = []
    for groups in collection.compared():
        best = best_of(groups)
        beside = _ragged(groups)
        for group in groups:
            rows.append(_score_row(group, best, devices, ragged, beside))
    columns = (
        *("Experiment", "Evaluation"),
        *(("Device",) if devices else ()),
        *("Algorithm", "Metric", "Inner step", "Mean", "± seeds", "± episodes"),
        *(("Median", "Diverged episodes") if ragged else ()),
        *("Step 0", "Seeds", "Episodes"),
    )
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
    return Table(
        "scores",
        f"Scores on the {splits(collection)} episodes, profile {collection.profile}",
        columns,
        tuple(rows),
        notes,
        tuple(_score_data(collection)),
        text_columns=4 + devices,
    )


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


def _score_row(
    group: Group, best: Group | None, devices: bool, ragged: bool, beside: bool
) -> tuple[str, ...]:
    """Return a row; ``ragged``: the table has medians; ``beside``: this row shows them."""
    found, metric = group.summary, group.metric
    step0 = group.summaries[0].mean if 0 in group.summaries else None
    mean = written.score(found.mean, metric)
    if found.diverged or not found.seeds:
        mean = "diverged"
    if group is best:
        mean = Bold(mean)
    elif best is not None:
        p = paired(group, best).p
        mean += TIED if p is not None and p >= LEVEL else ""
    over_seeds = written.half_width(found.seed_interval, found.mean, metric)
    if found.seeds < HEADLINE_SEEDS and found.seed_interval is not None:
        over_seeds = f"({over_seeds})"
    count = f"{found.diverged} of {found.seeds * found.episodes}" if found.diverged else "0"
    return (
        *(group.runs.experiment, group.evaluation.name),
        *((group.runs.device,) if devices else ()),
        *(group.runs.variant, written.column(metric)),
        *(str(group.evaluation.headline), mean, over_seeds),
        written.half_width(found.episode_interval, found.mean, metric),
        *((written.score(found.median if beside else None, metric), count) if ragged else ()),
        *(written.score(step0, metric), group.runs.seed_count, str(found.episodes)),
    )


def _score_data(collection: Collection) -> list[Mapping[str, Any]]:
    """Return a CSV line for each algorithm and inner step."""
    lines: list[Mapping[str, Any]] = []
    for group in collection.groups:
        made_by = stamp(group.runs.records)
        for step, found in group.summaries.items():
            lines.append(
                {
                    **_names(group),
                    "step": step,
                    "headline": step == group.evaluation.headline,
                    "mean": found.mean,
                    "seed_interval_95": found.seed_interval,
                    "episode_interval_95": found.episode_interval,
                    "median": found.median,
                    "seeds": found.seeds,
                    "diverged_seeds": len(group.runs.diverged),
                    "episodes": found.episodes,
                    "diverged_episodes": found.diverged,
                    **made_by,
                }
            )
    return lines


def differences(collection: Collection) -> Table | None:
    """Return the table of paired differences to SGD from scratch and to fine-tuning, if any."""
    devices = len(collection.devices) > 1
    rows: list[tuple[str, ...]] = []
    data: list[Mapping[str, Any]] = []
    for groups in collection.compared():
        baselines = {name: _baseline(groups, name) for name in BASELINES}
        for group in groups:
            found = {
                name: paired(group, other)
                for name, other in baselines.items()
                if other is not None and other is not group
            }
            if not found:
                continue
            rows.append(
                (
                    *(group.runs.experiment, group.evaluation.name),
                    *((group.runs.device,) if devices else ()),
                    *(group.runs.variant, _unit(group.metric)),
                    *(cell for name in BASELINES for cell in _shown(found.get(name), group.metric)),
                )
            )
            data += [
                {
                    **_names(group),
                    "step": group.evaluation.headline,
                    "baseline": name,
                    "difference": found[name].mean,
                    "seed_interval_95": found[name].interval,
                    "p": found[name].p,
                    "seeds": found[name].seeds,
                    **stamp(group.runs.records),
                }
                for name in found
            ]
    if not rows:
        return None
    columns = (
        *("Experiment", "Evaluation"),
        *(("Device",) if devices else ()),
        *("Algorithm", "Unit"),
        *(c for name in BASELINES for c in (f"minus {name}", "± seeds", "p", "Seeds")),
    )
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
    return Table(
        "differences",
        f"Differences to training without meta-learning, profile {collection.profile}",
        columns,
        tuple(rows),
        notes,
        tuple(data),
        text_columns=4 + devices,
    )


def _baseline(groups: Sequence[Group], name: str) -> Group | None:
    """Return the group of that variant, or the first of that algorithm."""
    of_algorithm = [group for group in groups if group.runs.algorithm == name]
    by_variant = {group.runs.variant: group for group in of_algorithm}
    return by_variant.get(name, of_algorithm[0] if of_algorithm else None)


def _shown(found: Difference | None, metric: str) -> tuple[str, ...]:
    if found is None:
        return (written.NONE,) * 4
    mean = "diverged" if found.mean is None else written.signed(found.mean, metric)
    width = written.half_width(found.interval, found.mean, metric)
    return mean, width, written.p_value(found.p), str(found.seeds)


def _unit(metric: str) -> str:
    return metric_of(metric).difference if metric else written.NONE


def _names(group: Group) -> dict[str, str]:
    return {
        "experiment": group.runs.experiment,
        "evaluation": group.evaluation.name,
        "device": group.runs.device,
        "variant": group.runs.variant,
        "algorithm": group.runs.algorithm,
        "metric": group.metric,
    }
