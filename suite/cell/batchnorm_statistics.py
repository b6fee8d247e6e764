"""Running statistics of batch norm, as deep-learning libraries keep them, for a meta-test.

MAML and Reptile never use them: each batch is normalised by its own mean and variance. A port that
switches a model to evaluation mode before the query set normalises by running averages instead:

    running <- (1 - m) running + m batch        after every pass in training mode, m = 0.1

begun at mean 0 and variance 1, with the unbiased variance of the batch. Here the passes are those
over `PASSES` meta-training support sets at the trained weights, then those of the inner loop of the
current episode (as in Ravi and Larochelle's code when it fine-tunes: pre-trained-SGD.lua:24, 56).
The code loops over single episodes, because it only tests what other code does and never trains.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.func import functional_call

from suite.engines.base import Engine

MOMENTUM = 0.1
PASSES = 100

#: Mean and variance (features,) of each batch norm of a model, in order.
Statistics = list[tuple[Tensor, Tensor]]


class RunningStatistics:
    """Passes of a model that update the running statistics of episodes, or normalise by them.

    Args:
        engine: engine of the model; weights are given as rows of its layout.
        seen: function that returns the inputs (n, *input_shape) of the passes before the test.
    """

    def __init__(self, engine: Engine, seen: Callable[[], Iterable[Tensor]]) -> None:
        self._layout, self._seen = engine.layout, seen
        self._model = copy.deepcopy(engine.model)
        kinds = (nn.BatchNorm1d, nn.BatchNorm2d)
        self._norms = [module for module in self._model.modules() if isinstance(module, kinds)]
        self._trained: tuple[Tensor, Statistics] | None = None

    @torch.no_grad()
    def trained(self, theta: Tensor) -> Statistics:
        """Return the statistics with which every episode begins, at the trained weights (P,).

        They depend on nothing else, so they are kept for the next episodes at the same weights.
        """
        if self._trained is None or not torch.equal(self._trained[0], theta):
            found = [
                (theta.new_zeros(norm.num_features), theta.new_ones(norm.num_features))
                for norm in self._norms
            ]
            for x in self._seen():
                found = self._after(found, theta, x.to(theta))
            self._trained = theta.clone(), found
        return self._trained[1]

    @torch.no_grad()
    def after(self, statistics: list[Statistics], theta: Tensor, x: Tensor) -> list[Statistics]:
        """Return each episode's statistics after one more pass, over ``x`` (T, n, ...)."""
        return [self._after(*row) for row in zip(statistics, theta, x, strict=True)]

    @torch.no_grad()
    def outputs(self, statistics: list[Statistics], theta: Tensor, x: Tensor) -> Tensor:
        """Return outputs (T, n, outputs) with every batch norm using its episode's statistics."""
        rows = zip(statistics, theta, x, strict=True)
        return torch.stack([self._outputs(*row) for row in rows])

    def _after(self, statistics: Statistics, theta: Tensor, x: Tensor) -> Statistics:
        seen: list[Tensor] = []
        hooks = [
            norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
            for norm in self._norms
        ]
        try:
            functional_call(self._model, self._layout.unflatten(theta), (x,))
        finally:
            for hook in hooks:
                hook.remove()
        found = []
        for (mean, variance), values in zip(statistics, seen, strict=True):
            axes = [axis for axis in range(values.ndim) if axis != 1]
            new = values.mean(axes), values.var(axes, correction=1)
            found.append((mean.lerp(new[0], MOMENTUM), variance.lerp(new[1], MOMENTUM)))
        return found

    def _outputs(self, statistics: Statistics, theta: Tensor, x: Tensor) -> Tensor:
        for norm, (mean, variance) in zip(self._norms, statistics, strict=True):
            norm.running_mean, norm.running_var = mean, variance
            norm.eval()
        try:
            return functional_call(self._model, self._layout.unflatten(theta), (x,))
        finally:
            for norm in self._norms:
                norm.running_mean = norm.running_var = None
                norm.train()
