"""Verdicts of our scores on a published number: functions on (seeds, episodes) arrays.

Accuracies and returns are compared by their difference, errors by the logarithm of their ratio. The
decision on a difference is explained in `suite.published.errors`, the margin in
`suite.published.margins`. The parts of the error here are:

- their test tasks: (pm / 1.96)² if the ± is a 95 % interval over tasks, pm² / tasks if it is a
  standard deviation over them, pm² / seeds if it is a standard deviation over trainings. If it is
  not known, it is taken as large as ours, never as zero, and the verdict says so;
- our test tasks, if all our seeds use the same ones: the variance of an episode's score, averaged
  over the seeds, divided by the number of episodes. If every seed has episodes of its own, s² holds
  this error;
- neither, if we test on the very tasks of the paper;
- the rounding of the published number.

A few tasks may carry a mean of errors. On the paper's own tasks that is no fault of the interval,
which is over trainings; the logarithm keeps it honest. If a task diverged, the mean does not exist,
and more trainings would not change that: the number is then *undecidable*, and medians stand beside
it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Literal

import numpy as np

from suite.core.metrics import published_metric
from suite.core.statistics import CONFIDENCE, HEADLINE_SEEDS, NORMAL_95, seed_means
from suite.published.errors import (
    DECISIONS,
    INNER,
    REACH,
    ErrorModel,
    VariancePart,
    chances,
    decide,
    largest_spread,
    seeds_needed,
)
from suite.published.margins import margin as margin_of
from suite.published.numbers import Number, load

Kind = Literal[
    "matches",
    "above",
    "below",
    "differs",
    "consistent",
    "undecidable",
    "inconclusive",
    "diverged",
    "not comparable",
    "shortened",
    "not run",
    "no published value",
]
#: Verdicts that more seeds are not needed for.
SETTLED = ("matches", "above", "below", "differs", "consistent", "undecidable")


@dataclass(frozen=True)
class Judgement:
    """How a verdict came about; differences of errors are logarithms of ratios."""

    difference: float
    model: ErrorModel
    margin: float

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the difference."""
        return self._around(CONFIDENCE)

    @property
    def inner(self) -> tuple[float, float]:
        """Interval that must be inside the margin for a match, of confidence `INNER`."""
        return self._around(INNER)

    def _around(self, confidence: float) -> tuple[float, float]:
        half = float(self.model.half_width(confidence))
        return self.difference - half, self.difference + half

    @property
    def floor(self) -> float:
        """Half width of the 95 % interval with unlimited trainings of ours."""
        return self.model.floor

    @property
    def reach(self) -> float:
        """Largest difference that the 95 % interval holds."""
        return max(map(abs, self.interval))

    @property
    def best(self) -> float:
        """Half width of the 95 % interval with `REACH` trainings of ours."""
        return float(replace(self.model, seeds=max(REACH, self.model.seeds)).half_width(CONFIDENCE))

    @cached_property
    def chance(self) -> float | None:
        """Chance of *matches* if there were no difference; None with too few seeds for any."""
        if self.model.seeds < HEADLINE_SEEDS:
            return None
        rng = np.random.default_rng(0)  # the same chance for the same scores
        return float(chances(0.0, self.model, self.margin, rng)[DECISIONS.index("matches")])

    @cached_property
    def spread(self) -> float:
        """How many times as wide as ours their trainings may spread with the same verdict."""
        return largest_spread(self.difference, self.model, self.margin)

    @cached_property
    def needs(self) -> int | None:
        """Number of seeds that would decide, if the verdict is *inconclusive*; None if none."""
        if _kind(self.difference, self.model, self.margin) != "inconclusive":
            return None
        return seeds_needed(self.difference, self.model, self.margin, HEADLINE_SEEDS)


@dataclass(frozen=True)
class Verdict:
    """Verdict of our scores on a published number."""

    kind: Kind
    difference: float | None
    """Ours minus published, or the logarithm of their ratio; None without a valid mean."""
    margin: float | None
    """Largest negligible difference, on the same scale."""
    reason: str = ""
    """Reason for the verdict, as one short clause, or ''."""
    assuming: tuple[str, ...] = ()
    """Inferred or unknown protocol items and assumed errors that the verdict depends on."""
    judgement: Judgement | None = None
    """How it was judged; None if it was not by an interval."""

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % interval of the difference, if it was judged by it."""
        return None if self.judgement is None else self.judgement.interval


def judge(
    scores: np.ndarray,
    number: Number,
    *,
    assuming: Iterable[str] = (),
    differing: Iterable[str] = (),
    shortened: str = "",
    diverged_seeds: int = 0,
    their_tasks: bool = False,
    own_tasks: bool = False,
) -> Verdict:
    """Return the verdict of our scores on a published number.

    ``above`` and ``below`` say on which side our result lies; for an error, below is better.

    Args:
        scores: scores (seeds, episodes) in the published unit.
        number: published number.
        assuming: protocol items that are inferred or unknown.
        differing: protocol items that differ; if there are any, the two are not comparable.
        shortened: text that says how our training was shorter; a shortened run is never judged.
        diverged_seeds: number of trainings that diverged and therefore have no row in ``scores``.
        their_tasks: whether the test tasks are those of the paper.
        own_tasks: whether every seed has test episodes of its own.
    """
    scores = np.asarray(scores, dtype=np.float64)
    seeds, episodes = scores.shape
    width, by_ratio = margin_of(number), published_metric(number.metric).by_ratio
    lost = int((~np.isfinite(scores)).sum())
    diverged = _diverged(seeds, diverged_seeds, lost)
    # A mean over only the remaining seeds would be too good.
    values = None if diverged or not seeds else _compared(seed_means(scores), by_ratio)
    target = float(_compared(np.array(number.value), by_ratio))
    difference = None if values is None else float(values.mean()) - target

    def without(kind: Kind, *reasons: str) -> Verdict:
        reason = "; ".join(filter(None, reasons))
        return Verdict(kind, difference, width, reason, tuple(assuming))

    if items := tuple(differing):
        return without("not comparable", *items, diverged)
    if shortened:
        return without("shortened", shortened, diverged)
    if diverged:
        # Of errors, some trainings may have no mean at all, which is what the paper's might lack.
        open_ = by_ratio and not diverged_seeds and seeds >= HEADLINE_SEEDS
        return without("undecidable" if open_ else "diverged", diverged)
    if difference is None or values is None or seeds < 2:
        count = "one seed" if seeds else "no seed"
        return without("inconclusive", f"{count} of {HEADLINE_SEEDS}")
    if episodes < 2:
        return without("inconclusive", "one test episode: the spread between them is unknown")
    if not math.isfinite(difference):
        return without("inconclusive", "a mean is 0, so the ratio does not exist")
    if width is None:
        return without("inconclusive", f"no margin is set for {number.metric} in this setting")
    model = error_model(scores, number, their_tasks=their_tasks, own_tasks=own_tasks)
    if not float(model.variance):
        return without("inconclusive", "equal scores throughout: no error can be estimated")
    kind = _kind(difference, model, width)
    reason = ""
    if kind == "inconclusive" and seeds < HEADLINE_SEEDS:
        reason = f"{seeds} of {HEADLINE_SEEDS} seeds"
    found = Judgement(difference, model, width)
    if kind == "matches" and not found.interval[0] <= 0 <= found.interval[1]:
        reason = "though not equal"
    leans = (*assuming, *([] if their_tasks else _assumptions(number)))
    return Verdict(kind, difference, width, reason, leans, found)


def _compared(values: np.ndarray, by_ratio: bool) -> np.ndarray:
    """Return values on the scale on which they are compared."""
    with np.errstate(divide="ignore"):
        return np.log(values) if by_ratio else values


def _kind(difference: float, model: ErrorModel, margin: float) -> Kind:
    if model.seeds < HEADLINE_SEEDS:
        return "inconclusive"
    kind = DECISIONS[int(decide(difference, model, margin))]
    if kind == "beyond":
        return "above" if difference > 0 else "below"
    return kind  # type: ignore[return-value]


def not_run(number: Number, brought: str = "") -> Verdict:
    """Return the verdict on a number for which there are no records.

    Args:
        number: published number.
        brought: required data that cannot be downloaded.
    """
    reason = f"needs {brought}, which the user must bring" if brought else ""
    return Verdict("not run", None, margin_of(number), reason)


def no_value(shortened: str = "") -> Verdict:
    """Return the verdict on scores for which no paper has a number.

    Args:
        shortened: text that says how our training was shorter than the published setting.
    """
    return Verdict("no published value", None, None, shortened)


def _diverged(seeds: int, diverged_seeds: int, episodes: int) -> str:
    """Say how many seeds and episodes diverged; '' if none."""
    told = []
    if diverged_seeds:
        told.append(f"{diverged_seeds} of {seeds + diverged_seeds} seeds diverged")
    if episodes:
        told.append(f"{episodes} diverged episode{'s' if episodes > 1 else ''}")
    return ", ".join(told)


def error_model(
    scores: np.ndarray, number: Number, *, their_tasks: bool, own_tasks: bool
) -> ErrorModel:
    """Return the errors of the difference from a number; arguments as in `judge`."""
    seeds, episodes = scores.shape
    by_ratio = published_metric(number.metric).by_ratio
    between = float(_compared(seed_means(scores), by_ratio).var(ddof=1))
    # The variance of a logarithm is that of the value, relative to its square.
    theirs = number.value**2 if by_ratio else 1.0
    if by_ratio:
        scores = scores / scores.mean()
    fixed = [VariancePart(_step(number) ** 2 / 12 / theirs, math.inf)]
    if their_tasks:
        return ErrorModel(between, seeds, tuple(fixed))
    # The error of one of our trainings over its tasks, and that of their mean.
    one_run = float(scores.var(axis=1, ddof=1).mean())
    common = one_run if own_tasks else float(scores.mean(axis=0).var(ddof=1))
    if not own_tasks:
        fixed.append(VariancePart(common / episodes, episodes - 1))
    pm, n, runs = number.pm, number.pm_n, 1.0
    if (published := published_task_error(number)) is not None:
        fixed.append(VariancePart(published.variance / theirs, published.degrees))
    elif number.pm_kind == "seeds_std" and pm is not None and n is not None:
        # Like ours, their mean over seeds also has an error over tasks, which is not given.
        fixed += [
            VariancePart(pm**2 / n / theirs, n - 1),
            VariancePart(common / episodes, episodes - 1),
        ]
        runs = math.inf
    else:
        # The error is that of one of our trainings, tested on the same number of tasks.
        fixed.append(VariancePart(one_run / (n or episodes), episodes - 1))
    return ErrorModel(between, seeds, tuple(fixed), runs)


def published_task_error(number: Number) -> VariancePart | None:
    """Return the error of a number over its test tasks, in its unit, if its ± gives it."""
    pm, n = number.pm, number.pm_n
    if number.pm_kind == "tasks" and pm is not None:
        # If the number of tasks is unknown, the paper's interval is taken as a normal one.
        return VariancePart((pm / NORMAL_95) ** 2, n - 1 if n else math.inf)
    if number.pm_kind == "tasks_std" and pm is not None and n is not None:
        return VariancePart(pm**2 / n, n - 1)
    return None


@cache
def _step(number: Number) -> float:
    """Return the last decimal of a number; all of its table's values for a data set have it."""

    def table(of: Number) -> tuple[str, ...]:
        return of.paper, of.table, of.dataset, of.metric

    values = [other.value for other in load().numbers if table(other) == table(number)]
    return 10.0 ** -max(len(f"{v:g}".partition(".")[2]) for v in (*values, number.value))


def _assumptions(number: Number) -> list[str]:
    """Return the assumptions about the published error."""
    as_ours = "a published error over test tasks as large as ours"
    over = f" over {number.pm_n} tasks" if number.pm_n else ""
    if number.pm is None:
        return [f"{as_ours}{over} (no ± is given)"]
    pm = f"± {number.pm:g}"
    if number.pm_kind == "unstated":
        return [f"{as_ours}{over} (what {pm} means is not stated)"]
    told = []
    if number.pm_kind == "seeds_std":
        told.append(f"{as_ours} ({pm} is over {number.pm_n} seeds)")
    if number.pm_basis == "inferred":
        told.append(f"{pm} is over test tasks (inferred)")
    if not number.pm_verified:
        told.append(f"{pm} is right (not verified)")
    return told
