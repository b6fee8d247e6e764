"""What one item of a protocol is worth, on made-up scores of real cells."""

from __future__ import annotations

import numpy as np
import pytest

from suite.config.profile import expand, load_profile
from suite.report.tables.ablations import item_table
from tests.report.beside import cells, collected, lines, on, scores, seeds
from tests.report.builder import record

PAPER = cells()
TRAPS = {(c.experiment, c.variant): c for c in expand(load_profile("traps"), ["cpu"], seeds=[0])}


def test_what_an_item_of_training_is_worth(tmp_path):
    training = {v: c for (e, v), c in TRAPS.items() if e == "omniglot-5w1s-training"}
    worth = {"maml": 0.0, "mean-loss": -0.02, "gamma-beta-adapted": 0.01, "first-order": -0.05}
    made = []
    for variant, points in worth.items():
        made += seeds(training[variant], (0.9 + points, 0.92 + points), spread=0.05)
    table = lines(item_table(collected(tmp_path, *made)[0]))
    found = {line["other"]: line for line in table if line["touches"] == "training"}
    for variant, points in list(worth.items())[1:]:
        line = found[variant]
        assert float(line["difference"]) == pytest.approx(points, abs=1e-6)
        assert float(line["seed_interval_95"]) == pytest.approx(0, abs=1e-6)  # paired
        assert float(line["episode_interval_95"]) == pytest.approx(0, abs=1e-6)
        assert (line["paired_episodes"], line["seeds"], line["touches"]) == (
            "true",
            "2",
            "training",
        )
    assert found["mean-loss"]["item"] == "train.loss"
    assert (found["mean-loss"]["protocol"], found["mean-loss"]["instead"]) == ("per_shot", "mean")
    assert found["gamma-beta-adapted"]["item"] == "model.norm, model.norm_adapted"
    assert found["first-order"]["instead"] == "fomaml"


def test_what_an_item_of_the_test_is_worth(tmp_path):
    of = TRAPS["omniglot-5w1s-test", "maml"]
    means = {"test": 0.95, "support": 0.90, "running": 0.5, "15-query": 0.96, "unrotated": 0.97}
    found = lines(item_table(collected(tmp_path, *seeds(of, (means, means), spread=0.01))[0]))
    worth = {line["other_test"]: line for line in found if line["other_test"] != "test"}
    for name, points in (("support", -0.05), ("running", -0.45), ("15-query", 0.01)):
        assert float(worth[name]["difference"]) == pytest.approx(points, abs=1e-6)
    assert worth["running"]["item"] == "test.batch_norm"
    assert worth["15-query"]["item"] == "test.query_shots"
    assert (worth["unrotated"]["item"], worth["unrotated"]["instead"]) == ("test.rotations", "none")
    assert [x["instead"] for x in found if x["item"] == "test.report_step"] == ["1", "10"]


def test_other_test_episodes_are_not_paired(tmp_path):
    base = TRAPS["omniglot-5w1s-training", "maml"]
    other = TRAPS["omniglot-5w1s-alphabets", "maml"]
    made = [*seeds(base, (0.9, 0.9), spread=0.05), *seeds(other, (0.8, 0.8), spread=0.05)]
    (line,) = [
        x for x in lines(item_table(collected(tmp_path, *made)[0])) if x["item"] == "task.split"
    ]
    assert line["paired_episodes"] == "false"
    each = np.linspace(-0.05, 0.05, 600).var(ddof=1) / 600
    assert float(line["episode_interval_95"]) == pytest.approx(1.96 * (2 * each) ** 0.5, rel=1e-4)


def test_an_item_without_effect_is_worth_no_row(tmp_path):
    of = PAPER["omniglot-5w1s/reptile"]
    train = of.protocol.train.model_copy(update={"query_shots": 5})
    other = of.model_copy(
        update={"variant": "five", "protocol": of.protocol.model_copy(update={"train": train})}
    )
    collection, _ = collected(tmp_path, *seeds(of, (0.9, 0.9)), *seeds(other, (0.8, 0.8)))
    found = lines(item_table(collection))
    assert {line["item"] for line in found} == {"test.batch_norm"}


def test_the_protocol_that_leans_on_less_is_the_base_and_each_is_read_elsewhere(tmp_path):
    made = [*seeds("omniglot-5w1s/fomaml", (0.9,) * 2), *seeds("omniglot-5w1s/maml", (0.95,) * 2)]
    found = lines(item_table(collected(tmp_path, *made)[0]))
    (line,) = [line for line in found if line["item"] == "algorithm.name"]
    assert (line["protocol"], line["instead"]) == ("maml", "fomaml")
    read = [line["base"] for line in found if line["item"] == "test.report_step"]
    assert read == ["maml", "maml", "fomaml", "fomaml"]


def test_other_data_are_no_item(tmp_path):
    of = PAPER["miniimagenet-5w1s/maml"]
    other = of.model_copy(update={"variant": "other", "task": {**of.task, "folder": "tiered"}})
    collection, _ = collected(tmp_path, *seeds(of, (0.5, 0.5)), *seeds(other, (0.4, 0.4)))
    assert {line["item"] for line in lines(item_table(collection))} == {"test.report_step"}


def test_profiles_without_a_published_protocol_have_no_such_table(tmp_path):
    of = TRAPS["omniglot-5w1s-training", "xavier-head"]
    other = TRAPS["omniglot-5w1s-training", "mean-loss"]
    assert item_table(collected(tmp_path, *seeds(of, (0.9,)), *seeds(other, (0.8,)))[0]) is None


def test_an_item_left_at_its_default_keeps_no_base_from_its_rows(tmp_path):
    """Four trainings: the protocol's epsilon, its tasks, both left, and one item more."""
    training = {v: c for (e, v), c in TRAPS.items() if e == "omniglot-5w1s-training"}
    worth = {"maml": 0.9, "tensorflow-epsilon": 0.92, "drawn-once": 0.89, "mean-loss": 0.8}
    made = [r for v, mean in worth.items() for r in seeds(training[v], (mean,) * 4, spread=0.05)]
    table = item_table(collected(tmp_path, *made)[0])
    found = {line["item"]: line for line in lines(table) if line["touches"] == "training"}
    assert {item: (x["base"], x["other"]) for item, x in found.items()} == {
        "algorithm.outer_epsilon": ("tensorflow-epsilon", "maml"),
        "train.tasks": ("drawn-once", "maml"),
        "train.loss": ("maml", "mean-loss"),
    }
    assert float(found["algorithm.outer_epsilon"]["difference"]) == pytest.approx(-0.02, abs=1e-6)
    assert (found["train.tasks"]["protocol"], found["train.tasks"]["instead"]) == (
        "1333",
        "default",
    )
    assert sum("leave at their defaults" in note for note in table.notes) == 1


def test_a_split_for_every_seed_is_another_item_and_its_episodes_are_not_paired(tmp_path):
    one = TRAPS["omniglot-5w1s-splits", "maml"]
    other = TRAPS["omniglot-5w1s-training", "maml"]
    made = [
        made
        for seed, mean in enumerate((0.9, 0.8))
        for of in (one, other)
        for made in [
            record(
                of.model_copy(update={"seed": seed}),
                scores(of, mean, 0.05),
                episodes=("ab"[seed] if of is one else "a") * 64,
            )
        ]
    ]
    (line,) = [
        x
        for x in lines(item_table(collected(tmp_path, *made)[0]))
        if x["item"] == "task.split_by_seed"
    ]
    assert line["paired_episodes"] == "false"
    assert (line["protocol"], line["instead"], line["seeds"]) == ("yes", "default", "2")


def test_the_base_is_the_test_nearest_to_the_paper_on_every_device(tmp_path):
    of = PAPER["sinusoid/maml"]
    made = [*seeds(of, (0.5,) * 2), *seeds(on(of, "cuda"), (0.5,) * 2)]
    table = item_table(collected(tmp_path, *made)[0])
    assert {line["base_test"] for line in lines(table)} == {"5-shot"}
    assert sorted((line["device"], line["item"]) for line in lines(table)) == [
        (device, item) for device in ("cpu", "cuda") for item in ("test.report_step", "test.tasks")
    ]
    assert not any("leave at their defaults" in note for note in table.notes)
