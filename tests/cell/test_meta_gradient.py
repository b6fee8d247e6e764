"""A meta-batch shared out over processes: the same bits, or not shared out at all."""

from __future__ import annotations

import os
import time

import pytest
import torch

from suite.algorithms.fomaml import FOMAML
from suite.algorithms.maml import MAML
from suite.algorithms.multitask import MultiTask
from suite.algorithms.reptile import Reptile
from suite.cell.meta_gradient import MetaGradients
from suite.core.episodes import EpisodeContext
from suite.core.process_pool import ForkPool
from suite.core.streams import Stream
from suite.engines.explicit.engine import ExplicitEngine
from suite.engines.replay.capture import MIN_STEPS, Capture
from tests.problems import Problem

MLP = Problem("paper's", "mlp", {"hidden": (40, 40)}, (1,), "squared_error")

RULES = {
    "maml": MAML(inner_rate=0.1, inner_steps=2),
    "fomaml": FOMAML(inner_rate=0.1, inner_steps=2),
    "reptile": Reptile(inner_rate=0.01, inner_steps=3, inner_batch=2),
    "multitask": MultiTask(task_steps=3),
}


class Shared:
    """Meta-batches on one engine, and some processes to share them."""

    def __init__(self, rule, processes, count=25, problem=MLP, seed=0):
        self.engine = problem.engine("explicit", torch.float32)
        self.rule, self.theta = rule, problem.theta(torch.float32)
        self.count, self.problem, self.seed = count, problem, seed
        self.ways = MetaGradients(self.engine, rule, self.batch, self.context, MIN_STEPS)
        self.pool = ForkPool(self._jobs, processes - 1)
        self.gradient = self.ways.choose(self.pool)

    def _jobs(self):
        seen = []

        def noted(job):
            return lambda *arguments: (seen.append(job), job(*arguments))[1]

        jobs = {name: noted(job) for name, job in self.ways.jobs().items()}
        recorded = self.ways._shard
        return {
            **jobs,
            "seen": lambda _: (os.getpid(), len(seen)),
            "recorded": lambda _: getattr(recorded, "_replay", None) is not None,
        }

    def batch(self, step):
        episodes = self.problem.episodes(4 * self.count, n=10, dtype=torch.float32, seed=self.seed)
        return episodes[step * self.count : (step + 1) * self.count]

    def context(self, step):
        return EpisodeContext(Stream("shares"), step * self.count)

    def outer(self, step):
        return self.gradient(step, self.theta)

    def whole(self, step):
        context = self.context(step)
        return self.engine.meta_gradient(self.rule, self.theta, self.batch(step), context)


@pytest.mark.parametrize("processes", [2, 3])
@pytest.mark.parametrize("name", RULES)
def test_shares_by_episode_are_the_bits_of_the_whole(name, processes, monkeypatch):
    monkeypatch.setattr(MetaGradients, "_faster", lambda *_: True)
    shared = Shared(RULES[name], processes, count=16 * processes - 7)
    assert len(shared.ways.parts) == 1
    before = dict(shared.pool.broadcast("seen"))
    found, whole = shared.outer(2), shared.whole(2)
    after = dict(shared.pool.broadcast("seen"))
    recorded = shared.pool.broadcast("recorded")
    shared.pool.close()
    assert recorded == processes * [name in ("maml", "fomaml")]  # the others draw
    assert whole.gradient.norm() > 0
    assert torch.equal(found.gradient, whole.gradient)
    assert torch.equal(found.loss, whole.loss)
    assert len(after) == processes
    assert all(after[process] == before[process] + 1 for process in after)


@pytest.mark.parametrize("name", RULES)
def test_shares_by_part_are_the_bits_of_the_whole(name, monkeypatch):
    monkeypatch.setattr("suite.engines.explicit.engine.WHOLE", 1)
    shared = Shared(RULES[name], 2)
    assert len(shared.ways.parts) == 2
    found, whole = shared.outer(2), shared.whole(2)
    shared.pool.close()
    assert torch.equal(found.gradient, whole.gradient)
    assert torch.equal(found.loss, whole.loss)


@pytest.mark.parametrize("seed", range(12))
def test_shares_that_agree_once_agree_later(seed, monkeypatch):
    """Rows of 17 numbers: vectors and what is left of them are cut in the middle of episodes."""
    monkeypatch.setattr(MetaGradients, "_faster", lambda *_: True)
    odd = Problem("odd", "mlp", {"hidden": (17,)}, (3,), "cross_entropy")
    rule = Reptile(inner_rate=0.01, inner_steps=1)
    shared = Shared(rule, 2, count=(25, 37)[seed % 2], problem=odd, seed=seed)
    assert shared.gradient.mode == "sharded"
    for step in range(4):
        assert torch.equal(shared.outer(step).gradient, shared.whole(step).gradient)
    shared.pool.close()


class Crowded(MAML):
    """What an episode gives depends on how many there are."""

    def episode_terms(self, engine, theta, episodes, context):
        rows, losses = super().episode_terms(engine, theta, episodes, context)
        return rows / len(episodes), losses


class Later(MAML):
    """Its outer gradient is what it gathers in the first step alone."""

    def outer(self, engine, theta, episodes, context):
        found = super().outer(engine, theta, episodes, context)
        return found._replace(gradient=found.gradient * 0.5**context.first)


@pytest.mark.parametrize(
    ("rule", "count", "processes", "why"),
    [
        pytest.param(Crowded(), 25, 2, "do not give the bits", id="rows that depend on the others"),
        pytest.param(Later(), 25, 2, "is not made of terms", id="an outer of its own"),
        pytest.param(Reptile(inner_state="carried"), 25, 2, "a state goes", id="a kept state"),
        pytest.param(MAML(), 16, 2, "16 episodes is too small", id="too few episodes"),
        pytest.param(MAML(), 25, 1, "one process", id="one process"),
    ],
)
def test_what_is_not_the_same_or_not_for_others_is_not_sharded(
    rule, count, processes, why, monkeypatch
):
    monkeypatch.setattr(MetaGradients, "_faster", lambda *_: True)
    shared = Shared(rule, processes, count=count)
    shared.pool.close()
    assert len(shared.ways.parts) == 1
    assert shared.gradient.mode != "sharded"
    assert why in shared.gradient.reason


@pytest.mark.parametrize("slow", ["whole", "shares"])
def test_what_is_faster_is_done(slow, monkeypatch):
    """The same bits either way, so a clock may decide."""

    def late(inner):
        return lambda *arguments: (time.sleep(0.02), inner(*arguments))[1]

    if slow == "whole":
        # Where nothing is recorded: a replay would not come by.
        monkeypatch.setattr(Capture, "__call__", lambda self, *inputs: self._work(*inputs))
        monkeypatch.setattr(ExplicitEngine, "outer", late(ExplicitEngine.outer))
    else:
        monkeypatch.setattr(MetaGradients, "_job_of_episodes", late(MetaGradients._job_of_episodes))
    shared = Shared(RULES["maml"], 2)
    shared.pool.close()
    assert (shared.gradient.mode == "sharded") == (slow == "whole")
