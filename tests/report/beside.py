"""Made-up results beside published numbers: real cells of the profile paper, invented scores."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace

import numpy as np

from suite.config import presets as protocols
from suite.config.cell import Cell, EvaluationProtocol
from suite.config.profile import expand, load_profile, profile_names
from suite.config.profile import shortened as shorten
from suite.published.compare import Row
from suite.published.numbers import load
from suite.published.verdicts import Verdict
from suite.report.collect import collect
from suite.report.render import comma_separated
from suite.report.tables.comparison import rows
from tests.report.builder import record, write


def lines(table):
    """Return the lines of a table's CSV file."""
    return list(csv.DictReader(io.StringIO(comma_separated(table))))


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
    over_classes: float | None = None

    def class_interval(self, step):
        return self.over_classes

    def after(self, step):
        return self.scores[:, :, step]


#: Settings with a published accuracy and a published error, and which of their results.
ACCURACY, ERROR = ("omniglot-5w1s/maml", 0), ("sinusoid/maml", 0)


def judgement(d, half=0.3, **more):
    """Return what a judgement of a difference of ``d`` ± ``half`` says, without its errors."""
    values = {
        "interval": (d - half, d + half),
        "inner": (d - 0.8 * half, d + 0.8 * half),
        "floor": 2.1,
        "best": 1.9,
        "reach": abs(d) + half,
        "chance": 0.25,
        "spread": math.inf,
        "needs": None,
    }
    return SimpleNamespace(**{**values, **more})


def row(kind, d=0.1, *, of=ACCURACY, reason="", assuming=(), seeds=5, **more):
    """Return a row with a made-up verdict, whose margin is 1; without ``d`` it is not judged.

    ``of`` is a setting, and which of its published results.
    """
    name, place = of
    preset, cell = protocols.load()[name], cells()[name]
    result, test = preset.results[place], cell.protocol.evaluations[0]
    scores = np.full((seeds, 20, test.steps + 1), 0.5)
    judged = None if d is None else judgement(d, **more)
    verdict = Verdict(kind, d, 1.0, reason, assuming, judged)
    tested = Scored(cell, test, scores)
    return Row(preset, result, load().number(result.number), tested, verdict)
