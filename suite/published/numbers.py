"""Published numbers and their reproductions, read from ``numbers.toml`` and validated on loading.

The file's header explains every key. A number is a fact of its paper; the verdicts of the suite's
own scores on it are in `suite.published.verdicts`.
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
from suite.core.metrics import published_metric
from suite.published.bibliography import Paper

NUMBERS = Path(__file__).with_name("numbers.toml")

PmKind = Literal["tasks", "tasks_std", "seeds_std", "unstated"]
"""Meaning of a ±: ``tasks``, the 95 % interval over the test tasks of one model; ``tasks_std`` and
``seeds_std``, the standard deviation over its test tasks or over training seeds; ``unstated``."""
Basis = Literal["stated", "code", "inferred"]
"""Source of a fact: stated by the authors, read from their code or data, or inferred."""
Level = Literal["A", "B", "C"]
"""Place where a value was seen: A in the paper or from its authors, B in another paper or on a
results site that quotes the table, C in one third-party summary."""


class Measured(Strict):
    """A reported value with its ±."""

    metric: str
    """Name of a metric in published numbers (`suite.core.metrics`)."""
    value: float
    """Value in the metric's unit: percent, squared error or return."""
    pm: float | None = Field(None, gt=0)
    """The reported ±, in the metric's unit; None if there is none."""
    pm_kind: PmKind | None = None
    pm_basis: Basis | None = None
    """Source of the ±'s meaning; None if the meaning is unstated."""
    pm_n: int | None = Field(None, ge=1)
    """Number of tasks or seeds of the ±; without a ±, the number of test tasks of the value."""
    pm_note: str = ""
    pm_verified: bool = True
    """Whether the ± was seen too; False if only the value was seen."""
    note: str = ""

    @model_validator(mode="after")
    def _in_range(self) -> Measured:
        try:
            kind = published_metric(self.metric)
        except UserError as error:
            raise ValueError(str(error)) from error
        if kind.is_proportion and not 0 <= self.value <= kind.scale:
            raise ValueError(f"an accuracy of {self.value:g} is not within 0 and 100 percent")
        if kind.by_ratio and self.value < 0:
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
    """Id ``paper.table.setting.algorithm``, with ``.stepN`` if a table has several steps."""
    paper: str
    paper_version: str = ""
    table: str
    dataset: str
    ways: int | None = Field(None, ge=2)
    shots: int | None = Field(None, ge=1)
    """Number of support examples per class, or of points in regression, at meta-test."""
    query_shots: int | None = Field(None, ge=1)
    """Number of query examples per class at meta-test; None if unknown."""
    grad_steps: int | None = Field(None, ge=0)
    """Number of inner steps at meta-test, if the table has a column for each."""
    algorithm: str
    own_method: bool
    """Whether the method is this paper's own, not one that it quotes or runs for comparison."""
    transductive: Literal["yes", "no", "unstated", "n/a"]
    """Whether the query images of a test task have common batch-norm statistics."""
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
    """A reproduced setting for which none of the papers has a number."""

    paper: str
    """Key of the method's paper."""
    dataset: str
    ways: int = Field(ge=2)
    shots: int = Field(ge=1)
    algorithm: str


class Reproduction(Measured):
    """A result of somebody else's reproduction."""

    by: str = Field(min_length=1)
    source: str = Field(min_length=1)
    of: str | None = None
    """Id of the reproduced number."""
    unpublished: Setting | None = None
    """Reproduced setting, if it has no number."""

    @model_validator(mode="after")
    def _of_something(self) -> Reproduction:
        if (self.of is None) == (self.unpublished is None):
            raise ValueError("needs either of, the id of a number, or unpublished, a setting")
        return self


class Published(Strict):
    """The whole content of the data file."""

    papers: dict[str, Paper]
    """Papers by key."""
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
        """Return a number by its id; if there is none, raise `UserError` with the nearest ids."""
        ids = {number.id: number for number in self.numbers}
        if id in ids:
            return ids[id]
        parts = id.split(".")
        # All ids are too many for a message: name the first wrong part and its possible values.
        wrong = next(d for d in count() if ".".join(parts[: d + 1]) not in _heads(ids, parts[:d]))
        head = ".".join(parts[: wrong + 1])
        raise unknown("published number", head, _heads(ids, parts[:wrong]))

    def reproductions_of(self, id: str) -> tuple[Reproduction, ...]:
        """Return the reproductions of the number ``id``; raise `UserError` if it does not exist."""
        number = self.number(id)
        return tuple(run for run in self.reproductions if run.of == number.id)


def _heads(ids: Iterable[str], start: list[str]) -> set[str]:
    """Return the heads of the ids that begin with ``start``, one part longer than it."""
    depth = len(start)
    parts = [id.split(".") for id in ids]
    return {".".join(p[: depth + 1]) for p in parts if p[:depth] == start}


class _Block(BaseModel):
    """Rows, and the keys that all of them have in common."""

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
    # Validation goes through JSON, because the models' strict tuples accept lists only from JSON.
    return validated(model, json.dumps(value, default=str), where, json=True)


def parse(text: str) -> Published:
    """Read the data file's text; raise a `UserError` that names the mistake in it, if any."""
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
    """Return the published numbers that are part of the suite."""
    return parse(NUMBERS.read_text(encoding="utf-8"))
