"""The figures of a profile's records."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

from matplotlib.figure import Figure

from suite.published.compare import Row
from suite.records.files import Arrays
from suite.report.figures.curves import adaptation_curves, learning_curves, validation
from suite.report.figures.episodes import MOST_PICTURES, before_after, episode_pictures
from suite.report.figures.forest import CAPTION, forest
from suite.report.figures.style import MOST_VARIANTS, PlotStyle, encoded, looks, printed
from suite.report.figures.timing import timing_bars
from suite.report.groups import Collection, Runs
from suite.report.matched import own_results
from suite.report.tables.timing import alone, duration


class Picture(NamedTuple):
    """A figure that is not yet drawn."""

    name: str
    caption: str
    draw: Callable[[], Figure]

    def files(self) -> dict[str, bytes]:
        """Draw the figure and return its files by kind (``pdf``, ``png``)."""
        with printed():
            return encoded(self.draw())


BAND = "mean over seeds with the 95 % Student t interval"


def figures(collection: Collection, beside: Sequence[Row]) -> list[Picture]:
    """Return the figures of the records.

    Experiments with more than `MOST_VARIANTS` algorithms, such as grids, are left out.

    Args:
        collection: the records.
        beside: comparisons with published numbers.
    """
    panels = _panels(collection)
    shown = {key: found for key, found in panels.items() if len(found) <= MOST_VARIANTS}
    planned = list(_planned(collection, shown)) if shown else []
    if own_results(beside):
        planned.append(Picture("forest", CAPTION, partial(forest, beside)))
    return planned


def left_out(collection: Collection) -> list[str]:
    """Return the experiments that are too large for figures, in words."""
    panels = _panels(collection).items()
    return sorted(
        {
            f"{key[0]} ({len(found)} algorithms)"
            for key, found in panels
            if len(found) > MOST_VARIANTS
        }
    )


def _panels(collection: Collection) -> dict[tuple[str, str], list[Runs]]:
    found: dict[tuple[str, str], list[Runs]] = {}
    for runs in collection.runs:
        found.setdefault((runs.experiment, runs.device), []).append(runs)
    return found


def _planned(collection: Collection, shown: dict[tuple[str, str], list[Runs]]) -> Iterator[Picture]:
    styles = looks((runs.variant, runs.algorithm) for found in shown.values() for runs in found)
    groups = {key: g for g in collection.groups if (key := (g.runs.experiment, g.runs.device))}
    learning = [
        (found, groups[key].metric, found[0].cell.protocol.train.ways)
        for key, found in shown.items()
        if any(validation(runs) is not None for runs in found)
    ]
    if learning:
        caption = f"Learning curves: score on meta-validation episodes, {BAND}."
        yield Picture("learning_curves", caption, partial(learning_curves, learning, styles))
    adaptation = [
        found
        for found in collection.compared()
        if (found[0].runs.experiment, found[0].runs.device) in shown
        and found[0].evaluation.steps > 0
        and any(group.runs.done for group in found)
    ]
    if adaptation:
        caption = (
            f"Adaptation curves: score on test episodes after each inner step, {BAND}. Step 0 is "
            "before adaptation."
        )
        draw = partial(adaptation_curves, adaptation, styles)
        yield Picture("adaptation_curves", caption, draw)
    yield from _examples(shown, styles)
    timed = [
        found
        for found in shown.values()
        if any(duration(alone(r), part) for r in found for part in ("inner_loop", "outer_step"))
    ]
    if timed:
        caption = (
            "Time of one meta-batch: the inner loop, and the outer step that holds one. Bars: "
            "median; whiskers: quartiles over repetitions."
        )
        yield Picture("timing", caption, partial(timing_bars, timed))


def _examples(
    shown: dict[tuple[str, str], list[Runs]], styles: dict[str, PlotStyle]
) -> Iterator[Picture]:
    """Yield figures of single episodes, from the first device and first seed of each variant."""
    drawn = set()
    for (experiment, _), found in shown.items():
        if experiment in drawn:
            continue
        drawn.add(experiment)
        arrays = {runs.variant: _first_arrays(runs) for runs in found if runs.done}
        probes = {variant: a for variant, a in arrays.items() if "probe/truth" in a}
        if probes:
            seeds = sorted({runs.seeds[0] for runs in found if runs.done})
            caption = (
                f"{experiment}: the model before and after adaptation to two test episodes, seed "
                f"{', '.join(map(str, seeds))}."
            )
            draw = partial(before_after, probes, styles)
            yield Picture(f"before_after-{experiment}", caption, draw)
        pictured = [a for a in arrays.values() if "pictures/support" in a]
        if pictured:
            caption = (
                f"{experiment}: one test episode, support and query images (at most "
                f"{MOST_PICTURES} classes and {MOST_PICTURES} images of each)."
            )
            draw = partial(episode_pictures, pictured[0])
            yield Picture(f"episode-{experiment}", caption, draw)


def _first_arrays(runs: Runs) -> Arrays:
    return runs.store.arrays(runs.done[0])
