"""Checkpoints: the state of a meta-training, from which a killed cell continues.

Each cell has one file, RESULTS/checkpoints/PROFILE/LABEL--HASH.npz, which is replaced atomically at
a fixed interval and removed when the cell's record is written. A checkpoint that is to be kept is
in RESULTS/weights/, under the hash of its training, and is not removed: another cell with the same
training then only evaluates. The file holds arrays and one JSON text, no pickles, with a checksum.
A cell that continues ends with the bits of one that never stopped. These bits depend on the machine
and the code, so a checkpoint of another processor, library version, engine or source is not used.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from suite.core.errors import UserError
from suite.records.files import Arrays, arrays_sha256, moved_aside, write_atomically

_TEXT, _CHECKSUM = "state", "sha256"


@dataclass
class Checkpoint:
    """The checkpoint of one training.

    Args:
        path: path of its file; with None nothing is written.
        identity: JSON values that decide the bits; another identity is another training.
        every: seconds of training between two writes.
        keep: whether the trained weights are kept when the record is written.
        note: function that is told why an existing file is not used.
    """

    path: Path | None = None
    identity: dict[str, Any] = field(default_factory=dict)
    every: float = 60.0
    keep: bool = False
    note: Callable[[str], None] = lambda _: None

    def __post_init__(self) -> None:
        self._last = time.monotonic()

    def due(self) -> bool:
        """Return whether it is time to write."""
        return self.path is not None and time.monotonic() - self._last >= self.every

    def save(self, state: dict[str, Any], arrays: Arrays) -> None:
        """Write a state: JSON values and arrays.

        Raises:
            UserError: the file cannot be written; the previous one still exists.
        """
        if self.path is None:
            return
        text = np.array(json.dumps({"identity": self.identity, "state": state}))
        content: dict[str, Any] = {**arrays, _TEXT: text}
        content[_CHECKSUM] = np.array(arrays_sha256(content))
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **content)
        write_atomically(self.path, buffer.getvalue())
        self._last = time.monotonic()

    def load(self) -> tuple[dict[str, Any], Arrays] | None:
        """Return the last saved state, or None; an invalid file is moved to ``set-aside/``."""
        self._last = time.monotonic()
        if self.path is None or not self.path.is_file():
            return None
        try:
            file_content = self.path.read_bytes()
        except OSError as error:
            raise UserError(
                f"the checkpoint {str(self.path)!r} cannot be read: {error.strerror or error}; "
                "make it readable, or move it away to start again."
            ) from error
        try:
            with np.load(io.BytesIO(file_content), allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            checksum = str(arrays.pop(_CHECKSUM))
            if checksum != arrays_sha256(arrays):
                raise ValueError("its checksum is not that of its contents")
            content = json.loads(str(arrays.pop(_TEXT)))
        except Exception as error:  # a damaged zip can raise almost any error
            self._set_aside(f"it is damaged ({error})")
            return None
        if other := self._other(content["identity"]):
            self._set_aside(f"it is of another {', '.join(other)}")
            return None
        return content["state"], arrays

    def _other(self, identity: dict[str, Any]) -> list[str]:
        """Return the names of the values that differ from this run's identity."""
        names = sorted(identity.keys() | self.identity.keys())
        return [name for name in names if identity.get(name) != self.identity.get(name)]

    def remove(self) -> None:
        """Remove the file, because the record is written, unless it is to be kept."""
        if self.path is not None and not self.keep:
            with suppress(OSError):  # otherwise the next run removes it
                self.path.unlink(missing_ok=True)

    def _set_aside(self, reason: str) -> None:
        assert self.path is not None
        place = moved_aside(self.path)
        self.note(
            f"training starts again: the checkpoint, now {str(place)!r}, cannot be used; {reason}"
        )
