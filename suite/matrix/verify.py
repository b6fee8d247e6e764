"""Check that records are consistent, and compare them with values that are computed again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from suite.cell.run import run_cell, summarise
from suite.cell.setup import load
from suite.config.cell import Cell, EvaluationProtocol, episode_stream, newer_parts
from suite.core import devices
from suite.core.episodes import draws_sha256
from suite.core.errors import UserError
from suite.records.files import Arrays
from suite.records.provenance import current_provenance
from suite.records.schema import ArrayNames, Record
from suite.records.store import Store, file_stem

#: Number of test episodes drawn at once.
CHUNK = 50


def verify(
    store: Store, data: Path | None, rerun: Sequence[str], say: Callable[[str], None]
) -> list[str]:
    """Return the problems of a profile's records, one sentence each.

    For every record this checks the schema, its own hashes, its arrays and the summaries made from
    them, and that its test episodes are those that its description draws. The results of the cells
    named in ``rerun`` are also computed again and compared bit for bit.

    Raises:
        UserError: there is no such cell, or data are missing.
    """
    records = store.records()
    problems = list(store.problems)
    by_label = {record.cell.label: record for record in records}
    for label in rerun:
        if label not in by_label:
            raise UserError(f"{label!r} has no valid record; `--list` shows the cells.")
    drawn: dict[str, str] = {}
    for record in records:
        name = file_stem(record.cell)
        problems += [f"{name}: its {newer}; run it again" for newer in newer_parts(record.cell)]
        problems += [f"{name}: {problem}" for problem in _array_problems(store, record)]
        problems += [f"{name}: {problem}" for problem in _episode_problems(record, data, drawn)]
    problems += [f"{name}: arrays without a record" for name in _orphans(store)]
    say(f"{len(records)} records read, {len(drawn)} sets of test episodes drawn again.")
    for label in rerun:
        problems += _result_problems(by_label[label], data, say)
    return problems


def _orphans(store: Store) -> list[str]:
    return [
        path.name
        for path in sorted(store.folder.glob("*.npz"))
        if not path.with_suffix(".json").exists()
    ]


def _array_problems(store: Store, record: Record) -> Iterator[str]:
    if (record.results is None) != (record.status == "diverged"):
        yield f"it says {record.status} and has {'no ' if record.results is None else ''}results"
    if record.results is None:
        return
    try:
        arrays = store.arrays(record)
    except UserError as error:
        yield str(error)
        return
    for protocol in record.cell.protocol.evaluations:
        result = record.results.evaluations.get(protocol.name)
        scores = arrays.get(ArrayNames.SCORES + protocol.name)
        if result is None or scores is None:
            yield f"its evaluation {protocol.name!r} is missing"
        elif scores.shape != (protocol.episodes, len(protocol.scored_steps)):
            yield f"its scores of {protocol.name!r} have the shape {scores.shape}"
        elif result != summarise(result.metric, protocol, scores, result.episodes_sha256):
            yield f"its summary of {protocol.name!r} is not that of its scores"
        elif protocol.by_class and not _hits_match(arrays, protocol, scores):
            yield f"its hits by class of {protocol.name!r} are not those of its scores"


def _hits_match(arrays: Arrays, protocol: EvaluationProtocol, scores: np.ndarray) -> bool:
    """Return whether the hits by class add up to those of the episodes."""
    hits = arrays.get(f"{ArrayNames.BY_CLASS}{protocol.name}/hits")
    if hits is None:
        return False
    total = np.nan_to_num(scores.astype(np.float64)).sum(0) * protocol.query_size
    return np.array_equal(hits.sum(0), total.round())


def _episode_problems(record: Record, data: Path | None, drawn: dict[str, str]) -> Iterator[str]:
    if record.results is None:
        return
    for protocol in record.cell.protocol.evaluations:
        result = record.results.evaluations.get(protocol.name)
        spec = protocol.model_dump(mode="json", exclude={"name", "steps", "report_step"})
        key = json.dumps([record.cell.data_key(), spec], sort_keys=True)
        if key not in drawn:
            try:
                drawn[key] = _episodes_sha256(record.cell, protocol, data)
            except UserError as error:
                yield f"its test episodes cannot be drawn again: {error}"
                continue
        if result is not None and result.episodes_sha256 != drawn[key]:
            yield f"its test episodes of {protocol.name!r} are not those that it describes"


def _episodes_sha256(cell: Cell, protocol: EvaluationProtocol, data: Path | None) -> str:
    sampler, stream = (
        load(cell, data, torch.device("cpu")),
        episode_stream(cell.make_task(), protocol),
    )
    draw_ids = [
        sampler.sample(
            stream, first, min(CHUNK, protocol.episodes - first), protocol, protocol.split
        ).draw_ids
        for first in range(0, protocol.episodes, CHUNK)
    ]
    return draws_sha256(np.concatenate(draw_ids))


def _result_problems(
    record: Record, data: Path | None, say: Callable[[str], None]
) -> Iterator[str]:
    cell = record.cell
    devices.resolve([cell.numerics.device])
    device = torch.device(cell.numerics.device)
    try:
        again, _ = run_cell(cell, record.profile, data, device)
    except UserError:
        raise
    except Exception as error:  # any error is reported for this cell
        yield f"{file_stem(cell)}: cannot be computed again: {type(error).__name__}: {error}"
        return
    if again.result_sha256 == record.result_sha256:
        say(f"{cell.label}: computed again, equal to the bit.")
        return
    then, now = record.provenance, current_provenance(device, 1)
    differences = [
        f"{name} {getattr(then, name)!r} then, {getattr(now, name)!r} now"
        for name in ("processor", "accelerator", "versions")
        if getattr(then, name) != getattr(now, name)
    ]
    because = f" ({'; '.join(differences)})" if differences else ""
    yield f"{file_stem(cell)}: computed again, its results differ{because}"
