"""Which published number a cell's scores stand beside, and what keeps the two apart.

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

#: Of an evaluation: its name, how many episodes it has and which steps are scored move no score.
_NEUTRAL = ("episodes", "steps", "report_step", "scored", "by_class")
BUDGET = "train.steps"
TASKS = "train.tasks"
#: Which of many equally good draws were used: that keeps nothing apart from a paper, whose own draw
#: is as good, and is still worth a row of its own between two of ours.
DRAWN = ("task.split_by_seed", "test.tasks")


@dataclass(frozen=True)
class Counterpart:
    """A published number beside one evaluation of a cell."""

    preset: Preset
    result: Result
    differing: Mapping[str, tuple[Any, Any]]
    """Items by path that differ, as (the cell's value, the preset's); None is the default."""
    redrawn: tuple[str, ...] = ()
    """Items that differ in which of equally good draws they name."""

    @property
    def shortened(self) -> str:
        """How much shorter the cell's training is; '' if it is not, or if more differs."""
        return shortening(self.differing)

    @property
    def comparable(self) -> bool:
        """Whether nothing keeps the two apart."""
        return not self.differing


def shortening(differing: Mapping[str, tuple[Any, Any]]) -> str:
    """Return how much shorter ours is, of differing items (ours, theirs); '' if more differs."""
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

    Values are (the cell's, the other's); None is the default. What a preset marks as without
    effect keeps nothing apart.
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
    """Return whether a shorter training walks through its tasks as often as the longer one."""
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
    """Return what moves the scores of one evaluation, whatever it is called."""
    head, found = f"evaluations.{test}.", {}
    for path, value in items.items():
        if path.startswith(head):
            if (name := path.removeprefix(head)) not in _NEUTRAL:
                found[f"test.{name}"] = value
        elif not path.startswith("evaluations."):
            found[path] = value
    return found


def counterparts(cell: Cell, test: EvaluationProtocol) -> Iterator[Counterpart]:
    """Yield the published numbers of an evaluation: those of the nearest preset, with its steps.

    A preset is a candidate if algorithm, task, ways and shots are the cell's. Of several, the one
    with the fewest differing items is taken; of its numbers, those whose inner step was scored.
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
    """Return how far a preset is; without a number at a step that was scored, the farthest."""
    if not found:
        return 10**6, 0
    return len(found[0].differing), len(found[0].redrawn)
