"""The protocols of published settings, as one lettered note each, for the foot of a table."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from suite.config.presets import ASSUMED, Preset, Result
from suite.published.counterpart import item_value
from suite.report.format import listed
from suite.report.render import RAISED

_LOSSES = {"mean": "mean loss", "per_shot": "loss summed over the ways"}
_NORMS = {
    "transductive": "batch norm over all query images of a task (transductive)",
    "support": "batch norm of each query image with the support set",
    "running": "batch norm by running statistics",
}
_ROTATIONS = {
    "none": "no rotations",
    "episode": "classes of an episode rotated at random",
    "classes": "rotations as further classes",
}
#: Maximum number of inferred or unknown items that a note names; of more, it gives the number.
_MOST_NAMED = 10


class Settings:
    """The published settings of a table, with letters in order of appearance."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], tuple[str, Preset, list[Result]]] = {}

    def letter(self, preset: Preset, result: Result) -> str:
        """Return the letter of the setting that a number is read from."""
        key = preset.name, result.evaluation
        if key not in self._found:
            self._found[key] = (list(RAISED)[len(self._found)], preset, [])
        letter, _, results = self._found[key]
        results.append(result)
        return letter

    def told(self, preset: Preset, result: Result) -> str:
        """Return the letter that a setting has already got."""
        return self._found[preset.name, result.evaluation][0]

    def notes(self) -> list[str]:
        """Return a note on each; for a setting similar to one above, only the differences.

        Settings with identical notes have one note in common.
        """
        lines: dict[str, tuple[list[str], str]] = {}  # by the letter of the note's first setting
        above: list[tuple[str, dict[str, str]]] = []
        for letter, preset, results in self._found.values():
            own, name = _facts(preset, results), f"{RAISED[letter]} {preset.name}"
            alike = [(_apart(own, facts), at) for at, facts in above if facts.keys() == own.keys()]
            apart, at = min(alike, key=lambda found: len(found[0]), default=([], ""))
            if at and not apart:
                lines[at][0].append(name)
                continue
            above.append((letter, own))
            near = at and 2 * len(apart) <= len(own)
            text = f"as {at}, but {'; '.join(apart)}" if near else "; ".join(own.values())
            lines[letter] = ([name], text)
        return [f"{', '.join(names)}: {text}." for names, text in lines.values()]


def _apart(own: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    return [text for key, text in own.items() if text != other[key]]


def _facts(preset: Preset, results: Sequence[Result]) -> dict[str, str]:
    """Return the facts that influence a setting's numbers, each in a few words."""
    test = f"evaluations.{results[0].evaluation}."
    marks = [str(item.mark) for path, item in preset.items.items() if _concerns(path, test)]
    marked = [mark for mark in ASSUMED if marks.count(mark) <= _MOST_NAMED]
    told = set()

    def of(path: str) -> Any:
        item = preset.items.get(path)
        return None if item is None or item.mark == "n/a" else item.value

    def add(key: str, path: str, phrase: str) -> None:
        """Add an item, with its mark if a verdict has to assume it."""
        if (value := of(path)) is not None:
            told.add(path)
            shown = f"{value:,}" if isinstance(value, int) else item_value(value)
            mark = preset.items[path].mark
            facts[key] = phrase.format(shown) + (f" ({mark})" if mark in marked else "")

    facts = {"summary": preset.summary}
    adam = " (Adam)" if of("algorithm.inner_optimiser") == "adam" else ""
    loss = _LOSSES.get(of("train.loss"), "loss")
    add("rate", "algorithm.inner_rate", f"inner rate {{}}{adam} for the {loss}")
    several = "s" * (of("algorithm.inner_steps") != 1)
    add("steps", "algorithm.inner_steps", f"{{}} inner step{several} in training")
    read = sorted({result.step for result in results})
    facts["read"] = f"step{'s' * (len(read) > 1)} {listed(read)} read at test"
    if batch := of("algorithm.inner_batch"):
        facts["batch"] = f"inner batches of {batch}, {of(test + 'inner_batch') or batch} at test"
    add("meta", "train.meta_batch", "meta-batch {}")
    add("outer", "train.steps", "{} outer steps")
    if of("train.shots") != of(test + "shots"):
        add("shots", "train.shots", "{} shots in training")
    add("trained", "train.query_shots", "query shots in training: {}")
    add("tested", test + "query_shots", "query shots at test: {}")
    if (norm := of(test + "batch_norm")) is not None:
        facts["norm"] = _NORMS[norm]
    if (rotations := of("task.rotations")) is not None:
        tested = {True: ", at test too", False: ", not at test"}.get(of("task.rotate_test"), "")
        facts["rotations"] = f"{_ROTATIONS[rotations]}{tested}"
    add("split", "task.split", "split {}")
    return facts | dict(_others(preset, test, told))


def _others(preset: Preset, test: str, told: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield the other inferred or unknown items, and the facts that no item can express."""
    for mark in ASSUMED:
        items = {
            path: item
            for path, item in preset.items.items()
            if item.mark == mark and _concerns(path, test)
        }
        found = [
            f"{path.replace(test, 'test.')} {item_value(item.value)}"
            for path, item in items.items()
            if path not in told
        ]
        if len(items) > _MOST_NAMED:
            found = [f"{len(items)} items"]
        found += [apart.what for apart in preset.apart if apart.mark == mark]
        if found:
            yield mark, f"{mark}: {', '.join(found)}"
    if apart := [apart.what for apart in preset.apart if apart.mark not in ASSUMED]:
        yield "apart", f"apart: {', '.join(apart)}"


def _concerns(path: str, test: str) -> bool:
    return path.startswith(test) or not path.startswith("evaluations.")
