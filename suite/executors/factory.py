"""Make the executor that the user's options describe."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from suite.core.errors import UserError, unknown
from suite.executors.base import Executor
from suite.executors.interleaved import LANES, Interleaved
from suite.executors.local import Local
from suite.executors.ray import Ray
from suite.executors.ray_cluster import Cluster
from suite.executors.serial import Serial
from suite.executors.slots import core_numbers, divide


class ExecutorOptions(NamedTuple):
    """The user's options about executors, and the devices of the cells."""

    kinds: Collection[str]
    """Resolved kinds of device."""
    workers: int | None = None
    """Number of CPU cells at a time, if the user gives it."""
    lanes: int | None = None
    """Number of CUDA cells at a time on one device, if the user gives it."""
    cluster: Cluster | None = None
    """Cluster that computes the cells, if the user asks for one."""
    plugins: Sequence[Path] = ()
    """Files that register components."""
    cores: int = 1
    """Number of cores that a CPU cell takes on the cluster."""

    @property
    def accelerators(self) -> int:
        """Number of CUDA devices that cells may use."""
        return torch.cuda.device_count() if "cuda" in self.kinds else 0


def cluster(name: str | None, address: str | None) -> Cluster | None:
    """Return the Ray cluster that the user's options describe; None if they mean this machine.

    The cluster may have devices that this machine does not have.

    Args:
        name: name of the executor; by default ``ray`` if there is an address.
        address: address of a running cluster.

    Raises:
        UserError: options that contradict each other, no Ray, or no cluster.
    """
    if address is not None and name not in (None, "ray"):
        raise UserError(f"--address works only with the executor ray; leave out --executor {name}.")
    return Cluster(address) if address is not None or name == "ray" else None


def make_executor(name: str | None, options: ExecutorOptions) -> Executor:
    """Return an executor for cells on these kinds of device.

    Args:
        name: name of the executor. By default it is the one that an option is for; without such an
            option it is ``local`` if there are several CUDA devices, and ``serial`` otherwise.
        options: the user's options.

    Raises:
        UserError: options that contradict each other, or more workers than cores.
    """
    given = [
        (flag, executor)
        for flag, executor, value in (
            ("--address", "ray", options.cluster),
            ("--lanes", "interleaved", options.lanes),
            ("--workers", "local", options.workers),
        )
        if value
    ]
    if name is None:
        default = "local" if options.accelerators > 1 else "serial"
        choice, name = given[0] if given else ("", default)
    else:
        choice = f"--executor {name}"
    if name not in _FACTORIES:
        raise unknown("executor", name, NAMES)
    for flag, executor in given:
        if executor != name:
            raise UserError(f"{flag} works only with the executor {executor}; leave out {choice}.")
    return _FACTORIES[name](options)


def _serial(_: ExecutorOptions) -> Serial:
    return Serial()


def _interleaved(options: ExecutorOptions) -> Interleaved:
    if set(options.kinds) != {"cuda"}:
        raise UserError(
            "--lanes and the executor interleaved are only for cells on CUDA; use --device cuda."
        )
    return Interleaved(options.lanes or LANES)


def _local(options: ExecutorOptions) -> Local:
    if options.workers and "cpu" not in options.kinds:
        raise UserError(
            "--workers divides the cores among CPU cells, and no cell is for the CPU: leave it out."
        )
    slots = divide(options.kinds, options.workers or 1, core_numbers(), options.accelerators)
    return Local(slots, options.plugins)


def _ray(options: ExecutorOptions) -> Ray:
    return Ray(options.cluster or Cluster(), options.plugins, options.cores)


_FACTORIES: dict[str, Callable[[ExecutorOptions], Executor]] = {
    "serial": _serial,
    "interleaved": _interleaved,
    "local": _local,
    "ray": _ray,
}
#: Names of the executors, as the command line takes them.
NAMES = tuple(_FACTORIES)
