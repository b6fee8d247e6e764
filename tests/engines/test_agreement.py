"""Every engine against the plain loop, and all of them against finite differences, in float64."""

from __future__ import annotations

import pytest
import torch

from suite.algorithms.finetune import FineTune
from suite.algorithms.fomaml import FOMAML
from suite.algorithms.maml import MAML
from suite.algorithms.reptile import Reptile
from tests.problems import CONTEXT, PROBLEMS, distance, meta_gradient

EXACT = 1e-9
FAST = ("explicit", "higher")
ALGORITHMS = {
    "maml-1": MAML(inner_rate=0.1, inner_steps=1),
    "maml-3": MAML(inner_rate=0.1, inner_steps=3),
    "maml-minibatch": MAML(inner_rate=0.1, inner_steps=3, inner_batch=4),
    "fomaml-3": FOMAML(inner_rate=0.1, inner_steps=3),
    "reptile-sgd": Reptile(inner_rate=0.1, inner_steps=3, inner_batch=4, inner_optimiser="sgd"),
    "reptile-adam": Reptile(inner_rate=0.01, inner_steps=3, inner_batch=4),
}


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_engines_equal_the_plain_loop(name, algorithm):
    problem, rule = PROBLEMS[name], ALGORITHMS[algorithm]
    theta, episodes = problem.theta(), problem.episodes()
    truth = meta_gradient(problem.engine("reference"), rule, theta, episodes)
    assert truth.gradient.norm() > 1e-6
    for engine in FAST:
        found = meta_gradient(problem.engine(engine), rule, theta, episodes)
        assert distance(found.gradient, truth.gradient) < rule.tolerance, engine
        assert distance(found.loss, truth.loss) < rule.tolerance, engine


def test_tolerance_is_strict_but_for_adam():
    assert {n: r.tolerance for n, r in ALGORITHMS.items()} == {
        **dict.fromkeys(ALGORITHMS, EXACT),
        "reptile-adam": 1e-7,
    }


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("engine", ["reference", "explicit"])
def test_point_is_gradient_and_hessian(name, engine):
    """Gradient and Hessian-vector product against central differences of loss and gradient."""
    problem = PROBLEMS[name]
    one, episodes = problem.engine(engine), problem.episodes()
    theta = problem.theta().expand(2, -1).contiguous()
    point = one.linearise(theta, episodes.support)
    assert distance(point.gradient, one.gradient(theta, episodes.support)[1]) < 1e-12
    direction = torch.randn(theta.shape, generator=torch.Generator().manual_seed(2)).double()
    direction /= direction.norm()
    h = 1e-5
    up, down = (one.gradient(theta + s * h * direction, episodes.support) for s in (1, -1))
    slope = (up[0] - down[0]) / (2 * h)
    curve = (up[1] - down[1]) / (2 * h)
    # Behind a kink (ReLU, max-pool) a difference is exact only where no unit crosses it.
    bound = 1e-6 if problem.smooth else 1e-4
    assert distance((point.gradient * direction).sum(-1), slope) < bound
    assert distance(point.hessian_vector(direction), curve) < bound


@pytest.mark.parametrize("name", [n for n, p in PROBLEMS.items() if p.smooth])
@pytest.mark.parametrize("engine", ["reference", "explicit", "higher"])
def test_meta_gradient_is_the_slope_of_the_meta_loss(name, engine):
    """MAML's gradient against central differences of the adapted query loss, on smooth twins."""
    problem, rule = PROBLEMS[name], MAML(inner_rate=0.1, inner_steps=2)
    one, theta, episodes = problem.engine(engine), problem.theta(), problem.episodes()
    found = one.meta_gradient(rule, theta, episodes, CONTEXT)

    def meta_loss(at):
        *_, adapted = rule.adapt(one, at, episodes.support, rule.inner_steps, CONTEXT)
        return one.losses(adapted, episodes.query).mean()

    direction = torch.randn(theta.shape, generator=torch.Generator().manual_seed(3)).double()
    direction /= direction.norm()
    h = 1e-4
    # Fourth-order central difference: its error is far below the bound of 1e-6.
    weights = {-2: 1 / 12, -1: -2 / 3, 1: 2 / 3, 2: -1 / 12}
    slope = sum(w * meta_loss(theta + k * h * direction) for k, w in weights.items()) / h
    assert abs(float(found.gradient @ direction - slope)) < 1e-6 * abs(float(slope))


@pytest.mark.parametrize("name", PROBLEMS)
def test_outputs_and_joint_gradient(name):
    problem = PROBLEMS[name]
    theta, episodes = problem.theta(), problem.episodes()
    reference, explicit = problem.engine("reference"), problem.engine("explicit")
    rows = theta.expand(2, -1)
    x = episodes.query.x
    assert (
        distance(
            explicit.outputs(explicit.layout.arranged(rows), x), reference.outputs(rows, x).detach()
        )
        < EXACT
    )
    one = episodes[:1]
    joint = [meta_gradient(e, FineTune(), theta, one) for e in (explicit, reference)]
    assert distance(joint[0].gradient, joint[1].gradient) < EXACT
