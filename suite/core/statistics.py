"""Means, intervals and paired comparisons: pure functions on arrays of (seeds, episodes) scores.

There are two kinds of interval, which are never mixed: over seeds (other trainings would give other
numbers) and over the episodes within a seed (other test episodes would give other numbers).
Episodes are averaged within a seed before seeds are compared: 4 seeds x 200 episodes are 4
independent trainings, not 800.

A score that is not finite means a diverged episode. It cannot enter a mean, and to leave it out
would make the mean look too good. The mean is then None, the diverged episodes are counted, and
the median, in which they rank worst, is given as well.
"""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import numpy as np
from scipy import stats

#: Number of seeds below which no significance is marked and the headline is the interval over
#: episodes.
HEADLINE_SEEDS = 4
CONFIDENCE = 0.95
#: Normal quantile of the two-sided 5 % level, as in the +- of the papers.
NORMAL_95 = 1.96


class Summary(NamedTuple):
    """Statistics that a table shows of one number; None if they do not exist."""

    mean: float | None
    """Mean of the seeds' means; None if an episode diverged."""
    seed_interval: float | None
    """Half width of the Student t interval over seeds."""
    episode_interval: float | None
    """Half width of the interval over the episodes of a seed, averaged over seeds."""
    median: float | None
    """Median over seeds of each seed's median over episodes; None if the result diverged."""
    diverged: int
    """Number of episodes of all seeds whose score is not finite."""
    seeds: int
    episodes: int
    """Number of episodes of each seed."""


class Difference(NamedTuple):
    """A paired difference over seeds; values that do not exist are None."""

    mean: float | None
    interval: float | None
    """Half width of its Student t interval."""
    p: float | None
    """p-value of the two-sided paired t test; None with fewer than `HEADLINE_SEEDS` seeds."""
    seeds: int


def seed_means(scores: np.ndarray) -> np.ndarray:
    """Return the mean over episodes of each seed.

    Args:
        scores: scores (seeds, episodes).

    Returns:
        Means (seeds,); NaN for a seed with a diverged episode.
    """
    scores = np.asarray(scores, dtype=np.float64)
    finite = np.isfinite(scores).all(axis=1)
    return np.where(finite, np.where(finite[:, None], scores, 0.0).mean(axis=1), np.nan)


def seed_interval(values: np.ndarray, confidence: float = CONFIDENCE) -> float | None:
    """Return the half width of the Student t interval for the mean over seeds.

    Args:
        values: array (seeds,) with one number for each seed.
        confidence: confidence of the two-sided interval.

    Returns:
        The half width; None with fewer than 2 seeds or if a value is not finite. It is the headline
        if there are at least `HEADLINE_SEEDS` seeds.
    """
    values = np.asarray(values, dtype=np.float64)
    n = len(values)
    if n < 2 or not np.isfinite(values).all():
        return None
    return _t_quantile((1 + confidence) / 2, n - 1) * float(values.std(ddof=1)) / math.sqrt(n)


@cache
def _t_quantile(probability: float, degrees: int) -> float:
    return float(stats.t.ppf(probability, degrees))


def episode_interval(scores: np.ndarray) -> float | None:
    """Return the papers' +- of one training: 1.96 standard errors over its test episodes.

    Args:
        scores: scores (episodes,) of one seed.

    Returns:
        The half width; None with fewer than 2 episodes or if one diverged.
    """
    scores = np.asarray(scores, dtype=np.float64)
    if len(scores) < 2 or not np.isfinite(scores).all():
        return None
    return NORMAL_95 * float(scores.std(ddof=1)) / math.sqrt(len(scores))


def class_interval(hits: np.ndarray, trials: np.ndarray) -> float | None:
    """Return the ± over classes of one training: other classes would give another mean.

    Episodes share classes, so the interval over episodes is too narrow for another set of classes.

    Args:
        hits: number of correct queries of each class (classes,).
        trials: number of queries of each class (classes,).

    Returns:
        1.96 standard errors of the mean over classes; None with fewer than 2 classes.
    """
    seen = np.asarray(trials) > 0
    if seen.sum() < 2:
        return None
    rates = np.asarray(hits)[seen] / np.asarray(trials)[seen]
    return NORMAL_95 * float(rates.std(ddof=1)) / math.sqrt(len(rates))


def median(scores: np.ndarray, *, higher_is_better: bool) -> float | None:
    """Return the median over seeds of the medians over episodes; diverged episodes rank worst.

    Args:
        scores: scores (seeds, episodes).
        higher_is_better: True for accuracy, False for error; it decides which end is the worst.

    Returns:
        The median; None without seeds, or if so many episodes diverged that the median did.
    """
    scores = np.asarray(scores, dtype=np.float64)
    if not scores.size:
        return None
    ranked = np.where(np.isfinite(scores), scores, -np.inf if higher_is_better else np.inf)
    # The average of the middle two is infinite if one of them is, and NaN if both are infinite with
    # different signs: both mean that the median diverged.
    with np.errstate(invalid="ignore"):
        middle = float(np.median(np.median(ranked, axis=1)))
    return middle if math.isfinite(middle) else None


def summarise(scores: np.ndarray, *, higher_is_better: bool) -> Summary:
    """Return all that a table shows of the scores of one algorithm after one inner step.

    Args:
        scores: scores (seeds, episodes).
        higher_is_better: True for accuracy, False for error.
    """
    scores = np.asarray(scores, dtype=np.float64)
    seeds, episodes = scores.shape
    means = seed_means(scores)
    within = [episode_interval(row) for row in scores]
    whole = [width for width in within if width is not None]
    return Summary(
        mean=float(means.mean()) if seeds and np.isfinite(means).all() else None,
        seed_interval=seed_interval(means),
        episode_interval=float(np.mean(whole)) if whole and len(whole) == seeds else None,
        median=median(scores, higher_is_better=higher_is_better),
        diverged=int((~np.isfinite(scores)).sum()),
        seeds=seeds,
        episodes=episodes,
    )


def paired_difference(a: np.ndarray, b: np.ndarray, confidence: float = CONFIDENCE) -> Difference:
    """Return ``a - b``: episodes averaged within a seed, then paired over seeds.

    Args:
        a, b: scores (seeds, episodes) of two algorithms; row i of both is the same seed.
        confidence: confidence of the two-sided interval.
    """
    if len(a) != len(b):
        raise ValueError(f"{len(a)} and {len(b)} seeds cannot be paired")
    differences = seed_means(a) - seed_means(b)  # (seeds,)
    n = len(differences)
    if n == 0 or not np.isfinite(differences).all():
        return Difference(None, None, None, n)
    mean = float(differences.mean())
    p = None
    if n >= HEADLINE_SEEDS:
        error = float(differences.std(ddof=1)) / math.sqrt(n)
        # If all differences are equal there is no spread: p is 1 if they are 0, otherwise 0.
        p = float(mean == 0) if error == 0 else 2 * float(stats.t.sf(abs(mean) / error, n - 1))
    return Difference(mean, seed_interval(differences, confidence), p, n)
