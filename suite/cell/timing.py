"""Clocks and meters: timed work is warmed up, repeated and synchronised with the device.

Every time is given as the median and quartiles, in seconds, over repetitions of one piece of work.
The device is synchronised before each reading of the clock, and warm-up rounds are left out.
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
REPETITIONS = (5, 15)  # minimum, maximum
BUDGET = 0.2  # seconds for one piece of work, after the minimum of repetitions


def synchronise(device: torch.device) -> None:
    """Wait until the device has finished all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Clock:
    """Seconds of work, over several runs if the work is stopped, without pauses."""

    def __init__(self, seconds: float = 0.0) -> None:
        self._before, self._start = seconds, time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return self._before + time.perf_counter() - self._start

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Leave out the time that the block takes."""
        start = time.perf_counter()
        yield
        self._start += time.perf_counter() - start


def measure(what: str, work: Callable[[], object], device: torch.device) -> Duration:
    """Time ``work``, repeated until `BUDGET` is spent, within the limits of `REPETITIONS`."""
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
    """Return the FLOP of matrix products and convolutions in ``work``."""
    # The library's table has only the operation that is not in place.
    in_place: Any = {torch.ops.aten.baddbmm_: _baddbmm_flops}
    with FlopCounterMode(display=False, custom_mapping=in_place) as counter:
        work()
    return int(counter.get_total_flops()) or None


def _baddbmm_flops(_: torch.Size, a: torch.Size, b: torch.Size, *__: Any, **___: Any) -> int:
    return 2 * a.numel() * b[-1]


def matrix_product_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Return the FLOP/s of square matrix products here: the upper limit of arithmetic."""
    size = 8192 if device.type == "cuda" else 1024
    a = torch.rand(size, size, device=device, dtype=dtype)  # ones need less power: faster
    seconds = measure("matrix product", lambda: a @ a, device).q1
    return 2 * size**3 / seconds


class PeakMemory:
    """Peak memory between construction and `read`, above the memory held at the start.

    On the CPU it is resident memory: on Linux a process can reset its own high-water mark. If the
    system does not allow that, the value is None.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cuda":
            gc.collect()  # graphs of earlier cells are in reference cycles
            _prime(device)
            torch.cuda.reset_peak_memory_stats(device)
            self._start: int | None = torch.cuda.memory_allocated(device)
            return
        self._start = None
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)  # free heap of earlier cells does not count
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
    """Make cuBLAS allocate its workspace now, or it would count as memory of the first cell."""
    a = torch.zeros(64, 64, device=device)
    torch.mm(a, a)


def _high_water() -> int | None:
    """Return the peak resident memory of this process in bytes, or None if it is not known."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return None
