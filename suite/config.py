"""The user's words -> validated profiles, protocols and cells.

A profile is a TOML file: experiments x algorithms x seeds x devices. It expands into cells, each a
complete description of one computation, known by the hash of that description.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from suite import registry
from suite.algorithms.base import Algorithm
from suite.component import Strict, validated
from suite.errors import UserError, unknown
from suite.models.base import check_options
from suite.tasks.base import EpisodeShape, Split, Task
from suite.version import RESULTS_VERSION

PROFILES = Path(__file__).parent / "profiles"


class TrainProtocol(EpisodeShape):
    """What meta-training sees: episodes, how many, and what else can move a number.

    ``loss`` ``per_shot`` sums the cross-entropy over the examples and divides by shots, as MAML's
    code does (utils.py:56-58), so that a typed inner rate counts ways-fold; ``mean`` does not. It
    needs as many query as support shots: with more, that code's outer loss has another scale.
    """

    meta_batch: int = Field(ge=1)
    steps: int = Field(ge=0)
    loss: Literal["mean", "per_shot"] = "mean"
    clip: float | None = Field(None, gt=0)
    """Element-wise bound on the outer gradient; none by default."""

    @model_validator(mode="after")
    def _one_scale(self) -> TrainProtocol:
        if self.loss == "per_shot" and self.clip is not None and self.query_shots != self.shots:
            raise ValueError("loss per_shot with a clip needs query_shots equal to shots")
        return self


class EvaluationProtocol(EpisodeShape):
    """One meta-test: which episodes, how many inner steps, and which step is the headline.

    ``batch_norm`` ``transductive`` normalises the query images with each other; ``support``
    classifies each query image in a batch with the whole support set (Reptile, reptile.py:129).
    """

    name: str = Field(min_length=1)
    split: Split = "test"
    episodes: int = Field(ge=2)
    steps: int = Field(ge=0)
    report_step: int = Field(-1, ge=-1)
    """The inner step whose score is the headline; -1 is the last."""
    batch_norm: Literal["transductive", "support"] = "transductive"

    @property
    def headline(self) -> int:
        """The inner step whose score the tables give."""
        return self.steps if self.report_step == -1 else self.report_step


class Protocol(Strict):
    """Everything that can move a number and is not the algorithm's idea."""

    train: TrainProtocol
    evaluations: tuple[EvaluationProtocol, ...] = Field(min_length=1)
    curve_points: int = Field(10, ge=0)
    """How often the learning curve is sampled, on meta-validation episodes."""
    curve_episodes: int = Field(50, ge=1)

    @model_validator(mode="after")
    def _same_ways(self) -> Protocol:
        for evaluation in self.evaluations:
            if evaluation.ways != self.train.ways:
                raise ValueError(
                    f"evaluation {evaluation.name!r} has {evaluation.ways} ways and training "
                    f"{self.train.ways}; one model has one number of outputs"
                )
        return self

    @field_validator("evaluations")
    @classmethod
    def _checked(cls, found: tuple[EvaluationProtocol, ...]) -> tuple[EvaluationProtocol, ...]:
        names = [evaluation.name for evaluation in found]
        if len(set(names)) < len(names):
            raise ValueError("two evaluations have one name")
        for evaluation in found:
            if evaluation.report_step > evaluation.steps:
                raise ValueError(
                    f"report_step {evaluation.report_step} of {evaluation.name!r} is beyond its "
                    f"{evaluation.steps} steps"
                )
        return found


class Numerics(Strict):
    """How a cell is computed: part of its description, since it can change the last bits."""

    device: str
    engine: str = "auto"
    threads: int = Field(1, ge=1)
    """Of the library's operations; more than one only in a cell of one process."""
    shards: int = Field(1, ge=1)
    """Processes that share out the episodes on the CPU, which changes no bit."""
    dtype: Literal["float32", "float64"] = "float32"


class Cell(Strict):
    """Algorithm x task x seed x device under one protocol: a pure function of this description.

    ``experiment`` and ``variant`` are what tables call it and do not enter the hash.
    """

    experiment: str
    variant: str
    algorithm: dict[str, Any]
    task: dict[str, Any]
    model: dict[str, Any]
    seed: int
    protocol: Protocol
    numerics: Numerics
    results_version: str = RESULTS_VERSION

    @property
    def label(self) -> str:
        """A readable name, unique within a profile."""
        return f"{self.experiment}--{self.variant}--seed{self.seed}--{self.numerics.device}"

    def description(self) -> dict[str, Any]:
        """Return what the computation depends on, as JSON values."""
        return self.model_dump(mode="json", exclude={"experiment", "variant"})

    def sha256(self) -> str:
        """Return the hash that names this cell."""
        return digest(self.description())

    def training_sha256(self) -> str:
        """Return the hash of the training alone: cells that share it share their weights."""
        description = self.description()
        del description["protocol"]["evaluations"]
        return digest(description)

    def make_algorithm(self) -> Algorithm:
        """Build the algorithm from its recorded parameters."""
        return make_algorithm(self.algorithm)

    def make_task(self) -> Task:
        """Build the task from its recorded parameters."""
        return make_task(self.task)


def digest(value: Any) -> str:
    """Return the SHA-256 of a JSON value in canonical form."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def make_algorithm(identity: dict[str, Any]) -> Algorithm:
    """Build an algorithm from ``{"name": ..., parameters}``; raise `UserError` if it is not one."""
    name, parameters = _named(identity, "algorithm")
    component = registry.algorithms.get(name)
    return validated(component, json.dumps(parameters), f"algorithm {name}", json=True)


def make_task(identity: dict[str, Any]) -> Task:
    """Build a task from ``{"name": ..., parameters}``; raise `UserError` if it is not one."""
    name, parameters = _named(identity, "task")
    return validated(registry.tasks.get(name), json.dumps(parameters), f"task {name}", json=True)


def _named(identity: dict[str, Any], kind: str) -> tuple[str, dict[str, Any]]:
    parameters = dict(identity)
    name = parameters.pop("name", None)
    if not isinstance(name, str):
        raise UserError(f"a {kind} without a name: write {kind} = {{ name = ... }}.")
    return name, parameters


def _has_a_name(values: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(values.get("name"), str):
        raise ValueError("needs a name, as in { name = ... }")
    return values


Named = Annotated[dict[str, Any], AfterValidator(_has_a_name)]


class Overrides(Strict):
    """What an algorithm's table in a profile may hold beside the algorithm's own parameters."""

    algorithm: str | None = None
    """Its registered name, where the variant is called otherwise."""
    model: dict[str, Any] = Field(default_factory=dict)
    train: dict[str, Any] = Field(default_factory=dict)
    evaluations: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """By the evaluation's name."""
    grid: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(default_factory=dict)
    """Parameters with several values: every combination is a cell."""


class Experiment(Strict):
    """One task, model and protocol, and the algorithms that meet on it."""

    name: str = Field(min_length=1, pattern=r"^[\w.+-]+$")
    task: Named
    model: Named
    train: dict[str, Any]
    evaluations: tuple[dict[str, Any], ...] = Field(min_length=1)
    curve_points: int = 10
    curve_episodes: int = 50
    algorithms: dict[str, dict[str, Any]] = Field(min_length=1)
    """By variant: the algorithm's parameters, and `Overrides`."""


class Profile(Strict):
    """What one run of the suite computes."""

    description: str
    seeds: tuple[int, ...] = Field(min_length=1)
    devices: tuple[str, ...] = ("all",)
    engine: str = "auto"
    threads: int = Field(1, ge=1)
    """Library threads of a cell on the CPU; with more than one it is one process."""
    shards: int = Field(0, ge=0)
    """Processes of a cell on the CPU; 0 is one a core."""
    experiments: tuple[Experiment, ...] = Field(min_length=1)

    @field_validator("seeds")
    @classmethod
    def _seeds(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds) or min(seeds) < 0:
            raise ValueError("seeds must be different and not negative")
        return seeds

    @field_validator("experiments")
    @classmethod
    def _names(cls, found: tuple[Experiment, ...]) -> tuple[Experiment, ...]:
        names = [experiment.name for experiment in found]
        if len(set(names)) < len(names):
            raise ValueError("two experiments have one name")
        return found


def profile_names() -> list[str]:
    """Return the names of the profiles that the suite ships."""
    return sorted(path.stem for path in PROFILES.glob("*.toml"))


def load_profile(name: str) -> Profile:
    """Read a shipped profile by name, or a user's by the path of its TOML file."""
    path = Path(name) if name.endswith(".toml") else PROFILES / f"{name}.toml"
    if not name.endswith(".toml") and name not in profile_names():
        raise unknown("profile", name, profile_names())
    if not path.is_file():
        raise UserError(f"the profile file {name!r} does not exist.")
    try:
        # JSON and back makes TOML's lists what the strict tuples of the models accept.
        values = json.dumps(tomllib.loads(path.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, TypeError, OSError) as error:
        raise UserError(
            f"the profile {name!r} is not valid TOML or cannot be read: {error}."
        ) from error
    return validated(Profile, values, f"profile {name}", json=True)


def expand(
    profile: Profile,
    devices: Sequence[str],
    cores: int = 1,
    *,
    threads: int | None = None,
    shards: int | None = None,
    algorithms: Sequence[str] = (),
    tasks: Sequence[str] = (),
    seeds: Sequence[int] = (),
    engine: str | None = None,
) -> list[Cell]:
    """Return the cells of a profile, filtered as the user asked.

    Args:
        profile: the validated profile.
        devices: the device kinds to run on, already resolved.
        cores: that a cell on the CPU may use, where neither says how.
        threads, shards: instead of the profile's.
        algorithms: variants or algorithm names to keep; all if empty.
        tasks: experiments or task names to keep; all if empty.
        seeds: instead of the profile's.
        engine: instead of the profile's.

    Raises:
        UserError: an unknown name, or a parameter that its component refuses.
    """
    engine = engine or profile.engine
    threads = threads or profile.threads
    shards = shards or profile.shards or (1 if threads > 1 else cores)
    if threads > 1 and shards > 1:
        raise UserError(
            f"{threads} threads in each of {shards} processes do not go together, for a forked "
            "process has one; leave out --threads or --shards."
        )
    if engine != "auto":
        registry.engines.get(engine)
    experiments = [e for e in profile.experiments if _kept(tasks, e.name, e.task["name"])]
    known = {name for e in profile.experiments for name in (e.name, e.task["name"])}
    _all_known("task", tasks, known)
    variants = {
        name
        for e in profile.experiments
        for v, settings in e.algorithms.items()
        for name in (v, str(settings.get("algorithm", v)))
    }
    _all_known("algorithm", algorithms, variants)
    cells = []
    for experiment in experiments:
        for variant, parameters, described, protocol in _variants(experiment):
            base = variant.split("[")[0]
            if not _kept(algorithms, base, parameters["name"]):
                continue
            algorithm = make_algorithm(parameters).identity()
            task = make_task(experiment.task).identity()
            model_name, options = _named(described, "model")
            model = {"name": model_name, **check_options(model_name, options)}
            cells += [
                Cell(
                    experiment=experiment.name,
                    variant=variant,
                    algorithm=algorithm,
                    task=task,
                    model=model,
                    seed=seed,
                    protocol=protocol,
                    numerics=Numerics(
                        device=device,
                        engine=engine,
                        threads=threads,
                        shards=shards if device == "cpu" else 1,
                    ),
                )
                for seed in (seeds or profile.seeds)
                for device in devices
            ]
    return cells


def _variants(
    experiment: Experiment,
) -> Iterator[tuple[str, dict[str, Any], dict[str, Any], Protocol]]:
    """Yield (variant, algorithm identity, model, protocol) for every algorithm and grid point."""
    for variant, settings in experiment.algorithms.items():
        where = f"experiment {experiment.name}, algorithm {variant}"
        reserved = {key: settings[key] for key in Overrides.model_fields if key in settings}
        own = validated(Overrides, json.dumps(reserved), where, json=True)
        parameters = {key: value for key, value in settings.items() if key not in reserved}
        if "name" in parameters or "name" in own.grid or not re.fullmatch(r"[\w.+-]+", variant):
            raise UserError(
                f"{where}: the table's own name is the variant's, of letters, digits and . + - _; "
                "write algorithm = ... where the algorithm's is another."
            )
        names = [str(e.get("name")) for e in experiment.evaluations]
        for evaluation in own.evaluations:
            if evaluation not in names:
                raise UserError(f"{where}: {unknown('evaluation', evaluation, names)}")
        values = {
            "train": {**experiment.train, **own.train},
            "evaluations": [
                {**e, **own.evaluations.get(str(e.get("name")), {})} for e in experiment.evaluations
            ],
            "curve_points": experiment.curve_points,
            "curve_episodes": experiment.curve_episodes,
        }
        protocol = validated(Protocol, json.dumps(values), where, json=True)
        model = {**experiment.model, **own.model}
        for point in itertools.product(*own.grid.values()):
            chosen = dict(zip(own.grid, point, strict=True))
            label = ",".join(f"{key}={value}" for key, value in chosen.items())
            identity = {"name": own.algorithm or variant, **parameters, **chosen}
            yield f"{variant}[{label}]" if label else variant, identity, model, protocol


def _kept(wanted: Sequence[str], *names: str) -> bool:
    return not wanted or any(name in wanted for name in names)


def _all_known(kind: str, wanted: Sequence[str], known: set[str]) -> None:
    for name in wanted:
        if name not in known:
            raise unknown(f"{kind} of this profile", name, known)
