"""Verdicts on made-up scores."""

from __future__ import annotations

import numpy as np
import pytest

from suite.published.errors import DECISIONS
from suite.published.numbers import Number, load
from suite.published.verdicts import (
    error_model,
    judge,
    no_value,
    not_run,
)

TASKS = {"pm": 0.4, "pm_kind": "tasks", "pm_basis": "stated", "pm_n": 600}
SEEDS = {"pm": 0.26, "pm_kind": "seeds_std", "pm_basis": "stated", "pm_n": 3}


def number(**changes):
    values = {
        "id": "maml.table1.omniglot-5w1s.maml",
        "paper": "maml",
        "table": "Table 1",
        "dataset": "omniglot",
        "ways": 5,
        "shots": 1,
        "algorithm": "MAML",
        "own_method": True,
        "transductive": "unstated",
        "metric": "accuracy_pct",
        "value": 90.0,
        "level": "A",
    }
    return Number(**{**values, **changes})


def around(mean, seeds=5, episodes=600, spread=4.0):
    """Scores (seeds, episodes) whose seed means are within 0.2 of the mean."""
    shifts = np.linspace(-0.2, 0.2, seeds)[:, None]
    return mean + shifts + np.linspace(-spread, spread, episodes)


def test_a_match():
    found = judge(around(90.05), number(**TASKS), assuming=["task.split"])
    assert found.kind == "matches"
    assert found.difference == pytest.approx(0.05)
    low, high = found.interval
    assert -1 < low < 0.05 < high < 1
    assert (found.margin, found.reason) == (1.0, "")
    assert found.assuming == ("task.split",)
    judged = found.judgement
    assert low < judged.inner[0] < judged.inner[1] < high
    assert judged.reach == pytest.approx(max(-low, high))
    assert 0 < judged.floor < high - 0.05
    assert judged.needs is None
    assert 0.5 < judged.chance <= 1


@pytest.mark.parametrize(
    ("mean", "kind"),
    [(92.0, "above"), (88.0, "below"), (91.0, "differs"), (89.0, "differs")],
)
def test_a_difference_beyond_the_margin_has_a_side(mean, kind):
    found = judge(around(mean), number(**TASKS))
    assert (found.kind, found.reason) == (kind, "")
    assert found.difference == pytest.approx(mean - 90)


def test_a_match_may_exclude_equality():
    scores = around(90.6) - np.linspace(-0.2, 0.2, 5)[:, None]  # seeds that agree
    found = judge(scores, number(pm=0.1, pm_kind="tasks", pm_basis="stated"))
    assert (found.kind, found.reason) == ("matches", "though not equal")


def test_what_more_seeds_would_decide_says_how_many():
    spread = np.linspace(-0.6, 0.6, 4)[:, None]
    found = judge(around(90.0, seeds=4) * 0 + 90 + spread, number(value=98.7, **TASKS))
    assert found.kind == "below"
    found = judge(98.7 + spread + np.linspace(-4, 4, 600), number(value=98.7, **TASKS))
    assert found.kind in ("inconclusive", "undecidable")
    assert (found.kind == "inconclusive") == (found.judgement.needs is not None)


def regression(**changes):
    return number(
        **{"metric": "mse", "ways": None, "transductive": "n/a", "value": 0.67, **changes}
    )


def errors(mean, seeds=5, episodes=600, spread=0.01):
    """Errors (seeds, episodes) of tasks, none of which carries the mean."""
    tasks = np.linspace(0.5, 1.5, episodes)
    return mean * np.exp(np.linspace(-spread, spread, seeds))[:, None] * tasks


@pytest.mark.parametrize(
    ("ratio", "kind"),
    [(1.0, "matches"), (1.15, "matches"), (1 / 1.15, "matches"), (1.4, "above"), (0.7, "below")],
)
def test_errors_are_compared_by_their_ratio(ratio, kind):
    found = judge(errors(0.67 * ratio), regression())
    assert found.kind == kind
    assert found.difference == pytest.approx(np.log(ratio), abs=1e-4)
    assert found.margin == pytest.approx(np.log(1.25))


def test_a_ratio_does_not_depend_on_the_unit():
    one, thousand = (
        judge(unit * errors(0.7), regression(value=0.67 * unit)) for unit in (1.0, 1000.0)
    )
    # But for the rounding of the published number, which has another share of it.
    assert one.interval == pytest.approx(thousand.interval, abs=1e-2)
    assert one.difference == pytest.approx(thousand.difference)


def test_on_the_papers_own_tasks_no_error_over_tasks_is_left():
    scores = errors(0.7)
    apart = error_model(scores, regression(), their_tasks=False, own_tasks=False)
    same = error_model(scores, regression(), their_tasks=True, own_tasks=False)
    own = error_model(scores, regression(), their_tasks=False, own_tasks=True)
    assert [len(model.fixed) for model in (same, own, apart)] == [1, 2, 3]
    rounding = same.fixed[0].variance
    assert rounding == pytest.approx(0.01**2 / 12 / 0.67**2)
    tasks = np.linspace(0.5, 1.5, 600)
    assert own.fixed[1].variance == pytest.approx(tasks.var(ddof=1) / 600, rel=1e-3)
    assert apart.between == pytest.approx(np.log(scores.mean(axis=1)).var(ddof=1))
    assert same.between == own.between == apart.between
    assert judge(scores, regression(), their_tasks=True).assuming == ()
    assert len(judge(scores, regression()).assuming) == 1


def test_a_diverged_task_of_a_regression_leaves_no_mean_to_compare():
    scores = errors(0.3)
    scores[0, 7] = np.inf
    found = judge(scores, regression(value=0.3))
    assert (found.kind, found.difference, found.judgement) == ("undecidable", None, None)
    assert found.reason == "1 diverged episode"
    assert judge(scores[:3], regression(value=0.3)).kind == "diverged"


def test_a_task_that_carries_the_mean_widens_the_interval_over_trainings_alone():
    scores = errors(0.3)
    scores[:, 7] = 0.3 * 600 * np.array([0.1, 10.0, 0.5, 3.0, 30.0])
    theirs = judge(scores, regression(value=0.3), their_tasks=True)
    assert theirs.kind == "undecidable"
    means = np.log(scores.mean(axis=1))
    half = 2.776445 * means.std(ddof=1) * np.sqrt(1 / 5 + 1)
    assert theirs.interval[1] - theirs.difference == pytest.approx(half, rel=2e-3)
    assert judge(scores, regression(value=0.3)).kind == "undecidable"


@pytest.mark.parametrize("zero", [np.zeros((5, 600)), np.vstack([np.zeros(600), errors(0.3)[:4]])])
def test_a_mean_of_zero_has_no_ratio(zero):
    found = judge(zero, regression())
    assert (found.kind, found.interval) == ("inconclusive", None)
    assert found.reason == "a mean is 0, so the ratio does not exist"


def test_the_rounding_is_that_of_the_table():
    # 5.60 is printed with two decimals, as its neighbours 5.69 and 7.18.
    published = load().number("maml.table2.sinusoid-5.multi-task-l2.step10")
    model = error_model(errors(5.6), published, their_tasks=True, own_tasks=False)
    assert model.fixed[0].variance == pytest.approx(0.01**2 / 12 / 5.6**2)


def test_a_setting_without_a_margin_is_not_judged():
    returns = {"metric": "average_return", "dataset": "nowhere", "ways": None}
    found = judge(around(0.7), number(**returns, transductive="n/a", value=0.6))
    assert (found.kind, found.margin, found.interval) == ("inconclusive", None, None)
    assert found.reason == "no margin is set for average_return in this setting"


def test_what_differs_is_named_and_nothing_is_judged():
    found = judge(around(90.0), number(**TASKS), differing=["15 query shots, not 1", "max-pool"])
    assert (found.kind, found.interval) == ("not comparable", None)
    assert found.reason == "15 query shots, not 1; max-pool"
    assert found.difference == pytest.approx(0)


def test_a_shortened_run_is_not_judged():
    found = judge(around(80.0), number(**TASKS), shortened="100 of 60,000 outer steps")
    assert (found.kind, found.interval) == ("shortened", None)
    assert found.reason == "100 of 60,000 outer steps"
    assert found.difference == pytest.approx(-10)


@pytest.mark.parametrize(
    ("seeds", "episodes", "reason"),
    [
        (1, 600, "one seed of 4"),
        (0, 600, "no seed of 4"),
        (5, 1, "one test episode: the spread between them is unknown"),
    ],
)
def test_too_little_to_judge(seeds, episodes, reason):
    found = judge(around(95.0, seeds, episodes, spread=0.0), number(**TASKS))
    assert (found.kind, found.interval, found.reason) == ("inconclusive", None, reason)
    assert (found.difference is None) == (seeds == 0)


@pytest.mark.parametrize("mean", [97.0, 90.0])
def test_fewer_than_four_seeds_have_an_interval_and_no_verdict(mean):
    found = judge(around(mean, seeds=3), number(**TASKS))
    assert (found.kind, found.reason) == ("inconclusive", "3 of 4 seeds")
    assert found.interval is not None
    assert found.judgement.chance is None
    assert judge(around(mean, seeds=4), number(**TASKS)).kind in ("above", "matches")


def test_diverged_seeds_are_counted_and_give_no_flattering_difference():
    found = judge(around(95.0, seeds=4), number(**TASKS), diverged_seeds=1)
    assert (found.kind, found.difference, found.interval) == ("diverged", None, None)
    assert found.reason == "1 of 5 seeds diverged"
    found = judge(np.empty((0, 600)), number(**TASKS), diverged_seeds=3)
    assert (found.kind, found.reason) == ("diverged", "3 of 3 seeds diverged")
    assert judge(errors(0.67), regression(), diverged_seeds=1).kind == "diverged"


def test_diverged_episodes_are_counted():
    scores = around(90.0)
    scores[0, 0] = np.nan
    found = judge(scores, number(**TASKS))
    assert (found.kind, found.reason) == ("diverged", "1 diverged episode")
    scores[2, :2] = np.inf
    found = judge(scores, number(**TASKS), diverged_seeds=1)
    assert (found.difference, found.interval) == (None, None)
    assert found.reason == "1 of 6 seeds diverged, 3 diverged episodes"


def test_the_gravest_reason_comes_first():
    all_of_it = {"differing": ["max-pool"], "shortened": "10 of 20 steps", "diverged_seeds": 1}
    found = judge(around(90.0, seeds=1), number(**TASKS), **all_of_it)
    assert (found.kind, found.reason) == ("not comparable", "max-pool; 1 of 2 seeds diverged")
    del all_of_it["differing"]
    found = judge(around(90.0, seeds=1), number(**TASKS), **all_of_it)
    assert (found.kind, found.reason) == ("shortened", "10 of 20 steps; 1 of 2 seeds diverged")
    del all_of_it["shortened"]
    found = judge(around(90.0, seeds=1), number(**TASKS), **all_of_it)
    assert (found.kind, found.reason) == ("diverged", "1 of 2 seeds diverged")


def test_equal_scores():
    # Nothing varies on our side: the paper's own error and its rounding are left.
    found = judge(np.full((4, 10), 90.0), number(**TASKS))
    assert found.kind == "matches"
    # t(0.975, 599) = 1.9639: nearly the paper's own 0.4, and sqrt(0.1² / 12) = 0.0289.
    half = 1.9639 * np.hypot(0.4 / 1.96, 0.1 / np.sqrt(12))
    assert found.interval == pytest.approx((-half, half), abs=1e-3)


def test_99_2_never_matches_99_9():
    """The audit's case: FOMAML's published accuracy beside MAML's."""
    rng = np.random.default_rng(5)
    where = {"id": "maml.table1.omniglot-5w5s.maml", "shots": 5, "value": 99.9}
    published = number(**{**TASKS, **where, "pm": 0.1})
    kinds = []
    for _ in range(200):
        ours = 99.2 + rng.normal(scale=0.1, size=(5, 1)) + rng.normal(scale=1.2, size=(5, 1000))
        kinds.append(judge(ours, published, own_tasks=True).kind)
    assert kinds.count("matches") == 0
    assert kinds.count("below") > 100
    assert set(kinds) <= {"below", "differs", *DECISIONS[3:]}


def test_nothing_to_compare():
    missing = not_run(number(**TASKS))
    assert (missing.kind, missing.difference, missing.margin) == ("not run", None, 1.0)
    assert (no_value().kind, no_value().margin) == ("no published value", None)


@pytest.mark.parametrize(
    ("published", "assumed"),
    [
        (TASKS, []),
        ({}, ["a published error over test tasks as large as ours (no ± is given)"]),
        (
            {"pm_n": 50},
            ["a published error over test tasks as large as ours over 50 tasks (no ± is given)"],
        ),
        (
            {"pm": 0.04, "pm_kind": "unstated"},
            [
                "a published error over test tasks as large as ours (what ± 0.04 means is not "
                "stated)"
            ],
        ),
        (SEEDS, ["a published error over test tasks as large as ours (± 0.26 is over 3 seeds)"]),
        ({**TASKS, "pm_basis": "inferred"}, ["± 0.4 is over test tasks (inferred)"]),
        ({**TASKS, "pm_verified": False}, ["± 0.4 is right (not verified)"]),
    ],
)
def test_what_is_assumed_of_the_published_error_is_said(published, assumed):
    scores = around(90.0)
    assert judge(scores, number(**published), assuming=["a"]).assuming == ("a", *assumed)
    # Only by a verdict that leans on it.
    assert judge(scores, number(**published), assuming=["a"], shortened="b").assuming == ("a",)
