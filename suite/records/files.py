"""Files that are complete or missing: written atomically, hashed by content, never overwritten."""

from __future__ import annotations

import hashlib
import os
import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from suite.core.errors import UserError

Arrays = dict[str, np.ndarray]

_TEMPORARY = re.compile(r"\..*\.(?P<host>[^.]*)-(?P<process>\d+)\.tmp")


def arrays_sha256(arrays: Arrays) -> str:
    """Return the hash of names, types, shapes and values, which does not depend on the file."""
    total = hashlib.sha256()
    for name in sorted(arrays):
        value = np.ascontiguousarray(arrays[name])
        total.update(f"{name} {value.dtype.str} {value.shape}\n".encode())
        total.update(value.tobytes())
    return total.hexdigest()


def temporary_beside(path: Path) -> Path:
    """Return a path beside ``path`` for this process only; if it dies, `left_behind` finds it."""
    return path.with_name(f".{path.name}.{_host()}-{os.getpid()}.tmp")


def write_atomically(path: Path, content: bytes) -> None:
    """Write a complete file or none: temporary file in the same folder, fsync, rename, fsync.

    Raises:
        UserError: the folder cannot be written, or the disk is full.
    """
    temporary = temporary_beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        with suppress(OSError):  # not every file system supports it, and the file is written
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    except OSError as error:
        raise UserError(
            f"cannot write {str(path)!r}: {error.strerror or error}; name a folder that can be "
            "written with --results, or free some space."
        ) from error


def left_behind(folder: Path) -> Iterator[Path]:
    """Yield temporary files that a killed process of this machine has left."""
    if os.name != "posix":
        return  # this system has no safe way to check that a process is alive
    for path in folder.glob(".*.tmp"):
        match = _TEMPORARY.fullmatch(path.name)
        if match and match["host"] == _host() and not _alive(int(match["process"])):
            yield path


def moved_aside(path: Path, folder: str = "set-aside") -> Path:
    """Move a file into a folder beside it, under an unused name, and return its new path.

    Raises:
        UserError: the file cannot be moved.
    """
    place = path.parent / folder / path.name
    number = 1
    try:
        place.parent.mkdir(exist_ok=True)
        while place.exists():
            number += 1
            place = place.with_name(f"{path.stem}.{number}{path.suffix}")
        return path.replace(place)
    except OSError as error:
        raise UserError(
            f"cannot move {str(path)!r} to {folder!r}: {error.strerror or error}; make its folder "
            "writable."
        ) from error


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "_", socket.gethostname())[:32]


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
