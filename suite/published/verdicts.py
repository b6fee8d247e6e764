"""What our scores say about a published number: pure functions on (seeds, episodes) arrays.

A published number is one run, so three errors stand between it and ours: another training of theirs
would have given another number, and either side saw only so many test tasks. The variance of the
difference adds them up, s² being the variance between the means of our n seeds:

- between trainings: s² / n of ours and s² of theirs; where their ± is a standard deviation over r
  seeds, pm² / r of theirs;
- their test tasks: (pm / 1.96)² where the ± is a 95 % interval over tasks, pm² / tasks where it is
  a standard deviation over them;
- our test tasks, which our seeds share, so that more seeds do not make it smaller: the variance of
  an episode's score, averaged over the seeds, divided by the number of episodes.

Where the published error over tasks is not known, it is never taken as zero but as large as ours,
and the verdict says so. The degrees of freedom are those of Welch and Satterthwaite, an
approximation: in simulations where s² matters most, the 95 % interval holds the truth in 94 % of
cases from four seeds on, in 92 % with three and in 88 % with two; so fewer than four seeds get an
interval and no verdict. A part of s² is itself test noise (which episodes a seed gets wrong); where
that is large, the interval is too wide.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, NamedTuple

import numpy as np
from scipy import stats

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

#: Differences smaller than this are no difference worth a word, in the metric's published unit.
#: One point of accuracy is what runs of one and the same official code differ by on mini-ImageNet,
#: and the width of the ± of most rows; a sinusoid's squared error moves by about 0.1 from one
#: evaluation of a training to the next.
MARGINS: Mapping[str, float] = MappingProxyType({"accuracy_pct": 1.0, "mse": 0.1})


@dataclass(frozen=True)
class Verdict:
    """What our scores say about a published number."""

    kind: Kind
    difference: float | None
    """Ours minus published, in the published unit; None where ours has no honest mean."""
    interval: tuple[float, float] | None
    """95 % interval of the difference; None where it was not judged."""
    margin: float | None
    """Equivalence margin: the number is matched if the whole interval lies within it."""
    reason: str
    """One short clause, or ''."""
    assuming: tuple[str, ...] = ()
    """Protocol items, inferred or unknown, and assumed errors that the verdict leans on."""


def judge(
    scores: np.ndarray,
    number: Number,
    *,
    assuming: Iterable[str] = (),
    differing: Iterable[str] = (),
    shortened: str = "",
    diverged_seeds: int = 0,
) -> Verdict:
    """Return what our scores say about a published number.

    ``above`` and ``below`` say on which side ours lies: for an error, below is better.

    Args:
        scores: (seeds, episodes), in the published unit; the same test episodes for every seed.
        number: the published number.
        assuming: protocol items that are inferred or unknown.
        differing: protocol items that differ; with any, the two are not comparable.
        shortened: how our training was shorter; a shortened run is never judged.
        diverged_seeds: trainings that diverged and so have no row in ``scores``.
    """
    scores = np.asarray(scores, dtype=np.float64)
    seeds, episodes = scores.shape
    margin = MARGINS.get(number.metric)
    diverged = _diverged(scores, diverged_seeds)
    # A mean over the seeds that are left would flatter.
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
        number: the published number.
        brought: data that cannot be downloaded, without which nobody can run it.
    """
    reason = f"needs {brought}, which the user must bring" if brought else ""
    return Verdict("not run", None, None, MARGINS.get(number.metric), reason)


def no_value(shortened: str = "") -> Verdict:
    """Return the verdict on scores for which no paper has a number.

    Args:
        shortened: how our training was shorter than the published setting.
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
    """Of freedom of its estimate; infinite where it is taken as known."""


def error_parts(scores: np.ndarray, number: Number) -> list[VariancePart]:
    """Return the parts of the variance of ours minus published, in the published unit squared.

    Args:
        scores: (seeds, episodes), at least 2 of both, all finite.
        number: the published number.
    """
    seeds, episodes = scores.shape
    between = float(seed_means(scores).var(ddof=1))
    our_tasks = VariancePart(float(scores.mean(axis=0).var(ddof=1)) / episodes, episodes - 1)
    pm, n = number.pm, number.pm_n
    if number.pm_kind == "seeds_std" and pm is not None and n is not None:
        # Their mean over seeds has, like ours, an error over tasks beside it, which is not given.
        theirs = [VariancePart(pm**2 / n, n - 1), our_tasks]
        return [VariancePart(between / seeds, seeds - 1), *theirs, our_tasks]
    if number.pm_kind == "tasks" and pm is not None:
        # Of unknown many tasks: the paper's own interval is a normal one.
        their_tasks = VariancePart((pm / NORMAL_95) ** 2, n - 1 if n else math.inf)
    elif number.pm_kind == "tasks_std" and pm is not None and n is not None:
        their_tasks = VariancePart(pm**2 / n, n - 1)
    else:
        # As if one of our trainings had been tested on as many tasks.
        one_run = float(scores.var(axis=1, ddof=1).mean())
        their_tasks = VariancePart(one_run / (n or episodes), episodes - 1)
    return [VariancePart(between * (1 + 1 / seeds), seeds - 1), their_tasks, our_tasks]


def _half_width(parts: list[VariancePart]) -> float | None:
    """Return the half width of the 95 % interval; None where nothing varies."""
    variance = sum(part.variance for part in parts)
    if variance == 0:
        return None
    # Welch-Satterthwaite, on shares of the whole, whose squares do not underflow.
    shares = sum((part.variance / variance) ** 2 / part.degrees for part in parts)
    degrees = 1 / shares if shares else math.inf
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, degrees)) * math.sqrt(variance)


def _assumptions(number: Number) -> list[str]:
    """Say what is assumed about the published error."""
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
