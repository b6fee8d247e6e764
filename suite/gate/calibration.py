"""The calibration: plain work of the same kinds, written against torch and numpy alone.

A case is timed as a ratio to one of these in the same process, turn by turn: what the machine does
to both, a slower clock or a busy neighbour, falls out. Nothing of the suite is used here, so that
no change of the suite changes it; a change of this file makes stored baselines void (`sha256`).
"""

from __future__ import annotations

import hashlib
import itertools
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

TimedWork = Callable[[], object]
#: Width and classes of the plain networks.
FILTERS, HIDDEN, CLASSES = 16, 40, 5
#: Bytes of the store of images.
STORE = 24 * 2**20


def supervised(
    shape: tuple[int, ...], examples: int, episodes: int, device: torch.device, step: bool
) -> TimedWork:
    """Return a supervised pass over random examples, a training step or a forward pass alone.

    Images, (channels, height, width), go through a convolutional network, an episode's at a time;
    anything else through one perceptron for each episode, all at once in batched products.

    Args:
        shape: of one example.
        examples, episodes: how many of each.
        step: whether it is a training step.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(episodes, examples, *shape, generator=generator).to(device)
    if len(shape) != 3:
        return _perceptrons(x.flatten(2), step)
    network = _network(shape[0]).to(device)
    y = (torch.arange(examples) % CLASSES).to(device)
    optimiser = torch.optim.SGD(network.parameters(), lr=1e-4)

    def train() -> None:
        optimiser.zero_grad()
        for images in x:
            F.cross_entropy(network(images), y).backward()
        optimiser.step()

    @torch.no_grad()
    def forward() -> None:
        for images in x:
            network(images)

    return train if step else forward


def _network(channels: int) -> nn.Module:
    layers: list[nn.Module] = []
    for inputs in (channels, FILTERS, FILTERS, FILTERS):
        layers += [
            nn.Conv2d(inputs, FILTERS, 3, stride=2, padding=1),
            nn.BatchNorm2d(FILTERS, track_running_stats=False),
            nn.ReLU(),
        ]
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(FILTERS, CLASSES)
    )


def _perceptrons(x: Tensor, step: bool) -> TimedWork:
    """Return a pass of perceptrons over ``x`` (T, n, d), squared error against zero."""
    widths = [x.shape[-1], HIDDEN, HIDDEN, 1]
    weights = [
        torch.full((len(x), a, b), 0.01, device=x.device, requires_grad=step)
        for a, b in itertools.pairwise(widths)
    ]

    def loss() -> Tensor:
        values = x
        for weight in weights[:-1]:
            values = torch.bmm(values, weight).relu()
        return torch.bmm(values, weights[-1]).square().mean()

    def train() -> None:
        found = torch.autograd.grad(loss(), weights)
        with torch.no_grad():
            for weight, gradient in zip(weights, found, strict=True):
                weight.add_(gradient, alpha=-1e-4)

    return train if step else loss


def drawing(shape: tuple[int, ...], examples: int, device: torch.device) -> TimedWork:
    """Return the drawing of random examples: words of a counter, and what is made of them.

    Images are gathered from a store too large for caches; anything else is a formula of the words.
    """

    def words() -> Any:
        bits = np.random.Philox(key=1, counter=0)
        return bits.random_raw(examples) >> np.uint64(32)

    if len(shape) != 3:

        def formula() -> Tensor:
            x = words().astype(np.float64) * 2.0**-32
            y = np.sin(x * 10 - 5) * 2
            return torch.from_numpy(np.stack([x, y])).to(device, torch.float32)

        return formula
    store = torch.zeros(STORE // math.prod(shape), *shape, dtype=torch.uint8, device=device)

    def gather() -> Tensor:
        index = (words() * np.uint64(len(store)) >> np.uint64(32)).astype(np.int64)
        chosen = store.index_select(0, torch.from_numpy(index).to(device))
        return chosen.to(torch.float32).div_(255)

    return gather


def start() -> TimedWork:
    """Return the start of an interpreter that imports torch."""
    return lambda: subprocess.run([sys.executable, "-c", "import torch"], check=True)


def sha256() -> str:
    """Return the hash of this file: ratios to another calibration mean something else."""
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
