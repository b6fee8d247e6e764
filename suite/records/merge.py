"""Merge results folders: complete records are copied, and none is ever replaced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from suite.core.errors import UserError
from suite.records.schema import Record
from suite.records.store import Store, file_stem


@dataclass
class Merged:
    """Result of a merge."""

    copied: int = 0
    existing: int = 0
    """Number of records whose results existed already."""
    problems: list[str] = field(default_factory=list)
    """Files that were not copied, each with the reason."""


def merge(into: Store, folders: Sequence[Path]) -> Merged:
    """Copy the records of a profile, with their arrays, from other results folders into a store.

    Nothing is copied if two records contradict each other. Existing records are kept; a second
    merge changes nothing.

    Args:
        into: store to copy to.
        folders: results folders to copy from.

    Raises:
        UserError: a folder has no records of the profile, or two records of one cell differ in
            their results or in their cells' descriptions; the message names both.
    """
    into.check_writable()
    merged, todo = Merged(), []
    with into.lock_folder():
        into.tidy()
        seen = {r.cell.label: (into, r) for r in _complete(into, Merged())}
        for folder in folders:
            store = Store(folder, into.profile)
            if not store.folder.is_dir():
                raise UserError(
                    f"there are no records of profile {into.profile!r} in {str(folder)!r}; name "
                    "results folders, as in --results."
                )
            for record in _complete(store, merged):
                old, first = seen.setdefault(record.cell.label, (store, record))
                if first is record:
                    todo.append((store, record))
                    continue
                _same(old, first, store, record)
                merged.existing += 1
        for store, record in todo:
            _copy(store, record, into, merged)
    return merged


def _complete(store: Store, merged: Merged) -> list[Record]:
    """Return the records of a store whose arrays are also complete."""
    records = []
    for record in store.records():
        try:
            if record.results is not None:
                store.arrays(record)
        except UserError as error:
            merged.problems.append(str(error))
        else:
            records.append(record)
    merged.problems += [f"{store.folder}: {problem}" for problem in store.problems]
    return records


def _same(old: Store, first: Record, new: Store, second: Record) -> None:
    """Raise `UserError` if two records of one name have different cells or results."""
    if first.cell.bits_sha256() != second.cell.bits_sha256():
        problem = "have one name but are of different cells; merge folders of one matrix only"
    elif (first.status, first.result_sha256) != (second.status, second.result_sha256):
        problem = "are of one cell but have different results; move one of them out of its folder"
    else:
        return
    raise UserError(f"{_place(old, first)} and {_place(new, second)} {problem}.")


def _place(store: Store, record: Record) -> str:
    path = store.folder / f"{file_stem(record.cell)}.json"
    return f"{str(path)!r} ({record.provenance.processor})"


def _copy(store: Store, record: Record, into: Store, merged: Merged) -> None:
    with into.lock(record.cell) as held:
        if not held:
            merged.problems.append(
                f"{_place(store, record)} is not copied: a run computes its cell in "
                f"{str(into.results)!r}"
            )
            return
        into.make_room(record.cell)  # an incomplete record may be in the way
        into.adopt(store, record)
        merged.copied += 1
