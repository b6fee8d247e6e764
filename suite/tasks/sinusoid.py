"""Sinusoid regression, as in MAML section 5.1 (Finn et al. 2017)."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from suite import registry
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
    """

    kind = "regression"

    @property
    def input_shape(self) -> tuple[int, ...]:
        """One number."""
        return (1,)

    def load(self, data: Path | None, device: torch.device) -> SinusoidSampler:
        """Return the sampler; there are no data to read."""
        return SinusoidSampler(device)


class SinusoidSampler(Sampler):
    """Draws sinusoids. A row of words is: amplitude, phase, support inputs, query inputs."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def check(self, shape: EpisodeShape, split: Split) -> None:
        """Raise `UserError` for more than one way: a curve has points, not classes."""
        if shape.ways != 1:
            raise UserError(f"sinusoid has no {shape.ways} ways; leave ways out: shots are points.")

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
        cut = shape.support_size
        return Episodes(
            Examples(xy[0, :, :cut], xy[1, :, :cut]),
            Examples(xy[0, :, cut:points], xy[1, :, cut:points]),
            np.concatenate([amplitude, phase, x], axis=1),
        )

    def probe(self) -> Tensor:
        """Return 101 even inputs over the range of x."""
        return torch.linspace(*INPUT, 101, device=self.device)[:, None]

    def truth(self, episodes: Episodes, inputs: Tensor) -> np.ndarray:
        """Return the curves (T, m) of the episodes, from their drawn amplitudes and phases."""
        amplitude, phase = episodes.draws[:, :1], episodes.draws[:, 1:2]
        return amplitude * np.sin(inputs[:, 0].cpu().double().numpy() - phase)
