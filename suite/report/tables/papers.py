"""Tables in the layout of the papers: published numbers with ours directly below them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from suite.published.compare import Row, brought
from suite.published.verdicts import not_run
from suite.report.footnotes import notes as footnotes
from suite.report.footnotes import reference, sign
from suite.report.format import NONE
from suite.report.groups import Collection, Group
from suite.report.layouts import LAYOUTS, LayoutPart, PaperLayout
from suite.report.matched import Own, decimals_of, own_results, printed, written
from suite.report.notes import ORIGIN, stamp
from suite.report.paper_layouts import Method, methods
from suite.report.render import UNDER, Block, Table
from suite.report.verdict_text import with_interval


def paper_tables(collection: Collection, rows: Sequence[Row]) -> list[Table]:
    """Return the tables of papers in which one of our numbers has a place, with published ones.

    Args:
        collection: the records.
        rows: comparisons with published numbers, from which all our numbers are taken.
    """
    found = own_results(rows)
    tables = []
    for layout in LAYOUTS:
        parts = [methods(part, found) for part in layout.parts]
        if any(line.cells for part in parts for method in part for line in method.ours):
            tables.append(_table(collection, layout, parts))
    return tables


def _table(collection: Collection, layout: PaperLayout, parts: Sequence[Sequence[Method]]) -> Table:
    every = [method for part in parts for method in part]
    found = [own for method in every for line in method.ours for own in line.cells.values()]
    numbers = [p.number for method in every for p in method.published.values()]
    width = max(len(part.columns) for part in layout.parts)
    rows: list[tuple[str, ...]] = []
    blocks = []
    for part, placed in zip(layout.parts, parts, strict=True):
        blocks.append(_block(part, len(rows), width))
        for method in placed:
            for label, cells in _lines(method):
                texts = [cells.get(column.key, "") for column in part.columns]
                rows.append((label, *texts, *[""] * (width - len(texts))))
    groups = _groups(collection, found)
    runs = tuple(dict.fromkeys(group.runs for group in groups.values()))
    shown = replace(collection, runs=runs, groups=tuple(groups.values()))
    notes = footnotes(layout.paper, layout.table, numbers, found, _missing(every), shown)
    return Table(
        layout.name,
        f"{reference(layout.paper)}, {layout.table}: {layout.metric}, published and ours",
        blocks[0].flat(),
        tuple(rows),
        notes,
        tuple(line for method in every for line in _data(method, groups)),
        text_columns=width + 1,
        blocks=tuple(blocks),
    )


def _missing(every: Sequence[Method]) -> tuple[str, ...]:
    """Name the rows that were not run because they need the user's own data."""
    needed: dict[str, dict[str, None]] = {}
    for method in every:
        there = {key for line in method.ours for key in line.cells}
        for key, placed in method.published.items():
            if key not in there and (data := brought(placed.preset)):
                needed.setdefault(data, {})[method.name] = None
    return tuple(
        f"Not run: {', '.join(names)} on {data}, which the user must bring."
        for data, names in needed.items()
    )


def _block(part: LayoutPart, row: int, width: int) -> Block:
    empty = width - len(part.columns)
    spans = [
        (group, len(list(same))) for group, same in groupby(column.group for column in part.columns)
    ]
    return Block(
        row,
        (("", 1), *spans, *[("", empty)][: bool(empty)]),
        (part.name, *(column.heading for column in part.columns), *[""] * empty),
    )


def _lines(method: Method) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the rows of a method: the label, and the cells by the column's key."""
    numbers = {key: p.number for key, p in method.published.items()}
    decimals = decimals_of(v for n in numbers.values() for v in (n.value, n.pm or 0))
    yield method.name, {key: printed(number, decimals) for key, number in numbers.items()}
    for label, found in method.ours:
        texts = {key: _own(found[key]) if key in found else NONE for key in method.published}
        yield UNDER + label, texts
        if any(own.summary.diverged or own.heavy for own in found.values()):
            yield f"{UNDER}median", {key: _number(o, o.summary.median) for key, o in found.items()}
        if any(own.row.class_interval is not None for own in found.values()):
            yield (
                f"{UNDER}± data",
                {key: _number(own, own.row.class_interval) for key, own in found.items()},
            )


def _number(own: Own, value: float | None) -> str:
    return NONE if value is None else written(value, own.number.metric)


def _own(own: Own) -> str:
    found, metric = own.summary, own.number.metric
    if found.mean is None:
        count = f"{found.diverged:,} " if found.diverged else ""
        return f"{count}diverged {sign(own)}"
    beside = with_interval(own.verdict, metric) if own.verdict.interval else ""
    return f"{written(found.mean, metric)}{f', {beside}' if beside else ''} {sign(own)}"


def _groups(collection: Collection, found: Sequence[Own]) -> dict[tuple[str, ...], Group]:
    """Return the groups of results, in the collection's order."""
    used = {_key(own.tested) for own in found}
    return {_key(group): group for group in collection.groups if _key(group) in used}


def _key(tested: Any) -> tuple[str, ...]:
    cell = tested.cell
    return cell.experiment, cell.variant, cell.numerics.device, tested.evaluation.name


def _data(method: Method, groups: Mapping[tuple[str, ...], Group]) -> Iterator[Mapping[str, Any]]:
    """Yield a CSV line for each of our results, and one for each number without a result."""
    for key, (number, preset, _) in method.published.items():
        published = {
            "method": method.name,
            "number": number.id,
            "dataset": number.dataset,
            "ways": number.ways,
            "shots": number.shots,
            "step": number.grad_steps,
            "metric": number.metric,
            "published": number.value,
            "published_pm": number.pm,
            "published_pm_kind": number.pm_kind,
        }
        lines = [(line.label, line.cells[key]) for line in method.ours if key in line.cells]
        if not lines:
            verdict = not_run(number, brought(preset))
            told = {"preset": preset.name, "verdict": verdict.kind, "reason": verdict.reason}
            yield {**published, **dict.fromkeys(_OURS), **told}
        for label, own in lines:
            yield published | _ours(label, own, groups[_key(own.tested)])


_OURS = (
    *("line", "preset", "experiment", "variant", "device", "test", "read_step", "ours"),
    *("seed_interval_95", "episode_interval_95", "median", "diverged_episodes", "diverged_seeds"),
    *("seeds", "episodes", "difference", "interval_low", "interval_high", "verdict", "reason"),
    *ORIGIN,
)


def _ours(label: str, own: Own, group: Group) -> dict[str, Any]:
    cell, found = group.cell, own.summary
    values = (
        *(label, own.row.preset.name, cell.experiment, cell.variant, cell.numerics.device),
        *(group.evaluation.name, own.result.step, found.mean),
        *(found.seed_interval, found.episode_interval, found.median),
        *(found.diverged, group.diverged_seeds, found.seeds, found.episodes),
        *(own.verdict.difference, *(own.verdict.interval or (None, None))),
        *(own.verdict.kind, own.verdict.reason),
        *stamp(group.runs.records).values(),
    )
    return dict(zip(_OURS, values, strict=True))
