"""The examples of the pages: shown as they are, and each runs in a folder of its own."""

from __future__ import annotations

import csv
import io
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pages import ROOT, blocks

EXAMPLES = ROOT / "examples"
PLUGINS = {"anil": 7, "anil_fast": 7, "lines": 6, "conv2": 5}  # with the number of their checks
TINY = """
description = "Tiny."
seeds = [0]

[[experiments]]
name = "lines"
task = { name = "lines" }
model = { name = "mlp", hidden = [4] }
train = { shots = 2, query_shots = 2, meta_batch = 2, steps = 2 }
evaluations = [{ name = "test", shots = 2, query_shots = 2, episodes = 3, steps = 1 }]
curve_points = 0

[experiments.algorithms.maml]
[experiments.algorithms.fomaml]
"""


def run(folder: Path, *words: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, text=True)


def suite(folder: Path, *words: str) -> str:
    done = run(
        folder, "-m", "suite", "--processes", "1", "--no-figures", "--results", "out", *words
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def lines(text: str) -> list[dict[str, str]]:
    """The lines of a CSV file, by its keys."""
    return list(csv.DictReader(io.StringIO(text)))


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("[!t]*.py")), ids=lambda path: path.stem)
def test_pages_show_the_examples_as_they_are(path):
    assert ("python", path.read_text()) in blocks(ROOT / "docs" / "extending.md")


def test_pages_show_the_profile_and_the_contract_test_as_they_are():
    assert ("toml", (EXAMPLES / "lines.toml").read_text()) in blocks(ROOT / "docs/quickstart.md")
    _, two_lines = (EXAMPLES / "test_anil.py").read_text().split('"""\n\n')
    assert ("python", two_lines) in blocks(ROOT / "docs" / "extending.md")


def test_an_algorithm_is_short():
    assert len((EXAMPLES / "anil.py").read_text().splitlines()) <= 30


def test_contract_tests_run_from_the_plugins_own_folder(tmp_path):
    for name in PLUGINS:
        shutil.copy(EXAMPLES / f"{name}.py", tmp_path)
        text = (EXAMPLES / "test_anil.py").read_text().replace("anil.py", f"{name}.py")
        (tmp_path / f"test_{name}.py").write_text(text)
    good = run(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", ".")
    assert good.returncode == 0, good.stdout
    assert f"{sum(PLUGINS.values())} passed" in good.stdout
    source = (EXAMPLES / "anil.py").read_text()
    broken = source.replace("        yield theta\n        for", "        for")
    (tmp_path / "anil.py").write_text(broken)
    bad = run(tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_anil.py")
    assert bad.returncode == 1
    assert "adapts_step_by_step" in bad.stdout


def test_the_profile_runs_with_its_plugins(tmp_path):
    for name in ("anil.py", "anil_fast.py", "lines.py", "lines.toml"):
        shutil.copy(EXAMPLES / name, tmp_path)
    plugins = [
        word for name in ("anil", "anil_fast", "lines") for word in ("--plugin", f"{name}.py")
    ]
    said = suite(
        tmp_path, *plugins, "--profile", "lines.toml", "--outer-steps", "3", "--seeds", "0"
    )
    assert "3 cells done" in said
    table = run(tmp_path, str(EXAMPLES / "modes.py"), "out", "lines", "csv")
    assert {line["variant"]: line["engine"] for line in lines(table.stdout)} == {
        "anil": "reference", "anil-fast": "explicit", "maml": "explicit",
    }  # fmt: skip


def test_a_column_of_a_table_is_one_entry(tmp_path):
    (entry,) = [
        text for _, text in blocks(ROOT / "docs/extending.md") if text.startswith("Column(")
    ]
    source = (EXAMPLES / "modes.py").read_text()
    more = source.replace("    ]\n", f"        {entry.strip()},\n    ]\n")
    shown = {}
    for name, text in (("before", source), ("after", more)):
        (tmp_path / f"{name}.py").write_text(text)
        for kind in ("md", "tex", "csv"):
            done = run(tmp_path, f"{name}.py", str(ROOT / "results"), "quick", kind)
            assert done.returncode == 0, done.stderr
            shown[name, kind] = done.stdout
    before, after = lines(shown["before", "csv"]), lines(shown["after", "csv"])
    assert len(before) > 5
    assert after == [{**line, "seeds": "4"} for line in before]
    for kind, end in (("md", " Seeds |\n"), ("tex", " & Seeds \\tabularnewline\n")):
        assert end in shown["after", kind]
        assert end not in shown["before", kind]


def test_both_forms_of_anil_are_one(tmp_path):
    """The same outer gradient in float64, up to rounding errors."""
    for name in ("anil.py", "anil_fast.py", "lines.py", "lines.toml"):
        shutil.copy(EXAMPLES / name, tmp_path)
    code = """
import numpy as np, torch
from pathlib import Path
from suite import registry
from suite.core.episodes import EpisodeContext
from suite.core.streams import Stream
from suite.models.base import build_model
from suite.tasks.base import EpisodeShape
for name in ("anil", "anil_fast", "lines"):
    registry.load_plugin(Path(f"{name}.py"))
shape = EpisodeShape(shots=4, query_shots=4)
task = registry.tasks.get("lines")()
episodes = task.load(None, torch.device("cpu")).sample(Stream("t"), 0, 3, shape, "train")
episodes = episodes.to(torch.device("cpu"), torch.float64)
found = []
for algorithm, engine in (("anil", "reference"), ("anil-fast", "explicit")):
    model = build_model("mlp", {"hidden": (5,)}, (1,), 1, Stream("m"))
    engine = registry.engines.get(engine)(model, "squared_error", dtype=torch.float64)
    algorithm = registry.algorithms.get(algorithm)(inner_rate=0.1, inner_steps=3)
    theta = engine.layout.flatten(engine.model)
    found.append(engine.meta_gradient(algorithm, theta, episodes, EpisodeContext(Stream("d"))))
assert float((found[0].gradient - found[1].gradient).norm()) < 1e-10
assert float(found[0].gradient.norm()) > 1e-3
"""
    done = run(tmp_path, "-c", code)
    assert done.returncode == 0, done.stderr


def test_a_model_runs_in_a_profile(tmp_path):
    shutil.copy(EXAMPLES / "conv2.py", tmp_path)
    profile = (
        TINY.replace('"lines"\ntask = { name = "lines" }', '"glyphs"\ntask = { name = "glyphs" }')
        .replace('"mlp", hidden = [4]', '"conv2", filters = 4')
        .replace("shots = 2, query", "ways = 2, shots = 2, query")
    )
    (tmp_path / "tiny.toml").write_text(profile)
    assert "2 cells done" in suite(tmp_path, "--plugin", "conv2.py", "--profile", "tiny.toml")


def test_an_executor_stops_in_time_and_the_next_run_continues(tmp_path):
    (tmp_path / "tiny.toml").write_text(TINY.replace('task = { name = "lines" }',
                                                     'task = { name = "sinusoid" }'))  # fmt: skip
    script = str(EXAMPLES / "until_time.py")
    first = run(tmp_path, script, "0", "tiny.toml", "out")
    assert "1 cells done, 0 were there, of 2." in first.stdout, first.stderr
    second = run(tmp_path, script, "600", "tiny.toml", "out")
    assert "1 cells done, 1 were there, of 2." in second.stdout, second.stderr
