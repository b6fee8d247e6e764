"""Named streams: the words are known, and what is drawn from them is even."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from suite.core.streams import Stream, below, choose, uniform

KNOWN = [4274232315, 3150277142, 2106062014, 2844194095]


def test_words_never_change():
    # Every published record hangs on these integers: a change here is a new results version.
    assert Stream(0, "train").words(0, 4).tolist() == KNOWN


@given(first=st.integers(0, 2**40), count=st.integers(0, 20), ahead=st.integers(0, 9))
def test_words_can_be_drawn_again_from_the_middle(first, count, ahead):
    whole = Stream("s").words(first, ahead + count)
    assert np.array_equal(Stream("s").words(first + ahead, count), whole[ahead:])


def test_rows_are_rows_of_one_table():
    table = Stream("s").rows(0, 10, 3)
    assert np.array_equal(Stream("s").rows(4, 3, 3), table[4:7])


@pytest.mark.parametrize("other", [(1, "a"), ("0", "a"), (0, "a", 0), (0, "b"), (0,), ("0a",)])
def test_other_names_are_other_streams(other):
    assert not np.array_equal(Stream(0, "a").words(0, 8), Stream(*other).words(0, 8))


def test_child_is_the_longer_name():
    assert np.array_equal(Stream(1).child("a", 2).words(0, 8), Stream(1, "a", 2).words(0, 8))


def test_seed_fits_a_library_generator():
    assert all(0 <= Stream("seed", i).seed() < 2**63 for i in range(100))


def test_below_is_uniform_and_in_range():
    counts = np.bincount(below(Stream("below").words(0, 60_000), 6), minlength=6)
    assert len(counts) == 6
    assert chisquare(counts).pvalue > 1e-3


def test_uniform_fills_its_interval():
    x = uniform(Stream("uniform").words(0, 50_000), -5, 5)
    assert x.min() >= -5
    assert x.max() < 5
    assert chisquare(np.histogram(x, 20, (-5, 5))[0]).pvalue > 1e-3


def fisher_yates(words, n):
    """The textbook shuffle, one number at a time."""
    pool = list(range(n))
    for j, word in enumerate(words.tolist()):
        other = j + ((word * (n - j)) >> 32)
        pool[j], pool[other] = pool[other], pool[j]
    return pool[: len(words)]


@settings(max_examples=50)
@given(n=st.lists(st.integers(1, 30), min_size=1, max_size=5), k=st.integers(1, 30))
def test_choose_is_fisher_yates(n, k):
    k = min(k, *n)
    words = Stream("choose", k).rows(0, len(n), k)
    expected = [fisher_yates(row, size) for row, size in zip(words, n, strict=True)]
    assert choose(words, np.array(n)).tolist() == expected


def test_choose_never_repeats_and_shorter_is_a_prefix():
    words = Stream("choose").rows(0, 200, 20)
    drawn = choose(words, 25)
    assert all(len(set(row)) == 20 for row in drawn.tolist())
    assert np.array_equal(choose(words[:, :7], 25), drawn[:, :7])


def test_choose_is_uniform_in_every_place_and_pair():
    drawn = choose(Stream("even").rows(0, 40_000, 3), 5)
    for place in drawn.T:
        assert chisquare(np.bincount(place, minlength=5)).pvalue > 1e-3
    pairs = np.bincount(drawn[:, 0] * 5 + drawn[:, 2], minlength=25).reshape(5, 5)
    assert np.trace(pairs) == 0
    assert chisquare(pairs[~np.eye(5, dtype=bool)]).pvalue > 1e-3


def test_choose_refuses_more_than_there_are():
    with pytest.raises(ValueError, match="cannot draw 4 of 3"):
        choose(Stream("s").rows(0, 2, 4), np.array([9, 3]))


@pytest.mark.parametrize("n", [7, 20, np.array([7, 9, 12, 30, 8])])
def test_a_shuffle_that_is_laid_out_draws_the_same(n, monkeypatch):
    words = Stream("shuffle").rows(0, 5, 7)
    laid_out, places = [], n
    for dense in (0, 100):
        monkeypatch.setattr("suite.core.streams.DENSE", dense)
        laid_out.append(choose(words, places))
    assert np.array_equal(*laid_out)


def test_shuffling_many_examples_is_not_quadratic():
    start = time.perf_counter()
    order = choose(Stream("many").rows(0, 2, 5000), 5000)
    assert time.perf_counter() - start < 5
    assert sorted(order[0]) == list(range(5000))


@given(first=st.integers(0, 40), count=st.integers(1, 40), period=st.integers(1, 17))
def test_with_a_period_the_first_rows_come_again(first, count, period):
    table = Stream("s").rows(0, period, 3)
    found = Stream("s").rows(first, count, 3, period)
    assert np.array_equal(found, table[np.arange(first, first + count) % period])
