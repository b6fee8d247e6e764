"""Recorded work, replayed, is the work: to the bit, whatever it draws."""

from __future__ import annotations

import warnings
from functools import partial

import numpy as np
import pytest
import torch

from suite.cell.setup import set_up
from suite.cell.workers import CellWorkers
from suite.core.episodes import EpisodeContext
from suite.core.streams import Stream
from suite.engines.replay.capture import MIN_STEPS, Capture, _set_sync_debug_mode, close
from tests.cells import make

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def losses_and_weights(cell, device, record):
    setup = set_up(cell, None, torch.device(device))
    gradient = setup.meta_gradients(replay=record).choose()
    loop = setup.outer_loop(gradient)
    losses = [loop.step(step) for step in range(4)]
    return torch.stack(losses), loop.theta, gradient


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("images", [False, True])
@pytest.mark.parametrize("algorithm", ["maml", "fomaml", "reptile", "finetune"])
def test_a_replay_changes_no_bit(algorithm, images, device):
    cell = make(algorithm, images)
    losses, theta, gradient = losses_and_weights(cell, device, True)
    assert gradient.mode == "replayed"
    plain_losses, plain_theta, plain = losses_and_weights(cell, device, False)
    assert plain.mode == "in-process"
    assert "switched off" in plain.reason
    assert torch.equal(losses, plain_losses)
    assert len(losses.unique()) == len(losses)
    assert torch.equal(theta, plain_theta)


@pytest.mark.parametrize("device", DEVICES)
def test_an_inner_loop_that_draws_is_not_recorded(device):
    cell = make("reptile", images=True)
    cell = cell.model_copy(update={"algorithm": {"name": "reptile", "inner_batch": 2}})
    losses, theta, gradient = losses_and_weights(cell, device, True)
    assert gradient.mode == "in-process"
    assert "draws on the host" in gradient.reason
    plain_losses, plain_theta, _ = losses_and_weights(cell, device, False)
    assert torch.equal(losses, plain_losses)
    assert torch.equal(theta, plain_theta)


@pytest.mark.parametrize("way", ["whole", "in parts", "differentiated"])
def test_on_the_cpu_it_is_for_meta_batches_that_an_engine_takes_whole(way):
    engine = "reference" if way == "differentiated" else "explicit"
    cell = make(images=way == "in parts", engine=engine, meta_batch=8, steps=MIN_STEPS)
    setup = set_up(cell, None, torch.device("cpu"))
    if way != "differentiated":
        parts = setup.trainer.parts(setup.algorithm, setup.source.step(0))
        assert (len(parts) == 1) is (way == "whole")
    loop = setup.outer_loop()
    loop.step(0)
    assert (loop.gradient.mode == "replayed") is (way == "whole")


@pytest.mark.parametrize("steps", [MIN_STEPS - 1, MIN_STEPS])
def test_a_short_training_is_not_worth_a_recording(steps):
    loop = set_up(make(steps=steps), None, torch.device("cpu")).outer_loop()
    loop.step(0)
    assert (loop.gradient.mode == "replayed") is (steps == MIN_STEPS)


def numbers_of_weights(theta, episodes, context):
    return (theta * float(np.abs(theta.numpy()).max()),)


def numbers_of_examples(theta, episodes, context):
    return (theta * max(episodes.support.y.flatten().tolist()),)


def place_of_the_largest(theta, episodes, context):
    return (theta * float(np.argmax(episodes.support.x[:1].numpy().ravel() ** 2) + 1),)


def order_of_the_targets(theta, episodes, context):
    return (theta * float(episodes.query.y[:1].numpy().argmax() + 1),)


def a_stream_of_the_episode(theta, episodes, context):
    return (theta * context.stream.child(context.first).rows(0, 1, 1).item(),)


def a_tensor_of_the_episode(theta, episodes, context):
    return (theta.mul(context.first),)


def first_episode(theta, episodes, context):
    return (theta * 2 if context.first == 0 else theta,)


def any_episode(theta, episodes, context):
    return (theta if context.first else -theta,)


def powers(theta, episodes, context):
    return (theta * 0.5**context.first,)


def how_many_were_drawn(theta, episodes, context):
    return (theta * len(episodes.draw_ids),)


def what_was_drawn(theta, episodes, context):
    return (theta * np.add(episodes.draw_ids, 1).sum(),)


SLY = [numbers_of_weights, numbers_of_examples, place_of_the_largest, order_of_the_targets,
       a_stream_of_the_episode, a_tensor_of_the_episode, first_episode, any_episode, powers,
       how_many_were_drawn, what_was_drawn]  # fmt: skip


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("work", SLY)
def test_work_that_goes_by_what_no_operation_shows_is_not_replayed(work, count):
    setup = set_up(make(), None, torch.device("cpu"))
    recorded = Capture(work, torch.device("cpu"))
    for step in range(3):
        batch = setup.source.step(step)
        context = EpisodeContext(Stream("inner"), step * len(batch))
        (found,) = recorded(setup.initial + step, batch[:count], context)
        (wanted,) = work(setup.initial + step, batch[:count], context)
        assert torch.equal(found, wanted)
    assert recorded.refused is not None


def test_a_meta_batch_of_another_shape_is_not_replayed():
    setup = set_up(make(), None, torch.device("cpu"))
    batch, context = setup.source.step(0), EpisodeContext(Stream("inner"))
    recorded = Capture(partial(setup.trainer.episode_terms, setup.algorithm), torch.device("cpu"))
    for part in (batch[1:], batch[:1], batch[:3]):
        rows, losses = recorded(setup.initial, part, context)
        wanted = setup.trainer.episode_terms(setup.algorithm, setup.initial, part, context)
        assert torch.equal(rows, wanted[0])
        assert torch.equal(losses, wanted[1])
    assert recorded._replay is not None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_not_a_number_is_the_same_as_itself(dtype):
    setup = set_up(make(), None, torch.device("cpu"))
    batch = setup.source.step(0)
    recorded = Capture(lambda theta, *_: (theta.sqrt(),), torch.device("cpu"))
    for weights in (setup.initial.to(dtype), -setup.initial.to(dtype)):
        (found,) = recorded(weights, batch, None)
        assert found.dtype == dtype
        assert torch.equal(found.nan_to_num(-1), weights.sqrt().nan_to_num(-1))
    assert recorded._replay is not None


def test_the_inner_loop_is_timed_as_an_outer_step_does_it():
    setup = set_up(make(steps=MIN_STEPS), None, torch.device("cpu"))
    support, steps, context = (
        setup.batch.support,
        setup.algorithm.inner_steps,
        EpisodeContext(Stream("none")),
    )
    with CellWorkers(setup) as team:
        team.adapt()
        team.adapt()
        (adapted,) = team._inner._outputs
        *_, wanted = setup.algorithm.adapt(setup.engine, setup.initial, support, steps, context)
        assert team._inner._replay is not None
        assert torch.equal(adapted, wanted)


def test_of_the_librarys_warnings_only_that_of_the_prototype_is_silent(monkeypatch):
    def warns(mode):
        warnings.warn("Synchronization debug mode is a prototype feature and so on", stacklevel=2)
        warnings.warn(f"mode {mode}", stacklevel=2)

    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", warns)
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        _set_sync_debug_mode("error")
    assert [str(warning.message) for warning in shown] == ["mode error"]


def test_what_a_cuda_graph_gives_must_be_near_in_every_number():
    value = torch.linspace(-1, 1, 10_001)
    assert close(value, value)
    assert close(value + 1e-5, value)
    for change in (float("nan"), float("inf"), 1.0):
        other = value.clone()
        other[7_500] = change  # 0.5 there: one number of many that is not what it should be
        assert not close(other, value)
    stale = torch.full_like(value, float("nan"))
    assert not close(stale, value)
    assert not close(value, stale)
    assert not close(stale, stale)  # nothing is proved by no numbers
    some = value.clone()
    some[:5] = float("nan")
    assert close(some, some)
