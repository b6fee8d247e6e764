"""The command line: commands and options, nothing else."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from suite.config import presets as protocols
from suite.config.cell import Cell
from suite.config.profile import expand, load_profile
from suite.core import devices, registry, signals
from suite.core.errors import UserError
from suite.core.version import __version__
from suite.executors import NAMES
from suite.records.provenance import NO_REPLAY
from suite.records.store import Store

console = Console(highlight=False)


def _csv(_: click.Context, __: click.Parameter, value: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if value else ()


def _seeds(_: click.Context, __: click.Parameter, value: str | None) -> tuple[int, ...]:
    if not value:
        return ()
    try:
        seeds = tuple(int(part) for part in value.split(","))
    except ValueError:
        raise UserError(f"--seeds takes whole numbers such as 0,1,2, not {value!r}.") from None
    if min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise UserError(f"--seeds must be different and not negative, not {value!r}.")
    return seeds


def _shard(_: click.Context, __: click.Parameter, value: str | None) -> tuple[int, int] | None:
    if not value:
        return None
    match = re.fullmatch(r"([0-9]+)/([0-9]+)", value)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise UserError(
            f"--shard takes a number and the number of shards, such as 2/8, not {value!r}."
        )
    return int(match[1]), int(match[2])


def _also(*names: str) -> Callable[[Any], Any]:
    """Return a decorator that lets options of the group stand after a command, too."""
    there = {
        "profile": click.option("--profile", help="The same as before the command."),
        "results": click.option(
            "--results", type=click.Path(path_type=Path), help="The same as before the command."
        ),
        "no_figures": click.option(
            "--no-figures", is_flag=True, help="The same as before the command."
        ),
    }

    def decorate(command: Any) -> Any:
        for name in reversed(names):
            command = there[name](command)
        return command

    return decorate


class _Group(click.Group):
    """A group whose errors are one sentence with exit status 2, and signals one with 128 + n."""

    def main(self, *args, **kwargs):
        try:
            with signals.listening():
                return super().main(*args, **kwargs)
        except UserError as error:
            click.echo(f"error: {error}", err=True)
            sys.exit(2)
        except signals.Stopped as signal:
            click.echo(f"stopped by {signal}; {signal.work}.", err=True)
            sys.exit(128 + signal.number)


@click.group(cls=_Group, invoke_without_command=True, context_settings={"max_content_width": 100})
@click.version_option(__version__, prog_name="fewshot-suite")
@click.option(
    "--profile", default="quick", show_default=True, help="Shipped profile, or a TOML file."
)
@click.option(
    "--algorithms", callback=_csv, help="Run only these algorithms or variants, comma-separated."
)
@click.option(
    "--tasks", callback=_csv, help="Run only these experiments or tasks, comma-separated."
)
@click.option("--seeds", callback=_seeds, help="Run these seeds, such as 0,1,2.")
@click.option("--device", "device_names", callback=_csv, help="Run on cpu, cuda or all devices.")
@click.option("--engine", help="Compute every cell with this engine; auto chooses.")
@click.option("--threads", type=click.IntRange(1), help="Library threads of each CPU cell.")
@click.option("--processes", type=click.IntRange(1), help="Processes of each CPU cell.")
@click.option("--shards", type=click.IntRange(1), hidden=True)
@click.option(
    "--executor",
    type=click.Choice(NAMES),
    help="Compute cells one after the other (serial), several at a time on one CUDA device "
    "(interleaved, the default with --lanes), in worker processes of this machine (local, the "
    "default with --workers or several CUDA devices), or on a Ray cluster (ray).",
)
@click.option(
    "--address",
    metavar="HOST:PORT",
    help='Address of a running Ray cluster, or "auto" for the one on this machine. Without it, '
    "--executor ray starts a local cluster for this run.",
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    help="Number of CPU cells that run at a time; the cores are divided among them.",
)
@click.option(
    "--lanes",
    type=click.IntRange(1),
    help="Number of cells that are trained at a time on one CUDA device; timings are then marked.",
)
@click.option(
    "--shard",
    callback=_shard,
    metavar="I/N",
    help="Run the I-th of N parts of the cells, the same on every machine; see merge.",
)
@click.option(
    "--outer-steps",
    type=click.IntRange(1),
    help="Shorten cells to at most this number of outer steps; they are never judged as full ones.",
)
@click.option(
    "--results",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Folder of records, tables and figures.",
)
@click.option("--data", type=click.Path(path_type=Path), help="Folder of data sets.")
@click.option(
    "--plugin",
    "plugins",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Python file that registers algorithms, tasks or models.",
)
@click.option(
    "--checkpoint-every",
    type=click.FloatRange(0, max=1e9),
    default=60.0,
    show_default=True,
    help="Seconds of training between two checkpoints.",
)
@click.option(
    "--checkpoints",
    type=click.Path(path_type=Path),
    help="Folder of checkpoints and kept weights, instead of --results. With --address it must be "
    "visible to all nodes; a cluster run without it has none.",
)
@click.option(
    "--keep-weights",
    is_flag=True,
    help="Keep trained weights: cells that differ only in their tests then share them.",
)
@click.option(
    "--no-replay",
    is_flag=True,
    help="Compute every outer step directly: record and replay nothing. This changes no bit.",
)
@click.option("--list", "list_cells", is_flag=True, help="List the cells and stop.")
@click.option("--dry-run", is_flag=True, help="List cells, parameters, state and time, and stop.")
@click.option(
    "--busy-machine",
    is_flag=True,
    help="Say that other work runs on this machine: timings are marked and left out of tables.",
)
@click.option("--shared", is_flag=True, hidden=True)
@click.option("--no-figures", is_flag=True, help="Write only tables.")
@click.pass_context
def cli(context: click.Context, **options) -> None:
    """Run a profile of the matrix, algorithms x tasks x seeds x devices, and report it.

    Without a command this runs what has no record yet, then writes tables and figures.
    """
    context.obj = options
    _renamed(options, "shards", "processes")
    _renamed(options, "shared", "busy_machine")
    if options["no_replay"]:
        os.environ[NO_REPLAY] = "1"  # worker processes inherit it
    for plugin in options["plugins"]:
        registry.load_plugin(plugin)
    if context.invoked_subcommand is None:
        _run(**options)


def _renamed(options: dict, old: str, new: str) -> None:
    """Move the value of an option that has a new name to that name, and say so."""
    value = options.pop(old)
    if value:
        options[new] = value
        names = [f"--{name.replace('_', '-')}" for name in (old, new)]
        click.echo(f"note: {names[0]} is now called {names[1]}.", err=True)


def _name(profile: str) -> str:
    return Path(profile).stem if profile.endswith(".toml") else profile


def _cells(options: dict, kinds: list[str], cores: int) -> list[Cell]:
    cells = expand(
        load_profile(options["profile"]),
        kinds,
        cores,
        threads=options["threads"],
        shards=options["processes"],
        algorithms=options["algorithms"],
        tasks=options["tasks"],
        seeds=options["seeds"],
        engine=options["engine"],
        outer_steps=options["outer_steps"],
    )
    if not cells:
        raise UserError("no cell of the profile is left; loosen --algorithms or --tasks.")
    return cells


def _data(options: dict) -> Path | None:
    data = options["data"]
    if data is not None and not data.is_dir():
        raise UserError(f"the data folder {str(data)!r} is not an existing folder.")
    return data


def _run(**options) -> None:
    from suite.executors import factory
    from suite.matrix import listing
    from suite.matrix.progress import Progress
    from suite.matrix.run import run_matrix
    from suite.matrix.schedule import shard

    cluster = factory.cluster(options["executor"], options["address"])
    names = options["device_names"] or load_profile(options["profile"]).devices
    kinds = devices.resolve(names, cluster.kinds if cluster else None)
    executor = factory.make_executor(
        options["executor"],
        kinds,
        options["workers"],
        options["plugins"],
        cluster,
        (options["threads"] or 1) * (options["processes"] or 1),
        options["lanes"],
    )
    cells, data = _cells(options, kinds, executor.cores), _data(options)
    if options["shard"]:
        cells = shard(cells, *options["shard"])
    name = _name(options["profile"])
    store = Store(options["results"], name)
    if options["list_cells"] or options["dry_run"]:
        listing.show_cells(cells, store, data, console, executor.lanes, details=options["dry_run"])
        return
    if not cells:
        console.print("this shard has no cells, because there are more shards than cells.")
        return
    summary = run_matrix(
        cells,
        store,
        data,
        Progress(console),
        executor,
        alone=not options["busy_machine"],
        checkpoint_every=options["checkpoint_every"],
        keep_weights=options["keep_weights"],
        checkpoints=options["checkpoints"],
    )
    for problem in store.problems:
        console.print(f"invalid record: {problem}", markup=False, soft_wrap=True)
    console.print(
        f"{summary.done} cells done, {summary.skipped} already there, "
        f"{len(summary.diverged)} diverged, {len(summary.failed)} failed, "
        f"in {summary.seconds:.0f} s."
    )
    if summary.whole or store.records():
        _report(store, options)
    if not summary.whole:
        raise SystemExit(1)


def _report(store: Store, options: dict) -> None:
    from suite.report import write_report

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


@cli.command()
@_also("profile", "results", "no_figures")
@click.pass_obj
def report(options: dict, **own) -> None:
    """Write tables and figures again, from the records only."""
    options = options | {key: value for key, value in own.items() if value}
    _report(_store(options), options)


@cli.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
@_also("profile", "results", "no_figures")
@click.pass_obj
def merge(options: dict, folders: tuple[Path, ...], **own) -> None:
    """Copy the valid records of other results FOLDERS into --results, then write the report.

    If two records contradict each other, both are named and nothing is copied. Exit status 1 if
    a record was left where it is.
    """
    from suite.records.merge import merge as join

    options = options | {key: value for key, value in own.items() if value}
    store = Store(options["results"], _name(options["profile"]))
    merged = join(store, folders)
    for problem in merged.problems:
        console.print(f"left: {problem}", markup=False, soft_wrap=True)
    console.print(f"{merged.copied} records copied, {merged.existing} already there.")
    if store.records():
        _report(store, options)
    if merged.problems:
        raise SystemExit(1)


@cli.command()
@click.option("--rerun", multiple=True, metavar="CELL", help="Compute it again and compare bits.")
@click.pass_obj
def verify(options: dict, rerun: tuple[str, ...]) -> None:
    """Check the records of a profile: schema, hashes, arrays, and the test episodes, drawn again.

    Exit status 1 if anything is wrong with one of them.
    """
    from suite.matrix.verify import verify as check

    store = _store(options)
    problems = check(store, _data(options), rerun, lambda text: click.echo(text))
    for problem in problems:
        click.echo(f"wrong: {problem}")
    click.echo(f"{len(problems)} problems." if problems else "no problems.")
    if problems:
        raise SystemExit(1)


def _store(options: dict) -> Store:
    """Return the store of records that are there."""
    store = Store(options["results"], _name(options["profile"]))
    if not store.folder.is_dir():
        raise UserError(f"there are no records in {str(store.folder)!r}; run the profile first.")
    return store


@cli.command()
@_also("profile", "results")
@click.pass_obj
def cite(options: dict, **own) -> None:
    """Print what to put into a paper: a sentence for the methods, and BibTeX."""
    from suite.report import cited

    options = options | {key: value for key, value in own.items() if value}
    results, profile = options["results"], _name(options["profile"])
    if not Store(results, profile).folder.is_dir():
        load_profile(options["profile"])  # a name that nobody knows is a slip
    click.echo(cited(results, profile), nl=False)


@cli.command()
@click.option("--fast", is_flag=True, help="A few cases, in less than a minute.")
@click.option("--against", metavar="REV", help="Compare with this commit, not with the baseline.")
@click.option("--update", is_flag=True, help="Make a new baseline from the present code.")
@click.option(
    "--only", default="", metavar="TEXT", help="Measure only cases with this text in their name."
)
@_also("results")
@click.pass_obj
def gate(options: dict, fast: bool, against: str | None, update: bool, only: str, **own) -> None:
    """Say whether the parts of a profile's cells are slower than they were.

    Compares with the baseline of this kind of machine in RESULTS/gate, which is made where there is
    none. Exit status 1 if something is slower.
    """
    from suite.gate.command import run_gate as run

    for name in ("threads", "processes"):
        if options[name]:
            raise UserError(f"the gate measures with one thread of one process; omit --{name}.")
    options = options | {key: value for key, value in own.items() if value}
    kinds = devices.resolve(options["device_names"] or load_profile(options["profile"]).devices)
    try:
        outcome, text, folder = run(
            _cells(options, kinds, 1),
            _data(options),
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


@cli.group(name="protocols", invoke_without_command=True)
@click.pass_context
def protocols_command(context: click.Context) -> None:
    """List the protocols behind published numbers; show one, or the difference of two."""
    from suite.published import listing

    if context.invoked_subcommand is None:
        listing.show_protocols(console)


@protocols_command.command()
@click.argument("name")
def show(name: str) -> None:
    """Print every item of a protocol, how it is known, and where that is written."""
    from suite.published import listing

    listing.show_protocol(name, console)


@protocols_command.command()
@click.argument("first")
@click.argument("second")
def diff(first: str, second: str) -> None:
    """Print the items in which two protocols differ."""
    from suite.published import listing

    listing.show_difference(first, second, console)


@cli.command(name="list")
def list_command() -> None:
    """List profiles, algorithms, tasks, models and engines."""
    from suite.matrix import listing

    listing.show_registered(console)


def main() -> None:
    """Run the command line."""
    program = Path(sys.argv[0]).name
    cli(prog_name="python -m suite" if program == "__main__.py" else program)
