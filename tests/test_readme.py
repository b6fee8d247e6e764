"""The README's numbers are those of the committed records."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("name", ["quick/scores", "paper/maml-table-2", "traps/items"])
def test_readme_tables_are_the_committed_ones(name):
    table = (ROOT / "results" / "tables" / f"{name}.md").read_text()
    rows = [line for line in table.splitlines() if line.startswith("|")]
    assert len(rows) > 10
    readme = (ROOT / "README.md").read_text()
    assert "\n".join(rows) in readme


def test_readme_links_lead_somewhere():
    import re

    text = (ROOT / "README.md").read_text()
    links = re.findall(r"\]\(([^)#]+)\)", text)
    assert len(links) >= 5
    for link in links:
        assert link.startswith("http") or (ROOT / link).exists(), link
