"""The comparison with published numbers: a table, and the part that a run prints at its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from suite.config import presets as protocols
from suite.config.presets import Preset
from suite.core.metrics import published_metric
from suite.published.compare import Row, compare
from suite.published.counterpart import item_value
from suite.published.margins import RULE
from suite.published.numbers import Number, load
from suite.report.footnotes import KINDS
from suite.report.format import NONE
from suite.report.groups import Collection
from suite.report.matched import MARKS, devices, printed, spread, written
from suite.report.notes import diverged_cells, provenance, stamp
from suite.report.render import Table
from suite.report.verdict_text import headline, legend, sentence, size, with_interval

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
    left = ["Setting", "Published in", "Test"]
    if len(devices(found)) > 1:
        left.append("Device")
    columns = (
        *(*left, "Step", "Published", "Re-runs", "Ours", "± seeds", "± data", "Median"),
        *("Diverged", "Seeds", "Difference [95 %]", "Margin", "Chance", "Verdict"),
    )
    lines = [_line(row) for row in found]
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
    judged = row.verdict.judgement
    return {
        "Setting": f"{cell.experiment}/{cell.variant}" if cell else row.preset.name,
        "Published in": _source(number),
        "Test": row.test,
        "Device": cell.numerics.device if cell else NONE,
        "Step": str(row.step),
        "Published": printed(number) if number else NONE,
        "Re-runs": _reruns(number),
        **_ours(row),
        "Margin": NONE if row.verdict.margin is None else size(row.verdict.margin, row.metric),
        "Chance": NONE if judged is None else f"{judged.chance:.0%}".replace("%", " %"),
        "Verdict": verdict(row),
    }


def _ours(row: Row) -> dict[str, str]:
    columns = ("Ours", "± seeds", "± data", "Median", "Diverged", "Seeds", "Difference [95 %]")
    if row.tested is None:
        return dict.fromkeys(columns, NONE)
    found, metric, missing = row.summary, row.metric, row.tested.diverged_seeds

    def width(value: float | None) -> str:
        return NONE if value is None else spread(value, found.mean, metric)

    values = (
        "diverged" if found.mean is None else written(found.mean, metric),
        width(found.seed_interval),
        width(row.class_interval),
        NONE if found.median is None else written(found.median, metric),
        _share(found.diverged, found.seeds * found.episodes),
        f"{found.seeds} of {found.seeds + missing}" if missing else str(found.seeds),
        with_interval(row.verdict, metric) or NONE,
    )
    return dict(zip(columns, values, strict=True))


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
        judged = row.verdict.judgement is not None or row.verdict.redrawn is not None
        if judged and row.verdict.assuming:
            text = "; ".join(_known(row, item) for item in row.verdict.assuming)
            notes[f"* {row.preset.name} assumes {text}."] = None
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
    judged = found.judgement
    low, high = found.interval or (None, None)
    inner = judged.inner if judged else (None, None)
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
        "class_interval_95": row.class_interval if group else None,
        "class_to_episode_ratio": _over_episodes(row),
        "median": ours.median if ours else None,
        "diverged_episodes": ours.diverged if ours else None,
        "diverged_seeds": group.diverged_seeds if group else None,
        "seeds": ours.seeds if ours else None,
        "episodes": ours.episodes if ours else None,
        "difference": found.difference,
        "scale": "log ratio" if published_metric(row.metric).by_ratio else "difference",
        "interval_low": low,
        "interval_high": high,
        "inner_interval_low": inner[0],
        "inner_interval_high": inner[1],
        "margin": found.margin,
        "margin_rule": RULE if found.margin is not None else None,
        "scores_known_before_rule": row.known_before,
        "floor": judged.floor if judged else None,
        "largest_gap": judged.reach if judged else None,
        "chance_of_match": judged.chance if judged else None,
        "largest_spread_ratio": judged.spread if judged else None,
        "seeds_needed": judged.needs if judged else None,
        "redrawn_at_most_published": found.redrawn,
        "verdict": found.kind,
        "reason": found.reason,
        "assuming": "; ".join(found.assuming),
        **(stamp(group.runs.records) if group else dict.fromkeys(_STAMP)),
    }


def _over_episodes(row: Row) -> float | None:
    """Return how many times the ± over classes is as wide as that over episodes."""
    width = row.class_interval if row.tested else None
    naive = row.summary.episode_interval if row.tested else None
    return None if width is None or not naive else width / naive


_STAMP = ("suite_version", "results_version", "commit", "hardware")
