"""Alternating times of a case and of its calibration in one process."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from suite.cell.timing import synchronise
from suite.gate.calibration import TimedWork
from suite.gate.cases import Case

#: Minimum seconds of one sample; shorter work is repeated.
SAMPLE = 0.01


class TimeSampler:
    """Measures pairs of times of a case: seconds of its work and of its calibration."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._works = (case.work, case.plain)
        self._repeats = [1 if case.long else self._repetitions(work) for work in self._works]
        self._turn = False

    def _repetitions(self, work: TimedWork) -> int:
        work()  # the first call may compile or fill caches
        seconds = min(_seconds(work, 1, self._case.device) for _ in range(2))
        return max(1, math.ceil(SAMPLE / max(seconds, 1e-7)))

    def pairs(self, seconds: float, least: int = 2) -> list[tuple[float, float]]:
        """Return pairs (work, calibration) in seconds per call, taken for ``seconds``.

        The order within a pair changes with every pair, so that a drift of the clock cancels. A
        case whose samples take seconds has one pair.
        """
        pairs: list[tuple[float, float]] = []
        if self._case.long:
            least, seconds = 1, 0.0
        began = time.perf_counter()
        with _without_collector():
            while len(pairs) < least or time.perf_counter() - began < seconds:
                pair = [0.0, 0.0]
                for which in (1, 0) if self._turn else (0, 1):
                    pair[which] = _seconds(
                        self._works[which], self._repeats[which], self._case.device
                    )
                self._turn = not self._turn
                pairs.append((pair[0], pair[1]))
        return pairs


def _seconds(work: TimedWork, repetitions: int, device: torch.device) -> float:
    synchronise(device)
    began = time.perf_counter()
    for _ in range(repetitions):
        work()
    synchronise(device)
    return (time.perf_counter() - began) / repetitions


@contextmanager
def _without_collector() -> Iterator[None]:
    """Keep the garbage collector out of samples."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
