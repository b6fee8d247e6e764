"""The folder of records: what is not whole is named and set aside, what is whole stays."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

from suite.records.schema import Record
from suite.records.store import file_stem
from suite.report.collect import collect
from tests.report.builder import cell, record, write

SCORES = {"test": np.linspace(0, 1, 24, dtype=np.float32).reshape(8, 3)}


@pytest.fixture
def one(tmp_path):
    made, arrays = record(cell("maml", 0), SCORES)
    store = write(tmp_path, (made, arrays))
    return store, store.folder / f"{file_stem(made.cell)}.json", made


def edited(path, **changes):
    values = json.loads(path.read_text())
    values.update(changes)
    path.write_text(json.dumps(values))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda p: p.write_bytes(p.read_bytes()[:500]), "not a valid record"),
        (lambda p: p.write_bytes(b""), "not a valid record"),
        (lambda p: p.write_bytes(b"[1, 2]"), "not a JSON object"),
        (lambda p: p.write_bytes(b"\xff\xfe"), "not a valid record"),
        (lambda p: p.write_bytes(b"[" * 100_000), "not a valid record"),
        (lambda p: edited(p, status="diverged"), "changed after it was written"),
        (lambda p: edited(p, timing=None), "changed after it was written"),
        (lambda p: edited(p, schema_version=99), "schema is 99"),
        (lambda p: edited(p, schema_version=1, sha256="0"), "its cell's description"),
        (lambda p: p.with_suffix(".npz").unlink(), "arrays are missing"),
        (lambda p: p.with_suffix(".npz").write_bytes(b"PK"), "cannot be read"),
    ],
)
def test_what_is_no_whole_record_counts_as_not_there(one, spoil, reason):
    store, path, made = one
    assert store.find(made.cell) == made
    spoil(path)
    assert store.find(made.cell) is None
    assert reason in store.problems[0]
    assert path.name in store.problems[0]
    content = path.read_bytes()
    moved = store.make_room(made.cell)
    assert (store.folder / "set-aside" / path.name).read_bytes() == content
    assert path.name in [place.name for place in moved]
    assert list(store.folder.glob("*.*")) == []


def test_a_record_of_the_first_schema_is_read(one):
    store, path, made = one
    values = json.loads(path.read_text())
    del values["record_sha256"], values["provenance"]["resumed"]
    values["schema_version"] = 1
    path.write_text(json.dumps(values))
    assert store.find(made.cell) == made.model_copy(update={"schema_version": 1})


def test_names_are_short_and_plain(one):
    store, _, made = one
    odd = made.cell.model_copy(update={"variant": "é/..\\ \n" + 300 * "x"})
    stem = file_stem(odd)
    assert len(stem) < 200
    assert "/" not in stem
    assert "\n" not in stem
    path = store.write(made.model_copy(update={"cell": odd}), {})
    assert path.parent == store.folder


def test_ten_thousand_records_are_read_in_seconds(one):
    store, path, _ = one
    values = json.loads(path.read_text())
    arrays = path.with_suffix(".npz").read_bytes()
    count = 500  # a twentieth
    for seed in range(1, count):
        values["cell"]["seed"] = seed
        described = Record.model_validate_json(json.dumps(values | {"record_sha256": ""}))
        described = described.model_copy(update={"sha256": described.cell.sha256()})
        stem = store.folder / file_stem(described.cell)
        stem.with_name(stem.name + ".json").write_bytes(described.to_json())
        stem.with_name(stem.name + ".npz").write_bytes(arrays)
    start = time.process_time()
    assert len(store.records()) == count
    assert store.problems == []
    assert time.process_time() - start < 20 / 10_000 * count
    start = time.process_time()
    assert len(collect(store).groups) == 1
    assert time.process_time() - start < 30 / 10_000 * count
