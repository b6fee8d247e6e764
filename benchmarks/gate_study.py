"""False-alarm and miss rates of the gate, from live runs and from replays of its rule.

    python benchmarks/gate_study.py OUT [--runs 10] [--parts alarms,detection,exact,replay]

Run it on an idle machine with two cores. OUT gets the baseline, the result of every run with its
raw samples, and the tables. Redundant work is written into a copy of the checkout, at places that
the gate does not know: it sorts an array repeatedly, without sleeping and without torch operators.
The number of repetitions follows from the baseline's times, so that the parts take a tenth or a
fifth longer.
"""

from __future__ import annotations

import json
import multiprocessing
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np
from tabulate import tabulate

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from suite.gate.decision import Blocks, confirmed, judge_time  # noqa: E402
from suite.gate.run import LOOKS  # noqa: E402

REPLAYS = 2000
PROCESSES = 3
#: Case -> file, line before which work is inserted, and number of times that a call reaches it.
PLACES = {
    "sinusoid/sampling": (
        "suite/tasks/sinusoid.py", "    amplitude = uniform(heads[:, :1], *AMPLITUDE)", 1,
    ),
    "glyphs-5w1s/maml/test": (
        "suite/cell/evaluation.py", "    if batch_norm == \"transductive\":", 11,
    ),
    "glyphs-5w1s/maml/outer step": (
        "suite/cell/training.py", "        self.inner_state = None if outer.inner_state is None", 1,
    ),
}  # fmt: skip
#: Exact count -> case, file, line before which code is inserted, and the inserted line.
EXACT = {
    "allocated": (
        "glyphs-5w1s/maml/outer step", "suite/cell/training.py",
        "        outer = self.gradient(step, self.theta, self.inner_state)",
        "        held = torch.ones({bytes} // 4)  # noqa: F841",
    ),
    "synchronisations": (
        "sinusoid/maml/outer step", "suite/cell/training.py",
        "        self.inner_state = None if outer.inner_state is None", "        float(outer.loss)",
    ),
    "operators": (
        "glyphs-5w1s/sampling", "suite/tasks/images.py",
        "        size = count * shape.support_size",
        "        for _ in range({operators} // 3): self._take(index[:1, :1, 0].ravel())",
    ),
}  # fmt: skip
WORK = '''"""Redundant work, for the study of the gate."""

import numpy as np

_VALUES = np.random.default_rng(0).random(128)


def spend(times: int) -> None:
    for _ in range(times):
        np.sort(_VALUES)
'''


@contextmanager
def tree(folder: Path) -> Iterator[Path]:
    """Yield a copy of the checkout's committed code, which is the same for the whole study."""
    place = folder / "tree"
    shutil.rmtree(place, ignore_errors=True)
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(place)], check=True)
    for path in folder.glob("gate/*/baseline.json"):
        commit = json.loads(path.read_text())["commit"]
        subprocess.run(["git", "-C", str(place), "checkout", "--quiet", commit], check=True)
    yield place
    shutil.rmtree(place)


def put(file: Path, before: str, line: str) -> None:
    """Write a line of code before another line that occurs once in the file."""
    text = file.read_text()
    if text.count(before) != 1:
        raise click.ClickException(f"{file}: the line {before!r} occurs {text.count(before)} times")
    file.write_text(text.replace(before, f"{line}\n{before}"))


def run(place: Path, out: Path, name: str) -> dict[str, Any]:
    """Run the gate in a tree against the study's baseline; store and return its result."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "run_all.py", "--results", str(out), "gate", "--fast"],
        cwd=place, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode not in (0, 1):
        raise click.ClickException(f"{name}: {done.stderr}")
    [last] = out.glob("gate/*/last.json")
    said = json.loads(last.read_text())
    said |= {"status": done.returncode, "seconds": time.monotonic() - began}
    (out / f"{name}.json").write_text(json.dumps(said))
    slower = [f"{n} {c['reason']}" for n, c in said["cases"].items() if c["verdict"] == "slower"]
    print(f"{name}: status {done.returncode}, {said['seconds']:.0f} s; {slower}", flush=True)
    return said


def _busy() -> None:
    while True:
        pass


@contextmanager
def load(on: bool) -> Iterator[None]:
    """Keep another process busy on a core during the context, if ``on``."""
    process = multiprocessing.get_context("spawn").Process(target=_busy, daemon=True)
    if on:
        process.start()
    try:
        yield
    finally:
        if on:
            process.kill()
            process.join()


def sort_seconds() -> float:
    """Return the seconds of one unit of redundant work, including its call."""
    space: dict[str, Any] = {}
    exec(WORK, space)
    times = []
    for _ in range(200):
        began = time.perf_counter()
        space["spend"](50)
        times.append((time.perf_counter() - began) / 50)
    return float(np.median(times))


def slowed(place: Path, baseline: dict[str, Any], share: float) -> None:
    """Write redundant work into a tree: a fraction ``share`` of each place's own time."""
    (place / "suite" / "redundant.py").write_text(WORK)
    unit = sort_seconds()
    for case, (file, before, calls) in PLACES.items():
        seconds = share * baseline["cases"][case]["milliseconds"] / 1e3 / calls
        times = max(1, round(seconds / unit))
        indent = before[: len(before) - len(before.lstrip())]
        line = f"{indent}__import__('suite.redundant').redundant.spend({times})"
        put(place / file, before, line)


def inexact(place: Path, baseline: dict[str, Any]) -> None:
    """Write a tenth more memory, one more synchronisation and twice the operators into a tree."""
    for case, file, before, line in EXACT.values():
        counts = baseline["cases"][case]["counts"]
        more = {"bytes": round(0.1 * counts["allocated"]), "operators": counts["operators"]}
        put(place / file, before, line.format(**more))


def resampled(said: dict[str, Any], draws: np.random.Generator) -> dict[str, Any]:
    """Return samples of one process, drawn again from a process of a run, for all its cases."""
    cases = said["measurement"]["cases"]
    which = int(draws.integers(PROCESSES))
    return {
        name: draws.choice(case["blocks"][which], len(case["blocks"][which]), axis=0)
        for name, case in cases.items()
    }


def replay(
    baseline: dict[str, Any], runs: Sequence[dict[str, Any]], draws: np.random.Generator
) -> set[str]:
    """Return the cases that one simulated run calls slower, by the gate's rule and second look.

    Its processes are drawn again from one run, because these were measured in the same minute; the
    second look comes later and can be from any run.
    """
    said = runs[draws.integers(len(runs))]
    processes = [resampled(said, draws) for _ in range(PROCESSES)]

    def change(name: str) -> Any:
        before: Blocks = baseline["cases"][name]["blocks"]
        return judge_time(before, [process[name] for process in processes])

    found = {name: change(name) for name in processes[0]}
    suspects = [name for name, time in found.items() if time.change > time.threshold]
    suspects.sort(key=lambda name: (found[name].verdict != "slower", -found[name].change))
    processes.append(resampled(runs[draws.integers(len(runs))], draws))
    again = {
        name
        for name in suspects[:LOOKS]
        if change(name).verdict == "slower"
        and confirmed(baseline["cases"][name]["blocks"], [processes[-1][name]])
    }
    rest = {name for name in suspects[LOOKS:] if found[name].verdict == "slower"}
    return again | rest if again else again


def told(out: Path, pattern: str) -> list[dict[str, Any]]:
    """Return the results of the runs that match a name."""
    return [json.loads(path.read_text()) for path in sorted(out.glob(f"{pattern}-*.json"))]


def summary(out: Path) -> str:
    """Return the study's tables."""
    [path] = out.glob("gate/*/baseline.json")
    baseline, draws = json.loads(path.read_text()), np.random.default_rng(0)
    rows = []
    for kind in ("quiet", "loaded"):
        runs = told(out, f"unchanged-{kind}")
        if runs:
            alarms = sum(said["status"] == 1 for said in runs)
            replays = sum(bool(replay(baseline, runs, draws)) for _ in range(REPLAYS))
            rows.append([f"unchanged, {kind}", "any", f"{alarms} of {len(runs)}",
                         f"{100 * replays / REPLAYS:.1f} %", ""])  # fmt: skip
    for kind, share in (("quiet", "10 %"), ("loaded", "20 %")):
        runs = told(out, f"slower-{kind}")
        replays = [replay(baseline, runs, draws) for _ in range(REPLAYS)] if runs else []
        for case in PLACES if runs else ():
            of = [said["cases"][case] for said in runs]
            flagged = sum(found["verdict"] == "slower" for found in of)
            change = np.median([found["time"]["change"] for found in of])
            rate = sum(case in found for found in replays) / REPLAYS
            rows.append([f"{share} slower, {kind}", case, f"{flagged} of {len(of)}",
                         f"{100 * rate:.1f} %", f"{100 * change:+.1f} %"])  # fmt: skip
    for name, (case, *_) in EXACT.items():
        of = [said["cases"][case]["counts"][name] for said in told(out, "exact")]
        if of:
            flagged = sum(count["verdict"] == "slower" for count in of)
            seen = f"{of[0]['before']:,} to {of[0]['now']:,}"
            rows.append([f"{name}: more of it", case, f"{flagged} of {len(of)}", "", seen])
    headers = ["Injected", "Case", "Live runs", "Replays", "Seen (median)"]
    everything = [said["seconds"] for path in out.glob("*-*.json")
                  for said in [json.loads(path.read_text())]]  # fmt: skip
    spent = f"Seconds a run: median {np.median(everything):.0f}, most {max(everything):.0f}."
    return tabulate(rows, headers, tablefmt="pipe", disable_numparse=True) + f"\n\n{spent}"


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--runs", default=10, show_default=True)
@click.option("--parts", default="alarms,detection,exact,replay", show_default=True)
def main(out: Path, runs: int, parts: str) -> None:
    """Run the parts of the study in turn; existing runs are not repeated."""
    out = out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    wanted = parts.split(",")

    def several(place: Path, name: str, count: int, busy: bool) -> None:
        with load(busy):
            for number in range(count):
                if not (out / f"{name}-{number}.json").exists():
                    run(place, out, f"{name}-{number}")

    with tree(out) as place:
        if not list(out.glob("gate/*/baseline.json")):
            run(place, out, "baseline")
        if "alarms" in wanted:
            several(place, "unchanged-quiet", runs, False)
            several(place, "unchanged-loaded", runs, True)
    [path] = out.glob("gate/*/baseline.json")
    baseline = json.loads(path.read_text())
    if "detection" in wanted:
        for kind, share in (("quiet", 0.1), ("loaded", 0.2)):
            with tree(out) as place:
                slowed(place, baseline, share)
                several(place, f"slower-{kind}", runs, kind == "loaded")
    if "exact" in wanted:
        with tree(out) as place:
            inexact(place, baseline)
            several(place, "exact", 2, False)
    if "replay" in wanted:
        text = summary(out)
        (out / "study.md").write_text(text + "\n")
        print(text)


if __name__ == "__main__":
    main()
