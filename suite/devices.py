"""Device names -> devices that this machine has."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from suite.errors import UserError, unknown


def available() -> list[str]:
    """Return the kinds of device that this machine has, ``cpu`` first."""
    return ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def resolve(names: Sequence[str]) -> list[str]:
    """Return the device kinds that ``names`` ask for; ``all`` is every one there is.

    Raises:
        UserError: an unknown device, or one that this machine does not have.
    """
    found: list[str] = []
    for name in names:
        if name == "all":
            found += available()
        elif name not in ("cpu", "cuda"):
            raise unknown("device", name, ["all", "cpu", "cuda"])
        elif name not in available():
            raise UserError(
                f"the device {name!r} was asked for, but this machine has {', '.join(available())} "
                "only; leave --device out, or install a torch that sees your GPU."
            )
        else:
            found.append(name)
    return list(dict.fromkeys(found))
