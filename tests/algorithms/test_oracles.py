"""Each algorithm against an oracle that shares no code with it."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch.func import functional_call
from torch.nn import functional as F

from suite.algorithms.finetune import FineTune
from suite.algorithms.fomaml import FOMAML
from suite.algorithms.maml import MAML
from suite.algorithms.multitask import MultiTask
from suite.algorithms.reptile import Reptile
from suite.algorithms.sgd import SGD
from suite.cell.setup import set_up
from suite.core.episodes import EpisodeContext, Episodes, Examples
from suite.core.streams import Stream
from tests.cells import make
from tests.problems import CONTEXT, PROBLEMS, arranged, distance, meta_gradient, natural

ENGINES = ("reference", "explicit")
NAMES = ("sinusoid-mlp", "smooth-mlp-batch", "conv4-batch-stride-mean", "beta-mlp-kept")


def _torch_path(problem, theta, batches, make_optimiser):
    """Adapt one episode with torch.optim on an ordinary module; return the flat weights."""
    engine = problem.engine("reference")
    model = copy.deepcopy(engine.model)
    with torch.no_grad():
        for name, value in engine.layout.unflatten(theta).items():
            model.get_parameter(name).copy_(value)
    outer_only = getattr(model, "outer_only", frozenset())
    optimiser = make_optimiser([p for n, p in model.named_parameters() if n not in outer_only])
    path = [theta]
    for x, y in batches:
        optimiser.zero_grad()
        outputs = model(x)
        if problem.loss == "cross_entropy":
            F.cross_entropy(outputs, y).backward()
        else:
            F.mse_loss(outputs, y).backward()
        optimiser.step()
        path.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    return path


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("batch", [0, 4])
def test_sgd_is_torch_optim_sgd(name, engine, batch):
    problem = PROBLEMS[name]
    rule = SGD(inner_rate=0.07, inner_batch=batch)
    theta, support = problem.theta(), problem.episodes().support
    one = problem.engine(engine)
    path = list(rule.adapt(one, arranged(one, theta), support, 4, CONTEXT))
    batches = CONTEXT.minibatches(support, batch, 4)
    for t in range(len(support)):
        pairs = [(b.x[t], b.y[t]) for b in batches]
        truth = _torch_path(problem, theta, pairs, lambda p: torch.optim.SGD(p, lr=0.07))
        for found, wanted in zip(path, truth, strict=True):
            assert distance(natural(one, found[t].detach()), wanted) < 1e-12


@pytest.mark.parametrize("engine", ENGINES)
def test_reptile_is_torch_optim_adam_without_momentum(engine):
    problem = PROBLEMS["smooth-mlp"]
    rule = Reptile(inner_rate=0.02, inner_batch=4)
    theta, support = problem.theta(), problem.episodes().support
    path = list(rule.adapt(problem.engine(engine), theta, support, 5, CONTEXT))
    batches = CONTEXT.minibatches(support, 4, 5)
    for t in range(len(support)):
        pairs = [(b.x[t], b.y[t]) for b in batches]
        truth = _torch_path(
            problem, theta, pairs, lambda p: torch.optim.Adam(p, lr=0.02, betas=(0.0, 0.999))
        )
        for found, wanted in zip(path, truth, strict=True):
            assert distance(found[t].detach(), wanted) < 1e-10


def test_minibatches_walk_shuffles_without_replacement():
    x = torch.arange(7.0).repeat(3, 1)[..., None]
    batches = CONTEXT.minibatches(Examples(x, x), 3, 5)
    walked = torch.cat([b.x[..., 0] for b in batches], dim=1)  # 15 = 7 + 7 + 1
    assert walked.shape == (3, 15)
    for row in walked.tolist():
        assert sorted(row[:7]) == sorted(row[7:14]) == list(range(7))
    assert walked[0].tolist() != walked[1].tolist()
    assert walked[0, :7].tolist() != walked[0, 7:14].tolist()
    # An episode's shuffle depends on its number in the stream alone.
    alone = CONTEXT._replace(first=1).minibatches(Examples(x[1:2], x[1:2]), 3, 5)
    assert torch.equal(
        torch.cat([b.x for b in alone], 1)[0], torch.cat([b.x for b in batches], 1)[1]
    )


@pytest.mark.parametrize("engine", ENGINES)
def test_fomaml_is_its_definition(engine):
    """The query gradient at theta_3, by plain autograd on an ordinary module."""
    problem = PROBLEMS["conv4-batch-stride-mean"]
    rule, theta, episodes = (
        FOMAML(inner_rate=0.1, inner_steps=3),
        problem.theta(),
        problem.episodes(),
    )
    outer = meta_gradient(problem.engine(engine), rule, theta, episodes)
    reference = problem.engine("reference")
    total = torch.zeros_like(theta)
    for t in range(len(episodes)):
        pairs = [(episodes.support.x[t], episodes.support.y[t])] * 3
        *_, end = _torch_path(problem, theta, pairs, lambda p: torch.optim.SGD(p, lr=0.1))
        leaf = end.clone().requires_grad_()
        outputs = functional_call(
            reference.model, reference.layout.unflatten(leaf), (episodes.query.x[t],)
        )
        loss = F.cross_entropy(outputs, episodes.query.y[t])
        total += torch.autograd.grad(loss, leaf)[0]
    assert distance(outer.gradient, total / len(episodes)) < 1e-10


@pytest.mark.parametrize("engine", ENGINES)
def test_maml_minus_fomaml_is_minus_alpha_h_v(engine):
    problem, alpha = PROBLEMS["smooth-conv4-batch"], 0.1
    one, theta, episodes = problem.engine(engine), problem.theta(), problem.episodes()
    maml = meta_gradient(one, MAML(inner_rate=alpha), theta, episodes).gradient
    fomaml = meta_gradient(one, FOMAML(inner_rate=alpha), theta, episodes).gradient
    reference = problem.engine("reference")
    total = torch.zeros_like(theta)
    for t in range(len(episodes)):

        def support_loss(at, t=t):
            return reference.loss_of(at, episodes.support, t)

        gradient = torch.func.grad(support_loss)
        adapted = theta - alpha * gradient(theta)
        v = torch.func.grad(lambda at, t=t: reference.loss_of(at, episodes.query, t))(adapted)
        total -= alpha * torch.autograd.functional.hvp(support_loss, theta, v)[1]
    assert distance(maml - fomaml, total / len(episodes)) < 1e-9


@pytest.mark.parametrize("engine", ENGINES)
def test_reptile_with_one_full_batch_step_is_joint_training(engine):
    """theta - mean theta_i,1 = alpha * gradient of the pooled loss (Nichol et al., section 5.1)."""
    problem = PROBLEMS["smooth-mlp"]
    one, theta, episodes = problem.engine(engine), problem.theta(), problem.episodes()
    rule = Reptile(inner_rate=0.05, inner_steps=1, inner_optimiser="sgd")
    reptile = one.meta_gradient(rule, theta, episodes, CONTEXT).gradient
    support = episodes.support
    pooled = Examples(support.x.flatten(0, 1)[None], support.y.flatten(0, 1)[None])
    batch = Episodes(pooled, pooled, episodes.draw_ids[:1])
    joint = one.meta_gradient(FineTune(), theta, batch, CONTEXT).gradient
    assert distance(reptile, 0.05 * joint) < 1e-10


@pytest.mark.parametrize("engine", [*ENGINES, "higher"])
@pytest.mark.parametrize("steps", [1, 4])
def test_maml_on_a_quadratic_has_a_closed_form(engine, steps):
    """A linear model and squared error: w_K - w* = (I - alpha A)^K (w_0 - w*).

    With A = 2 X'X / n over inputs with a constant column, the meta-gradient is
    ((I - alpha A)^K)' 2 Z'(Z w_K - y) / m for query inputs Z.
    """
    from tests.problems import Problem

    problem = Problem("quadratic", "mlp", {"hidden": ()}, (3,), "squared_error")
    object.__setattr__(problem, "loss", "squared_error")
    one, theta, episodes, alpha = problem.engine(engine), problem.theta(), problem.episodes(), 0.05
    outer = one.meta_gradient(MAML(inner_rate=alpha, inner_steps=steps), theta, episodes, CONTEXT)
    weight, bias = theta[:6].view(2, 3), theta[6:]
    w0 = torch.cat([weight, bias[:, None]], dim=1).T  # (4, 2)
    total = torch.zeros_like(w0)
    for t in range(len(episodes)):

        def with_ones(x):
            return torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], dim=1)

        x, z = with_ones(episodes.support.x[t]), with_ones(episodes.query.x[t])
        y, u = episodes.support.y[t], episodes.query.y[t]
        a = 2 * x.T @ x / y.numel()
        best = torch.linalg.lstsq(x, y).solution
        shrink = torch.linalg.matrix_power(torch.eye(4, dtype=a.dtype) - alpha * a, steps)
        w = best + shrink @ (w0 - best)
        total += shrink.T @ (2 * z.T @ (z @ w - u) / u.numel())
    total /= len(episodes)
    truth = torch.cat([total[:3].T.flatten(), total[3]])
    assert distance(outer.gradient, truth) < 1e-10


def test_fine_tuning_gives_every_episode_a_fresh_head():
    problem = PROBLEMS["mlp-none"]
    engine, theta, support = problem.engine("explicit"), problem.theta(), problem.episodes().support
    zero = next(FineTune().adapt(engine, theta, support, 1, CONTEXT))
    random = next(FineTune(new_head="random").adapt(engine, theta, support, 1, CONTEXT))
    head = slice(engine.layout.head[0].start, None)
    assert not zero[:, head].any()
    assert random[:, head].abs().max() <= 4**-0.5
    assert not torch.equal(random[0, head], random[1, head])
    for start in (zero, random):
        assert torch.equal(start[0, : head.start], theta[: head.start])


def test_inner_loop_leaves_the_parameters_that_are_not_its_own():
    problem = PROBLEMS["conv4-beta-kept"]
    engine, theta, episodes = problem.engine("explicit"), problem.theta(), problem.episodes()
    *_, adapted = MAML(inner_rate=0.1).adapt(engine, theta, episodes.support, 3, CONTEXT)
    kept = engine.adapted == 0
    assert int(kept.sum()) == 4 * 4
    assert torch.equal(adapted[0][kept], theta[kept])
    assert (adapted[0][~kept] != theta[~kept]).double().mean() > 0.8
    outer = engine.meta_gradient(MAML(inner_rate=0.1), theta, episodes, EpisodeContext(Stream("x")))
    assert outer.gradient[kept].abs().min() > 0  # the outer loop trains them


@pytest.mark.parametrize("engine", ENGINES)
def test_reptile_carries_one_torch_adam_from_episode_to_episode(engine):
    """One Adam over all episodes in turn, its state kept while the weights are put back."""
    problem = PROBLEMS["smooth-mlp"]
    rule = Reptile(inner_rate=0.02, inner_batch=4, inner_steps=3, inner_state="carried")
    one, theta, episodes = problem.engine(engine), problem.theta(), problem.episodes()
    model = copy.deepcopy(problem.engine("reference").model)
    spans = problem.engine("reference").layout.unflatten(theta)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02, betas=(0.0, 0.999))
    batches = CONTEXT.minibatches(episodes.support, 4, 3)

    def episode(batches, t):
        with torch.no_grad():
            for name, value in spans.items():
                model.get_parameter(name).copy_(value)
        for batch in batches:
            optimiser.zero_grad()
            # The sum over the mini-batch, as in the official code.
            (len(batch.x[t]) * F.mse_loss(model(batch.x[t]), batch.y[t])).backward()
            optimiser.step()
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    ends = torch.stack([episode(batches, t) for t in range(len(episodes))])
    found = one.meta_gradient(
        rule, theta, episodes, CONTEXT._replace(inner_state=rule.initial_inner_state(one))
    )
    assert distance(found.gradient, theta - ends.mean(0)) < 1e-9
    moments = torch.cat([optimiser.state[p]["exp_avg_sq"].flatten() for p in model.parameters()])
    assert distance(found.inner_state[:-1], moments) < 1e-12
    assert found.inner_state[-1] == 3 * len(episodes)
    # At test every episode starts with what training left, and leaves it as it was; mini-batches
    # of another size meet a state of sums.
    state = copy.deepcopy(optimiser.state_dict())
    context = CONTEXT._replace(inner_state=found.inner_state)
    at_test = rule.model_copy(update={"inner_batch": 2})
    *_, adapted = at_test.adapt(one, theta, episodes.support, 3, context)
    batches = CONTEXT.minibatches(episodes.support, 2, 3)
    for t in range(len(episodes)):
        optimiser.load_state_dict(copy.deepcopy(state))
        assert distance(adapted[t], episode(batches, t)) < 1e-9
    fresh_rule = rule.model_copy(update={"inner_state": "fresh"})
    fresh = one.meta_gradient(fresh_rule, theta, episodes, CONTEXT)
    assert distance(fresh.gradient, theta - ends.mean(0)) > 1e-3


@pytest.mark.parametrize("anchor", ["none", "zero", "mean"])
def test_multitask_is_one_torch_adam_a_task(anchor):
    problem = PROBLEMS["smooth-mlp"]
    rule = MultiTask(task_steps=4, task_rate=0.02, task_batch=4, anchor=anchor, weight=0.3)
    one, theta, episodes = problem.engine("explicit"), problem.theta(), problem.episodes()
    outer = one.meta_gradient(rule, theta, episodes, CONTEXT)
    starts = rule._random(one, theta, len(episodes), CONTEXT)
    assert not torch.equal(starts[0], starts[1])
    batches = CONTEXT.minibatches(episodes.support, 4, 4)
    reference, ends = problem.engine("reference"), []
    for t, start in enumerate(starts):
        leaf = start.clone().requires_grad_()
        optimiser = torch.optim.Adam([leaf], lr=0.02)
        for batch in batches:
            optimiser.zero_grad()
            to = {"none": leaf.detach(), "zero": torch.zeros_like(leaf), "mean": theta}[anchor]
            loss = reference.loss_of(leaf, batch, t) + 0.3 * (leaf - to).square().sum()
            loss.backward()
            optimiser.step()
        ends.append(leaf.detach())
    assert distance(outer.gradient, theta - torch.stack(ends).mean(0)) < 1e-9


def test_multitask_starts_norms_at_one_and_nought_and_is_rehearsed_briefly():
    problem = PROBLEMS["smooth-mlp-batch"]
    one, theta = problem.engine("explicit"), problem.theta()
    rule = MultiTask(task_steps=5000)
    start = rule._random(one, theta, 3, CONTEXT)
    spans = {span.name: start[:, span.start : span.stop] for span in one.layout.spans}
    norms = [name for name, rows in spans.items() if bool((rows == 1).all())]
    assert norms
    for name in norms:
        assert not spans[name.removesuffix("weight") + "bias"].any()
    assert (rule.for_self_check.task_steps, MultiTask(task_steps=3).for_self_check.task_steps) == (
        200,
        3,
    )


def test_fine_tuning_decays_its_rate_as_torch7():
    problem = PROBLEMS["smooth-mlp"]
    rule = FineTune(inner_rate=0.1, inner_decay=0.5, new_head="random")
    one, theta, support = problem.engine("reference"), problem.theta(), problem.episodes().support
    path = list(rule.adapt(one, theta, support, 3, CONTEXT))
    for k, rate in enumerate((0.1, 0.1 / 1.5, 0.1 / 2)):
        step = path[k] - rate * one.gradient(path[k], support)[1]
        assert distance(path[k + 1], step) < 1e-12


def test_a_random_head_is_bounded_by_its_layers_fan_in():
    problem = PROBLEMS["mlp-none"]
    engine, theta, support = problem.engine("explicit"), problem.theta(), problem.episodes().support
    start = next(FineTune(new_head="random").adapt(engine, theta, support, 1, CONTEXT))
    weight, bias = engine.layout.head
    bound = weight.shape[-1] ** -0.5
    assert start[:, bias.start : bias.stop].abs().max() <= bound
    assert start[:, weight.start : weight.stop].abs().max() > 0.8 * bound


class TensorFlowAdam:
    """TensorFlow 1's Adam in numpy: epsilon beside the uncorrected second moment."""

    def __init__(self, theta, rate, beta1=0.9, beta2=0.999, eps=1e-8):
        self.theta, self.rate, self.betas, self.eps = np.array(theta), rate, (beta1, beta2), eps
        self.m, self.v, self.t = np.zeros_like(self.theta), np.zeros_like(self.theta), 0

    def step(self, g):
        (b1, b2), self.t = self.betas, self.t + 1
        rate = self.rate * np.sqrt(1 - b2**self.t) / (1 - b1**self.t)
        self.m = b1 * self.m + (1 - b1) * g
        self.v = b2 * self.v + (1 - b2) * g * g
        self.theta = self.theta - rate * self.m / (np.sqrt(self.v) + self.eps)
        return self.theta


def gap(found, wanted):
    """The largest distance of a number, relative to the largest step away from the first."""
    return float(np.abs(found.detach().numpy() - wanted).max() / np.abs(wanted).max())


@pytest.mark.parametrize("kind", ["tensorflow", "pytorch"])
def test_the_outer_adam_is_tensorflows(kind):
    """Fed with the gradients of a training, the first of which are below epsilon."""
    cell = make({"name": "maml", "outer_epsilon": kind}, steps=12)
    cell = cell.model_copy(
        update={"numerics": cell.numerics.model_copy(update={"dtype": "float64"})}
    )
    loop = set_up(cell, None, torch.device("cpu")).outer_loop()
    oracle, worst = TensorFlowAdam(loop.theta.numpy(), 1e-3), 0.0
    follow = loop.gradient

    def small(step, theta, state):
        outer = follow(step, theta, state)
        return outer._replace(gradient=outer.gradient * 10.0 ** (step - 9))

    loop.gradient = small
    for step in range(12):
        loop.step(step)
        oracle.step(loop.weights.grad.numpy())
        worst = max(worst, gap(loop.theta, oracle.theta))
    assert (worst < 1e-15) == (kind == "tensorflow")
    assert worst < 1e-15 or worst > 1e-4


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", ["tensorflow", "pytorch"])
@pytest.mark.parametrize("state", ["fresh", "carried"])
def test_reptiles_inner_adam_is_tensorflows(engine, kind, state):
    problem = PROBLEMS["smooth-mlp"]
    rule = Reptile(inner_rate=0.02, inner_batch=4, inner_epsilon=kind, inner_state=state)
    one, theta, support = problem.engine(engine), problem.theta(), problem.episodes().support
    # Of examples so like their targets that gradients are about epsilon.
    near = one.outputs(theta[None].expand(len(support), -1), support.x).detach()
    support = Examples(support.x, near + 1e-8 * (support.y - near))
    carried = rule.initial_inner_state(one)
    start, before = np.zeros(len(theta)), 0
    if carried is not None:
        start, before = np.linspace(0, 1e-16, len(theta)), 3
        carried = torch.tensor([*start, before], dtype=theta.dtype)
    path = list(rule.adapt(one, theta, support, 5, CONTEXT._replace(inner_state=carried)))
    worst = 0.0
    for t in range(len(support)):
        oracle = TensorFlowAdam(theta.numpy(), 0.02, beta1=0.0)
        oracle.v, oracle.t = start.copy(), before
        for k, batch in enumerate(CONTEXT.minibatches(support, 4, 5)):
            gradient = one.gradient(path[k], batch)[1][t].numpy()
            oracle.theta = path[k][t].numpy()
            wanted = oracle.step(gradient * (4 if state == "carried" else 1))
            worst = max(worst, gap(path[k + 1][t], wanted))
    assert (worst < 1e-14) == (kind == "tensorflow")
    assert worst < 1e-14 or worst > 1e-5


@pytest.mark.parametrize("kind", ["tensorflow", "pytorch"])
def test_the_adam_of_a_tasks_own_training_is_tensorflows(kind):
    problem = PROBLEMS["smooth-mlp"]
    rule = MultiTask(task_steps=4, task_rate=0.02, task_epsilon=kind)
    one, theta, episodes = problem.engine("reference"), problem.theta(), problem.episodes()
    starts = rule._random(one, theta, len(episodes), CONTEXT)
    near = one.outputs(starts, episodes.support.x).detach()
    support = Examples(episodes.support.x, near + 1e-8 * (episodes.support.y - near))
    episodes = Episodes(support, support, episodes.draw_ids)
    ends = rule.episode_terms(one, theta, episodes, CONTEXT)[0]
    worst = 0.0
    for t, start in enumerate(starts):
        oracle, at = TensorFlowAdam(start.numpy(), 0.02), starts.clone()
        for _ in range(4):
            at[t] = torch.from_numpy(oracle.step(one.gradient(at, support)[1][t].numpy()))
        worst = max(worst, gap(ends[t], oracle.theta))
    assert (worst < 1e-12) == (kind == "tensorflow")
    assert worst < 1e-12 or worst > 1e-5
