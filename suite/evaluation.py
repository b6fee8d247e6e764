"""Meta-test: adapt to episodes and score the query set after every inner step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from suite.algorithms.base import Algorithm, Draws
from suite.config import EvaluationProtocol
from suite.engines.base import Engine
from suite.episodes import Episodes, Examples, draws_sha256
from suite.running import RunningStatistics
from suite.streams import Stream
from suite.tasks.base import Sampler, Task, score

#: Bytes of adapted weights and inputs that the test episodes adapted at once may take.
PART_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Scores:
    """Scores (episodes, steps) after 0 .. K inner steps or the last, and of which episodes."""

    values: np.ndarray
    episodes_sha256: str


def episode_stream(task: Task, protocol: EvaluationProtocol) -> Stream:
    """Return the stream of the test episodes.

    Its names are data, split, ways and shots alone: no setting of an algorithm, no seed and no
    device redraws the test set, and one query image is a prefix of fifteen.
    """
    identity = ",".join(f"{k}={v}" for k, v in sorted(task.data_identity().items()))
    return Stream("test", identity, protocol.split, protocol.ways, protocol.shots)


def at_test(algorithm: Algorithm, protocol: EvaluationProtocol) -> Algorithm:
    """Return the algorithm with what a meta-test sets apart from training."""
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
    """Adapts weights to test episodes and scores them."""

    engine: Engine
    algorithm: Algorithm
    task: Task
    sampler: Sampler
    seen: Callable[[], Iterable[Tensor]] = tuple
    """Gives the support sets (n, *input_shape) behind running statistics (see `suite.running`)."""

    def part(
        self,
        part: slice,
        theta: Tensor,
        protocol: EvaluationProtocol,
        draws: Draws,
        last: bool = False,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the scores (T, steps + 1) and the draws (T, d) of some of the test episodes.

        With ``last`` only the last step is scored: (T, 1).
        """
        stream, count = episode_stream(self.task, protocol), part.stop - part.start
        drawn = self.sampler.sample(stream, part.start, count, protocol, protocol.split)
        episodes = drawn.to(self.engine.device, self.engine.dtype)
        steps = self.steps(theta, episodes, protocol, draws.after(part.start), last)
        return torch.stack(list(steps), dim=1).to("cpu", torch.float32).numpy(), drawn.draws

    @torch.no_grad()
    def steps(
        self,
        theta: Tensor,
        episodes: Episodes,
        protocol: EvaluationProtocol,
        draws: Draws,
        last: bool = False,
    ) -> Iterator[Tensor]:
        """Yield the scores (T,) of the query sets after 0 .. K inner steps from ``theta`` (P,).

        With ``last`` only those after K.
        """
        rule = at_test(self.algorithm, protocol)
        path = rule.adapt(self.engine, theta, episodes.support, protocol.steps, draws)
        running = None
        if protocol.batch_norm == "running":
            running = RunningStatistics(self.engine, len(episodes), theta, self.seen())
        for k, theta_k in enumerate(path):
            outputs = None
            if k == protocol.steps or not last:
                outputs = (
                    predict(self.engine, theta_k, episodes, protocol.batch_norm)
                    if running is None
                    else running.outputs(theta_k, episodes.query.x)
                )
            if running is not None:
                running.update(theta_k, episodes.support.x)  # the pass of the next inner step
            if outputs is None:
                continue
            values = score(self.task.kind, outputs, episodes.query.y)
            # A label always comes out of argmax, also out of NaN: such an episode has diverged.
            yield torch.where(outputs.isfinite().flatten(1).all(-1), values, torch.nan)

    def parts(self, protocol: EvaluationProtocol) -> list[slice]:
        """Cut the test episodes into parts adapted at once: a function of shapes alone."""
        image = math.prod(self.task.input_shape)
        examples = max(protocol.support_size, protocol.query_size)
        size = max(1, PART_BYTES // (4 * 4 * max(self.engine.layout.size, examples * image)))
        return [
            slice(i, min(i + size, protocol.episodes)) for i in range(0, protocol.episodes, size)
        ]


def scores(parts: Iterable[tuple[np.ndarray, np.ndarray]]) -> Scores:
    """Return the scores of all test episodes from those of its parts, in their order."""
    values, draws = zip(*parts, strict=True)
    return Scores(np.concatenate(values), draws_sha256(np.concatenate(draws)))


def probe(
    engine: Engine,
    algorithm: Algorithm,
    theta: Tensor,
    task: Task,
    sampler: Sampler,
    protocol: EvaluationProtocol,
    draws: Draws,
    episodes: int = 3,
) -> dict[str, np.ndarray]:
    """Return what a figure shows of single test episodes, as arrays (see `ArrayNames`).

    Regression: the model over its inputs before and after adaptation. Images: one episode.
    """
    shown = sampler.sample(episode_stream(task, protocol), 0, episodes, protocol, protocol.split)
    inputs = sampler.probe()
    if inputs is None:
        return _pictures(shown, protocol) if len(task.input_shape) == 3 else {}
    shown = shown.to(engine.device, engine.dtype)
    x = inputs.to(engine.device, engine.dtype).expand(episodes, *inputs.shape)
    wanted = sorted({0, 1, 10, protocol.headline, protocol.steps})
    with torch.no_grad():
        rule = at_test(algorithm, protocol)
        path = rule.adapt(engine, theta, shown.support, protocol.steps, draws)
        found = [engine.outputs(t, x)[..., 0] for k, t in enumerate(path) if k in wanted]
    arrays = {
        "x": inputs[:, 0],
        "before_after": torch.stack(found, dim=1),
        "support_x": shown.support.x[..., 0],
        "support_y": shown.support.y[..., 0],
        "truth": torch.from_numpy(sampler.truth(shown, inputs)),
    }
    named = {f"probe/{k}": v.to("cpu", torch.float32).numpy() for k, v in arrays.items()}
    return {**named, "probe/steps": np.array([k for k in wanted if k <= protocol.steps])}


def _pictures(shown: Episodes, protocol: EvaluationProtocol) -> dict[str, np.ndarray]:
    def grid(examples: Examples, shots: int) -> np.ndarray:
        pixels = (examples.x[0] * 255).round().to("cpu", torch.uint8).numpy()
        return pixels.reshape(protocol.ways, shots, *pixels.shape[1:])

    return {
        "pictures/support": grid(shown.support, protocol.shots),
        "pictures/query": grid(shown.query, protocol.query_shots),
    }
