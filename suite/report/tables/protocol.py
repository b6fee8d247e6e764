"""The table of the experiments' protocols; its CSV file holds every recorded setting."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from suite.config.cell import Cell, EvaluationProtocol
from suite.report.columns import Label, make_table
from suite.report.format import listed
from suite.report.groups import Collection, Runs
from suite.report.notes import provenance, stamp
from suite.report.render import Table
from suite.tasks.base import EpisodeShape

#: Headings of values that are written once for an experiment.
SAID_ONCE = ("Task", "Training", "Model", "Evaluations")
NONE_USED = "none"
_SHOWN = {
    "name",
    *("inner_rate", "inner_steps", "inner_batch", "inner_optimiser"),
    *("outer_rate", "outer_optimiser", "outer_schedule"),
}


def protocol_table(collection: Collection) -> Table:
    """Return a row for each experiment and algorithm, the same for all devices."""
    shared: dict[tuple[str, str], Runs] = {}
    for runs in collection.runs:
        shared.setdefault((runs.experiment, runs.variant), runs)
    notes = (
        "ways/shots/query of an episode; in regression, the numbers of points. Inner batch 'all': "
        "the whole support set in every inner step. Batch norm: 'transductive' normalises the "
        "query images of an episode with each other; 'support' each with the support set alone. "
        "'same': as first said for the experiment.",
        "Every recorded setting is in the CSV file.",
        *provenance(collection),
    )
    title = f"Protocols, profile {collection.profile}"
    rows, data = list(_brief(map(_columns, shared.values()))), _data(collection)
    return make_table("protocol", title, rows, notes, data=data, wide=True)


def _brief(rows: Iterable[tuple[Label, ...]]) -> Iterator[tuple[Label, ...]]:
    """Write "same" for values that an experiment's algorithms have in common, except the first."""
    said: dict[tuple[str, str | None], str] = {}
    for row in rows:
        places = [((row[0].value, column.heading), column) for column in row]
        yield tuple(
            replace(column, text="same") if said.get(place) == column.value else column
            for place, column in places
        )
        said = {
            place: column.value
            for place, column in places
            if column.heading in SAID_ONCE and column.value != NONE_USED
        } | said


def _columns(runs: Runs) -> tuple[Label, ...]:
    cell = runs.cell
    trained = _meta_trained(runs)
    other = {k: v for k, v in cell.algorithm.items() if k not in _SHOWN}
    inner = ", ".join(filter(None, [_inner(cell.algorithm, trained), _settings(other)]))
    tests = "; ".join(_evaluation(e, cell.model) for e in cell.protocol.evaluations)
    return (
        Label("Experiment", None, runs.experiment),
        Label("Algorithm", None, runs.variant),
        Label("Task", None, _call(cell.task)),
        Label("Training", None, _training(cell) if trained else NONE_USED),
        Label("Inner loop", None, inner),
        Label("Outer loop", None, _outer(cell.algorithm) if trained else NONE_USED),
        Label("Model", None, _call(cell.model)),
        Label("Evaluations", None, tests),
    )


def _meta_trained(runs: Runs) -> bool:
    """Return whether any seed's weights changed, according to the records of any algorithm."""
    if runs.diverged or not runs.done:
        return runs.cell.protocol.train.steps > 0
    return any(
        r.results and r.results.initial_sha256 != r.results.weights_sha256 for r in runs.done
    )


def _shape(shape: EpisodeShape) -> str:
    return f"{shape.ways}/{shape.shots}/{shape.query_shots}"


def _training(cell: Cell) -> str:
    train = cell.protocol.train
    clip = "" if train.clip is None else f", gradient clipped to ±{train.clip:g}"
    loss = "" if train.loss == "mean" else f", loss {train.loss}"
    return f"{_shape(train)}, {train.meta_batch} episodes x {train.steps} outer steps{loss}{clip}"


def _inner(algorithm: Mapping[str, Any], trained: bool) -> str:
    batch = algorithm.get("inner_batch") or "all"
    optimiser = algorithm.get("inner_optimiser", "sgd")
    rate, steps = algorithm.get("inner_rate"), algorithm.get("inner_steps")
    in_training = f", {steps} step{'' if steps == 1 else 's'} in training" if trained else ""
    return f"{optimiser} {_value(rate)}{in_training}, batch {batch}"


def _outer(algorithm: Mapping[str, Any]) -> str:
    found = (algorithm.get(f"outer_{key}") for key in ("optimiser", "rate", "schedule"))
    name, rate, schedule = map(_value, found)
    return f"{name} {rate}, {schedule}"


def _evaluation(evaluation: EvaluationProtocol, model: Mapping[str, Any]) -> str:
    normed = model.get("norm") != "none"
    return (
        f"{evaluation.name}: {evaluation.split}, {_shape(evaluation)}, {evaluation.episodes} "
        f"episodes, score after {evaluation.headline} of {evaluation.steps} steps"
        + (f", batch norm {evaluation.batch_norm}" if normed else "")
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
    """Yield a CSV line for each setting."""
    for runs in collection.runs:
        description = runs.cell.description()
        del description["seed"]
        for key in ("threads", "shards"):
            values = (getattr(r.cell.numerics, key) for r in runs.records)
            description["numerics"][key] = listed(values)
        made_by = stamp(runs.records)
        for setting, value in _leaves(description):
            yield {
                "experiment": runs.experiment,
                "device": runs.device,
                "variant": runs.variant,
                "setting": setting,
                "value": value,
                **made_by,
            }


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted name and the value of every leaf of nested objects."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and any(isinstance(inner, dict) for inner in value):
        for i, inner in enumerate(value):
            yield from _leaves(inner, f"{path}.{inner.get('name', i)}")
    else:
        yield path, _value(value) if isinstance(value, list) else value
