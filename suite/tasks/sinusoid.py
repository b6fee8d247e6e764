"""Sinusoid regression, as in MAML section 5.1 (Finn et al. 2017)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from suite.core import registry
from suite.core.component import added_field
from suite.core.episodes import Episodes, Examples
from suite.core.errors import UserError, unknown
from suite.core.streams import Stream, uniform
from suite.tasks.base import EpisodeShape, Sampler, Split, Task

AMPLITUDE = (0.1, 5.0)
PHASE = (0.0, math.pi)
INPUT = (-5.0, 5.0)


#: Amplitudes (T, 1), phases (T, 1) and inputs (T, points) of T curves.
SinusoidCurves = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]


def _drawn(
    stream: Stream, first: int, count: int, shape: EpisodeShape, period: int | None
) -> SinusoidCurves:
    """Return the curves of a stream, with the support inputs before the query inputs."""
    heads = stream.child("curve").rows(first, count, 2, period)
    # Support and query inputs come from separate streams, so more queries change nothing else.
    support = stream.child("support").rows(first, count, shape.support_size, period)
    query = [
        stream.child("query", q).rows(first, count, 1, period) for q in range(shape.query_size)
    ]
    x = uniform(np.concatenate([support, *query], axis=1), *INPUT)
    amplitude = uniform(heads[:, :1], *AMPLITUDE)
    return amplitude, uniform(heads[:, 1:], *PHASE), x


def published(first: int, count: int, points: int) -> SinusoidCurves:
    """Return the test tasks that MAML's code draws; its Table 2 is based on 600 of them.

    Its test seeds numpy's global generator with 1 and draws one task after another: amplitude,
    phase, then all inputs, support first (main.py:168, 178; data_generator.py:162-173). That
    generator gives the same numbers in all versions.
    """
    generator = np.random.RandomState(1)
    u = generator.random_sample((first + count, 2 + points))[first:]
    amplitude, phase, x = u[:, :1], u[:, 1:2], u[:, 2:]
    parts = ((AMPLITUDE, amplitude), (PHASE, phase), (INPUT, x))
    amplitude, phase, x = (low + (high - low) * part for (low, high), part in parts)
    return amplitude, phase, x


def _check_published(paper: str, shape: EpisodeShape, split: Split) -> None:
    if paper != "maml":
        raise unknown("paper whose sinusoid tasks are known", paper, ["maml"])
    if split != "test" or shape.query_shots != shape.shots:
        raise UserError(
            "the tasks of 'maml' are test tasks with as many query as support points; set "
            "split = 'test' and query_shots = shots, or leave tasks out."
        )


@registry.task("sinusoid")
class Sinusoid(Task):
    """y = A sin(x - b): A ~ U[0.1, 5], b ~ U[0, pi], x ~ U[-5, 5] (data_generator.py:29-31, 173).

    The splits are three independent draws from the same distribution, as in the paper.

    Fields
        oracle: whether amplitude and phase are added to every input (main.py:95-99), which gives
            the paper's upper bound.
    """

    kind = "regression"

    oracle: bool = added_field(False)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """One number, or three for the oracle."""
        return (3,) if self.oracle else (1,)

    def data_identity(self) -> dict[str, Any]:
        """Return the identity without ``oracle``, because the oracle has the same curves."""
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
        """Raise `UserError` if there is more than one way, because a curve has no classes."""
        if shape.ways != 1:
            raise UserError(f"sinusoid has no {shape.ways} ways; leave ways out: shots are points.")
        if shape.rotations is not None:
            raise UserError("sinusoid has no characters to turn; leave rotations out.")
        if isinstance(shape.tasks, str):
            _check_published(shape.tasks, shape, split)

    def sample(
        self, stream: Stream, first: int, count: int, shape: EpisodeShape, split: Split
    ) -> Episodes:
        """Return sinusoid episodes; see `Sampler.sample`."""
        self.check(shape, split)
        points = shape.support_size + shape.query_size
        if isinstance(shape.tasks, str):
            amplitude, phase, x = published(first, count, points)
        else:
            amplitude, phase, x = _drawn(stream, first, count, shape, shape.tasks)
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
        """Return 101 evenly spaced inputs x; None for the oracle, whose inputs differ."""
        if self.oracle:
            return None
        return torch.linspace(*INPUT, 101, device=self.device)[:, None]

    def truth(self, episodes: Episodes, inputs: Tensor) -> np.ndarray:
        """Return the curves (T, m) of the episodes, from their drawn amplitudes and phases."""
        amplitude, phase = episodes.draw_ids[:, :1], episodes.draw_ids[:, 1:2]
        return amplitude * np.sin(inputs[:, 0].cpu().double().numpy() - phase)
