"""The README: short, with the committed numbers and the two commands that users and CI rely on."""

from __future__ import annotations

import re

from tests.pages import ROOT, table_rows

README = (ROOT / "README.md").read_text()
COMMANDS = """```
python -m pip install -e . && python run_all.py
python -m pip install -e ".[test]" && python -m pytest
```"""


def test_it_is_short():
    assert len(README.splitlines()) <= 150


def test_its_table_is_the_committed_one():
    assert table_rows("paper/maml-table-2") in README


def test_its_outcome_is_that_of_the_committed_verdicts():
    table = (ROOT / "results/tables/paper/comparison.md").read_text()
    (outcome,) = re.findall(r"^- (Of \d+ published numbers, .*)$", table, re.MULTILINE)
    assert outcome in README


def test_the_two_commands_stand_together():
    assert COMMANDS in README


def test_it_names_every_page():
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "index.md" or f"(docs/{page.name})" in README
