"""The user's words for an executor -> the executor."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import torch

from suite.errors import UserError
from suite.matrix.executor import Executor
from suite.matrix.local import Local
from suite.matrix.serial import Serial
from suite.matrix.slots import core_numbers, divide

NAMES = ("serial", "local")


def choose(
    name: str | None, kinds: Collection[str], workers: int | None, plugins: Sequence[Path]
) -> Executor:
    """Return an executor for cells on these kinds of device.

    Args:
        name: of `NAMES`; by default ``local`` where there are workers or several CUDA devices.
        kinds: of device, resolved.
        workers: CPU cells at a time, if the user says.
        plugins: files that register components.

    Raises:
        UserError: words that do not go together, or more workers than cores.
    """
    accelerators = torch.cuda.device_count() if "cuda" in kinds else 0
    if workers and name == "serial":
        raise UserError("--workers is of the executor local; leave out --executor serial.")
    if workers and "cpu" not in kinds:
        raise UserError("--workers shares out CPU cells, and no cell is for the CPU; leave it out.")
    if name == "local" or (name is None and (workers or accelerators > 1)):
        return Local(divide(kinds, workers or 1, core_numbers(), accelerators), plugins)
    return Serial()
