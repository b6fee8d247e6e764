"""Notes under every table: versions, commit, hardware, seeds, episodes and intervals."""

from __future__ import annotations

from collections.abc import Sequence

from suite.config.cell import results_versions
from suite.core.statistics import HEADLINE_SEEDS
from suite.records.schema import Record
from suite.report.format import NONE, listed
from suite.report.groups import Collection

#: Keys of a `stamp`.
ORIGIN = ("suite_version", "results_version", "commit", "hardware")
INTERVALS = (
    "± seeds: half width of the 95 % Student t interval over seeds, each seed being the mean of "
    "its episodes. ± episodes: 1.96 standard errors over the episodes of one seed (the ± "
    f"of the papers), averaged over seeds. With fewer than {HEADLINE_SEEDS} seeds the interval "
    "over seeds is in parentheses, the one over episodes is the headline, and nothing is marked "
    "as significant. The intervals are given the test episodes, which all seeds share unless each "
    "has a class split of its own."
)


def provenance(collection: Collection) -> tuple[str, ...]:
    """Return the notes that every table has."""
    records = collection.records
    split = splits(collection)
    stamps = stamp(records)
    seeds = listed(record.cell.seed for record in records)
    episodes = listed(
        evaluation.episodes for record in records for evaluation in record.cell.protocol.evaluations
    )
    return (
        f"Suite {stamps['suite_version']}, results version {stamps['results_version']}, commit "
        f"{stamps['commit']}, torch {_versions(records, 'torch')}.",
        f"Hardware: {stamps['hardware']}; threads {listed(r.provenance.threads for r in records)}.",
        f"Seeds {seeds}; {episodes} {split} episodes, the same for every {_shared(records)}.",
    )


def _shared(records: Sequence[Record]) -> str:
    if not any(record.cell.task.get("split_by_seed") for record in records):
        return "algorithm, seed and device"
    return "algorithm and device, and for every seed where the seeds have one class split"


def splits(collection: Collection) -> str:
    """Return the splits that the evaluations use, in words."""
    return " and ".join(sorted({group.evaluation.split for group in collection.groups}))


def stamp(records: Sequence[Record]) -> dict[str, str]:
    """Return the origin of the numbers, for every line of a CSV file."""
    values = (
        listed(r.provenance.suite_version for r in records),
        _results_version(records),
        listed(_commit(r) for r in records),
        listed(_hardware(r) for r in records),
    )
    return dict(zip(ORIGIN, values, strict=True))


def _results_version(records: Sequence[Record]) -> str:
    """Return the version of the numbers, and the parts whose version is not the first."""
    found = {part: v for r in records for part, v in results_versions(r.cell).items()}
    base = listed(r.cell.results_version for r in records)
    later = [f"{part} {v}" for part, v in sorted(found.items()) if part != "results" and v != "1"]
    return f"{base} ({', '.join(later)})" if later else base


def diverged_cells(collection: Collection) -> tuple[str, ...]:
    """Return a note for each algorithm with a diverged training."""
    return tuple(
        f"{runs.experiment}, {runs.variant}: {runs.diverged_cells} in training (seed "
        f"{listed(r.cell.seed for r in runs.diverged)}: {_sentence(runs.diverged[0].reason)}); "
        "the numbers are those of the other seeds, which flatters them, and are never marked best."
        for runs in collection.runs
        if runs.diverged
    )


def _sentence(reason: str) -> str:
    return reason.strip().rstrip(".") or "no reason recorded"


def _commit(record: Record) -> str:
    commit, dirty = record.provenance.commit, record.provenance.dirty
    return f"{commit[:10]}{' (dirty)' if dirty else ''}" if commit else "unknown"


def _hardware(record: Record) -> str:
    place = record.provenance
    used = place.accelerator if record.cell.numerics.device != "cpu" else None
    return f"{place.processor} ({place.cores} cores)" + (f" with {used}" if used else "")


def _versions(records: Sequence[Record], name: str) -> str:
    return (
        listed(r.provenance.versions[name] for r in records if name in r.provenance.versions)
        or NONE
    )
