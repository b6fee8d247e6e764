"""Work on the CPU recorded operation by operation, and done again on the same memory.

A meta-step of a small network is hundreds of operations of a few microseconds each, and a third of
its time goes into the layers' Python, views and allocations around them. None of that depends on
the numbers: a tape holds only the operations, each bound to the memory that it reads and writes.
The operations are those of the work itself, so the bits are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from types import BuiltinFunctionType
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from suite.core.dispatch import Operations

#: Bytes that a tape may keep: the time of larger work goes into caches, not into dispatch.
LARGEST = 32 * 2**20
#: Operations that a tape would repeat wrongly: they draw at random, the host uses their numbers, or
#: they turn a tensor itself into another view.
UNSAFE = {
    torch.Tag.nondeterministic_seeded,
    torch.Tag.data_dependent_output,
    torch.Tag.dynamic_output_shape,
    torch.Tag.inplace_view,
}


class NotReplayable(Exception):
    """The work cannot be replayed; the message says why."""


@dataclass
class _Operation:
    """One operation: a function that does it again, and the memory that it reads and writes."""

    again: Callable[[], Any]
    reads: set[int]
    writes: set[int]


class Tape:
    """The operations of one piece of work, which returns tensors.

    A replay reads the work's inputs again, at the same addresses. `outputs` are the tensors that
    the work returned; a `replay` overwrites them, except for views of memory outside the tape. The
    recorder sees only operations, nothing else that the host does: the caller must know that the
    work reads no numbers on the host (`Tensor.numpy`).

    Raises:
        NotReplayable: the work draws at random, decides on numbers, writes outside or is too large.
    """

    def __init__(self, work: Callable[[], Sequence[Tensor]]) -> None:
        with torch.inference_mode(), _Recorder() as recorder:
            self.outputs = list(work())
        # Views have their base's memory and so its key; an operation keeps the base alive.
        needed = {_memory(output) for output in self.outputs}
        kept: list[Callable[[], Any]] = []
        for operation in reversed(recorder.operations):
            if operation.writes & needed:
                kept.append(operation.again)
                needed |= operation.reads
        self._again = kept[::-1]

    def __len__(self) -> int:
        return len(self._again)

    @torch.inference_mode()
    def replay(self) -> None:
        """Do the operations again."""
        for again in self._again:
            again()


class _Recorder(Operations):
    """Recorder of dispatched operations, except views, which stay valid on the same memory."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[_Operation] = []
        #: Keys of the memory that was allocated while recording.
        self.own: set[int] = set()
        #: Tensors that keep that memory, and so its keys, to the end.
        self._alive: list[Tensor] = []
        self._bytes = 0

    def on_op(self, op: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if op is torch.ops.aten.detach_.default:
            return op(*args, **kwargs)  # the tensor is a constant; only autograd's state changes
        if not UNSAFE.isdisjoint(op.tags):
            raise NotReplayable(f"{op} draws, has the host wait for a number, or turns a tensor")
        given = _tensors((args, kwargs))
        written = _tensors(
            [
                kwargs.get(argument.name, args[i] if i < len(args) else None)
                for i, argument in enumerate(op._schema.arguments)
                if argument.alias_info is not None and argument.alias_info.is_write
            ]
        )
        if not set(map(_memory, written)) <= self.own:
            raise NotReplayable(f"{op} writes what was there before the work")
        result = op(*args, **kwargs)
        results = _tensors(result)
        devices = {tensor.device.type for tensor in results}
        if devices == {"meta"}:
            return result  # meta tensors have only shapes
        if devices != {"cpu"}:
            raise NotReplayable(f"{op} gives nothing, or on another device")
        reads = set(map(_memory, given))
        fresh = [tensor for tensor in results if _memory(tensor) not in reads]
        self._bytes += sum(tensor.nbytes for tensor in fresh)
        if self._bytes > LARGEST:
            raise NotReplayable(f"it takes more than {LARGEST // 2**20} MB")
        self._alive += fresh
        self.own.update(map(_memory, fresh))
        if written or (fresh and "empty" not in op._schema.name):
            again = _again(op, args, kwargs, result, fresh, bool(written))
            writes = set(map(_memory, [*fresh, *written]))
            self.operations.append(_Operation(again, reads, writes))
        return result


def _again(
    op: Any, args: tuple[Any, ...], kwargs: Any, result: Any, fresh: list[Tensor], writes: bool
) -> Callable[[], Any]:
    """Return a function that does an operation again and writes its results into ``fresh``."""
    name = op._schema.name.removeprefix("aten::")
    # The library's own bindings take a third of the time that a call of the operator takes.
    quick = getattr(torch, name, None) or getattr(torch.Tensor, name, None)
    if not fresh:
        return partial(quick if op._overloadname == "default" and quick else op, *args, **kwargs)
    if result is fresh[0] and not writes and isinstance(quick, BuiltinFunctionType):
        into = partial(quick, *args, **kwargs, out=result)
        try:
            into()
        except (TypeError, RuntimeError):
            pass  # the operation has no form with ``out``
        else:
            return into

    def copied() -> None:
        found = [t for t in _tensors(op(*args, **kwargs)) if _memory(t) not in known]
        for tensor, value in zip(fresh, found, strict=True):
            tensor.copy_(value)

    known = set(map(_memory, _tensors((args, kwargs))))
    return copied


def _memory(tensor: Tensor) -> int:
    """Return a key of a tensor's memory, valid while that memory is alive."""
    return tensor.untyped_storage()._cdata


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
