"""Assignment of published numbers and of our results to the parts of a paper's table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from suite.config import presets as protocols
from suite.config.presets import Preset, Result
from suite.published.compare import compare
from suite.published.numbers import Number
from suite.report.layouts import LayoutPart
from suite.report.matched import Own


class Printed(NamedTuple):
    """A published number and the preset that describes its setting."""

    number: Number
    preset: Preset
    result: Result


class PlacedLine(NamedTuple):
    """Our results in one row of a table, by the key of the column."""

    label: str
    cells: Mapping[str, Own]


class Method(NamedTuple):
    """A method's published numbers by the key of the column, and the rows of ours below them."""

    name: str
    published: Mapping[str, Printed]
    ours: Sequence[PlacedLine]
    """Our rows, at least one; it has no cells if nothing was run."""


@cache
def _published() -> Mapping[str, Printed]:
    """Return every number that has a preset, by id, with the first such preset."""
    found: dict[str, Printed] = {}
    for row in compare((), tuple(protocols.load().values())):
        if row.number is not None and row.result is not None:
            found.setdefault(row.number.id, Printed(row.number, row.preset, row.result))
    return found


def methods(part: LayoutPart, found: Sequence[Own]) -> list[Method]:
    """Return the methods of a part, with every number that has a preset, whether run or not."""
    placed = []
    for name, ids in part.methods.items():
        keys = {ids.format(column.key): column.key for column in part.columns}
        published = {key: _published()[id] for id, key in keys.items() if id in _published()}
        ours = [own for own in found if own.number.id in keys]
        plain = {printed.preset.variant for printed in published.values()}
        lines = [
            PlacedLine(label, {keys[own.number.id]: own for own in line})
            for label, line in _labelled(ours, plain)
        ]
        placed.append(Method(name, published, lines or [PlacedLine("ours", {})]))
    return placed


def _labelled(found: Sequence[Own], plain: set[str]) -> Iterator[tuple[str, list[Own]]]:
    """Split the results of a method into rows, and label each by its distinguishing names."""
    cells = [own.tested.cell for own in found]
    tell_variant = not {cell.variant for cell in cells} <= plain
    lines: dict[tuple[Any, ...], list[Own]] = {}
    for own, cell in zip(found, cells, strict=True):
        budget = own.budget[0] if own.budget else None
        lines.setdefault((cell.variant, own.device, budget), []).append(own)
    for (variant, device, _), line in lines.items():
        names = [variant] * tell_variant + [device] * bool(device)
        if len({own.number.id for own in line}) == len(line):
            yield _label(names, line), line
            continue
        by_test: dict[tuple[str, str], list[Own]] = {}
        for own in line:
            test = own.tested.cell.experiment, own.tested.evaluation.name
            by_test.setdefault(test, []).append(own)
        for test, some in by_test.items():
            yield _label([*names, *test], some), some


def _label(names: Sequence[str], line: Sequence[Own]) -> str:
    parts = list(names)
    if budgets := sorted({own.budget for own in line if own.budget}):
        whole = " or ".join(f"{theirs:,}" for _, theirs in budgets)
        parts.append(f"{budgets[0][0]:,} of {whole} steps")
    return f"ours ({', '.join(parts)})" if parts else "ours"
