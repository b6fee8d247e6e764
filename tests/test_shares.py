"""A meta-batch shared out over processes: the same bits, or not shared out at all."""

from __future__ import annotations

import os
import time

import pytest
import torch

from suite.algorithms.base import Draws
from suite.algorithms.fomaml import FOMAML
from suite.algorithms.maml import MAML
from suite.algorithms.multitask import MultiTask
from suite.algorithms.reptile import Reptile
from suite.crew import Crew
from suite.engines.base import averaged
from suite.shares import Shares
from suite.streams import Stream
from tests.problems import Problem

MLP = Problem("paper's", "mlp", {"hidden": (40, 40)}, (1,), "squared_error")

RULES = {
    "maml": MAML(inner_rate=0.1, inner_steps=2),
    "fomaml": FOMAML(inner_rate=0.1, inner_steps=2),
    "reptile": Reptile(inner_rate=0.01, inner_steps=3, inner_batch=2),
    "multitask": MultiTask(task_steps=3),
}


class Shared:
    """A meta-batch on one engine, and a crew of some processes to share it."""

    def __init__(self, rule, processes, count=13):
        self.engine = MLP.engine("explicit", torch.float32)
        self.rule, self.theta = rule, MLP.theta(torch.float32)
        self.episodes = MLP.episodes(count, n=10, dtype=torch.float32)
        self.draws = Draws(Stream("shares"))
        self.shares = Shares(self.engine, rule, lambda _: self.episodes, lambda _: self.draws)
        self.workers = set()
        self.crew = Crew(self._jobs, processes - 1)
        self.outers = self.shares.outers(self.crew)

    def _jobs(self):
        seen = []

        def noted(job):
            return lambda *arguments: (seen.append(job), job(*arguments))[1]

        jobs = {name: noted(job) for name, job in self.shares.jobs().items()}
        return {**jobs, "seen": lambda _: (os.getpid(), len(seen))}

    def outer(self):
        parts = self.shares.parts
        return averaged(self.theta, parts, self.outers(0, self.theta, parts))

    def whole(self):
        return self.engine.meta_gradient(self.rule, self.theta, self.episodes, self.draws)


@pytest.mark.parametrize("processes", [2, 3])
@pytest.mark.parametrize("name", RULES)
def test_shares_by_episode_are_the_bits_of_the_whole(name, processes, monkeypatch):
    monkeypatch.setattr(Shares, "_faster", lambda *_: True)
    shared = Shared(RULES[name], processes)
    assert len(shared.shares.parts) == 1
    before = dict(shared.crew.everyone("seen"))
    found, whole = shared.outer(), shared.whole()
    after = dict(shared.crew.everyone("seen"))
    shared.crew.close()
    assert whole.gradient.norm() > 0
    assert torch.equal(found.gradient, whole.gradient)
    assert torch.equal(found.loss, whole.loss)
    assert len(after) == processes
    assert all(after[process] == before[process] + 1 for process in after)


@pytest.mark.parametrize("name", RULES)
def test_shares_by_part_are_the_bits_of_the_whole(name, monkeypatch):
    monkeypatch.setattr("suite.engines.explicit.WHOLE", 1)
    shared = Shared(RULES[name], 2)
    assert len(shared.shares.parts) == 2
    found, whole = shared.outer(), shared.whole()
    shared.crew.close()
    assert torch.equal(found.gradient, whole.gradient)
    assert torch.equal(found.loss, whole.loss)


class Crowded(MAML):
    """What an episode gives depends on how many there are."""

    def each(self, engine, theta, episodes, draws):
        rows, losses = super().each(engine, theta, episodes, draws)
        return rows / len(episodes), losses


class Twice(MAML):
    """Its outer gradient is not what it gathers."""

    def outer(self, engine, theta, episodes, draws):
        found = super().outer(engine, theta, episodes, draws)
        return found._replace(gradient=2 * found.gradient)


@pytest.mark.parametrize(
    ("rule", "count", "processes"),
    [
        pytest.param(Crowded(), 13, 2, id="rows that depend on the others"),
        pytest.param(Twice(), 13, 2, id="an outer of its own"),
        pytest.param(Reptile(inner_state="carried"), 13, 2, id="a state that is carried"),
        pytest.param(MAML(), 1, 2, id="one episode"),
        pytest.param(MAML(), 13, 1, id="one process"),
    ],
)
def test_what_is_not_the_same_or_not_for_others_is_not_shared(rule, count, processes, monkeypatch):
    monkeypatch.setattr(Shares, "_faster", lambda *_: True)
    shared = Shared(rule, processes, count=count)
    shared.crew.close()
    assert len(shared.shares.parts) == 1
    assert shared.outers is None


@pytest.mark.parametrize("slow", ["whole", "shares"])
def test_what_is_faster_is_done(slow, monkeypatch):
    """The same bits either way, so a clock may decide."""
    whole, part = type(MLP.engine("explicit")).outer, Shares._episodes

    def late(inner):
        return lambda *arguments: (time.sleep(0.02), inner(*arguments))[1]

    if slow == "whole":
        monkeypatch.setattr("suite.engines.explicit.ExplicitEngine.outer", late(whole))
    else:
        monkeypatch.setattr(Shares, "_episodes", late(part))
    shared = Shared(RULES["maml"], 2)
    shared.crew.close()
    assert (shared.outers is not None) == (slow == "whole")
