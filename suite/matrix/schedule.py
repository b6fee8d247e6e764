"""Which lane of an executor computes which cell, and when all are done: the longest first.

Longest first ends at most a third later than the best order would, on lanes that are alike
(Graham 1969, Bounds on multiprocessing timing anomalies).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence


def makespan(cells: Sequence[tuple[str, float]], lanes: Sequence[Collection[str]]) -> float:
    """Return when the last cell ends if each begins, longest first, on the lane that is free first.

    Args:
        cells: (kind of device, seconds) of each.
        lanes: the kinds of device that each lane takes; none kind of ``cells`` is without one.
    """
    free = [0.0] * len(lanes)
    takes = {kind: [i for i, kinds in enumerate(lanes) if kind in kinds] for kind, _ in cells}
    for kind, seconds in sorted(cells, key=lambda cell: -cell[1]):
        free[min(takes[kind], key=free.__getitem__)] += seconds
    return max(free, default=0.0)
