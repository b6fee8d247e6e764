"""Options of the command line: parsers of their values, and those that also follow a command."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from suite.core.errors import UserError

_AGAIN = "The same as before the command."
_REPEATED = {
    "profile": click.option("--profile", help=_AGAIN),
    "results": click.option("--results", type=click.Path(path_type=Path), help=_AGAIN),
    "no_figures": click.option("--no-figures", is_flag=True, help=_AGAIN),
}


def csv(_: click.Context, __: click.Parameter, value: str | None) -> tuple[str, ...]:
    """Return the parts of a value such as ``maml,sgd``."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if value else ()


def seeds(_: click.Context, __: click.Parameter, value: str | None) -> tuple[int, ...]:
    """Return the seeds of a value such as ``0,1,2``; raise `UserError` if it has another form."""
    if not value:
        return ()
    try:
        seeds = tuple(int(part) for part in value.split(","))
    except ValueError:
        raise UserError(f"--seeds takes whole numbers such as 0,1,2, not {value!r}.") from None
    if min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise UserError(f"--seeds must be different and not negative, not {value!r}.")
    return seeds


def shard(_: click.Context, __: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """Return I and N of a value such as ``2/8``; raise `UserError` if it has another form."""
    if not value:
        return None
    match = re.fullmatch(r"([0-9]+)/([0-9]+)", value)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise UserError(
            f"--shard takes a number and the number of shards, such as 2/8, not {value!r}."
        )
    return int(match[1]), int(match[2])


def renamed(options: dict, old: str, new: str) -> None:
    """Move the value of an option that has a new name to that name, and say so."""
    value = options.pop(old)
    if value:
        options[new] = value
        names = [f"--{name.replace('_', '-')}" for name in (old, new)]
        click.echo(f"note: {names[0]} is now called {names[1]}.", err=True)


def also(*names: str) -> Callable[[Any], Any]:
    """Return a decorator that lets options of the group follow a command, too.

    The command gets the group's options as its first argument. A value after the command replaces
    the one before it.
    """

    def decorate(command: Callable[..., None]) -> Any:
        @click.pass_obj
        @functools.wraps(command)
        def joined(options: dict, **own: Any) -> None:
            after = {name: own.pop(name) for name in names}
            command(options | {name: value for name, value in after.items() if value}, **own)

        for name in reversed(names):
            joined = _REPEATED[name](joined)
        return joined

    return decorate
