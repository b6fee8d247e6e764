"""The group of commands and its options, which select the cells that are run."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from suite.cli import gate, listings, records
from suite.cli.options import csv, renamed, seeds, shard
from suite.cli.run import run_profile
from suite.core import registry, signals
from suite.core.errors import UserError
from suite.core.version import __version__
from suite.executors.factory import NAMES
from suite.records.provenance import NO_REPLAY


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
    "--algorithms",
    callback=csv,
    help="Run only these algorithms or variants, comma-separated.",
)
@click.option("--tasks", callback=csv, help="Run only these experiments or tasks, comma-separated.")
@click.option("--seeds", callback=seeds, help="Run these seeds, such as 0,1,2.")
@click.option("--device", "device_names", callback=csv, help="Run on cpu, cuda or all devices.")
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
    callback=shard,
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
    renamed(options, "shards", "processes")
    renamed(options, "shared", "busy_machine")
    if options["no_replay"]:
        os.environ[NO_REPLAY] = "1"  # worker processes inherit it
    for plugin in options["plugins"]:
        registry.load_plugin(plugin)
    if context.invoked_subcommand is None:
        run_profile(options)


for _command in (*records.COMMANDS, gate.gate, *listings.COMMANDS):
    cli.add_command(_command)


def main() -> None:
    """Run the command line."""
    program = Path(sys.argv[0]).name
    cli(prog_name="python -m suite" if program == "__main__.py" else program)
