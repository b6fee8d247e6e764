"""The queue of a run: longest first, held against other runs, learning as it goes."""

from __future__ import annotations

import pytest
from rich.console import Console

from suite.matrix import queue as module
from suite.matrix.estimates import Estimates
from suite.matrix.progress import Progress
from suite.matrix.queue import CellQueue
from suite.records.store import Store
from tests.cells import make, told

CPU = ("cpu",)


@pytest.fixture
def make_queue(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "POLL", 0.0)

    def of(cells, records=()):
        progress = Progress(Console(quiet=True))
        return CellQueue(cells, Store(tmp_path, "p"), progress, Estimates(records))

    return of


CELLS = [make("sgd"), make("maml", steps=500), make("fomaml", steps=20)]


def test_the_longest_is_taken_first_as_far_as_records_tell(make_queue):
    with make_queue(CELLS) as queue:
        assert [queue.take(CPU).variant for _ in CELLS] == ["maml", "fomaml", "sgd"]
        assert queue.take(CPU) is None
        assert not queue.left()
    records = [told(make("sgd", seed=1), 50.0), told(make("fomaml", steps=20, seed=1), 5.0)]
    with make_queue(CELLS[::2], records) as queue:
        assert [queue.take(CPU).variant for _ in range(2)] == ["sgd", "fomaml"]


def test_cells_for_another_device_are_left(make_queue):
    numerics = CELLS[1].numerics.model_copy(update={"device": "cuda"})
    with make_queue([CELLS[0], CELLS[1].model_copy(update={"numerics": numerics})]) as queue:
        assert queue.take(CPU).variant == "sgd"
        assert queue.take(CPU) is None
        assert queue.left()
        assert queue.take(("cuda",)).variant == "maml"


def test_what_is_taken_is_held_until_it_is_released(make_queue, tmp_path):
    store = Store(tmp_path, "p")
    with make_queue(CELLS[:2]) as queue, make_queue(CELLS[:2]) as others:
        maml, sgd = queue.take(CPU), others.take(CPU)
        assert (maml.variant, sgd.variant) == ("maml", "sgd")
        assert others.take(CPU) is None
        assert others.met_others
        assert others.left()
        store.write(told(maml, 9.0), {})
        queue.release(maml, None)
        assert others.take(CPU) is None
        assert [record.cell for record in others.done_by_others] == [maml]
        assert not others.left()


def test_the_time_left_improves_as_cells_finish(make_queue):
    cells = [make("maml", steps=500, seed=seed) for seed in range(4)]
    with make_queue(cells) as queue:
        assert queue.seconds_left([CPU]) is None
        queue.release(queue.take(CPU), told(cells[0], 99.0))
        assert queue.seconds_left([CPU]) == pytest.approx(300.0)
        assert queue.seconds_left([CPU] * 2) == pytest.approx(200.0)
        queue.take(CPU)  # one that runs counts as what is left of it
        assert queue.seconds_left([CPU]) == pytest.approx(300.0, abs=1)
        queue.release(cells[1], told(cells[1], 49.0))
        assert queue.seconds_left([CPU]) == pytest.approx(150.0, abs=1)
