"""Recorded work, replayed, is the work: to the bit, whatever it draws."""

from __future__ import annotations

import pytest
import torch

from suite.algorithms.base import Draws
from suite.engines.capture import OFTEN, Capture
from suite.matrix.bench import set_up
from suite.matrix.team import Team
from suite.streams import Stream
from tests.matrix.test_cell import make

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def losses_and_weights(cell, device, record):
    bench = set_up(cell, None, torch.device(device))
    loop = bench.outer_loop(capture=record)
    losses = [loop.step(step) for step in range(4)]
    return torch.stack(losses), loop.theta, loop


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("images", [False, True])
@pytest.mark.parametrize("algorithm", ["maml", "fomaml", "reptile", "finetune"])
def test_a_replay_changes_no_bit(algorithm, images, device):
    cell = make(algorithm, images)
    losses, theta, loop = losses_and_weights(cell, device, True)
    assert loop._capture._replay is not None  # it was recorded, and every step replayed
    plain_losses, plain_theta, plain = losses_and_weights(cell, device, False)
    assert plain._capture._replay is None
    assert torch.equal(losses, plain_losses)
    assert len(losses.unique()) == len(losses)
    assert torch.equal(theta, plain_theta)


@pytest.mark.parametrize("device", DEVICES)
def test_an_inner_loop_that_draws_is_not_recorded(device):
    cell = make("reptile", images=True)
    cell = cell.model_copy(update={"algorithm": {"name": "reptile", "inner_batch": 2}})
    losses, theta, loop = losses_and_weights(cell, device, True)
    assert loop._capture._replay is None
    assert "draws on the host" in loop._capture.refused
    plain_losses, plain_theta, _ = losses_and_weights(cell, device, False)
    assert torch.equal(losses, plain_losses)
    assert torch.equal(theta, plain_theta)


@pytest.mark.parametrize("way", ["whole", "in parts", "differentiated"])
def test_on_the_cpu_it_is_for_meta_batches_that_an_engine_takes_whole(way):
    engine = "reference" if way == "differentiated" else "explicit"
    cell = make(images=way == "in parts", engine=engine, meta_batch=8, steps=OFTEN)
    bench = set_up(cell, None, torch.device("cpu"))
    if way != "differentiated":
        parts = bench.trainer.parts(bench.algorithm, bench.source.step(0))
        assert (len(parts) == 1) is (way == "whole")
    loop = bench.outer_loop()
    loop.step(0)
    assert (loop._capture._replay is not None) is (way == "whole")


@pytest.mark.parametrize("steps", [OFTEN - 1, OFTEN])
def test_a_short_training_is_not_worth_a_recording(steps):
    loop = set_up(make(steps=steps), None, torch.device("cpu")).outer_loop()
    loop.step(0)
    assert (loop._capture._replay is not None) is (steps == OFTEN)


def test_a_replay_that_is_not_the_work_is_not_used():
    bench = set_up(make(), None, torch.device("cpu"))
    calls = []

    def work(theta, episodes, draws):
        calls.append(None)  # a decision that no operation shows
        return (theta * (len(calls) > 3),)

    recorded = Capture(work, torch.device("cpu"))
    (found,) = recorded(bench.initial, bench.source.step(0), None)
    assert "bit for bit" in recorded.refused
    assert torch.equal(found, bench.initial)


def test_the_inner_loop_is_timed_as_an_outer_step_does_it():
    bench = set_up(make(steps=OFTEN), None, torch.device("cpu"))
    support, steps, draws = bench.batch.support, bench.algorithm.inner_steps, Draws(Stream("none"))
    with Team(bench) as team:
        team.adapt()
        team.adapt()
        (adapted,) = team._inner._outputs
        *_, wanted = bench.algorithm.adapt(bench.engine, bench.initial, support, steps, draws)
        assert team._inner._replay is not None
        assert torch.equal(adapted, wanted)
