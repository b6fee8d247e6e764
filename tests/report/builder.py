"""Synthetic records, written through the real store, with the identities of real components."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from suite.config.cell import Cell, Numerics, Protocol, digest, make_algorithm, make_task
from suite.models.base import check_options
from suite.records.files import arrays_sha256
from suite.records.schema import (
    Curve,
    Duration,
    EngineUse,
    EvaluationResult,
    Memory,
    Provenance,
    Record,
    Results,
    Timing,
    result_sha256,
)
from suite.records.store import Store

SINUSOID = {"task": {"name": "sinusoid"}, "model": ("mlp", {})}
GLYPHS = {"task": {"name": "glyphs"}, "model": ("conv4", {"filters": 16})}


def protocol(*, ways=1, shots=10, query=10, episodes=4, steps=2, evaluations=("test",), **more):
    """Return a protocol; an evaluation called ``validation`` is on that split."""
    shape = {"ways": ways, "query_shots": query}
    return Protocol.model_validate(
        {
            "train": {**shape, "shots": shots, "meta_batch": 25, "steps": 1000},
            "evaluations": tuple(
                {
                    **shape,
                    "name": name,
                    "shots": shots,
                    "episodes": episodes,
                    "steps": steps,
                    "split": "validation" if name == "validation" else "test",
                    "report_step": more.get("report_step", -1),
                }
                for name in evaluations
            ),
        }
    )


def cell(
    algorithm="maml",
    seed=0,
    *,
    experiment="sine",
    variant=None,
    parameters=None,
    of=SINUSOID,
    device="cpu",
    results_version="0.1",
    **shape,
):
    """Return a cell whose components are built and checked by the suite itself."""
    identity = {"name": algorithm, **(parameters or {})}
    name, options = of["model"]
    return Cell(
        experiment=experiment,
        variant=variant or algorithm,
        algorithm=make_algorithm(identity).identity(),
        task=make_task(of["task"]).identity(),
        model={"name": name, **check_options(name, options)},
        seed=seed,
        protocol=protocol(**shape),
        numerics=Numerics(device=device, threads=shape.get("threads", 2)),
        results_version=results_version,
    )


def duration(median, what="25 episodes"):
    return Duration(what=what, median=median, q1=0.9 * median, q3=1.2 * median, repetitions=20)


def timing(inner=0.002, outer=0.005, alone=True):
    return Timing(
        inner_loop=duration(inner),
        outer_step=None if outer is None else duration(outer),
        sampling=duration(0.0004),
        evaluation=duration(0.001),
        training_seconds=12.5,
        evaluation_seconds=1.5,
        flops_per_outer_step=None if outer is None else 25_000_000,
        alone=alone,
    )


def provenance(**more):
    return Provenance.model_validate(
        {
            "suite_version": "0.1.0",
            "commit": "0123456789abcdef",
            "dirty": False,
            "started": "2026-01-01T00:00:00Z",
            "versions": {"torch": "2.12.0", "numpy": "2.3.0"},
            "platform": "Linux",
            "processor": "Xeon_8 & co",
            "cores": 2,
            "accelerator": None,
            "threads": 2,
            "environment": {},
            **more,
        }
    )


def statistic(function, column):
    with np.errstate(invalid="ignore"):
        value = float(function(column))
    return value if np.isfinite(value) else None


def evaluation_result(values, metric, headline, episodes="e" * 64):
    columns = values.astype(np.float64).T
    return EvaluationResult(
        metric=metric,
        episodes=len(values),
        episodes_sha256=episodes,
        headline_step=headline,
        mean=[statistic(np.mean, c) for c in columns],
        median=[statistic(np.median, c) for c in columns],
        std=[statistic(lambda c: np.std(c, ddof=1), c) for c in columns],
        diverged=[int((~np.isfinite(c)).sum()) for c in columns],
    )


def record(
    of: Cell,
    scores=None,
    *,
    extra=None,
    curve=None,
    times=None,
    where=None,
    profile="demo",
    episodes="e" * 64,
):
    """Return a record and its arrays; ``scores`` by evaluation, None where the cell diverged."""
    arrays = {f"scores/{k}": np.asarray(v, np.float32) for k, v in (scores or {}).items()}
    arrays |= extra or {}
    metric = of.make_task().metric
    results = None
    if scores is not None:
        headlines = {e.name: e.headline for e in of.protocol.evaluations}
        results = Results(
            evaluations={
                name: evaluation_result(
                    np.asarray(v, np.float32), metric, headlines[name], episodes
                )
                for name, v in scores.items()
            },
            curve=curve
            or Curve(steps=[0], train_loss=[None], validation=[None], validation_split=None),
            parameters=1761,
            initial_sha256="a" * 64,
            weights_sha256=("a" if of.algorithm["name"] == "sgd" else "b") * 64,
            data_sha256=None,
            arrays_sha256=arrays_sha256(arrays),
        )
    made = Record(
        profile=profile,
        status="done" if results else "diverged",
        reason="" if results else "the outer loss is not finite at outer step 7",
        sha256=of.sha256(),
        training_sha256=digest("training"),
        cell=of,
        results=results,
        result_sha256=result_sha256(results) if results else None,
        timing=times or timing(),
        memory=Memory(peak_bytes=3 * 2**20, kind="resident"),
        engine=EngineUse(requested="auto", used="explicit", reason="", self_check=1e-12),
        provenance=provenance(**(where or {})),
    )
    return made, arrays


def write(results: Path, *made, profile="demo") -> Store:
    """Write records and return their store."""
    store = Store(results, profile)
    for one, arrays in made:
        store.write(one, arrays)
    return store
