"""Our results that have a published number: input of paper tables, forest figure and citation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from suite.config.presets import Result
from suite.core.metrics import published_metric
from suite.core.statistics import Summary
from suite.published.compare import Row, Tested
from suite.published.counterpart import BUDGET
from suite.published.numbers import Number
from suite.published.verdicts import Verdict
from suite.report.format import beside_of, decimal

#: Ratio of a mean to its median beyond which a few tasks carry the mean.
HEAVY = 10
#: Verdicts on different protocols or budgets.
UNLIKE = ("not comparable", "shortened")
#: Marks of a published ± by its kind; a 95 % interval over test tasks has no mark.
MARKS = {"seeds_std": "s", "tasks_std": "t", "unstated": "?", "tasks": "", None: ""}


@dataclass(frozen=True)
class Own:
    """One of our results and the published number that it is compared with."""

    row: Row
    number: Number
    result: Result
    tested: Tested
    device: str = ""
    """Kind of device; '' if all results are from one kind."""

    @property
    def verdict(self) -> Verdict:
        """Verdict of our result on the number."""
        return self.row.verdict

    @property
    def summary(self) -> Summary:
        """Summary of our scores after the paper's inner step, in the published unit."""
        return self.row.summary

    @property
    def diverged(self) -> bool:
        """Whether a training or a test episode diverged."""
        return bool(self.summary.diverged or self.tested.diverged_seeds)

    @property
    def heavy(self) -> bool:
        """Whether a few test tasks carry the mean of an error."""
        mean, median = self.summary.mean, self.summary.median
        by_ratio = published_metric(self.number.metric).by_ratio
        return by_ratio and mean is not None and median is not None and mean > HEAVY * median

    @property
    def budget(self) -> tuple[int, int] | None:
        """Numbers of outer steps, ours and the paper's, if ours is smaller."""
        pair = self.row.counterpart.differing.get(BUDGET) if self.row.counterpart else None
        return pair if pair is not None and pair[0] < pair[1] else None

    @property
    def name(self) -> str:
        """Experiment and variant, with evaluation and device if they are informative."""
        cell, test = self.tested.cell, self.tested.evaluation.name
        named = [f"{cell.experiment}/{cell.variant}", "" if test == "test" else test, self.device]
        return " ".join(filter(None, named))

    @property
    def name_and_step(self) -> str:
        """`name` with the inner step of the comparison."""
        return f"{self.name}, step {self.result.step}"


def own_results(rows: Sequence[Row]) -> list[Own]:
    """Return the rows that have both a published number and one of our results, in order."""
    several = len(devices(rows)) > 1
    return [
        Own(row, row.number, row.result, row.tested, _device(row.tested) * several)
        for row in rows
        if row.number is not None and row.result is not None and row.tested is not None
    ]


def devices(rows: Sequence[Row]) -> set[str]:
    """Return the kinds of devices that our results are from."""
    return {_device(row.tested) for row in rows if row.tested is not None}


def _device(tested: Tested) -> str:
    return tested.cell.numerics.device


def printed(number: Number, decimals: int | None = None) -> str:
    """Write a published number with its ±, if any.

    Args:
        number: number in the paper.
        decimals: number of decimals of both; by default the larger of the two.
    """
    values = (number.value, *(() if number.pm is None else (number.pm,)))
    if decimals is None:
        decimals = decimals_of(values)
    shown = " ± ".join(f"{value:.{decimals}f}" for value in values)
    return shown + (MARKS[number.pm_kind] if number.pm is not None else "")


def decimals_of(values: Iterable[float]) -> int:
    """Return the largest number of decimals among some values."""
    return max(len(f"{value:g}".partition(".")[2]) for value in values)


def written(value: float, metric: str) -> str:
    """Write one of our values in the published unit."""
    return decimal(value, published_metric(metric).decimals)


def spread(value: float, beside: float | None, metric: str) -> str:
    """Write a half width in the published unit, with as many decimals as ``beside``."""
    decimals = published_metric(metric).decimals
    return beside_of(value, beside) if decimals is None else decimal(value, decimals)
