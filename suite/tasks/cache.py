"""A cache of derived arrays in the user's cache folder: checked, atomic, and safe to delete.

Arrays are stored as .npz without pickle, under the hash of all their inputs. A file that is
incomplete, foreign or outdated is rebuilt; if the folder cannot be written, nothing is cached.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

CachedArrays = dict[str, np.ndarray]

_CONTENT = "content_sha256"


def folder() -> Path:
    """Return the cache folder: ``$FEWSHOT_SUITE_CACHE``, or ``fewshot-suite`` in the user's."""
    if chosen := os.environ.get("FEWSHOT_SUITE_CACHE"):
        return Path(chosen)
    if user := os.environ.get("XDG_CACHE_HOME"):
        return Path(user) / "fewshot-suite"
    return Path(os.path.expanduser("~")) / ".cache" / "fewshot-suite"  # noqa: PTH111 (never raises)


def cached(name: str, key: Mapping[str, Any], build: Callable[[], CachedArrays]) -> CachedArrays:
    """Return ``build()``, or its result from an earlier call with an equal ``key`` (JSON)."""
    identity = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    path = folder() / f"{name}-{identity[:24]}.npz"
    arrays = _read(path, identity)
    if arrays is None:
        arrays = build()
        with suppress(OSError):
            _write(path, identity, arrays)
    return arrays


def content_sha256(identity: str, arrays: CachedArrays) -> str:
    """Return the hash of the arrays' names, types, shapes and bytes, bound to the key's hash."""
    digest = hashlib.sha256(identity.encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(json.dumps([name, array.dtype.str, array.shape]).encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _read(path: Path, identity: str) -> CachedArrays | None:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        whole = str(arrays.pop(_CONTENT)) == content_sha256(identity, arrays)
    except Exception:  # a damaged zip can raise almost any error; then we build again
        return None
    return arrays if whole else None


def _write(path: Path, identity: str, arrays: CachedArrays) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Each writer has its own temporary file; if two build at the same time, the last one wins.
    handle, name = tempfile.mkstemp(prefix=path.stem, suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            checksum = np.array(content_sha256(identity, arrays))
            content: dict[str, Any] = {**arrays, _CONTENT: checksum}
            np.savez(file, **content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise
