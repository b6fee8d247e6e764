"""Slots of a machine: each worker computes on a CUDA device, or on some of the CPU's cores."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch

from suite.core.errors import UserError
from suite.records.provenance import usable_cores


@dataclass(frozen=True)
class Slot:
    """The device and cores of one worker."""

    device: torch.device
    cores: tuple[int, ...]
    """Cores that the worker is pinned to, if the system supports it; it may use all if empty."""
    exclusive: bool
    """Whether the device has no other slot."""


def core_numbers() -> list[int]:
    """Return the numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(usable_cores()))


def divide(
    kinds: Collection[str], workers: int, cores: Sequence[int], accelerators: int
) -> list[Slot]:
    """Return a slot for each CUDA device, and ``workers`` slots that divide the cores.

    CPU slots are of one size, so that every CPU cell may have the same number of processes. If
    cells run on both kinds of device, each CUDA slot has a core to itself if there are enough,
    because the process that feeds a device takes one.

    Args:
        kinds: kinds of device that cells are for.
        workers: number of CPU slots, if a cell is for the CPU.
        cores: numbers of the cores to use.
        accelerators: number of CUDA devices.

    Raises:
        UserError: there are more workers than cores.
    """
    devices = [torch.device("cuda", i) for i in range(accelerators if "cuda" in kinds else 0)]
    if "cpu" not in kinds:
        return [Slot(device, (), exclusive=True) for device in devices]
    if workers > len(cores):
        raise UserError(
            f"{workers} workers cannot share the {len(cores)} cores that this run may use; take a "
            "smaller --workers."
        )
    separate = len(devices) if len(cores) >= len(devices) + workers else 0
    cuda_cores: list[tuple[int, ...]] = [(c,) for c in cores[:separate]] or [()] * len(devices)
    shared = cores[separate:]
    size = len(shared) // workers
    return [
        *(Slot(d, c, exclusive=True) for d, c in zip(devices, cuda_cores, strict=True)),
        *(
            Slot(torch.device("cpu"), tuple(shared[i * size : (i + 1) * size]), workers == 1)
            for i in range(workers)
        ),
    ]
