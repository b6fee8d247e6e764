"""Workloads for the comparison of engines: artificial few-shot problems of the papers' sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from suite.algorithms.base import Algorithm
from suite.algorithms.fomaml import FOMAML
from suite.algorithms.maml import MAML
from suite.algorithms.reptile import Reptile
from suite.core.episodes import Episodes, Examples
from suite.core.streams import Stream
from suite.models.base import build_model


@dataclass(frozen=True)
class Workload:
    """One meta-step: a model, a meta-batch of ``tasks`` episodes, inner ``steps``."""

    what: str
    model: str
    options: dict[str, Any]
    input_shape: tuple[int, ...]
    ways: int
    """Number of ways; 0 is regression."""
    tasks: int
    support: int
    query: int
    steps: int

    @property
    def loss(self) -> str:
        """Name of the loss."""
        return "cross_entropy" if self.ways else "squared_error"

    def network(self) -> nn.Module:
        """Return the model, which is the same every time."""
        return build_model(
            self.model, self.options, self.input_shape, self.ways or 1, Stream("bench")
        )

    def algorithm(self, name: str) -> Algorithm:
        """Return an algorithm with this workload's inner steps, full batches and rate 0.01."""
        if name == "reptile":
            return Reptile(inner_steps=self.steps, inner_optimiser="sgd")
        return {"maml": MAML, "fomaml": FOMAML}[name](inner_steps=self.steps)

    def episodes(self) -> Episodes:
        """Return a meta-batch of noise, which is the same every time."""
        generator = torch.Generator().manual_seed(0)

        def examples(count: int) -> Examples:
            x = torch.randn(self.tasks, count, *self.input_shape, generator=generator)
            if self.ways:
                y = (torch.arange(count) % self.ways).expand(self.tasks, -1).contiguous()
            else:
                y = torch.randn(self.tasks, count, 1, generator=generator)
            return Examples(x, y)

        return Episodes(examples(self.support), examples(self.query), np.zeros((self.tasks, 1)))


_OMNIGLOT: dict[str, Any] = {"model": "conv4", "options": {}, "input_shape": (1, 28, 28)}
_SINUSOID: dict[str, Any] = {
    "model": "mlp", "options": {}, "input_shape": (1,), "ways": 0, "tasks": 25, "support": 10,
    "query": 10,
}  # fmt: skip
_COLOUR: dict[str, Any] = {
    "model": "conv4",
    "options": {"filters": 32, "down": "max_pool", "head": "flatten"},
    "input_shape": (3, 84, 84),
}

WORKLOADS = {
    "S1": Workload("sinusoid, MLP 1-40-40-1, 10 + 10 points, 25 episodes", **_SINUSOID, steps=1),
    "S5": Workload("the same", **_SINUSOID, steps=5),
    "O1": Workload(
        "Omniglot 5-way 1-shot, 15 query a class, Conv4-64 stride 2, 32 episodes",
        **_OMNIGLOT, ways=5, tasks=32, support=5, query=75, steps=1,
    ),
    "O5": Workload("the same", **_OMNIGLOT, ways=5, tasks=32, support=5, query=75, steps=5),
    "O20": Workload(
        "20-way, 16 episodes", **_OMNIGLOT, ways=20, tasks=16, support=20, query=300, steps=5
    ),
    "M5": Workload(
        "mini-ImageNet 5-way 1-shot, 15 query a class, Conv4-32 max-pool 84x84, 4 episodes",
        **_COLOUR, ways=5, tasks=4, support=5, query=75, steps=5,
    ),
}  # fmt: skip
