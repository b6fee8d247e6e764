"""The command that says whether the code has become slower."""

from __future__ import annotations

import click

from suite.cli import selection
from suite.cli.options import also
from suite.config.profile import load_profile
from suite.core import devices, signals
from suite.core.errors import UserError


@click.command()
@click.option("--fast", is_flag=True, help="A few cases, in less than a minute.")
@click.option("--against", metavar="REV", help="Compare with this commit, not with the baseline.")
@click.option("--update", is_flag=True, help="Make a new baseline from the present code.")
@click.option(
    "--only", default="", metavar="TEXT", help="Measure only cases with this text in their name."
)
@also("results")
def gate(options: dict, fast: bool, against: str | None, update: bool, only: str) -> None:
    """Say whether the parts of a profile's cells are slower than they were.

    Compares with the baseline of this kind of machine in RESULTS/gate, which is made where there is
    none. Exit status 1 if something is slower.
    """
    from suite.gate.command import run_gate as run  # matplotlib takes seconds to import

    for name in ("threads", "processes"):
        if options[name]:
            raise UserError(f"the gate measures with one thread of one process; omit --{name}.")
    kinds = devices.resolve(options["device_names"] or load_profile(options["profile"]).devices)
    try:
        outcome, text, folder = run(
            selection.cells(options, kinds, 1),
            selection.data_folder(options),
            options["plugins"],
            options["results"],
            lambda told: click.echo(told, err=True),
            fast=fast,
            against=against,
            update=update,
            only=only,
        )
    except signals.Stopped as signal:
        raise signals.Stopped(
            signal.number, "the gate starts from the beginning next time"
        ) from None
    click.echo(text, nl=False)
    click.echo(f"the full results are in {folder}.", err=True)
    if any(result.verdict == "slower" for result in outcome.results):
        raise SystemExit(1)
