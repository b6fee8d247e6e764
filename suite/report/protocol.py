"""The table of protocols: what each experiment used, and every recorded setting in its CSV."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from suite.config import Cell, EvaluationProtocol
from suite.report.collect import Collection, Runs
from suite.report.format import listed
from suite.report.notes import provenance, stamp
from suite.report.render import Table
from suite.tasks.base import EpisodeShape

COLUMNS = (
    "Experiment",
    "Algorithm",
    "Task",
    "Training",
    "Inner loop",
    "Outer loop",
    "Other parameters",
    "Model",
    "Evaluations",
)
_SHOWN = {
    "name",
    *("inner_rate", "inner_steps", "inner_batch", "inner_optimiser"),
    *("outer_rate", "outer_optimiser", "outer_schedule"),
}


def protocol(collection: Collection) -> Table:
    """Return a row for each experiment and algorithm; devices share it."""
    shared: dict[tuple[str, str], Runs] = {}
    for runs in collection.runs:
        shared.setdefault((runs.experiment, runs.variant), runs)
    notes = (
        "ways/shots/query of an episode; in regression, the numbers of points. Inner batch 'all': "
        "the whole support set in every inner step. Batch norm: 'transductive' normalises the "
        "query images of an episode with each other; 'support' each with the support set alone.",
        "Every recorded setting is in the CSV file.",
        *provenance(collection),
    )
    return Table(
        "protocol",
        f"Protocols, profile {collection.profile}",
        COLUMNS,
        tuple(_row(runs) for runs in shared.values()),
        notes,
        tuple(_data(collection)),
        text_columns=len(COLUMNS),
        wide=True,
    )


def _row(runs: Runs) -> tuple[str, ...]:
    cell = runs.cell
    meta_trained = cell.protocol.train.steps > 0
    return (
        runs.experiment,
        runs.variant,
        _call(cell.task),
        _training(cell) if meta_trained else "none",
        _inner(cell.algorithm),
        _outer(cell.algorithm) if meta_trained else "none",
        _settings({k: v for k, v in cell.algorithm.items() if k not in _SHOWN}),
        _call(cell.model),
        "; ".join(_evaluation(evaluation) for evaluation in cell.protocol.evaluations),
    )


def _shape(shape: EpisodeShape) -> str:
    return f"{shape.ways}/{shape.shots}/{shape.query_shots}"


def _training(cell: Cell) -> str:
    train = cell.protocol.train
    clip = "" if train.clip is None else f", gradient clipped to ±{train.clip:g}"
    loss = "" if train.loss == "mean" else f", loss {train.loss}"
    return f"{_shape(train)}, {train.meta_batch} episodes x {train.steps} outer steps{loss}{clip}"


def _inner(algorithm: Mapping[str, Any]) -> str:
    batch = algorithm.get("inner_batch") or "all"
    optimiser = algorithm.get("inner_optimiser", "sgd")
    rate, steps = algorithm.get("inner_rate"), algorithm.get("inner_steps")
    return f"{optimiser} {_value(rate)}, {steps} steps in training, batch {batch}"


def _outer(algorithm: Mapping[str, Any]) -> str:
    found = (algorithm.get(f"outer_{key}") for key in ("optimiser", "rate", "schedule"))
    name, rate, schedule = map(_value, found)
    return f"{name} {rate}, {schedule}"


def _evaluation(evaluation: EvaluationProtocol) -> str:
    return (
        f"{evaluation.name}: {evaluation.split}, {_shape(evaluation)}, {evaluation.episodes} "
        f"episodes, {evaluation.headline} of {evaluation.steps} steps, batch norm "
        f"{evaluation.batch_norm}"
    )


def _call(component: Mapping[str, Any]) -> str:
    settings = _settings({k: v for k, v in component.items() if k != "name"})
    return f"{component['name']} ({settings})" if settings else str(component["name"])


def _settings(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {_value(value)}" for key, value in values.items())


def _value(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, list | tuple):
        return "-".join(_value(v) for v in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _data(collection: Collection) -> Iterator[Mapping[str, Any]]:
    """Yield a line for each setting."""
    for runs in collection.runs:
        description = runs.cell.description()
        del description["seed"]
        description["numerics"]["threads"] = listed(r.cell.numerics.threads for r in runs.records)
        for setting, value in _leaves(description):
            yield {
                "experiment": runs.experiment,
                "device": runs.device,
                "variant": runs.variant,
                "setting": setting,
                "value": value,
                **stamp(runs.records),
            }


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted name and the value of everything in nested objects."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and any(isinstance(inner, dict) for inner in value):
        for i, inner in enumerate(value):
            yield from _leaves(inner, f"{path}.{inner.get('name', i)}")
    else:
        yield path, _value(value) if isinstance(value, list) else value
