"""The published number for a cell's scores, and the differences between the two protocols.

A cell and the preset of a published setting are compared item by item, from the cell's recorded
description: nothing depends on the name of a profile.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from suite.config import presets as protocols
from suite.config.cell import Cell, EvaluationProtocol
from suite.config.presets import Preset, Result, leaves

#: Items of an evaluation that, like its name, change no score, such as the number of episodes.
_NEUTRAL = ("episodes", "steps", "report_step", "scored", "by_class")
BUDGET = "train.steps"
TASKS = "train.tasks"
#: Items that name one of many equally good draws. They do not make a result differ from a paper,
#: whose own draw is equally good, but two of our results with different draws have separate rows.
DRAWN = ("task.split_by_seed", "test.tasks")


@dataclass(frozen=True)
class Counterpart:
    """The published number that one evaluation of a cell is compared with."""

    preset: Preset
    result: Result
    differing: Mapping[str, tuple[Any, Any]]
    """Differing items by path, as (the cell's value, the preset's); None is the default."""
    redrawn: tuple[str, ...] = ()
    """Differing items that name one of equally good draws."""

    @property
    def shortened(self) -> str:
        """Text on the cell's shorter training; '' if it is not shorter or if more differs."""
        return shortening(self.differing)

    @property
    def comparable(self) -> bool:
        """Whether the two protocols have no differences that matter."""
        return not self.differing


def shortening(differing: Mapping[str, tuple[Any, Any]]) -> str:
    """Return how much shorter ours is, from differing items (ours, theirs); '' if more differs."""
    if set(differing) != {BUDGET}:
        return ""
    ours, theirs = differing[BUDGET]
    return f"{ours:,} of {theirs:,} outer steps" if ours < theirs else ""


def item_value(value: Any) -> str:
    """Write the value of an item."""
    if value is None:
        return "default"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return "-".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def items_of(of: Cell | Preset) -> dict[str, Any]:
    """Return every item of a protocol by its dotted path, as presets name them."""
    if isinstance(of, Preset):
        return {path: item.value for path, item in of.items.items()}
    description = of.description()
    protocol = description["protocol"]
    tests = {
        test["name"]: {key: value for key, value in test.items() if key != "name"}
        for test in protocol["evaluations"]
    }
    parts = {key: description[key] for key in ("task", "model", "algorithm")}
    return leaves({**parts, "train": protocol["train"], "evaluations": tests})


def differing(cell: Cell, test: str, of: Cell | Preset, other: str) -> dict[str, tuple[Any, Any]]:
    """Return the items in which a cell's evaluation ``test`` differs from the ``other``.

    Values are (the cell's, the other's); None is the default. Items that a preset marks as without
    effect are ignored.
    """
    ours, theirs = _relevant(items_of(cell), test), _relevant(items_of(of), other)
    idle = without_effect(of, other) if isinstance(of, Preset) else frozenset()
    if _same_passes(ours, theirs):
        idle = idle | {TASKS}
    return {
        path: (ours.get(path), theirs.get(path))
        for path in sorted(ours.keys() | theirs.keys())
        if ours.get(path) != theirs.get(path) and path not in idle
    }


def _same_passes(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool:
    """Return whether a shorter training passes over its tasks as often as the longer one."""
    try:
        passes = [items[BUDGET] / items[TASKS] for items in (ours, theirs)]
        return abs(passes[0] / passes[1] * ours[TASKS] - ours[TASKS]) < 1
    except (KeyError, ZeroDivisionError):
        return False


def without_effect(preset: Preset, test: str) -> frozenset[str]:
    """Return the items that a preset marks as without effect, as `differing` names them."""
    marked = {path: item.value for path, item in preset.items.items() if item.mark == "n/a"}
    return frozenset(_relevant(marked, test))


def _relevant(items: Mapping[str, Any], test: str) -> dict[str, Any]:
    """Return the items that influence the scores of one evaluation, without its name."""
    head, found = f"evaluations.{test}.", {}
    for path, value in items.items():
        if path.startswith(head):
            if (name := path.removeprefix(head)) not in _NEUTRAL:
                found[f"test.{name}"] = value
        elif not path.startswith("evaluations."):
            found[path] = value
    return found


def counterparts(cell: Cell, test: EvaluationProtocol) -> Iterator[Counterpart]:
    """Yield the published numbers for an evaluation, from the nearest preset.

    A preset is a candidate if its algorithm, task, ways and shots are the cell's. The candidate
    with the fewest differing items is used, with those of its numbers whose inner step was scored.
    """
    found: list[list[Counterpart]] = []
    for preset in protocols.load().values():
        items = items_of(preset)
        same = ("name", "folder")
        if any(items.get(f"task.{key}") != cell.task.get(key) for key in same):
            continue
        if items["algorithm.name"] != cell.algorithm["name"]:
            continue
        by_test: dict[str, list[Result]] = {}
        for result in preset.results:
            by_test.setdefault(result.evaluation, []).append(result)
        for other, results in by_test.items():
            shape = [items[f"evaluations.{other}.{key}"] for key in ("ways", "shots")]
            if shape != [test.ways, test.shots]:
                continue
            everything = differing(cell, test.name, preset, other)
            apart = {path: pair for path, pair in everything.items() if path not in DRAWN}
            redrawn = tuple(path for path in everything if path in DRAWN)
            read = [r for r in results if r.step in test.scored_steps]
            found.append([Counterpart(preset, r, apart, redrawn) for r in read])
    if found:
        yield from min(found, key=_distance)


def _distance(found: list[Counterpart]) -> tuple[int, int]:
    """Return the distance of a preset; it is the largest if no scored step has a number."""
    if not found:
        return 10**6, 0
    return len(found[0].differing), len(found[0].redrawn)
