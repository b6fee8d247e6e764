"""The error of a difference between our result and a published one, and what it lets us decide.

A published number is usually one training. Another training of theirs would have given another
number, and both sides used a limited number of test tasks. With s² the variance between the means
of our n trainings and r the number of trainings behind the published number, the variance of the
difference is

    V = s²/n + s²/r + fixed

where ``fixed`` are parts that no training of ours makes smaller: the error of the published number
over its test tasks and from its rounding, and ours over test tasks that all our trainings share.

Decisions, with d the difference, m the margin, h95 and h92 the half widths of its intervals:

    matches        |d| + h92 <= m      two one-sided tests at 4 %
    beyond         |d| - h95 > m
    differs        |d| - h95 > 0
    inconclusive   none of these, but one of them if h were that of `REACH` trainings at the same d,
                   or h95 <= 2 m only then
    consistent     h95 <= 2 m          a true difference of 3 m is called so in at most 16 %
    undecidable    h95 > 2 m, and `REACH` trainings of ours would not change it

The degrees of freedom are those of Welch and Satterthwaite, which are an approximation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from suite.core.statistics import CONFIDENCE, NORMAL_95

#: Number of trainings that we are ready to run for one number.
REACH = 20
#: Confidence of the interval that must be inside the margin. With 0.90, the usual one, a true
#: difference of one margin would match in up to 5.6 % of simulations, because degrees of freedom
#: are an approximation; with 0.92 in up to 4.7 %.
INNER = 0.92
#: Margins that a *consistent* interval may reach on either side.
WIDEST = 2
#: Decisions, in the order of their numbers in `decide`.
DECISIONS = ("matches", "beyond", "differs", "inconclusive", "consistent", "undecidable")
_MATCHES, _BEYOND, _DIFFERS, _INCONCLUSIVE, _CONSISTENT, _UNDECIDABLE = range(6)

Values = NDArray[np.float64]


class VariancePart(NamedTuple):
    """One independent part of the variance of the difference."""

    variance: float
    degrees: float
    """Degrees of freedom of the part's estimate; infinite if the part is taken as known."""


@dataclass(frozen=True)
class ErrorModel:
    """The parts of the variance V of a difference; ``between`` may hold many simulated values."""

    between: float | Values
    """s², variance between the means of our trainings."""
    seeds: int
    """n, number of our trainings."""
    fixed: tuple[VariancePart, ...] = ()
    runs: float = 1
    """r, number of trainings behind the published number; infinite if ``fixed`` has their luck."""
    spread: float = 1
    """Standard deviation between their trainings over that of ours."""

    @property
    def variance(self) -> Values:
        """V."""
        return self._trainings + sum(part.variance for part in self.fixed)

    @property
    def _trainings(self) -> Values:
        return np.asarray(self.between) * (1 / self.seeds + self.spread**2 / self.runs)

    @property
    def floor(self) -> float:
        """Half width of the 95 % interval with unlimited trainings of ours."""
        left = replace(self, seeds=10**9).variance
        return NORMAL_95 * float(np.sqrt(left))

    def half_width(self, confidence: float) -> Values:
        """Return the half width of the interval of the difference."""
        total = self.variance
        parts: list[tuple[Values, float]] = [(self._trainings, self.seeds - 1)]
        parts += [(np.asarray(part.variance), part.degrees) for part in self.fixed]
        inverse = np.zeros(np.shape(total))
        with np.errstate(divide="ignore", invalid="ignore"):
            # Fractions of the total are squared, because squares of the parts may underflow.
            for variance, degrees in parts:
                inverse += np.square(variance / total) / degrees
            known = np.where(np.isnan(inverse), np.inf, np.maximum(1 / inverse, 1))
        return np.asarray(stats.t.ppf((1 + confidence) / 2, known) * np.sqrt(total))


def _settled(distance: Values, inner: Values, outer: Values, margin: float) -> NDArray[np.int64]:
    """Return the decision by the half widths of both intervals; -1 if there is none."""
    return np.select(
        [distance + inner <= margin, distance - outer > margin, distance - outer > 0],
        [_MATCHES, _BEYOND, _DIFFERS],
        -1,
    )


def decide(difference: float | Values, model: ErrorModel, margin: float) -> NDArray[np.int64]:
    """Return the decision on each difference, as a place in `DECISIONS`."""
    distance = np.abs(np.asarray(difference, dtype=np.float64))
    inner, outer = model.half_width(INNER), model.half_width(CONFIDENCE)
    now = _settled(distance, inner, outer, margin)
    more = _would_decide(distance, model, margin, max(REACH, model.seeds))
    wide = outer > WIDEST * margin
    open_ = np.where(more, _INCONCLUSIVE, np.where(wide, _UNDECIDABLE, _CONSISTENT))
    return np.where(now >= 0, now, open_)


def _would_decide(
    distance: Values, model: ErrorModel, margin: float, seeds: int
) -> NDArray[np.bool_]:
    """Return whether a number of trainings would change an open decision at the same difference."""
    many = replace(model, seeds=seeds)
    now = model.half_width(CONFIDENCE)
    inner = np.minimum(model.half_width(INNER), many.half_width(INNER))
    outer = np.minimum(now, many.half_width(CONFIDENCE))
    narrow = (now > WIDEST * margin) & (outer <= WIDEST * margin)
    return (_settled(distance, inner, outer, margin) >= 0) | narrow


def seeds_needed(difference: float, model: ErrorModel, margin: float, least: int) -> int | None:
    """Return how many trainings would decide an open comparison, at most `REACH`; else None."""
    distance = np.abs(np.asarray(difference))
    for seeds in range(max(least, model.seeds + 1), REACH + 1):
        if bool(_would_decide(distance, model, margin, seeds)):
            return seeds
    return None


def largest_spread(difference: float, model: ErrorModel, margin: float) -> float:
    """Return how many times as wide as ours their trainings may spread with the same decision.

    It is infinite if no spread changes the decision, and at least 1.
    """
    decision = int(decide(difference, model, margin))

    def stands(spread: float) -> bool:
        return int(decide(difference, replace(model, spread=spread), margin)) == decision

    low, high = 1.0, 1.0
    while stands(high):
        low, high = high, 2 * high
        if high > 1000:
            return math.inf
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if stands(middle) else (low, middle)
    return low


def chances(
    true: float, model: ErrorModel, margin: float, rng: np.random.Generator, count: int = 4000
) -> Values:
    """Return the chance of each of `DECISIONS` at a true difference, by simulation.

    Args:
        true: true difference, on the scale of the margin.
        model: the errors, taken as the true ones.
        margin: the margin.
        rng: source of the simulated comparisons.
        count: number of simulated comparisons.
    """
    found = true + rng.normal(size=count) * float(np.sqrt(model.variance))
    degrees = model.seeds - 1
    between = np.asarray(model.between) * rng.chisquare(degrees, count) / degrees
    kinds = decide(found, replace(model, between=between), margin)
    return np.bincount(kinds, minlength=len(DECISIONS)) / count
