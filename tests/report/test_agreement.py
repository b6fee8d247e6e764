"""The table of devices: who is compared with whom, on which seeds, beside which times."""

from __future__ import annotations

import numpy as np
import pytest

from suite.report.collect import collect
from suite.report.format import NONE
from suite.report.tables import make_tables
from suite.report.tables.devices import device_table
from tests.report.builder import cell, record, timing, write

GPU = {"accelerator": "GPU model 7"}


def made(algorithm, seed, value, device="cpu", **times):
    scores = np.stack([np.full(4, 9.0), np.full(4, 5.0), np.full(4, value)], axis=1)
    where = GPU if device == "cuda" else {}
    return record(
        cell(algorithm, seed, device=device), {"test": scores}, times=timing(**times), where=where
    )


def test_one_kind_of_device_has_no_such_table(tmp_path):
    collection = collect(write(tmp_path, *(made("maml", seed, 1.0) for seed in range(4))))
    assert device_table(collection) is None


def test_devices_are_paired_by_seed_and_timed_alone(tmp_path):
    cpu = [made("maml", seed, 1.0 + seed, outer=0.010) for seed in range(5)]
    shifts = (0.1, 0.2, 0.3, 0.4)
    cuda = [
        made("maml", seed, 1.0 + seed + shift, "cuda", outer=0.002 * (seed + 1), alone=seed != 3)
        for seed, shift in enumerate(shifts)
    ]
    only = [made("sgd", 0, 3.0)]  # on one device: nothing to compare
    collection = collect(write(tmp_path, *cpu, *cuda, *only))
    found = device_table(collection)
    first, second = (dict(zip(found.columns, row, strict=True)) for row in found.rows)
    assert (first["Device"], second["Device"]) == ("Xeon_8 & co", "GPU model 7")
    assert (first["minus the first"], first["p"]) == (NONE, NONE)
    assert second["minus the first"] == "+0.250"  # of the four seeds that both have
    assert second["± seeds"] == "0.205"  # 3.182 x 0.1291 / 2
    assert (first["Seeds"], second["Seeds"]) == ("5", "4")
    assert first["Outer step, ms"].startswith("10")
    assert second["Outer step, ms"].startswith("4")  # seed 3 was not alone: 2, 4, 6
    assert float(found.data[1]["outer_step_seconds"]) == pytest.approx(0.004)
    assert found.data[1]["p"] < 0.05
    assert "devices" in [table.name for table in make_tables(collection, ())]


def test_a_device_without_results_is_left_out(tmp_path):
    lost = record(cell("maml", 0, device="cuda"), where=GPU)  # diverged
    assert device_table(collect(write(tmp_path, made("maml", 0, 1.0), lost))) is None
