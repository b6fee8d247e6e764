"""The command line in processes of their own, forked fast from a server that has it imported."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import resource
import sys
from pathlib import Path
from typing import Any

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.processes", "suite.cli", "suite.matrix.run"])

TRAINING, WRITING = 1, 2

PROFILE = """
description = "a small matrix"
seeds = [0, 1]
shards = {shards}

[[experiments]]
name = "small"
task = {{ name = "sinusoid" }}
model = {{ name = "mlp", hidden = [8] }}
train = {{ shots = 5, query_shots = 5, meta_batch = 4, steps = {steps} }}
evaluations = [ {{ name = "test", shots = 5, query_shots = 5, episodes = 20, steps = 2 }} ]
curve_points = 3
curve_episodes = 4

[experiments.algorithms.maml]
[experiments.algorithms.reptile]
inner_batch = 2
inner_steps = 2
[experiments.algorithms.finetune]
[experiments.algorithms.sgd]
"""


def profile(folder: Path, steps: int = 60, shards: int = 1) -> Path:
    path = folder / "small.toml"
    path.write_text(PROFILE.format(steps=steps, shards=shards))
    return path


def words(profile: Path, results: Path, *more: str) -> list[str]:
    fixed = ["--profile", profile, "--results", results, "--device", "cpu", "--no-figures", *more]
    return [str(word) for word in fixed]


def _main(words: list[str], log: Path, phase: Any, largest_file: int | None) -> None:
    from suite.cell import timing
    from suite.cell.training import OuterLoop
    from suite.cli import cli
    from suite.records import checkpoint, store

    timing.BUDGET, timing.REPETITIONS = 0.0, (1, 1)  # timings are not what is tested
    if largest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.RLIM_INFINITY))
    if phase is not None:
        _watch(OuterLoop, "run", phase, TRAINING)
        _watch(checkpoint, "write_atomically", phase, WRITING)
        _watch(store, "write_atomically", phase, WRITING)
    with log.open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdout = open(1, "w", closefd=False, buffering=1)  # noqa: SIM115
    sys.stderr = open(2, "w", closefd=False, buffering=1)  # noqa: SIM115
    cli.main(args=words, prog_name="run_all.py")


def _watch(owner: Any, name: str, phase: Any, number: int) -> None:
    inner = getattr(owner, name)

    def outer(*arguments: Any, **named: Any) -> Any:
        before, phase.value = phase.value, number
        try:
            return inner(*arguments, **named)
        finally:
            phase.value = before

    setattr(owner, name, outer)


def start(words: list[str], log: Path, phase: Any = None, largest_file: int | None = None) -> Any:
    process = CONTEXT.Process(target=_main, args=(words, log, phase, largest_file))
    process.start()
    return process


def run(words: list[str], log: Path, **options: Any) -> int:
    """Run to the end and return the exit status."""
    process = start(words, log, **options)
    process.join(300)
    assert process.exitcode is not None, log.read_text()
    return process.exitcode


def results(folder: Path) -> dict[str, str]:
    """The hash of the results of every record, by cell."""
    found = {}
    for path in sorted((folder / "records" / "small").glob("*.json")):
        record = json.loads(path.read_text())
        cell = record["cell"]
        found[f"{cell['variant']} {cell['seed']}"] = record["result_sha256"]
    return found


def leftovers(folder: Path) -> list[str]:
    """Files of a results folder that a run which ended well leaves to nobody."""
    with contextlib.suppress(FileNotFoundError):
        return [
            str(path.relative_to(folder))
            for path in folder.rglob("*")
            if path.is_file() and (path.name.endswith(".tmp") or "checkpoints" in path.parts)
        ]
    return []
