"""The committed results: valid records of committed code, and tables that follow from them."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from benchmarks import power
from suite.config import presets as protocols
from suite.config.profile import expand, load_profile
from suite.core.version import RESULTS_VERSION
from suite.published.errors import DECISIONS
from suite.published.margins import margin
from suite.published.numbers import load
from suite.records.store import Store
from suite.report import write_report
from suite.report.collect import collect
from suite.report.tables.tune import choose

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results"
PROFILES = ("quick", "tune", "omniglot")
#: Too long to be run in full: what there is of them.
PARTLY = ("paper", "traps")


@pytest.mark.parametrize("profile", PROFILES + PARTLY)
def test_records_are_whole_and_of_clean_commits(profile):
    store = Store(RESULTS, profile)
    records = store.records()
    assert records
    assert store.problems == []
    for record in records:
        assert record.provenance.commit
        assert record.provenance.dirty is False
        assert record.cell.results_version == RESULTS_VERSION
        if record.status == "done":
            store.arrays(record)  # checks their hash


def test_what_was_tried_stands_beside_every_difference():
    table = (RESULTS / "tables" / "paper" / "comparison.md").read_text()
    lines = csv.DictReader((RESULTS / "tables" / "paper" / "comparison.csv").open())
    apart = {line["preset"] for line in lines if line["verdict"] in ("above", "below", "differs")}
    for name in apart:
        assert protocols.load()[name].tried
        assert f"- Tried for {name}: " in table


@pytest.mark.parametrize("profile", PROFILES)
def test_records_are_the_profile_as_it_is_now(profile):
    cells = expand(load_profile(profile), ["cpu"], cores=2)
    described = {json.dumps(cell.description(), sort_keys=True) for cell in cells}
    kept = {
        json.dumps(record.cell.description(), sort_keys=True)
        for record in Store(RESULTS, profile).records()
    }
    assert kept == described


@pytest.mark.parametrize("profile", PARTLY)
def test_records_are_cells_of_the_profile_some_of_them_shortened(profile):
    kept = [record.cell for record in Store(RESULTS, profile).records()]
    budgets = {int(cell.experiment.partition("@")[2] or 0) for cell in kept}
    described = {
        (cell.label, cell.sha256())
        for steps in budgets
        for shards in {cell.numerics.shards for cell in kept}
        for cell in expand(load_profile(profile), ["cpu"], shards=shards, outer_steps=steps or None)
    }
    assert {(cell.label, cell.sha256()) for cell in kept} <= described


@pytest.mark.parametrize("profile", PROFILES + PARTLY)
def test_committed_tables_follow_from_the_records_byte_for_byte(profile, tmp_path):
    shutil.copytree(RESULTS / "records" / profile, tmp_path / "records" / profile)
    write_report(
        tmp_path, profile, protocols.matching(load_profile(profile).presets), figures=False
    )
    made = {path.name: path.read_bytes() for path in (tmp_path / "tables" / profile).iterdir()}
    kept = {path.name: path.read_bytes() for path in (RESULTS / "tables" / profile).iterdir()}
    assert made == kept


def test_rates_of_quick_are_the_choice_of_tune():
    """Rates and steps of every method follow from the committed tune records alone."""
    choices = choose(collect(Store(RESULTS, "tune")).groups)
    assert len({len(choice.points) for choice in choices}) == 1, "grids of one size"
    cells = {
        (cell.experiment, cell.variant): cell
        for cell in expand(load_profile("quick"), ["cpu"], cores=2)
    }
    assert {(c.experiment, c.variant) for c in choices} == set(cells)
    for choice in choices:
        cell = cells[choice.experiment, choice.variant]
        chosen = {key: cell.algorithm[key] for key in choice.parameters}
        assert chosen == choice.parameters, (choice.experiment, choice.variant)
        assert {e.headline for e in cell.protocol.evaluations} == {choice.step}


def test_the_chances_of_verdicts_are_those_of_the_present_judge():
    lines = list(csv.DictReader((RESULTS / "power" / "power.csv").open()))
    presets = {
        (preset.name, r.number) for preset in protocols.load().values() for r in preset.results
    }
    assert {(line["preset"], line["number"]) for line in lines} == presets
    for line in lines[:: len(lines) // 7]:
        number, seeds = load().number(line["number"]), int(line["seeds"])
        true = int(line["true_difference_in_margins"])
        found = power.chances_of(number, float(line["spread"]), seeds, true)
        kept = [float(line[kind]) for kind in DECISIONS]
        assert found == pytest.approx(kept, abs=0.02)
        assert float(line["margin"]) == pytest.approx(margin(number))
