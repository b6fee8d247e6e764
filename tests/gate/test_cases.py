"""The cases of a profile, and that each does what it says."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch

from suite.cell.setup import set_up
from suite.config.profile import expand, load_profile
from suite.gate import calibration as plain
from suite.gate.cases import PARTS, START, build_case, outer_step, plans
from suite.gate.counts import count
from suite.gate.sampling import TimeSampler
from tests.cells import make

CPU = torch.device("cpu")


def quick():
    return plans(expand(load_profile("quick"), ["cpu"], 1))


def test_every_algorithm_of_every_experiment_is_measured_once():
    names = [plan.name for plan in quick()]
    assert len(set(names)) == len(names)
    for experiment in ("sinusoid", "glyphs-5w1s", "glyphs-5w5s"):
        assert f"{experiment}/sampling" in names
        for algorithm in ("sgd", "finetune", "maml", "fomaml", "reptile"):
            assert f"{experiment}/{algorithm}/test" in names
            assert (f"{experiment}/{algorithm}/outer step" in names) == (algorithm != "sgd")
    assert names[-1] == START


def test_the_small_set_has_both_orders_on_each_task():
    assert {plan.name for plan in quick() if plan.fast} == {
        f"{experiment}/{part}"
        for experiment in ("sinusoid", "glyphs-5w1s")
        for part in ("sampling", "maml/outer step", "maml/test", "fomaml/outer step")
    }


def test_a_profile_without_second_order_has_a_small_set_too():
    found = plans([make("reptile"), make("sgd")])
    assert {plan.part for plan in found if plan.fast} == {"sampling", "outer step", "test"}


@pytest.mark.parametrize("plan", plans([make("maml"), make("sgd")])[:-1], ids=lambda p: p.name)
def test_cases_can_be_sampled_and_counted_alike(plan):
    case = build_case(plan, None)
    pairs = TimeSampler(case).pairs(0.0, least=2)
    assert len(pairs) == 2
    assert all(work > 0 and calibration > 0 for work, calibration in pairs)
    found = [count(case.work, CPU) for _ in range(2)]
    assert found[0][:2] == found[1][:2]
    assert found[0].allocated == pytest.approx(found[1].allocated, rel=0.05, abs=2**15)


def test_an_outer_step_always_starts_from_the_initial_weights():
    setup = set_up(make("maml"), None, CPU)
    seen = []
    loop = setup.outer_loop()
    expected = loop.step(0)
    work = outer_step(setup)
    original = type(loop).step
    try:
        type(loop).step = lambda self, step: seen.append(original(self, step))
        work()
        work()
    finally:
        type(loop).step = original
    assert [float(loss) for loss in seen] == [float(expected)] * 2


def test_all_parts_are_built_by_name():
    assert set(PARTS) == {
        "sampling", "inner step", "inner loop", "outer step", "test", "training and test",
    }  # fmt: skip


def test_the_calibration_uses_nothing_of_the_suite():
    tree = ast.parse(Path(plain.__file__).read_text())
    modules = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    modules |= {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    assert not any(module.startswith("suite") for module in modules)


@pytest.mark.parametrize("shape", [(1,), (1, 28, 28)])
@pytest.mark.parametrize("step", [True, False])
def test_the_calibration_works(shape, step):
    plain.supervised(shape, 10, 4, CPU, step)()
    plain.drawing(shape, 10, CPU)()


def test_what_takes_seconds_is_sampled_once_a_turn_and_cold():
    from suite.gate.cases import Case

    calls = []
    sampler = TimeSampler(
        Case(lambda: calls.append("work"), lambda: calls.append("plain"), CPU, True)
    )
    assert not calls
    assert [len(sampler.pairs(5.0)) for _ in range(3)] == [1, 1, 1]
    assert sorted(calls) == 3 * ["plain"] + 3 * ["work"]


def test_samples_alternate_who_comes_first():
    from suite.gate.cases import Case

    order = []
    case = Case(lambda: order.append("work"), lambda: order.append("plain"), CPU)
    sampler = TimeSampler(case)
    sampler._repeats = [1, 1]
    order.clear()
    sampler.pairs(0.0, least=4)
    assert order == ["work", "plain", "plain", "work", "work", "plain", "plain", "work"]
