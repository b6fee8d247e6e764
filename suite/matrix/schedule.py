"""Which lane of an executor, or which share of a split matrix, takes a cell: the longest first.

Longest first ends at most a third later than the best order would, on lanes that are alike
(Graham 1969, Bounds on multiprocessing timing anomalies).
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Sequence

from suite.config.cell import Cell
from suite.matrix.cost import cost


def makespan(cells: Sequence[tuple[str, float]], lanes: Sequence[Collection[str]]) -> float:
    """Return when the last cell ends if each begins on the lane that is free first.

    Args:
        cells: (kind of device, seconds) of each, in the order in which they begin.
        lanes: the kinds of device that each lane takes; no kind of ``cells`` is without one.
    """
    free = [0.0] * len(lanes)
    takes = {kind: [i for i, kinds in enumerate(lanes) if kind in kinds] for kind, _ in cells}
    for kind, seconds in cells:
        free[min(takes[kind], key=free.__getitem__)] += seconds
    return max(free, default=0.0)


def shard(cells: Sequence[Cell], number: int, count: int) -> list[Cell]:
    """Return one of ``count`` shares of a matrix, each about as costly as the others.

    Every cell is in one share, and in the same one on every machine: cells are dealt by what their
    descriptions cost, each kind of device apart, since not every machine has all of them.

    Args:
        cells: of the whole matrix, in any order.
        number: which share, from 1 to ``count``.
        count: how many shares there are.
    """
    mine = set()
    for device in {cell.numerics.device for cell in cells}:
        costs = {cell.label: cost(cell) for cell in cells if cell.numerics.device == device}
        loads = [(0, share) for share in range(1, count + 1)]  # a heap
        for label in sorted(costs, key=lambda label: (-costs[label], label)):
            load, share = loads[0]
            heapq.heapreplace(loads, (load + costs[label], share))
            if share == number:
                mine.add(label)
    return [cell for cell in cells if cell.label in mine]
