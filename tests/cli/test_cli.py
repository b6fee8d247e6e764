"""The command line: what it prints, and that bad input is one sentence and exit status 2."""

from __future__ import annotations

import json
import re

import pytest
import torch
from click.testing import CliRunner

from suite.cli import cli
from suite.records.provenance import NO_REPLAY
from suite.records.store import Store
from tests.cells import PROFILE


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "tiny.toml").write_text(PROFILE)
    return tmp_path


def run(folder, *words, profile="tiny.toml"):
    options = ["--profile", str(folder / profile), "--results", str(folder / "out"), "--device",
               "cpu", "--no-figures"]  # fmt: skip
    return CliRunner().invoke(cli, [*options, *map(str, words)])


def records(folder):
    paths = sorted((folder / "out" / "records" / "tiny").glob("*.json"))
    return [json.loads(path.read_text()) for path in paths]


def test_runs_then_has_nothing_to_do(folder):
    first = run(folder)
    assert first.exit_code == 0, first.output
    assert "[2/2]" in first.output
    before = records(folder)
    assert {r["cell"]["variant"] for r in before} == {"maml", "sgd"}
    second = run(folder)
    assert second.exit_code == 0
    assert "2 cells are done already" in second.output
    assert records(folder) == before
    assert (folder / "out" / "tables" / "tiny" / "report.md").is_file()


def test_same_seed_same_results_and_another_seed_others(folder):
    run(folder)
    first = [r["result_sha256"] for r in records(folder)]
    (folder / "out").rename(folder / "old")
    run(folder)
    assert [r["result_sha256"] for r in records(folder)] == first
    (folder / "out").rename(folder / "older")
    run(folder, "--seeds", "1")
    assert not {r["result_sha256"] for r in records(folder)} & set(first)


def test_list_and_dry_run_compute_nothing(folder):
    listed = run(folder, "--list")
    assert listed.output.split() == ["tiny--maml--seed0--cpu", "tiny--sgd--seed0--cpu"]
    dry = run(folder, "--dry-run")
    assert "to do" in dry.output
    assert "inner_rate=0.01" in dry.output
    assert not (folder / "out").exists()
    run(folder, "--algorithms", "sgd")
    assert "2 cells, 1 done" in run(folder, "--dry-run").output


def test_timings_beside_other_work_are_marked_and_not_shown(folder):
    run(folder, "--busy-machine")
    assert [r["timing"]["alone"] for r in records(folder)] == [False, False]
    shared = (folder / "out" / "tables" / "tiny" / "timing.csv").read_text()
    (folder / "out").rename(folder / "old")
    run(folder)
    assert [r["timing"]["alone"] for r in records(folder)] == [True, True]
    alone = (folder / "out" / "tables" / "tiny" / "timing.csv").read_text()
    assert len(alone.splitlines()) > len(shared.splitlines())


def test_options_choose_cells(folder):
    chosen = run(folder, "--list", "--algorithms", "maml", "--seeds", "3,4").output.split()
    assert chosen == ["tiny--maml--seed3--cpu", "tiny--maml--seed4--cpu"]


def test_list_command_names_everything(folder):
    output = CliRunner().invoke(cli, ["list"]).output
    for name in ("quick", "omniglot", "maml", "reptile", "sinusoid", "glyphs", "conv4", "explicit"):
        assert re.search(rf"\b{name}\b", output), name


def test_report_from_records_alone(folder):
    run(folder)
    page = folder / "out" / "tables" / "tiny" / "report.md"
    text = page.read_text()
    page.unlink()
    assert run(folder, "report").exit_code == 0
    assert page.read_text() == text


def test_a_run_ends_with_its_results_beside_published_numbers(folder):
    (folder / "own.toml").write_text(
        'description = "two"\nseeds = [0]\npresets = ["sinusoid/fomaml", "sinusoid/maml"]\n'
    )
    ended = run(folder, "--outer-steps", 1, "--algorithms", "fomaml", profile="own.toml")
    assert ended.exit_code == 0, ended.output
    lines = ended.output[ended.output.index("Beside published numbers:") :].splitlines()
    (there,) = [line for line in lines if line.startswith("sinusoid@1/fomaml 5-shot")]
    assert "no published value (1 of 70,000 outer steps)" in there
    assert len([line for line in lines if "sinusoid/maml" in line and "not run" in line]) == 3
    (folder / "own.toml").unlink()  # of records alone, nobody knows what else was wanted
    again = run(folder, "report", profile="own.toml")
    assert again.exit_code == 0
    assert "sinusoid@1/fomaml" in again.output
    assert "not run" not in again.output


def test_a_run_that_no_paper_has_numbers_for_says_so(folder):
    assert "No paper has numbers for these." in run(folder, "--algorithms", "sgd").output


def test_cite_refuses_a_profile_that_nobody_knows(folder):
    found = CliRunner().invoke(cli, ["--profile", "qiuck", "cite"])
    assert found.exit_code == 2
    assert "quick" in found.output


def test_a_plugin_file_is_run_only_when_named(folder):
    (folder / "extra.py").write_text(
        "from suite import registry\nfrom suite.algorithms.sgd import SGD\n"
        "@registry.algorithm('halfway')\nclass Halfway(SGD):\n    '''SGD by another name.'''\n"
    )
    profile = PROFILE.replace("[experiments.algorithms.sgd]", "[experiments.algorithms.halfway]")
    (folder / "tiny.toml").write_text(profile)
    without = run(folder, "--list")
    assert without.exit_code == 2
    with_it = run(folder, "--plugin", folder / "extra.py", "--list")
    assert "tiny--halfway--seed0--cpu" in with_it.output


def test_diverged_cell_is_said_and_the_matrix_goes_on(folder):
    profile = PROFILE.replace("steps = 6", "steps = 400").replace("seeds = [0]", "seeds = [0]")
    profile = profile.replace(
        "[experiments.algorithms.maml]\ninner_rate = 0.01",
        "[experiments.algorithms.maml]\ninner_rate = 50.0\ninner_steps = 5",
    )
    (folder / "tiny.toml").write_text(profile)
    result = run(folder)
    assert result.exit_code == 1
    assert "1 diverged" in result.output
    status = {r["cell"]["variant"]: r["status"] for r in records(folder)}
    assert status == {"maml": "diverged", "sgd": "done"}
    maml = next(r for r in records(folder) if r["status"] == "diverged")
    assert "outer step" in maml["reason"]
    assert maml["results"] is None
    assert "diverged" in (folder / "out" / "tables" / "tiny" / "report.md").read_text()


def test_a_cell_that_raises_is_no_result_and_is_tried_again(folder, monkeypatch):
    from suite.algorithms.maml import MAML

    def broken(self, *_):
        raise RuntimeError("out of luck")

    with monkeypatch.context() as patch:
        patch.setattr(MAML, "outer", broken)
        patch.setattr("suite.engines.selection._measured", {})
        result = run(folder, "--engine", "reference")  # whose MAML does not call `outer`
        assert result.exit_code == 0
        (folder / "out").rename(folder / "old")
        patch.setattr("suite.engines.selection.self_check", lambda *_: 0.0)
        result = run(folder)
    assert result.exit_code == 1
    assert "failed: RuntimeError: out of luck" in result.output
    assert [r["cell"]["variant"] for r in records(folder)] == ["sgd"]
    (log,) = (folder / "out" / "logs" / "tiny").glob("tiny--maml--seed0--cpu--*.log")
    assert "out of luck" in log.read_text()
    assert run(folder).exit_code == 0
    assert len(records(folder)) == 2


REPLACED = {
    "unknown algorithm": ("[experiments.algorithms.maml]", "[experiments.algorithms.mmal]",
                          "'mmal': did you mean 'maml'"),
    "unknown task": ('name = "sinusoid"', 'name = "sinusiod"', "did you mean 'sinusoid'"),
    "unknown model": ('name = "mlp"', 'name = "mpl"', "unknown model 'mpl'"),
    "unknown profile key": ("threads = 1", "thread = 1", "did you mean 'threads'"),
    "unknown train key": ("meta_batch = 4", "meta_bach = 4", "did you mean 'meta_batch'"),
    "unknown algorithm key": ("inner_rate = 0.01", "inner_rte = 0.01", "did you mean 'inner_rate'"),
    "unknown model option": ("hidden = [8]", "hiden = [8]", "did you mean 'hidden'"),
    "wrong type": ("inner_rate = 0.01", 'inner_rate = "fast"', "inner_rate"),
    "negative rate": ("inner_rate = 0.01", "inner_rate = -1.0", "inner_rate"),
    "not finite": ("inner_rate = 0.01", "inner_rate = nan", "inner_rate"),
    "zero shots": ("shots = 5, query_shots = 5, meta", "shots = 0, query_shots = 5, meta", "shots"),
    "negative steps": ("steps = 6", "steps = -6", "steps"),
    "zero meta-batch": ("meta_batch = 4", "meta_batch = 0", "meta_batch"),
    "zero width": ("hidden = [8]", "hidden = [0]", "hidden"),
    "no seeds": ("seeds = [0]", "seeds = []", "seeds"),
    "equal seeds": ("seeds = [0]", "seeds = [1, 1]", "seeds must be different"),
    "step beyond the last": (
        "steps = 2 }",
        "steps = 2, report_step = 3 }",
        "beyond its 2 steps",
    ),
    "report step of nothing": (
        "inner_rate = 0.01",
        "inner_rate = 0.01\nevaluations = { tets = { steps = 1 } }",
        "did you mean 'test'",
    ),
    "train that is no table": ("inner_rate = 0.01", "inner_rate = 0.01\ntrain = 3", "train"),
    "evaluation that is no table": (
        "inner_rate = 0.01",
        "inner_rate = 0.01\nevaluations = { test = 3 }",
        "evaluations.test",
    ),
    "name that would replace the algorithm": (
        "inner_rate = 0.01",
        'inner_rate = 0.01\nname = "sgd"',
        "write algorithm =",
    ),
    "task name that is no text": ('{ name = "sinusoid" }', '{ name = ["x"] }', "task"),
    "algorithm that is no text": (
        "inner_rate = 0.01",
        'inner_rate = 0.01\nalgorithm = ["maml"]',
        "algorithm",
    ),
    "empty grid": ("inner_rate = 0.01", "grid = { inner_rate = [] }", "grid.inner_rate"),
    "other ways at test": ("episodes = 8", "episodes = 8, ways = 2", "2 ways and training 1"),
    "grid that is no list": ("inner_rate = 0.01", "grid = { inner_rate = 0.01 }", "grid"),
    "a loss over ways without any": (
        "meta_batch = 4",
        'meta_batch = 4, loss = "per_shot"',
        "set loss = 'mean'",
    ),
    "batch norm of one example": (
        'hidden = [8] }\ntrain = { shots = 5',
        'hidden = [8], norm = "batch" }\ntrain = { shots = 1',
        "ask for more shots, or for another norm",
    ),
    "not TOML": ("seeds = [0]", "seeds = [0", "not valid TOML"),
    "missing key": ('name = "tiny"', "", "name is missing"),
    "images for a number": ('model = { name = "mlp", hidden = [8] }', 'model = { name = "conv4" }',
                            "conv4 needs images"),
}  # fmt: skip


@pytest.mark.parametrize("case", REPLACED)
def test_bad_profiles(folder, case):
    old, new, said = REPLACED[case]
    assert old in PROFILE
    (folder / "tiny.toml").write_text(PROFILE.replace(old, new))
    refused(run(folder), said)
    assert not (folder / "out" / "records").exists() or not records(folder)


OPTIONS = {
    "threads and shards": (
        ["--threads", "2", "--processes", "2"],
        "leave out --threads or --processes",
    ),
    "algorithm": (["--algorithms", "mamal"], "did you mean 'maml'"),
    "task": (["--tasks", "sinus"], "unknown task"),
    "device": (["--device", "gpu"], "unknown device 'gpu'"),
    "engine": (["--engine", "higer"], "did you mean 'higher'"),
    "seeds": (["--seeds", "one"], "--seeds"),
    "negative seed": (["--seeds", "-1"], "--seeds"),
    "share that is none": (["--shard", "3/2"], "as 2/8, not '3/2'"),
    "share that is no number": (["--shard", "1of2"], "as 2/8, not '1of2'"),
    "share zero": (["--shard", "0/2"], "as 2/8, not '0/2'"),
    "workers": (["--workers", "4096"], "4096 workers cannot share"),
    "workers one after the other": (["--workers", "2", "--executor", "serial"], "leave out"),
    "data": (["--data", "no/such/folder"], "no/such/folder"),
    "plugin": (["--plugin", "no_such.py"], "no_such.py"),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_bad_options(folder, case):
    words, said = OPTIONS[case]
    refused(run(folder, *words), said)


def test_unknown_profile_option_and_command(folder):
    refused(CliRunner().invoke(cli, ["--profile", "quik"]), "did you mean 'quick'")
    for words in (["--profiles", "quick"], ["reprot"], ["--threads", "0"]):
        result = CliRunner().invoke(cli, words)
        assert result.exit_code == 2
        assert words[0] in result.output


def test_cuda_where_there_is_none(folder, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    refused(run(folder, "--device", "cuda"), "'cuda'")


def test_results_folder_that_cannot_be_written(folder):
    (folder / "out").write_text("a file, not a folder")
    refused(run(folder), "out")


def test_plugin_that_raises_or_doubles_a_name(folder):
    bad = folder / "bad.py"
    bad.write_text("1 / 0")
    refused(run(folder, "--plugin", bad), "bad.py")
    bad.write_text("from suite import registry\n@registry.algorithm('maml')\nclass Other: pass\n")
    refused(run(folder, "--plugin", bad, "--list"), "'maml'")


def test_plugin_that_registers_no_component(folder):
    bad = folder / "bad.py"
    bad.write_text("from suite import registry\n@registry.algorithm('x')\nclass Other: pass\n")
    refused(run(folder, "--plugin", bad), "not a subclass of Algorithm")
    bad.write_text(
        "from suite import registry\nfrom suite.tasks.base import Task\n"
        "@registry.task('y')\nclass Half(Task): kind = 'regression'"
    )
    refused(run(folder, "--plugin", bad), "does not define")


def test_plugin_with_postponed_annotations(folder):
    (folder / "extra.py").write_text(
        "from __future__ import annotations\nfrom typing import Literal\n"
        "from suite import registry\nfrom suite.algorithms.sgd import SGD\n"
        "@registry.algorithm('later')\nclass Later(SGD):\n    mode: Literal['a', 'b'] = 'a'\n"
    )
    profile = PROFILE.replace("[experiments.algorithms.sgd]", "[experiments.algorithms.later]")
    (folder / "tiny.toml").write_text(profile)
    assert run(folder, "--plugin", folder / "extra.py").exit_code == 0
    (folder / "tiny.toml").write_text(profile + 'mode = "c"\n')
    refused(run(folder, "--plugin", folder / "extra.py"), "mode")


def test_a_diverged_cell_keeps_the_exit_status_of_later_runs(folder):
    text = PROFILE.replace("steps = 6", "steps = 400")
    text = text.replace("inner_rate = 0.01", "inner_rate = 50.0\ninner_steps = 5", 1)
    (folder / "tiny.toml").write_text(text)
    assert run(folder).exit_code == 1
    assert run(folder).exit_code == 1


def test_going_back_to_a_description_brings_its_records_back(folder):
    run(folder)
    before = records(folder)
    run(folder, "--engine", "reference")
    assert records(folder) != before
    back = run(folder)
    assert "2 cells are done already" in back.output
    assert records(folder) == before


def refused(result, said):
    assert result.exit_code == 2, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    lines = [line for line in result.output.splitlines() if line.startswith("error:")]
    assert len(lines) == 1, result.output
    assert said in lines[0]
    assert "Traceback" not in result.output


def test_impossible_episodes_are_refused_before_anything_runs(folder):
    glyphs = PROFILE + PROFILE[PROFILE.index("[[exp") :].replace('"tiny"', '"many"').replace(
        'name = "sinusoid"', 'name = "glyphs"'
    ).replace("steps = 6", "steps = 6, ways = 5000").replace("steps = 2", "steps = 2, ways = 5000")
    (folder / "tiny.toml").write_text(glyphs)
    refused(run(folder), "5000 ways")
    assert not records(folder)


def test_an_edited_profile_supersedes_its_records_without_deleting_them(folder):
    run(folder)
    (folder / "tiny.toml").write_text(PROFILE.replace("steps = 6", "steps = 7"))
    again = run(folder)
    assert again.exit_code == 0, again.output
    assert again.output.count("superseded, of another description") == 2
    assert len(records(folder)) == 2
    old = folder / "out" / "records" / "tiny" / "superseded"
    assert len(list(old.glob("*.json"))) == len(list(old.glob("*.npz"))) == 2


@pytest.mark.parametrize("shards", [1, 2])
def test_out_of_memory_is_one_sentence_and_the_matrix_goes_on(folder, monkeypatch, shards):
    from suite.engines.explicit.engine import ExplicitEngine

    def greedy(*_):
        raise torch.OutOfMemoryError("tried to allocate 99 GiB")

    monkeypatch.setattr(ExplicitEngine, "outer", greedy)
    monkeypatch.setattr("suite.engines.explicit.engine.WHOLE", 1)
    monkeypatch.setattr("suite.engines.selection.self_check", lambda *_: 0.0)
    result = run(folder, "--processes", shards)
    assert result.exit_code == 1
    assert "maml--seed0--cpu: failed: out of memory; use --processes 1" in result.output
    assert [r["cell"]["variant"] for r in records(folder)] == ["sgd"]


def test_a_record_by_another_number_of_processes_is_the_cells(folder):
    assert run(folder, "--processes", "1").exit_code == 0
    made = [record["result_sha256"] for record in records(folder)]
    again = run(folder, "--processes", "2")
    assert "2 already there" in again.output
    assert "superseded" not in again.output
    assert [record["result_sha256"] for record in records(folder)] == made


def test_a_damaged_record_is_set_aside_and_its_cell_runs_again(folder):
    assert run(folder).exit_code == 0
    first, second = sorted((folder / "out" / "records" / "tiny").glob("*.json"))
    made = [record["result_sha256"] for record in records(folder)]
    torn = first.read_bytes()[:300]
    first.write_bytes(torn)
    second.with_suffix(".npz").write_bytes(b"PK")
    again = run(folder)
    assert again.exit_code == 0
    assert again.output.count("invalid record, set aside") == 4
    assert [record["result_sha256"] for record in records(folder)] == made
    assert (first.parent / "set-aside" / first.name).read_bytes() == torn


def test_shares_of_a_matrix_are_merged_to_the_whole(folder):
    for number in (1, 2):
        assert run(folder, "--shard", f"{number}/2").exit_code == 0
        assert len(records(folder)) == 1
        (folder / "out").rename(folder / f"part{number}")
    parts = [folder / "part1", folder / "part2"]
    merged = run(folder, "merge", *parts)
    assert merged.exit_code == 0, merged.output
    assert "2 records copied, 0 already there." in merged.output
    assert (folder / "out" / "tables" / "tiny" / "report.md").is_file()
    assert "2 already there" in run(folder).output
    assert "this shard has no cells" in run(folder, "--shard", "3/3").output
    assert run(folder, "--shard", "3/3", "--list").output == ""


def test_merge_names_conflicts_and_damage(folder):
    assert run(folder).exit_code == 0
    (folder / "out").rename(folder / "one")
    refused(run(folder, "merge", folder / "two"), "two")
    assert CliRunner().invoke(cli, ["merge"]).exit_code == 2
    torn = next((folder / "one" / "records" / "tiny").glob("*maml*.json"))
    torn.write_bytes(b"torn")
    merged = run(folder, "merge", folder / "one")
    assert merged.exit_code == 1
    assert f"{torn.name} is not a valid record" in merged.output
    assert "1 records copied" in merged.output


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [("--shards", "--processes", ["1"]), ("--shared", "--busy-machine", [])],
)
def test_an_option_with_a_new_name_still_works_and_says_it(folder, old, new, words):
    before = run(folder, old, *words, "--algorithms", "maml")
    assert before.exit_code == 0, before.output
    assert f"note: {old} is now called {new}." in before.output
    (record,) = records(folder)
    assert record["timing"]["alone"] == (old != "--shared")
    assert old != "--shards" or record["cell"]["numerics"]["shards"] == 1
    assert old not in CliRunner().invoke(cli, ["--help"]).output
    again = run(folder, new, *words, "--algorithms", "maml")
    assert "note:" not in again.output
    assert "0 cells done, 1 already there" in again.output  # the same cell


def test_replay_can_be_switched_off_and_changes_no_bit(folder, monkeypatch):
    monkeypatch.delenv(NO_REPLAY, raising=False)
    profile = PROFILE.replace("steps = 6", "steps = 60")
    (folder / "tiny.toml").write_text(profile)
    found = {}
    for words in ([], ["--no-replay"]):
        monkeypatch.setenv(NO_REPLAY, "")  # what the command sets goes with the test
        monkeypatch.delenv(NO_REPLAY)
        ended = run(folder, "--algorithms", "maml", *words)
        assert ended.exit_code == 0, ended.output
        store = Store(folder / "out", "tiny")
        (record,) = [r for r in store.records() if r.cell.variant == "maml"]
        found[bool(words)] = record
        (folder / "out").rename(folder / f"out{len(found)}")
    assert (found[False].engine.mode, found[True].engine.mode) == ("replayed", "in-process")
    assert "switched off" in found[True].engine.mode_reason
    assert found[False].result_sha256 == found[True].result_sha256
