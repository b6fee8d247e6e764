"""Notes under a table in a paper's layout: how to read it, the verdicts and their assumptions."""

from __future__ import annotations

import re
from collections.abc import Sequence

from suite.core.metrics import margins, published_metric
from suite.core.statistics import HEADLINE_SEEDS
from suite.published.numbers import Number, load
from suite.report.format import listed
from suite.report.matched import MARKS, Own
from suite.report.settings import Settings

SIGNS = {
    "matches": "=",
    "above": "↑",
    "below": "↓",
    "inconclusive": "∼",
    "shortened": "‡",
    "not comparable": "≠",
}
DIVERGED = "†"
KINDS = {
    "tasks": "a 95 % interval over the test tasks of one training",
    "tasks_std": "a standard deviation over the test tasks of one training",
    "seeds_std": "a standard deviation over seeds",
    "unstated": "of unstated meaning",
}


def _margin(metric: str) -> str:
    point = " point" if published_metric(metric).is_proportion else ""
    return f"{margins()[metric]:g}{point}"


def reference(key: str) -> str:
    """Return the name of a paper in a text, such as ``Finn et al. 2017``."""
    paper = load().papers[key]
    first, *others = (author.split()[-1] for author in paper.authors)
    names = {0: "", 1: f" and {others[-1]}"} if others else {0: ""}
    return f"{first}{names.get(len(others), ' et al.')} {paper.year}"


def reading(paper: str, table: str, numbers: Sequence[Number], found: Sequence[Own]) -> list[str]:
    """Explain each ±, and name the published numbers that the paper itself quotes.

    Args:
        paper: key of the paper that has the layout.
        table: name of the paper's table.
        numbers: published numbers.
        found: our results.
    """
    kinds = {number.pm_kind for number in numbers}
    told = [f"{MARKS[k]} {text}".strip() for k, text in KINDS.items() if k in kinds]
    width = "mean ± half width of the 95 % Student t interval over seeds"
    if any(own.summary.seeds < HEADLINE_SEEDS for own in found):
        width += (
            f"; with fewer than {HEADLINE_SEEDS} seeds, in parentheses, 1.96 standard errors over "
            "the test episodes of one seed"
        )
    if any(own.summary.diverged for own in found):
        width += "; where a test episode diverged, how many did, and the median over all"
    quoted: dict[str, None] = {}
    for number in numbers:
        if (number.paper, number.table) != (paper, table):
            quoted[f"{reference(number.paper)}, {number.table} ({number.algorithm})"] = None
    return [
        f"Published ±: {'; '.join(told)}." if told else "The paper gives no ±.",
        f"Ours: {width}. The test episodes are shared by all seeds unless each has a class split "
        "of its own.",
        *([f"Quoted there from {', '.join(quoted)}."] if quoted else []),
    ]


def sign(own: Own) -> str:
    """Return the sign of a result's verdict; divergence has its own sign."""
    verdict = SIGNS[own.verdict.kind]
    if not own.diverged:
        return verdict
    return DIVERGED if own.verdict.kind == "inconclusive" else verdict + DIVERGED


def signs(found: Sequence[Own]) -> str:
    """Explain the signs of the results."""
    used = {letter for own in found for letter in sign(own)}
    margin = " or ".join(dict.fromkeys(_margin(own.number.metric) for own in found))
    meanings = {
        "=": "= matches (all of it within the margin)",
        "↑": "↑ above (all of it beyond the margin)",
        "↓": "↓ below (all of it beyond the margin)",
        "∼": "∼ inconclusive (neither, or no interval)",
        "‡": "‡ shortened training (not judged)",
        "≠": "≠ not comparable (another protocol)",
        "†": "† diverged trainings or test episodes (not judged; a mean is of the other seeds)",
    }
    told = "; ".join(text for letter, text in meanings.items() if letter in used)
    by, leans = "", ""
    if any(own.verdict.interval is not None for own in found):
        by = f", by the 95 % interval of ours − published and a margin of {margin}"
        leans = " A verdict assumes what is inferred, unknown or apart below."
    return f"Verdicts{by}: {told}; – not run.{leans}"


def reasons(found: Sequence[Own]) -> list[str]:
    """Say why results were not judged, if their rows do not say it."""
    causes: dict[tuple[str, str], dict[str, list[int]]] = {}
    for own in found:
        if own.verdict.reason and (own.verdict.kind != "shortened" or own.diverged):
            names = causes.setdefault((sign(own), own.verdict.reason), {})
            names.setdefault(own.name, []).append(own.result.step)
    notes = []
    for (mark, reason), names in causes.items():
        who = ", ".join(
            f"{name} (step{'s' * (len(steps) > 1)} {listed(steps)})"
            for name, steps in names.items()
        )
        notes.append(f"{mark} {who}: {reason}.")
    return notes


def assumptions(found: Sequence[Own], settings: Settings) -> list[str]:
    """Return the verdicts' assumptions about published errors, which no protocol item states."""
    notes: dict[str, dict[str, None]] = {}
    for own in found:
        if own.verdict.interval is not None:
            letter = settings.told(own.row.preset, own.result)
            for text in own.verdict.assuming:
                if text not in own.row.preset.assumed:
                    # The table shows the value of the ±.
                    notes.setdefault(re.sub(r"± [\d.]+", "±", text), {})[letter] = None
    return [f"Verdicts on {', '.join(on)} assume {text}." for text, on in notes.items()]
