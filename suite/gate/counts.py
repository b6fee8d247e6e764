"""What is exact about a piece of work: operators, synchronisations, bytes. No clock, no noise."""

from __future__ import annotations

import tracemalloc
from typing import Any, NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile

from suite.core.dispatch import Operations
from suite.gate.plain import Work

_ATEN = torch.ops.aten
#: Operators that make the host wait for the device: reads of a value, and results whose size is a
#: value.
WAITING = {
    _ATEN._local_scalar_dense,
    _ATEN.nonzero,
    _ATEN.masked_select,
    _ATEN.equal,
    _ATEN._unique2,
    _ATEN.unique_dim,
    _ATEN.unique_consecutive,
}
_COPIES = {_ATEN._to_copy, _ATEN.copy_}


class Counts(NamedTuple):
    """What one piece of work does."""

    operators: int
    """Operators dispatched, those of a backward pass among them."""
    synchronisations: int
    """Reads of a scalar, copies from a device to the host, results of unknown size."""
    allocated: int
    """Most bytes of tensors, arrays and Python objects at one time, above those at the start."""


class _Counter(Operations):
    def __init__(self) -> None:
        super().__init__()
        self.operators = self.synchronisations = 0

    def met(self, op: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        found = op(*args, **kwargs)
        packet = op.overloadpacket
        self.operators += 1
        self.synchronisations += (
            packet in WAITING
            or (packet is _ATEN.index and _masked(args))
            or (packet in _COPIES and _to_host(args, found))
        )
        return found


def _masked(args: tuple[Any, ...]) -> bool:
    """Return whether an index is a mask, whose ones have to be counted first."""
    return any(index is not None and index.dtype == torch.bool for index in args[1])


def _to_host(args: tuple[Any, ...], found: Any) -> bool:
    """Return whether a copy brings a device's values to the host."""
    tensors = [value for value in args if isinstance(value, torch.Tensor)]
    source = tensors[-1] if tensors else None
    return source is not None and source.device.type != "cpu" and found.device.type == "cpu"


def count(work: Work, device: torch.device) -> Counts:
    """Return what ``work`` does; it is called a few times, the first to fill its caches."""
    work()
    with _Counter() as counter:
        work()
    return Counts(counter.operators, counter.synchronisations, _allocated(work, device))


def _allocated(work: Work, device: torch.device) -> int:
    tracemalloc.start()
    work()
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    work()
    python = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    return python + (_on_cuda(work) if device.type == "cuda" else _on_cpu(work))


def _on_cuda(work: Work) -> int:
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    work()
    return torch.cuda.max_memory_allocated() - before


def _on_cpu(work: Work) -> int:
    """Return the most bytes of the library's own allocator, by its record of every allocation."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        work()
    found = recorded.profiler.kineto_results  # type: ignore[union-attr]
    events = sorted(
        (event.start_ns(), event.nbytes()) for event in found.events() if event.name() == "[memory]"
    )
    total = most = 0
    for _, size in events:
        total += size
        most = max(most, total)
    return most
