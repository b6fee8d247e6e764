"""Verdicts in words, on made-up judgements."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from suite.core import metrics
from suite.published.margins import limits
from suite.published.numbers import load
from suite.published.verdicts import SETTLED, Verdict, not_run
from suite.report.render import latex_escape
from suite.report.verdict_text import (
    MARKS,
    MEANINGS,
    SIGNS,
    by_number,
    difference,
    expected_matches,
    headline,
    legend,
    sentence,
    size,
    with_interval,
)
from tests.report.beside import ERROR, judgement, row
from tests.report.typeset import compiles, needs_pdflatex


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (row("matches"), "matches: a gap of at most 0.4 is possible"),
        (
            row("matches", 0.5, reason="though not equal"),
            "matches, though not equal: a gap of at most 0.8 is possible",
        ),
        (row("above", 2.0), "above by at least 1.7"),
        (
            row("below", -2.0, spread=4.04),
            "below by at least 1.7, unless their trainings spread 4.0 times as wide as ours",
        ),
        (
            row("differs", -0.5, spread=2.0),
            "differs: 0.2 to 0.8 below, unless their trainings spread 2.0 times as wide as ours",
        ),
        (row("consistent", -0.1), "consistent, but a gap of up to 0.4 is possible"),
        (
            row("undecidable"),
            "undecidable: 20 seeds leave an interval of 1.9 on either side",
        ),
        (row("inconclusive", needs=11), "inconclusive: 5 of 11 seeds that would decide"),
        (
            row("above", math.log(1.5), of=ERROR, half=math.log(1.2)),
            "above by at least ×1.25",
        ),
        (
            row("differs", math.log(0.8), of=ERROR, half=math.log(1.1)),
            "differs: ×1.14 to ×1.38 below",
        ),
        (row("shortened", None, reason="2 of 3 outer steps"), "shortened (2 of 3 outer steps)"),
        (row("inconclusive", None, reason="one seed of 4"), "inconclusive (one seed of 4)"),
        (row("diverged", None), "diverged"),
    ],
)
def test_each_verdict_says_what_it_tells(made, told):
    assert sentence(made) == told


def test_an_inconclusive_verdict_says_what_would_decide():
    made = row("inconclusive", needs=11)
    assert sentence(made, hours=2.5) == (
        "inconclusive: 5 of 11 seeds, 15.0 h here, that would decide"
    )
    assert "less than 0.1 h here" in sentence(made, hours=0.001)


def test_marks_stand_beside_the_verdicts_that_need_them():
    assumed = ("task.split",)
    for kind in SETTLED:
        assert sentence(row(kind, assuming=assumed)).endswith(" *")
        assert not sentence(row(kind)).endswith("°")
    assert not sentence(row("inconclusive", assuming=assumed, needs=9)).endswith("*")
    assert sentence(row("shortened", None, assuming=assumed)) == "shortened"
    lost = row("undecidable", None, reason="5 diverged episodes", assuming=assumed)
    assert sentence(lost) == "undecidable (5 diverged episodes) *"


def test_scores_that_were_known_before_the_rule_are_marked(known):
    for kind in SETTLED:
        assert sentence(row(kind)).endswith(" °")
        assert sentence(row(kind, assuming=("task.split",))).endswith(" * °")
    assert not sentence(row("inconclusive", needs=9)).endswith("°"), "nothing was decided"
    assert legend([row("matches")]).endswith(f" ° {MARKS['°']}.")


def test_differences_have_signs_and_ratios_have_none():
    assert difference(-0.5, "accuracy_pct") == "−0.50"
    assert difference(0.5, "accuracy_pct") == "+0.50"
    assert difference(-0.0001, "accuracy_pct") == "+0.00", "no minus before a zero"
    assert difference(math.log(1.5), "mse") == "×1.50"
    assert difference(math.log(250), "mse") == "×250"
    assert difference(math.log(0.0123), "mse") == "×0.0123"
    assert difference(math.log(1.49e6), "mse") == "×1e+06"
    assert difference(math.log(2.6e-5), "mse") == "×3e-05"
    assert size(math.log(1.25), "mse") == "×1.25"
    assert size(0.325, "accuracy_pct") == "0.325"
    found = Verdict("matches", 0.1, 1.0, judgement=judgement(0.1))
    assert with_interval(found, "accuracy_pct") == "+0.10 [−0.20, +0.40]"
    assert with_interval(Verdict("shortened", 0.1, 1.0), "accuracy_pct") == "+0.10"
    assert with_interval(Verdict("diverged", None, 1.0), "accuracy_pct") == ""


def test_an_interval_beyond_the_largest_float_is_written():
    assert difference(800.0, "mse") == size(800.0, "mse") == "×inf"


def test_the_legend_explains_what_is_used_and_nothing_else():
    for kind, mark in SIGNS.items():
        told = legend([row(kind)])
        assert told.startswith(f"Verdicts: {mark} {kind} ({MEANINGS[kind]}); – not run. ")
        assert not any(sign in told for sign in set(SIGNS.values()) - {mark})
    told = legend([row("below"), row("above"), row("matches")])
    assert told.startswith("Verdicts: = matches (the 92 % interval lies within the margin); ↑/↓ ")
    assert "↑/↓ above or below (the 95 % interval lies beyond the margin); – not run" in told
    nothing = replace(row("above"), verdict=not_run(load().number(ACCURACY_ID)))
    assert legend([nothing]).startswith("Verdicts: – not run. Margins")


ACCURACY_ID = "maml.table1.omniglot-5w1s.maml"
_ACCURACIES = f"accuracy: {limits(metrics.ACCURACY)}"
_ERRORS = "mean squared error: a ratio between 0.8 and 1.25"


def test_the_legend_has_the_margins_of_the_metrics_and_the_marks():
    assert f"Margins (rule 2), {_ACCURACIES}." in legend([row("matches")])
    assert legend([row("matches", of=ERROR), row("above")]).endswith(
        f"Margins (rule 2), {_ERRORS}; {_ACCURACIES}."
    )
    assert MARKS["*"] in legend([row("matches", assuming=("task.split",))])
    assert MARKS["*"] not in legend([row("shortened", None, assuming=("task.split",))])


def outcome():
    """Return a row of each verdict, on numbers of two trainings, and rows that do not count."""
    of = [("omniglot-5w1s/reptile", 0), ("omniglot-5w1s/reptile", 1)]
    return [
        row("matches", chance=0.5),
        row("matches", of=ERROR, chance=0.25),
        row("consistent", of=of[0], chance=0.125),
        row("consistent", of=of[1], chance=0.0),
        row("consistent", of=("omniglot-5w5s/maml", 0)),
        row("above", of=("omniglot-20w1s/maml", 0), chance=1.0),
        row("below", of=("omniglot-20w5s/maml", 0), chance=1.0),
        row("differs", of=("sinusoid/maml", 1), chance=1.0),
        row("undecidable", of=("omniglot-5w1s/fomaml", 0), chance=0.0),
        row("inconclusive", of=("omniglot-5w5s/fomaml", 0), chance=0.0, needs=9),
        row("inconclusive", of=("omniglot-20w1s/fomaml", 0), seeds=3, needs=4),
        row("shortened", None, of=("omniglot-20w5s/fomaml", 0)),
        row("diverged", None, of=("sinusoid/maml", 2)),
        replace(row("matches"), number=None, verdict=Verdict("no published value", None, None)),
    ]


def test_the_outcome_in_one_sentence():
    found = outcome()
    assert expected_matches(by_number(found)) == 0.5 + 0.25 + 0.125 + 0.25 + 3
    assert headline(found) == (
        "Of 13 published numbers, 11 were run in their protocol with at least 4 trainings: "
        "2 matches, 3 consistent (no difference seen, which is not a match), 2 above or below, "
        "1 differs, 1 undecidable, 1 inconclusive, 1 diverged. If every number were right, 4.1 of "
        "the 10 that have an interval would be expected to match. 2 numbers were not run, or not "
        "so."
    )


def test_a_number_counts_once():
    again = [row("matches"), row("below"), row("consistent")]
    assert headline(again).startswith("Of 1 published numbers, 1 were run")
    assert "1 matches." in headline(again)


def test_what_is_only_consistent_never_counts_as_a_match():
    consistent = [one for one in outcome() if one.verdict.kind == "consistent"]
    assert "matches" not in headline(consistent)
    assert "3 consistent (no difference seen, which is not a match)" in headline(consistent)
    told = headline(outcome())
    assert "5" not in told, "the two kinds are never added up"
    assert "%" not in told


def test_every_sign_is_one_that_latex_has():
    for sign in (*SIGNS.values(), *MARKS):
        assert "?" not in latex_escape(sign), sign


@needs_pdflatex
def test_signs_and_sentences_compile(tmp_path):
    found = [*(row(kind, assuming=("x",), needs=9) for kind in SIGNS), row("above", of=ERROR)]
    texts = [*map(sentence, found), legend(found), headline(outcome()), *SIGNS.values(), *MARKS]
    compiles(tmp_path, r"\par ".join(map(latex_escape, texts)))
