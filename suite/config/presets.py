"""The protocols behind published numbers, as presets that can be run, compared and cited.

Each TOML file in ``protocols`` holds tables. One whose name has a slash is a preset, called
EXPERIMENT/VARIANT as in a profile; the others are bases.

    base      the table whose keys and items this one takes over and changes
    paper     key of the paper, as in the published numbers
    summary   one line
    results   which published numbers it is behind: {number, evaluation, step}, step being the inner
              step that the paper reads
    borrowed  of a setting that a paper does not describe: where all items come from that the table
              does not say itself; they are then inferred, but for the tests' ways and shots
    apart     what no item can say, as [what, mark, place]
    also      tests of the suite's own beside a paper's: NAME = { like = TEST, what differs }; their
              tasks are of the suite's streams
    items     every item of the protocol, by its dotted path, as [value, mark, place]

A mark says how an item is known: ``stated`` in the paper, ``code`` of the authors, ``inferred``,
``unknown``, or ``n/a`` where it has no effect. A place is a section or table of the paper, or
FILE:LINE of the code at the commit that the published numbers name.
"""

from __future__ import annotations

import json
import tomllib
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field, model_validator

from suite.core.component import Strict, validated
from suite.core.errors import UserError, unknown

FOLDER = Path(__file__).parent / "protocols"
Mark = Literal["stated", "code", "inferred", "unknown", "n/a"]
#: Marks of what a verdict has to assume.
ASSUMED = ("inferred", "unknown")


class Item(NamedTuple):
    """One item of a protocol: its value, how it is known, and where that is written."""

    value: Any
    mark: Mark
    place: str


class Apart(NamedTuple):
    """What sets a run of the suite apart from the paper's and is no item."""

    what: str
    mark: Mark
    place: str


class Result(Strict):
    """A published number, and where a record has its counterpart."""

    number: str
    evaluation: str
    step: int = Field(ge=0)


class Preset(Strict):
    """The protocol of one published setting."""

    name: str = Field(pattern=r"^[\w.+-]+/[\w.+-]+$")
    paper: str
    summary: str
    results: tuple[Result, ...] = ()
    apart: tuple[Apart, ...] = ()
    items: dict[str, Item]

    @model_validator(mode="after")
    def _has_its_evaluations(self) -> Preset:
        for result in self.results:
            if result.evaluation not in self.nested()["evaluations"]:
                raise ValueError(f"{result.number!r} is read from no evaluation of the items")
        return self

    @property
    def experiment(self) -> str:
        """The experiment's name in a profile."""
        return self.name.split("/")[0]

    @property
    def variant(self) -> str:
        """The algorithm's name in that experiment."""
        return self.name.split("/")[1]

    @property
    def assumed(self) -> tuple[str, ...]:
        """Items that nobody has seen stated or coded, and all that sets a run apart and is none."""
        items = [path for path, item in self.items.items() if item.mark in ASSUMED]
        return (*items, *(apart.what for apart in self.apart))

    def nested(self) -> dict[str, Any]:
        """Return the items as nested objects: task, model, algorithm, train, evaluations."""
        found: dict[str, Any] = {}
        for path, item in self.items.items():
            *parents, last = path.split(".")
            place = found
            for part in parents:
                place = place.setdefault(part, {})
            place[last] = item.value
        return found

    def as_experiment(self) -> dict[str, Any]:
        """Return the preset as an experiment of a profile with one algorithm."""
        values = self.nested()
        algorithm = values.pop("algorithm")
        tests = [{"name": name, **test} for name, test in values.pop("evaluations").items()]
        parameters = {"algorithm": algorithm.pop("name"), **algorithm}
        return {
            **values,
            "name": self.experiment,
            "evaluations": tests,
            "algorithms": {self.variant: parameters},
        }


@cache
def load() -> dict[str, Preset]:
    """Return every preset by name, in the files' order."""
    tables: dict[str, dict[str, Any]] = {}
    for path in sorted(FOLDER.glob("*.toml")):
        tables |= tomllib.loads(path.read_text(encoding="utf-8"))
    return {name: _preset(name, tables) for name in tables if "/" in name}


def _preset(name: str, tables: dict[str, dict[str, Any]]) -> Preset:
    values: dict[str, Any] = {"name": name, "items": {}}
    also: dict[str, dict[str, Any]] = {}
    for table in _line(name, tables):
        before = values["items"]
        if place := table.get("borrowed"):
            before = {path: _borrowed(path, item, place) for path, item in before.items()}
        items = before | table.get("items", {})
        also |= table.get("also", {})
        own = {k: v for k, v in table.items() if k not in ("base", "borrowed", "also")}
        values |= own | {"items": items}
    for test, changes in also.items():
        values["items"] |= _another_test(test, changes, values["items"])
    return validated(Preset, json.dumps(values), f"protocol {name}", json=True)


def _borrowed(path: str, item: list[Any], place: str) -> list[Any]:
    value, mark, _ = item
    shape = path.startswith("evaluations.") and path.endswith((".ways", ".shots"))
    return item if shape or mark in ("n/a", "unknown") else [value, "inferred", place]


def _another_test(
    test: str, changes: dict[str, Any], items: dict[str, list[Any]]
) -> dict[str, list[Any]]:
    """Return the items of a test like another, on tasks of the suite's, with its own changes."""
    own = dict(changes)
    like, head = own.pop("like"), f"evaluations.{test}."
    start = f"evaluations.{like}."
    same = {path.removeprefix(start): i[0] for path, i in items.items() if path.startswith(start)}
    values = {key: value for key, value in same.items() if key != "tasks"} | own
    place = f"the suite's own test, like {like!r}"
    return {head + key: [value, "n/a", place] for key, value in values.items()}


def _line(name: str, tables: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the tables that a preset is made of, the first base first."""
    line: list[dict[str, Any]] = []
    at: str | None = name
    while at is not None:
        if at not in tables or len(line) > len(tables):
            raise UserError(f"protocol {name}: there is no base {at!r}, or it is its own.")
        line.insert(0, tables[at])
        at = tables[at].get("base")
    return line


def get(name: str) -> Preset:
    """Return a preset by name; raise `UserError` with the nearest if there is none."""
    presets = load()
    if name not in presets:
        raise unknown("protocol", name, presets)
    return presets[name]


def matching(patterns: tuple[str, ...]) -> list[Preset]:
    """Return the presets that match shell patterns, in the patterns' order.

    Raises:
        UserError: a pattern matches none.
    """
    found: dict[str, Preset] = {}
    for pattern in patterns:
        some = {name: p for name, p in load().items() if fnmatchcase(name, pattern)}
        found |= some or {pattern: get(pattern)}
    return list(found.values())


def leaves(value: Any, path: str = "") -> dict[str, Any]:
    """Return the values inside nested objects by dotted path; None is no value."""
    if not isinstance(value, dict):
        return {} if value is None else {path: value}
    found: dict[str, Any] = {}
    for key, inner in value.items():
        found |= leaves(inner, f"{path}.{key}" if path else key)
    return found
