"""The page of a profile: its tables, figures and omissions in one Markdown file."""

from __future__ import annotations

from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined

from suite.report.figures import left_out
from suite.report.groups import Collection
from suite.report.notes import diverged_cells
from suite.report.render import Table, markdown


def page(
    collection: Collection, tables: Sequence[Table], figures: Sequence[tuple[str, str]]
) -> str:
    """Return the page.

    Args:
        collection: the records.
        tables: tables in reading order.
        figures: name of the files and caption of each figure.
    """
    environment = Environment(
        loader=PackageLoader("suite.report", "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # the output is Markdown, escaped by `markdown`
    )
    return environment.get_template("report.md.j2").render(
        profile=collection.profile,
        cells=len(collection.records),
        diverged=diverged_cells(collection),
        problems=collection.problems,
        tables=[(table, markdown(table)) for table in tables],
        figures=figures,
        left_out=left_out(collection),
        figure_folder=f"../../figures/{collection.profile}",
    )
