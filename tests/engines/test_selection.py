"""``auto``: the fast engine where it proves itself, else the reference with the reason."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from suite.algorithms.maml import MAML
from suite.core.episodes import Episodes, Examples, OuterGradient
from suite.core.errors import UserError
from suite.engines import selection
from suite.engines.explicit import engine as explicit
from suite.engines.explicit import layers
from suite.tasks.base import EpisodeShape
from tests.problems import PROBLEMS, Problem, distance, meta_gradient

SHAPE = EpisodeShape(ways=3, shots=2, query_shots=2)


def choose(model, algorithm=None, requested="auto", **options):
    algorithm = algorithm or MAML(inner_rate=0.1)
    return selection.choose(requested, model, "cross_entropy", algorithm, SHAPE, (4,), 3, **options)


def small():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))


class Twice(nn.Module):
    """One linear layer used twice: a chain in form, not in parameters."""

    def __init__(self):
        super().__init__()
        self.same = nn.Linear(4, 4)
        self.last = nn.Linear(4, 3)

    def forward(self, x):
        return self.last(torch.relu(self.same(torch.relu(self.same(x)))))


STRANGE = {
    "layer outside the table": nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)),
    "normalisation first": nn.Sequential(
        nn.BatchNorm1d(4, track_running_stats=False), nn.Linear(4, 3)
    ),
    "shared layer": Twice(),
}


@pytest.mark.parametrize("name", STRANGE)
def test_a_model_that_the_fast_engine_cannot_do_runs_on_the_reference(name):
    choice = choose(STRANGE[name])
    assert choice.name == "reference"
    assert "stepped aside" in choice.reason
    with pytest.raises(UserError, match="explicit"):
        choose(STRANGE[name], requested="explicit")


def test_a_wrong_engine_is_found_out(monkeypatch):
    assert choose(small()).name == "explicit"
    right = layers.CrossEntropy.tangent
    monkeypatch.setattr(layers.CrossEntropy, "tangent", lambda *a: right(*a) * (1 + 1e-7))
    choice = choose(small())
    assert choice.name == "reference"
    assert "self-check" in choice.reason
    assert choice.distance > 1e-9


def test_models_of_one_identity_prove_themselves_together(monkeypatch):
    calls = []
    check = selection.self_check
    monkeypatch.setattr(selection, "_measured", {})
    monkeypatch.setattr(selection, "self_check", lambda *a: calls.append(1) or check(*a))
    for identity in ("a", "a", "b"):
        choose(small(), identity=identity)
    choose(small(), loss_scale=2.0, identity="a")
    assert len(calls) == 3


class Doubled(MAML):
    """Calls itself second order and follows another gradient."""

    name = "doubled"

    def outer(self, engine, theta, episodes, context):
        found = super().outer(engine, theta, episodes, context)
        return OuterGradient(2 * found.gradient, found.loss)


def test_an_outer_that_is_not_the_gradient_of_its_adapt_is_refused():
    with pytest.raises(UserError, match="doubled"):
        choose(small(), Doubled(inner_rate=0.1))


@pytest.mark.parametrize("name", ["conv4-batch-stride-mean", "conv4-batch-max_pool-flatten"])
def test_parts_and_library_kernels_change_nothing_but_speed(name, monkeypatch):
    """One episode a part, and every layer on its path for large images."""
    problem, rule = PROBLEMS[name], MAML(inner_rate=0.1, inner_steps=2)
    theta, episodes = problem.theta(), problem.episodes(count=3)
    truth = meta_gradient(problem.engine("reference"), rule, theta, episodes).gradient
    monkeypatch.setattr(explicit, "PART", 1)
    monkeypatch.setattr(layers.base, "LARGE", 0)
    engine = problem.engine("explicit")
    assert len(engine.parts(rule, episodes)) == 3
    assert distance(meta_gradient(engine, rule, theta, episodes).gradient, truth) < 1e-9


def test_on_a_gpu_a_meta_batch_is_cut_by_what_its_memory_holds():
    """Tensors of a device that holds no numbers stand for a GPU's."""
    rule = MAML(inner_rate=0.1)
    engine = Problem(
        "mini-ImageNet", "conv4", {"filters": 32, "down": "max_pool"}, (3, 84, 84)
    ).engine("explicit")

    def parts(count):
        x, y = (
            torch.empty(count, 75, 3, 84, 84, device="meta"),
            torch.empty(count, 75, device="meta"),
        )
        return engine.parts(rule, Episodes(Examples(x, y), Examples(x, y), np.zeros((count, 1))))

    widest = 75 * 84 * 84 * 32  # the first convolution's outputs of an episode
    assert explicit.GPU_PART // widest == 7
    assert [len(parts(count)) for count in (4, 7, 8, 28, 33)] == [1, 1, 2, 4, 8]
    assert max(p.stop - p.start for p in parts(28)) == 7
