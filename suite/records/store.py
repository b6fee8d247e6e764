"""The folder of records: written atomically, read with checks, named by readable label and hash.

RESULTS/records/PROFILE/LABEL--HASH.json   the record
RESULTS/records/PROFILE/LABEL--HASH.npz    its arrays
RESULTS/checkpoints/PROFILE/...            states from which unfinished cells continue
RESULTS/weights/TRAINING.npz               the same for trainings that are to be kept and reused
RESULTS/locks/PROFILE/...                  held by the run that computes a cell, until it ends
"""

from __future__ import annotations

import glob
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from suite.config.cell import Cell, digest, newer_parts
from suite.core.errors import UserError, first_line
from suite.records.files import (
    Arrays,
    arrays_sha256,
    left_behind,
    moved_aside,
    write_atomically,
)
from suite.records.schema import Record

LONGEST_LABEL = 160  # the whole file name may have 255 characters, with hash and ending


def file_stem(cell: Cell) -> str:
    """Return the name, without ending, of a cell's files."""
    return f"{_file_label(cell.label)}--{cell.sha256()[:16]}"


def _file_label(label: str) -> str:
    simple = label.replace("[", "_").replace("]", "_")
    plain = re.sub(r"[^A-Za-z0-9.,=+_-]", "_", simple)[:LONGEST_LABEL]
    # Different labels must give different file names.
    return plain if plain == simple else f"{plain}--{digest(label)[:8]}"


def _acquired(lock: FileLock, seconds: float) -> bool:
    """Take a lock and return whether it is held; wait at most ``seconds`` (-1: without limit)."""
    path = Path(lock.lock_file)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=seconds)
    except Timeout:
        return False
    except (OSError, NotImplementedError) as error:
        raise UserError(
            f"cannot lock {str(path)!r} ({error}); with --results, name a folder that can be "
            "written, on a file system with locks."
        ) from error
    return True


@dataclass
class Store:
    """The records of one profile in one results folder."""

    results: Path
    profile: str
    problems: list[str] = field(default_factory=list)
    """Invalid or incomplete record files, each with the reason; they count as missing."""

    @property
    def folder(self) -> Path:
        """Folder of the records."""
        return self.results / "records" / self.profile

    def check_writable(self) -> None:
        """Raise `UserError` now, not after the first cell, if the folder cannot be written."""
        probe = self.folder / ".writable"
        write_atomically(probe, b"")
        with suppress(OSError):
            probe.unlink(missing_ok=True)

    def checkpoint(self, cell: Cell, keep: bool = False) -> Path:
        """Return the path of the checkpoint of a cell's training.

        With ``keep``, all cells that differ only in their other tests have the same path.
        """
        if keep:
            return self.results / "weights" / f"{cell.curve_sha256()[:32]}.npz"
        return self.results / "checkpoints" / self.profile / f"{file_stem(cell)}.npz"

    @contextmanager
    def lock(self, cell: Cell) -> Iterator[bool]:
        """Lock a cell while the block runs; yield False if another run holds it.

        The system releases the lock when this process ends, even if it is killed.
        """
        lock = self._file_lock(_file_label(cell.label))
        held = _acquired(lock, 0)
        try:
            yield held
        finally:
            if held:
                lock.release()

    @contextmanager
    def lock_folder(self) -> Iterator[None]:
        """Prevent other runs from moving files or writing reports while the block runs."""
        lock = self._file_lock("folder")
        _acquired(lock, -1)
        try:
            yield
        finally:
            lock.release()

    def _file_lock(self, name: str) -> FileLock:
        return FileLock(self.results / "locks" / self.profile / f"{name}.lock")

    def tidy(self) -> None:
        """Remove the temporary files that killed processes have left."""
        kinds = ("records", "checkpoints", "logs", "tables", "figures")
        folders = [self.results / kind / self.profile for kind in kinds]
        for folder in [*folders, self.results / "weights"]:
            for path in left_behind(folder):
                with suppress(OSError):
                    path.unlink(missing_ok=True)

    def make_room(self, cell: Cell) -> list[Path]:
        """Move invalid record files of a cell to ``set-aside/``, and return their new paths."""
        paths = [self.folder / f"{file_stem(cell)}{kind}" for kind in (".json", ".npz")]
        return [moved_aside(path) for path in paths if path.exists()]

    def set_aside(self, cells: Sequence[Cell]) -> list[str]:
        """Move records with a cell's name but another description to ``superseded/``.

        An edited profile makes different cells with the old names, and old and new cells must not
        appear in one table. Records that used an older version of a part are moved whether their
        cells are among ``cells`` or not. Nothing is deleted.

        Returns:
            The names of the moved records, each with the parts that are newer now.
        """
        by_label: dict[str, list[Path]] = {}
        moved = []
        for path in sorted(self.folder.glob("*.json")):
            record = self._read(path)
            if record is not None and (newer := newer_parts(record.cell)):
                _supersede(path)
                moved.append(f"{path.name} ({', '.join(newer)})")
            else:
                by_label.setdefault(path.stem.rpartition("--")[0], []).append(path)
        for cell in cells:
            stem = file_stem(cell)
            old = self.folder / "superseded" / f"{stem}.json"
            if old.exists() and not (self.folder / old.name).exists():
                for path in (old.with_suffix(".npz"), old):  # this cell's own record comes back
                    if path.exists():
                        moved_aside(path, "..")
            for path in by_label.get(_file_label(cell.label), []):
                if path.stem != stem and not self._alike(path, cell):
                    _supersede(path)
                    moved.append(path.name)
        return moved

    def _alike(self, path: Path, cell: Cell) -> bool:
        """Return whether a record is the cell's, computed by any number of processes."""
        record = self._read(path)
        return record is not None and record.cell.bits_sha256() == cell.bits_sha256()

    def write(self, record: Record, arrays: Arrays) -> Path:
        """Write a record and its arrays; the arrays first, so a record is never without them."""
        stem = self.folder / file_stem(record.cell)
        if record.results is not None:
            buffer = io.BytesIO()
            np.savez_compressed(buffer, allow_pickle=False, **arrays)
            write_atomically(stem.parent / f"{stem.name}.npz", buffer.getvalue())
        path = stem.parent / f"{stem.name}.json"
        write_atomically(path, record.to_json())
        return path

    def adopt(self, other: Store, record: Record) -> None:
        """Copy the files of a complete record of another store unchanged, the arrays first."""
        stem = other.folder / file_stem(record.cell)
        for path in (stem.parent / f"{stem.name}{kind}" for kind in (".npz", ".json")):
            if path.exists():  # a diverged cell has no arrays
                write_atomically(self.folder / path.name, path.read_bytes())

    def find(self, cell: Cell) -> Record | None:
        """Return the complete record of a cell, with its arrays on the disk, or None.

        The number of processes changes no bit, so a record computed by another number is valid.
        """
        path = self.folder / f"{file_stem(cell)}.json"
        if not path.is_file():
            label = glob.escape(_file_label(cell.label))
            others = sorted(self.folder.glob(f"{label}--{16 * '[0-9a-f]'}.json"))
            path = next((other for other in others if self._alike(other, cell)), path)
        record = self._read(path) if path.is_file() else None
        if record is not None and record.results is not None:
            try:
                self.arrays(record)
            except UserError as error:
                self._problem(f"{path.name}: {error}")
                return None
        return record

    def records(self) -> list[Record]:
        """Return every complete record, in the order of the file names."""
        paths = sorted(self.folder.glob("*.json"))
        return [record for path in paths if (record := self._read(path)) is not None]

    def arrays(self, record: Record) -> Arrays:
        """Return a record's arrays, checked against the hash in the record.

        Raises:
            UserError: the file is missing, is damaged or belongs to another record.
        """
        path = self.folder / f"{file_stem(record.cell)}.npz"
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
        except Exception as error:  # a damaged zip can raise almost any error
            raise UserError(
                f"the arrays {str(path)!r} cannot be read ({error}); run the profile again, which "
                "sets them aside and computes the cell again."
            ) from error
        if record.results is None or arrays_sha256(arrays) != record.results.arrays_sha256:
            raise UserError(
                f"the arrays {str(path)!r} are not those of their record; run the profile again, "
                "which sets both aside and computes the cell again."
            )
        return arrays

    def _read(self, path: Path) -> Record | None:
        try:
            record = Record.from_json(path.read_bytes())
            if path.stem != file_stem(record.cell):
                raise ValueError("its file name is not that of its cell")
            if record.results is not None and not path.with_suffix(".npz").is_file():
                raise ValueError("its arrays are missing")
        except (ValueError, OSError, RecursionError, MemoryError) as error:
            self._problem(f"{path.name} is not a valid record ({first_line(error)})")
            return None
        return record

    def _problem(self, text: str) -> None:
        if text not in self.problems:
            self.problems.append(text)


def _supersede(path: Path) -> None:
    """Move a record and its arrays to ``superseded/``."""
    for file in (path.with_suffix(".npz"), path):
        if file.exists():
            moved_aside(file, "superseded")
