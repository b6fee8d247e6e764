"""In float32 an engine is judged by its distance from the float64 truth, beside the plain loop's.

Meta-gradients of several steps are ill-conditioned: rounding moves every engine's, so none can be
held to the others. Medians over fresh draws; a single draw may fall either way.
"""

from __future__ import annotations

from statistics import median

import pytest
import torch

from suite.algorithms.maml import MAML
from tests.problems import PROBLEMS, distance, meta_gradient

SHOWN = (
    "sinusoid-mlp",
    "mlp-batch",
    "conv4-batch-stride-mean",
    "conv4-batch-max_pool-flatten",
    "conv4-batch_beta-stride-mean",
    "conv4-layer-stride-flatten",
    "conv4-group-max_pool-mean",
    "conv4-colour",
)


@pytest.mark.parametrize("name", SHOWN)
def test_float32_is_as_near_the_truth_as_the_plain_loop(name):
    problem, rule = PROBLEMS[name], MAML(inner_rate=0.1, inner_steps=3)
    single, double = torch.float32, torch.float64
    truth = problem.engine("reference")
    engines = [problem.engine(engine, single) for engine in ("explicit", "reference")]
    errors: list[list[float]] = [[], []]
    for seed in range(20):
        # Drawn in float32, so that the truth sees the same numbers.
        theta, episodes = problem.theta(single, seed), problem.episodes(dtype=single, seed=seed)
        exact = meta_gradient(
            truth, rule, theta.to(double), episodes.to(torch.device("cpu"), double)
        ).gradient
        for engine, found in zip(engines, errors, strict=True):
            gradient = meta_gradient(engine, rule, theta, episodes).gradient
            found.append(distance(gradient.to(double), exact))
    fast, plain = errors
    assert median(fast) <= 3 * median(plain), (sorted(fast), sorted(plain))
