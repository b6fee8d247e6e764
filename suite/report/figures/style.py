"""Style of figures: column sizes, fonts, and one colour, marker and line style per algorithm."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, NamedTuple

import matplotlib
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from suite.core import registry

#: Widths in inches of one column and of the text of a two-column paper.
COLUMN, PAGE = 3.4, 6.9
#: Maximum number of lines in a readable figure.
MOST_VARIANTS = 8
DPI = 200


class PlotStyle(NamedTuple):
    """Colour, marker, line and hatch; each of them distinguishes two algorithms."""

    colour: str
    marker: str
    line: Literal["-"] | tuple[int, tuple[float, ...]]


# The colours are Okabe and Ito's, which colour-blind readers can distinguish; the markers and lines
# are for grey print. An algorithm may have its own look; these are for the others.
_OTHERS = (
    PlotStyle("#d55e00", "v", (0, (4, 2))),
    PlotStyle("#cc79a7", "P", (0, (2, 1))),
    PlotStyle("#8c8c00", "*", (0, (6, 1, 1, 1, 1, 1))),
)


def looks(variants: Iterable[tuple[str, str]]) -> dict[str, PlotStyle]:
    """Return the look of each (variant, algorithm); the first variant has the algorithm's own."""
    names = dict(variants)
    found: dict[str, PlotStyle] = {}
    free = _own_looks()
    for variant, algorithm in sorted(names.items(), key=lambda item: (item[0] != item[1], item)):
        if algorithm in free:
            found[variant] = free.pop(algorithm)
    left = [*_OTHERS, *free.values()] or list(_own_looks().values())
    others = [variant for variant in names if variant not in found]
    found |= {variant: left[i % len(left)] for i, variant in enumerate(others)}
    return {variant: found[variant] for variant in names}


def _own_looks() -> dict[str, PlotStyle]:
    """Return the looks of the algorithms that have their own, by rank."""
    every = [registry.algorithms.get(name) for name in registry.algorithms.names()]
    return {
        algorithm.name: PlotStyle(
            algorithm.colour, algorithm.marker, (0, algorithm.dashes) if algorithm.dashes else "-"
        )
        for algorithm in sorted(every, key=lambda each: (each.rank, each.name))
        if algorithm.colour
    }


@contextmanager
def printed() -> Iterator[None]:
    """Set fonts and lines for print, only inside the context."""
    settings = {
        **seaborn.axes_style("ticks"),
        **seaborn.plotting_context("paper"),
        "font.family": ["DejaVu Sans"],  # part of matplotlib, so the same everywhere
        "font.size": 8,
        "axes.titlesize": 8.5,
        "axes.titlelocation": "left",
        "axes.labelsize": 8,
        "xtick.labelsize": 7.5,
        "ytick.labelsize": 7.5,
        "legend.fontsize": 8,
        "axes.linewidth": 0.7,
        "lines.linewidth": 1.3,
        "lines.markersize": 4,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "grid.color": "#e4e4e4",
        "grid.linewidth": 0.6,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "pdf.fonttype": 42,  # TrueType, which journals ask for
    }
    with matplotlib.rc_context(settings):
        yield


def panels(count: int, height: float = 2.2, columns: int = 2) -> tuple[Figure, list[Axes]]:
    """Return a figure of ``count`` panels, as wide as a column for one panel, else as the page."""
    wide = min(count, columns)
    rows = math.ceil(count / wide)
    size = (COLUMN if wide == 1 else PAGE, height * rows + 0.45)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(rows, wide, squeeze=False)
    for extra in axes.flat[count:]:
        extra.set_visible(False)
    return figure, list(axes.flat[:count])


def legend_below(figure: Figure, handles: Sequence[Line2D]) -> None:
    """Put one legend below all panels, so that it covers nothing, in as many rows as needed."""
    inches = [0.55 + 0.065 * len(str(entry.get_label())) for entry in handles]
    room = figure.get_figwidth()
    fits = int(room / max(inches, default=room))
    lines = 1 if sum(inches) <= room else math.ceil(len(handles) / max(1, fits))
    figure.legend(
        handles=list(handles),
        loc="outside lower center",
        ncols=max(1, math.ceil(len(handles) / lines)),
        frameon=False,
        handlelength=2.8,
        columnspacing=1.4,
    )


def handle(label: str, look: PlotStyle) -> Line2D:
    """Return a legend entry."""
    return Line2D([], [], color=look.colour, marker=look.marker, linestyle=look.line, label=label)


#: Metadata on times and versions that files leave out, by their kind.
_UNSAID = {
    "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
    "png": {"Software": None},
}


def encoded(figure: Figure, kinds: Sequence[str] = ("pdf", "png")) -> dict[str, bytes]:
    """Return the figure as files of these kinds, with no time or version inside."""
    files = {}
    for kind in kinds:
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, dpi=DPI, metadata=_UNSAID[kind])
        files[kind] = buffer.getvalue()
    return files
