"""Time the parts of one cell apart: sampling, inner loop, outer step, evaluation."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from suite.algorithms.base import Draws
from suite.episodes import Episodes
from suite.evaluation import adapted_scores, episode_stream
from suite.matrix.bench import Bench
from suite.records.schema import Duration, Timing
from suite.streams import Stream
from suite.timing import count_flops, measure
from suite.training import OuterLoop


def time_parts(
    bench: Bench, theta: Tensor, training: float, evaluation: float, alone: bool
) -> Timing:
    """Time the parts of the cell again, each apart, on its own first meta-batch.

    ``training`` and ``evaluation`` are the seconds that the whole phases took.
    """
    train, device = bench.cell.protocol.train, bench.device
    algorithm, engine = bench.algorithm, bench.engine
    sampling = outer = inner = flops = None
    draws = Draws(bench.inner_draws)
    if algorithm.trains_on is not None and train.steps:
        ahead = max(1, min(16, train.steps))
        drawn = measure(
            f"drawing {ahead} meta-batches in one go, divided by {ahead}",
            lambda: bench.source.draw(0, ahead),
            device,
        )
        sampling = _divided(drawn, ahead)
        loop, batch = bench.outer_loop(), bench.source.step(0)
        outer = measure("one outer step: meta-gradient and optimiser", _outer(loop, batch), device)
        flops = count_flops(_outer(loop, batch))
    if algorithm.inner_steps:
        episodes = bench.sampler.sample(
            Stream("train", bench.cell.seed), 0, train.meta_batch, train, "train"
        ).to(engine.device, engine.dtype)

        def adapt() -> None:
            with torch.no_grad():
                path = algorithm.adapt(
                    engine, bench.initial, episodes.support[:], algorithm.inner_steps, draws
                )
                for _ in path:
                    pass

        inner = measure(
            f"adaptation of {train.meta_batch} episodes by {algorithm.inner_steps} steps",
            adapt,
            device,
        )
    protocol = bench.cell.protocol.evaluations[0]
    count = min(4, protocol.episodes)
    tested = bench.sampler.sample(
        episode_stream(bench.task, protocol), 0, count, protocol, protocol.split
    ).to(engine.device, engine.dtype)

    def test() -> None:
        for _ in adapted_scores(engine, algorithm, theta, bench.task, tested[:], protocol, draws):
            pass

    tested_in = measure(
        f"adapting to {count} test episodes by {protocol.steps} steps, scored at every step, "
        f"divided by {count}",
        test,
        device,
    )
    return Timing(
        inner_loop=inner,
        outer_step=outer,
        sampling=sampling,
        evaluation=_divided(tested_in, count),
        training_seconds=training,
        evaluation_seconds=evaluation,
        flops_per_outer_step=flops,
        alone=alone,
    )


def _outer(loop: OuterLoop, batch: Episodes) -> Callable[[], object]:
    # A slice is a batch not seen before: what an engine remembers of its images starts empty.
    return lambda: loop.step(0, batch[:])


def _divided(duration: Duration, by: int) -> Duration:
    parts = {key: getattr(duration, key) / by for key in ("median", "q1", "q3")}
    return duration.model_copy(update=parts)
