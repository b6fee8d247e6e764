"""Times of the parts of the default profile's cells, by engine, compared with plain work.

    python -m pytest benchmarks [-k "sinusoid-maml and outer"] [--benchmark-json FILE]

A group is one part of one algorithm on one experiment. Its rows are the engines that support it
(`reference` is the plain loop) and `plain`, a supervised step over the same number of images or
points; the numbers in parentheses are ratios to the fastest. Everything runs in one thread of one
process, with the device synchronised. Peak memory, operators and synchronisations of each row are
in ``extra_info`` of the JSON file.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import pytest

from suite.cell.timing import synchronise
from suite.config.cell import Cell
from suite.config.profile import expand, load_profile
from suite.core import devices, registry
from suite.core.errors import UserError
from suite.gate.cases import AHEAD, PARTS, START, Case, Plan, build_case, one_process
from suite.gate.counts import count

PLAIN = "plain"


def _cells() -> Iterator[Cell]:
    """Yield one seed of every experiment, algorithm and device of the profile."""
    seen = set()
    for cell in expand(load_profile("quick"), devices.available(), 1):
        key = cell.experiment, cell.variant, cell.numerics.device
        if key not in seen:
            seen.add(key)
            yield one_process(cell)


def _parts(cell: Cell) -> Iterator[str]:
    """Yield the parts of a cell's algorithm, except sampling."""
    rule = cell.make_algorithm()
    trains = rule.trains_on is not None
    for part in PARTS:
        if part == "sampling":
            continue
        if part.startswith("inner") and not (rule.inner_steps and rule.trains_on == "episodes"):
            continue
        if trains or part == "test":
            yield part


def _rows() -> Iterator[object]:
    for cell in _cells():
        place = f"{cell.variant}, {cell.experiment}, {cell.numerics.device}"
        for part in _parts(cell):
            for engine in (*registry.engines.names(), PLAIN):
                yield pytest.param(
                    cell,
                    part,
                    engine,
                    marks=pytest.mark.benchmark(group=f"{part}, {place}"),
                    id=f"{cell.experiment}-{cell.variant}-{part}-{engine}-{cell.numerics.device}",
                )


@lru_cache(maxsize=2)
def _case(cell: str, part: str) -> Case:
    return build_case(Plan(part, part, cell, False), None)


def _measure(benchmark, case: Case, work) -> None:
    def synchronised() -> None:
        work()
        synchronise(case.device)

    found = count(work, case.device)
    benchmark.extra_info.update(found._asdict())
    benchmark.pedantic(synchronised, rounds=15, warmup_rounds=2)


@pytest.mark.parametrize(("cell", "part", "engine"), list(_rows()))
def test_part(benchmark, cell, part, engine):
    own = cell.numerics.engine if engine == PLAIN else engine
    numerics = cell.numerics.model_copy(update={"engine": own})
    try:
        text = cell.model_copy(update={"numerics": numerics}).model_dump_json()
        case = _case(text, part)
    except UserError as reason:
        pytest.skip(str(reason))
    _measure(benchmark, case, case.plain if engine == PLAIN else case.work)


_FIRST: dict[tuple[str, str], Cell] = {}
for _cell in _cells():
    if _cell.make_algorithm().trains_on == "episodes":
        _FIRST.setdefault((_cell.experiment, _cell.numerics.device), _cell)


@pytest.mark.benchmark(group=f"sampling of {AHEAD} meta-batches")
@pytest.mark.parametrize("which", ["suite", PLAIN])
@pytest.mark.parametrize("place", list(_FIRST), ids="-".join)
def test_sampling(benchmark, place, which):
    case = _case(_FIRST[place].model_dump_json(), "sampling")
    _measure(benchmark, case, case.plain if which == PLAIN else case.work)


@pytest.mark.benchmark(group="start")
@pytest.mark.parametrize("which", ["run_all.py --list", "import torch"])
def test_start(benchmark, which):
    case = build_case(Plan(START, START, "", False), None)
    benchmark.pedantic(case.work if which.startswith("run") else case.plain, rounds=3)
