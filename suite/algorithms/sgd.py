"""Stochastic gradient descent from scratch: what an episode gives without any meta-training."""

from __future__ import annotations

from suite.algorithms.base import Algorithm
from suite.core import registry


@registry.algorithm("sgd")
class SGD(Algorithm):
    """Plain SGD on the support set from one random initialisation per seed.

    The initialisation is the same for every episode. `inner_batch` 0 is full-batch descent.
    """

    trains_on = None
