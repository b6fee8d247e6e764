"""Profiles: the user's description of a matrix of cells.

A profile is a TOML file with presets of published settings, and experiments x algorithms x seeds x
devices. It is expanded into cells.
"""

from __future__ import annotations

import itertools
import json
import re
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, field_validator, model_validator

from suite.config import presets as protocols
from suite.config.cell import (
    Cell,
    Numerics,
    Protocol,
    make_algorithm,
    make_task,
    named,
    versions_of,
)
from suite.core import registry
from suite.core.component import Strict, validated
from suite.core.errors import UserError, unknown
from suite.models.base import check_options

PROFILES = Path(__file__).parent / "profiles"

#: Maximum number of test episodes of a shortened cell.
SHORT_TEST = 600


def _has_a_name(values: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(values.get("name"), str):
        raise ValueError("needs a name, as in { name = ... }")
    return values


Named = Annotated[dict[str, Any], AfterValidator(_has_a_name)]


class Overrides(Strict):
    """Keys of an algorithm's table in a profile other than the algorithm's own parameters."""

    algorithm: str | None = None
    """Registered name of the algorithm, if the variant has another name."""
    model: dict[str, Any] = Field(default_factory=dict)
    train: dict[str, Any] = Field(default_factory=dict)
    evaluations: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Changes of each evaluation, by its name."""
    grid: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(default_factory=dict)
    """Parameters with several values: every combination is a cell."""


class Experiment(Strict):
    """One task, model and protocol, and the algorithms that are compared on it."""

    name: str = Field(min_length=1, pattern=r"^[\w.+-]+$")
    task: Named
    model: Named
    train: dict[str, Any]
    evaluations: tuple[dict[str, Any], ...] = Field(min_length=1)
    curve_points: int = 10
    curve_episodes: int = 50
    algorithms: dict[str, dict[str, Any]] = Field(min_length=1)
    """Parameters of the algorithm and `Overrides`, by variant."""


class Profile(Strict):
    """Description of all that one run of the suite computes."""

    description: str
    seeds: tuple[int, ...] = Field(min_length=1)
    devices: tuple[str, ...] = ("all",)
    engine: str = "auto"
    threads: int = Field(1, ge=1)
    """Number of library threads of a cell on the CPU; with more than one, it has one process."""
    shards: int = Field(0, ge=0)
    """Number of processes of a cell on the CPU; 0 means one per core."""
    experiments: tuple[Experiment, ...] = ()
    presets: tuple[str, ...] = ()
    """Published settings by name or pattern, such as ``omniglot-*/maml``: see `presets`."""

    @field_validator("seeds")
    @classmethod
    def _seeds(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(seeds)) < len(seeds) or min(seeds) < 0:
            raise ValueError("seeds must be different and not negative")
        return seeds

    @field_validator("experiments")
    @classmethod
    def _names(cls, experiments: tuple[Experiment, ...]) -> tuple[Experiment, ...]:
        names = [experiment.name for experiment in experiments]
        if len(set(names)) < len(names):
            raise ValueError("two experiments have one name")
        return experiments

    @model_validator(mode="after")
    def _something(self) -> Profile:
        if not self.experiments and not self.presets:
            raise ValueError("it has neither experiments nor presets; add one")
        protocols.matching(self.presets)
        return self

    def all_experiments(self) -> list[Experiment]:
        """Return the presets, each as an experiment with one algorithm, and the experiments."""
        presets = [
            validated(
                Experiment, json.dumps(preset.as_experiment()), f"protocol {preset.name}", json=True
            )
            for preset in protocols.matching(self.presets)
        ]
        return [*presets, *self.experiments]


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
        # The models accept lists as tuples only in JSON, so TOML's values are converted to JSON.
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
    outer_steps: int | None = None,
) -> list[Cell]:
    """Return the cells of a profile, filtered as the user asked.

    Args:
        profile: validated profile.
        devices: kinds of device to run on, already resolved.
        cores: number of cores that a cell on the CPU may use, if user and profile give no number.
        threads, shards: numbers to use instead of the profile's.
        algorithms: variants or algorithm names to keep; all if empty.
        tasks: experiments or task names to keep; all if empty.
        seeds: seeds to use instead of the profile's.
        engine: engine to use instead of the profile's.
        outer_steps: number of outer steps to which cells are shortened, see `shortened`.

    Raises:
        UserError: a name is unknown, or a parameter is invalid for its component.
    """
    engine = engine or profile.engine
    threads = threads or profile.threads
    shards = shards or profile.shards or (1 if threads > 1 else cores)
    if threads > 1 and shards > 1:
        raise UserError(
            f"{threads} threads in each of {shards} processes do not go together, for a forked "
            "process has one; leave out --threads or --processes."
        )
    if engine != "auto":
        registry.engines.get(engine)
    everything = profile.all_experiments()
    experiments = [e for e in everything if _kept(tasks, e.name, e.task["name"])]
    known = {name for e in everything for name in (e.name, e.task["name"])}
    _all_known("task", tasks, known)
    variants = {
        name
        for e in everything
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
            model_name, options = named(described, "model")
            model = {"name": model_name, **check_options(model_name, options)}
            versions = versions_of(algorithm["name"], task["name"], model_name)
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
                    versions=versions,
                )
                for seed in (seeds or profile.seeds)
                for device in devices
            ]
    labels = {cell.label: cell.sha256() for cell in cells}
    for cell in cells:
        if labels[cell.label] != cell.sha256():
            raise UserError(
                f"two different cells are called {cell.label!r}; rename one of the experiments, "
                "which presets give names to, too."
            )
    return cells if outer_steps is None else [shortened(cell, outer_steps) for cell in cells]


def shortened(cell: Cell, steps: int) -> Cell:
    """Return a cell with at most ``steps`` outer steps and `SHORT_TEST` test episodes.

    If the training tasks are drawn once, their number is reduced in proportion. The name of its
    experiment becomes NAME@STEPS, so that it is never taken for the whole cell.
    """
    protocol = cell.protocol
    if protocol.train.steps <= steps:
        return cell
    tests = tuple(
        e.model_copy(update={"episodes": min(e.episodes, SHORT_TEST)}) for e in protocol.evaluations
    )
    shorter: dict[str, Any] = {"steps": steps}
    if isinstance(protocol.train.tasks, int):  # each task is used as often as before
        shorter["tasks"] = max(1, round(protocol.train.tasks * steps / protocol.train.steps))
    train = protocol.train.model_copy(update=shorter)
    return cell.model_copy(
        update={
            "experiment": f"{cell.experiment}@{steps}",
            "protocol": protocol.model_copy(update={"train": train, "evaluations": tests}),
        }
    )


def _variants(
    experiment: Experiment,
) -> Iterator[tuple[str, dict[str, Any], dict[str, Any], Protocol]]:
    """Yield (variant, algorithm identity, model, protocol) for every algorithm and grid point."""
    for variant, settings in experiment.algorithms.items():
        where = f"experiment {experiment.name}, algorithm {variant}"
        reserved = {key: settings[key] for key in Overrides.model_fields if key in settings}
        overrides = validated(Overrides, json.dumps(reserved), where, json=True)
        parameters = {key: value for key, value in settings.items() if key not in reserved}
        if (
            "name" in parameters
            or "name" in overrides.grid
            or not re.fullmatch(r"[\w.+-]+", variant)
        ):
            raise UserError(
                f"{where}: the table's own name is the variant's, of letters, digits and . + - _; "
                "write algorithm = ... if the algorithm's is another."
            )
        names = [str(e.get("name")) for e in experiment.evaluations]
        for evaluation in overrides.evaluations:
            if evaluation not in names:
                raise UserError(f"{where}: {unknown('evaluation', evaluation, names)}")
        values = {
            "train": {**experiment.train, **overrides.train},
            "evaluations": [
                {**e, **overrides.evaluations.get(str(e.get("name")), {})}
                for e in experiment.evaluations
            ],
            "curve_points": experiment.curve_points,
            "curve_episodes": experiment.curve_episodes,
        }
        protocol = validated(Protocol, json.dumps(values), where, json=True)
        model = {**experiment.model, **overrides.model}
        for point in itertools.product(*overrides.grid.values()):
            chosen = dict(zip(overrides.grid, point, strict=True))
            label = ",".join(f"{key}={value}" for key, value in chosen.items())
            identity = {"name": overrides.algorithm or variant, **parameters, **chosen}
            yield f"{variant}[{label}]" if label else variant, identity, model, protocol


def _kept(wanted: Sequence[str], *names: str) -> bool:
    return not wanted or any(name in wanted for name in names)


def _all_known(kind: str, wanted: Sequence[str], known: set[str]) -> None:
    for name in wanted:
        if name not in known:
            raise unknown(f"{kind} of this profile", name, known)
