"""Choice of the engine that computes a cell, with a self-check at first use.

``auto`` takes the fast engine if it passes the self-check on this model, algorithm and protocol: in
float64 its outer gradient and its adapted weights must equal the reference's to 1e-9 relative
(`Algorithm.tolerance`). Otherwise the reference computes the cell, and the reason is written to the
record.
"""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from suite.algorithms.base import Algorithm
from suite.core import registry
from suite.core.episodes import EpisodeContext, Episodes, Examples
from suite.core.errors import UserError
from suite.core.streams import Stream
from suite.engines.base import Engine
from suite.tasks.base import EpisodeShape

FAST = "explicit"
#: Largest relative distance that an algorithm may accept in the self-check.
LOOSEST = 1e-6
#: Relative distance above which the cause is not rounding but another formula.
GROSS = 1e-3
EPISODES = 2


class EngineChoice(NamedTuple):
    """The engine chosen by name, the reason in words, and the measured distance if there is one."""

    name: str
    reason: str
    distance: float | None


def choose(
    requested: str,
    model: nn.Module,
    loss: str,
    algorithm: Algorithm,
    shape: EpisodeShape,
    input_shape: tuple[int, ...],
    outputs: int,
    loss_scale: float = 1.0,
    identity: str | None = None,
) -> EngineChoice:
    """Return the engine to use for a cell; see the module.

    ``identity`` names the model's structure: models of one identity are checked once per process.
    With None this model is checked again.

    Raises:
        UserError: the requested engine is unknown or cannot run this cell.
    """
    name = FAST if requested == "auto" else requested
    reason = registry.engines.get(name).refuses(model, loss, algorithm)
    if reason is None and name == "reference":
        return EngineChoice(name, "asked for: the plain loop", None)
    distance = None
    if reason is None:
        key = None if identity is None else json.dumps(
            [name, identity, loss, loss_scale, algorithm.identity(), shape.model_dump(),
             input_shape, outputs]
        )  # fmt: skip
        try:
            distance = _measured.get(key) if key else None
            if distance is None:
                build: Callable[[str], Engine] = functools.partial(_engine, model, loss, loss_scale)
                distance = self_check(
                    build(name), build("reference"), algorithm, shape, input_shape, outputs
                )
            if key:
                _measured[key] = distance
        except Exception as error:  # after any error of an engine, the reference may still run it
            reason = f"its self-check raised {type(error).__name__}: {error}"
    if distance is not None:
        if distance <= min(algorithm.tolerance, LOOSEST):
            return EngineChoice(name, f"proved in float64 to {distance:.0e}", distance)
        if distance > GROSS and algorithm.second_order and algorithm.writes_outer:
            raise UserError(
                f"the outer gradient that {algorithm.name} writes is not that of the query loss "
                f"through its adapt (off by {distance:.0e}); leave second_order False, or fix it."
            )
        reason = f"its float64 self-check is off by {distance:.0e} relative"
    if requested != "auto":
        raise UserError(
            f"the engine {requested!r} cannot run {algorithm.name}: {reason}; use --engine auto."
        )
    return EngineChoice("reference", f"{FAST} stepped aside: {reason}", distance)


_measured: dict[str, float] = {}


def _engine(model: nn.Module, loss: str, loss_scale: float, name: str) -> Engine:
    engine: Any = registry.engines.get(name)
    return engine(copy.deepcopy(model).cpu(), loss, loss_scale=loss_scale, dtype=torch.float64)


def self_check(
    engine: Engine,
    reference: Engine,
    algorithm: Algorithm,
    shape: EpisodeShape,
    input_shape: tuple[int, ...],
    outputs: int,
) -> float:
    """Return the distance of ``engine`` from ``reference``, both in float64, on random episodes.

    It is the larger of the relative distances of the outer gradient and of the adapted weights.
    """
    algorithm = algorithm.for_self_check
    episodes = _made_up(shape, input_shape, outputs, engine.loss)
    theta = reference.layout.flatten(reference.model)
    noise = np.random.Generator(np.random.Philox(Stream("self-check").seed())).normal(
        size=theta.shape
    )
    theta = theta + 0.02 * torch.from_numpy(noise)
    found = []
    for one in (engine, reference):
        context = EpisodeContext(
            Stream("self-check", "draws"), inner_state=algorithm.initial_inner_state(one)
        )
        rows = []
        mine = one.layout.arranged(theta[None])[0]
        if algorithm.trains_on is not None:
            # A joint batch is one support set; a meta-batch is many.
            batch = episodes[:1] if algorithm.trains_on == "joint" else episodes
            outer = one.meta_gradient(algorithm, mine, batch, context)
            rows.append(outer.gradient[None])
        *_, adapted = algorithm.adapt(one, mine, episodes.support, 2, context)
        rows.append(adapted - mine)
        found.append(list(map(one.layout.natural, rows)))
    return max(_relative(a, b) for a, b in zip(*found, strict=True))


def _relative(a: Tensor, b: Tensor) -> float:
    distance, size = float((a - b).norm()), float(b.norm())
    return distance / size if size else distance


def _made_up(
    shape: EpisodeShape, input_shape: tuple[int, ...], outputs: int, loss: str
) -> Episodes:
    generator = torch.Generator().manual_seed(Stream("self-check", "episodes").seed())

    def examples(size: int) -> Examples:
        x = torch.rand(EPISODES, size, *input_shape, generator=generator, dtype=torch.float64)
        if loss == "cross_entropy":
            y = torch.arange(size).expand(EPISODES, -1) % outputs
        else:
            y = torch.randn(EPISODES, size, outputs, generator=generator, dtype=torch.float64)
        return Examples(x, y)

    return Episodes(
        examples(shape.support_size), examples(shape.query_size), np.zeros((EPISODES, 1))
    )
