"""Every statistic against numbers worked out by hand, and the intervals against their promise."""

from __future__ import annotations

import math

import numpy as np
import pytest

from suite.core.statistics import (
    episode_interval,
    median,
    paired_difference,
    seed_interval,
    seed_means,
    summarise,
)


def test_seed_means_average_within_a_seed_and_refuse_a_diverged_one():
    means = seed_means(np.array([[1.0, 3.0], [2.0, np.inf], [np.nan, 0.0]]))
    assert means[0] == 2.0
    assert np.isnan(means[1:]).all()


def test_seed_interval_by_hand():
    # 1, 2, 3: standard deviation 1; t(0.975, 2) = 4.302653 (any table); divided by sqrt(3).
    assert seed_interval(np.array([1.0, 2.0, 3.0])) == pytest.approx(
        4.302653 / math.sqrt(3), rel=1e-6
    )
    # t(0.95, 2) = 2.919986 for 90 %.
    assert seed_interval(np.array([1.0, 2.0, 3.0]), 0.9) == pytest.approx(
        2.919986 / math.sqrt(3), rel=1e-6
    )


@pytest.mark.parametrize("values", [[], [0.5], [0.5, np.nan], [0.5, np.inf, 0.1]])
def test_seed_interval_is_none_where_there_is_no_spread_to_know(values):
    assert seed_interval(np.array(values)) is None


def test_episode_interval_is_the_papers():
    # 0, 1, 1, 0: mean 1/2, sample variance 1/3; 1.96 sqrt(1/3) / sqrt(4).
    expected = 1.96 * math.sqrt(1 / 3) / 2
    assert episode_interval(np.array([0, 1, 1, 0])) == pytest.approx(expected)
    assert episode_interval(np.array([0, 1, np.nan, 0])) is None
    assert episode_interval(np.array([1.0])) is None


def test_median_ranks_diverged_episodes_worst():
    scores = np.array([[0.1, 0.2, np.inf], [0.3, 0.4, np.nan]])
    # Errors: medians 0.2 and 0.4. Accuracies: a diverged episode is the lowest: 0.1 and 0.3.
    assert median(scores, higher_is_better=False) == pytest.approx(0.3)
    assert median(scores, higher_is_better=True) == pytest.approx(0.2)
    assert median(np.array([[0.1, np.inf, np.nan]]), higher_is_better=False) is None
    assert median(np.empty((0, 3)), higher_is_better=False) is None


def test_summary_by_hand():
    found = summarise(np.array([[0.0, 1.0], [1.0, 1.0]]), higher_is_better=True)
    assert found.mean == 0.75
    # Seed means 0.5 and 1: standard deviation sqrt(1/8); t(0.975, 1) = 12.7062.
    assert found.seed_interval == pytest.approx(12.7062 * math.sqrt(1 / 8) / math.sqrt(2), rel=1e-5)
    # Within: 1.96 sqrt(1/2) / sqrt(2) = 0.98 and 0.
    assert found.episode_interval == pytest.approx(0.49)
    assert (found.median, found.diverged, found.seeds, found.episodes) == (0.75, 0, 2, 2)


def test_summary_counts_diverged_episodes_and_gives_no_flattering_mean():
    found = summarise(np.array([[1.0, np.nan, 3.0], [1.0, 2.0, 3.0]]), higher_is_better=False)
    assert (found.mean, found.seed_interval, found.episode_interval) == (None, None, None)
    assert found.diverged == 1
    assert found.median == 2.5  # of 3 and 2


def test_summary_of_no_seeds():
    found = summarise(np.empty((0, 5)), higher_is_better=True)
    assert (found.mean, found.seed_interval, found.median, found.seeds) == (None, None, None, 0)


def test_paired_difference_by_hand():
    a = np.array([[1.0, 3.0], [3.0, 3.0], [4.0, 6.0], [6.0, 6.0]])  # means 2, 3, 5, 6
    b = np.array([[1.0, 1.0], [1.0, 1.0], [2.0, 2.0], [2.0, 2.0]])  # means 1, 1, 2, 2
    found = paired_difference(a, b)  # 1, 2, 3, 4: mean 5/2, standard deviation sqrt(5/3)
    error = math.sqrt(5 / 3) / 2
    assert found.mean == 2.5
    assert found.interval == pytest.approx(3.182446 * error, rel=1e-6)  # t(0.975, 3)
    # t = sqrt(15), 3 degrees of freedom; the closed form of the distribution function:
    angle = math.atan(math.sqrt(15 / 3))
    by_hand = 1 - 2 / math.pi * (angle + math.sin(angle) * math.cos(angle))
    assert found.p == pytest.approx(by_hand, rel=1e-9)
    assert found.seeds == 4


def test_paired_difference_is_paired():
    # Seeds differ by far more than the algorithms do: unpaired, nothing could be told.
    rng = np.random.default_rng(0)
    seeds = 10 * rng.normal(size=(6, 1))
    a = seeds + 1 + 0.01 * rng.normal(size=(6, 50))
    b = seeds + 0.01 * rng.normal(size=(6, 50))
    found = paired_difference(a, b)
    assert found.mean == pytest.approx(1, abs=0.01)
    assert found.interval is not None
    assert found.interval < 0.02
    assert found.p is not None
    assert found.p < 1e-6


def test_paired_difference_has_no_p_under_four_seeds():
    a, b = np.array([[1.0], [2.0], [4.0]]), np.zeros((3, 1))
    found = paired_difference(a, b)
    assert found.p is None
    assert found.interval is not None


def test_paired_difference_edges():
    same = np.ones((4, 2))
    assert paired_difference(same, same).p == 1
    assert paired_difference(same + 1, same).p == 0
    assert paired_difference(np.array([[np.nan]]), np.array([[1.0]])).mean is None
    assert paired_difference(np.empty((0, 2)), np.empty((0, 2))).mean is None
    with pytest.raises(ValueError, match="4 and 3 seeds"):
        paired_difference(same, same[:3])


def test_intervals_cover_what_they_promise():
    """95 % of the seed intervals hold the true mean; intervals of pooled episodes would not."""
    rng = np.random.default_rng(1)
    trials, seeds, episodes = 1500, 4, 20
    held = pooled_held = 0
    for _ in range(trials):
        scores = rng.normal(size=(seeds, 1)) + rng.normal(size=(seeds, episodes))  # true mean 0
        found = summarise(scores, higher_is_better=True)
        assert found.mean is not None
        assert found.seed_interval is not None
        held += abs(found.mean) <= found.seed_interval
        pooled = episode_interval(scores.ravel())
        assert pooled is not None
        pooled_held += abs(found.mean) <= pooled
    # Three standard errors of a proportion of 1500 trials are 1.7 points.
    assert abs(held / trials - 0.95) < 0.017
    assert pooled_held / trials < 0.6


def test_episode_intervals_cover_the_mean_of_one_training():
    rng = np.random.default_rng(2)
    held = 0
    for _ in range(1500):
        scores = rng.binomial(25, 0.9, size=200) / 25
        width = episode_interval(scores)
        assert width is not None
        held += abs(scores.mean() - 0.9) <= width
    assert abs(held / 1500 - 0.95) < 0.02
