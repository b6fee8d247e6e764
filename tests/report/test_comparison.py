"""Records beside published numbers, on made-up scores of real cells."""

from __future__ import annotations

import numpy as np
import pytest

from suite.config import presets as protocols
from suite.config.profile import shortened
from suite.core.errors import UserError
from suite.published.counterpart import counterparts, differing
from suite.report.cite import citation
from suite.report.tables.comparison import brief, comparison, rows
from tests.report.beside import altered, cells, collected, lines, on, scores, seeds, short
from tests.report.builder import record

PAPER = cells()


MAML_20W1S = "omniglot-20w1s/maml"  # published 95.8 ± 0.3; the margin is 1 point


@pytest.mark.parametrize(
    ("of", "means", "kind", "told"),
    [
        (MAML_20W1S, (0.956, 0.957, 0.958, 0.959, 0.960), "matches", "matches: a gap of at most"),
        (MAML_20W1S, (0.951, 0.951, 0.952, 0.951, 0.951), "matches", "matches, though not equal:"),
        (MAML_20W1S, (0.975, 0.976, 0.977, 0.976, 0.975), "above", "above by at least"),
        (MAML_20W1S, (0.940, 0.941, 0.942, 0.941, 0.940), "below", "below by at least"),
        (MAML_20W1S, (0.949, 0.949, 0.950, 0.949, 0.949), "differs", "differs: "),
        (MAML_20W1S, (0.950, 0.966, 0.958, 0.954, 0.962), "consistent", "consistent, but a gap of"),
        (
            MAML_20W1S,
            (0.952, 0.964, 0.958, 0.955, 0.961),
            "inconclusive",
            "inconclusive: 5 of 11 s",
        ),
        (MAML_20W1S, (0.957, 0.958, 0.959), "inconclusive", "inconclusive: 3 of 4 seeds, less"),
        (MAML_20W1S, (0.958,), "inconclusive", "inconclusive (one seed of 4)"),
        # published 48.70 ± 1.84
        (
            "miniimagenet-5w1s/maml",
            (0.48, 0.494, 0.487, 0.484, 0.49),
            "undecidable",
            "undecidable:",
        ),
    ],
)
def test_a_published_number_and_its_verdict(tmp_path, of, means, kind, told):
    collection, (row,) = collected(tmp_path, *seeds(of, means, spread=0.01))
    assert row.verdict.kind == kind
    assert row.verdict.difference == pytest.approx(
        100 * np.mean(means) - row.number.value, abs=1e-4
    )
    table = comparison(collection, [row])
    shown = dict(zip(table.columns, table.rows[0], strict=True))
    assert shown["Verdict"].startswith(told)
    assert shown["Margin"] == "1"
    (line,) = lines(table)
    assert (line["verdict"], line["margin"], line["margin_rule"]) == (kind, "1", "2")
    assert float(line["ours"]) == pytest.approx(100 * np.mean(means), abs=1e-3)
    assert line["commit"] == "0123456789"
    headers, printed = brief([row])
    assert dict(zip(headers, printed[0], strict=True))["verdict"] == shown["Verdict"]


def test_a_row_shows_what_its_verdict_comes_from(tmp_path):
    made = seeds(MAML_20W1S, (0.956, 0.957, 0.958, 0.959, 0.960), spread=0.01)
    collection, (row,) = collected(tmp_path, *made)
    table = comparison(collection, [row])
    shown = dict(zip(table.columns, table.rows[0], strict=True))
    judged = row.verdict.judgement
    assert shown["Published"] == "95.8 ± 0.3"
    assert shown["Difference [95 %]"] == "+0.00 [−0.50, +0.50]"
    assert shown["Chance"] == "98 %"
    (line,) = lines(table)
    for name, value in {
        "interval_low": judged.interval[0],
        "interval_high": judged.interval[1],
        "inner_interval_low": judged.inner[0],
        "inner_interval_high": judged.inner[1],
        "floor": judged.floor,
        "largest_gap": judged.reach,
        "chance_of_match": judged.chance,
        "largest_spread_ratio": judged.spread,
    }.items():
        assert float(line[name]) == pytest.approx(value), name
    assert judged.inner[1] < judged.interval[1]
    assert (line["scale"], line["seeds_needed"]) == ("difference", "")
    # A verdict says what it assumes.
    assert "task.split_by_seed" in row.verdict.assuming
    assert any("split_by_seed yes (unknown" in note for note in table.notes)
    assert any(note.startswith("Of 1 published numbers, 1 were run") for note in table.notes)


def test_errors_are_compared_by_their_ratio(tmp_path):
    made = seeds("sinusoid/maml", (0.73, 0.75, 0.74, 0.75, 0.73), spread=0.01)
    collection, found = collected(tmp_path, *made)
    table = comparison(collection, found)
    shown = dict(zip(table.columns, table.rows[0], strict=True))
    low, high = np.exp(found[0].verdict.interval)
    assert shown["Difference [95 %]"] == f"×1.10 [×{low:.2f}, ×{high:.2f}]"
    assert shown["Margin"] == "×1.25"
    line = lines(table)[0]
    assert line["scale"] == "log ratio"
    # The ratio is that of the geometric mean of the seeds' means.
    means = np.array((0.73, 0.75, 0.74, 0.75, 0.73))
    assert float(line["difference"]) == pytest.approx(np.log(means / 0.67).mean(), abs=1e-6)
    assert float(line["margin"]) == pytest.approx(np.log(1.25))


def test_the_paper_reads_one_inner_step(tmp_path):
    of = PAPER["omniglot-5w1s/maml"]
    made = []
    for seed in range(4):
        values = scores(of, 0.5)
        values["test"][:, 3] = values["test-10k"][:, 3] = 0.987
        made.append(record(of.model_copy(update={"seed": seed}), values))
    _, (row,) = collected(tmp_path, *made)
    assert row.result.step == 3
    assert row.verdict.difference == pytest.approx(0, abs=1e-4)


def test_a_table_of_several_steps_gives_a_row_for_each(tmp_path):
    made = seeds(PAPER["sinusoid/maml"], (0.4, 0.5, 0.6))
    _, found = collected(tmp_path, *made)
    shown = [(row.result.step, row.number.value) for row in found]
    assert shown == [(1, 0.67), (5, 0.38), (10, 0.35)]


def test_shortened_is_marked_and_never_judged(tmp_path):
    of = shortened(PAPER["omniglot-5w1s/maml"], 5000)
    _, (row,) = collected(tmp_path, *seeds(of, (0.987,) * 5))
    assert row.verdict.kind == "shortened"
    assert row.verdict.reason == "5,000 of 60,000 outer steps"
    assert row.verdict.interval is None


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("train.loss", "mean"),
        ("train.rotations", "none"),
        ("train.meta_batch", 16),
        ("test.query_shots", 15),
        ("test.batch_norm", "support"),
        ("test.split", "validation"),
        ("test.rotations", "none"),
        ("model.norm_adapted", True),
        ("model.head_init", "same"),
        ("task.split", "alphabets"),
        ("task.ink", 0),
        ("algorithm.inner_rate", 0.5),
        ("algorithm.inner_steps", 2),
    ],
)
def test_one_item_that_differs_makes_it_incomparable(path, value):
    cell = PAPER["omniglot-5w1s/maml"]
    part, name = path.split(".")
    if part in ("model", "task", "algorithm"):
        cell = cell.model_copy(update={part: {**getattr(cell, part), name: value}})
    else:
        train, test = cell.protocol.train, cell.protocol.evaluations[0]
        if part == "train":
            train = train.model_copy(update={name: value})
        else:
            test = test.model_copy(update={name: value})
        protocol = cell.protocol.model_copy(update={"train": train, "evaluations": (test,)})
        cell = cell.model_copy(update={"protocol": protocol})
    (found,) = counterparts(cell, cell.protocol.evaluations[0])
    assert list(found.differing) == [path]
    assert found.differing[path][0] == value
    assert not found.shortened


def test_a_shortened_training_with_another_item_is_not_just_shortened():
    cell = shortened(PAPER["omniglot-5w1s/maml"], 5000)
    changed = cell.model_copy(update={"model": {**cell.model, "head_init": "same"}})
    (found,) = counterparts(changed, changed.protocol.evaluations[0])
    assert set(found.differing) == {"model.head_init", "train.steps"}
    assert not found.shortened
    longer = cell.model_copy(
        update={
            "protocol": cell.protocol.model_copy(
                update={"train": cell.protocol.train.model_copy(update={"steps": 90000})}
            )
        }
    )
    (found,) = counterparts(longer, longer.protocol.evaluations[0])
    assert not found.shortened


def test_an_item_without_effect_keeps_nothing_apart():
    cell = PAPER["omniglot-5w1s/reptile"]
    train = cell.protocol.train.model_copy(update={"query_shots": 5})
    changed = cell.model_copy(
        update={"protocol": cell.protocol.model_copy(update={"train": train})}
    )
    (found,) = counterparts(changed, changed.protocol.evaluations[0])
    assert found.comparable


def test_the_number_and_name_of_test_episodes_keep_nothing_apart():
    cell = PAPER["omniglot-5w1s/reptile"]
    own = {"name": "mine", "episodes": 10, "steps": 60}
    test = cell.protocol.evaluations[1].model_copy(update=own)
    protocol = cell.protocol.model_copy(update={"evaluations": (test,)})
    renamed = cell.model_copy(update={"protocol": protocol})
    (found,) = counterparts(renamed, test)
    assert found.result.number == "reptile.table2.omniglot-5w1s.reptile-transduction"
    assert differing(renamed, "mine", found.preset, "transductive") == {}


def test_both_ways_to_test_reptile_find_their_own_numbers(tmp_path):
    means = {"non-transductive": 0.954, "transductive": 0.977}
    _, found = collected(tmp_path, *seeds(PAPER["omniglot-5w1s/reptile"], (means,) * 4))
    assert {row.number.value: round(float(row.scores.mean()), 1) for row in found} == {
        95.39: 95.4,
        97.68: 97.7,
    }


def test_what_was_not_run_stands_in_the_table(tmp_path):
    made = seeds(PAPER["omniglot-5w1s/maml"], (0.98, 0.99))
    _, found = collected(tmp_path, *made, profile="paper")
    kinds = {row.number.id: row.verdict.kind for row in found if row.number}
    assert kinds["maml.table1.omniglot-5w1s.maml"] == "inconclusive"
    assert kinds["maml.table1.miniimagenet-5w1s.maml"] == "not run"
    assert set(kinds) == {r.number for p in protocols.load().values() for r in p.results}
    _, found = collected(tmp_path / "own", *made)
    assert [row.preset.name for row in found] == ["omniglot-5w1s/maml"]
    settings = protocols.matching(("omniglot-5w1s/maml", "omniglot-5w5s/maml"))
    collection, _ = collected(tmp_path / "asked", *made)
    assert [row.verdict.kind for row in rows(collection, settings)] == ["inconclusive", "not run"]


def test_a_diverged_training_is_never_judged(tmp_path):
    collection, found = collected(tmp_path, *seeds("sinusoid/maml", (0.35,) * 4 + (None,)))
    assert {row.verdict.kind for row in found} == {"diverged"}
    table = comparison(collection, found)
    shown = dict(zip(table.columns, table.rows[0], strict=True))
    assert (shown["Verdict"], shown["Seeds"]) == ("diverged (1 of 5 seeds diverged)", "4 of 5")
    assert (shown["Difference [95 %]"], shown["Chance"]) == ("–", "–")


def with_one_task(value, count=5):
    """Return records of MAML on sinusoids in which one test task of a seed has another score."""
    of = PAPER["sinusoid/maml"]
    values = scores(of, 0.35, 0.1)
    values["5-shot"][7, 10] = value
    return [
        *seeds(of, (0.35,) * (count - 1), spread=0.1),
        record(of.model_copy(update={"seed": count - 1}), values),
    ]


def test_a_diverged_task_leaves_no_mean_to_compare(tmp_path):
    collection, found = collected(tmp_path, *with_one_task(np.inf))
    verdict = found[2].verdict
    assert (verdict.kind, verdict.judgement) == ("undecidable", None)
    table = comparison(collection, found)
    assert table.rows[2][-1] == "undecidable (1 diverged episode)"
    line = lines(table)[2]
    assert (line["interval_low"], line["chance_of_match"]) == ("", "")
    assert (line["ours"], line["diverged_episodes"]) == ("", "1")
    assert float(line["median"]) == pytest.approx(0.35, rel=1e-3)
    assert lines(table)[1]["interval_low"] != ""


def test_a_task_that_carries_a_mean_widens_the_interval(tmp_path):
    _, found = collected(tmp_path, *with_one_task(1e4))
    assert found[2].verdict.kind == "undecidable"
    low, high = found[2].verdict.interval
    assert high - low > 5


def test_scores_that_were_known_before_the_rule_are_marked(tmp_path, known):
    made = seeds(MAML_20W1S, (0.956, 0.957, 0.958, 0.959, 0.960), spread=0.01)
    collection, (row,) = collected(tmp_path, *made)
    assert row.known_before
    table = comparison(collection, [row])
    assert table.rows[0][-1].endswith(" °")
    assert any("known when the rule" in note for note in table.notes)
    assert lines(table)[0]["scores_known_before_rule"] == "true"
    shortened_rows = collected(tmp_path / "short", *seeds(short(MAML_20W1S), (0.95,) * 4))[1]
    assert [row.known_before for row in shortened_rows] == [False]


def by_class(test, episodes, hits):
    """Return the arrays of hits by class of a test; ``hits`` (classes, scored steps)."""
    found = {"classes": np.arange(len(hits)), "episodes": np.array(episodes), "hits": hits}
    return {f"by-class/{test}/{name}": np.asarray(v, np.int32) for name, v in found.items()}


def at_step(test, step, hits):
    """Return hits (classes, scored steps) that are zero except after one inner step."""
    found = np.zeros((len(hits), len(test.scored_steps)), dtype=np.int32)
    found[:, test.column(step)] = hits
    return found


def test_the_interval_over_classes_by_hand(tmp_path):
    of = PAPER[MAML_20W1S]
    (test,) = [test for test in of.protocol.evaluations if test.name == "test-10k"]
    assert (test.query_shots, test.by_class) == (1, True)
    # Rates of the classes: 0.8, 0.9 and 1, with a standard deviation of 0.1; then half of that.
    # The last class has no episode and does not count.
    hits = ([8, 18, 5, 0], [9, 19, 5, 0])
    made = [
        record(
            of.model_copy(update={"seed": seed}),
            scores(of, 0.95, 0.05),
            extra=by_class("test-10k", (10, 20, 5, 0), at_step(test, 5, hits[seed])),
        )
        for seed in range(2)
    ]
    first = 1.96 * 0.1 / 3**0.5
    second = 1.96 * np.std((0.9, 0.95, 1), ddof=1) / 3**0.5
    collection, (row,) = collected(tmp_path, *made)
    (group,) = [g for g in collection.groups if g.evaluation.name == "test-10k"]
    assert group.class_interval(5) == pytest.approx((first + second) / 2)
    assert group.class_interval(4) == 0
    assert row.class_interval == pytest.approx(50 * (first + second))
    table = comparison(collection, [row])
    shown = dict(zip(table.columns, table.rows[0], strict=True))
    assert shown["± data"] == f"{50 * (first + second):.2f}" == "8.49"
    (line,) = lines(table)
    over_episodes = 196 * np.linspace(-0.05, 0.05, 10000).std(ddof=1) / 100
    assert float(line["class_interval_95"]) == pytest.approx(row.class_interval)
    assert float(line["class_to_episode_ratio"]) == pytest.approx(
        row.class_interval / over_episodes, rel=1e-4
    )


def test_there_is_no_interval_over_classes_without_the_hits_of_every_seed(tmp_path):
    of = PAPER[MAML_20W1S]
    test = of.protocol.evaluations[-1]
    extra = by_class(test.name, (10, 10), at_step(test, 5, [8, 9]))
    made = [
        *seeds(of, (0.95,), extra=extra),
        record(of.model_copy(update={"seed": 1}), scores(of, 0.9)),
    ]
    collection, (row,) = collected(tmp_path, *made)
    assert row.class_interval is None
    table = comparison(collection, [row])
    assert dict(zip(table.columns, table.rows[0], strict=True))["± data"] == "–"
    _, (alone,) = collected(tmp_path / "one", made[0])
    assert alone.class_interval is not None


def test_a_median_ranks_diverged_episodes_worst_also_where_small_is_good(tmp_path):
    of = PAPER["sinusoid/maml"]
    values = scores(of, 0.35, spread=0.1)
    values["5-shot"][:200, 10] = np.inf  # of 600 rising scores the lowest 200
    collection, found = collected(tmp_path, record(of, values))
    table = comparison(collection, found)
    expected = np.sort(np.where(np.isfinite(v := values["5-shot"][:, 10]), v, np.inf))[299:301]
    assert float(lines(table)[2]["median"]) == pytest.approx(expected.mean(), rel=1e-5)
    shown = dict(zip(table.columns, table.rows[2], strict=True))
    assert (shown["Median"], shown["Diverged"]) == (f"{expected.mean():.3f}", "200 (33 %)")


def test_seeds_that_diverged_are_told_beside_another_protocol_too(tmp_path):
    of = altered("omniglot-5w1s/maml", model={"head_init": "same"})
    collection, found = collected(tmp_path, *seeds(of, (0.98, 0.98, 0.98, None)))
    table = comparison(collection, found)
    shown = dict(zip(table.columns, table.rows[0], strict=True))
    assert shown["Seeds"] == "3 of 4"
    assert shown["Verdict"] == "not comparable: 1 item (model.head_init); 1 seed diverged"
    assert any("1 of 4 diverged" in note for note in table.notes)


def test_devices_and_experiments_are_told_apart(tmp_path):
    of = PAPER["omniglot-5w1s/maml"]
    made = [*seeds(of, (0.98,) * 4), *seeds(on(short("omniglot-5w1s/maml"), "cuda"), (0.97,) * 4)]
    collection, found = collected(tmp_path, *made)
    table = comparison(collection, found)
    told = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert [(row["Setting"], row["Device"]) for row in told] == [
        ("omniglot-5w1s/maml", "cpu"),
        ("omniglot-5w1s@5000/maml", "cuda"),
    ]
    assert [line[0] for line in brief(found)[1]] == [
        "omniglot-5w1s/maml test-10k cpu",
        "omniglot-5w1s@5000/maml test cuda",
    ]


def test_a_setting_without_a_published_number_says_so(tmp_path):
    _, found = collected(tmp_path, *seeds(PAPER["sinusoid/fomaml"], (0.4, 0.5)))
    _, oracle = collected(tmp_path / "oracle", *seeds(PAPER["sinusoid/oracle"], (0.4, 0.5)))
    assert [row.test for row in oracle] == ["5-shot"]
    assert [row.verdict.kind for row in found] == ["no published value"]
    collection, found = collected(tmp_path / "short", *seeds(short("sinusoid/fomaml", 2), (0.4,)))
    table = comparison(collection, found)
    shown = dict(zip(table.columns, table.rows[0], strict=True))
    assert (shown["Ours"], shown["Published"], shown["Seeds"]) == ("0.400", "–", "1")
    assert shown["Verdict"] == "no published value (2 of 70,000 outer steps)"
    assert "sinusoid/fomaml (shortened: 2 of 70,000 outer steps)" in citation(collection, found)
    plain = PAPER["sinusoid/fomaml"].model_copy(
        update={"model": {**PAPER["sinusoid/fomaml"].model, "init": "torch"}}
    )
    assert collected(tmp_path / "other", *seeds(plain, (0.4, 0.5)))[1] == []


def test_what_nobody_can_run_without_data_of_his_own_says_so(tmp_path):
    collection, found = collected(tmp_path, *seeds("omniglot-5w1s/maml", (0.98,)), profile="paper")
    said = {row.number.id: row.verdict.reason for row in found if row.verdict.kind == "not run"}
    needs = "needs the images of mini-imagenet, which the user must bring"
    assert said["maml.table1.miniimagenet-5w1s.maml"] == needs
    assert said["maml.table1.omniglot-20w1s.maml"] == ""
    table = comparison(collection, found)
    assert any(needs in row[-1] for row in table.rows)


def test_a_number_is_read_from_the_larger_of_two_like_tests(tmp_path):
    """Of 10,000 fresh episodes where the paper's tasks are not known, else of the paper's."""
    means = {"test": 0.5, "test-10k": 0.987}
    _, (row,) = collected(tmp_path, *seeds("omniglot-5w1s/maml", (means,) * 4))
    assert (row.test, row.verdict.difference) == ("test-10k", pytest.approx(0, abs=1e-4))
    means = {"5-shot": 0.67, "5-shot-10k": 9.0, "10-shot": 9.0, "10-shot-10k": 9.0}
    _, found = collected(tmp_path / "sinusoid", *seeds("sinusoid/maml", (means,) * 4))
    assert [(row.test, row.step) for row in found] == [("5-shot", step) for step in (1, 5, 10)]
    # Where nothing is comparable, unlike tests stay and like ones do not double.
    of = altered("omniglot-5w1s/maml", model={"head_init": "same"})
    like = of.protocol.evaluations[0]
    support = like.model_copy(update={"name": "support", "batch_norm": "support"})
    protocol = of.protocol.model_copy(update={"evaluations": (*of.protocol.evaluations, support)})
    of = of.model_copy(update={"protocol": protocol})
    _, found = collected(tmp_path / "other", *seeds(of, (0.7,) * 4))
    assert sorted(row.test for row in found) == ["support", "test-10k"]


def test_another_split_is_not_compared_and_a_split_for_every_seed_is(tmp_path):
    """Within a seed all algorithms see one set of episodes; across seeds, those of one split."""

    def made(name, episodes, **task):
        of = altered(name, task=task)
        return [
            record(of.model_copy(update={"seed": seed}), scores(of, 0.9), episodes=mark * 64)
            for seed, mark in enumerate(episodes)
        ]

    own = made("omniglot-5w1s/maml", "abc")
    collected(tmp_path / "own", *own, *made("omniglot-5w1s/fomaml", "abc"))
    for name, other in (
        ("fixed", made("omniglot-5w1s/fomaml", "aaa", split_by_seed=False)),
        ("moved", made("omniglot-5w1s/fomaml", "abd")),
        ("unsteady", made("omniglot-5w1s/fomaml", "abc", split_by_seed=False)),
    ):
        with pytest.raises(UserError, match="were tested on other episodes"):
            collected(tmp_path / name, *own, *other)


def test_which_of_equal_draws_were_used_keeps_nothing_apart_from_a_paper(tmp_path):
    of = altered("omniglot-5w1s/maml", task={"split_by_seed": False})
    _, (row,) = collected(tmp_path, *seeds(of, (0.987, 0.988, 0.986, 0.987), spread=0.001))
    assert row.verdict.kind == "consistent"
    assert row.counterpart.redrawn == ("task.split_by_seed",)
    fresh = PAPER["sinusoid/maml"]
    tests = tuple(t for t in fresh.protocol.evaluations if t.tasks is None)
    fresh = fresh.model_copy(
        update={"protocol": fresh.protocol.model_copy(update={"evaluations": tests})}
    )
    _, found = collected(tmp_path / "fresh", *seeds(fresh, (0.67,) * 4, spread=0.01))
    assert [(row.test, row.counterpart.redrawn) for row in found] == [
        ("5-shot-10k", ("test.tasks",))
    ] * 3
    assert {row.verdict.kind for row in found} == {"matches", "above"}


def test_a_test_called_like_one_of_the_preset_is_that_only_with_its_shape(tmp_path):
    of = PAPER["sinusoid/fomaml"]
    tests = tuple(t.model_copy(update={"shots": 7}) for t in of.protocol.evaluations)
    other = of.model_copy(
        update={"protocol": of.protocol.model_copy(update={"evaluations": tests})}
    )
    assert collected(tmp_path, *seeds(other, (0.4,) * 2))[1] == []
