"""`verify` finds what is wrong with a record, also where its own hashes were made again."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from suite.cli import cli
from suite.records.files import arrays_sha256
from suite.records.schema import Record, result_sha256
from suite.records.store import Store
from tests.cells import PROFILE


@pytest.fixture
def results(tmp_path):
    (tmp_path / "tiny.toml").write_text(PROFILE)
    assert run(tmp_path).exit_code == 0
    return tmp_path


def run(folder, *words):
    options = ["--profile", folder / "tiny.toml", "--results", folder / "out", "--device", "cpu",
               "--no-figures", *words]  # fmt: skip
    return CliRunner().invoke(cli, [str(word) for word in options])


def rewritten(folder, change):
    """Change the results of one record and make its hashes fit again."""
    store = Store(folder / "out", "tiny")
    record = next(r for r in store.records() if r.cell.variant == "maml")
    values, arrays = record.model_dump(mode="json"), store.arrays(record)
    change(values, arrays)
    values["results"]["arrays_sha256"] = arrays_sha256(arrays)
    made = Record.model_validate_json(json.dumps(values))
    store.write(made.model_copy(update={"result_sha256": result_sha256(made.results)}), arrays)
    return record.cell.label


def test_records_as_they_are_made_are_well(results):
    found = run(results, "verify", "--rerun", "tiny--maml--seed0--cpu")
    assert found.exit_code == 0, found.output
    assert "2 records read, 1 sets of test episodes drawn again" in found.output
    assert "computed again, equal to the bit" in found.output


def flattered(values, arrays):
    arrays["scores/test"] = arrays["scores/test"] * np.float32(0.5)


def mean(values, arrays):
    values["results"]["evaluations"]["test"]["mean"][1] = 0.001


def episodes(values, arrays):
    values["results"]["evaluations"]["test"]["episodes_sha256"] = "0" * 64


def fewer(values, arrays):
    arrays["scores/test"] = arrays["scores/test"][:4]


def luckier(values, arrays):
    arrays["by-class/test/hits"] = arrays["by-class/test/hits"] + 1


def test_hits_by_class_must_be_those_of_the_scores(results):
    shape = "ways = 3, shots = 2, query_shots = 2"
    (results / "tiny.toml").write_text(
        f"""
description = "x"
seeds = [0]
[[experiments]]
name = "letters"
task = {{ name = "glyphs" }}
model = {{ name = "mlp", hidden = [6] }}
train = {{ {shape}, meta_batch = 2, steps = 3 }}
evaluations = [{{ name = "test", {shape}, episodes = 6, steps = 2, by_class = true }}]
[experiments.algorithms.maml]
"""
    )
    said = run(results)
    assert said.exit_code == 0, said.output
    assert run(results, "verify").exit_code == 0
    rewritten(results, luckier)
    said = run(results, "verify")
    assert said.exit_code == 1
    assert "its hits by class of 'test' are not those of its scores" in said.output


def gone(values, arrays):
    del arrays["scores/test"]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (flattered, "summary of 'test' is not that of its scores"),
        (mean, "summary of 'test' is not that of its scores"),
        (episodes, "test episodes of 'test' are not those that it describes"),
        (fewer, "scores of 'test' have the shape (4, 3)"),
        (gone, "evaluation 'test' is missing"),
    ],
)
def test_what_does_not_fit_together_is_found(results, change, found):
    rewritten(results, change)
    said = run(results, "verify")
    assert said.exit_code == 1
    assert found in said.output
    assert "1 problems" in said.output


def test_results_that_cannot_be_computed_again_are_found(results):
    def other(values, arrays):
        values["results"]["weights_sha256"] = "0" * 64

    label = rewritten(results, other)
    assert run(results, "verify").exit_code == 0
    said = run(results, "verify", "--rerun", label)
    assert said.exit_code == 1
    assert "computed again, its results differ" in said.output


def test_arrays_without_a_record_are_named(results):
    (results / "out" / "records" / "tiny" / "x.npz").touch()
    said = run(results, "verify")
    assert said.exit_code == 1
    assert "x.npz: arrays without a record" in said.output


def test_no_such_cell_and_no_records(results, tmp_path):
    assert "'x' has no valid record" in run(results, "verify", "--rerun", "x").output
    (tmp_path / "out" / "records" / "tiny").rename(tmp_path / "elsewhere")
    said = run(results, "verify")
    assert said.exit_code == 2
    assert "run the profile first" in said.output
