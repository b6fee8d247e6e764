"""Duration of a matrix on 1 to 512 devices, simulated from the times of recorded cells.

    python benchmarks/scheduling.py [--profile paper] [--devices 1,8,64,512] [--cores 2]

A device is a machine like the one that made the records; a cell without a record takes the time
that `suite.matrix.estimates` guesses. Each cell begins on the first free device. There are three
orders: longest first by all known times, as in the executors; longest first only by the cells'
descriptions, as if there were no records yet; and the order of the profile, for comparison. The
lower bound is the longest cell or the mean load of the devices, whichever is longer.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import click
from tabulate import tabulate

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from suite.config.cell import Cell
from suite.config.profile import expand, load_profile
from suite.matrix.cost import cost
from suite.matrix.estimates import Estimates
from suite.matrix.progress import in_words
from suite.matrix.schedule import makespan
from suite.records.schema import Record
from suite.records.store import Store

HEADERS = ("devices", "lower bound", "set by", "longest first", "by description", "profile's order")


def records_in(results: Path) -> list[Record]:
    """Return the records of every profile in a results folder."""
    folders = sorted(path for path in (results / "records").iterdir() if path.is_dir())
    return [record for path in folders for record in Store(results, path.name).records()]


def simulated(cells: Sequence[Cell], estimates: Estimates, devices: int) -> tuple[str, ...]:
    """Return a row of the table: the lower bound, and by how much three orders exceed it."""
    seconds = {cell.label: estimates.seconds(cell) or 0.0 for cell in cells}
    longest, mean = max(seconds.values()), sum(seconds.values()) / devices
    bound = max(longest, mean)
    orders = (
        sorted(cells, key=lambda cell: -seconds[cell.label]),
        sorted(cells, key=lambda cell: -cost(cell)),
        cells,
    )
    lanes = [("cpu",)] * devices
    ends = [makespan([("cpu", seconds[cell.label]) for cell in order], lanes) for order in orders]
    above = (f"+{abs(100 * (end / bound - 1)):.1f} %" for end in ends)  # no -0.0
    return str(devices), in_words(bound), "load" if mean > longest else "longest cell", *above


@click.command()
@click.option("--profile", default="paper", show_default=True)
@click.option("--results", type=click.Path(path_type=Path), default=Path("results"))
@click.option("--devices", default="1,8,64,512", show_default=True)
@click.option("--cores", default=2, show_default=True, help="Of a device.")
def main(profile: str, results: Path, devices: str, cores: int) -> None:
    """Print the table."""
    records = records_in(results)
    (processor, _), *_ = Counter(record.provenance.processor for record in records).most_common()
    estimates = Estimates(records, on=processor)
    cells = expand(load_profile(profile), ["cpu"], cores)
    known = sum(estimates.known(cell) is not None for cell in cells)
    rows = [simulated(cells, estimates, int(count)) for count in devices.split(",")]
    print(
        f"{len(cells)} cells of {profile}, {known} with times of their own kind, on {processor}.\n"
    )
    print(tabulate(rows, HEADERS, tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()
