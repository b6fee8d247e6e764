"""A Ray cluster: one that runs already, or a local one that ends with the run.

Ray is an optional dependency, which is imported only when it is used.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from typing import Any, NamedTuple

import torch

from suite.config.cell import Cell
from suite.core import devices
from suite.core.allocator import SETTINGS
from suite.core.errors import UserError, first_line
from suite.records.provenance import VARIABLES, usable_cores

#: Seconds within which a cluster must answer, and cancelled tasks must end.
PATIENCE = 5.0
#: Seconds for which the list of nodes is used before it is read again.
FRESH = 1.0


class Resources(NamedTuple):
    """Resources of a node that one cell takes."""

    cores: int
    accelerators: int

    def fit(self, node: dict[str, float]) -> int:
        """Return how many such cells fit on a node with these resources (keys are Ray's names)."""
        times = node.get("CPU", 0) // self.cores
        if self.accelerators:
            times = min(times, node.get("GPU", 0) // self.accelerators)
        return int(times)


def resources_of(cell: Cell) -> Resources:
    """Return one core for each thread of each process, or one core and a whole CUDA device.

    The core of a CUDA cell is for the process that feeds the device.
    """
    if cell.numerics.device == "cuda":
        return Resources(1, 1)
    return Resources(cell.numerics.threads * cell.numerics.shards, 0)


class Cluster:
    """A Ray cluster, as its driver sees it.

    Args:
        address: address of a running cluster, ``HOST:PORT``, or ``auto`` for the one that this
            machine belongs to. None starts one on this machine only, at the first `connect`.

    Raises:
        UserError: Ray is not installed, or no cluster answers.
    """

    def __init__(self, address: str | None = None) -> None:
        self.is_local = address is None
        self._ray = _imported()
        self._address = address
        self._known: tuple[float, list[dict[str, float]]] = (float("-inf"), [])
        if not self.is_local:
            self.connect()

    @property
    def errors(self) -> type[Exception]:
        """Base class of Ray's own errors."""
        return self._ray.exceptions.RayError

    @property
    def kinds(self) -> list[str]:
        """Kinds of device of the cluster's nodes, ``cpu`` first."""
        if not self._ray.is_initialized():
            return devices.available()
        return ["cpu", *(["cuda"] if self.room(Resources(1, 1)) else [])]

    def room(self, resources: Resources) -> int:
        """Return how many cells with these resources fit on all living nodes if they are free.

        A local cluster that is not started yet counts with the resources that it will have.
        """
        if not self._ray.is_initialized():
            here = {"CPU": usable_cores(), "GPU": torch.cuda.device_count()}
            return resources.fit({name: float(count) for name, count in here.items()})
        since, nodes = self._known
        if time.monotonic() - since > FRESH:
            nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
            self._known = time.monotonic(), nodes
        return sum(resources.fit(node) for node in nodes)

    def forget(self) -> None:
        """Forget the list of nodes, because one may have died; it is read again when needed."""
        self._known = (float("-inf"), [])

    def connect(self) -> Any:
        """Start or join the cluster, unless that is done already, and return the module ``ray``.

        Workers get this process's settings of memory and libraries.
        """
        if self._ray.is_initialized():
            return self._ray
        variables = {name: os.environ[name] for name in VARIABLES if name in os.environ}
        options: dict[str, Any] = {
            "runtime_env": {"env_vars": {**SETTINGS, **variables}},
            "log_to_driver": False,
            "logging_level": logging.CRITICAL,
        }
        if self.is_local:
            options |= {
                "address": "local",
                "num_cpus": usable_cores(),
                "num_gpus": torch.cuda.device_count(),
                "include_dashboard": False,
            }
        else:
            _probe(self._address or "")
            options["address"] = self._address
        before = signal.getsignal(signal.SIGTERM)
        try:
            self._ray.init(**options)
        except Exception as error:  # Ray, the system and many libraries raise errors here
            raise UserError(self._trouble(error)) from error
        finally:
            if threading.current_thread() is threading.main_thread():
                signal.signal(
                    signal.SIGTERM, before or signal.SIG_DFL
                )  # Ray's handler would end this process at once
        return self._ray

    def _trouble(self, error: Exception) -> str:
        first = first_line(error).rstrip(".")
        if self.is_local:
            return f"Ray cannot be started here ({first})."
        return (
            f"no Ray cluster can be joined at {self._address!r} ({first}); start one with `ray "
            "start --head`, or correct --address."
        )

    def close(self) -> None:
        """Leave the cluster, which ends its workers for this process; end a local cluster.

        The cluster can be joined or started again afterwards.
        """
        self._ray.shutdown()
        self.forget()


def _imported() -> Any:
    # Ray reads these when it is imported: it sends no usage statistics, and all workers of a node
    # see arrays in the same memory.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ENABLE_ZERO_COPY_TORCH_TENSORS", "1")
    try:
        import ray
    except ImportError as error:
        raise UserError(
            "the executor ray needs Ray, which cannot be imported "
            f'({error}); run pip install -e ".[cluster]".'
        ) from error
    return ray


def _probe(address: str) -> None:
    """Raise `UserError` now if no cluster answers, because Ray itself would try for minutes."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        raise UserError(f"--address takes HOST:PORT or auto, not {address!r}.")
    try:
        socket.create_connection((host.strip("[]"), int(port)), PATIENCE).close()
    except (OSError, OverflowError, ValueError) as error:
        raise UserError(
            f"no Ray cluster answers at {address!r} ({error}); start one with `ray start --head`, "
            "or correct --address."
        ) from error
