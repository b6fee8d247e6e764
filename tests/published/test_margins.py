"""The rule of the margins, against the values that it was chosen to give."""

from __future__ import annotations

import math

import pytest

from suite.config import presets
from suite.core.metrics import ACCURACY, RETURN, SQUARED_ERROR
from suite.published.margins import known_before, limits, margin
from suite.published.numbers import load

OMNIGLOT = "maml.table1.omniglot-"


@pytest.mark.parametrize(
    ("id", "wanted"),
    [
        (f"{OMNIGLOT}5w1s.maml", 0.325),  # a quarter of 1.3
        (f"{OMNIGLOT}5w5s.maml", 0.2),  # the floor: a quarter of 0.1 cannot be printed
        (f"{OMNIGLOT}20w1s.maml", 1.0),  # the cap: a quarter of 4.2 is more than a point
        (f"{OMNIGLOT}5w5s.maml-no-conv", 0.625),
        ("reptile.table2.omniglot-5w1s.fomaml", 0.425),
        ("reptile.table2.omniglot-20w5s.fomaml", 0.525),
        # Beside 97.12 ± 0.32, which the ± tell apart from 96.65 ± 0.33 just so.
        ("reptile.table2.omniglot-20w5s.reptile", 0.47),
        ("reptile.table2.omniglot-20w5s.reptile-transduction", 0.47),
        # 48.70 ± 1.84 and 48.07 ± 1.75 are not told apart.
        ("maml.table1.miniimagenet-5w1s.maml", 1.0),
        ("maml.table2.sinusoid-5.maml.step1", math.log(1.25)),
        ("maml.table2.sinusoid-5.multi-task-l2.step1", math.log(1.25)),
        # A quarter of what is missing to the oracle, -2.29, from 2 % to 10 % of its gain of 38.12.
        ("maml.table4.2d-navigation.maml.step0", 3.812),
        ("maml.table4.2d-navigation.maml.step1", 0.25 * 9.39),
        ("maml.table4.2d-navigation.maml.step3", 0.02 * 38.12),
        ("maml.table5.halfcheetah-dir.maml.step1", 0.25 * (442.69 - 293.19)),
    ],
)
def test_a_number_and_its_margin(id, wanted):
    assert margin(load().number(id)) == pytest.approx(wanted, abs=1e-9)


def test_every_number_of_a_preset_has_a_margin():
    for preset in presets.load().values():
        for result in preset.results:
            assert margin(load().number(result.number)) > 0


def test_a_setting_without_an_oracle_has_none():
    number = load().number("anil.table2.halfcheetah-dir.anil")
    assert margin(number.model_copy(update={"dataset": "nowhere"})) is None


def test_a_margin_looks_at_its_own_column_alone():
    number = load().number(f"{OMNIGLOT}5w1s.maml")
    # Without ±, nothing tells the rows of a column apart.
    assert margin(number.model_copy(update={"value": 89.8, "pm": 0.01})) == pytest.approx(1.0)
    near = number.model_copy(update={"value": 90.2, "pm": 0.1, "id": "maml.table1.x.y"})
    assert margin(near) == 1.0  # 89.7 ± 1.1 is not told apart from it
    far = near.model_copy(update={"value": 98.2, "pm": 0.01, "ways": 5})
    assert margin(far) == pytest.approx(0.45)  # 98.7 ± 0.4 is: the gap is 0.5


def test_a_gap_counts_for_accuracies_alone():
    # 46.6 would be the gap to the row of the random start, whose ± is a spread over 40 tasks.
    number = load().number("maml.figure5.halfcheetah-dir.pretrain.step1")
    assert margin(number) == pytest.approx(0.1 * (442.69 + 50.69), abs=1e-2)


def test_what_was_known_before_the_rule():
    known = {name for name in presets.load() if known_before(name)}
    assert {"sinusoid/maml", "omniglot-5w1s/maml"} <= known
    assert not known & {"omniglot-5w5s/maml", "omniglot-5w1s/fomaml", "omniglot-5w1s/reptile"}


def test_the_rules_are_said():
    assert limits(ACCURACY).startswith("a quarter of what is missing to 100, from 0.2 to 1, and no")
    assert limits(SQUARED_ERROR) == "a ratio between 0.8 and 1.25"
    assert limits(RETURN).endswith("from 2 % to 10 % of what the oracle gains")
