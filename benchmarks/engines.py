"""Comparison of engines: time and peak memory of one meta-step, as ratios to the plain loop.

    python benchmarks/engines.py [--workloads O1,M5] [--algorithms maml] [--device cuda]

Each variant has its own process with the suite's allocator settings and all cores, and uses the
same artificial episodes. A round times every variant in turn, while the others sleep: one step, or
as many as fit in 0.2 seconds. A ratio is the median over rounds of the ratios within a round. Run
it on an idle machine.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import click
import torch
from tabulate import tabulate
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.workloads import WORKLOADS, Workload
from suite.cell.meta_gradient import MetaGradients
from suite.cell.timing import PeakMemory, synchronise
from suite.core import allocator, registry
from suite.core.episodes import EpisodeContext, OuterGradient
from suite.core.process_pool import ForkPool
from suite.core.streams import Stream
from suite.engines.base import Engine, episode_losses
from suite.engines.replay.capture import MIN_STEPS
from suite.records.provenance import processor, usable_cores

ALGORITHMS = ("maml", "fomaml", "reptile")
PLAIN, SPLIT = "plain loop", "explicit"
CPU = torch.device("cpu")
LEAST = 0.2  # minimum seconds of a variant's turn


class Ready(NamedTuple):
    """A variant ready to be timed: a meta-step, its peak memory, its gradient in natural order."""

    step: Callable[[], Any]
    peak: Callable[[], int]
    natural: Callable[[torch.Tensor], torch.Tensor] = lambda gradient: gradient


def engine(
    name: str, threads: int, shards: int = 1, device: torch.device = CPU, recorded: bool = False
) -> Callable[..., Any]:
    """Return a variant: one of the suite's engines with this many threads and processes."""

    @contextmanager
    def variant(workload: Workload, algorithm: str) -> Iterator[Ready]:
        torch.set_num_threads(threads)
        made = registry.engines.get(name)(workload.network(), workload.loss, device=device)
        with _meta_step(made, workload, algorithm, shards, recorded) as found:
            yield found

    return variant


@contextmanager
def _meta_step(
    made: Engine, workload: Workload, algorithm: str, shards: int, recorded: bool
) -> Iterator[Ready]:
    rule, episodes = workload.algorithm(algorithm), workload.episodes()
    episodes = episodes.to(made.device, made.dtype)
    theta, context = made.layout.flatten(made.model), EpisodeContext(Stream("bench"))
    gradients = MetaGradients(
        made, rule, lambda _: episodes[:], lambda _: context, MIN_STEPS, None if recorded else False
    )

    def jobs() -> dict[str, Any]:
        memory = PeakMemory(made.device)
        return {**gradients.jobs(), "peak": lambda _: memory.read().peak_bytes}

    pool = ForkPool(jobs, shards - 1)
    gradient = gradients.choose(pool)

    @torch.no_grad()
    def step() -> OuterGradient:
        return gradient(0, theta)

    try:
        yield Ready(
            step,
            lambda: sum(pool.broadcast("peak")),
            lambda gradient: made.layout.natural(gradient[None])[0],
        )
    finally:
        pool.close()


def _left_in(model: nn.Module, count: int, losses: list[torch.Tensor]) -> OuterGradient:
    """Return the mean outer gradient and loss that another library has left in the model."""
    found = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    return OuterGradient(torch.cat(found) / count, torch.stack(losses).mean().detach())


@contextmanager
def supervised(workload: Workload, _: str) -> Iterator[Ready]:
    """Yield one plain forward and backward pass over the same images, episode by episode."""
    torch.set_num_threads(usable_cores())
    model, episodes = workload.network(), workload.episodes()
    x = torch.cat([episodes.support.x, episodes.query.x], dim=1)
    y = torch.cat([episodes.support.y, episodes.query.y], dim=1)
    memory = PeakMemory(CPU)

    def step() -> None:
        model.zero_grad()
        for images, targets in zip(x, y, strict=True):
            episode_losses(workload.loss, model(images)[None], targets[None]).sum().backward()

    yield Ready(step, lambda: memory.read().peak_bytes or 0)


@contextmanager
def torchopt(workload: Workload, _: str) -> Iterator[Ready]:
    """Yield MAML by TorchOpt's differentiable SGD, episode by episode, as in its examples."""
    import torchopt as library

    torch.set_num_threads(usable_cores())
    model, episodes = workload.network(), workload.episodes()
    rate = workload.algorithm("maml").inner_rate
    inner = library.MetaSGD(model, lr=rate)
    memory = PeakMemory(CPU)

    def loss(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return episode_losses(workload.loss, model(x)[None], y[None])[0]

    def step() -> OuterGradient:
        model.zero_grad()
        losses = []
        start = library.extract_state_dict(model, by="reference")
        state = library.extract_state_dict(inner, by="reference")
        for t in range(len(episodes)):
            for _ in range(workload.steps):
                inner.step(loss(episodes.support.x[t], episodes.support.y[t]))
            losses.append(loss(episodes.query.x[t], episodes.query.y[t]))
            losses[-1].backward()
            library.recover_state_dict(model, start)
            library.recover_state_dict(inner, state)
        return _left_in(model, len(episodes), losses)

    yield Ready(step, lambda: memory.read().peak_bytes or 0)


@contextmanager
def learn2learn(workload: Workload, _: str) -> Iterator[Ready]:
    """Yield MAML by learn2learn, episode by episode."""
    import learn2learn as library

    torch.set_num_threads(usable_cores())
    model, episodes = workload.network(), workload.episodes()
    wrapped = library.algorithms.MAML(model, lr=workload.algorithm("maml").inner_rate)
    memory = PeakMemory(CPU)

    def step() -> OuterGradient:
        model.zero_grad()
        losses = []
        for t in range(len(episodes)):
            learner = wrapped.clone()
            for data in [episodes.support] * workload.steps:
                learner.adapt(
                    episode_losses(workload.loss, learner(data.x[t])[None], data.y[t : t + 1])[0]
                )
            query = episodes.query
            outputs = learner(query.x[t])[None]
            losses.append(episode_losses(workload.loss, outputs, query.y[t : t + 1])[0])
            losses[-1].backward()
        return _left_in(model, len(episodes), losses)

    yield Ready(step, lambda: memory.read().peak_bytes or 0)


def variants(algorithm: str, device: torch.device = CPU) -> dict[str, Callable[..., Any]]:
    """Return the variants for an algorithm; on the CPU all of them use every core."""
    cores = usable_cores()
    if device.type != "cpu":
        found = {
            PLAIN: engine("reference", 1, device=device),
            SPLIT: engine("explicit", 1, device=device, recorded=True),
            "explicit, not recorded": engine("explicit", 1, device=device),
        }
        return found | (
            {"higher": engine("higher", 1, device=device)} if algorithm == "maml" else {}
        )
    found = {
        PLAIN: engine("reference", cores, 1),
        SPLIT: engine("explicit", 1, cores, recorded=True),
        "explicit, one process": engine("explicit", cores, 1, recorded=True),
        "explicit, not recorded": engine("explicit", cores, 1),
        "plain loop, split": engine("reference", 1, cores),
    }
    if algorithm == "maml":
        found |= {"higher": engine("higher", cores, 1), "supervised": supervised}
        peers = {"torchopt": torchopt, "learn2learn": learn2learn}
        found |= {name: made for name, made in peers.items() if importlib.util.find_spec(name)}
    return found


def _worker(
    connection: Connection, workload: str, algorithm: str, variant: str, device: torch.device
) -> None:
    """Build a variant, send its peak memory, and answer every message with a step's seconds."""
    torch.backends.cudnn.allow_tf32 = False  # as in cells; also for a plain loop's convolutions
    torch.backends.cudnn.deterministic = True
    made = variants(algorithm, device)[variant]
    with made(WORKLOADS[workload], algorithm) as (step, peak, _):
        for _ in range(2):
            step()
        synchronise(device)
        connection.send(peak())
        while connection.recv():
            seconds: list[float] = []
            while sum(seconds) < LEAST:  # repeat short steps: at the first, caches are cold
                start = time.perf_counter()
                step()
                synchronise(device)
                seconds.append(time.perf_counter() - start)
            connection.send(statistics.median(seconds))


def compare(
    workload: str, algorithm: str, rounds: int, device: torch.device = CPU
) -> list[list[Any]]:
    """Return a table row for each variant of a workload and algorithm."""
    context = multiprocessing.get_context("spawn")
    names, pipes = list(variants(algorithm, device)), {}
    with ExitStack() as stack:
        memory = {}
        for name in names:
            pipes[name], theirs = context.Pipe()
            arguments = theirs, workload, algorithm, name, device
            process = context.Process(target=_worker, args=arguments)
            process.start()
            theirs.close()  # otherwise the worker's end would not be noticed
            del arguments, theirs
            stack.callback(process.join)
            stack.callback(pipes[name].send, False)
            memory[name] = pipes[name].recv()
        times: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(rounds):
            for name in names:
                pipes[name].send(True)
                times[name].append(pipes[name].recv())
    rows = []
    for name in names:
        faster = statistics.median(a / b for a, b in zip(times[PLAIN], times[name], strict=True))
        slowest, fastest = max(times[name]), min(times[name])
        rows.append(
            [
                workload,
                algorithm,
                name,
                f"{1e3 * statistics.median(times[name]):.4g}",
                f"{1e3 * fastest:.4g} to {1e3 * slowest:.4g}",
                f"{faster:.2f}",
                f"{memory[name] / 2**20:.0f}",
                f"{memory[name] / memory[PLAIN]:.2f}",
            ]
        )
    return rows


@click.command()
@click.option("--workloads", default=",".join(WORKLOADS), show_default=True)
@click.option("--algorithms", default=",".join(ALGORITHMS), show_default=True)
@click.option("--rounds", default=9, show_default=True)
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")
def main(workloads: str, algorithms: str, rounds: int, device: str) -> None:
    """Print the comparison as a Markdown table."""
    rows: list[list[Any]] = []
    for workload in workloads.split(","):
        for algorithm in algorithms.split(","):
            rows += compare(workload, algorithm, rounds, torch.device(device))
            print(f"{workload} {algorithm}", file=sys.stderr, flush=True)
    headers = ["workload", "algorithm", "variant", "ms", "range", "faster than the plain loop",
               "peak MiB", "of the plain loop's"]  # fmt: skip
    print(tabulate(rows, headers, tablefmt="pipe", disable_numparse=True))
    machine = f"{processor()}, {usable_cores()} cores"
    if device != "cpu":
        machine = torch.cuda.get_device_name(device)
    print(
        f"\n{machine}, torch {torch.__version__}, float32, "
        f"{rounds} rounds; medians. Peak memory above idle, of all processes of a variant."
    )


if __name__ == "__main__":
    allocator.restart_with_settings()
    main()
