"""Notes under a table in a paper's layout: at most five lines, the rest is in other tables."""

from __future__ import annotations

from collections.abc import Sequence

from suite.core.statistics import HEADLINE_SEEDS
from suite.published.numbers import Number, load
from suite.report.format import listed
from suite.report.groups import Collection
from suite.report.matched import MARKS, Own
from suite.report.notes import provenance
from suite.report.verdict_text import SIGNS, legend, marks

KINDS = {
    "tasks": "a 95 % interval over the test tasks of one training",
    "tasks_std": "a standard deviation over the test tasks of one training",
    "seeds_std": "a standard deviation over seeds",
    "unstated": "of unstated meaning",
}


def reference(key: str) -> str:
    """Return the name of a paper in a text, such as ``Finn et al. 2017``."""
    paper = load().papers[key]
    first, *others = (author.split()[-1] for author in paper.authors)
    names = {0: "", 1: f" and {others[-1]}"} if others else {0: ""}
    return f"{first}{names.get(len(others), ' et al.')} {paper.year}"


def sign(own: Own) -> str:
    """Return the sign of a result's verdict, with its marks."""
    return "".join((SIGNS[own.verdict.kind], *marks(own.row)))


def notes(
    paper: str,
    table: str,
    numbers: Sequence[Number],
    found: Sequence[Own],
    missing: Sequence[str],
    shown: Collection,
) -> tuple[str, ...]:
    """Return the notes of a table.

    Args:
        paper: key of the paper that has the layout.
        table: name of the paper's table.
        numbers: published numbers.
        found: our results.
        missing: notes on rows that were not run.
        shown: records that the table shows.
    """
    return (
        _reading(paper, table, numbers, found),
        legend([own.row for own in found]),
        *_protocols(found),
        *([" ".join(missing)] if missing else []),
        " ".join(provenance(shown)),
    )


def _reading(paper: str, table: str, numbers: Sequence[Number], found: Sequence[Own]) -> str:
    """Explain each ±, and name the published numbers that the paper itself quotes."""
    kinds = {number.pm_kind for number in numbers}
    told = [f"{MARKS[k]} {text}".strip() for k, text in KINDS.items() if k in kinds]
    text = f"Published ±: {'; '.join(told)}. " if told else "The paper gives no ±. "
    text += (
        "Ours: mean, and ours minus published (for errors the ratio) with its 95 % interval. A "
        f"verdict takes at least {HEADLINE_SEEDS} seeds."
    )
    if any(own.summary.diverged for own in found):
        text += " Where a test episode diverged: how many did, and the median over all."
    if any(own.heavy for own in found):
        text += " Where a few tasks carry the mean, the median stands below it."
    if any(own.row.class_interval is not None for own in found):
        text += " ± data: 1.96 standard errors over the classes of one training."
    quoted: dict[str, None] = {}
    for number in numbers:
        if (number.paper, number.table) != (paper, table):
            quoted[f"{reference(number.paper)}, {number.table} ({number.algorithm})"] = None
    return text + (f" Quoted there from {', '.join(quoted)}." if quoted else "")


def _protocols(found: Sequence[Own]) -> list[str]:
    """Name the preset of every result, with how many of its items a verdict has to assume."""
    names: dict[str, int] = {}
    for own in found:
        preset = own.row.preset
        names[preset.name] = len(preset.assumed)
    told = [
        f"{name} ({count} item{'s' * (count > 1)} assumed)" if count else name
        for name, count in names.items()
    ]
    if not told:
        return []
    shortened = {own.verdict.reason for own in found if own.verdict.kind == "shortened"}
    steps = f" Shortened: {listed(shortened)}." if shortened else ""
    return [f"Protocols, each in full by `protocols show`: {', '.join(told)}.{steps}"]
