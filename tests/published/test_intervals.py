"""The interval of a difference against arithmetic by hand and against simulated papers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from suite.published.verdicts import judge
from tests.published.test_verdicts import SEEDS, TASKS, number


def coverage_of_t(limit, degrees):
    """P(|T| < limit) of Student's t, by integrating its density."""
    x = np.linspace(-limit, limit, 400_001)
    scale = math.gamma((degrees + 1) / 2) / math.gamma(degrees / 2) / math.sqrt(degrees * math.pi)
    return np.trapezoid(scale * (1 + x**2 / degrees) ** (-(degrees + 1) / 2), x)


#: The rounding of a number with one decimal.
ROUNDED = (0.1**2 / 12, math.inf)


@pytest.mark.parametrize(
    ("published", "parts"),
    [
        # Seed means 91 and 96: s² = 12.5, with theirs 12.5 (1 + 1/2) = 18.75, 1 degree of freedom.
        # Episodes averaged over seeds: 94 and 93, variance 0.5, of their mean 0.25, 1 degree.
        # ± 1.9 / 1.96 is the standard error.
        ({"pm": 1.9, "pm_kind": "tasks", "pm_basis": "stated", "pm_n": 101}, [(0.9397, 100)]),
        ({"pm": 1.9, "pm_kind": "tasks", "pm_basis": "stated"}, [(0.9397, math.inf)]),
        ({"pm": 2.0, "pm_kind": "tasks_std", "pm_basis": "code", "pm_n": 40}, [(0.1, 39)]),
        # Within the seeds: variances 2 and 8, on average 5.
        ({}, [(2.5, 1)]),
        ({"pm_n": 50}, [(0.1, 1)]),
        ({"pm": 0.3, "pm_kind": "unstated"}, [(2.5, 1)]),
    ],
)
def test_interval_by_hand(published, parts):
    check_interval(published, [(18.75, 1), (0.25, 1), ROUNDED, *parts])


def test_interval_by_hand_where_the_spread_is_over_their_seeds():
    published = {"pm": 3.0, "pm_kind": "seeds_std", "pm_basis": "stated", "pm_n": 3}
    # Ours 12.5 / 2, theirs 9 / 3, and an error over tasks of 0.25 on either side.
    check_interval(published, [(6.25, 1), (3, 2), (0.25, 1), (0.25, 1), ROUNDED])


def check_interval(published, parts):
    scores = np.array([[90.0, 92.0], [98.0, 94.0]])
    found = judge(scores, number(**published))
    variance = sum(v for v, _ in parts)
    degrees = variance**2 / sum(v**2 / d for v, d in parts)
    assert found.difference == 3.5
    low, high = found.interval
    assert (low + high) / 2 == pytest.approx(3.5)
    assert coverage_of_t((high - 3.5) / math.sqrt(variance), degrees) == pytest.approx(0.95, 1e-4)


def trainings(rng, count, tasks, noise):
    """Scores of trainings on shared tasks: of the training, the task, and which meets which."""
    seed, task, both = noise
    return (
        rng.normal(scale=seed, size=(count, 1))
        + rng.normal(scale=task, size=tasks)
        + rng.normal(scale=both, size=(count, tasks))
    )


def paper(rng, kind, tasks, noise):
    """A paper whose method's true value is 90."""
    if kind == "seeds_std":
        means = 90 + trainings(rng, 3, tasks, noise).mean(axis=1)
        return number(value=means.mean(), **{**SEEDS, "pm": means.std(ddof=1)})
    run = 90 + trainings(rng, 1, tasks, noise)[0]
    if kind is None:
        return number(value=run.mean(), pm_n=tasks)
    if kind == "tasks_std":
        pm = {"pm": run.std(ddof=1), "pm_kind": kind, "pm_basis": "code", "pm_n": tasks}
    else:
        pm = {**TASKS, "pm": 1.96 * run.std(ddof=1) / math.sqrt(tasks), "pm_n": tasks}
    return number(value=run.mean(), **pm)


def simulated(rng, kind, noise, true=0.0, seeds=5, trials=800):
    """Verdicts on ``true`` + 90 against papers with their own seeds and tasks."""
    return [
        judge(90 + true + trainings(rng, seeds, 50, noise), paper(rng, kind, 50, noise))
        for _ in range(trials)
    ]


@pytest.mark.parametrize("kind", ["tasks", "tasks_std", "seeds_std", None])
@pytest.mark.parametrize("noise", [(1.0, 1.0, 0.5), (0.2, 8.0, 1.0), (1.0, 6.0, 1.0)])
def test_interval_covers_what_it_promises(kind, noise):
    found = simulated(np.random.default_rng(3), kind, noise)
    held = np.mean([v.interval[0] <= 0 <= v.interval[1] for v in found])
    # Three standard errors of a proportion of 800 trials are 2.3 points.
    assert abs(held - 0.95) < 0.025
    assert np.mean([v.kind in ("above", "below") for v in found]) < 0.05


@pytest.mark.parametrize("seeds", [4, 5])
def test_errors_of_either_kind_are_rare_and_the_truth_is_found(seeds):
    rng, small = np.random.default_rng(4), (0.05, 1.0, 0.3)
    # A true difference of exactly the margin is neither a match nor beyond it.
    border = [v.kind for v in simulated(rng, "tasks", small, true=1.0, seeds=seeds)]
    assert border.count("matches") / 800 < 0.05
    assert border.count("above") / 800 < 0.05
    assert "below" not in border
    # And where there is power, the right verdict is nearly always given.
    for true, kind in [(0.0, "matches"), (2.5, "above"), (-2.5, "below")]:
        kinds = [v.kind for v in simulated(rng, "tasks", small, true, seeds, trials=200)]
        assert kinds.count(kind) / 200 > 0.95
