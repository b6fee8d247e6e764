"""Every protocol item is read: flipping it changes episodes, loss, weights or scores.

The items come from the fields of the code itself, so one that nobody flips here fails, too.
"""

from __future__ import annotations

import json

import pytest
import torch

from suite.cell.run import run_cell
from suite.config.cell import Cell, EvaluationProtocol, Numerics, Protocol, TrainProtocol
from suite.core import registry
from suite.core.streams import Stream
from suite.models.base import options_of
from suite.tasks import omniglot, omniglot_data
from suite.tasks.base import EpisodeShape
from suite.tasks.glyphs import Glyphs
from tests.tasks.archives import TINY, pack

CPU = torch.device("cpu")

SINUSOID = {
    "task": {"name": "sinusoid"},
    "model": {"name": "mlp", "hidden": [6]},
    "train": {"shots": 6, "query_shots": 4, "meta_batch": 3, "steps": 4},
    "test": {"shots": 5, "query_shots": 5, "episodes": 6, "steps": 3},
}
IMAGES = {
    "task": {"name": "glyphs", "rotations": "episode"},
    "model": {"name": "conv4", "filters": 3, "norm": "batch"},
    "train": {"ways": 3, "shots": 2, "query_shots": 2, "meta_batch": 2, "steps": 3},
    "test": {"ways": 3, "shots": 2, "query_shots": 2, "episodes": 30, "steps": 2},
}
VECTORS = {**IMAGES, "model": {"name": "mlp", "hidden": [6], "norm": "batch"}}
#: Weights that move far in a few steps, so that scores move with them.
MAML = {"name": "maml", "inner_rate": 0.3, "outer_rate": 0.05}
ADAM = {"name": "reptile", "inner_rate": 0.05, "inner_steps": 3, "inner_batch": 2}
TASKS = {"name": "multitask", "task_steps": 4, "task_rate": 0.05}
TUNED = {"name": "finetune", "inner_rate": 0.3, "outer_rate": 0.05}

# One model has one number of outputs: the two go together.
WAYS = {"train.ways": 3, "test.ways": 3}, {"train.ways": 4, "test.ways": 4}

# By item: the cell in which it is flipped, as (base, algorithm), its value there and another one.
FLIPS = {
    "train.ways": (IMAGES, MAML, *WAYS),
    "train.shots": (SINUSOID, MAML, 6, 7),
    "train.query_shots": (SINUSOID, MAML, 4, 5),
    "train.rotations": (IMAGES, MAML, None, "none"),
    "train.tasks": (SINUSOID, MAML, None, 4),
    "train.meta_batch": (SINUSOID, MAML, 3, 4),
    "train.steps": (SINUSOID, MAML, 4, 5),
    "train.loss": (IMAGES, MAML, "mean", "per_shot"),
    "train.clip": (SINUSOID, MAML, None, 1e-4),
    "test.split": (SINUSOID, MAML, "test", "validation"),
    "test.ways": (IMAGES, MAML, *WAYS),
    "test.shots": (SINUSOID, MAML, 5, 6),
    "test.query_shots": (SINUSOID, MAML, 5, 6),
    "test.rotations": (IMAGES, MAML, None, "none"),
    "test.tasks": (SINUSOID, MAML, None, "maml"),
    "test.episodes": (SINUSOID, MAML, 6, 7),
    "test.steps": (SINUSOID, MAML, 3, 4),
    "test.report_step": (SINUSOID, MAML, 3, 1),
    "test.scored": (SINUSOID, MAML, None, [0, 3]),
    "test.by_class": (IMAGES, MAML, False, True),
    "test.batch_norm": (IMAGES, MAML, "transductive", "support"),
    "test.inner_batch": (SINUSOID, MAML, None, 2),
    "algorithm.name": (SINUSOID, MAML, "maml", "fomaml"),
    "algorithm.inner_rate": (SINUSOID, MAML, 0.3, 0.2),
    "algorithm.inner_steps": (SINUSOID, MAML, 1, 2),
    "algorithm.inner_batch": (SINUSOID, MAML, 0, 2),
    "algorithm.outer_optimiser": (SINUSOID, {"name": "fomaml"}, "adam", "sgd"),
    "algorithm.outer_rate": (SINUSOID, MAML, 0.05, 0.04),
    "algorithm.outer_schedule": (SINUSOID, MAML, "constant", "linear"),
    "algorithm.outer_epsilon": (SINUSOID, MAML, "pytorch", "tensorflow"),
    "algorithm.inner_epsilon": (SINUSOID, ADAM, "pytorch", "tensorflow"),
    "algorithm.task_epsilon": (SINUSOID, TASKS, "pytorch", "tensorflow"),
    "algorithm.inner_optimiser": (SINUSOID, ADAM, "adam", "sgd"),
    "algorithm.inner_beta2": (SINUSOID, ADAM, 0.999, 0.9),
    "algorithm.inner_state": (SINUSOID, ADAM, "fresh", "carried"),
    "algorithm.new_head": (IMAGES, TUNED, "zero", "random"),
    "algorithm.inner_decay": (SINUSOID, TUNED, 0.0, 1.0),
    "algorithm.task_steps": (SINUSOID, TASKS, 4, 5),
    "algorithm.task_rate": (SINUSOID, TASKS, 0.05, 0.04),
    "algorithm.task_batch": (SINUSOID, TASKS, 0, 2),
    "algorithm.anchor": (SINUSOID, {**TASKS, "weight": 1.0}, "none", "zero"),
    "algorithm.weight": (SINUSOID, {**TASKS, "anchor": "mean"}, 0.0, 1.0),
    "task.oracle": (SINUSOID, TUNED, False, True),
    "task.distortion": (IMAGES, MAML, 1.0, 0.5),
    "task.rotations": (IMAGES, MAML, "episode", "classes"),
    "task.rotate_test": (IMAGES, MAML, True, False),
    "model.hidden": (SINUSOID, MAML, [6], [7]),
    "model.norm": (VECTORS, MAML, "batch", "batch_beta"),
    "model.norm_adapted": (VECTORS, MAML, True, False),
    "model.activation": (SINUSOID, MAML, "relu", "leaky_relu"),
    "model.init": (SINUSOID, MAML, "torch", "xavier"),
    "model.head_init": (SINUSOID, MAML, "same", "normal"),
    "model.filters": (IMAGES, MAML, 3, 4),
    "model.down": (IMAGES, MAML, "stride", "max_pool"),
    "model.head": (IMAGES, MAML, "flatten", "mean"),
    "model.name": (IMAGES, MAML, {"model": IMAGES["model"]}, {"model": VECTORS["model"]}),
}  # fmt: skip

#: Items whose data are files: flipped on made-up ones, in their own tests and below.
IN_FILES = {
    "omniglot": {"split", "split_seed", "split_by_seed", "resize", "ink"},
    "folder": {"folder", "size", "channels", "resize", "jpeg", "shared_images"},
}


def every_item():
    """The items that the code has, by path."""
    found = {f"train.{name}" for name in TrainProtocol.model_fields}
    found |= {f"test.{name}" for name in EvaluationProtocol.model_fields if name != "name"}
    for kind, components in (("algorithm", registry.algorithms), ("task", registry.tasks)):
        for name in components.names():
            if not components.get(name).__module__.startswith("suite."):
                continue  # another test's plug-in
            fields = set(components.get(name).model_fields)
            found |= {f"{kind}.{field}" for field in fields - IN_FILES.get(name, set())}
    for name in registry.models.names():
        found |= {f"model.{field}" for field in options_of(name).model_fields}
    return found | {"algorithm.name", "model.name"}  # a task is its name: each draws its own


def test_every_item_is_flipped():
    assert every_item() == set(FLIPS)


def result(base, algorithm, changes):
    values = json.loads(json.dumps({**base, "algorithm": algorithm}))
    for path, value in changes.items():
        head, _, last = path.partition(".")
        if last:
            values[head][last] = value
        else:
            values[head] = value
    protocol = {
        "train": values["train"],
        "evaluations": [{"name": "test", **values["test"]}],
        "curve_points": 0,
    }
    cell = Cell(
        experiment="e",
        variant="v",
        algorithm=values["algorithm"],
        task=values["task"],
        model=values["model"],
        seed=0,
        protocol=Protocol.model_validate_json(json.dumps(protocol)),
        numerics=Numerics(device="cpu"),
    )
    record, _ = run_cell(cell, "test", None, CPU)
    found = record.results
    test = found.evaluations["test"]
    return (
        *(found.weights_sha256, found.curve.train_loss[-1:], found.arrays_sha256),
        *(test.episodes_sha256, test.headline_step, test.mean),
    )


@pytest.mark.parametrize("path", FLIPS)
def test_an_item_that_is_flipped_changes_what_comes_out(path):
    base, algorithm, *values = FLIPS[path]
    one, two = (value if isinstance(value, dict) else {path: value} for value in values)
    assert result(base, algorithm, one) == result(base, algorithm, one)
    assert result(base, algorithm, one) != result(base, algorithm, two)


@pytest.mark.parametrize(
    ("field", "one", "other", "split"),
    [
        ("distortion", 1.0, 0.5, "train"),
        ("rotations", "episode", "classes", "train"),
        ("rotate_test", True, False, "test"),
    ],
)
def test_glyphs_items_change_the_pictures_of_one_stream(field, one, other, split):
    shape = EpisodeShape(ways=3, shots=1, query_shots=1)
    pictures = []
    for value in (one, other):
        sampler = Glyphs(**{"rotations": "episode", field: value}).load(None, CPU)
        pictures.append(sampler.sample(Stream("flip"), 0, 8, shape, split).support.x)
    assert not torch.equal(*pictures)


@pytest.mark.parametrize(
    ("field", "one", "other"),
    [
        ("split", "random_1100", "alphabets"),
        ("split", "random_1100", "random_1200"),
        ("split", "random_1200", "reptile"),
        ("split_seed", 1, 2),
        ("split_by_seed", False, True),
        ("resize", "nearest", "lanczos"),
        ("ink", 1, 0),
    ],
)
def test_omniglot_items_change_the_pictures(field, one, other, tmp_path, monkeypatch):
    monkeypatch.setattr(omniglot_data, "PARTS", TINY)
    monkeypatch.setattr(omniglot, "SIZES", {"random_1100": (2, 1), "random_1200": (3, 0)})
    monkeypatch.setenv("FEWSHOT_SUITE_CACHE", str(tmp_path / "cache"))
    for part in TINY:
        pack(tmp_path, part)
    shape = EpisodeShape(ways=2, shots=1, query_shots=1)
    base = {"split": "random_1100", "split_seed": 1, "resize": "nearest", "ink": 1}
    pictures = []
    for value in (one, other):
        task = omniglot.Omniglot(**{**base, field: value}).for_seed(1)
        sampler = task.load(tmp_path, CPU)
        pictures.append(sampler.sample(Stream("flip"), 0, 8, shape, "train").support.x)
    assert not torch.equal(*pictures)
