"""Observe every operation of the tensor library that a piece of work dispatches."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode


class Operations(TorchDispatchMode):
    """A context in which each operation is handed to `on_op`, also those that make up another."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # otherwise the first operation imports the compiler: 1 second

    @abstractmethod
    def on_op(self, op: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Do the operation, and return its result."""

    def __torch_dispatch__(
        self, op: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        with self:  # inference mode does not split composite operations before this
            result = op.decompose(*args, **kwargs)
        return self.on_op(op, args, kwargs) if result is NotImplemented else result
