"""Joined folders hold every valid record once, as it was; contradictions change nothing."""

from __future__ import annotations

import numpy as np
import pytest

from suite.core.errors import UserError
from suite.records.merge import merge
from suite.records.store import Store, file_stem
from tests.report.builder import cell, record, write


def made(algorithm, seed, shift=0.0, **more):
    scores = {"test": np.linspace(0, 1, 12, dtype=np.float32).reshape(4, 3) + np.float32(shift)}
    return record(cell(algorithm, seed), scores, **more)


def files(folder):
    """Contents and times of all that is no lock."""
    return {
        path.relative_to(folder): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file() and "locks" not in path.parts
    }


@pytest.fixture
def parts(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    write(one, made("maml", 0), made("maml", 1))
    write(two, made("maml", 1), made("reptile", 0), record(cell("sgd", 0)))  # the last diverged
    return one, two


def test_records_are_copied_as_they_are_and_once(tmp_path, parts):
    before = [files(part) for part in parts]
    into = Store(tmp_path / "all", "demo")
    merged = merge(into, parts)
    assert (merged.copied, merged.existing, merged.problems) == (4, 1, [])
    assert [files(part) for part in parts] == before
    labels = [f"{r.cell.variant} {r.cell.seed} {r.status}" for r in into.records()]
    assert labels == ["maml 0 done", "maml 1 done", "reptile 0 done", "sgd 0 diverged"]
    contents = {path.name: content for part in before for path, (content, _) in part.items()}
    joined = files(into.results)
    assert {path.name: content for path, (content, _) in joined.items()} == contents
    again = merge(into, [*parts, into.results])
    assert (again.copied, again.problems) == (0, [])
    assert files(into.results) == joined


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (made("maml", 1, shift=0.5), "are of one cell but have different results"),
        (record(cell("maml", 1)), "are of one cell but have different results"),
        (made("maml", 1, where={"processor": "another"}), None),
        (record(cell("maml", 1, shots=3), {"test": np.zeros((4, 3))}), "are of different cells"),
    ],
)
def test_two_records_that_contradict_each_other_are_named_and_nothing_is_copied(
    tmp_path, parts, other, said
):
    third = tmp_path / "third"
    write(third, other)
    into = Store(tmp_path / "all", "demo")
    write(into.results, made("finetune", 0))
    if said is None:
        assert merge(into, [*parts, third]).copied == 4
        return
    for folders in ([*parts, third], [third, *parts]):
        before = files(into.results)
        with pytest.raises(UserError, match=said) as error:
            merge(into, folders)
        for folder in (parts[0], third):
            assert str(folder) in str(error.value)
        assert files(into.results) == before
    write(into.results, other)  # nor is what is there ever replaced
    before = files(into.results)
    with pytest.raises(UserError, match=said):
        merge(into, parts)
    assert files(into.results) == before


def test_a_record_by_another_number_of_processes_is_the_same(tmp_path, parts):
    one = cell("maml", 1)
    numerics = one.numerics.model_copy(update={"shards": 4})
    scores = {"test": np.linspace(0, 1, 12, dtype=np.float32).reshape(4, 3)}
    write(tmp_path / "all", record(one.model_copy(update={"numerics": numerics}), scores))
    assert merge(Store(tmp_path / "all", "demo"), parts).copied == 3


def test_damaged_records_are_named_and_left(tmp_path, parts):
    store = Store(parts[0], "demo")
    torn, lost = (store.folder / f"{file_stem(cell('maml', seed))}.json" for seed in (0, 1))
    torn.write_bytes(torn.read_bytes()[:200])
    lost.with_suffix(".npz").write_bytes(b"PK")
    before = files(parts[0])
    into = Store(tmp_path / "all", "demo")
    merged = merge(into, [parts[0]])
    assert merged.copied == 0
    assert len(merged.problems) == 2
    assert all(any(path.stem in problem for problem in merged.problems) for path in (torn, lost))
    assert files(parts[0]) == before
    assert into.records() == []


def test_what_is_damaged_here_makes_room_for_what_is_whole(tmp_path, parts):
    into = write(tmp_path / "all", made("maml", 0))
    path = into.folder / f"{file_stem(cell('maml', 0))}.json"
    path.write_bytes(b"torn")
    assert merge(into, [parts[0]]).copied == 2
    assert len(into.records()) == 2
    assert (into.folder / "set-aside" / path.name).read_bytes() == b"torn"


def test_a_cell_that_a_run_computes_here_is_left(tmp_path, parts):
    into = Store(tmp_path / "all", "demo")
    with into.lock(cell("maml", 0)):
        merged = merge(into, [parts[0]])
    assert merged.copied == 1
    assert "a run computes its cell" in merged.problems[0]


def test_a_folder_without_records_is_refused(tmp_path, parts):
    with pytest.raises(UserError, match=r"no records of profile 'demo' in .*nowhere"):
        merge(Store(tmp_path / "all", "demo"), [*parts, tmp_path / "nowhere"])
    assert not list((tmp_path / "all").rglob("*.json"))
