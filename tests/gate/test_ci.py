"""The script and the workflow that CI systems take."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SCRIPT = ROOT / "benchmarks" / "gate.sh"


@pytest.mark.parametrize("status", [0, 1, 2])
def test_the_script_hands_on_status_words_and_summary(tmp_path, status):
    stub = tmp_path / "suite.sh"
    stub.write_text(f'#!/bin/sh\necho "said $@"\nexit {status}\n')
    stub.chmod(0o755)
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    done = subprocess.run(
        [str(SCRIPT), "--fast"],
        cwd=tmp_path,
        env={**os.environ, "SUITE": str(stub), "GITHUB_STEP_SUMMARY": str(summary)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == status
    assert done.stdout == "said gate --fast\n"
    more = "The gate did not run: see the log.\n" if status == 2 else ""
    assert summary.read_text() == f"before\nsaid gate --fast\n{more}"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["suite.sh", "summary.md"]


def test_the_workflow_calls_what_is_there():
    text = (ROOT / ".github" / "workflows" / "performance.yml").read_text()
    scripts = re.findall(r"run: (benchmarks/\S+)", text)
    assert len(scripts) == 2
    for script in scripts:
        assert os.access(ROOT / script, os.X_OK)
    assert "path: runs/gate" in text
    assert "\t" not in text
