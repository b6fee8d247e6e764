"""Make the executor that the user's options describe."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import torch

from suite.core.errors import UserError, unknown
from suite.executors import NAMES
from suite.executors.base import Executor
from suite.executors.interleaved import LANES, Interleaved
from suite.executors.local import Local
from suite.executors.ray import Ray
from suite.executors.ray_cluster import Cluster
from suite.executors.serial import Serial
from suite.executors.slots import core_numbers, divide


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


def make_executor(
    name: str | None,
    kinds: Collection[str],
    workers: int | None,
    plugins: Sequence[Path],
    cluster: Cluster | None = None,
    cores: int = 1,
    lanes: int | None = None,
) -> Executor:
    """Return an executor for cells on these kinds of device.

    Args:
        name: name of the executor; by default ``interleaved`` with lanes, and ``local`` with
            workers or several CUDA devices.
        kinds: resolved kinds of device.
        workers: number of CPU cells at a time, if the user gives it.
        plugins: files that register components.
        cluster: cluster that computes the cells, if any.
        cores: number of cores that a CPU cell takes on the cluster.
        lanes: number of CUDA cells at a time on one device, if the user gives it.

    Raises:
        UserError: options that contradict each other, or more workers than cores.
    """
    if lanes and (cluster or name not in (None, "interleaved")):
        raise UserError(
            "--lanes works only with the executor interleaved; leave out "
            f"{'--address' if name is None else f'--executor {name}'}."
        )
    if lanes or name == "interleaved":
        if workers or set(kinds) != {"cuda"}:
            raise UserError(
                "--lanes and the executor interleaved are only for cells on CUDA; use --device "
                "cuda, without --workers."
            )
        return Interleaved(lanes or LANES)
    if workers and cluster:
        raise UserError(
            "--workers works only with the executor local; Ray takes all cores of the cluster."
        )
    if cluster:
        return Ray(cluster, plugins, cores)
    accelerators = torch.cuda.device_count() if "cuda" in kinds else 0
    if workers and name == "serial":
        raise UserError(
            "--workers works only with the executor local; leave out --executor serial."
        )
    if workers and "cpu" not in kinds:
        raise UserError(
            "--workers divides the cores among CPU cells, and no cell is for the CPU: leave it out."
        )
    if name is None:
        name = "local" if workers or accelerators > 1 else "serial"
    if name == "local":
        return Local(divide(kinds, workers or 1, core_numbers(), accelerators), plugins)
    if name != "serial":
        raise unknown("executor", name, NAMES)
    return Serial()
