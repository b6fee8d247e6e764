"""All tables of a profile."""

from __future__ import annotations

from collections.abc import Sequence

from suite.published.compare import Row
from suite.report.groups import Collection
from suite.report.render import Table
from suite.report.tables.ablations import item_table
from suite.report.tables.comparison import comparison
from suite.report.tables.devices import device_table
from suite.report.tables.papers import paper_tables
from suite.report.tables.protocol import protocol_table
from suite.report.tables.scores import difference_table, score_table
from suite.report.tables.timing import timing_table
from suite.report.tables.tune import choice_table, has_grid


def make_tables(collection: Collection, beside: Sequence[Row]) -> list[Table]:
    """Return the tables of the records in reading order.

    Args:
        collection: the records.
        beside: comparisons with published numbers.
    """
    found = [
        choice_table(collection) if has_grid(collection) else None,
        score_table(collection),
        comparison(collection, beside),
        *paper_tables(collection, beside),
        item_table(collection),
        difference_table(collection),
        device_table(collection),
        timing_table(collection),
        protocol_table(collection),
    ]
    return [table for table in found if table is not None]
