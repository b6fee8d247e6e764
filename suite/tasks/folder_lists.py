"""Assignment of a folder's images to classes and splits, by split folders or by split lists.

Only these places below the ``root`` of a data set are searched, in this order:

1. Split folders: if ``train/`` and ``test/`` both exist, they and, if it exists, ``val/`` or
   ``validation/`` contain one folder for each class. Lists are then ignored.
2. Split lists: ``train``, ``val`` (or ``validation``) and ``test``, each ``.csv`` or ``.txt``, in
   the root, else in ``splits/``, else in the only sub-folder of ``splits/`` with lists. Their
   images are in the first of ``images/``, ``data/`` and the root that exists.

A .csv list has the header ``filename,label`` (Ravi and Larochelle 2017); a file may also lie in a
folder of its label. In a .txt list a line is a class folder (Bertinetto et al. 2019), or
``CLASS/FILE`` for one image. A class folder's images lie directly in it; other files and names that
start with a dot are ignored. Names in lists must not leave the folder; links may lead anywhere.
"""

from __future__ import annotations

import csv
import io
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from suite.core.errors import UserError
from suite.tasks.base import Split

SPLITS: dict[Split, tuple[str, ...]] = {
    "train": ("train",),
    "validation": ("val", "validation"),
    "test": ("test",),
}
LISTS = (".csv", ".txt")
SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".webp"}
IMAGE_FOLDERS = ("images/", "data/", "")

is_dir, is_file = os.path.isdir, os.path.isfile  # the methods of Path may raise


class File(NamedTuple):
    """An image file: its path below the root (with ``/``), and the values that show changes."""

    path: str
    size: int
    mtime_ns: int


Labels = dict[str, list[File]]


def class_files(root: Path) -> Labels:
    """Return the images of each class, ``"train/n01532829"`` and so on, in order of file name.

    Raises:
        UserError: if there are no splits, if a list is invalid, or if a class or file is missing or
            in two places.
    """
    folders = _pick(root, ("",), is_dir)
    if "train" in folders and "test" in folders:
        return _joined(root, {split: _class_folders(root, path) for split, path in folders.items()})
    lists = _lists(root)
    base = next(folder for folder in IMAGE_FOLDERS if is_dir(root / folder))
    return _joined(root, {split: _listed(root, base, path) for split, path in lists.items()})


def safe(name: str) -> str:
    """Return a relative name; raise `ValueError` if it could leave the folder."""
    if {"", ".", ".."} & set(name.split("/")) or "\\" in name or "\0" in name or name[1:2] == ":":
        raise ValueError(f"{name!r} is not a plain name below a folder; write FOLDER/NAME")
    return name


def _joined(root: Path, splits: dict[Split, Labels]) -> Labels:
    """Return all classes under the names of their splits; refuse files that occur twice."""
    classes: Labels = {}
    split_of: dict[str, Split] = {}
    owner: dict[str, str] = {}
    for split, labels in splits.items():
        for label, files in labels.items():
            name = f"{split}/{label}"
            if label in split_of:
                raise UserError(
                    f"the class {label!r} of {str(root)!r} is in two splits, {split_of[label]} "
                    f"and {split}; leave it in one."
                )
            split_of[label] = split
            for file in files:
                if file.path in owner:
                    raise UserError(
                        f"{str(root / file.path)!r} is listed twice, in {owner[file.path]} and "
                        f"{name}; leave it in one."
                    )
                owner[file.path] = name
            # Sorting by file name before folder gives the same order for every layout.
            classes[name] = sorted(files, key=lambda f: (f.path.rpartition("/")[2], f.path))
    return classes


def _pick(folder: Path, endings: tuple[str, ...], exists: Callable) -> dict[Split, Path]:
    """Return the path in ``folder`` of each split that has one; see `SPLITS`."""
    chosen: dict[Split, Path] = {}
    for split, names in SPLITS.items():
        paths = [
            path for n in names for ending in endings if exists(path := folder / f"{n}{ending}")
        ]
        if len(paths) > 1:
            raise UserError(
                f"{str(folder)!r} has {paths[0].name} and {paths[1].name} for one split; leave one."
            )
        if paths:
            chosen[split] = paths[0]
    return chosen


def _lists(root: Path) -> dict[Split, Path]:
    """Return the list of each split; see the module for the places that are searched."""
    splits = root / "splits"
    for place in ([root], [splits], [splits / name for name in _names(splits)]):
        sets = {folder: lists for folder in place if (lists := _pick(folder, LISTS, is_file))}
        if len(sets) > 1:
            one, two, *_ = sets
            raise UserError(
                f"{str(one)!r} and {str(two)!r} both hold split lists; "
                f"put those that you want into {str(splits)!r}."
            )
        for folder, lists in sets.items():
            for needed in ("train", "test"):
                if needed not in lists:
                    raise UserError(f"{str(folder)!r} has no {needed}.csv or .txt; add it.")
            return lists
    raise UserError(
        f"{str(root)!r} has no splits; put class folders into train/, val/ and test/ there, or "
        "lists train.csv, val.csv and test.csv (filename,label) or .txt (a class folder a line) "
        "there, into splits/ or into one folder of splits/."
    )


def _class_folders(root: Path, folder: Path) -> Labels:
    labels = {
        name: _images(root, f"{folder.name}/{name}")
        for name in _names(folder)
        if is_dir(folder / name)
    }
    if not labels:
        raise UserError(f"{str(folder)!r} has no class folders; put one there for each class.")
    return labels


def _listed(root: Path, base: str, path: Path) -> Labels:
    """Return the classes of one list, whose images lie in ``base`` below the root."""
    labels: Labels = {}
    lines = _csv_lines(path) if path.suffix == ".csv" else _text_lines(path)
    for number, filename, label in lines:
        try:
            within = f"{base}{safe(label)}"
            if filename is None:
                files = _images(root, within) if is_dir(root / within) else []
            else:
                file = _file(root, base + safe(filename)) or _file(root, f"{within}/{filename}")
                files = [file] if file else []
        except ValueError as error:
            raise UserError(f"{str(path)!r}, line {number}: {error}.") from error
        if not files:
            raise UserError(
                f"{str(path)!r}, line {number}: {filename or label!r} is missing in "
                f"{str(root / base)!r}; add it, or correct the list."
            )
        labels.setdefault(label, []).extend(files)
    if not labels:
        raise UserError(f"{str(path)!r} lists no images; fill it.")
    return labels


def _csv_lines(path: Path) -> Iterator[tuple[int, str | None, str]]:
    """Yield line number, file name and label."""
    reader = csv.reader(io.StringIO(_text(path)), strict=True)
    try:
        header = next(reader, [])
        if header != ["filename", "label"]:
            raise UserError(
                f"{str(path)!r} begins with {','.join(header)!r}; begin it with 'filename,label'."
            )
        for row in reader:
            if len(row) != 2 or not all(row):
                raise UserError(
                    f"{str(path)!r}, line {reader.line_num} is {','.join(row)!r}; "
                    "write FILENAME,LABEL."
                )
            yield reader.line_num, row[0], row[1]
    except csv.Error as error:
        raise UserError(
            f"{str(path)!r}, line {reader.line_num} is not CSV ({error}); write FILENAME,LABEL."
        ) from error


def _text_lines(path: Path) -> Iterator[tuple[int, str | None, str]]:
    """Yield line number, file name (None for all images of the class) and label."""
    for number, line in enumerate(_text(path).splitlines(), start=1):
        name = line.strip()
        folder = name.rpartition("/")[0]
        if not name:
            raise UserError(f"{str(path)!r}, line {number} is empty; remove it.")
        if Path(name).suffix.lower() not in SUFFIXES:
            yield number, None, name
        elif folder:
            yield number, name, folder
        else:
            raise UserError(f"{str(path)!r}, line {number}: write CLASS/{name}, not {name!r}.")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise UserError(f"{str(path)!r} cannot be read: {reason}.") from error


def _images(root: Path, folder: str) -> list[File]:
    """Return the images directly in a class folder; there must be some."""
    names = [name for name in _names(root / folder) if Path(name).suffix.lower() in SUFFIXES]
    files = [file for name in names if (file := _file(root, f"{folder}/{name}"))]
    if not files:
        kinds = " ".join(sorted(SUFFIXES))
        raise UserError(
            f"{str(root / folder)!r} holds no images ({kinds}); add some, or remove it."
        )
    return files


def _file(root: Path, path: str) -> File | None:
    """Return a regular file, or None if there is none."""
    try:
        status = (root / path).stat()
    except (OSError, ValueError):  # an impossible name raises ValueError
        return None
    return File(path, status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None


def _names(folder: Path) -> list[str]:
    """Return a folder's names, sorted and without hidden ones; none if there is no folder."""
    try:
        return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise UserError(f"{str(folder)!r} cannot be read: {error.strerror}.") from error
