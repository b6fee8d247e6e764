"""What may stand in one table, and what is refused with advice."""

from __future__ import annotations

import numpy as np
import pytest

from suite.core.errors import UserError
from suite.records.store import Store, file_stem
from suite.report.collect import collect
from tests.report.builder import GLYPHS, cell, record, write

SCORES = {"test": np.arange(12.0).reshape(4, 3)}


def test_groups_hold_seeds_episodes_and_steps(tmp_path):
    made = [
        record(cell(name, seed), {"test": SCORES["test"] + seed})
        for name in ("maml", "sgd")
        for seed in (2, 0, 1)
    ]
    sgd, maml = collect(write(tmp_path, *made)).groups
    assert (sgd.runs.algorithm, maml.runs.algorithm) == ("sgd", "maml")
    assert maml.key == ("sine", "test", "cpu")
    assert maml.scores.shape == (3, 4, 3)
    assert maml.runs.seeds == (0, 1, 2)
    np.testing.assert_array_equal(maml.scores[2], SCORES["test"] + 2)
    np.testing.assert_array_equal(maml.headline()[0], [2, 5, 8, 11])
    assert (maml.metric, maml.higher_is_better) == ("mse", False)


def test_no_records(tmp_path):
    with pytest.raises(UserError, match=r"there are no records in .*run the profile 'demo' first"):
        collect(Store(tmp_path, "demo"))


def test_results_versions_are_not_mixed(tmp_path):
    old = record(cell("maml", 0, results_version="0.1"), SCORES)
    new = record(cell("sgd", 0, results_version="0.2"), SCORES)
    with pytest.raises(UserError, match=r"versions 0\.1 .* and 0\.2 .*make them again"):
        collect(write(tmp_path, old, new))


def test_stale_settings_are_not_mixed_even_across_seeds(tmp_path):
    made = [
        record(cell("maml", 0, parameters={"inner_rate": 0.1}), SCORES),
        record(cell("maml", 1, parameters={"inner_rate": 0.2}), SCORES),
    ]
    with pytest.raises(UserError, match="have one name but other settings; move the stale one"):
        collect(write(tmp_path, *made))


def test_threads_may_differ_between_seeds_but_not_within_one(tmp_path):
    first, second = record(cell("maml", 0), SCORES), record(cell("maml", 1), SCORES)
    other = cell("maml", 1)
    other = other.model_copy(update={"numerics": other.numerics.model_copy(update={"threads": 16})})
    assert (
        collect(write(tmp_path / "a", first, record(other, SCORES))).groups[0].scores.shape[0] == 2
    )
    with pytest.raises(UserError, match="are of one seed"):
        collect(write(tmp_path / "b", first, second, record(other, SCORES)))


def test_other_test_episodes_are_not_compared(tmp_path):
    made = [
        record(cell("maml", 0), SCORES, episodes="a" * 64),
        record(cell("sgd", 0), SCORES, episodes="b" * 64),
    ]
    with pytest.raises(UserError, match="were tested on other episodes of 'test'"):
        collect(write(tmp_path, *made))


def test_a_file_that_is_no_record_is_named(tmp_path):
    store = write(tmp_path, record(cell("maml", 0), SCORES), record(cell("maml", 1), SCORES))
    (store.folder / f"{file_stem(cell('maml', 1))}.json").write_text("{")
    found = collect(Store(tmp_path, "demo"))
    assert len(found.records) == 1
    assert len(found.problems) == 1
    assert "seed1" in found.problems[0]


def test_scores_of_the_wrong_shape_are_refused(tmp_path):
    (group,) = collect(write(tmp_path, record(cell(), {"test": np.zeros((3, 3))}))).groups
    with pytest.raises(UserError, match=r"no scores \(4, 3\) called 'scores/test'"):
        group.headline()


def test_the_rate_of_a_class_counts_every_query_of_its_episodes(tmp_path):
    of = cell(of=GLYPHS, ways=5, shots=1, query=2, steps=1)
    found = {"classes": [3, 8], "episodes": [10, 5], "hits": [[0, 10], [0, 9]]}
    extra = {f"by-class/test/{name}": np.array(values) for name, values in found.items()}
    (group,) = collect(write(tmp_path, record(of, {"test": np.ones((4, 2))}, extra=extra))).groups
    # 10 of 20 queries and 9 of 10
    assert group.class_interval(1) == pytest.approx(1.96 * np.std((0.5, 0.9), ddof=1) / 2**0.5)
    assert group.class_interval(0) == 0
