"""A checkpoint gives back what was saved, or nothing: never half of it, never another's."""

from __future__ import annotations

import numpy as np
import pytest

from suite.core.errors import UserError
from suite.records import files
from suite.records.checkpoint import Checkpoint

ARRAYS = {"weights": np.arange(5, dtype=np.float32), "losses": np.zeros(0)}
STATE = {"done": 3, "train_loss": [None, 0.1 + 0.2]}


@pytest.fixture
def saved(tmp_path):
    checkpoint = Checkpoint(tmp_path / "a.npz", {"training": "x"})
    checkpoint.save(STATE, ARRAYS)
    return checkpoint


def test_what_is_saved_comes_back(saved):
    state, arrays = saved.load()
    assert state == STATE
    assert set(arrays) == set(ARRAYS)
    for name, value in ARRAYS.items():
        assert arrays[name].dtype == value.dtype
        np.testing.assert_array_equal(arrays[name], value)


def test_without_a_path_nothing_is_kept():
    checkpoint = Checkpoint(every=0)
    assert not checkpoint.due()
    checkpoint.save(STATE, ARRAYS)
    assert checkpoint.load() is None
    checkpoint.remove()


def test_it_is_due_by_wall_time_and_a_clock_set_back_does_not_matter(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr("time.time", lambda: 0.0)
    checkpoint = Checkpoint(tmp_path / "a.npz", every=60)
    now[0] += 59
    assert not checkpoint.due()
    now[0] += 2
    assert checkpoint.due()
    checkpoint.save(STATE, ARRAYS)
    assert not checkpoint.due()


@pytest.mark.parametrize("keep", [0, 10, 200, -1])
def test_a_torn_file_is_set_aside(saved, keep, tmp_path):
    said = []
    content = saved.path.read_bytes()
    saved.path.write_bytes(content[:keep])
    saved.note = said.append
    assert saved.load() is None
    assert not saved.path.exists()
    assert (tmp_path / "set-aside" / "a.npz").read_bytes() == content[:keep]
    assert "it is damaged" in said[0]


def test_changed_arrays_are_noticed(saved):
    with np.load(saved.path) as file:
        arrays = {name: file[name] for name in file.files}
    arrays["weights"][2] = 7
    np.savez(saved.path, **arrays)
    assert saved.load() is None


def test_pickles_are_not_loaded(saved):
    np.savez(saved.path, weights=np.array([object()], dtype=object), allow_pickle=True)
    assert saved.load() is None


def test_another_training_is_not_taken_for_this_one(saved):
    assert Checkpoint(saved.path, {"training": "y"}).load() is None


def test_a_file_that_cannot_be_written_leaves_the_one_before(saved, monkeypatch):
    before = saved.path.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match="No space left on device"):
        saved.save({"done": 4}, ARRAYS)
    assert saved.path.read_bytes() == before
    assert list(saved.path.parent.glob(".*")) == []


def test_halves_of_dead_processes_are_known_from_those_of_living_ones(tmp_path):
    for host, process in ((files._host(), 2**22 + 1), (files._host(), 1), ("elsewhere", 2**22 + 1)):
        (tmp_path / f".a.json.{host}-{process}.tmp").touch()
    (tmp_path / ".mine.tmp").touch()
    dead = tmp_path / f".a.json.{files._host()}-{2**22 + 1}.tmp"
    assert list(files.left_behind(tmp_path)) == [dead]
    assert list(files.left_behind(tmp_path / "none")) == []


def test_what_is_moved_aside_overwrites_nothing(tmp_path):
    for content in ("one", "two", "three"):
        (tmp_path / "a.npz").write_text(content)
        files.moved_aside(tmp_path / "a.npz")
    found = {path.name: path.read_text() for path in (tmp_path / "set-aside").iterdir()}
    assert found == {"a.npz": "one", "a.2.npz": "two", "a.3.npz": "three"}
