"""Gains and costs of executors: the same small cells by `serial`, `local` and `ray`.

    python benchmarks/executors.py [--seeds 8] [--outer-steps 2000] [--rounds 3] [--workers 2]

A round runs the matrix under every executor in turn, each in its own process with the suite's
allocator settings and its own results folder; a cell uses one thread and one process. `serial` and
`ray` have one core, `local` has one for each worker. Throughput is that of whole matrices, with the
start of the workers but without the driver's imports. A ratio is the median over rounds of the
ratios within a round. The overhead of a cell on Ray, once its worker is warm, is the time from one
cell's end to the next one's, less the same time under `serial`, over all cells except the first
ones; it includes Ray's own processes, which use the same core. Run it on an idle machine.
"""

from __future__ import annotations

import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
from tabulate import tabulate

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

EXECUTORS = ("serial", "local", "ray")
HEADERS = ("executor", "cores", "seconds", "range", "throughput of serial's", "beside a cell, s")


def run(executor: str, words: dict[str, Any]) -> dict[str, Any]:
    """Run the matrix in this process; return seconds, end times of cells and result hashes."""
    cores = sorted(os.sched_getaffinity(0))[: words["workers"] if executor == "local" else 1]
    os.sched_setaffinity(0, cores)  # before libraries count them

    from rich.console import Console

    from suite.config.profile import expand, load_profile
    from suite.executors import factory as choice
    from suite.matrix.progress import Progress
    from suite.matrix.run import run_matrix
    from suite.records.store import Store

    class Clocked(Progress):
        """Records the end times of cells."""

        def __init__(self) -> None:
            super().__init__(Console(quiet=True))
            self.ends: list[tuple[str, float]] = []

        def finished(self, label: str, outcome: str, left: float | None = None) -> None:
            self.ends.append((label, time.perf_counter()))

    cells = expand(
        load_profile(words["profile"]),
        ["cpu"],
        threads=1,
        shards=1,
        tasks=[words["task"]],
        seeds=range(words["seeds"]),
        outer_steps=words["outer_steps"],
    )
    workers = words["workers"] if executor == "local" else None
    cluster = choice.cluster(executor, None)
    chosen = choice.choose(executor, ["cpu"], workers, [], cluster)
    progress = Clocked()
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder), "executors")
        summary = run_matrix(cells, store, None, progress, chosen)
        hashes = {record.cell.label: record.result_sha256 for record in store.records()}
    if not summary.whole:
        raise SystemExit(f"{executor}: cells failed or diverged: take other --outer-steps")
    return {"seconds": summary.seconds, "ends": progress.ends, "hashes": hashes}


def measured(executor: str, words: dict[str, Any]) -> dict[str, Any]:
    """Return the result of `run` in a separate process."""
    from suite.core.allocator import SETTINGS

    done = subprocess.run(
        [sys.executable, __file__, "--only", executor, "--words", json.dumps(words)],
        env={**SETTINGS, **os.environ},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"{executor}: {done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def between(result: dict[str, Any]) -> dict[str, float]:
    """Return the seconds from one cell's end to the next one's, by the next one's label."""
    ends = result["ends"]
    return {label: end - before for (_, before), (label, end) in itertools.pairwise(ends)}


def overhead(ray: dict[str, Any], serial: dict[str, Any]) -> float:
    """Return the additional seconds of a cell on Ray, without the first cells."""
    there, here = between(ray), between(serial)
    return statistics.mean(there[label] - here[label] for label in there.keys() & here.keys())


def row(name: str, rounds: list[dict[str, Any]], workers: int) -> list[str]:
    """Return an executor's row of the table; a round holds the result of each executor."""
    seconds = [found[name]["seconds"] for found in rounds]
    ratios = [found["serial"]["seconds"] / found[name]["seconds"] for found in rounds]
    beside = "-"
    if name == "ray":
        beside = f"{statistics.median(overhead(r[name], r['serial']) for r in rounds):.2f}"
    return [
        f"{name} --workers {workers}" if name == "local" else name,
        str(workers if name == "local" else 1),
        f"{statistics.median(seconds):.1f}",
        f"{min(seconds):.1f} to {max(seconds):.1f}",
        f"{statistics.median(ratios):.2f}",
        beside,
    ]


@click.command()
@click.option("--profile", default="quick", show_default=True)
@click.option("--task", default="sinusoid", show_default=True)
@click.option("--seeds", default=8, show_default=True)
@click.option("--outer-steps", default=2000, show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option("--workers", default=2, show_default=True, help="Of the executor local.")
@click.option("--only", hidden=True)
@click.option("--words", hidden=True)
def main(only: str | None, words: str | None, rounds: int, **options: Any) -> None:
    """Print the table."""
    if only and words:
        print(json.dumps(run(only, json.loads(words))))
        return
    found = []
    for number in range(rounds):
        found.append({name: measured(name, options) for name in EXECUTORS})
        print(f"round {number + 1} of {rounds} done", file=sys.stderr)
    first = found[0]["serial"]["hashes"]
    if any(one["hashes"] != first for each in found for one in each.values()):
        raise SystemExit("the executors' results differ")
    rows = [row(name, found, options["workers"]) for name in EXECUTORS]
    print(f"{len(first)} cells; every result_sha256 is the same under all executors.\n")
    print(tabulate(rows, HEADERS, tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()
