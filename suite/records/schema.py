"""The schema of a record: one small JSON file per finished cell, beside a file of arrays."""

from __future__ import annotations

import json
from typing import Any, Literal

from suite.config.cell import Cell, digest
from suite.core.component import Strict

#: Version of the schema: 2 added a hash of the whole record, 3 the mode of the outer gradient.
#: Older records can still be read.
SCHEMA: Literal[3] = 3
READ = (1, 2, 3)


class EvaluationResult(Strict):
    """The meta-test of one evaluation; its scores per episode and step are in the arrays.

    The array of an evaluation called NAME is ``scores/NAME`` (episodes, steps) float32: accuracy in
    [0, 1] or mean squared error after each of the inner steps that it scores, by default 0 .. K.
    """

    metric: str
    """Name of the metric, see `suite.core.metrics`."""
    episodes: int
    episodes_sha256: str
    """Hash of the drawn integers and parameters: equal hashes mean the same episodes."""
    headline_step: int
    mean: list[float | None]
    """Mean over episodes after each scored step; None if an episode diverged."""
    median: list[float | None]
    std: list[float | None]
    """Sample standard deviation over episodes, after each scored step."""
    diverged: list[int]
    """Number of episodes with a score that is not finite, after each scored step."""


class Curve(Strict):
    """The learning curve, sampled along meta-training."""

    steps: list[int]
    """Numbers of outer steps done at each sample."""
    train_loss: list[float | None]
    """Mean outer loss since the previous sample; None at step 0."""
    validation: list[float | None]
    """Mean score on fixed meta-validation episodes, of the shape and inner step of the headline."""
    validation_split: str | None


class Results(Strict):
    """All values that must be the same bit for bit whenever one machine computes them."""

    evaluations: dict[str, EvaluationResult]
    curve: Curve
    parameters: int
    """Number of parameters of the base learner."""
    initial_sha256: str
    """Hash of the initial weights of the model that is tested."""
    weights_sha256: str
    """Hash of the meta-trained weights."""
    data_sha256: str | None
    """Hash of the decoded data; None if the task is a formula."""
    arrays_sha256: str
    """Hash of the contents of the arrays."""


class Duration(Strict):
    """Repeated timings of one piece of work in seconds, without warm-up, device synchronised."""

    what: str
    median: float
    q1: float
    q3: float
    repetitions: int


class Timing(Strict):
    """Times of the parts of a cell, measured separately; None for a part that a cell does not have.

    ``inner_loop``: adaptation of one meta-batch by the number of inner steps of training.
    ``outer_step``: meta-gradient (which contains an inner loop) and optimiser. ``sampling``: the
    episodes of one meta-batch. ``evaluation``: two test episodes in every process at the same time,
    drawn, adapted to and scored at every step, divided by the number of episodes.
    ``training_seconds`` (without the learning curve) and ``evaluation_seconds``: wall-clock time of
    the whole phases.
    """

    inner_loop: Duration | None
    outer_step: Duration | None
    sampling: Duration | None
    evaluation: Duration | None
    training_seconds: float
    evaluation_seconds: float
    flops_per_outer_step: int | None
    """FLOP of matrix products and convolutions in one outer step."""
    matrix_product_rate: float | None = None
    """FLOP/s of large matrix products on all cores of the cell at once: the upper limit."""
    alone: bool
    """Whether the cell had the device to itself, as far as the user says (``--busy-machine``)."""


class Memory(Strict):
    """Peak memory of training and timing in bytes, above what was held when the cell began."""

    peak_bytes: int | None
    kind: Literal["resident", "cuda"]


class EngineUse(Strict):
    """The engine that computed the cell, and why."""

    requested: str
    used: str
    reason: str
    self_check: float | None
    """Largest relative distance from the reference in float64, if one was measured."""
    mode: str = ""
    """Mode in which outer gradients were computed: ``in-process``, ``replayed`` or ``sharded``; ''
    in a cell that does not train and in records of an older schema."""
    mode_reason: str = ""
    """Reason for this mode."""


class Provenance(Strict):
    """The machine, the time and the code that made a record."""

    suite_version: str
    commit: str | None
    dirty: bool | None
    started: str
    """Start time in UTC, ISO 8601."""
    versions: dict[str, str]
    platform: str
    processor: str
    cores: int
    accelerator: str | None
    threads: int
    """Total number of threads of all processes of the cell."""
    environment: dict[str, str]
    """Environment variables that can change speed or bits (threads, allocator, determinism)."""
    resumed: int = 0
    """Number of times that the training continued from a checkpoint; it changes no bit."""


class Record(Strict):
    """The record of one finished cell."""

    schema_version: Literal[1, 2, 3] = SCHEMA
    profile: str
    status: Literal["done", "diverged"]
    reason: str = ""
    """Reason why the cell diverged, with the outer step."""
    sha256: str
    """Hash of the cell's description."""
    training_sha256: str
    cell: Cell
    results: Results | None
    """Results of the cell; None if it diverged."""
    result_sha256: str | None
    """Hash of `results`: "byte-equal" means that it is the same."""
    timing: Timing | None
    memory: Memory | None
    engine: EngineUse
    provenance: Provenance
    record_sha256: str = ""
    """Hash of everything else in the file; empty in memory."""

    def to_json(self) -> bytes:
        """Return the contents of the file, including their hash."""
        values = self.model_dump(mode="json")
        values["record_sha256"] = _seal(values)
        return (json.dumps(values, indent=1, allow_nan=False) + "\n").encode()

    @classmethod
    def from_json(cls, content: bytes) -> Record:
        """Read a record that `to_json` wrote.

        Raises:
            ValueError: the content is not a record, has another schema, or does not match its
                hashes.
        """
        values = json.loads(content)
        if not isinstance(values, dict):
            raise ValueError("it is not a JSON object")
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
        expected = None if record.results is None else digest(values["results"])
        if record.result_sha256 != expected:
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
    An evaluation that keeps hits by class has ``by-class/EVALUATION/classes`` (n,), indices into
    the sorted names of all classes of the task; ``.../episodes`` (n,), the number of episodes with
    each class; and ``.../hits`` (n, scored steps), the number of its queries classified correctly.
    ``probe/x`` (m,), ``probe/steps`` (s,), ``probe/before_after`` (e, s, m),
    ``probe/truth`` (e, m), ``probe/support_x`` and ``probe/support_y`` (e, S): the outputs of the
    adapted model of a regression task over its inputs, for e test episodes.
    ``pictures/support`` (ways, shots, C, H, W) and ``pictures/query`` (ways, query, C, H, W) uint8:
    one test episode of an image task.
    """

    SCORES = "scores/"
    BY_CLASS = "by-class/"
    PROBE = "probe/"
    PICTURES = "pictures/"
