"""What each worker of a machine computes on: a CUDA device, or a share of the CPU's cores."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch

from suite.core.errors import UserError
from suite.records.provenance import usable_cores


@dataclass(frozen=True)
class Slot:
    """The place of one worker."""

    device: torch.device
    cores: tuple[int, ...]
    """That the worker is pinned to, where the system can; none leaves it where it likes."""
    alone: bool
    """Whether no other slot is on the device."""


def core_numbers() -> list[int]:
    """Return the numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(usable_cores()))


def divide(
    kinds: Collection[str], workers: int, cores: Sequence[int], accelerators: int
) -> list[Slot]:
    """Return a slot for each CUDA device, and ``workers`` slots that share out the cores.

    CPU slots are of one size, so that every CPU cell may have as many processes. Where cells run
    on both, each CUDA slot has a core to itself if there are enough: the process that feeds a
    device takes one.

    Args:
        kinds: of device that cells are for.
        workers: CPU slots, where a cell is for the CPU.
        cores: numbers of the cores to use.
        accelerators: how many CUDA devices there are.

    Raises:
        UserError: more workers than cores.
    """
    devices = [torch.device("cuda", i) for i in range(accelerators if "cuda" in kinds else 0)]
    if "cpu" not in kinds:
        return [Slot(device, (), alone=True) for device in devices]
    if workers > len(cores):
        raise UserError(
            f"{workers} workers cannot share the {len(cores)} cores that this run may use; take a "
            "smaller --workers."
        )
    apart = len(devices) if len(cores) >= len(devices) + workers else 0
    own: list[tuple[int, ...]] = [(c,) for c in cores[:apart]] or [()] * len(devices)
    shared = cores[apart:]
    size = len(shared) // workers
    return [
        *(Slot(device, core, alone=True) for device, core in zip(devices, own, strict=True)),
        *(
            Slot(torch.device("cpu"), tuple(shared[i * size : (i + 1) * size]), workers == 1)
            for i in range(workers)
        ),
    ]
