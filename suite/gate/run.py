"""One run of the gate: measure, compare, say.

Time is spent where it tells most: on several short-lived processes, for these differ by more than
samples do, all cases in each; then once more on the cases that look slower, which have to look so
still.
"""

from __future__ import annotations

import datetime
import hashlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from suite.errors import UserError
from suite.gate import callgrind, plain
from suite.gate.cases import START
from suite.gate.decide import Count, Time, Verdict, compare, confirmed, judge, overall
from suite.gate.files import Folder, Measured, Measurement
from suite.gate.tree import HERE, Failed, Worker
from suite.gate.worker import Setting
from suite.provenance import commit_of
from suite.version import __version__

Say = Callable[[str], None]


class Effort(NamedTuple):
    """How much time a run takes, in processes and seconds."""

    waves: int
    at_once: int
    """Processes of a wave: they start together and are timed one after the other."""
    seconds: float
    """For all waves, counts among them."""
    more: int
    """Further processes for what looks slower."""
    second_look: float
    """Seconds of samples of each such case in each of them."""
    instructions: bool
    """Whether instructions are counted, where Callgrind is."""


FAST = Effort(1, 3, seconds=23.0, more=1, second_look=0.5, instructions=False)
FULL = Effort(2, 2, seconds=200.0, more=2, second_look=2.0, instructions=True)
#: A baseline is compared with often, and so is made of more waves.
BASELINE = {FAST: 3, FULL: 4}
#: Cases that look slower and are measured again, at most, the slowest: time is short.
LOOKS = 4
TURNS = 4
#: Seconds of samples of a case in a process, at least.
LEAST = 0.15


@dataclass
class Samples:
    """What a tree's processes have measured of the cases, by name."""

    blocks: dict[str, list[list[float]]] = field(default_factory=dict)
    work: dict[str, list[float]] = field(default_factory=dict)
    cells: dict[str, str] = field(default_factory=dict)
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def measurement(self, machine: str, commit: tuple[str | None, bool | None]) -> Measurement:
        """Return them as what is kept."""
        return Measurement(
            machine=machine,
            plain_sha256=plain.sha256(),
            suite_version=__version__,
            commit=commit[0],
            dirty=commit[1],
            when=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            cases={
                name: Measured(
                    cell_sha256=hashlib.sha256(self.cells[name].encode()).hexdigest(),
                    blocks=[block for block in blocks if block],
                    counts=self.counts.get(name, {}),
                    milliseconds=1e3 * float(np.median(self.work[name])),
                )
                for name, blocks in self.blocks.items()
                if name in self.work and name not in self.failed
            },
        )


class _Lane:
    """A process and where what it measures goes: a block of its own of each case."""

    def __init__(self, samples: Samples, worker: Worker, names: Sequence[str]) -> None:
        self.samples, self.worker = samples, worker
        self._blocks: dict[str, list[float]] = {}
        for name in names:
            self._blocks[name] = []
            samples.blocks.setdefault(name, []).append(self._blocks[name])

    def count(self, name: str) -> None:
        """Count what is exact about a case."""
        with self._watching(name):
            self.samples.counts[name] = self.worker.counts(name)._asdict()

    def sample(self, name: str, seconds: float) -> None:
        """Time a case for so long."""
        with self._watching(name):
            for work, calibration in self.worker.pairs(name, seconds):
                self._blocks[name].append(math.log(work / calibration))
                self.samples.work.setdefault(name, []).append(work)

    @contextmanager
    def _watching(self, name: str) -> Iterator[None]:
        try:
            yield
        except Failed as error:
            self.samples.failed[name] = str(error)


class Result(NamedTuple):
    """What the gate says of one case."""

    name: str
    verdict: Verdict
    ratio: float
    """Of its time to the calibration's."""
    milliseconds: float
    time: Time | None
    """None without something to compare with."""
    counts: dict[str, Count]
    reason: str
    """Why the verdict is unknown, or what was slower."""


def measure(trees: Sequence[Path], setting: Setting, effort: Effort, say: Say) -> list[Samples]:
    """Measure the cases with the code of each tree, turn by turn.

    Returns:
        One for each tree.
    """
    cells = {plan.name: plan.cell for plan in setting.plans}
    found = [Samples(cells=cells) for _ in trees]
    began = time.monotonic()
    for wave in range(effort.waves):
        say(f"measuring, {wave + 1} of {effort.waves}")
        started = time.monotonic()
        with _lanes(trees, setting, found, effort.at_once) as lanes:
            start = time.monotonic() - started
            if wave == 0:
                for lane in lanes[: len(trees)]:
                    for name in _left(setting, found):
                        if name != START:  # it works in other processes
                            lane.count(name)
            later = (effort.waves - 1 - wave) * start
            left = effort.seconds - (time.monotonic() - began) - later
            share = left / (effort.waves - wave) / max(1, len(setting.plans)) / len(lanes)
            _sample(lanes, setting, found, max(LEAST, share))
    return found


def look_again(
    trees: Sequence[Path], setting: Setting, effort: Effort, found: Sequence[Samples]
) -> None:
    """Measure the cases of the setting in further processes, into what was ``found``."""
    with _lanes(trees, setting, found, effort.more) as lanes:
        _sample(lanes, setting, found, effort.second_look)


@contextmanager
def _lanes(
    trees: Sequence[Path], setting: Setting, found: Sequence[Samples], count: int
) -> Iterator[list[_Lane]]:
    """Start processes for each tree, and yield them when all are ready.

    They get ready together; while one is asked, the others sleep.
    """
    names = [plan.name for plan in setting.plans]
    with ExitStack() as stack:
        lanes = [
            _Lane(samples, stack.enter_context(Worker(tree, setting)), names)
            for _ in range(count)
            for tree, samples in zip(trees, found, strict=True)
        ]
        for lane in lanes:
            lane.worker.begin()
        for lane in lanes:
            try:
                lane.samples.failed |= lane.worker.ready()
            except Failed as error:
                lane.samples.failed |= dict.fromkeys(names, str(error))
        yield lanes


def _sample(
    lanes: Sequence[_Lane], setting: Setting, found: Sequence[Samples], seconds: float
) -> None:
    """Let every process sample every case for so long, in turns: a bad moment then hits all."""
    for _ in range(TURNS):
        for name in _left(setting, found):
            for lane in lanes:
                lane.sample(name, seconds / TURNS)


def _left(setting: Setting, found: Sequence[Samples]) -> list[str]:
    """Return the cases that no tree has failed."""
    return [p.name for p in setting.plans if not any(p.name in one.failed for one in found)]


def results(before: Measurement | None, now: Measurement, failed: dict[str, str]) -> list[Result]:
    """Return what is to be said of each case, from what was measured before and now."""
    found = []
    for name, measured in now.cases.items():
        base = before.cases.get(name) if before else None
        ratio = math.exp(float(np.mean([np.median(block) for block in measured.blocks])))
        numbers = ratio, measured.milliseconds
        if base is None or base.cell_sha256 != measured.cell_sha256:
            why = "no baseline yet" if base is None else "another cell than the baseline's"
            found.append(Result(name, "unknown", *numbers, None, {}, why))
            continue
        spent = judge(base.blocks, measured.blocks)
        counts = {
            key: compare(key, base.counts[key], value)
            for key, value in measured.counts.items()
            if key in base.counts
        }
        verdict = overall([spent.verdict, *(count.verdict for count in counts.values())])
        found.append(
            Result(name, verdict, *numbers, spent, counts, _reason(verdict, spent, counts))
        )
    for name, why in failed.items():
        # What could be measured before and breaks now must not pass.
        broken: Verdict = "slower" if before and name in before.cases else "unknown"
        found.append(Result(name, broken, 0.0, 0.0, None, {}, f"not measured: {why}"))
    return found


def _reason(verdict: Verdict, spent: Time, counts: dict[str, Count]) -> str:
    if verdict == "unknown":
        return "too noisy"
    parts = {"time": spent.verdict, **{name: count.verdict for name, count in counts.items()}}
    return ", ".join(name for name, of in parts.items() if of == verdict != "same")


class Outcome(NamedTuple):
    """What a run of the gate comes to."""

    results: list[Result]
    measurement: Measurement
    made: bool
    """Whether it became the baseline."""
    added: list[str]
    """Cases that joined the baseline."""
    against: str


def against_baseline(
    folder: Folder, setting: Setting, effort: Effort, say: Say, update: bool = False
) -> Outcome:
    """Measure this tree and compare it with the stored baseline; make that if there is none.

    Raises:
        UserError: nothing could be measured, or files cannot be read or written.
    """
    baseline = None if update else folder.baseline()
    if baseline is None:
        waves = BASELINE[effort]
        # All cases take the same time in all, each then less of it.
        seconds = effort.seconds * (1 if effort is FULL else waves)
        effort = effort._replace(waves=waves, seconds=seconds)
    [samples] = measure([HERE], setting, effort, say)
    _instructions([HERE], setting, effort, [samples], say)
    commit = commit_of(HERE)
    now = samples.measurement(folder.name, commit)
    _measured_something(now, samples.failed)
    if baseline is None:
        folder.keep(now.model_copy(update={"cases": _kept(folder, update) | now.cases}))
        return Outcome(results(None, now, samples.failed), now, True, [], "baseline")
    found = results(baseline, now, samples.failed)
    suspects = _suspects(setting, found)
    if suspects.plans:
        say(f"{len(suspects.plans)} look slower: measured again")
        look_again([HERE], suspects, effort, [samples])
        now = samples.measurement(folder.name, commit)
        found = results(baseline, now, samples.failed)
        found = _acquitted(found, suspects, baseline, now, effort)
    fresh = {
        name: case
        for name, case in now.cases.items()
        if name not in baseline.cases or baseline.cases[name].cell_sha256 != case.cell_sha256
    }
    if fresh:
        folder.keep(baseline.model_copy(update={"cases": baseline.cases | fresh}))
    return Outcome(found, now, False, list(fresh), "baseline")


def _kept(folder: Folder, update: bool) -> dict[str, Measured]:
    """Return the cases of a baseline that is made anew in part: those not measured now stay."""
    if not update:
        return {}
    try:
        old = folder.baseline()
    except UserError:
        return {}
    return old.cases if old else {}


def against_commit(
    other: tuple[Path, str], machine: str, setting: Setting, effort: Effort, say: Say
) -> Outcome:
    """Measure another commit's tree and this one, turn by turn.

    Raises:
        UserError: nothing could be measured in both.
    """
    tree, commit = other
    trees = [tree, HERE]
    both = measure(trees, setting, effort, say)
    _instructions(trees, setting, effort, both, say)

    def told() -> tuple[Measurement, Measurement, list[Result]]:
        for name, why in both[0].failed.items():
            both[1].failed.setdefault(name, f"in {commit[:9]}: {why}")
        old = both[0].measurement(machine, (commit, False))
        new = both[1].measurement(machine, commit_of(HERE))
        return old, new, results(old, new, both[1].failed)

    _, now, found = told()
    _measured_something(now, both[1].failed)
    suspects = _suspects(setting, found)
    if suspects.plans:
        say(f"{len(suspects.plans)} look slower: measured again")
        look_again(trees, suspects, effort, both)
        old, now, found = told()
        found = _acquitted(found, suspects, old, now, effort)
    return Outcome(found, now, False, [], commit)


def _acquitted(
    found: Sequence[Result],
    suspects: Setting,
    before: Measurement,
    now: Measurement,
    effort: Effort,
) -> list[Result]:
    """Return the results with those unknown that the second look, for itself, did not confirm."""
    names = {plan.name for plan in suspects.plans}

    def seen(result: Result) -> Result:
        if result.name not in names or result.verdict != "slower":
            return result
        later = now.cases[result.name].blocks[-effort.more :]
        if confirmed(before.cases[result.name].blocks, later):
            return result
        return result._replace(verdict="unknown", reason="slower in one moment alone")

    return [seen(result) for result in found]


def _instructions(
    trees: Sequence[Path], setting: Setting, effort: Effort, found: Sequence[Samples], say: Say
) -> None:
    if not effort.instructions or not callgrind.available():
        return
    for tree, samples in zip(trees, found, strict=True):
        say("counting instructions")
        fast = setting._replace(
            plans=[p for p in setting.plans if p.fast and p.name not in samples.failed]
        )
        for name, instructions in callgrind.instructions(tree, fast).items():
            samples.counts.setdefault(name, {})["instructions"] = instructions


def _measured_something(now: Measurement, failed: dict[str, str]) -> None:
    if not now.cases:
        why = next(iter(failed.values()), "the profile has no case")
        raise UserError(f"the gate measured nothing: {why}.")


def _suspects(setting: Setting, found: Sequence[Result]) -> Setting:
    """Return the cases whose time looks slower; none where an exact count has grown already."""
    slower = [r for r in found if r.time is not None and r.time.verdict == "slower"]
    sure = any(count.verdict == "slower" for r in found for count in r.counts.values())
    slower.sort(key=lambda r: -r.time.change if r.time else 0.0)
    names = [] if sure else [r.name for r in slower[:LOOKS]]
    return setting._replace(plans=[plan for plan in setting.plans if plan.name in names])
