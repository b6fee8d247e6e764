"""Commands on the records of a profile: report, merge, verify and cite."""

from __future__ import annotations

from pathlib import Path

import click

from suite.cli import selection
from suite.cli.console import console
from suite.cli.options import also
from suite.config import presets as protocols
from suite.config.profile import load_profile
from suite.core.errors import UserError
from suite.matrix.verify import verify as check
from suite.records.merge import merge as join
from suite.records.store import Store


def show_report(store: Store, options: dict) -> None:
    """Write tables and figures, and print the results beside published numbers."""
    from suite.report import write_report  # matplotlib takes seconds to import

    with store.lock_folder():
        presets, figures = _presets(options["profile"]), not options["no_figures"]
        files, beside = write_report(store.results, store.profile, presets, figures=figures)
    told = f"Beside published numbers:\n{beside}\n" if beside else "No paper has numbers for these."
    console.print(f"\n{told}", markup=False, soft_wrap=True)
    page = next((path for path in files if path.name == "report.md"), None)
    console.print(f"{len(files)} tables and figures; begin with {page}.", soft_wrap=True)


def _presets(profile: str) -> list[protocols.Preset]:
    """Return the published settings of a profile; none if only its records are here."""
    try:
        return protocols.matching(load_profile(profile).presets)
    except UserError:
        return []


@click.command()
@also("profile", "results", "no_figures")
def report(options: dict) -> None:
    """Write tables and figures again, from the records only."""
    show_report(selection.store_with_records(options), options)


@click.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
@also("profile", "results", "no_figures")
def merge(options: dict, folders: tuple[Path, ...]) -> None:
    """Copy the valid records of other results FOLDERS into --results, then write the report.

    If two records contradict each other, both are named and nothing is copied. Exit status 1 if
    a record was left where it is.
    """
    store = selection.store(options)
    merged = join(store, folders)
    for problem in merged.problems:
        console.print(f"left: {problem}", markup=False, soft_wrap=True)
    console.print(f"{merged.copied} records copied, {merged.existing} already there.")
    if store.records():
        show_report(store, options)
    if merged.problems:
        raise SystemExit(1)


@click.command()
@click.option("--rerun", multiple=True, metavar="CELL", help="Compute it again and compare bits.")
@click.pass_obj
def verify(options: dict, rerun: tuple[str, ...]) -> None:
    """Check the records of a profile: schema, hashes, arrays, and the test episodes, drawn again.

    Exit status 1 if anything is wrong with one of them.
    """
    store, data = selection.store_with_records(options), selection.data_folder(options)
    problems = check(store, data, rerun, click.echo)
    for problem in problems:
        click.echo(f"wrong: {problem}")
    click.echo(f"{len(problems)} problems." if problems else "no problems.")
    if problems:
        raise SystemExit(1)


@click.command()
@also("profile", "results")
def cite(options: dict) -> None:
    """Print what to put into a paper: a sentence for the methods, and BibTeX."""
    from suite.report import cited  # matplotlib takes seconds to import

    store = selection.store(options)
    if not store.folder.is_dir():
        load_profile(options["profile"])  # a name that nobody knows is a slip
    presets = _presets(options["profile"])
    click.echo(cited(store.results, store.profile, presets), nl=False)


COMMANDS = (report, merge, verify, cite)
