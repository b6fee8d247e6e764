"""The protocols behind published numbers, as presets that can be run, compared and cited.

Each TOML file in ``protocols`` holds tables. A table whose name has a slash is a preset, called
EXPERIMENT/VARIANT as in a profile; the others are bases.

    base      table whose keys and items this one takes over and changes
    paper     key of the paper, as in the published numbers
    summary   summary in one line
    results   published numbers that the protocol produces: {number, evaluation, step}; step is the
              inner step at which the paper reads the score
    borrowed  source of all items that the table itself does not give, if a paper does not describe
              the setting; they are then inferred, except the tests' ways and shots
    apart     differences that no item can express, as [what, mark, place]
    tried     what was tried to explain that our result is another, as sentences
    also      the suite's own tests in addition to a paper's: NAME = { like = TEST, changes }; their
              tasks come from the suite's streams
    items     all items of the protocol, by dotted path, as [value, mark, place]

A mark says how an item is known: ``stated`` in the paper, ``code`` of the authors, ``inferred``,
``unknown``, or ``n/a`` if it has no effect. A place is a section or table of the paper, or
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
#: Marks of items that a verdict has to assume.
ASSUMED = ("inferred", "unknown")


class Item(NamedTuple):
    """One item of a protocol: its value, how it is known, and the place of the source."""

    value: Any
    mark: Mark
    place: str


class Apart(NamedTuple):
    """A difference between the suite's run and the paper's that no item describes."""

    what: str
    mark: Mark
    place: str


class Result(Strict):
    """A published number, and the evaluation and inner step of a record that correspond to it."""

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
    tried: tuple[str, ...] = ()
    """Attempts to explain that our result differs from the published one, as sentences."""
    items: dict[str, Item]

    @model_validator(mode="after")
    def _has_its_evaluations(self) -> Preset:
        for result in self.results:
            if result.evaluation not in self.nested()["evaluations"]:
                raise ValueError(f"{result.number!r} is read from no evaluation of the items")
        return self

    @property
    def experiment(self) -> str:
        """Name of the experiment in a profile."""
        return self.name.split("/")[0]

    @property
    def variant(self) -> str:
        """Name of the algorithm in that experiment."""
        return self.name.split("/")[1]

    @property
    def assumed(self) -> tuple[str, ...]:
        """Items that neither paper nor code states, and all differences that are not items."""
        items = [path for path, item in self.items.items() if item.mark in ASSUMED]
        return (*items, *(apart.what for apart in self.apart))

    def nested(self) -> dict[str, Any]:
        """Return the items as nested objects: task, model, algorithm, train, evaluations."""
        nested: dict[str, Any] = {}
        for path, item in self.items.items():
            *parents, last = path.split(".")
            place = nested
            for part in parents:
                place = place.setdefault(part, {})
            place[last] = item.value
        return nested

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
    """Return every preset by name, in the order of the files."""
    tables: dict[str, dict[str, Any]] = {}
    for path in sorted(FOLDER.glob("*.toml")):
        tables |= tomllib.loads(path.read_text(encoding="utf-8"))
    return {name: _preset(name, tables) for name in tables if "/" in name}


def _preset(name: str, tables: dict[str, dict[str, Any]]) -> Preset:
    values: dict[str, Any] = {"name": name, "items": {}}
    also: dict[str, dict[str, Any]] = {}
    for table in _lineage(name, tables):
        before = values["items"]
        if place := table.get("borrowed"):
            before = {path: _borrowed(path, item, place) for path, item in before.items()}
        items = before | table.get("items", {})
        also |= table.get("also", {})
        values |= {k: v for k, v in table.items() if k not in ("base", "borrowed", "also")}
        values["items"] = items
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
    """Return the items of a test like another one, with changes, on the suite's own tasks."""
    changes = dict(changes)
    like, head = changes.pop("like"), f"evaluations.{test}."
    start = f"evaluations.{like}."
    same = {path.removeprefix(start): i[0] for path, i in items.items() if path.startswith(start)}
    values = {key: value for key, value in same.items() if key != "tasks"} | changes
    place = f"the suite's own test, like {like!r}"
    return {head + key: [value, "n/a", place] for key, value in values.items()}


def _lineage(name: str, tables: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the tables of which a preset is made, the first base first."""
    lineage: list[dict[str, Any]] = []
    base: str | None = name
    while base is not None:
        if base not in tables or len(lineage) > len(tables):
            raise UserError(f"protocol {name}: there is no base {base!r}, or it is its own.")
        lineage.insert(0, tables[base])
        base = tables[base].get("base")
    return lineage


def get(name: str) -> Preset:
    """Return a preset by name; raise `UserError` with the nearest name if there is none."""
    presets = load()
    if name not in presets:
        raise unknown("protocol", name, presets)
    return presets[name]


def matching(patterns: tuple[str, ...]) -> list[Preset]:
    """Return the presets that match shell patterns, in the patterns' order.

    Raises:
        UserError: a pattern matches no preset.
    """
    presets: dict[str, Preset] = {}
    for pattern in patterns:
        some = {name: p for name, p in load().items() if fnmatchcase(name, pattern)}
        presets |= some or {pattern: get(pattern)}
    return list(presets.values())


def leaves(value: Any, path: str = "") -> dict[str, Any]:
    """Return the values inside nested objects by dotted path, without those that are None."""
    if not isinstance(value, dict):
        return {} if value is None else {path: value}
    values: dict[str, Any] = {}
    for key, inner in value.items():
        values |= leaves(inner, f"{path}.{key}" if path else key)
    return values
