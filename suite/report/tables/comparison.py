"""The comparison with published numbers: a table, and the part that a run prints at its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from suite.config import presets as protocols
from suite.config.presets import Preset
from suite.core.metrics import margins, published_metric
from suite.core.statistics import HEADLINE_SEEDS
from suite.published.compare import Row, compare
from suite.published.counterpart import item_value
from suite.published.numbers import Number, load
from suite.report.footnotes import KINDS
from suite.report.format import NONE
from suite.report.groups import Collection
from suite.report.matched import MARKS, devices, printed, signed, spread, written
from suite.report.notes import INTERVALS, diverged_cells, provenance, stamp
from suite.report.render import Table

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
    left = ["Setting", "Published in", "Test"]
    if len(devices(found)) > 1:
        left.append("Device")
    columns = (
        *(*left, "Step", "Published", "Re-runs", "Ours", "± seeds", "± episodes", "Median"),
        *("Diverged", "Seeds", "Difference [95 %]", "Verdict"),
    )
    lines = [_line(row) for row in found]
    marks = [f"{MARKS[kind]} {text}".strip() for kind, text in KINDS.items()]
    widths = ", ".join(f"{width:g} ({published_metric(m).units})" for m, width in margins().items())
    notes = (
        f"Published ±: {'; '.join(marks)}. Re-runs: range and number of other people's results for "
        "the same number; they are context, no target. Diverged: test episodes.",
        f"Verdict: 'matches', the whole 95 % interval of the difference lies within the margin of "
        f"{widths}; 'above' or 'below', the whole interval lies beyond it; 'inconclusive', neither"
        ". The interval adds up the variance between our seeds, times 1 + 1/n as the paper's is "
        "one run, and both errors over test tasks; its t has the degrees of freedom of Welch and "
        f"Satterthwaite. With fewer than {HEADLINE_SEEDS} seeds, and where anything diverged, all "
        "is 'inconclusive'; 'shortened' and 'not comparable' rows are never judged.",
        *_footnotes(found),
        INTERVALS,
        *diverged_cells(collection),
        *provenance(collection),
    )
    return Table(
        "comparison",
        f"Published numbers and ours, profile {collection.profile}",
        columns,
        tuple(tuple(line[column] for column in columns) for line in lines),
        notes,
        tuple(_data(row) for row in found),
        text_columns=len(left),
    )


def brief(found: Sequence[Row]) -> tuple[list[str], list[tuple[str, ...]]]:
    """Return the headers and rows of the table for a terminal."""
    headers = ["setting", "step", "published", "ours", "seeds", "verdict"]
    several = len(devices(found)) > 1
    lines: list[tuple[str, ...]] = []
    for row in found:
        line = _line(row)
        name = f"{line['Setting']} {line['Test']}"
        name += f" {line['Device']}" * several
        lines.append((name, *(line[header.capitalize()] for header in headers[1:])))
    return headers, lines


def _line(row: Row) -> dict[str, str]:
    """Return the visible cells of a row, by column."""
    number, cell = row.number, row.tested.cell if row.tested else None
    return {
        "Setting": f"{cell.experiment}/{cell.variant}" if cell else row.preset.name,
        "Published in": _source(number),
        "Test": row.test,
        "Device": cell.numerics.device if cell else NONE,
        "Step": str(row.step),
        "Published": printed(number) if number else NONE,
        "Re-runs": _reruns(number),
        **_ours(row),
        "Verdict": verdict(row),
    }


def _ours(row: Row) -> dict[str, str]:
    columns = (
        *("Ours", "± seeds", "± episodes", "Median", "Diverged", "Seeds"),
        "Difference [95 %]",
    )
    if row.tested is None:
        return dict.fromkeys(columns, NONE)
    found, metric, missing = row.summary, row.metric, row.tested.diverged_seeds
    seeds = NONE if found.seed_interval is None else spread(found.seed_interval, found.mean, metric)
    if found.seed_interval is not None and found.seeds < HEADLINE_SEEDS:
        seeds = f"({seeds})"
    over = found.episode_interval
    difference = NONE
    if row.verdict.difference is not None:
        difference = signed(row.verdict.difference, metric)
    if row.verdict.interval is not None:
        low, high = (signed(end, metric) for end in row.verdict.interval)
        difference += f" [{low}, {high}]"
    values = (
        "diverged" if found.mean is None else written(found.mean, metric),
        seeds,
        NONE if over is None else spread(over, found.mean, metric),
        NONE if found.median is None else written(found.median, metric),
        str(found.diverged),
        f"{found.seeds} of {found.seeds + missing}" if missing else str(found.seeds),
        difference,
    )
    return dict(zip(columns, values, strict=True))


def verdict(row: Row) -> str:
    """Return a row's verdict in a few words."""
    found = row.verdict
    if found.kind == "not comparable" and row.counterpart is not None:
        items = list(row.counterpart.differing)
        named = ", ".join(items[:NAMED]) + (", ..." if len(items) > NAMED else "")
        lost = row.tested.diverged_seeds if row.tested else 0
        also = f"; {lost} seed{'s' * (lost > 1)} diverged" if lost else ""
        return f"not comparable: {len(items)} item{'s' * (len(items) > 1)} ({named}){also}"
    reason = f" ({found.reason})" if found.reason else ""
    leans = found.kind in ("matches", "above", "below") and found.assuming
    return f"{found.kind}{reason}{', assuming*' if leans else ''}"


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
    """Return the judged rows' assumptions, and the facts that none of their items can express."""
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
    return f"{path} {item_value(item.value)} ({item.mark}: {item.place})"


def _data(row: Row) -> Mapping[str, Any]:
    number, found = row.number, row.verdict
    group: Any = row.tested
    ours = row.summary if group else None
    low, high = found.interval or (None, None)
    return {
        "preset": row.preset.name,
        "experiment": group.cell.experiment if group else row.preset.experiment,
        "variant": group.cell.variant if group else row.preset.variant,
        "device": group.cell.numerics.device if group else None,
        "test": row.test,
        "step": row.step,
        "number": number.id if number else None,
        "metric": row.metric,
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
