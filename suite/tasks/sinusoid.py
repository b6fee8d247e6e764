"""Sinusoid regression, as in MAML section 5.1 (Finn et al. 2017)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from suite import registry
from suite.component import later
from suite.episodes import Episodes, Examples
from suite.errors import UserError
from suite.streams import Stream, uniform
from suite.tasks.base import EpisodeShape, Sampler, Split, Task

AMPLITUDE = (0.1, 5.0)
PHASE = (0.0, math.pi)
INPUT = (-5.0, 5.0)


@registry.task("sinusoid")
class Sinusoid(Task):
    """y = A sin(x - b): A ~ U[0.1, 5], b ~ U[0, pi], x ~ U[-5, 5] (data_generator.py:29-31, 173).

    The splits are three independent draws from the one distribution, as in the paper.

    Fields
        oracle: whether amplitude and phase stand beside every input (main.py:95-99): the paper's
            upper bound.
    """

    kind = "regression"

    oracle: bool = later(False)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """One number, or three for the oracle."""
        return (3,) if self.oracle else (1,)

    def data_identity(self) -> dict[str, Any]:
        """Return the identity without the oracle: it sees the same curves."""
        return {key: value for key, value in self.identity().items() if key != "oracle"}

    def load(self, data: Path | None, device: torch.device) -> SinusoidSampler:
        """Return the sampler; there are no data to read."""
        return SinusoidSampler(device, self.oracle)


class SinusoidSampler(Sampler):
    """Draws sinusoids. A row of words is: amplitude, phase, support inputs, query inputs."""

    def __init__(self, device: torch.device, oracle: bool) -> None:
        self.device = device
        self.oracle = oracle

    def check(self, shape: EpisodeShape, split: Split) -> None:
        """Raise `UserError` for more than one way: a curve has points, not classes."""
        if shape.ways != 1:
            raise UserError(f"sinusoid has no {shape.ways} ways; leave ways out: shots are points.")
        if shape.rotations is not None:
            raise UserError("sinusoid has no characters to turn; leave rotations out.")

    def sample(
        self, stream: Stream, first: int, count: int, shape: EpisodeShape, split: Split
    ) -> Episodes:
        """Return sinusoid episodes; see `Sampler.sample`."""
        points = shape.support_size + shape.query_size
        heads = stream.child("curve").rows(first, count, 2)
        # Support and query inputs come from streams of their own: more queries move nothing.
        support = stream.child("support").rows(first, count, shape.support_size)
        query = np.stack(
            [stream.child("query", q).words(first, count) for q in range(shape.query_size)], axis=1
        )
        amplitude = uniform(heads[:, :1], *AMPLITUDE)
        phase = uniform(heads[:, 1:], *PHASE)
        x = uniform(np.concatenate([support, query], axis=1), *INPUT)
        y = amplitude * np.sin(x - phase)
        xy = torch.from_numpy(np.stack([x, y]).astype(np.float32)).to(self.device)[..., None]
        inputs, targets = xy
        if self.oracle:
            curve = torch.from_numpy(np.concatenate([amplitude, phase], axis=1)).to(inputs)
            inputs = torch.cat([inputs, curve[:, None].expand(-1, points, -1)], dim=2)
        cut = shape.support_size
        return Episodes(
            Examples(inputs[:, :cut], targets[:, :cut]),
            Examples(inputs[:, cut:points], targets[:, cut:points]),
            np.concatenate([amplitude, phase, x], axis=1),
        )

    def probe(self) -> Tensor | None:
        """Return 101 even inputs over the range of x; none to the oracle, whose inputs differ."""
        if self.oracle:
            return None
        return torch.linspace(*INPUT, 101, device=self.device)[:, None]

    def truth(self, episodes: Episodes, inputs: Tensor) -> np.ndarray:
        """Return the curves (T, m) of the episodes, from their drawn amplitudes and phases."""
        amplitude, phase = episodes.draws[:, :1], episodes.draws[:, 1:2]
        return amplitude * np.sin(inputs[:, 0].cpu().double().numpy() - phase)
