"""All tables of a profile."""

from __future__ import annotations

from collections.abc import Sequence

from suite.published.compare import Row
from suite.report.groups import Collection
from suite.report.render import Table
from suite.report.tables.ablations import items
from suite.report.tables.comparison import comparison
from suite.report.tables.devices import agreement
from suite.report.tables.papers import paper_tables
from suite.report.tables.protocol import protocol
from suite.report.tables.scores import differences, scores
from suite.report.tables.timing import timing
from suite.report.tables.tune import choice, has_grid


def tables(collection: Collection, beside: Sequence[Row]) -> list[Table]:
    """Return the tables of the records in reading order.

    Args:
        collection: the records.
        beside: comparisons with published numbers.
    """
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
