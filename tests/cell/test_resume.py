"""A training that stops between any two steps and goes on ends with the same bits."""

from __future__ import annotations

import signal

import pytest
import torch

from suite.cell.run import run_cell
from suite.core import signals
from suite.records.checkpoint import Checkpoint
from tests.cells import make


class Patience:
    """A wish to stop that comes after so many steps."""

    def __init__(self, steps):
        self.left = steps

    def wished(self):
        self.left -= 1
        return self.left < 0

    def answer(self):
        if self.left < 0:
            raise signals.Stopped(signal.SIGTERM)


#: TensorFlow's epsilon depends on the number of the step, which a resumed training must keep.
EPSILON = {"name": "maml", "outer_epsilon": "tensorflow"}


def run(cell, path, every=1e9):
    checkpoint = Checkpoint(path, every=every)
    return run_cell(cell, "test", None, torch.device("cpu"), checkpoint=checkpoint)


@pytest.mark.parametrize("images", [False, True])
@pytest.mark.parametrize("algorithm", ["maml", EPSILON, "fomaml", "reptile", "finetune"])
def test_stopped_after_any_step_it_goes_on_to_the_same_bits(
    algorithm, images, tmp_path, monkeypatch
):
    cell = make(algorithm, images)
    wanted, _ = run(cell, None)
    path, stops = tmp_path / "cell.npz", (1, 0, 0)  # after 2, 3 and 4 steps
    for steps in stops:
        patience = Patience(steps)
        with monkeypatch.context() as patch:
            patch.setattr(signals, "stop_requested", patience.wished)
            patch.setattr(signals, "raise_if_requested", patience.answer)
            with pytest.raises(signals.Stopped):
                run(cell, path)
    found, _ = run(cell, path)
    assert found.provenance.resumed == len(stops)
    assert found.result_sha256 == wanted.result_sha256
    assert found.timing.training_seconds > 0


def test_a_checkpoint_at_every_step_changes_nothing(tmp_path):
    cell = make("reptile")
    wanted, _ = run(cell, None)
    found, _ = run(cell, tmp_path / "cell.npz", every=0)
    assert found.result_sha256 == wanted.result_sha256
    again, _ = run(cell, tmp_path / "cell.npz", every=0)  # from the one after the last step
    assert again.result_sha256 == wanted.result_sha256
    assert again.provenance.resumed == 1


def test_a_checkpoint_of_other_versions_is_set_aside_and_said(tmp_path, monkeypatch):
    cell, path, said = make(), tmp_path / "cell.npz", []
    wanted, _ = run(cell, path, every=0)
    monkeypatch.setattr("suite.records.provenance._versions", lambda: {"torch": "0.1"})
    checkpoint = Checkpoint(path, every=0, note=said.append)
    found, _ = run_cell(cell, "test", None, torch.device("cpu"), checkpoint=checkpoint)
    assert found.result_sha256 == wanted.result_sha256
    assert found.provenance.resumed == 0
    assert "of another libraries" in said[0]
    assert (tmp_path / "set-aside" / "cell.npz").is_file()


def test_a_signal_waits_for_the_end_of_the_step_and_a_second_does_not():
    seen = []

    def work(*numbers):
        with signals.deferring():
            for number in numbers:
                signal.raise_signal(number)
                seen.append(signals.stop_requested())

    with signals.listening(), pytest.raises(signals.Stopped) as ended:
        work(signal.SIGTERM)
    assert seen == [True]
    assert ended.value.number == signal.SIGTERM
    with signals.listening(), pytest.raises(signals.Stopped) as ended:
        work(signal.SIGTERM, signal.SIGINT, signal.SIGINT)
    assert seen == [True, True]
    assert ended.value.number == signal.SIGINT
    with signals.listening(), pytest.raises(signals.Stopped):
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
