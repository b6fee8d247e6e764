"""The data file against facts that the papers print."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from suite.core.errors import UserError
from suite.published.numbers import NUMBERS, Measured, Number, Reproduction, load

MAML = "maml.table1.omniglot-5w1s.maml"
TRANSDUCTIVE = "reptile.table2.omniglot-5w1s.reptile-transduction"


@pytest.mark.parametrize(
    ("id", "value", "pm", "kind", "n"),
    [
        (MAML, 98.7, 0.4, "tasks", 600),
        ("maml.table1.omniglot-5w5s.maml", 99.9, 0.1, "tasks", 600),
        ("maml.table1.omniglot-20w1s.maml", 95.8, 0.3, "tasks", 600),
        ("maml.table1.omniglot-20w5s.maml", 98.9, 0.2, "tasks", 600),
        ("maml.table1.omniglot-5w1s.maml-no-conv", 89.7, 1.1, "tasks", 600),
        ("maml.table1.miniimagenet-5w1s.maml", 48.70, 1.84, "tasks", 600),
        ("maml.table1.miniimagenet-5w5s.maml", 63.11, 0.92, "tasks", 600),
        ("maml.table1.miniimagenet-5w1s.fomaml", 48.07, 1.75, "tasks", 600),
        ("maml.table2.sinusoid-5.maml.step1", 0.67, None, None, 600),
        ("maml.table2.sinusoid-5.maml.step10", 0.35, None, None, 600),
        ("maml.table2.sinusoid-5.pretrain.step1", 2.41, None, None, 600),
        ("reptile.table2.omniglot-5w1s.reptile", 95.39, 0.09, "unstated", 10000),
        (TRANSDUCTIVE, 97.68, 0.04, "unstated", 10000),
        ("reptile.table2.omniglot-20w1s.fomaml", 89.4, 0.5, "tasks", 600),
        ("reptile.table1.miniimagenet-5w5s.reptile", 62.74, 0.37, "unstated", 10000),
        ("mamlpp.table2.miniimagenet-5w1s.mamlpp", 52.15, 0.26, "seeds_std", 3),
        ("anil.table2.miniimagenet-5w1s.anil", 46.7, 0.4, "seeds_std", 3),
        ("ravi2017.table1.miniimagenet-5w1s.fine-tune", 28.86, 0.54, "tasks", 600),
        ("protonet.table2.miniimagenet-5w5s.protonet", 68.20, 0.66, "tasks", None),
        ("maml.figure4.2d-navigation.oracle.step0", -2.29, 0.46, "tasks_std", 40),
        ("vinyals2016.table1.omniglot-20w1s.matching-nets", 93.8, None, None, None),
        ("snail.table1.omniglot-20w5s.snail", 99.36, 0.18, "unstated", None),
        ("relationnet.table1.omniglot-5w1s.relation-net", 99.6, 0.2, "tasks", None),
    ],
)
def test_known_facts(id, value, pm, kind, n):
    number = load().number(id)
    assert (number.value, number.pm, number.pm_kind, number.pm_n) == (value, pm, kind, n)


def test_a_number_says_what_is_known_of_its_protocol():
    maml, reptile = load().number(MAML), load().number("reptile.table2.omniglot-5w1s.reptile")
    assert (maml.ways, maml.shots, maml.query_shots, maml.grad_steps) == (5, 1, 1, None)
    assert (maml.transductive, maml.transductive_basis, maml.level) == ("yes", "code", "A")
    assert (reptile.transductive, reptile.transductive_basis) == ("no", "stated")
    step = load().number("maml.table2.sinusoid-5.maml.step5")
    assert (step.ways, step.shots, step.grad_steps) == (None, 5, 5)
    assert (step.metric, step.transductive, step.transductive_basis) == ("mse", "n/a", None)


def test_all_of_the_papers_are_there():
    counts = Counter(number.paper for number in load().numbers)
    assert counts == {
        "maml": 137,
        "reptile": 36,
        "anil": 30,
        "closerlook": 24,
        "metasgd": 16,
        "r2d2": 16,
        "vinyals2016": 16,
        "cavia": 12,
        "ravi2017": 10,
        "imaml": 9,
        "mamlpp": 8,
        "mann": 7,
        "protonet": 6,
        "snail": 6,
        "relationnet": 4,
        "metanet": 2,
    }
    # MetaNAS is there for a reproduction of a setting whose published number was not seen.
    assert load().papers.keys() == {*counts, "metanas"}
    assert len(load().reproductions) == 99


def test_rows_that_one_paper_quotes_of_another_agree():
    find = load().number
    quoted = [
        (f"reptile.{table}.{setting}.{method}", f"maml.table1.{setting}.{method}")
        for table, setting, methods in [
            ("table1", "miniimagenet-5w1s", ("maml", "fomaml")),
            ("table1", "miniimagenet-5w5s", ("maml", "fomaml")),
            ("table2", "omniglot-5w1s", ("maml",)),
            ("table2", "omniglot-20w5s", ("maml",)),
        ]
        for method in methods
    ]
    quoted += [
        (f"maml.table1.miniimagenet-{shots}.{ours}", f"ravi2017.table1.miniimagenet-{shots}.{own}")
        for shots in ("5w1s", "5w5s")
        for ours, own in [
            ("fine-tuning-baseline", "fine-tune"),
            ("nearest-neighbor-baseline", "nearest-neighbour"),
            ("matching-nets", "matching-net-fce"),
            ("meta-learner-lstm", "meta-learner-lstm"),
        ]
    ]
    quoted += [
        (
            f"maml.table1.omniglot-{shape}.matching-nets",
            f"vinyals2016.table1.omniglot-{shape}.matching-nets",
        )
        for shape in ("5w1s", "5w5s", "20w1s", "20w5s")
    ]
    # MANN's fifth instance, which has seen four, is quoted as 5-shot.
    quoted += [
        ("maml.table1.omniglot-5w1s.mann-no-conv", "mann.table1.omniglot-5w1s.mann-instance-2"),
        ("maml.table1.omniglot-5w5s.mann-no-conv", "mann.table1.omniglot-5w4s.mann-instance-5"),
    ]
    for one, other in quoted:
        assert (find(one).value, find(one).pm) == (find(other).value, find(other).pm), one
    for step in range(4):  # printed in a table and drawn in a figure
        assert find(f"maml.table4.2d-navigation.maml.step{step}").value == pytest.approx(
            find(f"maml.figure4.2d-navigation.maml.step{step}").value
        )


def test_reproductions_of_a_number():
    found = {run.by: run.value for run in load().reproductions_of(TRANSDUCTIVE)}
    # Two runs of the official code; learn2learn has a row for 5 shots only.
    assert sorted(found.values()) == [97.614, 97.74, 97.79]
    without = [run for run in load().reproductions if run.of is None]
    assert sorted(run.unpublished.dataset for run in without if run.unpublished) == [
        "fc100",
        "miniimagenet",
        "miniimagenet",
        "miniimagenet",
        "omniglot",
    ]
    # The MAML paper has no 2-way setting; R2D2 ran it.
    assert [r.value for r in load().reproductions_of("r2d2.table1.miniimagenet-2w1s.maml")] == [
        78.8
    ]


def test_the_header_explains_every_key():
    header = NUMBERS.read_text(encoding="utf-8").split("[papers.maml]")[0]
    words = set(re.findall("[a-z_]+", header))
    for model in (Measured, Number, Reproduction):
        assert not model.model_fields.keys() - words
    assert all(line.startswith("#") for line in header.strip().splitlines())


def test_an_unknown_id_is_met_with_the_nearest():
    with pytest.raises(UserError, match=r"did you mean 'maml\.table1\.omniglot-5w1s\.maml'"):
        load().number("maml.table1.omniglot-5w1s.mmal")
    # A wrong part is named where it is, with what could stand there and no more.
    with pytest.raises(UserError, match=r"'maml\.tabel1': did you mean 'maml\.t") as error:
        load().number("maml.tabel1.omniglot-5w1s.maml")
    assert "omniglot" not in str(error.value)
    with pytest.raises(UserError, match="unknown published number 'reptil': did you mean"):
        load().reproductions_of("reptil.table1.omniglot-5w1s.reptile")
    with pytest.raises(UserError, match=r"'maml'.* known are maml\.figure4, maml\.figure5, maml"):
        load().number("maml")
    with pytest.raises(UserError, match=f"did you mean '{MAML}'"):
        load().number(f"{MAML}.step3")
