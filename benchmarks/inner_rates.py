"""Choice of the inner rate on meta-validation, for a published setting that does not state it.

    python run_all.py --profile paper --tasks sinusoid --algorithms pretrain --keep-weights
    python benchmarks/inner_rates.py sinusoid/pretrain 0.0003,0.001,0.003,0.01,0.02,0.05

The script reads the kept weights of the setting's trainings and adapts them at each rate to 600
meta-validation episodes of the first evaluation. It prints the score after the last step, with one
column per seed. It is for settings whose training does not use the inner rate: pre-training and the
oracle.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click
import numpy as np
import torch
from tabulate import tabulate

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from suite.cell.setup import set_up
from suite.config import presets as protocols
from suite.config.cell import Cell
from suite.config.profile import expand, load_profile
from suite.core.episodes import EpisodeContext
from suite.records.store import Store

EPISODES = 600


def score(cell: Cell, weights: torch.Tensor, rate: float) -> float:
    """Return the mean score after the last step from trained weights (P,) with an inner rate."""
    other = cell.model_copy(update={"algorithm": {**cell.algorithm, "inner_rate": rate}})
    setup = set_up(other, None, torch.device("cpu"))
    test = cell.protocol.evaluations[0].model_copy(update={"split": "validation", "tasks": None})
    context = EpisodeContext(setup.inner_stream.child("validation"))
    part = slice(0, EPISODES)
    values = setup.test.part(part, setup.adapted_from(weights), test, context, last=True).values
    return float(values.mean(dtype=np.float64))


@click.command()
@click.argument("preset")
@click.argument("rates")
@click.option("--results", type=click.Path(path_type=Path), default=Path("runs"))
def main(preset: str, rates: str, results: Path) -> None:
    """Print a table of the scores of RATES (comma-separated) for a PRESET."""
    found, store = protocols.get(preset), Store(results, "paper")
    cells = expand(load_profile("paper"), ["cpu"], tasks=[found.experiment])
    kept = {}
    for cell in cells:
        path = store.checkpoint(cell, keep=True)
        if cell.variant == found.variant and path.is_file():
            with np.load(path, allow_pickle=False) as file:
                kept[cell.seed] = (cell, torch.from_numpy(file["loop/weights"]))
    if not kept:
        raise click.ClickException(
            f"no kept weights of {preset} in {str(results)!r}; run it with --keep-weights first."
        )
    rows = []
    for rate in map(float, rates.split(",")):
        scores = [score(cell, weights, rate) for cell, weights in kept.values()]
        rows.append([f"{rate:g}", float(np.mean(scores)), *scores])
    headers = ["inner rate", "mean", *(f"seed {seed}" for seed in kept)]
    print(tabulate(rows, headers, tablefmt="github", floatfmt=".3g"))


if __name__ == "__main__":
    main()
