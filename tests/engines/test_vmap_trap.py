"""The trap that the self-check is there for: `torch.func.vmap` around the library's batch norm.

Differentiating over a vmap whose inside takes an inner gradient through ``F.batch_norm`` gives
another gradient, with no warning and the right loss (functorch issue 534). An engine built so must
be caught.
"""

from __future__ import annotations

import pytest
import torch
from torch.func import functional_call, grad, vmap

from suite.algorithms.maml import MAML
from suite.core.episodes import OuterGradient
from suite.engines.base import episode_losses
from suite.engines.reference import ReferenceEngine
from suite.engines.selection import self_check
from suite.tasks.base import EpisodeShape
from tests.problems import CONTEXT, PROBLEMS, distance


class VmapEngine(ReferenceEngine):
    """What one would write first: the whole meta-batch in one vmap, one step of MAML."""

    def parts(self, algorithm, episodes):
        return [slice(0, len(episodes))]

    def outer(self, algorithm, theta, episodes, context):
        def loss(theta, x, y):
            outputs = functional_call(self.model, self.layout.unflatten(theta), (x,))
            return self.loss_scale * episode_losses(self.loss, outputs[None], y[None])[0]

        def adapted_loss(theta, xs, ys, xq, yq):
            return loss(theta - algorithm.inner_rate * grad(loss)(theta, xs, ys), xq, yq)

        def meta_loss(theta):
            data = episodes.support.x, episodes.support.y, episodes.query.x, episodes.query.y
            return vmap(adapted_loss, in_dims=(None, 0, 0, 0, 0))(theta, *data).mean()

        return OuterGradient(grad(meta_loss)(theta), meta_loss(theta).detach())


def check(name):
    problem, rule = PROBLEMS[name], MAML(inner_rate=0.1)
    model = problem.engine("reference").model
    trap = VmapEngine(model, problem.loss, dtype=torch.float64)
    theta, episodes = problem.theta(), problem.episodes(count=3)
    right = problem.engine("reference").meta_gradient(rule, theta, episodes, CONTEXT)
    found = trap.meta_gradient(rule, theta, episodes, CONTEXT)
    assert distance(found.loss, right.loss) < 1e-12
    caught = self_check(
        trap,
        problem.engine("reference"),
        rule,
        EpisodeShape(ways=3, shots=2, query_shots=2),
        problem.input_shape,
        problem.outputs,
    )
    return distance(found.gradient, right.gradient), caught


@pytest.mark.parametrize("name", ["conv4-batch-stride-mean", "mlp-batch"])
def test_library_batch_norm_under_vmap_is_wrong_and_caught(name):
    distance_, caught = check(name)
    assert distance_ > 1e-6
    assert caught > MAML().tolerance


def test_without_batch_norm_the_same_engine_is_right():
    distance_, caught = check("conv4-none-stride-mean")
    assert max(distance_, caught) < MAML().tolerance
