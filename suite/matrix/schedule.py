"""Assignment of cells to the lanes of an executor or the shards of a matrix: the longest first.

On equal lanes, this order ends at most a third later than the best order would (Graham 1969,
Bounds on multiprocessing timing anomalies).
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Sequence

from suite.config.cell import Cell
from suite.matrix.cost import cost


def makespan(cells: Sequence[tuple[str, float]], lanes: Sequence[Collection[str]]) -> float:
    """Return when the last cell ends if each begins on the lane that is free first.

    Args:
        cells: pairs (kind of device, seconds), in the order in which the cells begin.
        lanes: kinds of device that each lane takes; every kind in ``cells`` must have a lane.
    """
    free = [0.0] * len(lanes)
    takes = {kind: [i for i, kinds in enumerate(lanes) if kind in kinds] for kind, _ in cells}
    for kind, seconds in cells:
        free[min(takes[kind], key=free.__getitem__)] += seconds
    return max(free, default=0.0)


def shard(cells: Sequence[Cell], number: int, count: int) -> list[Cell]:
    """Return one of ``count`` shards of a matrix, each about as costly as the others.

    Every cell is in exactly one shard, the same one on every machine: cells are distributed by the
    costs of their descriptions. Each kind of device is distributed separately, because not every
    machine has all kinds.

    Args:
        cells: cells of the whole matrix, in any order.
        number: number of the shard, from 1 to ``count``.
        count: number of shards.
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
