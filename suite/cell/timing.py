"""Clocks and meters: what is timed is repeated, warmed up and synchronised with the device.

Every figure is the median and quartiles over repetitions of one piece of work in seconds, with the
device synchronised before each reading of the clock, after warm-up rounds that are left out.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from suite.records.schema import Duration, Memory

WARM_UP = 2
REPETITIONS = (5, 15)  # at least, at most
BUDGET = 0.2  # seconds for one piece of work, once it was repeated often enough


def synchronise(device: torch.device) -> None:
    """Wait until the device has done everything asked of it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Clock:
    """Seconds of work, over several runs if it is stopped; its own pauses left out."""

    def __init__(self, seconds: float = 0.0) -> None:
        self._before, self._start = seconds, time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return self._before + time.perf_counter() - self._start

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Leave out what the block takes."""
        start = time.perf_counter()
        yield
        self._start += time.perf_counter() - start


def measure(what: str, work: Callable[[], object], device: torch.device) -> Duration:
    """Time ``work``, repeated until the budget is spent, within the stated repetitions."""
    for _ in range(WARM_UP):
        work()
    seconds: list[float] = []
    while len(seconds) < REPETITIONS[0] or (
        len(seconds) < REPETITIONS[1] and sum(seconds) < BUDGET
    ):
        synchronise(device)
        start = time.perf_counter()
        work()
        synchronise(device)
        seconds.append(time.perf_counter() - start)
    q1, median, q3 = np.quantile(seconds, [0.25, 0.5, 0.75]).tolist()
    return Duration(what=what, median=median, q1=q1, q3=q3, repetitions=len(seconds))


def count_flops(work: Callable[[], object]) -> int | None:
    """Return the floating-point operations of matrix products and convolutions in ``work``."""
    # The library's table has it out of place alone.
    in_place: Any = {torch.ops.aten.baddbmm_: _baddbmm_flops}
    with FlopCounterMode(display=False, custom_mapping=in_place) as counter:
        work()
    return int(counter.get_total_flops()) or None


def _baddbmm_flops(_: torch.Size, a: torch.Size, b: torch.Size, *__: Any, **___: Any) -> int:
    return 2 * a.numel() * b[-1]


def matrix_product_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Return the FLOP/s of square matrix products here: what arithmetic could run at, at most."""
    size = 8192 if device.type == "cuda" else 1024
    a = torch.rand(size, size, device=device, dtype=dtype)  # ones take less power, and run faster
    seconds = measure("matrix product", lambda: a @ a, device).q1
    return 2 * size**3 / seconds


class PeakMemory:
    """Peak memory between its making and `read`, above what was held at the start.

    On the CPU it is resident memory, for which Linux lets a process reset its own high-water mark;
    where it does not, the figure is None.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cuda":
            gc.collect()  # graphs of earlier cells, which are in cycles
            _prime(device)
            torch.cuda.reset_peak_memory_stats(device)
            self._start: int | None = torch.cuda.memory_allocated(device)
            return
        self._start = None
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)  # the heap that earlier cells left is not ours
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
            self._start = _high_water()

    def read(self) -> Memory:
        """Return the peak so far."""
        if self._device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(self._device) - (self._start or 0)
            return Memory(peak_bytes=peak, kind="cuda")
        now = _high_water()
        known = self._start is not None and now is not None
        return Memory(peak_bytes=now - self._start if known else None, kind="resident")  # type: ignore[operator]


@functools.cache
def _prime(device: torch.device) -> None:
    """Have cuBLAS take its workspace now: it is no cell's, and the first would seem to need it."""
    a = torch.zeros(64, 64, device=device)
    torch.mm(a, a)


def _high_water() -> int | None:
    """Return the peak resident memory of this process in bytes, where Linux tells it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return None
