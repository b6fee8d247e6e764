"""Exact counts of operators, synchronisations and bytes: they use no clock and have no noise."""

from __future__ import annotations

import tracemalloc
from typing import Any, NamedTuple

import torch
from torch.profiler import ProfilerActivity, profile

from suite.core.dispatch import Operations
from suite.gate.calibration import TimedWork

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
    """Counts of one piece of work."""

    operators: int
    """Number of operators dispatched, including those of a backward pass."""
    synchronisations: int
    """Number of scalar reads, copies from a device to the host, and results of unknown size."""
    allocated: int
    """Peak bytes of tensors, arrays and Python objects, less those at the start."""


class _Counter(Operations):
    def __init__(self) -> None:
        super().__init__()
        self.operators = self.synchronisations = 0

    def on_op(self, op: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = op(*args, **kwargs)
        packet = op.overloadpacket
        self.operators += 1
        self.synchronisations += (
            packet in WAITING
            or (packet is _ATEN.index and _masked(args))
            or (packet in _COPIES and _to_host(args, result))
        )
        return result


def _masked(args: tuple[Any, ...]) -> bool:
    """Return whether an index is a mask; its ones must be counted before the size is known."""
    return any(index is not None and index.dtype == torch.bool for index in args[1])


def _to_host(args: tuple[Any, ...], result: Any) -> bool:
    """Return whether a copy moves values from a device to the host."""
    tensors = [value for value in args if isinstance(value, torch.Tensor)]
    source = tensors[-1] if tensors else None
    return source is not None and source.device.type != "cpu" and result.device.type == "cpu"


def count(work: TimedWork, device: torch.device) -> Counts:
    """Return the counts of ``work``, which is called a few times, first to fill its caches."""
    work()
    with _Counter() as counter:
        work()
    return Counts(counter.operators, counter.synchronisations, _allocated(work, device))


def _allocated(work: TimedWork, device: torch.device) -> int:
    tracemalloc.start()
    work()
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    work()
    python = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    return python + (_on_cuda(work) if device.type == "cuda" else _on_cpu(work))


def _on_cuda(work: TimedWork) -> int:
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    work()
    return torch.cuda.max_memory_allocated() - before


def _on_cpu(work: TimedWork) -> int:
    """Return the peak bytes of the library's allocator, from its record of every allocation."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        work()
    trace = recorded.profiler.kineto_results  # type: ignore[union-attr]
    events = sorted(
        (event.start_ns(), event.nbytes()) for event in trace.events() if event.name() == "[memory]"
    )
    total = most = 0
    for _, size in events:
        total += size
        most = max(most, total)
    return most
