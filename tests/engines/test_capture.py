"""A recorded outer gradient, replayed, is the outer gradient: to the bit, whatever it draws."""

from __future__ import annotations

import pytest
import torch

from suite.engines.capture import Capture, Unrecorded
from suite.matrix.bench import set_up
from tests.matrix.test_cell import make

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def losses_and_weights(cell, device, capture):
    bench = set_up(cell, None, torch.device(device))
    loop = bench.outer_loop(capture=capture)
    losses = [loop.step(step) for step in range(4)]
    return torch.stack(losses), loop.theta, loop


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("images", [False, True])
@pytest.mark.parametrize("algorithm", ["maml", "fomaml", "finetune"])
def test_a_replay_changes_no_bit(algorithm, images, device):
    cell = make(algorithm, images)
    losses, theta, loop = losses_and_weights(cell, device, True)
    assert loop._capture is not None  # it was recorded, and every step replayed
    plain_losses, plain_theta, _ = losses_and_weights(cell, device, False)
    assert torch.equal(losses, plain_losses)
    assert len(losses.unique()) == len(losses)
    assert torch.equal(theta, plain_theta)


@pytest.mark.parametrize("device", DEVICES)
def test_an_inner_loop_that_draws_is_not_recorded(device):
    cell = make("reptile", images=True)
    cell = cell.model_copy(update={"algorithm": {"name": "reptile", "inner_batch": 2}})
    losses, theta, loop = losses_and_weights(cell, device, True)
    assert loop._capture is None
    plain_losses, plain_theta, _ = losses_and_weights(cell, device, False)
    assert torch.equal(losses, plain_losses)
    assert torch.equal(theta, plain_theta)
    bench = set_up(cell, None, torch.device(device))
    capture = Capture(bench.trainer, bench.algorithm)
    for _ in range(2):
        with pytest.raises(Unrecorded, match="draws on the host"):
            capture.outer(theta, bench.source.step(0))


def test_it_is_for_gpus():
    assert set_up(make(), None, torch.device("cpu")).outer_loop()._capture is None
