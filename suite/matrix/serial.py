"""The serial executor: one cell after the other in this process, each alone on its device."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import NamedTuple

import torch

from suite.config import Cell
from suite.errors import UserError
from suite.matrix.cell import Report, run_cell
from suite.records.checkpoint import Checkpoint
from suite.records.files import Arrays
from suite.records.schema import Record


class Outcome(NamedTuple):
    """A finished cell: its record and arrays, or why it failed."""

    cell: Cell
    record: Record | None
    arrays: Arrays
    failure: Exception | None


def run(
    cells: Iterable[Cell],
    profile: str,
    data: Path | None,
    report: Report,
    alone: Callable[[], bool],
    checkpoint: Callable[[Cell], Checkpoint],
) -> Generator[Outcome]:
    """Yield the outcome of each cell as it finishes; the next is asked for after that.

    Raises:
        UserError: bad input, at once: it would fail the other cells too.
    """
    for cell in cells:
        try:
            device, keeper = torch.device(cell.numerics.device), checkpoint(cell)
            record, arrays = run_cell(cell, profile, data, device, report, alone(), keeper)
        except UserError:
            raise
        except Exception as error:  # one broken cell must not cost the others
            yield Outcome(cell, None, {}, error)
        else:
            yield Outcome(cell, record, arrays, None)
