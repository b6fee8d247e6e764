"""The gate as a user calls it, with real processes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner
from filelock import FileLock

from suite.cli import cli
from suite.core.errors import UserError
from suite.gate import callgrind, command, measure
from suite.gate import process as tree_module
from suite.gate.cases import Plan, plans
from suite.gate.files import Folder, machine
from suite.gate.process import HERE, Failed, Worker, other
from suite.gate.worker import WorkerSetting
from tests.cells import make

SHORT = measure.Effort(
    1, 1, 2, seconds=0.0, more=1, second_look=0.2, first_turns=2, instructions=False
)
ONE = WorkerSetting([p for p in plans([make("maml")]) if p.part == "sampling"], [], None)
IN_GIT = (HERE / ".git").exists()


def gate(tmp_path, *words):
    return CliRunner().invoke(cli, ["--results", str(tmp_path), "--device", "cpu", "gate", *words])


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(command, "FAST", SHORT)


@pytest.mark.slow
def test_a_baseline_then_a_verdict_and_all_of_it_on_disk(short, tmp_path):
    words = ("--fast", "--only", "sinusoid/sampling")
    first = gate(tmp_path, *words)
    assert first.exit_code == 0, first.output
    assert "a baseline of 1 cases was made" in first.output
    # One operator less in the baseline: the same code then has one more than it had.
    folder = Folder(tmp_path, machine(["cpu"]))
    text = folder.baseline_path.read_text()
    changed = json.loads(text)
    changed["cases"]["sinusoid/sampling"]["counts"]["operators"] -= 1
    folder.baseline_path.write_text(json.dumps(changed))
    second = gate(tmp_path, *words)
    assert second.exit_code == 1, second.output
    assert "**slower** (operators)" in second.output.replace("time, operators", "operators")
    assert json.loads((folder.path / "last.json").read_text())["slower"] is True
    assert len((folder.path / "history.jsonl").read_text().splitlines()) == 2
    assert (folder.path / "history.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--only", "nothing"], "no case of the gate has 'nothing' in its name"),
        (["--update", "--against", "HEAD"], "leave one out"),
    ],
)
def test_words_that_do_not_go_are_refused(tmp_path, words, sentence):
    found = gate(tmp_path, *words)
    assert found.exit_code == 2
    assert sentence in found.output


def test_two_gates_do_not_time_each_other(tmp_path):
    folder = Folder(tmp_path, machine(["cpu"]))
    folder.path.mkdir(parents=True)
    with FileLock(folder.path / "lock"):
        assert "another gate is at work" in gate(tmp_path, "--fast").output


@pytest.mark.skipif(not IN_GIT, reason="not a checkout")
def test_a_commit_that_is_none_is_named(tmp_path):
    found = gate(tmp_path, "--fast", "--against", "no-such-commit")
    assert found.exit_code == 2
    assert "git says of 'no-such-commit'" in found.output


def test_an_installed_suite_has_no_commits_to_compare_with(tmp_path, monkeypatch):
    (tmp_path / "lib").mkdir()
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    monkeypatch.setattr(tree_module, "HERE", tmp_path / "lib")
    with pytest.raises(UserError, match="this suite is installed"), other("HEAD"):
        pass


@pytest.mark.slow
@pytest.mark.skipif(not IN_GIT, reason="not a checkout")
def test_another_commit_is_laid_beside_measured_by_this_gate_and_taken_away(short, tmp_path):
    with other("HEAD") as (tree, commit):
        assert (tree / "run_all.py").is_file()
        for file in Path(HERE, "suite", "gate").glob("*.py"):
            assert (tree / "suite" / "gate" / file.name).read_bytes() == file.read_bytes()
        assert len(commit) == 40
    assert not tree.exists()
    found = gate(tmp_path, "--fast", "--only", "sinusoid/sampling", "--against", commit)
    assert found.exit_code in (0, 1), found.output
    assert f"against commit {commit[:9]}" in found.output


def test_a_worker_measures_and_counts():
    [plan] = ONE.plans
    with Worker(HERE, ONE) as worker:
        worker.begin()
        assert worker.ready() == {}
        assert all(work > 0 < calibration for work, calibration in worker.pairs(plan.name, 0.05))
        assert worker.counts(plan.name).operators > 0


def test_what_a_worker_cannot_build_is_said_and_a_dead_one_too():
    broken = ONE._replace(plans=[Plan("broken", "test", "{}", True), *ONE.plans])
    with Worker(HERE, broken) as worker:
        worker.begin()
        assert list(worker.ready()) == ["broken"]
        assert worker.pairs(ONE.plans[0].name, 0.0)
        worker._process.kill()
        with pytest.raises(Failed, match="died"):
            worker.pairs(ONE.plans[0].name, 0.0)


def test_a_plugin_that_does_not_load_is_said(tmp_path):
    plugin = tmp_path / "plugin.py"
    plugin.write_text("raise ValueError('no')")
    with Worker(HERE, ONE._replace(plugins=[str(plugin)])) as worker:
        worker.begin()
        with pytest.raises(Failed, match="plugin"):
            worker.ready()


@pytest.mark.slow
@pytest.mark.skipif(
    not callgrind.is_installed(), reason="no valgrind, or no torch that it can count"
)
def test_instructions_are_counted_and_nearly_the_same_every_time():
    [plan] = ONE.plans
    twice = ONE._replace(plans=[plan._replace(name="first"), plan._replace(name="again")])
    counted = callgrind.instructions(HERE, twice, 2)
    assert set(counted) == {"first", "again"}
    assert counted["first"] > 10_000
    assert counted["first"] == pytest.approx(counted["again"], rel=0.02)


def test_without_valgrind_nothing_is_counted(monkeypatch):
    monkeypatch.setattr(callgrind.shutil, "which", lambda _: None)
    assert not callgrind.is_installed()
