"""A small matrix computed by workers, with a plug-in that makes them quick, slow, ill or deadly."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from suite.cell import timing
from suite.config.profile import expand, load_profile
from suite.core import registry
from suite.executors.local import Local
from suite.executors.slots import core_numbers, divide
from suite.matrix.progress import Progress
from suite.matrix.run import run_matrix
from suite.records.store import Store
from tests import processes

QUICK = """
from suite.cell import timing
timing.BUDGET, timing.REPETITIONS = 0.0, (1, 1)  # timings are not what is tested
"""

EXTRA = """
from suite.core import registry
from suite.algorithms.sgd import SGD

@registry.algorithm("midway")
class Midway(SGD):
    '''SGD by another name.'''
"""

#: Tells where training begins and lets it take long, until a file says otherwise.
SLOW = (
    QUICK
    + """
import os, time
from pathlib import Path
from suite.cell.training import OuterLoop

folder, inner = Path({folder!r}), OuterLoop.step

def step(self, number):
    if number == 20:
        (folder / f"training-{{os.getpid()}}").touch()
    if number >= 20 and not (folder / "fast").exists():
        time.sleep({seconds})
    return inner(self, number)

OuterLoop.step = step
"""
)

#: Its first training is killed in the middle.
MORTAL = (
    QUICK
    + """
import os, signal
from pathlib import Path
from suite.cell.training import OuterLoop

folder, inner = Path({folder!r}), OuterLoop.step

def step(self, number):
    if number == 40:
        try:
            (folder / "killed").touch(exist_ok=False)
        except FileExistsError:
            pass
        else:
            os.kill(os.getpid(), signal.SIGKILL)
    return inner(self, number)

OuterLoop.step = step
"""
)

#: One cell kills every worker, one raises.
ILL = (
    QUICK
    + """
import os, signal
from suite.executors import job as attempt

inner = attempt.run_cell

def run_cell(cell, *rest):
    if (cell.variant, cell.seed) == ("maml", 1):
        os.kill(os.getpid(), signal.SIGTERM)  # which workers leave to their parent
        os.kill(os.getpid(), signal.SIGSEGV)
    if (cell.variant, cell.seed) == ("sgd", 0):
        raise RuntimeError("out of luck")
    return inner(cell, *rest)

attempt.run_cell = run_cell
"""
)

REFUSING = """
from suite.core.errors import UserError
from suite.executors import job as attempt

def run_cell(*_):
    raise UserError("no such thing; leave it out.")

attempt.run_cell = run_cell
"""


def plugin(folder: Path, text: str, name: str = "own") -> Path:
    path = folder / f"{name}.py"
    path.write_text(text)
    return path


def cells(folder: Path, extra: bool = False):
    """Eight cells of four algorithms; with ``extra`` also two of a plug-in's."""
    path = processes.profile(folder)
    if extra:
        path.write_text(path.read_text() + "[experiments.algorithms.midway]\n")
        registry.load_plugin(plugin(folder, EXTRA, "extra"))
    return expand(load_profile(str(path)), ["cpu"])


def local(*plugins: Path, workers: int = 2) -> Local:
    return Local(divide(["cpu"], workers, core_numbers(), 0), plugins)


def run(todo, results: Path, executor=None, data: Path | None = None, **options):
    """Run cells; return the summary and what was said."""
    said = io.StringIO()
    store = Store(results, "small")
    before = timing.BUDGET, timing.REPETITIONS
    timing.BUDGET, timing.REPETITIONS = 0.0, (1, 1)
    try:
        progress = Progress(Console(file=said, width=200))
        summary = run_matrix(todo, store, data, progress, executor, **options)
    finally:
        timing.BUDGET, timing.REPETITIONS = before
    return summary, said.getvalue()


def descendants(process: int) -> set[int]:
    """Processes that come of one, by /proc."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found, new = set(), {process}
    while new:
        found |= new
        new = {child for child, parent in parents.items() if parent in new} - found
    return found - {process}


def alive(process: int) -> bool:
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"
