"""Formats of numbers in the tables that people read; CSV files have more digits."""

from __future__ import annotations

import math
from collections.abc import Iterable

from suite.core.metrics import metric_of

#: Sign for a missing number.
NONE = "–"


def significant(value: float, digits: int = 3) -> str:
    """Write ``value`` with ``digits`` significant digits, without an exponent if it is readable."""
    if value == 0:
        return "0"
    scientific = f"{value:.{digits - 1}e}"
    exponent = int(scientific.split("e")[1])
    if not -5 <= exponent < 6:
        return scientific
    return f"{float(scientific):.{max(0, digits - 1 - exponent)}f}"


def decimal(value: float, decimals: int | None) -> str:
    """Write ``value`` with so many decimals; None writes 3 significant digits."""
    return significant(value) if decimals is None else f"{value:.{decimals}f}"


def score(value: float | None, metric: str) -> str:
    """Write a score in the published unit of its metric."""
    if value is None:
        return NONE
    kind = metric_of(metric)
    return decimal(kind.scale * value, kind.decimals)


def half_width(width: float | None, beside: float | None, metric: str) -> str:
    """Write a half width with as many decimals as the number ``beside``."""
    if width is None:
        return NONE
    kind = metric_of(metric)
    if kind.decimals is not None:
        return decimal(kind.scale * width, kind.decimals)
    return beside_of(kind.scale * width, None if beside is None else kind.scale * beside)


def beside_of(width: float, beside: float | None) -> str:
    """Write a half width with as many decimals as ``beside`` has; both are in the same unit."""
    shown = NONE if beside is None else significant(beside)
    if beside is None or "e" in shown:
        return significant(width, 2)
    decimals = len(shown.partition(".")[2])
    # A width that is smaller than the last decimal must not be written as zero.
    return significant(width, 1) if 0 < width < 0.5 * 10**-decimals else f"{width:.{decimals}f}"


def column(metric: str) -> str:
    """Return the name and unit of a metric in a table; '–' without results."""
    return metric_of(metric).column if metric else NONE


def signed(value: float | None, metric: str) -> str:
    """Write a difference of scores with its sign."""
    if value is None:
        return NONE
    text = score(value, metric)
    return text.replace("-", "−", 1) if text.startswith("-") else f"+{text}"


def p_value(p: float | None) -> str:
    """Write a p value."""
    if p is None:
        return NONE
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def number(value: float | None, digits: int = 3) -> str:
    """Write a number, or the sign for a missing number."""
    return NONE if value is None else significant(value, digits)


def quartiles(middle: float | None, low: float | None, high: float | None) -> str:
    """Write a median and, in parentheses, its quartiles."""
    if middle is None or low is None or high is None:
        return NONE
    return f"{significant(middle)} ({significant(low)}–{significant(high)})"


def listed(values: Iterable[str | int]) -> str:
    """Write distinct values in order, and consecutive integers as a range."""
    found = sorted(set(values), key=lambda value: (isinstance(value, str), value))
    whole = [value for value in found if isinstance(value, int)]
    if len(found) > 2 and found == list(range(min(whole, default=0), max(whole, default=0) + 1)):
        return f"{found[0]} to {found[-1]}"
    return ", ".join(str(value) for value in found)


def exact(value: object) -> str:
    """Write a value for a CSV file: 10 significant digits, '' for None.

    The scores are float32, with 7 digits. With more than 10 digits, the last bits of two machines
    might differ, and a table that is made again would not be the same file.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.10g}" if math.isfinite(value) else ""
    return str(value)
