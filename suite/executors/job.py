"""One attempt to compute a cell, in another process than the one that writes records."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from suite.cell.run import Report, run_cell
from suite.config.cell import Cell
from suite.core import signals
from suite.core.errors import UserError
from suite.executors.base import failure_of
from suite.records.checkpoint import Checkpoint


class CellJob(NamedTuple):
    """A cell to compute; ``path``, ``every`` and ``keep`` are those of its `Checkpoint`."""

    cell: Cell
    alone: bool
    path: Path | None
    every: float
    keep: bool


def attempt(
    job: CellJob,
    profile: str,
    data: Path | None,
    device: torch.device,
    report: Report,
    note: Callable[[str], None],
) -> tuple[Any, ...]:
    """Compute a cell and return the answer; arguments are as in `run_cell` and `Checkpoint`.

    The answer is one of ``("done", record, arrays)``, ``("failed", Failure)``, ``("stopped",)``,
    and, for a `UserError`, ``("refused", text)``.
    """
    keeper = Checkpoint(job.path, every=job.every, keep=job.keep, note=note)
    try:
        record, arrays = run_cell(job.cell, profile, data, device, report, job.alone, keeper)
    except UserError as error:
        return "refused", str(error)
    except signals.Stopped:
        return ("stopped",)
    except Exception as error:  # one failed cell must not stop the others
        return "failed", failure_of(error, traceback.format_exc())
    return "done", record, arrays
