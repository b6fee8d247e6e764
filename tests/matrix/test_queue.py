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
def queue(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "POLL", 0.0)

    def of(cells, records=()):
        progress = Progress(Console(quiet=True))
        return CellQueue(cells, Store(tmp_path, "p"), progress, Estimates(records))

    return of


CELLS = [make("sgd"), make("maml", steps=500), make("fomaml", steps=20)]


def test_the_longest_is_taken_first_as_far_as_records_tell(queue):
    with queue(CELLS) as claims:
        assert [claims.take(CPU).variant for _ in CELLS] == ["maml", "fomaml", "sgd"]
        assert claims.take(CPU) is None
        assert not claims.left()
    records = [told(make("sgd", seed=1), 50.0), told(make("fomaml", steps=20, seed=1), 5.0)]
    with queue(CELLS[::2], records) as claims:
        assert [claims.take(CPU).variant for _ in range(2)] == ["sgd", "fomaml"]


def test_cells_for_another_device_are_left(queue):
    numerics = CELLS[1].numerics.model_copy(update={"device": "cuda"})
    with queue([CELLS[0], CELLS[1].model_copy(update={"numerics": numerics})]) as claims:
        assert claims.take(CPU).variant == "sgd"
        assert claims.take(CPU) is None
        assert claims.left()
        assert claims.take(("cuda",)).variant == "maml"


def test_what_is_taken_is_held_until_it_is_released(queue, tmp_path):
    store = Store(tmp_path, "p")
    with queue(CELLS[:2]) as claims, queue(CELLS[:2]) as others:
        maml, sgd = claims.take(CPU), others.take(CPU)
        assert (maml.variant, sgd.variant) == ("maml", "sgd")
        assert others.take(CPU) is None
        assert others.met_others
        assert others.left()
        store.write(told(maml, 9.0), {})
        claims.release(maml, None)
        assert others.take(CPU) is None
        assert [record.cell for record in others.found] == [maml]
        assert not others.left()


def test_the_time_left_improves_as_cells_finish(queue):
    cells = [make("maml", steps=500, seed=seed) for seed in range(4)]
    with queue(cells) as claims:
        assert claims.seconds_left([CPU]) is None
        claims.release(claims.take(CPU), told(cells[0], 99.0))
        assert claims.seconds_left([CPU]) == pytest.approx(300.0)
        assert claims.seconds_left([CPU] * 2) == pytest.approx(200.0)
        claims.take(CPU)  # one that runs counts as what is left of it
        assert claims.seconds_left([CPU]) == pytest.approx(300.0, abs=1)
        claims.release(cells[1], told(cells[1], 49.0))
        assert claims.seconds_left([CPU]) == pytest.approx(150.0, abs=1)
