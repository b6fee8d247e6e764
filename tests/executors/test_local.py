"""Workers give the bits of the serial executor, and neither their ends nor ours lose anything."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time

import pytest

from suite.core.errors import UserError
from suite.executors.slots import core_numbers
from suite.records.store import Store
from tests import processes
from tests.executors import workers

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(len(core_numbers()) < 2, reason="two workers want two cores"),
]


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    """The results of the serial executor, a plug-in's algorithm included."""
    folder = tmp_path_factory.mktemp("truth")
    summary, _ = workers.run(workers.cells(folder, extra=True), folder / "out")
    assert summary.done == 10
    return processes.results(folder / "out")


def some(truth, *names):
    return {cell: result for cell, result in truth.items() if cell.split()[0] in names}


def nobody_is_left():
    return multiprocessing.active_children() == []


def test_two_workers_give_the_bits_of_one_process(tmp_path, truth):
    quick = workers.plugin(tmp_path, workers.QUICK)
    cells = workers.cells(tmp_path, extra=True)
    executor = workers.local(quick, tmp_path / "extra.py")
    summary, said = workers.run(cells, tmp_path / "out", executor)
    assert nobody_is_left()
    assert summary.done == 10
    assert "[10/10]" in said
    assert processes.results(tmp_path / "out") == truth
    assert processes.leftovers(tmp_path / "out") == []
    records = Store(tmp_path / "out", "small").records()
    assert not any(record.timing.alone for record in records)  # memory and caches are shared
    assert {record.provenance.cores for record in records} == {len(core_numbers()) // 2}
    summary, _ = workers.run(cells, tmp_path / "out", executor)
    assert summary.skipped == 10


def test_the_cell_of_a_killed_worker_goes_on_from_its_checkpoint(tmp_path, truth):
    mortal = workers.plugin(tmp_path, workers.MORTAL.format(folder=str(tmp_path)))
    cells = [c for c in workers.cells(tmp_path) if c.variant == "maml"]
    summary, said = workers.run(cells, tmp_path / "out", workers.local(mortal), checkpoint_every=0)
    assert summary.done == 2
    assert said.count("its worker died (Killed)") == 1
    assert processes.results(tmp_path / "out") == some(truth, "maml")
    records = Store(tmp_path / "out", "small").records()
    assert sorted(record.provenance.resumed for record in records) == [0, 1]
    assert processes.leftovers(tmp_path / "out") == []


def test_a_cell_that_kills_its_workers_and_one_that_raises_cost_no_other(tmp_path, truth):
    ill = workers.plugin(tmp_path, workers.ILL)
    cells = [c for c in workers.cells(tmp_path) if c.variant in ("maml", "sgd")]
    summary, said = workers.run(cells, tmp_path / "out", workers.local(ill))
    deadly, raising = "small--maml--seed1--cpu", "small--sgd--seed0--cpu"
    assert sorted(summary.failed) == [deadly, raising]
    assert summary.done == 2
    assert said.count(f"{deadly}: its worker died (Segmentation fault)") == 2
    assert f"{deadly}: failed: 3 workers died of it" in said
    assert f"{raising}: failed: RuntimeError: out of luck" in said
    found = processes.results(tmp_path / "out")
    assert found == {cell: truth[cell] for cell in ("maml 0", "sgd 1")}
    logs = {path.name.split("--cpu")[0]: path for path in (tmp_path / "out/logs").rglob("*.log")}
    assert "in run_cell" in logs["small--sgd--seed0"].read_text()
    assert "Segmentation fault" in logs["small--maml--seed1"].read_text()


def test_bad_input_in_a_worker_ends_the_run(tmp_path):
    refusing = workers.plugin(tmp_path, workers.REFUSING)
    with pytest.raises(UserError, match="no such thing"):
        workers.run(workers.cells(tmp_path), tmp_path / "out", workers.local(refusing))
    assert nobody_is_left()


def test_a_plugin_that_a_worker_cannot_load_ends_the_run(tmp_path):
    with pytest.raises(UserError, match=r"gone\.py"):
        workers.run(workers.cells(tmp_path), tmp_path / "out", workers.local(tmp_path / "gone.py"))
    assert nobody_is_left()


class Interrupted:
    """A run with two workers, both in the middle of a training."""

    def __init__(self, folder, seconds, *more):
        self.slow = workers.plugin(folder, workers.SLOW.format(folder=str(folder), seconds=seconds))
        self.log, self.out = folder / "log", folder / "out"
        self.words = processes.words(
            processes.profile(folder), self.out, "--workers", "2", "--algorithms", "maml",
            "--plugin", str(self.slow), *more,
        )  # fmt: skip
        self.process = processes.start(self.words, self.log)
        while len(list(folder.glob("training-*"))) < 2:
            assert self.process.is_alive(), self.log.read_text()
            time.sleep(0.02)
        self.all = workers.descendants(self.process.pid)
        (folder / "fast").touch()  # for whoever takes up the work

    def end(self, *numbers):
        """Send signals; return the exit status when no process is left."""
        for number in numbers:
            os.kill(self.process.pid, number)
            time.sleep(0.3)
        self.process.join(60)
        until = time.monotonic() + 20
        while any(map(workers.alive, self.all)) and time.monotonic() < until:
            time.sleep(0.05)
        assert not any(map(workers.alive, self.all)), self.log.read_text()
        return self.process.exitcode


def test_a_signal_waits_for_the_checkpoints_of_all_workers(tmp_path, truth):
    run = Interrupted(tmp_path, 0.5)
    for process in run.all:  # as a terminal does, to everyone: it is the parent's to answer
        os.kill(process, signal.SIGINT)
    assert run.end(signal.SIGINT) == 130
    text = run.log.read_text()
    assert "the same command continues the run" in text
    assert "Traceback" not in text
    assert len(processes.leftovers(run.out)) == 2
    assert processes.run(run.words, run.log) == 0, run.log.read_text()
    assert processes.results(run.out) == some(truth, "maml")
    records = Store(run.out, "small").records()
    assert [record.provenance.resumed for record in records] == [1, 1]


def test_a_second_signal_waits_for_nothing(tmp_path):
    run = Interrupted(tmp_path, 60)
    start = time.monotonic()
    assert run.end(signal.SIGINT, signal.SIGINT) == 130
    assert time.monotonic() - start < 20
    assert processes.leftovers(run.out) == []


def test_workers_and_their_helpers_end_with_a_killed_parent(tmp_path):
    run = Interrupted(tmp_path, 60, "--processes", "2")  # nobody waits for the end of a step
    assert len(run.all) >= 4
    assert run.end(signal.SIGKILL) == -signal.SIGKILL
