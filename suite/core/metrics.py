"""Metrics: how scores are named, written, drawn and judged.

Another metric is one more object: ``add(Metric(...))`` in a file of its own or of a plug-in, and a
task whose `Task.metric` is its name and whose `Task.score` returns it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from suite.core.errors import UserError, unknown


class Share(NamedTuple):
    """Negligible is a quarter of the error that is left to the ceiling, within limits."""

    ceiling: float
    floor: float
    """Smallest margin, in the published unit."""
    cap: float
    """Largest margin, in the published unit."""


class Ratio(NamedTuple):
    """Negligible is a ratio of two errors between 1 / ``limit`` and ``limit``."""

    limit: float


class ShareOfGain(NamedTuple):
    """`Share` whose ceiling is the oracle of the setting, and whose limits are shares of its gain.

    The gain is the oracle's result less the published method's before adaptation.
    """

    floor: float
    cap: float


@dataclass(frozen=True)
class Metric:
    """A kind of score."""

    name: str
    """Name in records, such as ``accuracy``."""
    published: str
    """Name in the published numbers, in their unit, such as ``accuracy_pct``."""
    heading: str
    """Name at the head of a panel."""
    label: str
    """Name and unit on an axis."""
    column: str
    """Name and unit in a table."""
    difference: str
    """Unit of a difference in a table."""
    unit: str
    """Unit of a margin, in words, singular."""
    units: str
    """Unit of a margin, in words, plural."""
    difference_label: str
    """Unit of a difference on an axis."""
    higher_is_better: bool
    scale: float = 1.0
    """Number of published units in 1 unit of the scores in records."""
    decimals: int | None = None
    """Number of decimals in tables; None writes 3 significant digits."""
    is_proportion: bool = False
    """Whether scores are in [0, 1] and chance is 1 / ways."""
    margin: Share | Ratio | ShareOfGain | None = None
    """Rule of the largest negligible difference (`suite.published.margins`)."""

    @property
    def by_ratio(self) -> bool:
        """Whether results are compared by their ratio, not by their difference."""
        return isinstance(self.margin, Ratio)


_metrics: dict[str, Metric] = {}


def add(metric: Metric) -> Metric:
    """Register a metric under its name; it replaces one of that name."""
    _metrics[metric.name] = metric
    return metric


def metric_of(name: str) -> Metric:
    """Return the metric of this name; raise `UserError` with the nearest name if there is none."""
    if name not in _metrics:
        raise unknown("metric", name, _metrics)
    return _metrics[name]


def published_metric(name: str) -> Metric:
    """Return the metric with this name in published numbers; raise `UserError` if there is none."""
    found = {metric.published: metric for metric in _metrics.values()}
    if name not in found:
        raise UserError(f"no metric of the suite is {name!r} in published numbers.")
    return found[name]


ACCURACY = add(
    Metric(
        name="accuracy",
        published="accuracy_pct",
        heading="Accuracy",
        label="accuracy (%)",
        column="accuracy, %",
        difference="points",
        unit="point of accuracy",
        units="points of accuracy",
        difference_label="points of accuracy",
        higher_is_better=True,
        scale=100.0,
        decimals=2,
        is_proportion=True,
        # Runs of one official code differ by a point on mini-ImageNet. Values are printed with one
        # decimal, so less than 0.2 points cannot be told.
        margin=Share(ceiling=100.0, floor=0.2, cap=1.0),
    )
)
SQUARED_ERROR = add(
    Metric(
        name="mse",
        published="mse",
        heading="Mean squared error",
        label="mean squared error",
        column="MSE",
        difference="MSE",
        unit="squared error",
        units="squared error",
        difference_label="mean squared error",
        higher_is_better=False,
        # The limit of bioequivalence, and a quarter of the error as for accuracy.
        margin=Ratio(1.25),
    )
)
RETURN = add(
    Metric(
        name="return",
        published="average_return",
        heading="Return",
        label="undiscounted return",
        column="return",
        difference="return",
        unit="return",
        units="return",
        difference_label="undiscounted return",
        higher_is_better=True,
        margin=ShareOfGain(floor=0.02, cap=0.1),
    )
)
