"""Cost of a cell, computed only from its description: the same number on every machine."""

from __future__ import annotations

import json
from functools import lru_cache

import torch

from suite.cell.timing import count_flops
from suite.config.cell import Cell
from suite.core.streams import Stream
from suite.models.base import build_model

#: Cost of one gradient in forward passes, and the factor that second order adds to a gradient.
GRADIENT, SECOND_ORDER = 3, 2
#: FLOP that take as long as the dispatch of one gradient, which limits small models.
DISPATCH = 10**7


def cost(cell: Cell) -> int:
    """Return the approximate FLOP of a cell's training and tests, including dispatch."""
    algorithm, task, train = cell.make_algorithm(), cell.make_task(), cell.protocol.train
    outputs = task.outputs(cell.protocol.evaluations[0])
    example = _forward_flops(json.dumps(cell.model), task.input_shape, outputs)

    def gradients(count: int, examples: int) -> int:
        return count * (DISPATCH + GRADIENT * example * examples)

    total = 0
    if algorithm.trains_on == "joint":
        total = gradients(train.steps, train.meta_batch * train.support_size)
    elif algorithm.trains_on == "episodes":
        steps, batch = algorithm.gradients
        seen = batch or train.support_size
        order = 1 + SECOND_ORDER * algorithm.second_order
        total = order * gradients(train.steps * steps, train.meta_batch * seen)
        if algorithm.query_loss:
            total += gradients(train.steps, train.meta_batch * train.query_size)
    for test in cell.protocol.evaluations:
        examples = test.episodes * (test.support_size + test.query_size)
        total += gradients(1 + test.steps, examples)
    return total


@lru_cache(maxsize=64)
def _forward_flops(model: str, input_shape: tuple[int, ...], outputs: int) -> int:
    """Return the FLOP of a model's forward pass for one example."""
    options = json.loads(model)
    try:
        built = build_model(options.pop("name"), options, input_shape, outputs, Stream("cost"))
        two = torch.zeros(2, *input_shape)  # batch norm needs two examples
        return (count_flops(lambda: built(two)) or 0) // 2
    except Exception:  # the model's cells fail, too, and report the reason
        return 0
