"""Meta-test: adapt to episodes and score the query set after every inner step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from suite.algorithms.base import Algorithm
from suite.cell.batchnorm_statistics import RunningStatistics
from suite.config.cell import EvaluationProtocol, episode_stream
from suite.core.episodes import EpisodeContext, Episodes, Examples, draws_sha256
from suite.engines.base import Engine
from suite.tasks.base import Sampler, Task, hits

#: Maximum bytes of weights and inputs of the test episodes that are adapted at the same time.
PART_BYTES = 16 * 2**20
#: The same on a GPU, where most of the time of a part goes into dispatch.
GPU_PART_BYTES = 1024 * 2**20
#: Number of test episodes that `MetaTest.probe` shows.
PROBED = 3


class TestPart(NamedTuple):
    """The scores of some test episodes after each of the steps that are scored."""

    values: np.ndarray  # (T, steps)
    draw_ids: np.ndarray  # (T, d), of the episodes
    classes: np.ndarray | None  # (T, ways), of each label
    hits: np.ndarray | None  # (T, ways, steps), correct queries; None if not asked for


@dataclass(frozen=True)
class ByClass:
    """Number of queries of each class that were classified correctly."""

    classes: np.ndarray  # (n,) indices into the sorted names of all classes of the task
    episodes: np.ndarray  # (n,) number of episodes with the class
    hits: np.ndarray  # (n, steps), over all its queries


@dataclass(frozen=True)
class Scores:
    """Scores (episodes, steps) after each of the scored steps, and the hash of the episodes."""

    values: np.ndarray
    episodes_sha256: str
    by_class: ByClass | None = None


def at_test(algorithm: Algorithm, protocol: EvaluationProtocol) -> Algorithm:
    """Return the algorithm with the settings that differ at a meta-test."""
    if protocol.inner_batch is None:
        return algorithm
    return algorithm.model_copy(update={"inner_batch": protocol.inner_batch})


def predict(engine: Engine, theta: Tensor, episodes: Episodes, batch_norm: str) -> Tensor:
    """Return the outputs (T, Q, outputs) for the query sets at weights ``theta`` (T, P).

    ``transductive``: all query examples are one batch. ``support``: each is the last of a batch
    that holds the whole support set, so no query example sees another.
    """
    if batch_norm == "transductive":
        return engine.outputs(theta, episodes.query.x)
    support, query = episodes.support.x, episodes.query.x
    return torch.cat(
        [
            engine.outputs(theta, torch.cat([support, query[:, q : q + 1]], dim=1))[:, -1:]
            for q in range(query.shape[1])
        ],
        dim=1,
    )


@dataclass(frozen=True)
class MetaTest:
    """Adaptation of weights to test episodes, and their scores."""

    engine: Engine
    algorithm: Algorithm
    task: Task
    sampler: Sampler
    seen: Callable[[], Iterable[Tensor]] = tuple
    """Function that returns the support sets (n, *input_shape) of running statistics."""

    @cached_property
    def _running(self) -> RunningStatistics:
        return RunningStatistics(self.engine, self.seen)

    def part(
        self,
        part: slice,
        theta: Tensor,
        protocol: EvaluationProtocol,
        context: EpisodeContext,
        last: bool = False,
    ) -> TestPart:
        """Return the scores of some of the test episodes; with ``last`` only of the last step."""
        stream, count = episode_stream(self.task, protocol), part.stop - part.start
        drawn = self.sampler.sample(stream, part.start, count, protocol, protocol.split)
        episodes = drawn.to(self.engine.device, self.engine.dtype)
        steps = list(self.steps(theta, episodes, protocol, context.after(part.start), last))
        values = torch.stack([value for value, _ in steps], dim=1).to("cpu", torch.float32)
        right = [found.cpu() for _, found in steps if found is not None]
        return TestPart(
            values.numpy(),
            drawn.draw_ids,
            drawn.classes,
            torch.stack(right, dim=2).numpy() if right else None,
        )

    @torch.no_grad()
    def steps(
        self,
        theta: Tensor,
        episodes: Episodes,
        protocol: EvaluationProtocol,
        context: EpisodeContext,
        last: bool = False,
    ) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yield the scores (T,) of the query sets after inner steps that start at ``theta`` (P,).

        Scores are yielded after every step that the protocol scores, or with ``last`` only after
        step K. The hits (T, ways) of each label come with them, if the protocol asks for them.
        """
        scored = (protocol.steps,) if last else protocol.scored_steps
        rule = at_test(self.algorithm, protocol)
        path = rule.adapt(self.engine, theta, episodes.support, protocol.steps, context)
        running = self._running if protocol.batch_norm == "running" else None
        statistics = [] if running is None else [running.trained(theta)] * len(episodes)
        for k, theta_k in enumerate(path):
            outputs = None
            if k in scored:
                outputs = (
                    predict(self.engine, theta_k, episodes, protocol.batch_norm)
                    if running is None
                    else running.outputs(statistics, theta_k, episodes.query.x)
                )
            if running is not None and k < scored[-1]:  # the pass of the next inner step
                statistics = running.after(statistics, theta_k, episodes.support.x)
            if outputs is None:
                continue
            values = self.task.score(outputs, episodes.query.y)
            # argmax returns a label even for NaN, so an episode with NaN is marked as diverged.
            whole = outputs.isfinite().flatten(1).all(-1)
            right = None
            if protocol.by_class:
                right = hits(outputs, episodes.query.y, protocol.ways) * whole[:, None]
            yield torch.where(whole, values, torch.nan), right

    def parts(self, protocol: EvaluationProtocol) -> list[slice]:
        """Cut the test episodes into parts adapted at once; shapes and device decide the parts."""
        image = math.prod(self.task.input_shape)
        examples = max(protocol.support_size, protocol.query_size)
        most = GPU_PART_BYTES if self.engine.device.type == "cuda" else PART_BYTES
        size = max(1, most // (4 * 4 * max(self.engine.layout.size, examples * image)))
        return [
            slice(i, min(i + size, protocol.episodes)) for i in range(0, protocol.episodes, size)
        ]

    @torch.no_grad()
    def probe(
        self, theta: Tensor, protocol: EvaluationProtocol, context: EpisodeContext
    ) -> dict[str, np.ndarray]:
        """Return the arrays of single test episodes for a figure (see `ArrayNames`).

        For regression they are the model's outputs over its inputs before and after adaptation
        from ``theta`` (P,), for images one episode.
        """
        stream, engine = episode_stream(self.task, protocol), self.engine
        shown = self.sampler.sample(stream, 0, PROBED, protocol, protocol.split)
        inputs = self.sampler.probe()
        if inputs is None:
            return _pictures(shown, protocol) if len(self.task.input_shape) == 3 else {}
        shown = shown.to(engine.device, engine.dtype)
        x = inputs.to(engine.device, engine.dtype).expand(PROBED, *inputs.shape)
        wanted = sorted({0, 1, 10, protocol.headline, protocol.steps})
        rule = at_test(self.algorithm, protocol)
        path = rule.adapt(engine, theta, shown.support, protocol.steps, context)
        found = [engine.outputs(t, x)[..., 0] for k, t in enumerate(path) if k in wanted]
        arrays = {
            "x": inputs[:, 0],
            "before_after": torch.stack(found, dim=1),
            "support_x": shown.support.x[..., 0],
            "support_y": shown.support.y[..., 0],
            "truth": torch.from_numpy(self.sampler.truth(shown, inputs)),
        }
        named = {f"probe/{k}": v.to("cpu", torch.float32).numpy() for k, v in arrays.items()}
        return {**named, "probe/steps": np.array([k for k in wanted if k <= protocol.steps])}


def scores(parts: Iterable[TestPart]) -> Scores:
    """Return the scores of all test episodes, joined from those of the parts in order."""
    values, draw_ids, classes, right = zip(*parts, strict=True)
    by_class = None
    if right[0] is not None and classes[0] is not None:
        by_class = _by_class(np.concatenate(classes), np.concatenate(right))
    return Scores(np.concatenate(values), draws_sha256(np.concatenate(draw_ids)), by_class)


def _by_class(classes: np.ndarray, right: np.ndarray) -> ByClass:
    """Add up the hits (T, ways, steps) of labels with the same class (T, ways)."""
    found, place, count = np.unique(classes, return_inverse=True, return_counts=True)
    total = np.zeros((len(found), right.shape[2]), dtype=np.int32)
    np.add.at(total, place.reshape(-1), right.reshape(-1, right.shape[2]))
    return ByClass(found.astype(np.int32), count.astype(np.int32), total)


def _pictures(shown: Episodes, protocol: EvaluationProtocol) -> dict[str, np.ndarray]:
    def grid(examples: Examples, shots: int) -> np.ndarray:
        pixels = (examples.x[0] * 255).round().to("cpu", torch.uint8).numpy()
        return pixels.reshape(protocol.ways, shots, *pixels.shape[1:])

    return {
        "pictures/support": grid(shown.support, protocol.shots),
        "pictures/query": grid(shown.query, protocol.query_shots),
    }
