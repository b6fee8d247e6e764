"""Tables, figures and a page, made only from records."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from tabulate import tabulate

from suite.config.presets import Preset
from suite.core.errors import UserError
from suite.records.files import write_atomically
from suite.records.store import Store
from suite.report.cite import citation
from suite.report.collect import collect
from suite.report.figures import figures as planned
from suite.report.page import page
from suite.report.render import comma_separated, latex, markdown
from suite.report.tables import make_tables
from suite.report.tables.comparison import brief, rows


class Written(NamedTuple):
    """A report that was written."""

    files: list[Path]
    beside: str
    """Table of results and published numbers, for a terminal; '' if there is none."""


def write_report(
    results: Path, profile: str, presets: Sequence[Preset] = (), *, figures: bool = True
) -> Written:
    """Write the report of a profile's records.

    RESULTS/tables/PROFILE/ gets each table as .md, .tex and .csv, and the page ``report.md``;
    RESULTS/figures/PROFILE/ gets each figure as .pdf and .png. The same records give the same
    tables, byte for byte. Other files of these kinds in the two folders are deleted: they show rows
    that are no part of the records now.

    Args:
        results: results folder.
        profile: name of the profile.
        presets: settings that the profile would run; their missing results are reported.
        figures: whether to draw figures; the page links to them in any case.

    Raises:
        UserError: if there are no records, if they must not be combined in one table, or if the
            files cannot be written.
    """
    collection = collect(Store(Path(results), profile))
    beside = rows(collection, presets)
    found, pictures = make_tables(collection, beside), planned(collection, beside)
    folder = Path(results) / "tables" / profile
    files: dict[Path, bytes] = {}
    for table in found:
        files[folder / f"{table.name}.md"] = markdown(table).encode()
        files[folder / f"{table.name}.tex"] = latex(table).encode()
        files[folder / f"{table.name}.csv"] = comma_separated(table).encode()
    shown = [(picture.name, picture.caption) for picture in pictures]
    files[folder / "report.md"] = page(collection, found, shown).encode()
    for path, content in files.items():
        write_atomically(path, content)
    _delete_others(folder, {path.stem for path in files}, (".md", ".tex", ".csv"))
    drawn = Path(results) / "figures" / profile
    for picture in pictures if figures else ():
        for kind, content in picture.files().items():
            path = drawn / f"{picture.name}.{kind}"
            write_atomically(path, content)
            files[path] = content
    _delete_others(drawn, {picture.name for picture in pictures}, (".pdf", ".png"))
    headers, lines = brief(beside)
    return Written(list(files), tabulate(lines, headers, disable_numparse=True) if lines else "")


def _delete_others(folder: Path, names: Collection[str], kinds: Collection[str]) -> None:
    """Delete the files of these kinds whose names are not among ``names``."""
    for path in folder.glob("*"):
        if path.suffix in kinds and path.stem not in names:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise UserError(
                    f"cannot delete the old file {str(path)!r}: {error.strerror or error}; "
                    "make its folder writable."
                ) from error


def cited(results: Path, profile: str, presets: Sequence[Preset] = ()) -> str:
    """Return the citation of a profile's records, or of the suite if there are no records.

    Args:
        results: results folder.
        profile: name of the profile.
        presets: settings that the profile would run, as in `write_report`.

    Raises:
        UserError: if the records must not be combined in one table.
    """
    store = Store(Path(results), profile)
    if not store.records():
        return citation(None)
    collection = collect(store)
    return citation(collection, rows(collection, presets))
