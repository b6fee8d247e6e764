"""Made-up results beside published numbers: real cells of the profile paper, invented scores."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from functools import cache

import numpy as np

from suite.config import presets as protocols
from suite.config.cell import Cell, EvaluationProtocol
from suite.config.profile import expand, load_profile, profile_names
from suite.config.profile import shortened as shorten
from suite.published.margins import FIXED
from suite.report.collect import collect
from suite.report.tables.comparison import rows
from tests.report.builder import record, write


@cache
def cells(profile="paper"):
    """Return the cells of a profile by experiment and variant."""
    found = expand(load_profile(profile), ["cpu"], seeds=[0])
    return {f"{cell.experiment}/{cell.variant}": cell for cell in found}


def altered(name, **parts):
    """Return a cell in which items of a part (``model``, ``task``, ``algorithm``) are others."""
    of = cells()[name]
    return of.model_copy(update={part: {**getattr(of, part), **new} for part, new in parts.items()})


def on(of, device):
    """Return a cell on another device."""
    return of.model_copy(update={"numerics": of.numerics.model_copy(update={"device": device})})


def scores(of, mean, spread=0.0):
    """Return scores around a mean, the same after every step; ``mean`` may be by step, or test."""
    found = {}
    for test in of.protocol.evaluations:
        values = np.full((test.episodes, len(test.scored_steps)), np.nan)
        here = mean.get(test.name, mean) if isinstance(mean, dict) else mean
        around = np.linspace(-spread, spread, test.episodes)
        for place, step in enumerate(test.scored_steps):
            values[:, place] = around + (here.get(step, 0.5) if isinstance(here, dict) else here)
        found[test.name] = values
    return found


def seeds(of, means, **more):
    """Return records of a cell (or its name), one a seed; a mean of None is a diverged training."""
    of = cells()[of] if isinstance(of, str) else of
    spread = more.pop("spread", 0.0)
    return [
        record(
            of.model_copy(update={"seed": seed}),
            None if mean is None else scores(of, mean, spread),
            **more,
        )
        for seed, mean in enumerate(means)
    ]


def short(name, steps=5000):
    """Return a cell with fewer outer steps."""
    return shorten(cells()[name], steps)


def collected(folder, *made, profile="demo"):
    """Return what was collected of records, and its rows beside published numbers."""
    collection = collect(write(folder, *made, profile=profile))
    presets = load_profile(profile).presets if profile in profile_names() else ()
    return collection, rows(collection, protocols.matching(presets))


@dataclass
class Scored:
    """Scores without records, for code that reads only rows."""

    cell: Cell
    evaluation: EvaluationProtocol
    scores: np.ndarray
    diverged_seeds: int = 0
    began: datetime.datetime = FIXED
    over_classes: float | None = None

    def class_interval(self, step):
        return self.over_classes

    def after(self, step):
        return self.scores[:, :, step]
