"""Decisions on a difference: their boundaries by hand, and how often they are wrong."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from suite.published.errors import (
    DECISIONS,
    REACH,
    ErrorModel,
    VariancePart,
    chances,
    decide,
    largest_spread,
    seeds_needed,
)


def kind(difference, model, margin=1.0):
    return DECISIONS[int(decide(difference, model, margin))]


def known(half):
    """Errors whose 95 % interval has a half width that no seeds change."""
    return ErrorModel(0.0, 4, (VariancePart((half / 1.959964) ** 2, math.inf),))


@pytest.mark.parametrize(
    ("half", "difference", "wanted"),
    [
        # The 92 % interval is 0.89322 times as wide.
        (0.5, 1 - 0.5 * 0.89322 - 1e-4, "matches"),
        (0.5, 1 - 0.5 * 0.89322 + 1e-4, "differs"),
        (0.5, -(1 - 0.5 * 0.89322 - 1e-4), "matches"),
        (0.5, 1.5 - 1e-4, "differs"),
        (0.5, 1.5 + 1e-4, "beyond"),
        (1.3, 1.3 - 1e-4, "consistent"),
        (1.3, 1.3 + 1e-4, "differs"),
        (2 - 1e-4, 0.0, "consistent"),
        (2 + 1e-4, 0.0, "undecidable"),
        (2 + 1e-4, -3.1, "beyond"),
        (2 + 1e-4, 2.1, "differs"),
    ],
)
def test_a_decision_turns_where_an_interval_meets_zero_or_the_margin(half, difference, wanted):
    assert kind(difference, known(half)) == wanted


def test_what_more_seeds_would_decide_is_inconclusive():
    wide = ErrorModel(0.5, 4)  # t(0.975, 3) sqrt(0.5 (1/4 + 1)) = 2.5; with 20 seeds 1.5
    assert float(wide.half_width(0.95)) == pytest.approx(3.18245 * math.sqrt(0.625), rel=1e-5)
    assert kind(0.0, wide) == "inconclusive"
    needs = seeds_needed(0.0, wide, 1.0, 4)
    assert float(replace(wide, seeds=needs).half_width(0.95)) <= 2
    assert float(replace(wide, seeds=needs - 1).half_width(0.95)) > 2
    assert kind(0.0, replace(wide, seeds=needs)) == "consistent"
    # If even 20 seeds leave it too wide, nobody can decide.
    assert kind(0.0, ErrorModel(4.0, 4)) == "undecidable"
    assert seeds_needed(0.0, ErrorModel(4.0, 4), 1.0, 4) is None
    assert REACH == 20


def test_no_decision_is_inconclusive_for_ever():
    rng = np.random.default_rng(1)
    for _ in range(200):
        model = ErrorModel(rng.exponential(), int(rng.integers(4, 12)))
        difference = rng.normal(scale=2)
        if kind(difference, model) == "inconclusive":
            assert 4 < seeds_needed(difference, model, 1.0, 4) <= REACH
        else:
            assert kind(difference, replace(model, seeds=REACH)) != "inconclusive"


def test_the_floor_is_what_unlimited_seeds_leave():
    model = ErrorModel(0.04, 5, (VariancePart(0.01, 599),))
    assert model.floor == pytest.approx(1.96 * math.sqrt(0.05), rel=1e-6)
    assert ErrorModel(0.04, 5, runs=math.inf).floor == pytest.approx(0, abs=1e-4)


def test_the_spread_at_which_a_verdict_tips():
    model = ErrorModel(0.01, 5)
    for difference in (0.0, 0.7, 3.0):
        wanted, ratio = kind(difference, model), largest_spread(difference, model, 1.0)
        assert ratio > 1
        assert kind(difference, replace(model, spread=0.999 * ratio)) == wanted
        assert kind(difference, replace(model, spread=1.001 * ratio)) != wanted
    assert largest_spread(0.0, ErrorModel(0.0, 5, (VariancePart(0.01, 10),)), 1.0) == math.inf


SPREADS = [0.05, 0.1, 0.2, 0.4, 0.8]
TASKS = [0.0, 0.3, 1.0]


@pytest.mark.parametrize("seeds", [4, 5, 10])
def test_wrong_decisions_are_rare(seeds):
    """At a true difference of a margin or of none, over all spreads and errors over tasks."""
    rng, count = np.random.default_rng(seeds), 4000
    # Three standard errors of a proportion of 0.05 or 0.025 in 4,000 trials.
    slack, small = 3 * math.sqrt(0.05 / count), 3 * math.sqrt(0.025 / count)
    for spread in SPREADS:
        for error in TASKS:
            model = ErrorModel(spread**2, seeds, (VariancePart(error**2, 599),))
            at = {
                true: dict(zip(DECISIONS, chances(true, model, 1.0, rng, count), strict=True))
                for true in (0.0, 1.0, 3.0)
            }
            assert at[1.0]["matches"] < 0.05 + slack
            assert at[0.0]["beyond"] < 0.025 + small
            assert at[1.0]["beyond"] < 0.04 + slack
            assert at[3.0]["consistent"] < 0.17 + slack


def test_equal_results_of_wide_trainings_are_rarely_beyond():
    """With trainings that spread by more than a margin, the bound is that of the interval."""
    rng, count = np.random.default_rng(2), 4000
    for spread in (1.5, 3.0, 6.0):
        for seeds in (4, 10):
            beyond = chances(0.0, ErrorModel(spread**2, seeds), 1.0, rng, count)[1]
            assert beyond < 0.05 + 3 * math.sqrt(0.05 / count)


def test_equal_results_match_where_there_is_power():
    strong = ErrorModel(0.01, 5)
    rng = np.random.default_rng(0)
    assert chances(0.0, strong, 1.0, rng)[DECISIONS.index("matches")] > 0.98
    assert chances(4.0, strong, 1.0, rng)[DECISIONS.index("beyond")] > 0.98
