"""The comparison with published numbers: a table, and what the end of a run prints of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from suite import protocols
from suite.profile import load_profile, profile_names
from suite.published.compare import Row, compare
from suite.published.numbers import Number, load
from suite.published.verdicts import MARGINS
from suite.report.format import NONE, significant
from suite.report.groups import Collection
from suite.report.notes import INTERVALS, provenance, stamp
from suite.report.render import Table
from suite.statistics import summarise

#: How a ± is marked that is not a 95 % interval over test tasks.
MARKS = {"seeds_std": "s", "tasks_std": "t", "unstated": "?", "tasks": "", None: ""}
#: Differing items that a row names; the CSV file names all.
NAMED = 3


def rows(collection: Collection) -> list[Row]:
    """Return what stands beside published numbers, and what the profile would set there."""
    wanted = []
    if collection.profile in profile_names():
        wanted = protocols.matching(load_profile(collection.profile).presets)
    order = list(dict.fromkeys([*(preset.name for preset in wanted), *protocols.load()]))
    found = compare(collection.groups, wanted)
    return sorted(found, key=lambda row: order.index(row.preset.name))


def comparison(collection: Collection, found: Sequence[Row]) -> Table | None:
    """Return the table of published numbers beside ours, or None where there is nothing to say."""
    if not found:
        return None
    columns = (
        *("Setting", "Algorithm", "Published in", "Test", "Step", "Published", "Re-runs"),
        *("Ours", "± seeds", "Median", "Diverged", "Seeds", "Difference", "95 % interval"),
        "Verdict",
    )
    margins = ", ".join(f"{MARGINS[m]:g} ({name})" for m, name in _METRICS.items())
    notes = (
        "Published ±: a 95 % interval over test tasks of one training, or with s a standard "
        "deviation over seeds, with ? of unstated meaning. Re-runs: range and number of other "
        "people's results for the same number; they are context, no target.",
        f"Verdict: 'matches', the whole 95 % interval of the difference lies within the margin of "
        f"{margins}; 'above' or 'below', the whole interval lies beyond it; 'inconclusive', neither"
        ". The interval adds up the variance between our seeds, times 1 + 1/n as the paper's is "
        "one run, and both errors over test tasks; its t has the degrees of freedom of Welch and "
        "Satterthwaite. 'shortened' and 'not comparable' rows are never judged.",
        *_footnotes(found),
        INTERVALS,
        *(provenance(collection) if collection.records else ()),
    )
    return Table(
        "comparison",
        f"Published numbers and ours, profile {collection.profile}",
        columns,
        tuple(_line(row) for row in found),
        notes,
        tuple(_data(row) for row in found),
        text_columns=4,
    )


_METRICS = {"accuracy_pct": "points of accuracy", "mse": "squared error"}


def brief(found: Sequence[Row]) -> tuple[list[str], list[tuple[str, ...]]]:
    """Return headers and lines of what a terminal shows."""
    headers = ["setting", "step", "published", "ours", "seeds", "verdict"]
    lines: list[tuple[str, ...]] = []
    for row in found:
        line = _line(row)
        name = f"{row.preset.experiment}/{line[1]} {line[3]}".strip()
        lines.append((name, line[4], line[5], line[7], line[11], line[14]))
    return headers, lines


def _line(row: Row) -> tuple[str, ...]:
    number, group = row.number, row.tested
    variant = group.cell.variant if group else row.preset.variant
    test = group.evaluation.name if group else row.result.evaluation if row.result else NONE
    step = str(row.result.step) if row.result else NONE
    ours = width = median = diverged = seeds = NONE
    if group is not None and number is not None:
        found = summarise(row.scores, higher_is_better=number.metric == "accuracy_pct")
        ours = _number(found.mean, number) if found.mean is not None else "diverged"
        width = _number(found.seed_interval, number)
        median = _number(found.median, number)
        diverged = str(found.diverged)
        seeds = str(found.seeds)
    difference = row.verdict.difference
    return (
        *(row.preset.experiment, variant, _source(number), test, step),
        *(_published(number), _reruns(number), ours, width, median, diverged, seeds),
        NONE if difference is None or number is None else _signed(difference, number),
        NONE if row.verdict.interval is None or number is None else _range(row, number),
        verdict(row),
    )


def verdict(row: Row) -> str:
    """Return a row's verdict in a few words."""
    found = row.verdict
    if found.kind == "not comparable" and row.counterpart is not None:
        items = list(row.counterpart.differing)
        named = ", ".join(items[:NAMED]) + (", ..." if len(items) > NAMED else "")
        return f"not comparable: {len(items)} item{'s' * (len(items) > 1)} ({named})"
    reason = f" ({found.reason})" if found.reason else ""
    leans = found.kind in ("matches", "above", "below") and found.assuming
    return f"{found.kind}{reason}{', assuming*' if leans else ''}"


def _source(number: Number | None) -> str:
    if number is None:
        return NONE
    paper = load().papers[number.paper]
    return f"{paper.authors[0].split()[-1]} {paper.year}, {number.table}"


def _published(number: Number | None) -> str:
    if number is None:
        return "no published value"
    text = _number(number.value, number)
    if number.pm is None:
        return text
    return f"{text} ± {number.pm:g}{MARKS[number.pm_kind]}"


def _reruns(number: Number | None) -> str:
    if number is None:
        return NONE
    values = [run.value for run in load().reproductions_of(number.id)]
    if not values:
        return NONE
    low, high = min(values), max(values)
    span = f"{low:g}" if low == high else f"{low:g}–{high:g}"
    return f"{span} ({len(values)})"


def _number(value: float | None, number: Number) -> str:
    if value is None:
        return NONE
    return f"{value:.2f}" if number.metric == "accuracy_pct" else significant(value)


def _signed(value: float, number: Number) -> str:
    text = _number(abs(value), number)
    return f"{'−' if value < 0 else '+'}{text}"


def _range(row: Row, number: Number) -> str:
    assert row.verdict.interval is not None
    low, high = (_signed(value, number) for value in row.verdict.interval)
    return f"{low} to {high}"


def _footnotes(found: Sequence[Row]) -> tuple[str, ...]:
    """Say what the judged rows assume, and what no item of theirs can say."""
    notes: dict[str, None] = {}
    for row in found:
        if row.verdict.interval is not None and row.verdict.assuming:
            text = "; ".join(_known(row, item) for item in row.verdict.assuming)
            notes[f"{row.preset.name}: *assuming {text}."] = None
    return tuple(notes)


def _known(row: Row, path: str) -> str:
    item = row.preset.items.get(path)
    if item is None:
        return path
    value = "-".join(map(str, item.value)) if isinstance(item.value, list) else item.value
    return f"{path} {value} ({item.mark}: {item.place})"


def _data(row: Row) -> Mapping[str, Any]:
    number, found = row.number, row.verdict
    group: Any = row.tested
    ours = summarise(row.scores, higher_is_better=True) if row.scores.size else None
    low, high = found.interval or (None, None)
    return {
        "preset": row.preset.name,
        "experiment": group.cell.experiment if group else row.preset.experiment,
        "variant": group.cell.variant if group else row.preset.variant,
        "device": group.cell.numerics.device if group else None,
        "test": row.result.evaluation if row.result else None,
        "step": row.result.step if row.result else None,
        "number": number.id if number else None,
        "metric": number.metric if number else None,
        "published": number.value if number else None,
        "published_pm": number.pm if number else None,
        "published_pm_kind": number.pm_kind if number else None,
        "published_level": number.level if number else None,
        "ours": ours.mean if ours else None,
        "seed_interval_95": ours.seed_interval if ours else None,
        "episode_interval_95": ours.episode_interval if ours else None,
        "median": ours.median if ours else None,
        "diverged_episodes": ours.diverged if ours else None,
        "diverged_seeds": group.diverged_seeds if group else None,
        "seeds": ours.seeds if ours else None,
        "episodes": ours.episodes if ours else None,
        "difference": found.difference,
        "interval_low": low,
        "interval_high": high,
        "margin": found.margin,
        "verdict": found.kind,
        "reason": found.reason,
        "assuming": "; ".join(found.assuming),
        **(stamp(group.runs.records) if group else dict.fromkeys(_STAMP)),
    }


_STAMP = ("suite_version", "results_version", "commit", "hardware")
