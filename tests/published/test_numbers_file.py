"""How a file of published numbers is read, and what a broken one is answered."""

from __future__ import annotations

import pytest

from suite.core.errors import UserError
from suite.published.numbers import Measured, load, parse

FILE = """
[papers.a]
title = "On MAML"
authors = ["Ann Ant", "Bob Bee"]
venue = "Conference"
year = 2017
arxiv = "1703.03400"
url = "https://arxiv.org/abs/1703.03400"

[papers.b]
title = "Only a preprint"
authors = ["Cat Cow"]
year = 2018
url = "https://example.org"

[[table]]
paper = "a"
table = "Table 1"
dataset = "omniglot"
ways = 5
shots = 1
own_method = true
transductive = "yes"
transductive_basis = "code"
metric = "accuracy_pct"
level = "A"
pm_kind = "tasks"
pm_basis = "stated"
pm_n = 600
rows = [
  { id = "a.table1.omniglot-5w1s.maml", algorithm = "MAML", value = 98.7, pm = 0.4 },
  { id = "a.table1.omniglot-5w1s.reptile", algorithm = "Reptile", value = 97, pm = 0.2 },
]

[[reproduction]]
by = "somebody"
source = "README"
metric = "accuracy_pct"
rows = [
  { of = "a.table1.omniglot-5w1s.maml", value = 98.5 },
  { unpublished = { paper = "b", dataset = "x", ways = 5, shots = 1, algorithm = "y" }, value = 1 },
]
"""


def test_bibtex():
    papers = parse(FILE).papers
    assert papers["a"].bibtex() == (
        "@inproceedings{a,\n"
        "  title = {{On MAML}},\n"
        "  author = {Ann Ant and Bob Bee},\n"
        "  booktitle = {Conference},\n"
        "  year = {2017},\n"
        "  eprint = {1703.03400},\n"
        "  archiveprefix = {arXiv},\n"
        "  url = {https://arxiv.org/abs/1703.03400},\n"
        "}\n"
    )
    assert papers["b"].bibtex() == (
        "@misc{b,\n"
        "  title = {{Only a preprint}},\n"
        "  author = {Cat Cow},\n"
        "  year = {2018},\n"
        "  url = {https://example.org},\n"
        "}\n"
    )
    assert "author = {Chelsea Finn and Pieter Abbeel and Sergey Levine}" in (
        load().papers["maml"].bibtex()
    )


def test_rows_share_what_stands_above_them():
    one, two = parse(FILE).numbers
    assert (one.shots, one.value, one.pm, one.pm_n) == (1, 98.7, 0.4, 600)
    assert (two.shots, two.value, two.pm, two.pm_n) == (1, 97.0, 0.2, 600)
    assert [run.by for run in parse(FILE).reproductions] == ["somebody", "somebody"]


FIRST = "published number id 'a.table1.omniglot-5w1s.maml'"


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("5w1s.reptile", "5w1s.maml", "two numbers have the id 'a.table1.omniglot-5w1s.maml'"),
        ("[papers.a]", "[papers.c]", "is of an unknown paper, 'a'"),
        ('paper = "a"', 'paper = "b"', f"{FIRST}: the id does not start with its paper, b"),
        ('pm_kind = "tasks"', "", f"{FIRST}: pm and pm_kind come together"),
        ('pm_basis = "stated"', "", f"{FIRST}: pm_basis says how"),
        ('pm_kind = "tasks"', 'pm_kind = "unstated"', f"{FIRST}: pm_basis says how"),
        (", pm = 0.4", "", f"{FIRST}: pm and pm_kind come together"),
        ("pm = 0.4", "pm = 0", f"{FIRST}: pm: input should be greater than 0"),
        ("pm_n = 600", "pm_n = 0", f"{FIRST}: pm_n: input should be greater than or equal to 1"),
        ("pm_n = 600", "pm_n = 1", f"{FIRST}: there is no ± of one task or seed"),
        ('"tasks"', '"sd"', f"{FIRST}: pm_kind: input should be 'tasks', "),
        ("98.7", "120", f"{FIRST}: an accuracy of 120 is not within 0 and 100 percent"),
        ("98.7", "-1", f"{FIRST}: an accuracy of -1 is not within"),
        ("98.7", '"98.7"', f"{FIRST}: value: input should be a valid number"),
        ("shots = 1\nown", "own", f"{FIRST}: classification needs ways and shots"),
        (
            "ways = 5\nshots = 1\nown",
            "shots = 1\nown",
            f"{FIRST}: classification needs ways and sh",
        ),
        ('level = "A"', 'level = "D"', f"{FIRST}: level: input should be 'A', 'B' or 'C'"),
        ('"yes"', '"n/a"', f"{FIRST}: transductive is n/a for all but classification"),
        ('transductive_basis = "code"', "", f"{FIRST}: transductive_basis says how a yes or no"),
        ('dataset = "omniglot"', 'datasett = "omniglot"', "did you mean 'dataset'"),
        ('{ of = "a.', '{ of = "x.', "'somebody' reproduces an unknown number, 'x.table1"),
        ('{ of = "a.table1.omniglot-5w1s.maml",', "{", "needs either of, the id of a number, or"),
        ('unpublished = { paper = "b"', 'unpublished = { paper = "z"', "an unknown paper, 'z'"),
        ('"README"\nmetric = "accuracy_pct"', '"README"\nmetric = "mse"', "in another metric, mse"),
        ("[[table]]", "[[tables]]", "did you mean 'table'"),
        ("rows = [\n  { of", "row = [\n  { of", "rows is missing"),
        ("year = 2018", "year = 18", "paper 'b': year: input should be greater"),
        ("arxiv = ", "arxiv = [", "the published numbers are not valid TOML"),
    ],
)
def test_a_broken_file_is_refused_with_one_sentence(old, new, sentence):
    assert old in FILE
    with pytest.raises(UserError) as error:
        parse(FILE.replace(old, new, 1))
    said = str(error.value)
    assert sentence in said
    assert said.endswith(".")
    assert "\n" not in said


def test_what_holds_for_other_metrics_and_spreads():
    std = {"pm": 1.0, "pm_kind": "seeds_std", "pm_basis": "stated"}
    for change, sentence in [
        ({"metric": "mse", "value": -0.1}, "a squared error of -0.1 is negative"),
        (std, "a standard deviation needs pm_n"),
        ({"pm_note": "of what?"}, "pm_note and pm_verified speak of a pm"),
        ({"pm_verified": False}, "pm_note and pm_verified speak of a pm"),
    ]:
        with pytest.raises(ValueError, match=sentence):
            Measured.model_validate({"metric": "accuracy_pct", "value": 1.0, **change})
    found = Measured(metric="average_return", value=-82.66)  # a return may be anything
    assert found.value == -82.66
