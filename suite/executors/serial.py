"""The serial executor: one cell after the other in this process, each with a device to itself."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Generator
from functools import partial

import torch

from suite.cell.run import nothing, run_cell
from suite.config.cell import Cell
from suite.core import signals
from suite.core.errors import UserError
from suite.executors.base import Outcome, Queue, RunWork, failure_of
from suite.records.provenance import usable_cores

KINDS = ("cpu", "cuda")


class Serial:
    """Executor that computes cells in this process; see `suite.executors.base`."""

    lanes = (KINDS,)
    elsewhere = False
    sees_files = True

    @property
    def cores(self) -> int:
        """Number of cores that this process may use."""
        return usable_cores()

    def run(self, cells: Queue, work: RunWork) -> Generator[Outcome]:
        """Yield the outcome of each cell; the next is taken after that."""
        while cells.left():
            signals.raise_if_requested()
            cell = cells.take(KINDS)
            if cell is None:
                cells.wait()
            else:
                yield compute_in_process(cell, work, work.alone())


def compute_in_process(
    cell: Cell, work: RunWork, alone: bool, pause: Callable[[], None] = nothing
) -> Outcome:
    """Compute a cell in this process; ``alone`` and ``pause`` are those of `run_cell`."""
    device, keeper = torch.device(cell.numerics.device), work.checkpoint(cell)
    report = partial(work.step, cell.label)
    try:
        record, arrays = run_cell(
            cell, work.profile, work.data, device, report, alone, keeper, pause
        )
    except UserError:
        raise
    except Exception as error:  # one failed cell must not stop the others
        return Outcome(cell, None, {}, failure_of(error, traceback.format_exc()))
    return Outcome(cell, record, arrays, None)
