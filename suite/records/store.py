"""The folder of records: written atomically, read with checks, named by readable label and hash.

RESULTS/records/PROFILE/LABEL--HASH.json   the record
RESULTS/records/PROFILE/LABEL--HASH.npz    its arrays
"""

from __future__ import annotations

import glob
import hashlib
import io
import json
import os
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from suite.config import Cell
from suite.errors import UserError
from suite.records.schema import Record

Arrays = dict[str, np.ndarray]


def arrays_sha256(arrays: Arrays) -> str:
    """Return the hash of names, types, shapes and values, whatever file they are in."""
    total = hashlib.sha256()
    for name in sorted(arrays):
        value = np.ascontiguousarray(arrays[name])
        total.update(f"{name} {value.dtype.str} {value.shape}\n".encode())
        total.update(value.tobytes())
    return total.hexdigest()


def write_atomically(path: Path, content: bytes) -> None:
    """Write a whole file or none: temporary file in the same folder, fsync, rename, fsync.

    Raises:
        UserError: the folder cannot be written, or the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
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


def file_stem(cell: Cell) -> str:
    """Return the name, without ending, of a cell's files."""
    return f"{re.sub(r'[^A-Za-z0-9.,=+_-]', '_', cell.label)}--{cell.sha256()[:16]}"


@dataclass
class Store:
    """The records of one profile in one results folder."""

    results: Path
    profile: str
    problems: list[str] = field(default_factory=list)
    """Files that are no whole record, each with the reason; they count as not there."""

    @property
    def folder(self) -> Path:
        """Where the records are."""
        return self.results / "records" / self.profile

    def check_writable(self) -> None:
        """Raise `UserError` now, not after the first cell, where nothing can be written."""
        probe = self.folder / ".writable"
        write_atomically(probe, b"")
        probe.unlink(missing_ok=True)

    def set_aside(self, cells: Sequence[Cell]) -> list[str]:
        """Move records that carry a cell's name but another description to ``superseded/``.

        An edited profile makes other cells under the old names, and the two must not stand in one
        table. Nothing is deleted.
        """
        try:
            return self._set_aside(cells)
        except OSError as error:
            raise UserError(
                f"cannot move records in {str(self.folder)!r}: {error.strerror or error}; make the "
                "folder writable."
            ) from error

    def _set_aside(self, cells: Sequence[Cell]) -> list[str]:
        moved = []
        for cell in cells:
            stem = file_stem(cell)
            for kind in (".npz", ".json"):  # a record of this very cell comes back
                old = self.folder / "superseded" / f"{stem}{kind}"
                if old.exists():
                    old.replace(self.folder / old.name)
            name = stem.rpartition("--")[0]
            for path in sorted(self.folder.glob(f"{glob.escape(name)}--*.json")):
                if path.stem != stem and path.stem.rpartition("--")[0] == name:
                    target = self.folder / "superseded"
                    target.mkdir(exist_ok=True)
                    for file in (path.with_suffix(".npz"), path):
                        if file.exists():
                            file.replace(target / file.name)
                    moved.append(path.name)
        return moved

    def write(self, record: Record, arrays: Arrays) -> Path:
        """Write a record and its arrays: the arrays first, so a record is never without them."""
        stem = self.folder / file_stem(record.cell)
        if record.results is not None:
            buffer = io.BytesIO()
            np.savez_compressed(buffer, allow_pickle=False, **arrays)
            write_atomically(stem.parent / f"{stem.name}.npz", buffer.getvalue())
        path = stem.parent / f"{stem.name}.json"
        text = json.dumps(record.model_dump(mode="json"), indent=1, allow_nan=False)
        write_atomically(path, (text + "\n").encode())
        return path

    def find(self, cell: Cell) -> Record | None:
        """Return the whole record of a cell, or None."""
        path = self.folder / f"{file_stem(cell)}.json"
        return self._read(path) if path.is_file() else None

    def records(self) -> list[Record]:
        """Return every whole record, in the order of their file names."""
        found = [self._read(path) for path in sorted(self.folder.glob("*.json"))]
        return [record for record in found if record is not None]

    def arrays(self, record: Record) -> Arrays:
        """Return a record's arrays, checked against the hash in the record.

        Raises:
            UserError: the file is missing, damaged or not the record's.
        """
        path = self.folder / f"{file_stem(record.cell)}.npz"
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
        except (OSError, ValueError, zipfile.BadZipFile, EOFError, KeyError) as error:
            raise UserError(
                f"the arrays {str(path)!r} cannot be read ({error}); remove the record beside "
                "them and run again."
            ) from error
        if record.results is None or arrays_sha256(arrays) != record.results.arrays_sha256:
            raise UserError(
                f"the arrays {str(path)!r} are not those of their record; remove both and run "
                "again."
            )
        return arrays

    def _read(self, path: Path) -> Record | None:
        try:
            record = Record.model_validate_json(path.read_bytes()).checked()
            if path.stem != file_stem(record.cell):
                raise ValueError("its file name is not that of its cell")
            if record.results is not None and not path.with_suffix(".npz").is_file():
                raise ValueError("its arrays are missing")
        except (ValidationError, ValueError, OSError) as error:
            reason = str(error).splitlines()[0]
            problem = f"{path.name} is no whole record ({reason})"
            if problem not in self.problems:
                self.problems.append(problem)
            return None
        return record
