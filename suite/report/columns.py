"""A table is one list of columns, made for each row: what people see and what the CSV file has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from suite.records.schema import Record
from suite.report.format import number
from suite.report.notes import stamp
from suite.report.render import Table


@dataclass(frozen=True)
class Column:
    """A column of numbers, aligned right, with its value in one row."""

    heading: str | None
    """Heading for people; None if only the CSV file has the column."""
    key: str | None
    """Key in the CSV file; None if the file has no such column."""
    value: Any
    """Value in the CSV file; None if there is none."""
    text: str | None = None
    """Value for people; None writes 3 significant digits of a float, and '–' for no value."""

    def written(self) -> str:
        """Return the value for people."""
        if self.text is not None:
            return self.text
        is_float = self.value is None or isinstance(self.value, float)
        return number(self.value) if is_float else str(self.value)


class Label(Column):
    """A column of text, aligned left; labels stand before all numbers."""


def make_table(
    name: str,
    title: str,
    rows: Sequence[Sequence[Column]],
    notes: tuple[str, ...],
    *,
    data: Iterable[Mapping[str, Any]] | None = None,
    wide: bool = False,
) -> Table:
    """Return a table.

    Args:
        name: name of the table, as in `Table`; so are ``title``, ``notes`` and ``wide``.
        rows: columns of each row, at least one; all rows have the same columns.
        data: lines of the CSV file, if there is not one for each row.

    Raises:
        ValueError: if a label stands behind a number.
    """
    shown = [[column for column in row if column.heading is not None] for row in rows]
    labels = [isinstance(column, Label) for column in shown[0]]
    if labels != sorted(labels, reverse=True):
        raise ValueError(f"the table {name!r} has a label behind a number; put labels first.")
    return Table(
        name,
        title,
        tuple(column.heading or "" for column in shown[0]),
        tuple(tuple(column.written() for column in row) for row in shown),
        notes,
        tuple(map(csv_line, rows) if data is None else data),
        text_columns=sum(labels),
        wide=wide,
    )


def csv_line(row: Sequence[Column]) -> dict[str, Any]:
    """Return a row's line of the CSV file: its values by key."""
    return {column.key: column.value for column in row if column.key is not None}


def stamp_columns(records: Sequence[Record]) -> tuple[Label, ...]:
    """Return the columns of the CSV file that say where the numbers are from."""
    return tuple(Label(None, key, text) for key, text in stamp(records).items())
