"""The tables' numbers, by hand, from records written through the real store."""

from __future__ import annotations

import math

import numpy as np
import pytest

from suite.report.collect import collect
from suite.report.render import Bold, markdown
from suite.report.tables.protocol import protocol_table
from suite.report.tables.scores import difference_table, score_table
from suite.report.tables.timing import timing_table
from tests.report.beside import lines
from tests.report.builder import GLYPHS, cell, record, timing, write

T3 = 3.182446305  # t(0.975, 3)


def headline(values):
    """Return scores (episodes, 3) that end in ``values`` and start at 9 and 5."""
    return np.stack([np.full(len(values), 9.0), np.full(len(values), 5.0), values], axis=1)


def sine(tmp_path, by_algorithm, **more):
    made = [
        record(cell(name, seed, **more), None if values is None else {"test": headline(values)})
        for name, seeds in by_algorithm.items()
        for seed, values in enumerate(seeds)
    ]
    return collect(write(tmp_path, *made))


def cells(table, algorithm):
    """Return the row of an algorithm by column."""
    column = table.columns.index("Algorithm")
    (row,) = [row for row in table.rows if row[column] == algorithm]
    return dict(zip(table.columns, row, strict=True))


def flat(*means):
    """Return, for each mean, four equal scores."""
    return [np.full(4, mean) for mean in means]


def test_scores_by_hand(tmp_path):
    # Seeds' means 1, 2, 3, 4; within each seed the episodes are the mean +- 1: variance 4/3.
    maml = [mean + np.array([-1.0, -1.0, 1.0, 1.0]) for mean in (1, 2, 3, 4)]
    row = cells(score_table(sine(tmp_path, {"maml": maml, "sgd": flat(8, 8, 9, 9)})), "maml")
    over_seeds = T3 * math.sqrt(5 / 3) / 2
    over_episodes = 1.96 * math.sqrt(4 / 3) / 2
    assert row["Mean"] == "2.50"
    assert isinstance(row["Mean"], Bold)
    assert row["± seeds"] == f"{over_seeds:.2f}" == "2.05"
    assert row["± episodes"] == f"{over_episodes:.2f}" == "1.13"
    assert (row["Metric"], row["Inner step"], row["Step 0"]) == ("MSE", "2", "9.00")
    assert (row["Seeds"], row["Episodes"]) == ("4", "4")


def test_headline_step_is_the_protocols(tmp_path):
    found = score_table(sine(tmp_path, {"maml": flat(1, 1)}, report_step=1))
    assert cells(found, "maml")["Mean"] == "5.00"
    assert cells(found, "maml")["Inner step"] == "1"


def test_accuracy_is_in_percent_and_more_is_better(tmp_path):
    made = [
        record(
            cell(name, seed, of=GLYPHS, ways=5, steps=1),
            {"test": np.array([[0.2, 0.2], [0.2, 0.2], [0.2, 0.2], [0.2, high]])},
        )
        for name, high in (("sgd", 0.24), ("maml", 0.88))
        for seed in range(4)
    ]
    row = cells(score_table(collect(write(tmp_path, *made))), "maml")
    assert (row["Mean"], row["Step 0"], row["Metric"]) == ("37.00", "20.00", "accuracy, %")
    assert isinstance(row["Mean"], Bold)


def test_those_not_significantly_worse_than_the_best_are_marked(tmp_path):
    found = score_table(
        sine(
            tmp_path,
            {"maml": flat(1, 2, 3, 4), "fomaml": flat(2, 1, 4, 3.1), "sgd": flat(5, 6, 7, 8)},
        )
    )
    assert isinstance(cells(found, "maml")["Mean"], Bold)
    assert cells(found, "fomaml")["Mean"] == "2.52†"  # differences +1 -1 +1 -0.9
    assert cells(found, "sgd")["Mean"] == "6.50"  # differences 4 4 4 4


def test_under_four_seeds_nothing_is_marked_and_episodes_are_the_headline(tmp_path):
    found = score_table(sine(tmp_path, {"maml": flat(1, 2, 3), "fomaml": flat(2, 1, 3.1)}))
    assert cells(found, "fomaml")["Mean"] == "2.03"
    assert cells(found, "maml")["± seeds"] == "(2.48)"  # t(0.975, 2) / sqrt(3)
    one = score_table(sine(tmp_path / "one", {"maml": flat(1)}))
    assert cells(one, "maml")["± seeds"] == "–"


def test_a_diverged_cell_is_counted_and_never_best(tmp_path):
    found = score_table(
        sine(tmp_path, {"maml": [*flat(1, 1, 1), None], "sgd": flat(3, 3, 3, 3)}),
    )
    row = cells(found, "maml")
    assert (row["Mean"], row["Seeds"]) == ("1.00", "3 of 4")
    assert not isinstance(row["Mean"], Bold)
    assert isinstance(cells(found, "sgd")["Mean"], Bold)
    text = markdown(found)
    assert "1 of 4 diverged in training (seed 3: the outer loss is not finite" in text
    assert {line["diverged_seeds"] for line in lines(found)} == {"0", "1"}


def test_an_algorithm_that_always_diverged_keeps_its_row(tmp_path):
    found = score_table(sine(tmp_path, {"maml": [None, None], "sgd": flat(3, 3)}))
    assert cells(found, "maml")["Mean"] == "diverged"
    assert cells(found, "maml")["Seeds"] == "0 of 2"


def test_a_diverged_episode_takes_the_mean_and_brings_the_median(tmp_path):
    broken = np.array([1.0, 2.0, 3.0, np.nan])
    found = score_table(sine(tmp_path, {"maml": [broken, *flat(2, 2, 2)], "sgd": flat(3, 3, 3, 3)}))
    row = cells(found, "maml")
    assert (row["Mean"], row["± seeds"], row["± episodes"]) == ("diverged", "–", "–")
    assert row["Diverged episodes"] == "1 of 16"
    assert row["Median"] == "2.00"  # 2.5, 2, 2, 2
    assert row["Step 0"] == "9.00"
    assert isinstance(cells(found, "sgd")["Mean"], Bold)


def test_differences_by_hand(tmp_path):
    found = difference_table(
        sine(
            tmp_path,
            {
                "sgd": flat(5, 6, 7, 8),
                "finetune": flat(4, 4, 4, 4),
                "maml": flat(4, 4, 4, 4.5),
            },
        )
    )
    assert found is not None
    column = [c for c in found.columns if c.startswith("minus")]
    assert column == ["minus sgd", "minus finetune"]
    maml = next(row for row in found.rows if row[2] == "maml")
    # Minus sgd: -1 -2 -3 -3.5, mean -2.375; minus finetune: 0 0 0 0.5, mean 0.125.
    spread = np.std([-1, -2, -3, -3.5], ddof=1) / 2
    assert maml[4:6] == ("−2.38", f"{T3 * spread:.2f}")
    assert maml[8] == "+0.125"
    assert maml[7] == maml[11] == "4"
    assert maml[10] == "0.391"  # t = 1 with 3 degrees of freedom
    line = next(x for x in lines(found) if x["variant"] == "maml" and x["baseline"] == "sgd")
    assert float(line["difference"]) == -2.375
    assert float(line["seed_interval_95"]) == pytest.approx(T3 * spread)


def test_differences_pair_the_seeds_that_both_have(tmp_path):
    found = difference_table(
        sine(tmp_path, {"sgd": [None, *flat(6, 7, 8)], "maml": flat(100, 5, 5, 5)}),
    )
    assert found is not None
    maml = next(row for row in found.rows if row[2] == "maml")
    assert (maml[4], maml[6], maml[7]) == ("−2.00", "–", "3")


def test_no_baseline_no_table(tmp_path):
    assert difference_table(sine(tmp_path, {"maml": flat(1, 2)})) is None


def test_timing_takes_medians_over_seeds_of_cells_that_were_alone(tmp_path):
    inner = (0.002, 0.004, 0.009, 5.0)
    made = [
        record(
            cell("maml", seed),
            {"test": headline(np.ones(4))},
            times=timing(inner=value, outer=0.010, alone=seed != 3),
        )
        for seed, value in enumerate(inner)
    ]
    found = timing_table(collect(write(tmp_path, *made)))
    row = cells(found, "maml")
    assert row["Inner loop, ms"] == "4.00 (3.60–4.80)"
    assert row["Seeds"] == "3 of 4"
    assert row["Peak memory, MiB"] == "3.00"
    assert row["GFLOP/outer step"] == "0.0250"
    assert row["GFLOP/s"] == "2.50"  # 25 million in 10 ms
    assert row["Engine"] == "explicit"
    assert "1 of 4 cells did not" in markdown(found)
    assert {line["seed"] for line in lines(found)} == {"0", "1", "2"}


def test_timing_says_how_outer_gradients_were_computed(tmp_path):
    made, arrays = record(cell(), {"test": headline(np.ones(4))})
    use = made.engine.model_copy(update={"mode": "replayed", "mode_reason": "one process"})
    found = timing_table(
        collect(write(tmp_path, (made.model_copy(update={"engine": use}), arrays)))
    )
    assert cells(found, "maml")["Engine"] == "explicit, replayed"
    assert {(line["mode"], line["mode_reason"]) for line in lines(found)} == {
        ("replayed", "one process")
    }


def test_timing_of_what_was_never_alone_is_not_shown(tmp_path):
    made = record(cell(), {"test": headline(np.ones(4))}, times=timing(alone=False))
    row = cells(timing_table(collect(write(tmp_path, made))), "maml")
    assert row["Outer step, ms"] == "–"
    assert row["Seeds"] == "0 of 1"


def test_protocol_says_what_was_used(tmp_path):
    found = protocol_table(
        sine(tmp_path, {"sgd": flat(1), "maml": flat(1)}, parameters={"inner_rate": 0.025})
    )
    sgd, maml = cells(found, "sgd"), cells(found, "maml")
    assert sgd["Training"] == "none"
    assert maml["Training"] == "1/10/10, 25 episodes x 1000 outer steps"
    assert maml["Inner loop"] == "sgd 0.025, 1 step in training, batch all"
    assert maml["Outer loop"] == "adam 0.001, constant"
    assert "hidden 40-40" in sgd["Model"]
    assert maml["Model"] == "same"
    assert "4 episodes, score after 2 of 2 steps" in sgd["Evaluations"]
    settings = {x["setting"]: x["value"] for x in lines(found) if x["variant"] == "maml"}
    assert settings["algorithm.inner_rate"] == "0.025"
    assert settings["protocol.train.meta_batch"] == "25"
    assert settings["protocol.evaluations.test.episodes"] == "4"


def test_every_table_says_where_its_numbers_are_from(tmp_path):
    collection = sine(tmp_path, {"sgd": flat(1, 1), "maml": flat(1, 1)})
    for table in (score_table(collection), difference_table(collection), timing_table(collection)):
        assert table is not None
        text = markdown(table)
        for part in ("Suite 0.1.0", "results version 0.1", "commit 0123456789", "torch 2.12.0"):
            assert part in text
        assert "Xeon\\_8 & co (2 cores)" in text
        assert "Seeds 0, 1; 4 test episodes" in text


def test_a_dirty_commit_and_several_commits_are_said(tmp_path):
    made = [
        record(
            cell("maml", seed),
            {"test": headline(np.ones(4))},
            where={"commit": commit, "dirty": dirty},
        )
        for seed, (commit, dirty) in enumerate([("a" * 40, True), ("b" * 40, False)])
    ]
    text = markdown(score_table(collect(write(tmp_path, *made))))
    assert "commit aaaaaaaaaa (dirty), bbbbbbbbbb," in text


def test_devices_have_rows_of_their_own(tmp_path):
    made = [
        record(cell("maml", 0, device=device), {"test": headline(np.full(4, value))})
        for device, value in (("cpu", 1.0), ("cuda", 2.0))
    ]
    found = score_table(collect(write(tmp_path, *made)))
    assert [(row[2], row[6]) for row in found.rows] == [("cpu", "1.00"), ("cuda", "2.00")]


def test_rows_follow_the_algorithms_and_evaluations_follow_the_protocol(tmp_path):
    values = {"zeta": headline(np.ones(4)), "alpha": headline(np.ones(4))}
    made = [
        record(cell(name, evaluations=("zeta", "alpha")), values)
        for name in ("maml", "fomaml", "finetune", "reptile", "sgd")
    ]
    found = score_table(collect(write(tmp_path, *made)))
    order = ["sgd", "finetune", "reptile", "fomaml", "maml"]
    assert [row[1:3] for row in found.rows] == [
        (evaluation, name) for evaluation in ("zeta", "alpha") for name in order
    ]


def test_csv_gives_every_step_back_at_full_precision(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.gamma(2, 0.3, size=(4, 4, 3)).astype(np.float32)  # (seeds, episodes, steps + 1)
    made = [record(cell("maml", seed), {"test": values[seed]}) for seed in range(4)]
    found = lines(score_table(collect(write(tmp_path, *made))))
    assert [line["step"] for line in found] == ["0", "1", "2"]
    assert [line["headline"] for line in found] == ["false", "false", "true"]
    for step, line in enumerate(found):
        means = values[:, :, step].astype(np.float64).mean(axis=1)
        assert float(line["mean"]) == pytest.approx(means.mean(), rel=1e-9)
        assert float(line["seed_interval_95"]) == pytest.approx(
            T3 * means.std(ddof=1) / 2, rel=1e-8
        )
        assert line["commit"] == "0123456789"
