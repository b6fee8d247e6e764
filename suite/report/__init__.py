"""Tables, figures and a page, made from records alone."""

from __future__ import annotations

from pathlib import Path

from tabulate import tabulate

from suite import protocols
from suite.published.compare import compare
from suite.records.files import write_atomically
from suite.records.store import Store
from suite.report.cite import citation
from suite.report.collect import collect
from suite.report.comparison import brief, rows
from suite.report.figures import figures as planned
from suite.report.page import page
from suite.report.render import comma_separated, latex, markdown
from suite.report.tables import tables


def write_report(results: Path, profile: str, *, figures: bool = True) -> list[Path]:
    """Write the report of a profile's records and return its files.

    RESULTS/tables/PROFILE/ gets each table as .md, .tex and .csv, and the page ``report.md``;
    RESULTS/figures/PROFILE/ gets each figure as .pdf and .png. The same records give the same
    tables, byte for byte.

    Args:
        results: the results folder.
        profile: whose records.
        figures: whether to draw; the page links to them either way.

    Raises:
        UserError: no records, records that must not stand in one table, or no right to write.
    """
    collection = collect(Store(Path(results), profile))
    pictures = planned(collection)
    folder = Path(results) / "tables" / profile
    files: dict[Path, bytes] = {}
    found = tables(collection)
    for table in found:
        files[folder / f"{table.name}.md"] = markdown(table).encode()
        files[folder / f"{table.name}.tex"] = latex(table).encode()
        files[folder / f"{table.name}.csv"] = comma_separated(table).encode()
    shown = [(picture.name, picture.caption) for picture in pictures]
    files[folder / "report.md"] = page(collection, found, shown).encode()
    for picture in pictures if figures else ():
        for kind, content in picture.files().items():
            path = Path(results) / "figures" / profile / f"{picture.name}.{kind}"
            files[path] = content
    for path, content in files.items():
        write_atomically(path, content)
    return list(files)


def beside_published(results: Path, profile: str) -> str:
    """Return what a terminal shows of a profile beside published numbers; '' where there is none.

    Raises:
        UserError: as `write_report`.
    """
    headers, lines = brief(rows(collect(Store(Path(results), profile))))
    return tabulate(lines, headers, disable_numparse=True) if lines else ""


def cited(results: Path, profile: str) -> str:
    """Return what to put into a paper about a profile's records, or about the suite without any.

    Raises:
        UserError: records that must not stand in one table.
    """
    store = Store(Path(results), profile)
    if not store.records():
        return citation(None, compare([], list(protocols.load().values())))
    collection = collect(store)
    return citation(collection, rows(collection))
