"""A run of the gate with made-up processes: what is measured when, and what comes of it."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest

from suite.core.errors import UserError
from suite.gate import measure
from suite.gate import render as show
from suite.gate import run as gate
from suite.gate.cases import Plan
from suite.gate.counts import Counts
from suite.gate.files import Folder
from suite.gate.process import HERE, Failed
from suite.gate.worker import WorkerSetting

NAMES = ("a", "b")
SETTING = WorkerSetting([Plan(name, "part", "", True) for name in NAMES], [], None)
EFFORT = measure.Effort(
    1, 3, 3, seconds=0.0, more=1, second_look=0.0, first_turns=2, instructions=False
)
COUNTS = Counts(100, 1, 2**20)


class Fake:
    """A worker whose cases take what the test says, by tree."""

    started = 0
    now: dict[str, float]
    before: dict[str, float]
    once: dict[str, float]
    counts_now: Counts
    broken: dict[str, str]

    def __init__(self, tree, setting):
        self.levels = type(self).now if tree == HERE else type(self).before
        self.number = type(self).started
        self.old = tree != HERE
        type(self).started += 1
        self.draws = np.random.default_rng(self.number)
        self.asked: list[str] = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def begin(self):
        pass

    def ready(self):
        return dict(self.broken)

    def pairs(self, name, seconds):
        self.asked.append(name)
        level = self.levels[name] + (self.once.get(name, 0.0) if self.number < 3 + FIRST else 0.0)
        return [(math.exp(level + 0.005 * self.draws.standard_normal()), 1.0) for _ in range(10)]

    def counts(self, name):
        if self.levels[name] == math.inf:
            raise Failed("it broke")
        return COUNTS if self.old else self.counts_now


#: Processes of the baseline's run.
FIRST = 9


@pytest.fixture
def fake(monkeypatch):
    class Fresh(Fake):
        started = 0
        now = dict.fromkeys(NAMES, 0.0)
        before = dict.fromkeys(NAMES, 0.0)
        once: dict[str, float] = {}  # noqa: RUF012
        counts_now = COUNTS
        broken: dict[str, str] = {}  # noqa: RUF012

    monkeypatch.setattr(measure, "Worker", Fresh)
    return Fresh


def verdicts(outcome) -> dict[str, str]:
    return {result.name: result.verdict for result in outcome.results}


def test_a_missing_baseline_is_made_said_and_no_failure(fake, tmp_path):
    folder = Folder(tmp_path, "m")
    outcome = gate.against_baseline(folder, SETTING, EFFORT, lambda _: None)
    assert outcome.made
    assert fake.started == FIRST
    assert "baseline of 2 cases was made" in show.gate_markdown(outcome)
    assert len(folder.baseline().cases["a"].blocks) == FIRST
    assert set(verdicts(outcome).values()) == {"unknown"}


def test_a_baseline_has_what_counts_it_lacked(fake, tmp_path):
    folder = Folder(tmp_path, "m")
    gate.against_baseline(folder, SETTING, EFFORT, lambda _: None)
    old = folder.baseline()
    less = {name: case.model_copy(update={"counts": {}}) for name, case in old.cases.items()}
    folder.keep(old.model_copy(update={"cases": less}))
    outcome = gate.against_baseline(folder, SETTING, EFFORT, lambda _: None)
    assert outcome.added == []
    assert folder.baseline() == old


def test_the_same_code_is_the_same_and_slower_code_is_slower(fake, tmp_path):
    folder = Folder(tmp_path, "m")
    gate.against_baseline(folder, SETTING, EFFORT, lambda _: None)
    outcome = gate.against_baseline(folder, SETTING, EFFORT, lambda _: None)
    assert verdicts(outcome) == {"a": "same", "b": "same"}
    assert fake.started == FIRST + 3
    fake.now = {"a": 0.0, "b": 0.15}
    outcome = gate.against_baseline(folder, SETTING, EFFORT, lambda _: None)
    assert verdicts(outcome) == {"a": "same", "b": "slower"}
    assert fake.started == FIRST + 3 + 3 + 1  # and a second look
    assert [r.reason for r in outcome.results if r.name == "b"] == ["time"]


def test_what_was_slow_in_one_moment_alone_is_no_alarm(fake, tmp_path):
    folder = Folder(tmp_path, "m")
    gate.against_baseline(folder, SETTING, EFFORT, lambda _: None)
    fake.once = {"b": 0.09}
    said = []
    outcome = gate.against_baseline(folder, SETTING, EFFORT, said.append)
    assert "1 look slower: measured again" in said
    assert verdicts(outcome)["b"] != "slower"


def test_exact_counts_need_no_second_look(fake, tmp_path):
    folder = Folder(tmp_path, "m")
    gate.against_baseline(folder, SETTING, EFFORT, lambda _: None)
    fake.counts_now = COUNTS._replace(synchronisations=2)
    outcome = gate.against_baseline(folder, SETTING, EFFORT, lambda _: None)
    assert verdicts(outcome) == {"a": "slower", "b": "slower"}
    assert {r.reason for r in outcome.results} == {"synchronisations"}
    assert fake.started == FIRST + 3
    assert "1 → 2" in show.gate_markdown(outcome)


def test_a_new_case_joins_the_baseline_and_the_old_ones_stay(fake, tmp_path):
    folder = Folder(tmp_path, "m")
    one = SETTING._replace(plans=SETTING.plans[:1])
    gate.against_baseline(folder, one, EFFORT, lambda _: None)
    old = folder.baseline().cases["a"]
    outcome = gate.against_baseline(folder, SETTING, EFFORT, lambda _: None)
    assert outcome.added == ["b"]
    assert set(folder.baseline().cases) == {"a", "b"}
    assert folder.baseline().cases["a"] == old


def test_update_makes_the_baseline_anew(fake, tmp_path):
    folder = Folder(tmp_path, "m")
    gate.against_baseline(folder, SETTING, EFFORT, lambda _: None)
    fake.now = {"a": 0.5, "b": 0.0}
    assert gate.against_baseline(folder, SETTING, EFFORT, lambda _: None, update=True).made
    outcome = gate.against_baseline(folder, SETTING, EFFORT, lambda _: None)
    assert verdicts(outcome) == {"a": "same", "b": "same"}


def test_what_could_be_measured_and_breaks_now_fails(fake, tmp_path):
    folder = Folder(tmp_path, "m")
    gate.against_baseline(folder, SETTING, EFFORT, lambda _: None)
    fake.broken = {"a": "it raised"}
    outcome = gate.against_baseline(folder, SETTING, EFFORT, lambda _: None)
    assert verdicts(outcome) == {"a": "slower", "b": "same"}
    assert set(folder.baseline().cases) == {"a", "b"}


def test_another_cell_of_the_same_name_is_another_case(fake, tmp_path):
    folder = Folder(tmp_path, "m")
    gate.against_baseline(folder, SETTING, EFFORT, lambda _: None)
    plans = [plan._replace(cell="another") for plan in SETTING.plans]
    fake.now = dict.fromkeys(NAMES, 0.5)
    other = SETTING._replace(plans=plans)
    outcome = gate.against_baseline(folder, other, EFFORT, lambda _: None)
    assert {r.reason for r in outcome.results} == {"another cell than the baseline's"}
    outcome = gate.against_baseline(folder, other, EFFORT, lambda _: None)
    assert verdicts(outcome) == {"a": "same", "b": "same"}


def test_an_update_of_some_cases_keeps_the_others(fake, tmp_path):
    folder = Folder(tmp_path, "m")
    gate.against_baseline(folder, SETTING, EFFORT, lambda _: None)
    old = folder.baseline().cases
    one = SETTING._replace(plans=SETTING.plans[:1])
    gate.against_baseline(folder, one, EFFORT, lambda _: None, update=True)
    new = folder.baseline().cases
    assert new["b"] == old["b"]
    assert new["a"] != old["a"]


def test_a_case_that_breaks_costs_the_others_nothing(fake, tmp_path):
    folder = Folder(tmp_path, "m")
    fake.broken = {"a": "no such data"}
    outcome = gate.against_baseline(folder, SETTING, EFFORT, lambda _: None)
    assert set(folder.baseline().cases) == {"b"}
    assert "not measured: no such data" in show.gate_markdown(outcome)


def test_a_gate_that_measured_nothing_fails(fake, tmp_path):
    fake.broken = dict.fromkeys(NAMES, "no such data")
    with pytest.raises(UserError, match="measured nothing: no such data"):
        gate.against_baseline(Folder(tmp_path, "m"), SETTING, EFFORT, lambda _: None)
    assert Folder(tmp_path, "m").baseline() is None


def test_when_all_that_was_looked_at_is_acquitted_so_is_the_rest(fake, tmp_path, monkeypatch):
    monkeypatch.setattr(gate, "LOOKS", 1)
    folder = Folder(tmp_path, "m")
    gate.against_baseline(folder, SETTING, EFFORT, lambda _: None)
    fake.once = {"a": 0.15, "b": 0.12}
    outcome = gate.against_baseline(folder, SETTING, EFFORT, lambda _: None)
    assert verdicts(outcome) == {"a": "unknown", "b": "unknown"}
    assert {r.reason for r in outcome.results} == {gate.ONCE}
    fake.started, fake.once, fake.now = FIRST, {}, {"a": 0.15, "b": 0.12}
    outcome = gate.against_baseline(folder, SETTING, EFFORT, lambda _: None)
    assert verdicts(outcome) == {"a": "slower", "b": "slower"}


def test_what_is_slower_gives_the_baseline_no_counts(fake, tmp_path):
    folder = Folder(tmp_path, "m")
    gate.against_baseline(folder, SETTING, EFFORT, lambda _: None)
    old = folder.baseline()
    less = {name: case.model_copy(update={"counts": {}}) for name, case in old.cases.items()}
    folder.keep(old.model_copy(update={"cases": less}))
    fake.now = {"a": 0.0, "b": 0.3}
    gate.against_baseline(folder, SETTING, EFFORT, lambda _: None)
    kept = folder.baseline().cases
    assert (kept["a"], kept["b"]) == (old.cases["a"], less["b"])


def test_what_breaks_here_and_not_in_the_other_commit_fails(fake, tmp_path):
    fake.now = {"a": 0.0, "b": math.inf}
    outcome = gate.against_commit((tmp_path, "0" * 40), "m", SETTING, EFFORT, lambda _: None)
    assert verdicts(outcome) == {"a": "same", "b": "slower"}


def test_another_commit_is_measured_in_turn(fake, tmp_path):
    fake.now = {"a": 0.0, "b": 0.2}
    other = (tmp_path, "0" * 40)
    outcome = gate.against_commit(other, "m", SETTING, EFFORT, lambda _: None)
    assert verdicts(outcome) == {"a": "same", "b": "slower"}
    assert fake.started == 2 * (3 + 1)
    assert "against commit 000000000" in show.gate_markdown(outcome)
    assert not Folder(tmp_path, "m").path.exists()


def test_a_case_that_the_other_commit_lacks_is_unknown(fake, tmp_path):
    fake.before = {"a": 0.0, "b": math.inf}  # which breaks
    outcome = gate.against_commit((tmp_path, "0" * 40), "m", SETTING, EFFORT, lambda _: None)
    assert verdicts(outcome) == {"a": "same", "b": "unknown"}
    assert any("in 000000000: it broke" in r.reason for r in outcome.results)


def test_time_is_shared_among_what_is_measured(fake, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        fake, "pairs", lambda self, name, s: asked.append((name, s)) or [(1.0, 1.0)]
    )
    effort = EFFORT._replace(seconds=24.0)
    began = time.monotonic()
    measure.measure_trees([HERE], SETTING, effort, lambda _: None)
    assert time.monotonic() - began < 2
    assert sum(seconds for _, seconds in asked) == pytest.approx(24.0, rel=0.01)
    assert len(asked) == 3 * 2 * measure.TURNS


def test_a_case_that_takes_longer_than_its_turn_has_fewer(fake, monkeypatch):
    asked = []

    def pairs(self, name, seconds):
        asked.append(name)
        if name == "b":
            time.sleep(0.1)
        return [(1.0, 1.0)]

    monkeypatch.setattr(fake, "pairs", pairs)
    monkeypatch.setattr(measure, "LEAST", 0.15)
    measure.measure_trees([HERE], SETTING, EFFORT, lambda _: None)
    assert asked.count("a") == 3 * measure.TURNS
    assert asked.count("b") == 3 * EFFORT.first_turns
