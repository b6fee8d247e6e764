"""Stochastic gradient descent from scratch, the baseline without any meta-training."""

from __future__ import annotations

from suite.algorithms.base import Algorithm
from suite.core import registry


@registry.algorithm("sgd")
class SGD(Algorithm):
    """Plain SGD on the support set from one random initialisation per seed.

    The initialisation is the same for every episode. `inner_batch` 0 is full-batch descent.
    """

    title = "SGD from scratch"
    rank = 0
    colour, marker, dashes = "#4d4d4d", "x", (1, 1)

    trains_on = None
