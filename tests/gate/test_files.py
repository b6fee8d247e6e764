"""Baselines and histories."""

from __future__ import annotations

import json

import pytest

from suite.core.errors import UserError
from suite.gate.files import Folder, MeasuredCase, machine
from tests.gate.measurements import line, measurement


def test_a_baseline_comes_back_as_it_was(tmp_path):
    folder = Folder(tmp_path, "m")
    assert folder.baseline() is None
    folder.keep(measurement())
    assert folder.baseline() == measurement()


def test_a_baseline_of_another_calibration_is_none(tmp_path):
    folder = Folder(tmp_path, "m")
    folder.keep(measurement(plain_sha256="another"))
    assert folder.baseline() is None


def test_a_baseline_of_another_format_is_none(tmp_path):
    folder = Folder(tmp_path, "m")
    folder.keep(measurement())
    told = json.loads(folder.baseline_path.read_text()) | {"format": 1}
    folder.baseline_path.write_text(json.dumps(told))
    assert folder.baseline() is None


@pytest.mark.parametrize("text", ["", "{}", '{"cases": 3}', "\x00", "[]"])
def test_a_broken_baseline_is_named_and_left(tmp_path, text):
    folder = Folder(tmp_path, "m")
    folder.path.mkdir(parents=True)
    folder.baseline_path.write_text(text)
    with pytest.raises(UserError, match=r"is not a baseline .*--update"):
        folder.baseline()
    assert folder.baseline_path.read_text() == text


@pytest.mark.parametrize("blocks", [[], [[]]])
def test_a_case_without_samples_is_no_case(blocks):
    with pytest.raises(ValueError, match="at least 1"):
        MeasuredCase(cell_sha256="0", blocks=blocks, counts={}, milliseconds=1.0)


def test_the_history_grows_and_survives_a_broken_line(tmp_path):
    folder = Folder(tmp_path, "m")
    assert folder.add(line()) == [line()]
    path = folder.path / "history.jsonl"
    path.write_text(path.read_text() + "broken\n")
    assert folder.add(line("def")) == [line(), line("def")]
    assert "broken" in path.read_text()  # nothing is deleted


def test_machines_are_told_apart_by_what_moves_ratios(monkeypatch):
    here = machine(["cpu"])
    assert here == machine(["cpu"])
    assert "torch" in here
    assert "/" not in here
    monkeypatch.setattr("suite.gate.files.usable_cores", lambda: 64)
    assert machine(["cpu"]) != here


def test_a_report_is_json_and_markdown(tmp_path):
    folder = Folder(tmp_path, "m")
    folder.report({"a": 1}, "| table |")
    assert json.loads((folder.path / "last.json").read_text()) == {"a": 1}
    assert (folder.path / "last.md").read_text() == "| table |"
