"""The choice from a grid."""

from __future__ import annotations

import numpy as np

from suite.report.collect import collect
from suite.report.render import Bold
from suite.report.tables import make_tables
from suite.report.tables.tune import choice_table, choose
from tests.report.builder import GLYPHS, cell, record, write


def point(rate, seed, steps_scores, *, of=GLYPHS, test=None, ways=5, base="maml"):
    """Return a record of a grid point whose episodes all have these scores by step."""
    described = cell(
        "maml",
        seed,
        variant=f"{base}[inner_rate={rate}]",
        parameters={"inner_rate": rate},
        of=of,
        ways=ways,
        evaluations=("validation", "test"),
    )
    if steps_scores is None:
        return record(described, None)
    validation = np.tile(np.array(steps_scores, dtype=float), (4, 1))
    scores = {"validation": validation, "test": validation if test is None else validation + test}
    return record(described, scores)


def test_the_best_mean_over_seeds_at_its_best_step(tmp_path):
    made = [
        point(0.01, 0, [0.2, 0.5, 0.6]),
        point(0.01, 1, [0.2, 0.5, 0.6]),
        point(0.1, 0, [0.2, 0.9, 0.7]),  # best in one seed at step 1, mean 0.75
        point(0.1, 1, [0.2, 0.6, 0.7]),
        point(0.5, 0, [0.2, 0.4, 0.72]),
        point(0.5, 1, [0.2, 0.4, 0.72]),
    ]
    (found,) = choose(collect(write(tmp_path, *made)).groups)
    assert (found.experiment, found.variant, found.evaluation) == ("sine", "maml", "validation")
    assert found.parameters == {"inner_rate": 0.1}
    assert found.step == 1
    assert len(found.points) == 3
    assert found.edges == ()


def test_test_scores_have_no_say(tmp_path):
    made = [point(0.01, 0, [0.2, 0.2, 0.6]), point(0.1, 0, [0.2, 0.2, 0.5], test=0.4)]
    (found,) = choose(collect(write(tmp_path, *made)).groups)
    assert found.parameters == {"inner_rate": 0.01}
    assert found.edges == ("inner_rate",)


def test_errors_are_minimised(tmp_path):
    from tests.report.builder import SINUSOID

    made = [
        point(0.01, 0, [3.0, 2.0, 2.5], of=SINUSOID, ways=1),
        point(0.1, 0, [3.0, 2.2, 2.4], of=SINUSOID, ways=1),
    ]
    (found,) = choose(collect(write(tmp_path, *made)).groups)
    assert (found.parameters, found.step) == ({"inner_rate": 0.01}, 1)


def test_equals_give_the_fewest_steps(tmp_path):
    (found,) = choose(collect(write(tmp_path, point(0.01, 0, [0.2, 0.6, 0.6]))).groups)
    assert found.step == 1


def test_a_diverged_point_is_shown_and_not_chosen(tmp_path):
    made = [
        point(0.01, 0, [0.2, 0.3, 0.4]),
        point(0.01, 1, [0.2, 0.3, 0.4]),
        point(0.1, 0, [0.2, 0.8, 0.9]),
        point(0.1, 1, None),
        point(0.5, 0, [0.2, np.nan, np.nan]),  # its episodes diverge after step 0
        point(0.5, 1, [0.2, 0.9, 0.9]),
    ]
    collection = collect(write(tmp_path, *made))
    (found,) = choose(collection.groups)
    assert (found.parameters, found.step) == ({"inner_rate": 0.01}, 2)
    table = choice_table(collection)
    assert table is not None
    rows = {row[3]: dict(zip(table.columns, row, strict=True)) for row in table.rows}
    assert rows["inner_rate 0.1"]["Mean"] == "diverged"
    assert rows["inner_rate 0.1"]["Seeds"] == "1 of 2"
    assert rows["inner_rate 0.5"]["Best step"] == "0"
    assert rows["inner_rate 0.01"]["Choice"] == Bold("chosen (edge: inner_rate)")
    assert [row["Choice"] for row in rows.values()].count("") == 2


def test_nothing_left_to_choose(tmp_path):
    (found,) = choose(collect(write(tmp_path, point(0.1, 0, None))).groups)
    assert (found.chosen, found.parameters, found.step) == (None, {}, None)


def test_only_grids_have_the_table(tmp_path):
    grid = collect(write(tmp_path / "grid", point(0.1, 0, [0.2, 0.3, 0.4])))
    assert "choice" in [table.name for table in make_tables(grid, ())]
    plain = write(tmp_path / "plain", record(cell(), {"test": np.ones((4, 3))}))
    assert "choice" not in [table.name for table in make_tables(collect(plain), ())]
