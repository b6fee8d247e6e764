"""The pages: tables of the committed results, links that lead somewhere, code that works."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from suite.cli import cli
from tests.pages import ROOT, blocks, table_rows

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))]
PROGRAMS = (["python", "run_all.py"], ["python", "-m", "suite"], ["fewshot-suite"])


def prose(page: Path) -> str:
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def slugs(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and MkDocs name them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {
        re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings
    }


def commands(page: Path) -> list[list[str]]:
    """The words that the page's shell blocks give to the command line."""
    found = []
    for language, block in blocks(page):
        lines = block.replace("\\\n", " ").splitlines()  # a shell's continued lines
        for line in lines if language in ("", "bash", "sh") else ():
            line = re.sub(r"\$\w+", "1", line)  # a shell's variables
            for part in re.split(r"&&|\|", line):
                words = shlex.split(part, comments=True)
                for program in PROGRAMS:
                    if words[: len(program)] == program:
                        found.append(words[len(program) :])
    return found


COMMANDS = [
    pytest.param(words, id=f"{page.name}-{' '.join(words)}")
    for page in PAGES
    for words in commands(page)
]


@pytest.mark.parametrize("name", ["quick/scores", "paper/maml-table-2", "traps/items"])
def test_tables_of_the_results_are_the_committed_ones(name):
    assert table_rows(name) in (DOCS / "results.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if link.startswith("http"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_file(), link  # the site links no folder
        if anchor:
            assert anchor in slugs(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_compiles(page):
    for language, block in blocks(page):
        if language == "python":
            compile(block, page.name, "exec")


def parse(command: click.Command, words: list[str], parent: click.Context | None = None) -> None:
    """Parse words as the command line does, and run nothing."""
    context = command.make_context(command.name, list(words), parent=parent)
    if isinstance(command, click.Group):
        _, rest, _ = command.make_parser(context).parse_args(list(words))
        if rest:
            inner = command.get_command(context, rest[0])
            assert inner is not None, f"there is no command {rest[0]!r}"
            parse(inner, rest[1:], context)


@pytest.mark.parametrize("words", COMMANDS)
def test_commands_parse(words):
    parse(cli, words)


def test_pages_have_commands_and_a_wrong_one_is_found():
    assert len(COMMANDS) > 30
    for words in (["--shred", "2"], ["--shard", "9/8"], ["gate", "--fats"], ["protocol"]):
        with pytest.raises(Exception):  # noqa: B017, PT011
            parse(cli, words)


def test_every_page_is_in_the_navigation():
    text = (ROOT / "mkdocs.yml").read_text()
    for page in DOCS.glob("*.md"):
        assert re.search(rf": {re.escape(page.name)}$", text, re.MULTILINE), page.name


def test_the_rooms_are_those_of_the_contract():
    import tomllib

    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    floors = contract["contracts"][0]["layers"]
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \|", (DOCS / "architecture.md").read_text(), re.M)
    shown = [" | ".join(re.findall(r"`(\w+)`", rooms)) for _, rooms in rows]
    assert shown == floors
    assert [int(number) for number, _ in rows] == list(range(len(floors), 0, -1))


def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT, capture_output=True, text=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "repository/results/figures/paper/forest.png").is_file()
