"""Presets: complete, marked, runnable, and each behind the published number that it names."""

from __future__ import annotations

import pytest

from suite.config import presets as protocols
from suite.config.cell import episode_stream
from suite.config.presets import Preset, leaves
from suite.config.profile import expand, load_profile
from suite.core.errors import UserError
from suite.published.counterpart import items_of
from suite.published.numbers import load as published

PRESETS = protocols.load()
CELLS = {
    f"{cell.experiment}/{cell.variant}": cell
    for cell in expand(load_profile("paper"), ["cpu"], seeds=[0])
}


def test_the_paper_profile_runs_every_preset():
    assert set(CELLS) == set(PRESETS)
    assert len({cell.sha256() for cell in CELLS.values()}) == len(PRESETS)


@pytest.mark.parametrize("name", PRESETS)
def test_every_item_of_a_cell_is_marked_and_no_other(name):
    items = {path: item.value for path, item in PRESETS[name].items.items()}
    assert items_of(CELLS[name]) == items


@pytest.mark.parametrize("name", PRESETS)
def test_items_have_marks_and_places(name):
    for item in PRESETS[name].items.values():
        assert len(item.place) > 4, item


@pytest.mark.parametrize("name", [name for name, preset in PRESETS.items() if preset.results])
def test_results_are_of_the_paper_and_the_setting(name):
    preset, numbers = PRESETS[name], published()
    for result in preset.results:
        number = numbers.number(result.number)
        assert number.paper == preset.paper
        test = next(e for e in CELLS[name].protocol.evaluations if e.name == result.evaluation)
        assert result.step <= test.steps
        assert number.shots == test.shots
        if number.ways is not None:
            assert number.ways == test.ways
        if number.query_shots is not None:
            assert number.query_shots == test.query_shots
        if number.grad_steps is not None:
            assert number.grad_steps == result.step
        else:
            assert test.headline == result.step
        if number.transductive in ("yes", "no"):
            assert (number.transductive == "yes") == (test.batch_norm == "transductive")
        dataset = CELLS[name].task.get("folder") or CELLS[name].task["name"]
        assert number.dataset == str(dataset).replace("-", "")


def test_every_number_of_maml_and_reptile_that_the_suite_can_run_has_a_preset():
    linked = {result.number for preset in PRESETS.values() for result in preset.results}
    missing = [
        number.id
        for number in published().numbers
        if number.own_method
        and number.paper in ("maml", "reptile")
        and number.metric != "average_return"
        and number.id not in linked
        and ".v1." not in number.id  # superseded by the final version
    ]
    assert missing == []


def test_an_item_without_a_base_or_an_unknown_preset_is_refused():
    with pytest.raises(UserError, match="omniglot-5w1s/maml"):
        protocols.get("omniglot-5w1s/mamll")
    with pytest.raises(UserError, match="no base"):
        protocols._preset("a/b", {"a/b": {"base": "nowhere"}})
    with pytest.raises(UserError, match="no base"):
        protocols._preset("a/b", {"a/b": {"base": "a/b"}})


def test_a_result_must_be_read_from_an_evaluation():
    values = PRESETS["omniglot-5w1s/maml"].model_dump()
    values["results"] = ({**values["results"][0], "evaluation": "nowhere"},)
    with pytest.raises(ValueError, match="no evaluation"):
        Preset.model_validate(values)


def test_leaves_skip_what_has_no_value():
    assert leaves({"a": {"b": 1, "c": None}, "d": [1, 2]}) == {"a.b": 1, "d": [1, 2]}


def test_evaluations_of_one_name_in_an_experiment_are_of_the_same_episodes():
    """Tables compare the algorithms of an experiment by the evaluation's name."""
    seen = {}
    for cell in CELLS.values():
        for test in cell.protocol.evaluations:
            spec = episode_stream(cell.make_task(), test).names, test.query_shots, test.rotations
            first = seen.setdefault((cell.experiment, test.name), spec)
            assert first == spec, (cell.label, test.name)


def test_a_setting_that_a_paper_does_not_describe_states_nothing():
    preset = PRESETS["omniglot-20w1s/fomaml"]
    stated = {path for path, item in preset.items.items() if item.mark in ("stated", "code")}
    assert stated == {"algorithm.name", "evaluations.test.ways", "evaluations.test.shots"}
    assert "train.loss" in preset.assumed
    assert PRESETS["omniglot-20w1s/maml"].items["train.loss"].mark == "code"
