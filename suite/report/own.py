"""Own results that stand beside a published number: what paper tables, forest and citation read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from suite.protocols import Result
from suite.published.compare import Row, Tested
from suite.published.counterpart import BUDGET
from suite.published.numbers import Metric, Number
from suite.published.verdicts import Verdict
from suite.report.format import significant
from suite.statistics import Summary, summarise

#: Verdicts on unlike protocols or budgets.
UNLIKE = ("not comparable", "shortened")


@dataclass(frozen=True)
class Own:
    """One result of ours and the published number that it stands beside."""

    row: Row
    number: Number
    result: Result
    tested: Tested
    device: str = ""
    """Kind of device; '' where all results are of one."""

    @property
    def verdict(self) -> Verdict:
        """What ours says about the number."""
        return self.row.verdict

    @cached_property
    def summary(self) -> Summary:
        """Our scores after the paper's inner step, in the published unit."""
        better = self.number.metric == "accuracy_pct"
        return summarise(self.row.scores, higher_is_better=better)

    @property
    def diverged(self) -> bool:
        """Whether a training or a test episode diverged."""
        return bool(self.summary.diverged or self.tested.diverged_seeds)

    @property
    def budget(self) -> tuple[int, int] | None:
        """Outer steps, ours and the paper's, where ours are fewer."""
        pair = self.row.counterpart.differing.get(BUDGET) if self.row.counterpart else None
        return pair if pair is not None and pair[0] < pair[1] else None

    @property
    def name(self) -> str:
        """Experiment and variant, with evaluation and device where they say something."""
        cell, test = self.tested.cell, self.tested.evaluation.name
        named = [f"{cell.experiment}/{cell.variant}", "" if test == "test" else test, self.device]
        return " ".join(filter(None, named))


def own_results(rows: Sequence[Row]) -> list[Own]:
    """Return the rows that have both a published number and a result of ours, in order."""
    devices = {_device(row.tested) for row in rows if row.tested is not None}
    return [
        Own(row, row.number, row.result, row.tested, _device(row.tested) * (len(devices) > 1))
        for row in rows
        if row.number is not None and row.result is not None and row.tested is not None
    ]


def _device(tested: Tested) -> str:
    return tested.cell.numerics.device


def written(value: float, metric: Metric) -> str:
    """Write a value of ours in the published unit."""
    return f"{value:.2f}" if metric == "accuracy_pct" else significant(value)


def signed(value: float, metric: Metric) -> str:
    """Write a difference with its sign."""
    return f"{'−' if value < 0 else '+'}{written(abs(value), metric)}"
