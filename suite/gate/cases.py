"""The measured parts of a profile's cells, each with plain work of the same kind.

A part is built from a cell that is set up as for a real run (`suite.cell.setup`), in one process
with one thread; everything that is timed also happens in a run.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch

from suite.cell.setup import CellSetup, set_up
from suite.cell.workers import CellWorkers
from suite.config.cell import Cell
from suite.core.episodes import EpisodeContext
from suite.gate import calibration as plain
from suite.gate.calibration import TimedWork

#: Numbers of outer steps and of test episodes in the part that trains and tests.
SHORT_STEPS, SHORT_EPISODES = 8, 8
#: Number of meta-batches that are drawn at once.
AHEAD = 4
START = "start"


class Plan(NamedTuple):
    """A part of a cell, as text; the process that measures it builds it."""

    name: str
    part: str
    cell: str
    """The cell as JSON; '' if the part needs none."""
    fast: bool
    """Whether the part belongs to the small set of ``--fast``."""


@dataclass(frozen=True)
class Case:
    """A piece of work to measure."""

    work: TimedWork
    plain: TimedWork
    """Plain work whose time divides the time of ``work``."""
    device: torch.device
    long: bool = False
    """Whether a sample takes seconds and needs no warm-up."""
    counted: TimedWork | None = None
    """The same work without recording, for counting operators and memory; None to count ``work``.
    A replay allocates nothing, so its counts would not show that a step takes more memory."""


def plans(cells: Sequence[Cell]) -> list[Plan]:
    """Return the parts of a profile's cells that can be measured, for one seed, in their order.

    The small set contains, for the first experiment on each task and device: the sampling; the
    outer steps of the first second-order and the first first-order algorithm that train on
    episodes; and the test of the second-order one, or of the first-order one if it is the only one.
    """
    ordered = _ordered(cells)
    homes: dict[tuple[str, str], str] = {}
    for cell in cells:
        homes.setdefault((cell.task["name"], cell.numerics.device), cell.experiment)
    plans_by_name: dict[str, Plan] = {}
    seen: set[tuple[str, str, bool]] = set()
    for cell in ordered:
        device, rule = cell.numerics.device, cell.make_algorithm()
        home = homes[cell.task["name"], device] == cell.experiment
        order = (cell.experiment, device, rule.second_order)
        first = not {order, (cell.experiment, device, True)} & seen
        trains = rule.trains_on is not None and cell.protocol.train.steps > 0
        chosen = home and trains and rule.trains_on == "episodes" and order not in seen
        parts = {}
        if trains:
            parts = {"sampling": chosen and first, "outer step": chosen}
        parts["test"] = chosen and first
        if chosen:
            seen.add(order)
        if chosen and first:
            parts["training and test"] = False
        for part, fast in parts.items():
            name = _name(cell, part)
            if name not in plans_by_name:  # otherwise it is another seed of the same part
                plans_by_name[name] = Plan(name, part, one_process(cell).model_dump_json(), fast)
    return [*plans_by_name.values(), Plan(START, START, "", False)]


def _name(cell: Cell, part: str) -> str:
    """Return the name of a part in tables; that of sampling does not depend on the algorithm."""
    variant = [] if part == "sampling" else [cell.variant]
    suffix = "" if cell.numerics.device == "cpu" else f" ({cell.numerics.device})"
    return "/".join([cell.experiment, *variant, part]) + suffix


def _ordered(cells: Iterable[Cell]) -> list[Cell]:
    """Return the cells with those of second-order algorithms first."""
    return sorted(cells, key=lambda cell: not cell.make_algorithm().second_order)


def one_process(cell: Cell) -> Cell:
    """Return the cell with one process and one thread."""
    numerics = cell.numerics.model_copy(update={"threads": 1, "shards": 1})
    return cell.model_copy(update={"numerics": numerics})


@cache
def _setup(text: str, data: Path | None) -> CellSetup:
    cell = Cell.model_validate_json(text)
    return set_up(cell, data, torch.device(cell.numerics.device))


def build_case(plan: Plan, data: Path | None) -> Case:
    """Set up the case of a plan.

    Raises:
        UserError: if its data or its model is not available.
    """
    if plan.part == START:
        # This runs from a folder of code of any commit; there are no records to read.
        code = "from suite.cli import main; main()"
        listing = [sys.executable, "-c", code, "--results", os.devnull, "--list"]
        return Case(
            lambda: subprocess.run(listing, check=True, stdout=subprocess.DEVNULL),
            plain.start(),
            torch.device("cpu"),
            long=True,
        )
    setup = _setup(plan.cell, data)
    calibration = _calibration(plan.part, setup)
    counted = outer_step(setup, replay=False) if plan.part == "outer step" else None
    return Case(PARTS[plan.part](setup), calibration, setup.device, counted=counted)


def _calibration(part: str, setup: CellSetup) -> TimedWork:
    train, shape = setup.cell.protocol.train, setup.task.input_shape
    examples = train.support_size + train.query_size
    if part == "sampling":
        return plain.drawing(shape, AHEAD * train.meta_batch * examples, setup.device)
    step = part != "test" or setup.algorithm.inner_steps > 0
    return plain.supervised(shape, examples, train.meta_batch, setup.device, step)


def inner_loop(setup: CellSetup, steps: int | None = None) -> TimedWork:
    """Return the adaptation of one meta-batch by ``steps``, or by all inner steps of training."""
    count = setup.algorithm.inner_steps if steps is None else steps
    context = EpisodeContext(setup.inner_stream)

    @torch.no_grad()
    def work() -> None:
        support = setup.batch.support
        for _ in setup.algorithm.adapt(setup.engine, setup.initial, support, count, context):
            pass

    return work


def inner_step(setup: CellSetup) -> TimedWork:
    """Return the adaptation of one meta-batch by one step."""
    return inner_loop(setup, 1)


def outer_step(setup: CellSetup, replay: bool | None = None) -> TimedWork:
    """Return one outer step, meta-gradient and optimiser, always from the initial weights.

    ``replay`` has the same meaning as in `MetaGradients`.
    """
    loop = setup.outer_loop(setup.meta_gradients(replay).choose())
    initial = loop.theta.clone()

    @torch.no_grad()
    def work() -> None:
        loop.weights.copy_(initial)  # otherwise thousands of calls would train or diverge
        loop.step(0)

    return work


def sampling(setup: CellSetup) -> TimedWork:
    """Return the drawing of several meta-batches at once, as in training."""
    return lambda: setup.source.draw(0, AHEAD)


def test(setup: CellSetup) -> TimedWork:
    """Return the drawing of one test episode, the adaptation to it, and the scores of all steps."""
    protocol, start = setup.cell.protocol.evaluations[0], setup.initial
    state = setup.algorithm.initial_inner_state(setup.engine)
    context = EpisodeContext(setup.inner_stream, inner_state=state)
    return lambda: setup.test.part(slice(0, 1), start, protocol, context)


def training_and_test(setup: CellSetup) -> TimedWork:
    """Return a whole small cell: a few outer steps from the start, and its meta-test."""
    protocol = setup.cell.protocol.evaluations[0].model_copy(update={"episodes": SHORT_EPISODES})

    def work() -> None:
        with CellWorkers(setup) as workers:
            loop = setup.outer_loop(workers.gradient)
            for step in range(min(SHORT_STEPS, setup.cell.protocol.train.steps)):
                loop.step(step)
            context = EpisodeContext(setup.inner_stream, inner_state=loop.inner_state)
            workers.scores(setup.adapted_from(loop.theta), protocol, context)

    return work


PARTS: dict[str, Callable[[CellSetup], TimedWork]] = {
    "sampling": sampling,
    "inner step": inner_step,
    "inner loop": inner_loop,
    "outer step": outer_step,
    "test": test,
    "training and test": training_and_test,
}
