"""Profiles: presets become cells, shortened cells never stand for whole ones, old names stay."""

from __future__ import annotations

import json

import pytest

from suite.config import presets as protocols
from suite.config.cell import EvaluationProtocol, Protocol, episode_stream
from suite.config.profile import SHORT_TEST, Profile, expand, load_profile, shortened
from suite.core.component import Component, added_field, validated
from suite.core.errors import UserError
from suite.published.counterpart import BUDGET, differing

PROFILE = {"description": "x", "seeds": (0,)}


def test_presets_and_experiments_stand_in_one_profile():
    own = {
        "name": "mine",
        "task": {"name": "sinusoid"},
        "model": {"name": "mlp"},
        "train": {"shots": 5, "query_shots": 5, "meta_batch": 2, "steps": 3},
        "evaluations": ({"name": "t", "shots": 5, "query_shots": 5, "episodes": 4, "steps": 1},),
        "algorithms": {"maml": {}},
    }
    values = {**PROFILE, "presets": ("sinusoid/maml*",), "experiments": (own,)}
    cells = expand(Profile.model_validate(values), ["cpu"])
    assert [f"{c.experiment}/{c.variant}" for c in cells] == [
        "sinusoid/maml",
        "sinusoid/maml-0.001",
        "mine/maml",
    ]
    assert cells[0].protocol.train.steps == 70000


def test_a_preset_that_is_not_there_and_a_profile_of_nothing_are_refused():
    with pytest.raises(UserError, match="unknown protocol 'sinusoid/mmal'"):
        Profile.model_validate({**PROFILE, "presets": ("sinusoid/mmal",)})
    with pytest.raises(ValueError, match="neither experiments nor presets"):
        Profile.model_validate(PROFILE)


def test_an_evaluation_has_no_dot_in_its_name():
    test = {"name": "q.15", "shots": 1, "query_shots": 1, "episodes": 2, "steps": 1}
    with pytest.raises(ValueError, match="pattern"):
        EvaluationProtocol.model_validate(test)


def test_shortened_cells_have_another_name_and_fewer_test_episodes():
    (cell,) = (
        c
        for c in expand(load_profile("paper"), ["cpu"], seeds=[0], tasks=["omniglot-5w1s"])
        if c.variant == "reptile"
    )
    short = shortened(cell, 5000)
    assert short.experiment == "omniglot-5w1s@5000"
    assert short.protocol.train.steps == 5000
    assert {e.episodes for e in short.protocol.evaluations} == {SHORT_TEST}
    assert short.sha256() != cell.sha256()
    assert shortened(cell, 100_000) is cell
    listed = expand(load_profile("paper"), ["cpu"], seeds=[0], outer_steps=5000)
    assert short.sha256() in {c.sha256() for c in listed}


class _Old(Component):
    name = "old"
    rate: float = 0.1


class _New(_Old):
    extra: int = added_field(3)


def test_an_item_added_later_leaves_old_descriptions_as_they_were():
    assert _New().identity() == _Old().identity()
    assert _New(extra=4).identity() == {**_Old().identity(), "extra": 4}
    assert _New.model_validate({"rate": 0.1}).extra == 3


#: Items that came after the first records of the traps.
LATER = ("algorithm.outer_epsilon", "task.split_by_seed", "train.tasks", "test.tasks")


def test_the_traps_are_set_beside_the_published_protocol():
    """The base of every trap experiment is a preset, save for its budget, defaults and tests."""
    cells = expand(load_profile("traps"), ["cpu"], seeds=[0])
    presets = {
        name: cell
        for cell in expand(load_profile("paper"), ["cpu"], seeds=[0])
        if (name := f"{cell.experiment}/{cell.variant}") in protocols.load()
    }
    for cell in cells:
        if cell.variant != "maml" or cell.experiment.endswith("alphabets"):
            continue
        setting = "-".join(cell.experiment.split("-")[:2])
        preset = presets[f"{setting}/maml"]
        test, like = (of.protocol.evaluations[0].name for of in (cell, preset))
        apart = differing(cell, test, preset, like)
        # A later item may be left at its default: the table says so.
        assert apart.keys() <= {BUDGET, *LATER}, apart
        assert all(ours is None for path, (ours, _) in apart.items() if path != BUDGET), apart
        steps = {result.step for result in protocols.get(f"{setting}/maml").results}
        assert cell.protocol.evaluations[0].headline in steps


def test_two_cells_of_one_name_are_refused():
    own = load_profile("paper").all_experiments()[0]
    changed = own.model_copy(update={"curve_points": 3})
    both = Profile(**PROFILE, presets=("sinusoid/maml",), experiments=(changed,))
    assert own.name == "sinusoid"
    with pytest.raises(UserError, match="two different cells are called 'sinusoid--maml--seed0"):
        expand(both, ["cpu"])


def test_a_shortened_training_walks_through_its_tasks_as_often():
    (cell,) = expand(
        Profile.model_validate({**PROFILE, "presets": ("omniglot-5w1s/maml",)}), ["cpu"]
    )
    short = shortened(cell, 600)
    assert (cell.protocol.train.tasks, short.protocol.train.tasks) == (200000, 2000)
    test = short.protocol.evaluations[0].name
    preset = protocols.get("omniglot-5w1s/maml")
    assert differing(short, test, preset, "test") == {BUDGET: (600, 60000)}
    more = short.protocol.train.model_copy(update={"tasks": 2100})
    other = short.model_copy(update={"protocol": short.protocol.model_copy(update={"train": more})})
    assert set(differing(other, test, preset, "test")) == {BUDGET, "train.tasks"}


@pytest.mark.parametrize(
    ("part", "changes", "said"),
    [
        ("train", {"tasks": "maml"}, "give their number"),
        ("test", {"tasks": 600}, "name a paper"),
        ("test", {"scored": ()}, "scored"),
        ("test", {"scored": (0, 1)}, "its report_step 3 is one of them"),
        ("test", {"scored": (3, 0)}, "different steps in order"),
        ("test", {"scored": (0, 3, 9)}, "from 0 to 3"),
    ],
)
def test_items_that_make_no_sense_are_refused_in_one_sentence(part, changes, said):
    parts = {
        "train": {"shots": 5, "query_shots": 5, "meta_batch": 2, "steps": 3},
        "test": {"name": "t", "shots": 5, "query_shots": 5, "episodes": 4, "steps": 3},
    }
    parts[part] |= changes
    values = json.dumps({"train": parts["train"], "evaluations": [parts["test"]]})
    with pytest.raises(UserError) as error:
        validated(Protocol, values, "x", json=True)
    assert said in str(error.value)
    assert str(error.value).endswith(".")


def test_every_seed_of_a_preset_of_maml_has_a_split_of_its_own():
    chosen = Profile.model_validate({**PROFILE, "presets": ("omniglot-5w1s/*",)})
    cells = [cell for cell in expand(chosen, ["cpu"], seeds=[0, 1]) if "maml" in cell.variant]
    assert len(cells) == 6
    for cell in cells:
        assert cell.make_task().split_seed == 1 + cell.seed
        assert cell.task["split_by_seed"] is True
    zero, one = (cell.make_task() for cell in cells[:2])
    tests = [episode_stream(task, cells[0].protocol.evaluations[0]).names for task in (zero, one)]
    assert tests[0] != tests[1]
    assert cells[0].data_key() != cells[1].data_key()
