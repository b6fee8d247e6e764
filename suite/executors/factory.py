"""The user's words for an executor -> the executor."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import torch

from suite.core.errors import UserError
from suite.executors.base import Executor
from suite.executors.local import Local
from suite.executors.ray import Remote
from suite.executors.ray_cluster import Cluster
from suite.executors.serial import Serial
from suite.executors.slots import core_numbers, divide


def cluster(name: str | None, address: str | None) -> Cluster | None:
    """Return the Ray cluster that the user's words mean, which may have devices that this machine
    has not; None where they mean this machine.

    Args:
        name: of `NAMES`; by default ``ray`` where there is an address.
        address: of a cluster that runs.

    Raises:
        UserError: words that do not go together, no Ray, or no cluster.
    """
    if address is not None and name not in (None, "ray"):
        raise UserError(f"--address is of the executor ray; leave out --executor {name}.")
    return Cluster(address) if address is not None or name == "ray" else None


def choose(
    name: str | None,
    kinds: Collection[str],
    workers: int | None,
    plugins: Sequence[Path],
    cluster: Cluster | None = None,
    cores: int = 1,
) -> Executor:
    """Return an executor for cells on these kinds of device.

    Args:
        name: of `NAMES`; by default ``local`` where there are workers or several CUDA devices.
        kinds: of device, resolved.
        workers: CPU cells at a time, if the user says.
        plugins: files that register components.
        cluster: that the cells are for.
        cores: that a CPU cell takes there.

    Raises:
        UserError: words that do not go together, or more workers than cores.
    """
    if workers and cluster:
        raise UserError("--workers is of the executor local; Ray takes all cores of the cluster.")
    if cluster:
        return Remote(cluster, plugins, cores)
    accelerators = torch.cuda.device_count() if "cuda" in kinds else 0
    if workers and name == "serial":
        raise UserError("--workers is of the executor local; leave out --executor serial.")
    if workers and "cpu" not in kinds:
        raise UserError("--workers shares out CPU cells, and no cell is for the CPU; leave it out.")
    if name == "local" or (name is None and (workers or accelerators > 1)):
        return Local(divide(kinds, workers or 1, core_numbers(), accelerators), plugins)
    return Serial()
