"""Output of ``run_all.py protocols``."""

from __future__ import annotations

from rich.console import Console
from tabulate import tabulate

from suite.config import presets as protocols
from suite.published.counterpart import item_value
from suite.published.numbers import load


def show_protocols(console: Console) -> None:
    """Print the presets with their published numbers."""
    rows = [
        [preset.name, preset.paper, len(preset.results), preset.summary]
        for preset in protocols.load().values()
    ]
    headers = ["protocol", "paper", "numbers", ""]
    console.print(tabulate(rows, headers, tablefmt="simple"), markup=False, soft_wrap=True)


def show_protocol(name: str, console: Console) -> None:
    """Print a preset item by item."""
    preset = protocols.get(name)
    rows = [[path, item_value(i.value), i.mark, i.place] for path, i in preset.items.items()]
    rows += [
        ["(no item)", "", apart.mark, f"{apart.what} ({apart.place})"] for apart in preset.apart
    ]
    console.print(f"{preset.name}: {preset.summary} (paper: {preset.paper})", markup=False)
    headers = ["item", "value", "known from", "place"]
    console.print(tabulate(rows, headers, tablefmt="simple"), markup=False, soft_wrap=True)
    for result in preset.results:
        number = load().number(result.number)
        pm = "" if number.pm is None else f" ± {number.pm:g}"
        console.print(
            f"{number.id}: {number.value:g}{pm}, read from {result.evaluation} after "
            f"{result.step} steps",
            markup=False,
            soft_wrap=True,
        )


def show_difference(first: str, second: str, console: Console) -> None:
    """Print the items in which two presets differ."""
    one, two = protocols.get(first).items, protocols.get(second).items
    rows = []
    for path in sorted(one.keys() | two.keys()):
        sides = [found.get(path) for found in (one, two)]
        values = [None if item is None else item.value for item in sides]
        if values[0] != values[1]:
            rows.append(
                [path, *("–" if i is None else f"{item_value(i.value)} ({i.mark})" for i in sides)]
            )
    if not rows:
        console.print(f"{first} and {second} are one protocol.", markup=False)
        return
    table = tabulate(rows, ["item", first, second], tablefmt="simple")
    console.print(table, markup=False, soft_wrap=True)
