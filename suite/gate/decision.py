"""The rule of the gate: pure functions from samples and counts to verdicts.

A sample is a pair: the time of the work and the time of its calibration, taken one after the other.
A block holds the samples of one process. Processes differ more than the samples within one process
do, because of memory placement and the clock, so blocks are the units: each block contributes the
ratio of low quantiles of both times. Disturbances only add time, and low quantiles of different
processes differ half as much as medians of their ratios do (benchmarks/README.md). The usual spread
between blocks is estimated from the blocks of both sides, with a prior because they may be few. A
change must exceed the value that this noise exceeds once in ``1 / LEVEL`` cases, it must exceed
`FLOOR`, and a rank test of the samples' ratios must confirm it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from scipy import stats

SpeedVerdict = Literal["faster", "same", "slower", "unknown"]
#: Seconds per call of the work and of its calibration.
Sample = tuple[float, float]
Blocks = Sequence[Sequence[Sample]]

#: One-sided level of both tests, for one case.
LEVEL = 0.001
#: Largest tolerated change of time, as the logarithm of a ratio. Runs of the same code, minutes
#: apart, differ by up to 0.045 even if the processes within each run agree (benchmarks/README.md).
FLOOR = 0.05
#: Largest useful threshold. A larger one would miss the changes that the gate has to find, so the
#: verdict is then unknown.
BLUNT = 0.10
#: Quantile of the times in a block that represents the block.
QUANTILE = 0.15
#: Prior spread of the blocks' ratios, and the number of blocks that this prior counts as.
PRIOR, PRIOR_BLOCKS = 0.02, 4
#: Largest tolerated growth of exact counts, as a ratio and as an absolute number.
TOLERATED = {
    "operators": (0.01, 0),
    "synchronisations": (0.0, 0),
    "allocated": (0.05, 2**11),
    "instructions": (0.02, 0),
}


class Time(NamedTuple):
    """Comparison of a case's times."""

    verdict: SpeedVerdict
    change: float
    """Change of the ratio to the calibration; 0.1 is 10 % slower."""
    threshold: float
    """Largest change that still counts as the same, in the same unit."""
    p: float
    """p value of the one-sided rank test in the direction of the change."""


class Count(NamedTuple):
    """Comparison of an exact count."""

    verdict: SpeedVerdict
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


def judge_time(before: Blocks, now: Blocks) -> Time:
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
    """Return whether the second look's blocks by themselves are slower by more than `FLOOR`."""
    return bool(ratios(later).mean() - ratios(before).mean() > FLOOR)


def _verdict(change: float, threshold: float, p: float) -> SpeedVerdict:
    if abs(change) > threshold:
        # If the samples are too few for the rank test to be sure, no change is claimed.
        sure = p < LEVEL
        return ("slower" if change > 0 else "faster") if sure else "unknown"
    return "same" if threshold <= BLUNT else "unknown"


def _rank(before: Blocks, now: Blocks, change: float) -> float:
    old, new = (
        np.array([work / calibration for block in side for work, calibration in block])
        for side in (before, now)
    )
    alternative: Literal["greater", "less"] = "greater" if change > 0 else "less"
    return float(stats.mannwhitneyu(new, old, alternative=alternative).pvalue)


def compare_count(name: str, before: int, now: int) -> Count:
    """Compare a count; ``name`` is one of `TOLERATED`."""
    share, absolute = TOLERATED[name]
    room = max(share * before, absolute)
    if now > before + room:
        return Count("slower", before, now)
    return Count("faster" if now < before - room else "same", before, now)


def overall(verdicts: Sequence[SpeedVerdict]) -> SpeedVerdict:
    """Return the verdict on a case: the worst of the verdicts on its time and counts."""
    for verdict in ("slower", "unknown", "faster"):
        if verdict in verdicts:
            return verdict
    return "same" if verdicts else "unknown"
