"""Verdicts in words and signs, as tables, figures and citations print them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from suite.core.metrics import published_metric
from suite.core.statistics import HEADLINE_SEEDS
from suite.published.compare import Row
from suite.published.errors import INNER, REACH
from suite.published.margins import RULE, limits
from suite.published.verdicts import SETTLED, Verdict
from suite.report.format import NONE
from suite.report.matched import written

SIGNS = {
    "matches": "=",
    "above": "↑",
    "below": "↓",
    "differs": "≠",
    "consistent": "∼",
    "undecidable": "⊘",
    "inconclusive": "…",
    "diverged": "†",
    "shortened": "‡",
    "not comparable": "×",
}
#: Meaning of each verdict, for a legend.
MEANINGS = {
    "matches": f"the {100 * INNER:.0f} % interval lies within the margin",
    "above": "the 95 % interval lies beyond the margin",
    "below": "the 95 % interval lies beyond the margin",
    "differs": "the 95 % interval leaves out 0, not all of it beyond the margin",
    "consistent": "no difference seen; the interval reaches two margins at most",
    "undecidable": f"with {REACH} seeds the interval would still reach beyond two margins, or "
    "test tasks diverged",
    "inconclusive": "more seeds would decide",
    "diverged": "trainings or test episodes diverged",
    "shortened": "fewer outer steps, not judged",
    "not comparable": "another protocol, not judged",
}
#: Meaning of each mark beside a verdict.
MARKS = {
    "*": "assumes what paper and code leave open",
    "°": "scores of the setting were known when the rule of the margins was chosen",
}
#: Factor of a spread beyond which a verdict does not depend on it.
_ANY = 100


def difference(value: float, metric: str) -> str:
    """Write ours minus published, or their ratio if the metric is compared by it."""
    if published_metric(metric).by_ratio:
        ratio = _ratio(value)
        if not 0.001 <= ratio < 1000:
            return f"×{ratio:.0e}"  # as far out as that, only its order of magnitude is read
        return f"×{ratio:.2f}" if 0.1 <= ratio < 100 else f"×{ratio:.3g}"
    text = written(abs(value), metric)
    return f"{'−' if value < 0 and float(text) else '+'}{text}"


def _ratio(logarithm: float) -> float:
    """Return a ratio; it is infinite beyond the largest float, as an end of an interval may be."""
    try:
        return math.exp(logarithm)
    except OverflowError:
        return math.inf


def with_interval(verdict: Verdict, metric: str) -> str:
    """Write a difference with its 95 % interval, if there is one; '' without a difference."""
    if verdict.difference is None:
        return ""
    text = difference(verdict.difference, metric)
    if verdict.interval is None:
        return text
    return f"{text} [{', '.join(difference(end, metric) for end in verdict.interval)}]"


def size(value: float, metric: str) -> str:
    """Write a margin or another size of a difference, without a sign."""
    if published_metric(metric).by_ratio:
        return f"×{_ratio(value):.3g}"
    return f"{value:.3g}"


def sentence(row: Row, hours: float | None = None) -> str:
    """Return a verdict and what it tells a reader, in one line.

    Args:
        row: comparison with a published number.
        hours: hours of one more training, if known.
    """
    found, metric = row.verdict, row.metric
    judged = found.judgement
    if judged is None or found.difference is None:
        return _unjudged(row)
    gap = size(judged.reach, metric)
    least = size(max(0.0, 2 * abs(found.difference) - judged.reach), metric)
    match found.kind:
        case "matches":
            also = f", {found.reason}" if found.reason else ""
            told = f"matches{also}: a gap of at most {gap} is possible"
        case "above" | "below":
            told = f"{found.kind} by at least {least}{_spread(judged.spread)}"
        case "differs":
            side = "above" if found.difference > 0 else "below"
            told = f"differs: {least} to {gap} {side}{_spread(judged.spread)}"
        case "consistent":
            told = f"consistent, but a gap of up to {gap} is possible"
        case "undecidable":
            width = size(judged.best, metric)
            told = f"undecidable: {REACH} seeds leave an interval of {width} on either side"
        case _:
            told = f"inconclusive: {_needs(row, hours)}"
    return " ".join((told, *marks(row)))


def marks(row: Row) -> list[str]:
    """Return the marks of a verdict, see `MARKS`."""
    found = row.verdict
    leans = found.kind in SETTLED and found.assuming
    return ["*"] * bool(leans) + ["°"] * row.known_before


def _spread(ratio: float) -> str:
    if ratio > _ANY:
        return ""
    return f", unless their trainings spread {ratio:.1f} times as wide as ours"


def _needs(row: Row, hours: float | None) -> str:
    assert row.verdict.judgement is not None
    needs, seeds = row.verdict.judgement.needs, row.summary.seeds
    if needs is None:
        return row.verdict.reason
    time = "" if hours is None else f", {_time(hours * (needs - seeds))} here,"
    return f"{seeds} of {needs} seeds{time} that would decide"


def _time(hours: float) -> str:
    return f"{hours:.1f} h" if hours >= 0.1 else "less than 0.1 h"


def _unjudged(row: Row) -> str:
    found = row.verdict
    told = f"{found.kind}{f' ({found.reason})' if found.reason else ''}"
    return " ".join((told, *marks(row)))


def chance(verdict: Verdict) -> str:
    """Write the chance of a match if there were no difference; '–' without one."""
    judged = verdict.judgement
    return NONE if judged is None or judged.chance is None else f"{100 * judged.chance:.0f} %"


def legend(rows: Sequence[Row]) -> str:
    """Explain the signs and marks of some verdicts, and their margins."""
    metrics = dict.fromkeys(published_metric(row.metric) for row in rows)
    rules = [f"{kind.heading.lower()}: {text}" for kind in metrics if (text := limits(kind))]
    used = {mark for row in rows for mark in marks(row)}
    notes = "; ".join(f"{mark} {text}" for mark, text in MARKS.items() if mark in used)
    told = [f"Verdicts: {'; '.join(_explained(rows))}", notes]
    if rules:
        told.insert(1, f"Margins (rule {RULE}), {'; '.join(rules)}")
    return " ".join(f"{text}." for text in told if text)


def _explained(rows: Sequence[Row]) -> list[str]:
    """Explain the signs of the verdicts; those with one meaning are explained together."""
    kinds = {row.verdict.kind for row in rows}
    alike: dict[str, list[str]] = {}
    for kind in SIGNS:
        if kind in kinds:
            alike.setdefault(MEANINGS[kind], []).append(kind)
    told = [
        f"{'/'.join(SIGNS[kind] for kind in same)} {' or '.join(same)} ({meaning})"
        for meaning, same in alike.items()
    ]
    return [*told, f"{NONE} not run"]


def expected_matches(rows: Sequence[Row]) -> float:
    """Return how many of some rows would match if there were no differences."""
    judged = [row.verdict.judgement for row in rows]
    return sum(found.chance for found in judged if found is not None and found.chance is not None)


def by_number(rows: Sequence[Row]) -> list[Row]:
    """Return one row for each number that was run in its protocol with enough trainings.

    If there are several, by variants or devices, the first one counts.
    """
    kinds = (*SETTLED, "inconclusive", "diverged")
    first: dict[str, Row] = {}
    for row in rows:
        if row.number is None or row.tested is None or row.verdict.kind not in kinds:
            continue
        if len(row.scores) + row.tested.diverged_seeds >= HEADLINE_SEEDS:
            first.setdefault(row.number.id, row)
    return list(first.values())


def headline(rows: Sequence[Row]) -> str:
    """Return the outcome of a comparison in one sentence; the kinds are never added up."""
    run = by_number(rows)
    counts = Counter(row.verdict.kind for row in run)
    numbers = {row.number.id for row in rows if row.number}
    intervals = sum(row.verdict.judgement is not None for row in run)
    told = {
        "matches": counts["matches"],
        "consistent (no difference seen, which is not a match)": counts["consistent"],
        "above or below": counts["above"] + counts["below"],
        **{k: counts[k] for k in ("differs", "undecidable", "inconclusive", "diverged")},
    }
    return (
        f"Of {len(numbers)} published numbers, {len(run)} were run in their protocol with at least "
        f"{HEADLINE_SEEDS} trainings: {', '.join(f'{n} {kind}' for kind, n in told.items() if n)}. "
        f"If every number were right, {expected_matches(run):.1f} of the {intervals} that have an "
        f"interval would be expected to match. {len(numbers) - len(run)} numbers were not run, or "
        "not so."
    )
