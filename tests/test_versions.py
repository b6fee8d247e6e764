"""A component's version voids the records that used the component, and no others."""

from __future__ import annotations

from pathlib import Path

import pytest

from suite.config.profile import expand, load_profile
from suite.core import registry, version
from suite.core.errors import UserError
from suite.matrix.verify import verify
from suite.records.store import Store
from suite.report.collect import collect
from tests.report.builder import cell, record, write

RESULTS = Path(__file__).resolve().parent.parent / "results"
PROFILES = ("quick", "paper")


def cells():
    """Return the cells of the profiles by label, with their hashes."""
    return {
        (profile, of.label): of
        for profile in PROFILES
        for of in expand(load_profile(profile), ["cpu"], seeds=[0, 1])
    }


def changed(monkeypatch, change):
    """Return the labels of the cells whose hash a change of versions moves."""
    before = {label: of.sha256() for label, of in cells().items()}
    change()
    after = cells()
    assert before.keys() == after.keys()
    return {label: after[label] for label, sha in before.items() if after[label].sha256() != sha}


@pytest.mark.parametrize(
    ("part", "name"), [("task", "glyphs"), ("algorithm", "maml"), ("model", "mlp")]
)
def test_a_component_voids_what_uses_it_alone(part, name, monkeypatch):
    kinds = {"task": registry.tasks, "algorithm": registry.algorithms, "model": registry.models}
    component = kinds[part].get(name)
    moved = changed(
        monkeypatch, lambda: monkeypatch.setattr(component, "version", 2, raising=False)
    )
    users = {label for label, of in cells().items() if getattr(of, part)["name"] == name}
    assert moved.keys() == users
    assert 0 < len(users) < len(cells())
    assert {of.versions[part] for of in moved.values()} == {2}


@pytest.mark.parametrize("part", sorted(version.COMMON))
def test_what_all_cells_have_in_common_voids_all(part, monkeypatch):
    moved = changed(monkeypatch, lambda: monkeypatch.setitem(version.COMMON, part, 2))
    assert moved.keys() == cells().keys()


@pytest.mark.parametrize("profile", ["quick", "paper", "tune", "omniglot", "traps"])
def test_records_from_before_there_were_versions_are_carried_over(profile):
    """Their descriptions name no version: they are of version 1 of every part."""
    for found in Store(RESULTS, profile).records():
        assert "versions" not in found.cell.description()
        assert found.sha256 == found.cell.sha256()


SCORES = [[1.0, 0.9, 0.8]] * 4


def test_versions_are_not_mixed_in_one_table_and_the_part_is_named(tmp_path):
    old, new = (
        record(cell("maml", seed).model_copy(update={"versions": versions}), {"test": SCORES})
        for seed, versions in enumerate(({}, {"task": 2}))
    )
    with pytest.raises(UserError, match=r"versions 1 .* and 2 .* of task sinusoid must not"):
        collect(write(tmp_path, old, new))


def test_a_run_sets_all_older_records_aside_and_says_which_part_is_newer(tmp_path, monkeypatch):
    made = [
        record(cell(name, seed), {"test": SCORES}) for name in ("maml", "sgd") for seed in (0, 1)
    ]
    store = write(tmp_path, *made)
    monkeypatch.setattr(registry.algorithms.get("maml"), "version", 3)
    problems = verify(store, None, [], lambda _: None)
    assert sum("its algorithm maml is now version 3; run it again" in p for p in problems) == 2
    # Whatever cells a run selects: else it would end with records that no table may hold.
    moved = store.set_aside([cell("sgd", 0)])
    assert len(moved) == 2
    assert all(name.endswith(".json (algorithm maml is now version 3)") for name in moved)
    assert {one.cell.variant for one in store.records()} == {"sgd"}
    assert len(list((store.folder / "superseded").glob("*.npz"))) == 2


def test_records_of_newer_code_stay(tmp_path):
    newer = cell("maml").model_copy(update={"versions": {"algorithm": 3}})
    store = write(tmp_path, record(newer, {"test": SCORES}))
    assert store.set_aside([]) == []
