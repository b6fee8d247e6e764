"""Cells that are trained side by side have the bits that they have alone."""

from __future__ import annotations

import os
import signal

import pytest
import torch
from rich.console import Console

from suite.cell import training
from suite.core import signals
from suite.core.errors import UserError
from suite.executors.factory import ExecutorOptions, make_executor
from suite.executors.interleaved import Interleaved
from suite.executors.serial import Serial
from suite.matrix.progress import Progress
from suite.matrix.run import run_matrix
from suite.records.store import Store
from tests.cells import make

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def cells(device="cpu", algorithms=("maml", "fomaml", "reptile"), **settings):
    made = [
        make(name, images=images, **settings) for name in algorithms for images in (False, True)
    ]
    return [
        cell.model_copy(
            update={
                "numerics": cell.numerics.model_copy(update={"device": device}),
                "variant": f"{cell.variant}-{number}",
            }
        )
        for number, cell in enumerate(made)
    ]


def ran(folder, todo, executor):
    store = Store(folder, "test")
    summary = run_matrix(todo, store, None, Progress(Console(quiet=True)), executor)
    return summary, {r.cell.label: r for r in store.records()}


def hashes(records):
    return {label: record.result_sha256 for label, record in records.items()}


def interrupted(monkeypatch, at, then):
    """Call ``then`` before the outer step with this number of all lanes' steps."""
    order, step = [], training.OuterLoop.step

    def counted(loop, number):
        order.append((loop, number))
        if len(order) == at:
            then()
        return step(loop, number)

    monkeypatch.setattr(training.OuterLoop, "step", counted)
    return order


@pytest.mark.parametrize("device", DEVICES)
def test_they_take_turns_and_no_bit_changes(device, tmp_path, monkeypatch):
    todo = cells(device)
    _, alone = ran(tmp_path / "alone", todo, Serial())
    order = interrupted(monkeypatch, 0, None)
    summary, together = ran(tmp_path / "together", todo, Interleaved(3))
    assert summary.done == len(todo)
    assert hashes(together) == hashes(alone)
    first = [loop for loop, _ in order[:3]]
    assert len(set(map(id, first))) == 3
    assert [loop for loop, _ in order[:9]] == first * 3
    assert {number for _, number in order[6:9]} == {2}
    for record in together.values():
        assert not record.timing.alone
        assert record.memory.peak_bytes is None


def test_a_signal_stops_all_of_them_with_checkpoints(tmp_path, monkeypatch):
    todo = cells()
    _, alone = ran(tmp_path / "alone", todo, Serial())
    with monkeypatch.context() as patch:
        interrupted(patch, 8, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(signals.Stopped), signals.listening():
            ran(tmp_path / "together", todo, Interleaved(3))
    assert len(list((tmp_path / "together" / "checkpoints").rglob("*.npz"))) == 3
    with signals.listening():
        _, together = ran(tmp_path / "together", todo, Interleaved(3))
    assert hashes(together) == hashes(alone)
    assert sorted(r.provenance.resumed for r in together.values()) == [0, 0, 0, 1, 1, 1]


def test_one_that_fails_stops_no_other(tmp_path, monkeypatch):
    def fails():
        raise RuntimeError("broken")

    interrupted(monkeypatch, 5, fails)
    summary, together = ran(tmp_path, cells(), Interleaved(3))
    assert len(summary.failed) == 1
    assert len(together) == 5


def test_invalid_input_ends_the_run(tmp_path, monkeypatch):
    def refuses():
        raise UserError("no such thing")

    interrupted(monkeypatch, 5, refuses)
    with pytest.raises(UserError, match="no such thing"):
        ran(tmp_path, cells(), Interleaved(3))


def test_they_are_for_cuda_alone():
    three = ExecutorOptions(["cuda"], lanes=3)
    assert isinstance(make_executor(None, three), Interleaved)
    assert make_executor("interleaved", three._replace(lanes=None)).lanes == [("cpu", "cuda")] * 4
    with pytest.raises(UserError, match="leave out --executor local"):
        make_executor("local", three)
    with pytest.raises(UserError, match="--workers works only with the executor local"):
        make_executor(None, three._replace(workers=2))
    for kinds in (["cpu"], ["cpu", "cuda"]):
        with pytest.raises(UserError, match="only for cells on CUDA"):
            make_executor(None, three._replace(kinds=kinds))
