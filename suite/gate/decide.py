"""The rule of the gate: pure functions from samples and counts to verdicts.

A sample is a pair, time of the work and time of its calibration beside it; a block holds the
samples of one process. Processes differ by more than the samples within one do (where memory lies,
what the clock does), so blocks are the units: each counts with the ratio of low quantiles of
both times. What disturbs a process only adds time: low quantiles of different processes differ half
as much as medians of their ratios do (benchmarks/README.md). What differences between blocks are
usual is learned from the blocks of both sides, with a prior for when they are few; a change must be
beyond what that noise does once in ``1 / LEVEL`` cases, beyond `FLOOR`, and seen by a rank test of
the samples' ratios.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from scipy import stats

Verdict = Literal["faster", "same", "slower", "unknown"]
#: Seconds a call of the work, and of its calibration.
Sample = tuple[float, float]
Blocks = Sequence[Sequence[Sample]]

#: One-sided level of both tests, for one case.
LEVEL = 0.001
#: Changes of time that are let pass: logarithm of a ratio. Runs of the same code, minutes apart,
#: differ by up to 0.045 however alike the processes of each are (benchmarks/README.md).
FLOOR = 0.05
#: A threshold beyond this would miss what the gate is for: the verdict is then unknown.
BLUNT = 0.10
#: Of the times in a block, which stands for them.
QUANTILE = 0.15
#: Spread of blocks' ratios that is expected before any is seen, and how many blocks it is worth.
PRIOR, PRIOR_BLOCKS = 0.02, 4
#: Growth of exact counts that is let pass, as a ratio, and absolutely.
TOLERATED = {
    "operators": (0.01, 0),
    "synchronisations": (0.0, 0),
    "allocated": (0.05, 2**11),
    "instructions": (0.02, 0),
}


class Time(NamedTuple):
    """What became of a case's time."""

    verdict: Verdict
    change: float
    """Of the ratio to the calibration: 0.1 is 10 % slower."""
    threshold: float
    """Change beyond which it is no longer the same, in the same unit."""
    p: float
    """Of the rank test, in the direction of the change."""


class Count(NamedTuple):
    """What became of something exact."""

    verdict: Verdict
    before: int
    now: int


def ratios(blocks: Blocks) -> np.ndarray:
    """Return the logarithm of the ratio of each block that has samples, (blocks,)."""
    low = [np.quantile(block, QUANTILE, axis=0) for block in blocks if len(block)]
    return np.array([math.log(work / calibration) for work, calibration in low])


def noise(*sides: np.ndarray) -> tuple[float, int]:
    """Return the spread of blocks' ratios about their side's mean, and its degrees of freedom."""
    squares, degrees = PRIOR_BLOCKS * PRIOR**2, PRIOR_BLOCKS
    for side in sides:
        if len(side):
            squares += float(((side - side.mean()) ** 2).sum())
            degrees += len(side) - 1
    return math.sqrt(squares / degrees), degrees


def judge(before: Blocks, now: Blocks) -> Time:
    """Compare the times of a case before and now.

    Args:
        before, now: blocks of samples; at least one sample on each side.
    """
    old, new = ratios(before), ratios(now)
    spread, degrees = noise(old, new)
    error = spread * math.sqrt(1 / len(old) + 1 / len(new))
    threshold = max(FLOOR, float(stats.t.ppf(1 - LEVEL, degrees)) * error)
    change = float(new.mean() - old.mean())
    p = _rank(before, now, change)
    return Time(_verdict(change, threshold, p), math.expm1(change), math.expm1(threshold), p)


def confirmed(before: Blocks, later: Blocks) -> bool:
    """Return whether blocks from a second look, for themselves, are slower beyond the floor."""
    return bool(ratios(later).mean() - ratios(before).mean() > FLOOR)


def _verdict(change: float, threshold: float, p: float) -> Verdict:
    if abs(change) > threshold:
        # Too few samples for a rank test to be sure of anything are too few to accuse.
        sure = p < LEVEL
        return ("slower" if change > 0 else "faster") if sure else "unknown"
    return "same" if threshold <= BLUNT else "unknown"


def _rank(before: Blocks, now: Blocks, change: float) -> float:
    old, new = (
        np.array([work / calibration for block in side for work, calibration in block])
        for side in (before, now)
    )
    way: Literal["greater", "less"] = "greater" if change > 0 else "less"
    return float(stats.mannwhitneyu(new, old, alternative=way).pvalue)


def compare(name: str, before: int, now: int) -> Count:
    """Compare a count; ``name`` is one of `TOLERATED`."""
    share, absolute = TOLERATED[name]
    room = max(share * before, absolute)
    if now > before + room:
        return Count("slower", before, now)
    return Count("faster" if now < before - room else "same", before, now)


def overall(verdicts: Sequence[Verdict]) -> Verdict:
    """Return the verdict on a case from those on its time and counts: the worst that is sure."""
    for verdict in ("slower", "unknown", "faster"):
        if verdict in verdicts:
            return verdict
    return "same" if verdicts else "unknown"
