"""Running statistics against the library's own batch norm."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from suite.cell.batchnorm_statistics import MOMENTUM, PASSES, RunningStatistics
from suite.cell.setup import set_up
from suite.config.cell import episode_stream
from suite.models.layers import EPSILON
from tests.cells import make
from tests.problems import PROBLEMS, arranged


def _tracking(model):
    """The same model with batch norms that keep running statistics."""
    twin = copy.deepcopy(model)
    for norm in [m for m in twin.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]:
        assert norm.eps == EPSILON
        norm.track_running_stats, norm.momentum = True, MOMENTUM
        norm.register_buffer("running_mean", torch.zeros(norm.num_features).double())
        norm.register_buffer("running_var", torch.ones(norm.num_features).double())
        norm.register_buffer("num_batches_tracked", torch.tensor(0))
    return twin


def _set(model, layout, theta):
    with torch.no_grad():
        for name, value in layout.unflatten(theta).items():
            model.get_parameter(name).copy_(value)


@pytest.mark.parametrize("name", ["smooth-mlp-batch", "conv4-batch-stride-mean", "beta-mlp-kept"])
@pytest.mark.parametrize("engine", ["reference", "explicit"])
def test_it_is_the_librarys_batch_norm_in_evaluation_mode(name, engine):
    problem = PROBLEMS[name]
    plain, one = problem.engine("reference"), problem.engine(engine)
    episodes, theta = problem.episodes(), problem.theta()
    before = [problem.episodes().query.x[t] for t in range(2)]
    moved = torch.stack([theta + 0.05 * (t + 1) for t in range(len(episodes))])

    here = torch.stack([arranged(one, row) for row in moved])
    running = RunningStatistics(one, lambda: before)
    statistics = [running.trained(arranged(one, theta))] * len(episodes)
    first = running.outputs(statistics, here, episodes.query.x)
    statistics = running.after(statistics, here, episodes.support.x)
    second = running.outputs(statistics, here, episodes.query.x)

    twin = _tracking(plain.model)
    _set(twin, plain.layout, theta)
    twin.train()
    for x in before:
        twin(x)
    shared = copy.deepcopy(twin.state_dict())
    for t in range(len(episodes)):
        twin.load_state_dict(shared)
        _set(twin, plain.layout, moved[t])
        with torch.no_grad():
            torch.testing.assert_close(first[t], twin.eval()(episodes.query.x[t]))
            twin.train()(episodes.support.x[t])
            torch.testing.assert_close(second[t], twin.eval()(episodes.query.x[t]))


def test_the_passes_before_the_test_are_done_once_for_all_parts():
    problem = PROBLEMS["smooth-mlp-batch"]
    calls = []

    def seen():
        calls.append("passes")
        return [problem.episodes().query.x[0]]

    running, theta = RunningStatistics(problem.engine("reference"), seen), problem.theta()
    changing = theta.clone()
    first = running.trained(changing)
    assert running.trained(theta.clone()) is first
    assert len(calls) == 1
    changing.mul_(1.5)  # such as the weights of an outer loop, between two points of a curve
    (mean, _), *_ = running.trained(changing)
    assert len(calls) == 2
    assert not torch.equal(mean, first[0][0])


def test_a_cell_can_be_tested_with_running_statistics():
    cell = make("maml", images=True)
    running = cell.protocol.evaluations[0].model_copy(
        update={"name": "running", "batch_norm": "running"}
    )
    protocol = cell.protocol.model_copy(update={"evaluations": (running,)})
    setup = set_up(cell.model_copy(update={"protocol": protocol}), None, torch.device("cpu"))
    seen = list(setup._seen())
    assert len(seen) == PASSES
    assert all(torch.equal(a, b) for a, b in zip(seen, setup._seen(), strict=True))
    # Which batch norm a test uses is no reason for other test episodes.
    names = episode_stream(setup.task, running).names
    assert names == episode_stream(setup.task, cell.protocol.evaluations[0]).names
