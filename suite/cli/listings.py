"""Commands that list what there is: protocols, profiles and registered components."""

from __future__ import annotations

import click

from suite.cli.console import console
from suite.matrix import listing as components
from suite.published import listing as published


@click.group(invoke_without_command=True)
@click.pass_context
def protocols(context: click.Context) -> None:
    """List the protocols behind published numbers; show one, or the difference of two."""
    if context.invoked_subcommand is None:
        published.show_protocols(console)


@protocols.command()
@click.argument("name")
def show(name: str) -> None:
    """Print every item of a protocol, how it is known, and where that is written."""
    published.show_protocol(name, console)


@protocols.command()
@click.argument("first")
@click.argument("second")
def diff(first: str, second: str) -> None:
    """Print the items in which two protocols differ."""
    published.show_difference(first, second, console)


@click.command(name="list")
def list_command() -> None:
    """List profiles, algorithms, tasks, models and engines."""
    components.show_registered(console)


COMMANDS = (protocols, list_command)
