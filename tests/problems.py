"""Small learning problems in float64, one for every model and normalisation of the suite."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from suite.algorithms.base import Algorithm
from suite.core import registry
from suite.core.episodes import EpisodeContext, Episodes, Examples, OuterGradient
from suite.core.streams import Stream
from suite.engines.base import Engine
from suite.models.base import build_model

IMAGE = (1, 20, 18)


@dataclass(frozen=True)
class Problem:
    name: str
    model: str
    options: dict[str, Any] = field(default_factory=dict)
    input_shape: tuple[int, ...] = IMAGE
    loss: str = "cross_entropy"
    loss_scale: float = 1.0
    smooth: bool = False

    @property
    def outputs(self) -> int:
        return 3 if self.loss == "cross_entropy" else 2

    def engine(self, name: str, dtype: torch.dtype = torch.float64) -> Engine:
        model = build_model(self.model, self.options, self.input_shape, self.outputs, Stream("m"))
        return registry.engines.get(name)(model, self.loss, loss_scale=self.loss_scale, dtype=dtype)

    def theta(self, dtype: torch.dtype = torch.float64, seed: int = 1) -> torch.Tensor:
        model = build_model(self.model, self.options, self.input_shape, self.outputs, Stream("m"))
        flat = torch.cat([p.detach().flatten() for p in model.parameters()]).to(dtype)
        noise = torch.randn(flat.shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)
        return flat + 0.05 * noise  # off the symmetric start: scales of 1, offsets of 0

    def episodes(
        self, count: int = 2, n: int = 6, dtype: torch.dtype = torch.float64, seed: int = 0
    ) -> Episodes:
        generator = torch.Generator().manual_seed(seed)

        def examples(size: int) -> Examples:
            x = torch.randn(count, size, *self.input_shape, generator=generator, dtype=dtype)
            if self.loss == "cross_entropy":
                y = torch.randint(self.outputs, (count, size), generator=generator)
            else:
                y = torch.randn(count, size, self.outputs, generator=generator, dtype=dtype)
            return Examples(x, y)

        return Episodes(examples(n), examples(n + 1), torch.zeros(count, 1).numpy())


def _problems() -> list[Problem]:
    found = [
        Problem("sinusoid-mlp", "mlp", {"hidden": (7, 5)}, (1,), "squared_error"),
        Problem(
            "smooth-mlp",
            "mlp",
            {"hidden": (7, 5), "activation": "softplus"},
            (1,),
            "squared_error",
            smooth=True,
        ),
        Problem("leaky-mlp", "mlp", {"hidden": (7,), "activation": "leaky_relu"}, (4,)),
        Problem("linear", "mlp", {"hidden": ()}, (4,), smooth=True),
        Problem("scaled-loss", "mlp", {"hidden": (6,)}, (4,), loss_scale=3.0),
        Problem(
            "beta-mlp-kept", "mlp", {"hidden": (6, 5), "norm": "batch_beta", "norm_adapted": False}
        ),
    ]
    for norm in ("batch", "batch_beta", "layer", "group", "none"):
        widths = {"hidden": (8, 4), "norm": norm}
        found.append(Problem(f"mlp-{norm}", "mlp", widths, (5,)))
        found.append(
            Problem(
                f"smooth-mlp-{norm}", "mlp", {**widths, "activation": "softplus"}, (5,), smooth=True
            )
        )
        for down in ("stride", "max_pool"):
            for head in ("mean", "flatten"):
                options = {"filters": 4, "norm": norm, "down": down, "head": head}
                found.append(Problem(f"conv4-{norm}-{down}-{head}", "conv4", options))
        smooth = {"filters": 4, "norm": norm, "down": "mean_pool", "activation": "softplus"}
        found.append(Problem(f"smooth-conv4-{norm}", "conv4", smooth, smooth=True))
    found.append(
        Problem(
            "conv4-beta-kept", "conv4", {"filters": 4, "norm": "batch_beta", "norm_adapted": False}
        )
    )
    found.append(Problem("conv4-colour", "conv4", {"filters": 4}, (3, 17, 16)))
    same = {"filters": 4, "down": "max_pool_same", "head": "flatten"}
    found.append(Problem("conv4-odd-pools", "conv4", same, (1, 19, 18)))
    return found


PROBLEMS = {problem.name: problem for problem in _problems()}
CONTEXT = EpisodeContext(Stream("draws"))


def arranged(engine: Engine, theta: torch.Tensor) -> torch.Tensor:
    """Weights (P,), every parameter in its own order, in the order of an engine."""
    return engine.layout.arranged(theta[None])[0]


def natural(engine: Engine, theta: torch.Tensor) -> torch.Tensor:
    """Weights or a gradient (P,) of an engine with every parameter in its own order."""
    return engine.layout.natural(theta[None])[0]


def meta_gradient(
    engine: Engine, rule: Algorithm, theta: torch.Tensor, episodes: Episodes
) -> OuterGradient:
    """The engine's outer gradient at ``theta`` (P,), both in the parameters' own order."""
    context = CONTEXT._replace(inner_state=rule.initial_inner_state(engine))
    gradient, loss, _ = engine.meta_gradient(rule, arranged(engine, theta), episodes, context)
    return OuterGradient(natural(engine, gradient), loss)


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    """Relative distance of ``a`` from the truth ``b``."""
    return float((a - b).norm() / b.norm())
