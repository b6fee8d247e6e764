"""Verdicts on made-up scores."""

from __future__ import annotations

import numpy as np
import pytest

from suite.core.metrics import margins
from suite.published.numbers import Number
from suite.published.verdicts import judge, no_value, not_run

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
    found = judge(around(90.1), number(**TASKS), assuming=["task.split"])
    assert found.kind == "matches"
    assert found.difference == pytest.approx(0.1)
    assert found.interval is not None
    assert -1 < found.interval[0] < 0.1 < found.interval[1] < 1
    assert (found.margin, found.reason) == (1.0, "")
    assert found.assuming == ("task.split",)


@pytest.mark.parametrize(
    ("mean", "kind"), [(93.0, "above"), (87.0, "below"), (91.0, "inconclusive")]
)
def test_a_difference_counts_where_the_whole_interval_is_beyond_the_margin(mean, kind):
    found = judge(around(mean), number(**TASKS))
    assert (found.kind, found.reason) == (kind, "")
    assert found.difference == pytest.approx(mean - 90)


def test_the_verdict_turns_where_an_end_of_the_interval_meets_the_margin():
    scores, margin = around(90.0), margins()["accuracy_pct"]
    half = judge(scores, number(**TASKS)).interval[1]
    tiny = 1e-6
    for sign, beyond in [(1, "above"), (-1, "below")]:
        for difference, kind in [
            (margin - half - tiny, "matches"),
            (margin - half + tiny, "inconclusive"),
            (margin + half - tiny, "inconclusive"),
            (margin + half + tiny, beyond),
        ]:
            published = number(**TASKS, **{"value": 90.0 - sign * difference})
            assert judge(scores, published).kind == kind


def test_the_margin_is_the_metrics():
    regression = {"metric": "mse", "ways": None, "transductive": "n/a", "value": 0.67}
    scores = around(0.70, spread=0.05) * np.ones((5, 1))
    scores -= np.linspace(-0.19, 0.19, 5)[:, None]  # seed means within 0.01
    found = judge(scores, number(**regression))
    assert (found.kind, found.margin) == ("matches", 0.1)
    # A tenth is nothing in percent and everything in squared error.
    assert judge(scores + 0.2, number(**regression)).kind == "above"
    returns = {**regression, "metric": "average_return"}
    found = judge(scores, number(**returns))
    assert (found.kind, found.margin, found.interval) == ("inconclusive", None, None)
    assert found.reason == "no equivalence margin is set for average_return"


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
        (1, 600, "one seed: the spread between trainings is unknown"),
        (0, 600, "no seed: the spread between trainings is unknown"),
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
    assert (found.kind, found.reason) == ("inconclusive", "3 seeds; a verdict takes 4")
    assert found.interval is not None
    assert judge(around(mean, seeds=4), number(**TASKS)).kind in ("above", "matches")


def test_diverged_seeds_are_counted_and_give_no_flattering_difference():
    found = judge(around(95.0, seeds=4), number(**TASKS), diverged_seeds=1)
    assert (found.kind, found.difference, found.interval) == ("inconclusive", None, None)
    assert found.reason == "1 of 5 seeds diverged"
    found = judge(np.empty((0, 600)), number(**TASKS), diverged_seeds=3)
    assert (found.kind, found.reason) == ("inconclusive", "3 of 3 seeds diverged")


def test_diverged_episodes_are_counted():
    scores = around(90.0)
    scores[0, 0] = np.nan
    found = judge(scores, number(**TASKS))
    assert (found.kind, found.reason) == ("inconclusive", "1 diverged episode")
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
    assert (found.kind, found.reason) == ("inconclusive", "1 of 2 seeds diverged")


def test_equal_scores():
    # Nothing varies on our side: the paper's own error is left.
    found = judge(np.full((4, 10), 90.0), number(**TASKS))
    assert found.kind == "matches"
    # t(0.975, 599) = 1.9639, so nearly the paper's own 0.4.
    assert found.interval == pytest.approx((-0.40080, 0.40080), abs=1e-4)
    # And nothing to take the paper's error from: an error of zero is not claimed.
    found = judge(np.full((4, 10), 90.0), number())
    assert (found.kind, found.interval, found.difference) == ("inconclusive", None, 0.0)
    assert found.reason == "equal scores throughout: no error can be estimated"


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
