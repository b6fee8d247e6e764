"""The table of costs: time of each part, memory and FLOPs."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Any

from suite.records.schema import Duration, Record, Timing
from suite.report import format as written
from suite.report.columns import Column, Label, make_table
from suite.report.groups import Collection, Runs
from suite.report.notes import provenance, stamp
from suite.report.render import Table

#: Parts that are timed separately, with the headings of their columns.
PARTS = {
    "inner_loop": "Inner loop, ms",
    "outer_step": "Outer step, ms",
    "sampling": "Sampling, ms",
    "evaluation": "Evaluation, ms/episode",
}


def alone(runs: Runs) -> list[Record]:
    """Return the records with valid times, whose cells had the device for themselves."""
    return [r for r in runs.records if r.timing is not None and r.timing.alone]


def duration(records: list[Record], part: str) -> tuple[float, float, float] | None:
    """Return the medians over seeds of a part's median and quartiles, in seconds."""
    found = [d for r in records if (d := _part(r.timing, part)) is not None]
    if not found:
        return None
    return median(d.median for d in found), median(d.q1 for d in found), median(d.q3 for d in found)


def _part(timing: Timing | None, part: str) -> Duration | None:
    return None if timing is None else getattr(timing, part)


def timing_table(collection: Collection) -> Table:
    """Return the table of times, memory and FLOPs."""
    several = len(collection.devices) > 1
    rows = [_columns(runs, alone(runs), several) for runs in collection.runs]
    data = [line for runs in collection.runs for line in _data(runs, alone(runs))]
    notes = (
        "Inner loop: adaptation of one meta-batch by the training number of steps. Outer step: "
        "meta-gradient (which holds an inner loop) and optimiser. Sampling: the episodes of one "
        "meta-batch. Evaluation: two test episodes in every process at once, drawn, adapted to and "
        "scored at every step, by the number of episodes. "
        "Training: the whole phase by the wall clock.",
        "Median (quartiles) over repetitions, warm-up left out and the device synchronised; of "
        "these, the median over seeds. Peak memory of training and timing, above what was held "
        "when training began: resident memory on a CPU, summed over processes; allocated memory on "
        "CUDA. GFLOP/s: the FLOPs of matrix products and convolutions in an outer step by its "
        "median time; utilisation: of the rate at which all cores of the cell multiply large "
        "matrices.",
        "Engine: with it, how the outer gradients were computed, if the record says so: "
        "in-process, replayed (recorded once), or sharded over the processes of the cell.",
        f"Only cells that had the device for themselves are timed: {_left_out(collection)}.",
        *provenance(collection),
    )
    title = f"Time and memory, profile {collection.profile}"
    return make_table("timing", title, rows, notes, data=data)


def _columns(runs: Runs, records: list[Record], several: bool) -> tuple[Column, ...]:
    # Without meta-training there is no outer step, and only an empty loop was timed.
    trained = [r.timing for r in records if r.timing and r.timing.outer_step]
    training = _median([found.training_seconds for found in trained])
    flops = _median([r.timing.flops_per_outer_step for r in records if r.timing])
    memory = _median([r.memory.peak_bytes for r in records if r.memory])
    times = {part: duration(records, part) for part in PARTS}
    outer = times["outer_step"]
    speed = None if flops is None or outer is None else flops / outer[0] / 1e9
    ceiling = _median([r.timing.matrix_product_rate for r in records if r.timing])
    used = None if not speed or not ceiling else 100e9 * speed / ceiling
    count, of = len(records), len(runs.records)
    return (
        Label("Experiment", None, runs.experiment),
        Label("Device" if several else None, None, runs.device),
        Label("Algorithm", None, runs.variant),
        Label("Engine", None, written.listed(_engine(record) for record in runs.records)),
        *(Column(PARTS[part], None, times[part], milliseconds(times[part])) for part in PARTS),
        Column("Training, s", None, training),
        Column("Peak memory, MiB", None, None if memory is None else memory / 2**20),
        Column("GFLOP/outer step", None, None if flops is None else flops / 1e9),
        Column("GFLOP/s", None, speed),
        Column("Utilisation, %", None, used),
        Column("Seeds", None, count, str(of) if count == of else f"{count} of {of}"),
    )


def _engine(record: Record) -> str:
    """Return the engine, and how it computed the outer gradients if the record says so."""
    use = record.engine
    return f"{use.used}, {use.mode}" if use.mode else use.used


def milliseconds(found: tuple[float, float, float] | None) -> str:
    """Write the result of `duration` in milliseconds."""
    return written.NONE if found is None else written.quartiles(*(1e3 * value for value in found))


def _median(values: list[Any]) -> float | None:
    found = [value for value in values if value is not None]
    return median(found) if found else None


def _left_out(collection: Collection) -> str:
    count = len(collection.records) - sum(len(alone(runs)) for runs in collection.runs)
    return f"{count} of {len(collection.records)} cells did not" if count else "all did"


def _data(runs: Runs, records: list[Record]) -> list[Mapping[str, Any]]:
    """Return a CSV line for each seed and quantity."""
    lines: list[Mapping[str, Any]] = []
    made_by: dict[str, str] = {}

    def add(record: Record, quantity: str, unit: str, value: Any, **more: Any) -> None:
        lines.append(
            {
                "experiment": runs.experiment,
                "device": runs.device,
                "variant": runs.variant,
                "algorithm": runs.algorithm,
                "engine": record.engine.used,
                "mode": record.engine.mode,
                "mode_reason": record.engine.mode_reason,
                "seed": record.cell.seed,
                "quantity": quantity,
                "unit": unit,
                "value": value,
                "q1": more.get("q1"),
                "q3": more.get("q3"),
                "repetitions": more.get("repetitions"),
                "what": more.get("what", ""),
                "threads": record.provenance.threads,
                **made_by,
            }
        )

    for record in records:
        made_by = stamp([record])
        assert record.timing is not None  # `alone` keeps only these
        for part in PARTS:
            found = _part(record.timing, part)
            if found is not None:
                values = found.model_dump(exclude={"median"})
                add(record, part, "s", found.median, **values)
        add(record, "training", "s", record.timing.training_seconds)
        add(record, "whole_evaluation", "s", record.timing.evaluation_seconds)
        if record.timing.flops_per_outer_step is not None:
            add(record, "flops_per_outer_step", "FLOP", record.timing.flops_per_outer_step)
        if record.timing.matrix_product_rate is not None:
            add(record, "matrix_product_rate", "FLOP/s", record.timing.matrix_product_rate)
        if record.memory is not None and record.memory.peak_bytes is not None:
            add(record, f"peak_memory_{record.memory.kind}", "B", record.memory.peak_bytes)
    return lines
