"""The comparison with published numbers: a table, and the part that a run prints at its end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any

from suite.config import presets as protocols
from suite.config.presets import Preset
from suite.core.metrics import published_metric
from suite.published.compare import Row, compare
from suite.published.counterpart import item_value
from suite.published.margins import RULE
from suite.published.numbers import Number, load
from suite.published.verdicts import SETTLED
from suite.report.columns import Column, Label, make_table, stamp_columns
from suite.report.footnotes import KINDS
from suite.report.format import NONE
from suite.report.groups import Collection
from suite.report.matched import MARKS, devices, printed, spread, written
from suite.report.notes import ORIGIN, diverged_cells, provenance
from suite.report.render import Table
from suite.report.verdict_text import chance, headline, legend, sentence, size, with_interval

#: Verdicts that say that our result is another.
APART = ("above", "below", "differs")
#: Maximum number of differing items that a row names; the CSV file names all.
NAMED = 3


def rows(collection: Collection, presets: Sequence[Preset] = ()) -> list[Row]:
    """Return the comparisons with published numbers.

    Args:
        collection: the records.
        presets: settings that the profile would run; their numbers always have rows.
    """
    order = list(dict.fromkeys([*(preset.name for preset in presets), *protocols.load()]))
    found = compare(collection.groups, presets)
    return sorted(found, key=lambda row: order.index(row.preset.name))


def comparison(collection: Collection, found: Sequence[Row]) -> Table | None:
    """Return the table of published numbers and ours, or None if there is nothing to compare."""
    if not found:
        return None
    marks = [f"{MARKS[kind]} {text}".strip() for kind, text in KINDS.items()]
    notes = (
        f"Published ±: {'; '.join(marks)}. Re-runs: range and number of other people's results for "
        "the same number; they are context, no target.",
        "± seeds: half width of the 95 % Student t interval over seeds. ± data: 1.96 standard "
        "errors over the classes of one training: other classes would give another number. "
        "Diverged: test episodes.",
        "Difference: ours minus published, for errors the ratio, with its 95 % interval. It holds "
        "the spread between our trainings, that of the paper's training, taken as large as ours, "
        "and the errors over test tasks that are not the same on both sides. Chance: of 'matches' "
        "with these errors and seeds, if there were no difference.",
        legend(found),
        headline(found),
        *_footnotes(found),
        *diverged_cells(collection),
        *provenance(collection),
    )
    title = f"Published numbers and ours, profile {collection.profile}"
    several = len(devices(found)) > 1
    return make_table("comparison", title, [_columns(row, several) for row in found], notes)


def brief(found: Sequence[Row]) -> tuple[list[str], list[tuple[str, ...]]]:
    """Return the headers and rows of the table for a terminal."""
    headers = ["setting", "step", "published", "ours", "seeds", "verdict"]
    several = len(devices(found)) > 1
    lines: list[tuple[str, ...]] = []
    for row in found:
        shown = {c.heading: c.written() for c in _columns(row, several) if c.heading}
        name = " ".join(shown[key] for key in ("Setting", "Test", "Device") if key in shown)
        lines.append((name, *(shown[header.capitalize()] for header in headers[1:])))
    return headers, lines


def _columns(row: Row, several: bool) -> tuple[Column, ...]:
    """Return the columns of a row; ``several``: whether our results are from several devices."""
    number, found, group = row.number, row.verdict, row.tested
    experiment, variant = row.preset.experiment, row.preset.variant
    if group:
        experiment, variant = group.cell.experiment, group.cell.variant
    setting = f"{experiment}/{variant}" if group else row.preset.name
    device = group.cell.numerics.device if group else None
    return (
        Label(None, "preset", row.preset.name),
        Label("Setting", None, setting),
        Label(None, "experiment", experiment),
        Label(None, "variant", variant),
        Label("Published in", None, _source(number)),
        Label("Test", "test", row.test),
        Label("Device" if several else None, "device", device, device or NONE),
        Column("Step", "step", row.step),
        *_published(number),
        *_ours(row),
        *_judged(row),
        Label(None, "reason", found.reason),
        Label(None, "assuming", "; ".join(found.assuming)),
        *_stamp(group),
    )


def _published(number: Number | None) -> Iterator[Column]:
    """Yield the columns of the published number."""
    yield Label(None, "number", number and number.id)
    text = printed(number) if number else NONE
    yield Column("Published", "published", number and number.value, text)
    yield Column(None, "published_pm", number and number.pm)
    yield Label(None, "published_pm_kind", number and number.pm_kind)
    yield Label(None, "published_level", number and number.level)
    yield Column("Re-runs", None, None, _reruns(number))


def _ours(row: Row) -> Iterator[Column]:
    """Yield the columns of our scores."""
    metric, group = row.metric, row.tested
    ours = row.summary if group else None
    mean = ours and ours.mean

    def width(value: float | None) -> str:
        return NONE if value is None else spread(value, mean, metric)

    def value(shown: float | None) -> str:
        return NONE if shown is None else written(shown, metric)

    seeds, within, classes = (
        (ours.seed_interval, ours.episode_interval, row.class_interval) if ours else (None,) * 3
    )
    yield Label(None, "metric", metric)
    yield Column("Ours", "ours", mean, "diverged" if ours and mean is None else value(mean))
    yield Column("± seeds", "seed_interval_95", seeds, width(seeds))
    yield Column(None, "episode_interval_95", within)
    yield Column("± data", "class_interval_95", classes, width(classes))
    yield Column(None, "class_to_episode_ratio", classes / within if classes and within else None)
    middle = ours and ours.median
    yield Column("Median", "median", middle, value(middle))
    lost = ours and ours.diverged
    text = _share(ours.diverged, ours.seeds * ours.episodes) if ours else NONE
    yield Column("Diverged", "diverged_episodes", lost, text)
    missing = group.diverged_seeds if group else None
    yield Column(None, "diverged_seeds", missing)
    count = ours and ours.seeds
    of = f" of {count + missing}" if count is not None and missing else ""
    yield Column("Seeds", "seeds", count, NONE if count is None else f"{count}{of}")
    yield Column(None, "episodes", ours and ours.episodes)


def _judged(row: Row) -> Iterator[Column]:
    """Yield the columns of the verdict."""
    found, metric, judged = row.verdict, row.metric, row.verdict.judgement
    low, high = judged.interval if judged else (None, None)
    inner_low, inner_high = judged.inner if judged else (None, None)
    scale = "log ratio" if published_metric(metric).by_ratio else "difference"
    margin = NONE if found.margin is None else size(found.margin, metric)
    interval = with_interval(found, metric) or NONE
    yield Label(None, "scale", scale)
    yield Column("Difference [95 %]", "difference", found.difference, interval)
    yield Column(None, "interval_low", low)
    yield Column(None, "interval_high", high)
    yield Column(None, "inner_interval_low", inner_low)
    yield Column(None, "inner_interval_high", inner_high)
    yield Column("Margin", "margin", found.margin, margin)
    yield Column(None, "margin_rule", None if found.margin is None else RULE)
    yield Label(None, "scores_known_before_rule", row.known_before)
    yield Column(None, "floor", judged and judged.floor)
    yield Column(None, "largest_gap", judged and judged.reach)
    yield Column("Chance", "chance_of_match", judged and judged.chance, chance(found))
    yield Column(None, "largest_spread_ratio", judged and judged.spread)
    yield Column(None, "seeds_needed", judged and judged.needs)
    yield Column("Verdict", "verdict", found.kind, verdict(row))


def _stamp(group: Any) -> tuple[Column, ...]:
    """Return the columns of the origin of our scores."""
    if group is None:
        return tuple(Label(None, key, None) for key in ORIGIN)
    return stamp_columns(group.runs.records)


def _share(diverged: int, episodes: int) -> str:
    """Write how many test episodes diverged, with their share."""
    return f"{diverged:,} ({100 * diverged / episodes:.2g} %)" if diverged else "0"


def verdict(row: Row) -> str:
    """Return a row's verdict in a few words."""
    found = row.verdict
    if found.kind == "not comparable" and row.counterpart is not None:
        items = list(row.counterpart.differing)
        named = ", ".join(items[:NAMED]) + (", ..." if len(items) > NAMED else "")
        lost = row.tested.diverged_seeds if row.tested else 0
        also = f"; {lost} seed{'s' * (lost > 1)} diverged" if lost else ""
        return f"not comparable: {len(items)} item{'s' * (len(items) > 1)} ({named}){also}"
    return sentence(row, _hours(row))


def _hours(row: Row) -> float | None:
    """Return the hours of one training, tests included, as its records have them."""
    group: Any = row.tested
    timings = [record.timing for record in group.runs.done if record.timing] if group else []
    if not timings:
        return None
    return median(t.training_seconds + t.evaluation_seconds for t in timings) / 3600


def _source(number: Number | None) -> str:
    if number is None:
        return NONE
    paper = load().papers[number.paper]
    return f"{paper.authors[0].split()[-1]} {paper.year}, {number.table}"


def _reruns(number: Number | None) -> str:
    values = [run.value for run in load().reproductions_of(number.id)] if number else []
    if not values:
        return NONE
    low, high = min(values), max(values)
    span = f"{low:g}" if low == high else f"{low:g}–{high:g}"
    return f"{span} ({len(values)})"


def _footnotes(found: Sequence[Row]) -> tuple[str, ...]:
    """Return the judged rows' assumptions, and what was tried to explain differences."""
    notes: dict[str, None] = {}
    for row in found:
        if row.verdict.kind in APART and row.preset.tried:
            notes[f"Tried for {row.preset.name}: {' '.join(row.preset.tried)}"] = None
        if row.verdict.kind in SETTLED and row.verdict.assuming:
            text = "; ".join(_known(row, item) for item in row.verdict.assuming)
            notes[f"* {row.preset.name} assumes {text}."] = None
    return tuple(notes)


def _known(row: Row, path: str) -> str:
    item = row.preset.items.get(path)
    if item is None:
        return path
    return f"{path} {item_value(item.value)} ({item.mark}: {item.place})"
