"""The checks, by kind of component; each takes a registered name and raises AssertionError."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from suite.algorithms.base import Algorithm
from suite.core import registry
from suite.core.component import Component, validated
from suite.core.episodes import EpisodeContext, Episodes, Examples
from suite.core.errors import UserError
from suite.core.streams import Stream
from suite.engines import selection
from suite.engines.base import Engine
from suite.models.base import build_model, check_options
from suite.tasks.base import EpisodeShape, Sampler, Task

Check = Callable[[str], None]
CHECKS: dict[str, list[Check]] = {"algorithm": [], "task": [], "model": []}
_WAYS, _STEPS = 3, 3
_REGISTRIES = {
    "algorithm": registry.algorithms,
    "task": registry.tasks,
    "model": registry.models,
}


def _check(kind: str) -> Callable[[Check], Check]:
    def file(check: Check) -> Check:
        CHECKS[kind].append(check)
        return check

    return file


def contract_tests(plugin: str | Path | None = None, data: Path | None = None) -> Callable:
    """Return one parametrised pytest function: every check on every component of a plug-in.

    Args:
        plugin: file of the plug-in, relative to the calling test file; None for the built-in
            components.
        data: folder of data sets for tasks that read some; it stays set after the call.

    Raises:
        UserError: if the plug-in cannot be imported.
    """
    import pytest

    before = {kind: set(r.names()) for kind, r in _REGISTRIES.items()}
    if plugin is not None:
        frame = inspect.stack()[1]
        registry.load_plugin(Path(frame.filename).parent / plugin)
        wanted = {kind: set(r.names()) - before[kind] for kind, r in _REGISTRIES.items()}
    else:
        wanted = before
    _Data.folder = data
    cases = [
        pytest.param(check, name, id=f"{kind}-{name}-{check.__name__}")
        for kind, checks in CHECKS.items()
        for name in sorted(wanted[kind])
        for check in checks
    ]
    if not cases:
        raise UserError(f"{plugin} registers no algorithm, task or model; nothing to check.")

    @pytest.mark.parametrize(("check", "name"), cases)
    def test_contract(check: Check, name: str) -> None:
        try:
            check(name)
        except _DataMissing as missing:
            pytest.skip(str(missing))

    return test_contract


class _Data:
    folder: Path | None = None


class _DataMissing(Exception):
    """Raised if a task's data are not on this machine."""


# ------------------------------------------------------------------ algorithms


def _engine(name: str = "reference") -> Engine:
    model = build_model("mlp", {"hidden": (6,), "norm": "layer"}, (4,), _WAYS, Stream("contract"))
    return registry.engines.get(name)(model, "cross_entropy", dtype=torch.float64)


def _episodes(count: int = 2, n: int = 6) -> Episodes:
    generator = torch.Generator().manual_seed(0)

    def examples() -> Examples:
        x = torch.randn(count, n, 4, generator=generator, dtype=torch.float64)
        return Examples(x, (torch.arange(n) % _WAYS).repeat(count, 1))

    return Episodes(examples(), examples(), np.zeros((count, 1)))


def _path(
    algorithm: Algorithm, episodes: Episodes, first: int = 0, steps: int = _STEPS
) -> list[Tensor]:
    engine = _engine()
    theta = engine.layout.flatten(engine.model).double()
    context = EpisodeContext(Stream("contract"), first)
    with torch.no_grad():
        return list(algorithm.adapt(engine, theta, episodes.support, steps, context))


@_check("algorithm")
def is_its_parameters(name: str) -> None:
    """Check that an equal algorithm can be built from the identity, and from nothing else."""
    cls = registry.algorithms.get(name)
    made = cls()
    identity = made.identity()
    assert identity.pop("name") == name
    assert validated(cls, identity, name) == made
    assert isinstance(made, Component)
    try:
        validated(cls, {"no_such_parameter": 1}, name)
    except UserError as error:
        assert "no_such_parameter" in str(error)
    else:
        raise AssertionError("an unknown parameter was accepted")


@_check("algorithm")
def adapts_step_by_step(name: str) -> None:
    """Check that adaptation yields finite theta_0 .. theta_K, (T, P) each, and changes weights."""
    path = _path(registry.algorithms.get(name)(), _episodes())
    assert len(path) == _STEPS + 1
    assert all(theta.shape == path[0].shape for theta in path)
    assert all(bool(theta.isfinite().all()) for theta in path)
    assert not torch.equal(path[0], path[-1])


@_check("algorithm")
def is_deterministic(name: str) -> None:
    """Check that equal draws give equal bits, and that a shorter path is a prefix of a longer."""
    algorithm = registry.algorithms.get(name)()
    one, two = (_path(algorithm, _episodes()) for _ in range(2))
    shorter = _path(algorithm, _episodes(), steps=_STEPS - 1)
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(shorter, one[:-1], strict=True))


@_check("algorithm")
def treats_episodes_apart(name: str) -> None:
    """Check that an episode adapts in the same way in any batch, at any place in the stream."""
    algorithm, episodes = registry.algorithms.get(name)(), _episodes()
    together = _path(algorithm, episodes)[-1]
    for t in range(2):
        alone = _path(algorithm, episodes[t : t + 1], first=t)[-1]
        torch.testing.assert_close(alone[0], together[t], rtol=1e-9, atol=1e-12)


@_check("algorithm")
def gives_an_outer_gradient(name: str) -> None:
    """Check that, if weights are meta-trained, the outer gradient (P,) is finite and not zero."""
    algorithm, engine, episodes = registry.algorithms.get(name)(), _engine(), _episodes()
    if algorithm.trains_on is None:
        return
    if algorithm.trains_on == "joint":
        episodes = episodes[:1]
    theta = engine.layout.flatten(engine.model).double()
    outer = engine.meta_gradient(algorithm, theta, episodes, EpisodeContext(Stream("contract")))
    assert outer.gradient.shape == theta.shape
    assert outer.loss.shape == ()
    assert bool(outer.gradient.isfinite().all())
    assert bool(outer.gradient.any())


@_check("algorithm")
def gives_each_episode_its_own(name: str) -> None:
    """Check that an episode's `episode_terms` are the same by itself and in a batch."""
    algorithm, engine, episodes = registry.algorithms.get(name)(), _engine(), _episodes()
    if not algorithm.is_separable:
        return
    theta, context = (
        1.1 * engine.layout.flatten(engine.model).double(),
        EpisodeContext(Stream("each"), 5),
    )
    rows, losses = algorithm.episode_terms(engine, theta, episodes, context)
    assert rows.shape == (len(episodes), len(theta))
    for t in range(len(episodes)):
        row, loss = algorithm.episode_terms(engine, theta, episodes[t : t + 1], context.after(t))
        torch.testing.assert_close(row[0], rows[t], rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(loss[0], losses[t], rtol=1e-9, atol=1e-12)


@_check("algorithm")
def runs_on_the_engine_chosen(name: str) -> None:
    """Check that the engine of ``auto`` equals the reference, or is the reference with a reason."""
    algorithm, engine = registry.algorithms.get(name)(), _engine()
    choice = selection.choose(
        "auto", engine.model, engine.loss, algorithm,
        EpisodeShape(ways=_WAYS, shots=2, query_shots=2), (4,), _WAYS,
    )  # fmt: skip
    assert choice.reason
    assert choice.name == "reference" or (choice.distance or 0.0) <= algorithm.tolerance


# ----------------------------------------------------------------------- tasks


def _sampler(name: str) -> tuple[Task, Sampler, EpisodeShape]:
    task = registry.tasks.get(name)()
    try:
        sampler = task.load(_Data.folder, torch.device("cpu"))
    except UserError as error:
        if not task.reads_data:
            raise
        raise _DataMissing(str(error)) from error
    ways = _WAYS if task.kind == "classification" else 1
    return task, sampler, EpisodeShape(ways=ways, shots=2, query_shots=2)


@_check("task")
def draws_what_it_says(name: str) -> None:
    """Check that shapes, types and labels follow the contract in every existing split."""
    task, sampler, shape = _sampler(name)
    for split in ("train", "validation", "test"):
        try:
            sampler.check(shape, split)  # type: ignore[arg-type]
        except UserError:
            assert split == "validation", f"{name} has no {split} split"
            continue
        episodes = sampler.sample(Stream("contract"), 0, 4, shape, split)  # type: ignore[arg-type]
        for part, n in ((episodes.support, shape.support_size), (episodes.query, shape.query_size)):
            assert part.x.shape == (4, n, *task.input_shape)
            assert part.x.dtype == torch.float32
            if task.kind == "classification":
                assert part.y.shape == (4, n)
                assert part.y.dtype == torch.int64
                counts = torch.stack([(part.y == way).sum(1) for way in range(shape.ways)])
                assert bool((counts == n // shape.ways).all()), "every way has its shots"
            else:
                assert part.y.shape == (4, n, 1)
        assert len(episodes.draw_ids) == 4
        if episodes.classes is not None:
            assert episodes.classes.shape == (4, shape.ways)


@_check("task")
def walks_through_its_tasks_again(name: str) -> None:
    """Check that episode i is task i modulo the number of tasks, or that a number is refused."""
    _, sampler, shape = _sampler(name)
    few = shape.model_copy(update={"tasks": 3})
    try:
        sampler.check(few, "train")
    except UserError:
        return
    new = sampler.sample(Stream("contract"), 0, 3, few, "train")
    again = sampler.sample(Stream("contract"), 4, 2, few, "train")
    for part in ("support", "query"):
        assert torch.equal(getattr(again, part).y, getattr(new, part).y[1:])
    if new.classes is not None and again.classes is not None:  # a pass may rotate characters
        assert np.array_equal(again.classes, new.classes[1:])
    else:
        assert torch.equal(again.support.x, new.support.x[1:])


@_check("task")
def redraws_any_episode(name: str) -> None:
    """Check that episode i depends on the stream and i: drawn by itself it has the same bits."""
    _, sampler, shape = _sampler(name)
    many = sampler.sample(Stream("contract"), 0, 6, shape, "test")
    few = sampler.sample(Stream("contract"), 4, 2, shape, "test")
    for part in ("support", "query"):
        assert torch.equal(getattr(few, part).x, getattr(many, part).x[4:])
        assert torch.equal(getattr(few, part).y, getattr(many, part).y[4:])
    assert few.sha256() == many[4:6].sha256()
    assert few.sha256() != many[:2].sha256()


@_check("task")
def more_queries_move_nothing(name: str) -> None:
    """Check that more queries keep the support set, and that fewer are a prefix of more."""
    _, sampler, shape = _sampler(name)
    more = shape.model_copy(update={"query_shots": 4})
    a = sampler.sample(Stream("contract"), 0, 3, shape, "test")
    b = sampler.sample(Stream("contract"), 0, 3, more, "test")
    assert torch.equal(a.support.x, b.support.x)
    few = a.query.x.unflatten(1, (shape.ways, 2))
    many = b.query.x.unflatten(1, (shape.ways, 4))
    assert torch.equal(few, many[:, :, :2])


@_check("task")
def pools_for_joint_training(name: str) -> None:
    """Check that a joint batch has the requested size, and labels among all meta-train classes."""
    task, sampler, shape = _sampler(name)
    batch = sampler.joint(Stream("contract"), 0, 2, 3, shape)
    assert batch.x.shape == (2, 3 * shape.support_size, *task.input_shape)
    if task.kind == "classification":
        assert int(batch.y.min()) >= 0
        assert int(batch.y.max()) < sampler.joint_outputs()


@_check("task")
def refuses_the_impossible(name: str) -> None:
    """Check that more ways than classes, or more shots than drawings, raise `UserError`."""
    task, sampler, shape = _sampler(name)
    if task.kind == "regression":
        return
    for update in ({"ways": 10**6}, {"shots": 10**6}):
        try:
            sampler.check(shape.model_copy(update=update), "test")
        except UserError:
            continue
        raise AssertionError(f"{update} was accepted")


# ---------------------------------------------------------------------- models

_IMAGE = (1, 28, 28)


def _model(name: str, stream: Stream) -> Any:
    return build_model(name, {}, _IMAGE, _WAYS, stream)


@_check("model")
def maps_examples_to_outputs(name: str) -> None:
    """Check that (n, *input_shape) maps to (n, outputs), for any number of outputs and examples."""
    model = _model(name, Stream("contract"))
    assert model(torch.randn(6, *_IMAGE)).shape == (6, _WAYS)


@_check("model")
def starts_from_its_stream(name: str) -> None:
    """Check that the stream determines the initialisation, and that options are validated."""
    first, again, other = (_model(name, Stream(s)) for s in ("a", "a", "b"))
    flat = [torch.cat([p.flatten() for p in m.parameters()]) for m in (first, again, other)]
    assert torch.equal(flat[0], flat[1])
    assert not torch.equal(flat[0], flat[2])
    try:
        check_options(name, {"no_such_option": 1})
    except UserError as error:
        assert "no_such_option" in str(error)
    else:
        raise AssertionError("an unknown option was accepted")


@_check("model")
def names_its_own_parameters(name: str) -> None:
    """Check that `head` and `outer_only`, if they exist, are names of parameters."""
    model = _model(name, Stream("contract"))
    names = {n for n, _ in model.named_parameters()}
    assert set(getattr(model, "head", ())) <= names
    assert set(getattr(model, "outer_only", ())) <= names


@_check("model")
def runs_on_an_engine(name: str) -> None:
    """Check that second-order MAML on the engine of ``auto`` equals the reference."""
    model = _model(name, Stream("contract"))
    maml = registry.algorithms.get("maml")(inner_rate=0.1)
    shape = EpisodeShape(ways=_WAYS, shots=1, query_shots=2)
    choice = selection.choose("auto", model, "cross_entropy", maml, shape, _IMAGE, _WAYS)
    found = []
    for engine_name in (choice.name, "reference"):
        engine = registry.engines.get(engine_name)(model, "cross_entropy", dtype=torch.float64)
        theta = engine.layout.flatten(engine.model)
        x = torch.rand(2, 2 * _WAYS, *_IMAGE, generator=torch.Generator().manual_seed(0)).double()
        part = Examples(x, (torch.arange(2 * _WAYS) % _WAYS).repeat(2, 1))
        episodes = Episodes(part, part, np.zeros((2, 1)))
        outer = engine.meta_gradient(maml, theta, episodes, EpisodeContext(Stream("contract")))
        assert bool(outer.gradient.isfinite().all())
        found.append(engine.layout.natural(outer.gradient[None]))
    assert float((found[0] - found[1]).norm()) <= 1e-9 * float(found[1].norm())


@_check("model")
def is_a_function(name: str) -> None:
    """Check that two forwards give equal bits: nothing is drawn outside the named streams."""
    model, x = _model(name, Stream("contract")), torch.randn(6, *_IMAGE)
    assert torch.equal(model(x), model(x))
