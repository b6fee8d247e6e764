"""What records tell of other cells: the same kind, the nearest kind, or nothing."""

from __future__ import annotations

import pytest

from suite.matrix.cost import cost
from suite.matrix.estimates import Estimates
from tests.cells import make, told


def test_seeds_of_one_kind_tell_of_another():
    records = [told(make(seed=seed), seconds) for seed, seconds in ((0, 9.0), (1, 19.0), (2, 10.0))]
    estimates = Estimates(records)
    assert estimates.known(make(seed=7)) == estimates.seconds(make(seed=7)) == 11.0
    assert estimates.known(make("reptile")) is None


def test_records_of_another_processor_tell_nothing():
    assert Estimates([told(make(), 9.0, processor="another")]).seconds(make()) is None


def test_the_kind_that_differs_least_is_scaled_by_cost_and_processes():
    near, far = make(steps=100), make("fomaml", images=True)
    estimates = Estimates([told(far, 999.0), told(near, 99.0)])
    wanted = make(steps=1000)
    guess = 100 * cost(wanted) / cost(near)
    assert 500 < guess < 1000
    assert estimates.seconds(wanted) == pytest.approx(guess)
    two = wanted.numerics.model_copy(update={"shards": 2})
    assert estimates.seconds(wanted.model_copy(update={"numerics": two})) == guess / 2
    cuda = wanted.numerics.model_copy(update={"device": "cuda"})
    assert estimates.seconds(wanted.model_copy(update={"numerics": cuda})) is None
    estimates.learn(told(make(steps=1000, seed=5), 399.0))
    assert estimates.seconds(wanted) == 400.0  # what is known replaces the guess


def test_without_records_the_description_gives_an_order():
    cells = [make("sgd"), make("fomaml"), make("maml"), make("maml", steps=50)]
    cells.append(make("maml", images=True, steps=50))
    assert sorted(cells, key=Estimates([]).order) == cells
    assert Estimates([]).seconds(cells[0]) is None


def test_a_cell_costs_the_same_by_any_number_of_processes_and_seed():
    cell = make()
    numerics = cell.numerics.model_copy(update={"shards": 8, "device": "cuda"})
    other = cell.model_copy(update={"numerics": numerics, "seed": 3})
    assert cost(other) == cost(cell) > 0
