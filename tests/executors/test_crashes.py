"""Runs that are killed, stopped, or meet other runs and full disks lose nothing."""

from __future__ import annotations

import os
import random
import signal
import time

import pytest

from tests import processes
from tests.processes import CONTEXT, TRAINING, WRITING

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    """The results of runs that nothing disturbed, by outer steps."""
    found = {}

    def of(steps):
        if steps not in found:
            folder = tmp_path_factory.mktemp(f"truth{steps}")
            words = processes.words(processes.profile(folder, steps), folder / "out")
            assert processes.run(words, folder / "log") == 0, (folder / "log").read_text()
            found[steps] = processes.results(folder / "out")
            assert len(found[steps]) == 8
            assert processes.leftovers(folder / "out") == []
        return found[steps]

    return of


def finish(words, log):
    """Run until nothing is left; return the exit status of the last run."""
    status = processes.run(words, log)
    assert status == 0, log.read_text()


@pytest.mark.timeout(1200)
def test_killed_at_any_moment_it_ends_with_the_same_bits(tmp_path, truth, request, capsys):
    """SIGKILL at random moments; every restart goes on, and the end is that of a calm run."""
    steps, kills = 1500, request.config.getoption("kills")
    wanted = truth(steps)
    profile = processes.profile(tmp_path, steps)
    moments, phase = random.Random(7), CONTEXT.Value("i", 0, lock=False)
    landed = {0: 0, TRAINING: 0, WRITING: 0}
    killed = rounds = 0
    while killed < kills:
        rounds += 1
        words = processes.words(profile, tmp_path / f"out{rounds}", "--checkpoint-every", "0.01")
        while killed < kills:
            phase.value = 0
            process = processes.start(words, tmp_path / "log", phase)
            # Set-up and evaluation would take most of them, and writes are short.
            aims = moments.choices([(), (TRAINING,), (TRAINING, WRITING)], [1, 5, 4])[0]
            for aim in aims:
                while phase.value != aim and process.is_alive():
                    time.sleep(0.0002)
            if WRITING not in aims:
                process.join(moments.uniform(0, 0.4))
            if process.exitcode is not None:
                break  # it was done before its end came
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            landed[phase.value] += 1
            killed += 1
        finish(words, tmp_path / "log")
        assert processes.results(tmp_path / f"out{rounds}") == wanted
        assert processes.leftovers(tmp_path / f"out{rounds}") == []
    with capsys.disabled():
        print(
            f"\n{killed} kills in {rounds} rounds: {landed[TRAINING]} in training, "
            f"{landed[WRITING]} while writing, {landed[0]} elsewhere"
        )
    assert landed[TRAINING] + landed[WRITING] >= killed / 2
    assert landed[WRITING] >= killed // 10


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("shards", [1, 2])
def test_a_signal_stops_with_a_checkpoint_and_the_same_command_goes_on(
    tmp_path, truth, number, shards
):
    steps = 1500
    words = processes.words(processes.profile(tmp_path, steps, shards), tmp_path / "out")
    phase = CONTEXT.Value("i", 0, lock=False)
    process = processes.start([*words, "--seeds", "0"], tmp_path / "log", phase)
    while phase.value != TRAINING:
        time.sleep(0.01)
    time.sleep(0.1)
    os.kill(process.pid, number)
    process.join(60)
    text = (tmp_path / "log").read_text()
    assert process.exitcode == 128 + number, text
    assert "the same command continues the run" in text
    assert "Traceback" not in text
    assert processes.leftovers(tmp_path / "out")  # the checkpoint
    finish(words, tmp_path / "log")
    if shards == 1:
        assert processes.results(tmp_path / "out") == truth(steps)
    records = (tmp_path / "out" / "records" / "small").glob("*.json")
    assert sum('"resumed": 1' in record.read_text() for record in records) == 1


@pytest.mark.parametrize("runs", [2, 4])
def test_runs_on_one_folder_share_the_cells(tmp_path, truth, runs):
    steps = 60
    words = processes.words(processes.profile(tmp_path, steps), tmp_path / "out")
    logs = [tmp_path / f"log{i}" for i in range(runs)]
    together = [processes.start(words, log) for log in logs]
    for process, log in zip(together, logs, strict=True):
        process.join(300)
        assert process.exitcode == 0, log.read_text()
    assert processes.results(tmp_path / "out") == truth(steps)
    said = "".join(log.read_text() for log in logs)
    assert sum(said.count(f"seed{seed}--cpu: test mse") for seed in (0, 1)) == 8  # none twice
    assert processes.leftovers(tmp_path / "out") == []


def test_a_run_waits_for_a_cell_that_another_holds_and_takes_it_over(tmp_path, truth):
    from suite.config.profile import expand, load_profile
    from suite.records.store import Store

    path = processes.profile(tmp_path)
    cell = expand(load_profile(str(path)), ["cpu"])[0]
    words = processes.words(path, tmp_path / "out")
    with Store(tmp_path / "out", "small").lock(cell) as mine:
        assert mine
        process = processes.start(words, tmp_path / "log")
        while len(processes.results(tmp_path / "out")) < 7:
            assert process.is_alive()
            time.sleep(0.05)
        time.sleep(1)
        assert process.is_alive()
        assert len(processes.results(tmp_path / "out")) == 7
    process.join(60)
    assert process.exitcode == 0
    assert processes.results(tmp_path / "out") == truth(60)


@pytest.mark.parametrize("largest_file", [0, 700, 3000])
def test_a_disk_that_fills_up_tears_nothing(tmp_path, truth, largest_file):
    """A limit on the size of files: nothing, checkpoints or records cannot be written."""
    steps = 60
    words = processes.words(processes.profile(tmp_path, steps), tmp_path / "out")
    words += ["--checkpoint-every", "0"]
    (tmp_path / "log").touch()
    status = processes.run(words, tmp_path / "log", largest_file=largest_file)
    text = (tmp_path / "log").read_text()
    assert status != 0
    assert "Traceback" not in text
    wanted = truth(steps)
    found = processes.results(tmp_path / "out")
    assert found == {cell: wanted[cell] for cell in found}
    finish(words, tmp_path / "log")
    assert processes.results(tmp_path / "out") == wanted
    assert processes.leftovers(tmp_path / "out") == []
