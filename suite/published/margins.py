"""Margins: the largest difference from a published number that a reader may neglect.

The rule looks at published values only, never at ours. For a value near its ceiling, readers
compare the errors that are left, and a quarter of the error is negligible; away from it they
compare points. Hence the margin is a quarter of the error that is left, between a floor and a cap.
It is never wider than the gap to another row of the same column that the published ± tell apart.
Squared errors are compared by their ratio, whose limit 1.25 is that of bioequivalence.

The rule has a version. Verdicts on settings whose scores were known when the rule was chosen are
marked.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from fnmatch import fnmatchcase

from suite.core.metrics import Metric, Ratio, Share, ShareOfGain, published_metric
from suite.core.statistics import NORMAL_95
from suite.published.numbers import Number, load

#: Version of the rule. Version 1 had one width for every number of a metric: 1 point of accuracy,
#: 0.1 of squared error.
RULE = 2
#: Presets of which scores were known when the rule was chosen, as shell patterns.
KNOWN = ("sinusoid/*", "omniglot-5w1s/maml", "omniglot-5w1s/maml-no-conv")
#: Negligible share of the error that is left.
QUARTER = 0.25


def margin(number: Number) -> float | None:
    """Return the margin of a published number; None if its metric or setting has none.

    It is in the published unit, or, if the metric is compared by its ratio, the logarithm of the
    largest negligible ratio.
    """
    kind = published_metric(number.metric)
    match kind.margin:
        case Ratio(limit):
            return math.log(limit)
        case Share(ceiling, floor, cap):
            cap = min([cap, *_gaps(number)])
            width = QUARTER * abs(ceiling - number.value)
        case ShareOfGain(lowest, highest):
            oracle, start = _oracle(number), _start(number)
            if oracle is None or start is None:
                return None
            gain = abs(oracle - start)
            width, floor, cap = QUARTER * abs(oracle - number.value), lowest * gain, highest * gain
        case _:
            return None
    return min(max(width, floor), cap)


def known_before(preset: str) -> bool:
    """Return whether scores of a preset were known when the rule was chosen."""
    return any(fnmatchcase(preset, pattern) for pattern in KNOWN)


def _gaps(number: Number) -> Iterable[float]:
    """Yield the gaps to the other rows of a column that the ± of both tell apart."""
    for other in load().numbers:
        if other.id == number.id or _column(other) != _column(number):
            continue
        widths = _width(other), _width(number)
        gap = abs(other.value - number.value)
        if None not in widths and gap > math.hypot(*filter(None, widths)):
            yield gap


def _width(number: Number) -> float | None:
    """Return the half width of a number's 95 % interval; a ± of unknown meaning is taken as it."""
    if number.pm is None or number.pm_kind in ("tasks", "unstated"):
        return number.pm
    assert number.pm_n is not None
    return NORMAL_95 * number.pm / math.sqrt(number.pm_n)


def _column(number: Number) -> tuple[object, ...]:
    """Return what the rows of one column of a table have in common."""
    return (
        *(number.paper, number.table, number.dataset, number.metric),
        *(number.ways, number.shots, number.grad_steps),
    )


def _oracle(number: Number) -> float | None:
    """Return the published result of the oracle of a setting."""
    return _first(number, "Oracle")


def _start(number: Number) -> float | None:
    """Return the published result of MAML before adaptation in a setting."""
    return _first(number, "MAML", 0)


def _first(number: Number, algorithm: str, steps: int | None = None) -> float | None:
    for other in load().numbers:
        same = (other.dataset, other.metric) == (number.dataset, number.metric)
        if same and other.algorithm == algorithm and steps in (None, other.grad_steps):
            return other.value
    return None


def limits(kind: Metric) -> str:
    """Say a metric's rule in a few words; '' if it has none."""
    match kind.margin:
        case Ratio(limit):
            return f"a ratio between {1 / limit:g} and {limit:g}"
        case Share(ceiling, floor, cap):
            return (
                f"a quarter of what is missing to {ceiling:g}, from {floor:g} to {cap:g}, and no "
                "wider than a gap to another row of the column that the published ± resolve"
            )
        case ShareOfGain(floor, cap):
            return (
                "a quarter of what is missing to the published oracle, from "
                f"{100 * floor:g} % to {100 * cap:g} % of what the oracle gains"
            )
    return ""
