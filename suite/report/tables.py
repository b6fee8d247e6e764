"""All tables of a profile."""

from __future__ import annotations

from suite.report.agreement import agreement
from suite.report.comparison import comparison, rows
from suite.report.costs import timing
from suite.report.groups import Collection
from suite.report.items import items
from suite.report.papers import paper_tables
from suite.report.protocol import protocol
from suite.report.render import Table
from suite.report.scores import differences, scores
from suite.report.tune import choice, has_grid


def tables(collection: Collection) -> list[Table]:
    """Return the tables that the records give, in the order in which they are read."""
    beside = rows(collection)
    found = [
        choice(collection) if has_grid(collection) else None,
        scores(collection),
        comparison(collection, beside),
        *paper_tables(collection, beside),
        items(collection),
        differences(collection),
        agreement(collection),
        timing(collection),
        protocol(collection),
    ]
    return [table for table in found if table is not None]
