"""The README's plug-in: complete, at most 30 lines, and passing the contract tests by itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLUGIN = ROOT / "examples" / "anil.py"


def test_readme_shows_the_plugin_as_it_is():
    source = PLUGIN.read_text()
    assert len(source.splitlines()) <= 30
    assert f"```python\n{source}```" in (ROOT / "README.md").read_text()


def test_contract_tests_run_from_the_plugins_own_folder(tmp_path):
    for path in (PLUGIN, PLUGIN.with_name("test_anil.py")):
        (tmp_path / path.name).write_text(path.read_text())
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."]
    good = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert good.returncode == 0, good.stdout
    assert "7 passed" in good.stdout
    broken = PLUGIN.read_text().replace("        yield theta\n        for", "        for")
    (tmp_path / "anil.py").write_text(broken)
    bad = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert bad.returncode == 1
    assert "adapts_step_by_step" in bad.stdout
