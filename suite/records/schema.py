"""The schema of a record: one small JSON file per finished cell, beside a file of arrays."""

from __future__ import annotations

import json
from typing import Any, Literal

from suite.config.cell import Cell, digest
from suite.core.component import Strict

#: 3 says how the outer gradient was computed; 2 has a hash of the whole record. Older records are
#: still read.
SCHEMA: Literal[3] = 3
READ = (1, 2, 3)


class EvaluationResult(Strict):
    """The meta-test of one evaluation; its scores per episode and step are in the arrays.

    Arrays of an evaluation called NAME: ``scores/NAME`` (episodes, steps) float32, accuracy in
    [0, 1] or mean squared error after each of the inner steps that it scores, by default 0 .. K.
    """

    metric: Literal["accuracy", "mse"]
    episodes: int
    episodes_sha256: str
    """Of the drawn integers and parameters: equal hashes are the same episodes."""
    headline_step: int
    mean: list[float | None]
    """Over episodes, after each scored step; None where an episode diverged."""
    median: list[float | None]
    std: list[float | None]
    """Sample standard deviation over episodes, after each scored step."""
    diverged: list[int]
    """Episodes with a score that is not finite, after each scored step."""


class Curve(Strict):
    """The learning curve, sampled along meta-training."""

    steps: list[int]
    """Outer steps done."""
    train_loss: list[float | None]
    """Mean outer loss since the sample before; None at step 0."""
    validation: list[float | None]
    """Mean score on fixed meta-validation episodes, of the shape and inner step of the headline."""
    validation_split: str | None


class Results(Strict):
    """Everything that must come out the same to the bit on one machine."""

    evaluations: dict[str, EvaluationResult]
    curve: Curve
    parameters: int
    """Of the base learner."""
    initial_sha256: str
    """Of the initial weights of the model that is tested."""
    weights_sha256: str
    """Of the meta-trained weights."""
    data_sha256: str | None
    """Of the decoded data; None where the task is a formula."""
    arrays_sha256: str
    """Of the contents of the arrays."""


class Duration(Strict):
    """Repeated timings of one piece of work, in seconds, warm-up left out, device synchronised."""

    what: str
    median: float
    q1: float
    q3: float
    repetitions: int


class Timing(Strict):
    """What was timed, each apart; None where a cell has no such part.

    ``inner_loop``: adaptation of one meta-batch by the training number of steps. ``outer_step``:
    meta-gradient (which holds an inner loop) and optimiser. ``sampling``: the episodes of one
    meta-batch. ``evaluation``: two test episodes in every process at
    once, drawn, adapted to and scored at every step, by the number of episodes.
    ``training_seconds`` (without the learning curve) and
    ``evaluation_seconds``: the whole phases by the wall clock.
    """

    inner_loop: Duration | None
    outer_step: Duration | None
    sampling: Duration | None
    evaluation: Duration | None
    training_seconds: float
    evaluation_seconds: float
    flops_per_outer_step: int | None
    """Of matrix products and convolutions."""
    matrix_product_rate: float | None = None
    """FLOP/s of large matrix products on all cores of the cell at once: the ceiling."""
    alone: bool
    """Whether the cell had the device to itself, as far as the user says (``--busy-machine``)."""


class Memory(Strict):
    """Peak memory of training and timing in bytes, above what was held when the cell began."""

    peak_bytes: int | None
    kind: Literal["resident", "cuda"]


class EngineUse(Strict):
    """Which engine computed the cell, and why."""

    requested: str
    used: str
    reason: str
    self_check: float | None
    """Largest relative distance from the reference in float64, if one was measured."""
    mode: str = ""
    """How outer gradients were computed: ``in-process``, ``replayed`` or ``sharded``; '' in a cell
    that does not train and in records of an older schema."""
    mode_reason: str = ""
    """Why in this mode."""


class Provenance(Strict):
    """Where, when and by what code."""

    suite_version: str
    commit: str | None
    dirty: bool | None
    started: str
    """UTC, ISO 8601."""
    versions: dict[str, str]
    platform: str
    processor: str
    cores: int
    accelerator: str | None
    threads: int
    """In all, of all processes of the cell."""
    environment: dict[str, str]
    """Variables that can change speed or bits (threads, allocator, determinism)."""
    resumed: int = 0
    """How often the training went on from a checkpoint; it changes no bit."""


class Record(Strict):
    """What one finished cell says."""

    schema_version: Literal[1, 2, 3] = SCHEMA
    profile: str
    status: Literal["done", "diverged"]
    reason: str = ""
    """Why it diverged, with the outer step."""
    sha256: str
    """Of the cell's description."""
    training_sha256: str
    cell: Cell
    results: Results | None
    """None where the cell diverged."""
    result_sha256: str | None
    """Of `results`: what "byte-equal" means."""
    timing: Timing | None
    memory: Memory | None
    engine: EngineUse
    provenance: Provenance
    record_sha256: str = ""
    """Of everything else in the file; empty in memory."""

    def to_json(self) -> bytes:
        """Return the file's contents, under its hash."""
        values = self.model_dump(mode="json")
        values["record_sha256"] = _seal(values)
        return (json.dumps(values, indent=1, allow_nan=False) + "\n").encode()

    @classmethod
    def from_json(cls, content: bytes) -> Record:
        """Read what `to_json` gives.

        Raises:
            ValueError: it is no record, of another schema, or not what its hashes say.
        """
        values = json.loads(content)
        if not isinstance(values, dict):
            raise ValueError("it is no JSON object")
        version = values.get("schema_version")
        if version not in READ:
            raise ValueError(
                f"its schema is {version!r}, and this version reads {READ[0]} to {READ[-1]}"
            )
        if version > 1 and values.get("record_sha256") != _seal(values):
            raise ValueError("it was changed after it was written")
        record = cls.model_validate_json(content)
        if record.sha256 != record.cell.sha256():
            raise ValueError("its hash is not that of its cell's description")
        found = None if record.results is None else digest(values["results"])
        if record.result_sha256 != found:
            raise ValueError("its result_sha256 is not that of its results")
        return record.model_copy(update={"record_sha256": ""})


def _seal(values: dict[str, Any]) -> str:
    return digest({key: value for key, value in values.items() if key != "record_sha256"})


def result_sha256(results: Results) -> str:
    """Return the hash of results, without timing and provenance."""
    return digest(results.model_dump(mode="json"))


class ArrayNames:
    """Names in a record's array file (``.npz``, no pickles).

    ``scores/EVALUATION``: (episodes, scored steps), see `EvaluationResult`.
    ``by-class/EVALUATION/classes`` (n,), indices into the sorted names of all classes of the task,
    ``.../episodes`` (n,), in how many each occurs, ``.../hits`` (n, scored steps), its queries
    classified right: of an evaluation that keeps them.
    ``probe/x`` (m,), ``probe/steps`` (s,), ``probe/before_after`` (e, s, m),
    ``probe/truth`` (e, m), ``probe/support_x`` and ``probe/support_y`` (e, S): the adapted model of
    a regression task drawn over its inputs, for e test episodes.
    ``pictures/support`` (ways, shots, C, H, W) and ``pictures/query`` (ways, query, C, H, W) uint8:
    one test episode of an image task.
    """

    SCORES = "scores/"
    BY_CLASS = "by-class/"
    PROBE = "probe/"
    PICTURES = "pictures/"
