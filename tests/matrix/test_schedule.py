"""Cells on lanes that each take their kinds of device; shares of a matrix."""

from __future__ import annotations

import pytest

from suite.matrix.cost import cost
from suite.matrix.schedule import makespan, shard
from tests.cells import make


def test_each_cell_begins_on_the_lane_that_is_free_first():
    cells = [("cpu", float(seconds)) for seconds in (3, 3, 2, 2, 2)]
    assert makespan(cells, [("cpu",)]) == 12
    assert makespan(cells, [("cpu",)] * 2) == 7  # 3 2 2 | 3 2; the best is 6
    assert makespan(cells[::-1], [("cpu",)] * 2) == 7  # 2 2 3 | 2 3
    assert makespan(cells, [("cpu",)] * 9) == 3
    assert makespan([], [("cpu",)]) == 0


def test_a_lane_takes_its_own_kinds_alone():
    cells = [("cpu", 5.0), ("cuda", 1.0), ("cuda", 2.0)]
    assert makespan(cells, [("cpu",), ("cuda",)]) == 5
    assert makespan(cells, [("cpu", "cuda")]) == 8
    assert makespan(cells, [("cpu",), ("cuda",), ("cuda",)]) == 5


def matrix(*devices):
    """Cells of very unlike cost, as profiles have them."""
    kinds = [("sgd", 12), ("maml", 12), ("maml", 300), ("fomaml", 300), ("reptile", 40)]
    cells = []
    for device in devices:
        for number, (algorithm, steps) in enumerate(kinds):
            for seed in range(4):
                cell = make(algorithm, steps=steps, seed=seed)
                numerics = cell.numerics.model_copy(update={"device": device})
                named = {"experiment": f"e{number}", "numerics": numerics}
                cells.append(cell.model_copy(update=named))
    return cells


@pytest.mark.parametrize("count", [1, 2, 3, 8, 25])
def test_shares_hold_every_cell_once(count):
    cells = matrix("cpu")
    shares = [shard(cells, number, count) for number in range(1, count + 1)]
    assert sorted(c.label for share in shares for c in share) == sorted(c.label for c in cells)
    loads = [sum(map(cost, share)) for share in shares]
    assert max(loads) - min(loads) <= max(map(cost, cells))


def test_a_share_is_the_same_on_every_machine():
    cells = matrix("cpu")
    wanted = [cell.label for cell in shard(cells, 2, 3)]
    # Another order, another number of cores, and devices that this machine does not have.
    numerics = [c.numerics.model_copy(update={"shards": 16}) for c in cells]
    other = [c.model_copy(update={"numerics": n}) for c, n in zip(cells, numerics, strict=True)]
    for found in (shard(cells[::-1], 2, 3)[::-1], shard(other, 2, 3)):
        assert [cell.label for cell in found] == wanted
    both = shard([*matrix("cuda"), *cells], 2, 3)
    assert [cell.label for cell in both if cell.numerics.device == "cpu"] == wanted


def test_a_tasks_own_training_is_counted_in_its_steps():
    def of(steps):
        cell = make("multitask")
        algorithm = {**cell.algorithm, "task_steps": steps}
        return cost(cell.model_copy(update={"algorithm": algorithm}))

    assert of(5000) > 100 * of(5)
