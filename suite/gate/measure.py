"""Schedule of the gate's measurements: processes, their turns, and their samples.

The time is spent on several short-lived processes, because processes differ by more than samples
do; each process measures all cases. The cases that look slower are then measured once more, and
they must look slower again.
"""

from __future__ import annotations

import datetime
import hashlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from suite.core.version import __version__
from suite.gate import calibration as plain
from suite.gate import callgrind
from suite.gate.cases import START
from suite.gate.decision import Sample
from suite.gate.files import MeasuredCase, Measurement
from suite.gate.process import Failed, Worker
from suite.gate.worker import WorkerSetting

Say = Callable[[str], None]
Sampled = dict[str, list[list[Sample]]]
"""Blocks of samples by case."""


class Effort(NamedTuple):
    """Effort of a run, in processes and seconds."""

    waves: int
    baseline_waves: int
    """Number of waves of the run that makes a baseline, because many runs are compared with it."""
    at_once: int
    """Number of processes of a wave; they start together and are timed one after the other."""
    seconds: float
    """Seconds of all ``waves`` together, including the counts."""
    more: int
    """Number of further processes for the cases that look slower."""
    second_look: float
    """Seconds of samples of each such case in each of these processes."""
    first_turns: int
    """Number of first turns in which a case is sampled even if its time is used up, because one
    disturbance would distort a case with few samples."""
    instructions: bool
    """Whether instructions are counted if Callgrind is available."""

    def of_baseline(self) -> Effort:
        """Return the effort of a baseline's run, with the same time per case in each process."""
        more = self.baseline_waves / self.waves
        return self._replace(waves=self.baseline_waves, seconds=more * self.seconds)


TURNS = 4
FAST = Effort(
    1, 3, at_once=3, seconds=26.0, more=1, second_look=0.5, first_turns=TURNS, instructions=False
)
FULL = Effort(
    2, 3, at_once=2, seconds=125.0, more=3, second_look=1.5, first_turns=2, instructions=True
)
#: Minimum seconds of samples of a case in a process.
LEAST = 0.15


@dataclass
class Samples:
    """Measurements of the cases, by name, from the processes of one tree."""

    cells: dict[str, str]
    blocks: Sampled = field(default_factory=lambda: defaultdict(list))
    again: Sampled = field(default_factory=lambda: defaultdict(list))
    """Blocks of the second look."""
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def measurement(self, machine: str, commit: tuple[str | None, bool | None]) -> Measurement:
        """Return the samples in the form that files store."""
        return Measurement(
            machine=machine,
            plain_sha256=plain.sha256(),
            suite_version=__version__,
            commit=commit[0],
            dirty=commit[1],
            when=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            cases={
                name: MeasuredCase(
                    cell_sha256=hashlib.sha256(self.cells[name].encode()).hexdigest(),
                    blocks=[block for block in blocks if block],
                    again=[block for block in self.again.get(name, []) if block],
                    counts=self.counts.get(name, {}),
                    milliseconds=1e3 * _median_work([*blocks, *self.again.get(name, [])]),
                )
                for name, blocks in self.blocks.items()
                if any(blocks) and name not in self.failed
            },
        )


def _median_work(blocks: list[list[Sample]]) -> float:
    return float(np.median([work for block in blocks for work, _ in block]))


class _TimedProcess:
    """A process and the place for its samples: one block for each case."""

    def __init__(self, samples: Samples, into: Sampled, worker: Worker) -> None:
        self.samples, self.worker, self._into = samples, worker, into
        self._blocks: dict[str, list[Sample]] = {}
        self._spent: dict[str, float] = defaultdict(float)

    def count(self, name: str) -> None:
        """Store the exact counts of a case."""
        with self._watching(name):
            self.samples.counts[name] = self.worker.counts(name)._asdict()

    def sample(self, name: str, until: float, at_least: bool) -> None:
        """Time a case until it has taken ``until`` seconds in total in this process."""
        left = until - self._spent[name]
        if left <= 0 and not at_least:
            return
        if name not in self._blocks:
            self._blocks[name] = []
            self._into[name].append(self._blocks[name])
        began = time.monotonic()
        with self._watching(name):
            self._blocks[name] += self.worker.pairs(name, max(0.0, left))
        self._spent[name] += max(left, time.monotonic() - began)

    @contextmanager
    def _watching(self, name: str) -> Iterator[None]:
        try:
            yield
        except Failed as error:
            self.samples.failed[name] = str(error)


def measure_trees(
    trees: Sequence[Path], setting: WorkerSetting, effort: Effort, say: Say
) -> list[Samples]:
    """Measure the cases with the code of each tree, in alternating turns.

    Returns:
        The samples of each tree.
    """
    cells = {plan.name: plan.cell for plan in setting.plans}
    measured = [Samples(cells) for _ in trees]
    began = time.monotonic()
    for wave in range(effort.waves):
        say(f"measuring, {wave + 1} of {effort.waves}")
        started = time.monotonic()
        into = [samples.blocks for samples in measured]
        with _timed_processes(trees, setting, measured, into, effort.at_once) as timed:
            start = time.monotonic() - started
            if wave == 0:
                for process in timed[: len(trees)]:
                    for name in _left(setting, measured):
                        if name != START:  # the start case runs in other processes
                            process.count(name)
            later = (effort.waves - 1 - wave) * start
            left = effort.seconds - (time.monotonic() - began) - later
            share = left / (effort.waves - wave) / max(1, len(setting.plans)) / len(timed)
            turns = dict.fromkeys(cells, effort.first_turns) | {START: 1}
            _sample(timed, setting, measured, max(LEAST, share), turns)
    if effort.instructions and callgrind.is_installed():
        for tree, samples in zip(trees, measured, strict=True):
            say("counting instructions")
            _count_instructions(tree, setting, samples, effort.at_once)
    return measured


def look_again(
    trees: Sequence[Path],
    setting: WorkerSetting,
    effort: Effort,
    measured: Sequence[Samples],
    say: Say,
) -> None:
    """Measure the setting's cases in further processes and add the samples to ``measured``."""
    say(f"{len(setting.plans)} look slower: measured again")
    into = [samples.again for samples in measured]
    with _timed_processes(trees, setting, measured, into, effort.more) as timed:
        turns = dict.fromkeys([plan.name for plan in setting.plans], effort.first_turns)
        _sample(timed, setting, measured, effort.second_look, turns)


@contextmanager
def _timed_processes(
    trees: Sequence[Path],
    setting: WorkerSetting,
    measured: Sequence[Samples],
    into: Sequence[Sampled],
    count: int,
) -> Iterator[list[_TimedProcess]]:
    """Start processes for each tree, and yield them when all are ready.

    They prepare at the same time; later, while one is measuring, the others sleep.
    """
    with ExitStack() as stack:
        timed = [
            _TimedProcess(samples, blocks, stack.enter_context(Worker(tree, setting)))
            for _ in range(count)
            for tree, samples, blocks in zip(trees, measured, into, strict=True)
        ]
        for process in timed:
            process.worker.begin()
        for process in timed:
            try:
                process.samples.failed |= process.worker.ready()
            except Failed as error:
                every = [plan.name for plan in setting.plans]
                process.samples.failed |= dict.fromkeys(every, str(error))
        yield timed


def _sample(
    timed: Sequence[_TimedProcess],
    setting: WorkerSetting,
    measured: Sequence[Samples],
    seconds: float,
    first_turns: dict[str, int],
) -> None:
    """Let every process sample every case for ``seconds``, in turns, so that noise affects all.

    A case whose samples take longer than its turn has fewer turns, but at least ``first_turns``.
    """
    for turn in range(TURNS):
        for name in _left(setting, measured):
            for process in timed:
                process.sample(name, seconds * (turn + 1) / TURNS, turn < first_turns[name])


def _left(setting: WorkerSetting, measured: Sequence[Samples]) -> list[str]:
    """Return the cases that no tree has failed."""
    return [p.name for p in setting.plans if not any(p.name in one.failed for one in measured)]


def _count_instructions(
    tree: Path, setting: WorkerSetting, samples: Samples, processes: int
) -> None:
    fast = setting._replace(
        plans=[p for p in setting.plans if p.fast and p.name not in samples.failed]
    )
    for name, instructions in callgrind.instructions(tree, fast, processes).items():
        samples.counts.setdefault(name, {})["instructions"] = instructions
