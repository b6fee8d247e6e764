"""The engine benchmark compares variants that compute the same thing."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import engines, gate_study, inner_rates, scheduling
from benchmarks.workloads import WORKLOADS
from suite.cell.setup import set_up
from suite.config.profile import expand, load_profile
from suite.core.episodes import OuterGradient
from suite.matrix.estimates import Estimates
from suite.tasks.sinusoid import SinusoidSampler
from tests.cells import make, told
from tests.problems import distance

SMALL = {
    name: dataclasses.replace(
        WORKLOADS[name], tasks=4, query=WORKLOADS[name].support, options=options
    )
    for name, options in (("S5", {}), ("O1", {"filters": 8}))
}


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("algorithm", engines.ALGORITHMS)
def test_variants_compute_the_same_gradient(name, algorithm, monkeypatch):
    monkeypatch.setattr("suite.engines.explicit.engine.WHOLE", 1)  # small batches are cut, too
    found = {}
    for variant, made in engines.variants(algorithm).items():
        with made(SMALL[name], algorithm) as (step, peak, natural):
            outer = step()
            # A sinusoid may fit into memory that the process already has.
            assert peak() > 0 or name == "S5"
        if outer is not None:  # the supervised step has no meta-gradient
            found[variant] = OuterGradient(natural(outer.gradient), outer.loss)
    assert set(found) >= {engines.PLAIN, engines.SPLIT, "explicit, one process"}
    truth = found[engines.PLAIN]
    assert truth.gradient.norm() > 0
    for outer in found.values():
        assert distance(outer.gradient, truth.gradient) < 1e-4
        assert distance(outer.loss, truth.loss) < 1e-4
    torch.set_num_threads(1)


@pytest.mark.slow
def test_rows_say_time_ratio_and_memory():
    rows = engines.compare("S1", "fomaml", rounds=2)
    assert [row[2] for row in rows] == list(engines.variants("fomaml"))
    assert rows[0][5] == rows[0][7] == "1.00"
    assert all(float(row[3]) > 0 for row in rows)
    assert float(rows[1][5]) > 2


def test_parts_are_timed_engine_beside_engine(tmp_path):
    file = tmp_path / "found.json"
    words = ["-k", "sinusoid-maml and inner and step", f"--benchmark-json={file}"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "benchmarks/test_parts.py", *words],
        cwd=Path(engines.__file__).parent.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    found = json.loads(file.read_text())["benchmarks"]
    assert {row["params"]["engine"] for row in found} == {
        "explicit",
        "reference",
        "higher",
        "plain",
    }
    assert {row["group"] for row in found} == {"inner step, maml, sinusoid, cpu"}
    assert all(row["extra_info"]["operators"] > 0 for row in found)


def test_inner_rates_are_chosen_on_validation_tasks_alone(monkeypatch):
    """Never on the paper's own test tasks, which the preset's first test is on."""
    (cell,) = (
        cell
        for cell in expand(load_profile("paper"), ["cpu"], seeds=[0])
        if (cell.experiment, cell.variant) == ("sinusoid", "pretrain")
    )
    assert cell.protocol.evaluations[0].tasks == "maml"
    seen = []
    sample = SinusoidSampler.sample

    def watched(self, stream, first, count, shape, split):
        seen.append((stream.names[0], shape.tasks, split))
        return sample(self, stream, first, count, shape, split)

    monkeypatch.setattr(SinusoidSampler, "sample", watched)
    weights = set_up(cell, None, torch.device("cpu")).initial
    seen.clear()
    assert inner_rates.score(cell, weights, 0.01) > 0
    assert set(seen) == {("test", None, "validation")}


def test_the_places_of_the_gates_study_are_there():
    places = [(file, before) for file, before, _ in gate_study.PLACES.values()]
    places += [(file, before) for _, file, before, _ in gate_study.EXACT.values()]
    for file, before in places:
        assert (gate_study.ROOT / file).read_text().count(before) == 1


def test_a_simulated_matrix_ends_with_its_load_or_its_longest_cell():
    cells = [make("sgd", seed=seed) for seed in range(4)]
    cells += [make("maml", steps=500, seed=seed) for seed in range(2)]
    estimates = Estimates([told(cells[0], 9.0), told(cells[-1], 19.0)])  # 10 s and 20 s each
    rows = [scheduling.simulated(cells, estimates, devices) for devices in (1, 2, 4, 9)]
    assert [row[1:3] for row in rows] == [
        ("80 s", "load"),
        ("40 s", "load"),
        ("20 s", "longest cell"),
        ("20 s", "longest cell"),
    ]
    assert [row[3] for row in rows] == ["+0.0 %", "+0.0 %", "+0.0 %", "+0.0 %"]
    assert [row[5] for row in rows] == ["+0.0 %", "+0.0 %", "+50.0 %", "+0.0 %"]
