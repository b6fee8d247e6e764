"""The folder of records: written atomically, read with checks, named by readable label and hash.

RESULTS/records/PROFILE/LABEL--HASH.json   the record
RESULTS/records/PROFILE/LABEL--HASH.npz    its arrays
RESULTS/checkpoints/PROFILE/...            where cells that are not finished go on
RESULTS/locks/PROFILE/...                  held by the run that computes a cell, as long as it lives
"""

from __future__ import annotations

import glob
import io
import re
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from suite.config import Cell
from suite.errors import UserError
from suite.records.files import (
    Arrays,
    arrays_sha256,
    left_behind,
    moved_aside,
    write_atomically,
)
from suite.records.schema import Record

LONGEST_LABEL = 160  # of a file's name, which may have 255 with all that comes before and after


def file_stem(cell: Cell) -> str:
    """Return the name, without ending, of a cell's files."""
    label = re.sub(r"[^A-Za-z0-9.,=+_-]", "_", cell.label)[:LONGEST_LABEL]
    return f"{label}--{cell.sha256()[:16]}"


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

    def checkpoint(self, cell: Cell) -> Path:
        """Return where the checkpoint of a cell is kept."""
        return self.checkpoint_folder / f"{file_stem(cell)}.npz"

    @contextmanager
    def claim(self, cell: Cell) -> Iterator[bool]:
        """Hold a cell while the block runs; give False where another run holds it.

        The system lets go of it when this process ends, however it ends.
        """
        with self._lock(file_stem(cell), wait=False) as mine:
            yield mine

    @contextmanager
    def to_itself(self) -> Iterator[None]:
        """Keep other runs from moving files or writing reports while the block runs."""
        with self._lock("folder", wait=True):
            yield

    @contextmanager
    def _lock(self, name: str, wait: bool) -> Iterator[bool]:
        path = self.results / "locks" / self.profile / f"{name}.lock"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path)
            try:
                lock.acquire(timeout=-1 if wait else 0)
            except Timeout:
                yield False
                return
        except OSError as error:
            raise UserError(
                f"cannot lock {str(path)!r}: {error.strerror or error}; name a folder that can be "
                "written with --results."
            ) from error
        try:
            yield True
        finally:
            lock.release()

    def tidy(self) -> None:
        """Remove the halves of files that killed processes left behind."""
        for folder in (self.folder, self.checkpoint_folder):
            for path in left_behind(folder):
                path.unlink(missing_ok=True)

    @property
    def checkpoint_folder(self) -> Path:
        """Where the checkpoints are."""
        return self.results / "checkpoints" / self.profile

    def make_room(self, cell: Cell) -> list[str]:
        """Move what has a cell's name and is no whole record to ``damaged/``; return the names."""
        moved = []
        for kind in (".json", ".npz"):
            path = self.folder / f"{file_stem(cell)}{kind}"
            if path.exists():
                moved.append(moved_aside(path).name)
        return moved

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
        write_atomically(path, record.to_json())
        return path

    def find(self, cell: Cell) -> Record | None:
        """Return the whole record of a cell, with its arrays on the disk, or None."""
        path = self.folder / f"{file_stem(cell)}.json"
        record = self._read(path) if path.is_file() else None
        if record is not None and record.results is not None:
            try:
                self.arrays(record)
            except UserError as error:
                self._problem(f"{path.name}: {error}")
                return None
        return record

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
            record = Record.from_json(path.read_bytes())
            if path.stem != file_stem(record.cell):
                raise ValueError("its file name is not that of its cell")
            if record.results is not None and not path.with_suffix(".npz").is_file():
                raise ValueError("its arrays are missing")
        except (ValueError, OSError, RecursionError) as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            self._problem(f"{path.name} is no whole record ({reason})")
            return None
        return record

    def _problem(self, text: str) -> None:
        if text not in self.problems:
            self.problems.append(text)
