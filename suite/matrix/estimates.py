"""Expected seconds of cells, from the records of others on one processor."""

from __future__ import annotations

import json
from collections.abc import Iterable
from statistics import mean, median
from typing import Any

from suite.config.cell import Cell
from suite.matrix.cost import cost
from suite.records.provenance import processor
from suite.records.schema import Record

#: FLOP/s assumed for a machine without records; used only to order cells.
RATE = 3e10


class Estimates:
    """Estimated seconds of cells, from records of other cells; every record added is used.

    Args:
        records: records of any cells.
        on: processor whose records are used; by default this machine's.
    """

    def __init__(self, records: Iterable[Record], on: str | None = None) -> None:
        self._on = on or processor()
        self._seconds: dict[str, list[float]] = {}  # by kind
        self._like: dict[str, Cell] = {}  # a cell of each kind
        self._items: dict[str, frozenset[str]] = {}  # items of each kind's description
        self._guessed: dict[str, float | None] = {}
        for record in records:
            self.learn(record)

    def learn(self, record: Record) -> None:
        """Take a record into account, if it was made on the processor and has times."""
        if record.timing is None or record.provenance.processor != self._on:
            return
        kind = self._kind(record.cell)
        timing = record.timing
        seconds = timing.training_seconds + timing.evaluation_seconds
        self._seconds.setdefault(kind, []).append(seconds)
        self._guessed.clear()

    def known(self, cell: Cell) -> float | None:
        """Return the seconds of cells with records that differ from this one only by the seed."""
        seconds = self._seconds.get(self._kind(cell))
        return None if seconds is None else median(seconds)

    def seconds(self, cell: Cell) -> float | None:
        """Return the known seconds, else a guess from the most similar records of the device.

        A guess is proportional to the `cost` and inversely proportional to the number of
        processes. It is None if no record has the cell's kind of device.
        """
        kind = self._kind(cell)
        if kind not in self._guessed:
            known = self.known(cell)
            self._guessed[kind] = self._guess(kind, cell) if known is None else known
        return self._guessed[kind]

    def order(self, cell: Cell) -> float:
        """Return seconds to sort cells by; without a record, only from the description."""
        seconds = self.seconds(cell)
        return cost(cell) / RATE if seconds is None else seconds

    def _guess(self, kind: str, cell: Cell) -> float | None:
        distances = {
            other: len(self._items[kind] ^ self._items[other])
            for other in self._seconds
            if self._like[other].numerics.device == cell.numerics.device
        }
        nearest = min(distances.values(), default=0)
        guesses = [
            median(self._seconds[other])
            * _process_cost(cell)
            / max(_process_cost(self._like[other]), 1)
            for other, distance in distances.items()
            if distance == nearest
        ]
        return mean(guesses) if guesses else None

    def _kind(self, cell: Cell) -> str:
        kind = kind_of(cell)
        if kind not in self._like:
            self._like[kind] = cell
            self._items[kind] = frozenset(_items(cell.description() | {"seed": 0}))
        return kind


def _process_cost(cell: Cell) -> float:
    """Return the cost of a cell for each of its processes."""
    return cost(cell) / cell.numerics.shards


def kind_of(cell: Cell) -> str:
    """Return the hash that is the same for cells that differ only by their seed."""
    return cell.model_copy(update={"seed": 0}).sha256()


def _items(value: Any, path: str = "") -> Iterable[str]:
    """Yield the leaves of a JSON value as text, each with its path."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _items(inner, f"{path}/{key}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _items(inner, f"{path}/{index}")
    else:
        yield f"{path}={json.dumps(value)}"
