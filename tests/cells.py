"""Small cells, their records, and a profile of two of them."""

from __future__ import annotations

import json

from suite.config.cell import Cell, Numerics, Protocol
from suite.records.provenance import processor
from suite.records.schema import Record
from tests.report.builder import record, timing

PROTOCOL = {
    "train": {"shots": 5, "query_shots": 5, "meta_batch": 4, "steps": 12},
    "evaluations": [{"name": "test", "shots": 5, "query_shots": 5, "episodes": 8, "steps": 2}],
    "curve_points": 3,
    "curve_episodes": 4,
}
IMAGES = {
    "train": {"ways": 3, "shots": 2, "query_shots": 2, "meta_batch": 2, "steps": 4},
    "evaluations": [
        {"name": "test", "ways": 3, "shots": 2, "query_shots": 2, "episodes": 6, "steps": 2},
        {"name": "alone", "ways": 3, "shots": 2, "query_shots": 2, "episodes": 6, "steps": 2,
         "batch_norm": "support"},
    ],
    "curve_points": 2,
    "curve_episodes": 4,
}  # fmt: skip

#: A profile of two cells, which take a moment.
PROFILE = """
description = "two tiny cells"
seeds = [0]
threads = 1

[[experiments]]
name = "tiny"
task = { name = "sinusoid" }
model = { name = "mlp", hidden = [8] }
train = { shots = 5, query_shots = 5, meta_batch = 4, steps = 6 }
evaluations = [ { name = "test", shots = 5, query_shots = 5, episodes = 8, steps = 2 } ]
curve_points = 2
curve_episodes = 4

[experiments.algorithms.maml]
inner_rate = 0.01

[experiments.algorithms.sgd]
inner_rate = 0.01
"""


def make(algorithm="maml", images=False, seed=0, engine="auto", **changes):
    protocol = json.loads(json.dumps(IMAGES if images else PROTOCOL))
    protocol["train"].update(changes)
    rule = {"name": algorithm} if isinstance(algorithm, str) else algorithm
    return Cell(
        experiment="e",
        variant=rule["name"],
        algorithm=rule,
        task={"name": "glyphs"} if images else {"name": "sinusoid"},
        model={"name": "conv4", "filters": 4} if images else {"name": "mlp", "hidden": [8]},
        seed=seed,
        protocol=Protocol.model_validate_json(json.dumps(protocol)),
        numerics=Numerics(device="cpu", engine=engine),
    )


def told(cell: Cell, seconds: float, **where) -> Record:
    """Return a record of a cell whose training took so many seconds."""
    times = timing().model_copy(update={"training_seconds": seconds, "evaluation_seconds": 1.0})
    where = {"processor": processor(), **where}
    return record(cell, times=times, where=where)[0]
