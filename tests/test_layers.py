"""The contract of the layers: it holds, and an import that goes up is found."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("planted", ["", "import suite.report\n"], ids=["as it is", "planted"])
def test_imports_go_down_only(planted, tmp_path):
    shutil.copytree(
        ROOT / "suite", tmp_path / "suite", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / "suite" / "core" / "errors.py").open("a") as file:
        file.write(planted)
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode != 0) == bool(planted), done.stdout + done.stderr
    assert ("suite.core.errors -> suite.report" in done.stdout) == bool(planted), done.stdout
