"""The gate's rule on made-up samples."""

from __future__ import annotations

import math

import numpy as np
import pytest

from suite.gate import decision as decide


def pairs(logarithms) -> list[decide.Sample]:
    """Samples of work that takes so much longer than its calibration."""
    return [(math.exp(x), 1.0) for x in logarithms]


def blocks(
    count: int, level: float = 0.0, between: float = 0.0, seed: int = 0
) -> list[list[decide.Sample]]:
    draws = np.random.default_rng(seed)
    return [
        pairs(level + between * draws.standard_normal() + 0.02 * draws.standard_normal(30))
        for _ in range(count)
    ]


@pytest.mark.parametrize(
    ("level", "verdict"), [(0.0, "same"), (0.02, "same"), (0.12, "slower"), (-0.12, "faster")]
)
def test_a_change_is_seen_beyond_the_threshold(level, verdict):
    found = decide.judge_time(blocks(9, seed=1), blocks(3, level, seed=2))
    assert found.verdict == verdict
    assert found.change == pytest.approx(math.expm1(level), abs=0.01)
    assert decide.FLOOR <= found.threshold < 0.08


def test_noise_between_processes_raises_the_threshold_until_nothing_is_known():
    quiet = decide.judge_time(blocks(9, between=0.005), blocks(3, between=0.005, seed=1))
    loud = decide.judge_time(blocks(9, between=0.1), blocks(3, between=0.1, seed=1))
    assert quiet.threshold < loud.threshold
    assert (quiet.verdict, loud.verdict) == ("same", "unknown")


def test_a_slow_process_among_quiet_ones_is_noise():
    now = blocks(3, seed=1)
    now[1] = [(1.28 * work, calibration) for work, calibration in now[1]]
    assert decide.judge_time(blocks(9), now).verdict != "slower"


def test_small_changes_are_nobodys_business_however_sure():
    steady = [pairs(0.0 + 1e-4 * i for i in range(30)) for _ in range(40)]
    moved = [pairs(0.025 + 1e-4 * i for i in range(30)) for _ in range(40)]
    found = decide.judge_time(steady, moved)
    assert found.p < 1e-9
    assert found.verdict == "same"
    assert found.threshold == pytest.approx(math.expm1(decide.FLOOR))


def test_too_few_samples_accuse_nobody():
    assert decide.judge_time([pairs([0.0])] * 2, [pairs([1.0])] * 2).verdict == "unknown"


def test_hiccups_in_a_third_of_the_samples_change_nothing():
    """A busy moment adds time to the work, to its calibration or to both."""
    now, draws = blocks(3, seed=1), np.random.default_rng(5)
    disturbed = [
        [tuple(np.array(pair) * (1 + (draws.random(2) < 0.35))) for pair in block] for block in now
    ]
    calm, found = decide.judge_time(blocks(9), now), decide.judge_time(blocks(9), disturbed)
    assert found.verdict == "same"
    assert found.change == pytest.approx(calm.change, abs=0.02)


def test_unchanged_code_is_rarely_accused_and_a_tenth_is_seen():
    accused = seen = 0
    for seed in range(200):
        before = blocks(9, between=0.02, seed=3 * seed)
        accused += decide.judge_time(before, blocks(3, 0, 0.02, 3 * seed + 1)).verdict == "slower"
        seen += (
            decide.judge_time(before, blocks(3, math.log(1.12), 0.02, 3 * seed + 2)).verdict
            == "slower"
        )
    assert accused <= 2
    assert seen >= 180


def test_the_spread_is_about_each_sides_own_mean():
    one, other = np.array([1.0, 1.0, 1.0]), np.array([5.0, 5.0])
    spread, degrees = decide.noise(one, other)
    assert degrees == decide.PRIOR_BLOCKS + 2 + 1
    assert spread == pytest.approx(math.sqrt(decide.PRIOR_BLOCKS * decide.PRIOR**2 / degrees))


@pytest.mark.parametrize(
    ("name", "before", "now", "verdict"),
    [
        ("synchronisations", 1, 2, "slower"),
        ("synchronisations", 0, 1, "slower"),
        ("synchronisations", 2, 1, "faster"),
        ("operators", 1000, 1010, "same"),
        ("operators", 1000, 1011, "slower"),
        ("operators", 7, 14, "slower"),
        ("operators", 7, 8, "slower"),
        ("allocated", 2**20, round(1.04 * 2**20), "same"),
        ("allocated", 2**20, round(1.1 * 2**20), "slower"),
        ("allocated", 60_000, 66_000, "slower"),
        ("allocated", 10_000, 10_500, "same"),
        ("instructions", 10**9, round(1.015 * 10**9), "same"),
        ("instructions", 10**9, round(1.03 * 10**9), "slower"),
    ],
)
def test_counts(name, before, now, verdict):
    assert decide.compare_count(name, before, now).verdict == verdict


@pytest.mark.parametrize(
    ("verdicts", "worst"),
    [
        (["same", "slower", "unknown"], "slower"),
        (["same", "unknown", "faster"], "unknown"),
        (["same", "faster"], "faster"),
        (["same", "same"], "same"),
        ([], "unknown"),
    ],
)
def test_the_worst_that_is_sure_speaks(verdicts, worst):
    assert decide.overall(verdicts) == worst
