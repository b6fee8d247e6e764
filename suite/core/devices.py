"""Map device names to devices that this machine has."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from suite.core.errors import UserError, unknown


def available() -> list[str]:
    """Return the kinds of device that this machine has, ``cpu`` first."""
    return ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def resolve(names: Sequence[str], cluster: Sequence[str] | None = None) -> list[str]:
    """Return the kinds of device that ``names`` ask for; ``all`` means every available kind.

    Args:
        names: names that the user gave.
        cluster: kinds that a cluster has, if cells run on one and not on this machine.

    Raises:
        UserError: a device is unknown or not available.
    """
    kinds = available() if cluster is None else cluster
    chosen: list[str] = []
    for name in names:
        if name == "all":
            chosen += kinds
        elif name not in ("cpu", "cuda"):
            raise unknown("device", name, ["all", "cpu", "cuda"])
        elif name not in kinds and cluster is not None:
            raise UserError(
                f"the device {name!r} was asked for, but the Ray cluster has {', '.join(kinds)} "
                "only; leave --device out, or add a node with a GPU."
            )
        elif name not in kinds:
            raise UserError(
                f"the device {name!r} was asked for, but this machine has {', '.join(kinds)} "
                "only; leave --device out, or install a torch that sees your GPU."
            )
        else:
            chosen.append(name)
    return list(dict.fromkeys(chosen))
