"""Verdicts of our scores on a published number: pure functions on (seeds, episodes) arrays.

A published number is one run, so three errors separate it from ours: another training of theirs
would have given another number, and both sides used only a limited number of test tasks. The
variance of the difference is their sum, with s² the variance between the means of our n seeds:

- between trainings: s² / n of ours and s² of theirs; if their ± is a standard deviation over r
  seeds, pm² / r of theirs;
- their test tasks: (pm / 1.96)² if the ± is a 95 % interval over tasks, pm² / tasks if it is a
  standard deviation over them;
- our test tasks: the variance of an episode's score, averaged over the seeds, divided by the number
  of episodes. All our seeds use the same test tasks, so more seeds do not make this error smaller.

If the published error over tasks is not known, it is taken as large as ours, never as zero, and the
verdict says so. The degrees of freedom are those of Welch and Satterthwaite, which are an
approximation. In simulations in which s² dominates, the 95 % interval contains the truth in 94 % of
cases from four seeds on, in 92 % with three and in 88 % with two; therefore fewer than four seeds
get an interval but no verdict. A part of s² is itself test noise, because a seed fails on some
episodes by chance; if this part is large, the interval is too wide.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from scipy import stats

from suite.core.metrics import margins
from suite.core.statistics import CONFIDENCE, HEADLINE_SEEDS, NORMAL_95, seed_means
from suite.published.numbers import Number

Kind = Literal[
    "matches",
    "above",
    "below",
    "inconclusive",
    "not comparable",
    "shortened",
    "not run",
    "no published value",
]


@dataclass(frozen=True)
class Verdict:
    """Verdict of our scores on a published number."""

    kind: Kind
    difference: float | None
    """Ours minus published, in the published unit; None if our scores have no valid mean."""
    interval: tuple[float, float] | None
    """95 % interval of the difference; None if the difference was not judged."""
    margin: float | None
    """Equivalence margin; the number is matched if the whole interval lies within it."""
    reason: str
    """Reason for the verdict, as one short clause, or ''."""
    assuming: tuple[str, ...] = ()
    """Inferred or unknown protocol items and assumed errors that the verdict depends on."""


def judge(
    scores: np.ndarray,
    number: Number,
    *,
    assuming: Iterable[str] = (),
    differing: Iterable[str] = (),
    shortened: str = "",
    diverged_seeds: int = 0,
) -> Verdict:
    """Return the verdict of our scores on a published number.

    ``above`` and ``below`` say on which side our result lies; for an error, below is better.

    Args:
        scores: scores (seeds, episodes) in the published unit, on the same test episodes for every
            seed.
        number: published number.
        assuming: protocol items that are inferred or unknown.
        differing: protocol items that differ; if there are any, the two are not comparable.
        shortened: text that says how our training was shorter; a shortened run is never judged.
        diverged_seeds: number of trainings that diverged and therefore have no row in ``scores``.
    """
    scores = np.asarray(scores, dtype=np.float64)
    seeds, episodes = scores.shape
    margin = margins().get(number.metric)
    diverged = _diverged(scores, diverged_seeds)
    # A mean over only the remaining seeds would be too good.
    honest = seeds > 0 and not diverged
    difference = float(seed_means(scores).mean()) - number.value if honest else None

    def unjudged(kind: Kind, *reasons: str) -> Verdict:
        return Verdict(
            kind, difference, None, margin, "; ".join(filter(None, reasons)), tuple(assuming)
        )

    if items := tuple(differing):
        return unjudged("not comparable", *items, diverged)
    if shortened:
        return unjudged("shortened", shortened, diverged)
    if diverged:
        return unjudged("inconclusive", diverged)
    if difference is None or seeds < 2:
        count = "one seed" if seeds else "no seed"
        return unjudged("inconclusive", f"{count}: the spread between trainings is unknown")
    if episodes < 2:
        return unjudged("inconclusive", "one test episode: the spread between them is unknown")
    if margin is None:
        return unjudged("inconclusive", f"no equivalence margin is set for {number.metric}")
    half = _half_width(error_parts(scores, number))
    if half is None:
        return unjudged("inconclusive", "equal scores throughout: no error can be estimated")
    low, high = difference - half, difference + half
    leans = (*assuming, *_assumptions(number))
    few = seeds < HEADLINE_SEEDS
    kind = "inconclusive" if few else _kind(low, high, margin)
    reason = ""
    if few:
        reason = f"{seeds} seeds; a verdict takes {HEADLINE_SEEDS}"
    elif kind == "matches" and not low <= 0 <= high:
        reason = "within the margin, though not equal"
    elif kind == "inconclusive" and number.pm_kind == "tasks" and (number.pm or 0) > margin:
        reason = "the published ± alone is wider than the margin"
    return Verdict(kind, difference, (low, high), margin, reason, leans)


def not_run(number: Number, brought: str = "") -> Verdict:
    """Return the verdict on a number for which there are no records.

    Args:
        number: published number.
        brought: required data that cannot be downloaded.
    """
    reason = f"needs {brought}, which the user must bring" if brought else ""
    return Verdict("not run", None, None, margins().get(number.metric), reason)


def no_value(shortened: str = "") -> Verdict:
    """Return the verdict on scores for which no paper has a number.

    Args:
        shortened: text that says how our training was shorter than the published setting.
    """
    return Verdict("no published value", None, None, None, shortened)


def _diverged(scores: np.ndarray, diverged_seeds: int) -> str:
    """Say how many seeds and episodes diverged; '' if none."""
    episodes = int((~np.isfinite(scores)).sum())
    found = []
    if diverged_seeds:
        found.append(f"{diverged_seeds} of {len(scores) + diverged_seeds} seeds diverged")
    if episodes:
        found.append(f"{episodes} diverged episode{'s' if episodes > 1 else ''}")
    return ", ".join(found)


def _kind(low: float, high: float, margin: float) -> Kind:
    if -margin <= low and high <= margin:
        return "matches"
    if low > margin:
        return "above"
    return "below" if high < -margin else "inconclusive"


class VariancePart(NamedTuple):
    """One independent part of the variance of the difference."""

    variance: float
    degrees: float
    """Degrees of freedom of the part's estimate; infinite if the part is taken as known."""


def error_parts(scores: np.ndarray, number: Number) -> list[VariancePart]:
    """Return the parts of the variance of ours minus published, in the published unit squared.

    Args:
        scores: finite scores (seeds, episodes), with at least 2 seeds and 2 episodes.
        number: published number.
    """
    seeds, episodes = scores.shape
    between = float(seed_means(scores).var(ddof=1))
    our_tasks = VariancePart(float(scores.mean(axis=0).var(ddof=1)) / episodes, episodes - 1)
    pm, n = number.pm, number.pm_n
    if number.pm_kind == "seeds_std" and pm is not None and n is not None:
        # Like ours, their mean over seeds also has an error over tasks, which is not given.
        theirs = [VariancePart(pm**2 / n, n - 1), our_tasks]
        return [VariancePart(between / seeds, seeds - 1), *theirs, our_tasks]
    if number.pm_kind == "tasks" and pm is not None:
        # If the number of tasks is unknown, the paper's interval is taken as a normal one.
        their_tasks = VariancePart((pm / NORMAL_95) ** 2, n - 1 if n else math.inf)
    elif number.pm_kind == "tasks_std" and pm is not None and n is not None:
        their_tasks = VariancePart(pm**2 / n, n - 1)
    else:
        # The error is that of one of our trainings, tested on the same number of tasks.
        one_run = float(scores.var(axis=1, ddof=1).mean())
        their_tasks = VariancePart(one_run / (n or episodes), episodes - 1)
    return [VariancePart(between * (1 + 1 / seeds), seeds - 1), their_tasks, our_tasks]


def _half_width(parts: list[VariancePart]) -> float | None:
    """Return the half width of the 95 % interval; None if the variance is zero."""
    variance = sum(part.variance for part in parts)
    if variance == 0:
        return None
    # Welch-Satterthwaite is applied to fractions of the total, whose squares do not underflow.
    shares = sum((part.variance / variance) ** 2 / part.degrees for part in parts)
    degrees = 1 / shares if shares else math.inf
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, degrees)) * math.sqrt(variance)


def _assumptions(number: Number) -> list[str]:
    """Return the assumptions about the published error."""
    as_ours = "a published error over test tasks as large as ours"
    over = f" over {number.pm_n} tasks" if number.pm_n else ""
    if number.pm is None:
        return [f"{as_ours}{over} (no ± is given)"]
    pm = f"± {number.pm:g}"
    if number.pm_kind == "unstated":
        return [f"{as_ours}{over} (what {pm} means is not stated)"]
    found = []
    if number.pm_kind == "seeds_std":
        found.append(f"{as_ours} ({pm} is over {number.pm_n} seeds)")
    if number.pm_basis == "inferred":
        found.append(f"{pm} is over test tasks (inferred)")
    if not number.pm_verified:
        found.append(f"{pm} is right (not verified)")
    return found
