"""Time the parts of one cell separately: sampling, inner loop, outer step, evaluation."""

from __future__ import annotations

from torch import Tensor

from suite.cell.setup import CellSetup
from suite.cell.timing import count_flops, measure
from suite.cell.workers import CellWorkers
from suite.config.cell import EvaluationProtocol
from suite.core.episodes import EpisodeContext
from suite.records.schema import Duration, Timing


def time_parts(
    setup: CellSetup,
    workers: CellWorkers,
    theta: Tensor,
    context: EpisodeContext,
    training: float,
    evaluation: float,
    alone: bool,
) -> Timing:
    """Time the parts of the cell again, each separately, on the cell's first meta-batch.

    Args:
        setup, workers: setup of the cell, and its processes.
        theta, context: weights and context with which test episodes begin.
        training, evaluation: seconds that the whole phases took.
        alone: whether the cell has the device to itself.
    """
    train, device = setup.cell.protocol.train, setup.device
    sampling = outer = inner = flops = None
    if setup.trains:
        ahead = max(1, min(setup.source.lookahead(), train.steps))
        drawn = measure(
            f"drawing {ahead} meta-batches in one go, divided by {ahead}",
            lambda: setup.source.draw(0, ahead),
            device,
        )
        sampling = _divided(drawn, ahead)
        loop = setup.outer_loop(workers.gradient)
        outer = measure("one outer step: meta-gradient and optimiser", lambda: loop.step(0), device)
        flops = count_flops(lambda: _whole_step(setup))
    if setup.algorithm.inner_steps:
        inner = measure(
            f"adaptation of {train.meta_batch} episodes by {setup.algorithm.inner_steps} steps",
            workers.adapt,
            device,
        )
    protocol = setup.cell.protocol.evaluations[0]
    shards = len(workers)
    parts = [slice(2 * i, 2 * i + 2) for i in range(shards)]
    tested = measure(
        f"drawing {2 * shards} test episodes and adapting to them by {protocol.steps} steps, "
        f"scored {_scored(protocol)}, divided by {2 * shards}",
        lambda: workers.score(parts, theta, protocol, context),
        device,
    )
    return Timing(
        inner_loop=inner,
        outer_step=outer,
        sampling=sampling,
        evaluation=_divided(tested, 2 * shards),
        training_seconds=training,
        evaluation_seconds=evaluation,
        flops_per_outer_step=flops,
        alone=alone,
    )


def _whole_step(setup: CellSetup) -> Tensor:
    """Do one outer step in this process without replay, whose operations cannot be counted."""
    return setup.outer_loop(setup.meta_gradients(replay=False).choose()).step(0)


def _scored(protocol: EvaluationProtocol) -> str:
    return "at every step" if protocol.scored is None else f"after steps {list(protocol.scored)}"


def _divided(duration: Duration, by: int) -> Duration:
    parts = {key: getattr(duration, key) / by for key in ("median", "q1", "q3")}
    return duration.model_copy(update=parts)
