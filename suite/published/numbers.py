"""Published numbers and their re-runs: read from ``numbers.toml``, validated when loaded.

The file's header says what every key means. A number is a fact of its paper; what the suite's own
scores say about it is in `suite.published.verdicts`.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from suite.core.component import Strict, validated
from suite.core.errors import UserError, unknown
from suite.published.bibliography import Paper

NUMBERS = Path(__file__).with_name("numbers.toml")

Metric = Literal["accuracy_pct", "mse", "average_return"]
"""Accuracy in percent, mean squared error, or undiscounted return."""
PmKind = Literal["tasks", "tasks_std", "seeds_std", "unstated"]
"""What a ± is: ``tasks``, the 95 % interval over the test tasks of one model; ``tasks_std`` and
``seeds_std``, the standard deviation over its test tasks or over training seeds; ``unstated``."""
Basis = Literal["stated", "code", "inferred"]
"""How a fact is known: stated by the authors, read from their code or data, or inferred."""
Level = Literal["A", "B", "C"]
"""How a value was seen: A in the paper or from its authors, B in another paper or a results site
that quotes the table, C in one third-party summary."""


class Measured(Strict):
    """A value as somebody reported it, with its ±."""

    metric: Metric
    value: float
    """In the metric's unit: percent, squared error or return."""
    pm: float | None = Field(None, gt=0)
    """The reported ±, in the metric's unit; None where there is none."""
    pm_kind: PmKind | None = None
    pm_basis: Basis | None = None
    """How the ±'s meaning is known; None where it is unstated."""
    pm_n: int | None = Field(None, ge=1)
    """Of how many tasks or seeds the ± is; without one, of how many test tasks the value is."""
    pm_note: str = ""
    pm_verified: bool = True
    """False where the value was seen and its ± was not."""
    note: str = ""

    @model_validator(mode="after")
    def _in_range(self) -> Measured:
        if self.metric == "accuracy_pct" and not 0 <= self.value <= 100:
            raise ValueError(f"an accuracy of {self.value:g} is not within 0 and 100 percent")
        if self.metric == "mse" and self.value < 0:
            raise ValueError(f"a squared error of {self.value:g} is negative")
        return self

    @model_validator(mode="after")
    def _spread_is_explained(self) -> Measured:
        if (self.pm is None) != (self.pm_kind is None):
            raise ValueError("pm and pm_kind come together: a ± is nothing without its meaning")
        if (self.pm_basis is None) != (self.pm_kind in (None, "unstated")):
            raise ValueError("pm_basis says how a pm_kind that is not unstated is known")
        if self.pm is None and (self.pm_note or not self.pm_verified):
            raise ValueError("pm_note and pm_verified speak of a pm that is not there")
        if self.pm is not None and self.pm_n == 1:
            raise ValueError("there is no ± of one task or seed: pm_n is 1")
        if self.pm_kind in ("tasks_std", "seeds_std") and self.pm_n is None:
            raise ValueError("a standard deviation needs pm_n, of how many it is")
        return self


class Number(Measured):
    """One cell of a published table."""

    id: str = Field(pattern=r"^[a-z0-9]+(?:[.-][a-z0-9]+)*$")
    """``paper.table.setting.algorithm``, with ``.stepN`` where a table has several steps."""
    paper: str
    paper_version: str = ""
    table: str
    dataset: str
    ways: int | None = Field(None, ge=2)
    shots: int | None = Field(None, ge=1)
    """Support examples a class (classification) or points (regression) at meta-test."""
    query_shots: int | None = Field(None, ge=1)
    """Query examples a class at meta-test; None where not known."""
    grad_steps: int | None = Field(None, ge=0)
    """Inner steps at meta-test, where the table has a column for each."""
    algorithm: str
    own_method: bool
    """Of this paper; not a row that it quotes or runs for comparison."""
    transductive: Literal["yes", "no", "unstated", "n/a"]
    """Whether the query images of a test task share batch-norm statistics."""
    transductive_basis: Basis | None = None
    transductive_source: str = ""
    backbone: str = ""
    level: Level

    @model_validator(mode="after")
    def _whole(self) -> Number:
        if self.id.split(".")[0] != self.paper:
            raise ValueError(f"the id does not start with its paper, {self.paper}")
        if self.metric == "accuracy_pct" and (self.ways is None or self.shots is None):
            raise ValueError("classification needs ways and shots")
        if (self.transductive == "n/a") != (self.metric != "accuracy_pct"):
            raise ValueError("transductive is n/a for all but classification, and only there")
        if (self.transductive_basis is not None) != (self.transductive in ("yes", "no")):
            raise ValueError("transductive_basis says how a yes or no is known")
        return self


class Setting(Strict):
    """What was run again where none of the papers has a number for it."""

    paper: str
    """Key of the paper whose method it is."""
    dataset: str
    ways: int = Field(ge=2)
    shots: int = Field(ge=1)
    algorithm: str


class Reproduction(Measured):
    """What somebody else got."""

    by: str = Field(min_length=1)
    source: str = Field(min_length=1)
    of: str | None = None
    """Id of the number that was run again."""
    unpublished: Setting | None = None
    """What was run again, where it has no number."""

    @model_validator(mode="after")
    def _of_something(self) -> Reproduction:
        if (self.of is None) == (self.unpublished is None):
            raise ValueError("needs either of, the id of a number, or unpublished, a setting")
        return self


class Published(Strict):
    """All that the data file says."""

    papers: dict[str, Paper]
    """By key."""
    numbers: tuple[Number, ...]
    reproductions: tuple[Reproduction, ...]

    @model_validator(mode="after")
    def _consistent(self) -> Published:
        known: dict[str, Number] = {}
        for number in self.numbers:
            if number.id in known:
                raise ValueError(f"two numbers have the id {number.id!r}")
            if number.paper not in self.papers:
                raise ValueError(f"{number.id!r} is of an unknown paper, {number.paper!r}")
            known[number.id] = number
        for run in self.reproductions:
            if run.unpublished and run.unpublished.paper not in self.papers:
                raise ValueError(f"{run.by!r} ran an unknown paper, {run.unpublished.paper!r}")
            if run.of is not None and run.of not in known:
                raise ValueError(f"{run.by!r} reproduces an unknown number, {run.of!r}")
            if run.of is not None and run.metric != known[run.of].metric:
                raise ValueError(f"{run.by!r} gives {run.of!r} in another metric, {run.metric}")
        return self

    def number(self, id: str) -> Number:
        """Return a number by its id; raise `UserError` that names the nearest if there is none."""
        ids = {number.id: number for number in self.numbers}
        if id in ids:
            return ids[id]
        parts = id.split(".")
        # All ids would be no sentence: name the first part that is wrong, and what it could be.
        wrong = next(d for d in count() if ".".join(parts[: d + 1]) not in _heads(ids, parts[:d]))
        head = ".".join(parts[: wrong + 1])
        raise unknown("published number", head, _heads(ids, parts[:wrong]))

    def reproductions_of(self, id: str) -> tuple[Reproduction, ...]:
        """Return what others got for the number ``id``; raise `UserError` if there is none such."""
        number = self.number(id)
        return tuple(run for run in self.reproductions if run.of == number.id)


def _heads(ids: Iterable[str], start: list[str]) -> set[str]:
    """Return the heads of the ids that begin with ``start``, one part longer than it."""
    depth = len(start)
    parts = [id.split(".") for id in ids]
    return {".".join(p[: depth + 1]) for p in parts if p[:depth] == start}


class _Block(BaseModel):
    """Rows, and beside them the keys that all of them share."""

    model_config = ConfigDict(extra="allow")
    rows: tuple[dict[str, Any], ...] = Field(min_length=1)


class _File(Strict):
    papers: dict[str, dict[str, Any]]
    table: tuple[_Block, ...]
    reproduction: tuple[_Block, ...]


M = TypeVar("M", bound=Strict)


def _each(model: type[M], blocks: tuple[_Block, ...], kind: str, *keys: str) -> tuple[M, ...]:
    """Build ``model`` from every row; an error names the row by its ``keys``."""
    rows = [{**(block.model_extra or {}), **row} for block in blocks for row in block.rows]
    return tuple(
        _one(model, row, kind + "".join(f" {key} {row.get(key)!r}" for key in keys)) for row in rows
    )


def _one(model: type[M], value: dict[str, Any], where: str) -> M:
    # JSON and back makes TOML's lists what the strict tuples of the models accept.
    return validated(model, json.dumps(value, default=str), where, json=True)


def parse(text: str) -> Published:
    """Read the data file's text; raise `UserError` that names what is wrong in it."""
    try:
        found = _one(_File, tomllib.loads(text), "published numbers")
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"the published numbers are not valid TOML: {error}.") from error
    papers = {k: _one(Paper, {"key": k, **v}, f"paper {k!r}") for k, v in found.papers.items()}
    values = {
        "papers": papers,
        "numbers": _each(Number, found.table, "published number", "id"),
        "reproductions": _each(Reproduction, found.reproduction, "reproduction", "by", "of"),
    }
    return validated(Published, values, "published numbers")


@cache
def load() -> Published:
    """Return the published numbers that the suite ships."""
    return parse(NUMBERS.read_text(encoding="utf-8"))
