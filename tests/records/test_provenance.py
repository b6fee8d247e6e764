"""What names the code behind a checkpoint: what computes, and not how it is worded."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from suite.records.provenance import COMPUTING, code_of, package_sha256, source_sha256

ROOT = Path(__file__).resolve().parents[2]
MODULE = '''"""A task."""

from suite.core import errors  # what may go wrong


class Task:
    """EpisodeContext."""

    scale: float = 2.0
    """Of the inputs."""

    def draw(self, x):
        """Return x, scaled."""
        # Twice as large.
        return self.scale * x
'''


def package(folder, **changes):
    files = {f"{part}/a.py": MODULE for part in (*COMPUTING, "report", "gate")} | changes
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    package_sha256.cache_clear()
    return package_sha256(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"tasks/a.py": MODULE.replace("A task.", "A task, said otherwise.")},
        {"tasks/a.py": MODULE.replace("Return x, scaled.", "Scale x.")},
        {"tasks/a.py": MODULE.replace("Of the inputs.", "What inputs are multiplied by.")},
        {"tasks/a.py": MODULE.replace("        # Twice as large.\n", "")},
        {"tasks/a.py": MODULE.replace("  # what may go wrong", "").replace("\n\n\n", "\n\n")},
        {"tasks/a.py": MODULE.replace("self.scale * x", "(self.scale\n            * x)")},
        {"report/a.py": MODULE.replace("2.0", "3.0")},
        {"gate/b.py": "x = 1"},
    ],
)
def test_wording_layout_and_what_only_reads_leave_the_hash(tmp_path, changes):
    assert package(tmp_path / "one") == package(tmp_path / "two", **changes)


@pytest.mark.parametrize("part", COMPUTING)
@pytest.mark.parametrize(
    "change",
    [("2.0", "3.0"), ("self.scale * x", "x * self.scale"), ("errors", "streams"), ("draw", "d")],
)
def test_code_that_computes_moves_the_hash(tmp_path, part, change):
    changed = {f"{part}/a.py": MODULE.replace(*change)}
    assert package(tmp_path / "one") != package(tmp_path / "two", **changed)


def test_the_packages_that_compute_are_known():
    """Left out of the hash, code that moves bits would let an old checkpoint go on."""
    packages = {path.parent.name for path in (ROOT / "suite").glob("*/__init__.py")}
    others = {"cli", "executors", "gate", "matrix", "published", "records", "report", "testing"}
    assert set(COMPUTING) == packages - others


def test_another_file_or_name_moves_the_hash(tmp_path):
    one = package(tmp_path / "one")
    assert one != package(tmp_path / "two", **{"tasks/b.py": MODULE})
    moved = package(tmp_path / "three", **{"tasks/b.py": MODULE})
    (tmp_path / "three" / "tasks" / "a.py").unlink()
    package_sha256.cache_clear()
    assert package_sha256(tmp_path / "three") not in (one, moved)


def test_a_string_that_is_a_value_is_code(tmp_path):
    path = tmp_path / "a.py"
    path.write_text("x = 'one'\n")
    first = code_of(path)
    path.write_text("x = 'two'\n")
    assert code_of(path) != first


def test_the_file_of_a_plugin_counts_and_its_wording_does_not(tmp_path, monkeypatch):
    path = tmp_path / "mine.py"
    module = ModuleType("mine")
    module.__file__ = str(path)
    monkeypatch.setitem(sys.modules, "mine", module)
    made = type("Mine", (), {"__module__": "mine"})()

    def named(text):
        path.write_text(text)
        return source_sha256(made)

    first = named("x = 1\n")
    assert named("x = 1  # one\n") == first
    assert named("x = 2\n") != first
    assert source_sha256() != first
