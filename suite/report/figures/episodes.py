"""Figures of single episodes: sinusoids before and after adaptation, and images of image tasks."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from suite.records.files import Arrays
from suite.report.figures.style import COLUMN, PAGE, PlotStyle, legend_below

MOST_COLUMNS = 5
EPISODES = 2
#: Maximum number of classes, and of support or query images of each, in a figure of an episode.
MOST_PICTURES = 10
_BEFORE: dict[str, Any] = {"color": "#8a8a8a", "linestyle": (0, (1, 1)), "linewidth": 1.2}
_TRUTH: dict[str, Any] = {"color": "black", "linestyle": "-", "linewidth": 0.8}
_SUPPORT: dict[str, Any] = {
    "color": "#cc79a7",
    "marker": "^",
    "linestyle": "none",
    "markeredgecolor": "black",
}


def before_after(probes: dict[str, Arrays], styles: dict[str, PlotStyle]) -> Figure:
    """Return a figure of the adapted models, with a column for each variant (MAML, Figure 2).

    Args:
        probes: the ``probe/`` arrays of one seed, by variant; see `ArrayNames`.
        styles: line styles, by variant.
    """
    shown = list(probes)
    rows = min(EPISODES, *(len(p["probe/truth"]) for p in probes.values()))
    across = min(MOST_COLUMNS, len(shown))
    bands = -(-len(shown) // across)  # variants that do not fit start another band of rows
    width = PAGE if across > 2 else COLUMN
    figure = Figure(figsize=(width, 1.25 * rows * bands + 0.75), layout="constrained")
    axes = figure.subplots(rows * bands, across, squeeze=False, sharex=True)
    for ax in axes.flat:
        ax.set_visible(False)
    for i, variant in enumerate(shown):
        band, column = divmod(i, across)
        for row in range(rows):
            ax = axes[band * rows + row, column]
            ax.set_visible(True)
            _panel(ax, probes[variant], row, styles[variant])
            if row == 0:
                ax.set_title(variant)
            if column == 0:
                ax.set_ylabel("y")
            else:
                ax.tick_params(labelleft=False)
            if row == rows - 1:
                ax.set_xlabel("x")
                ax.tick_params(labelbottom=True)
    last = max(int(p["probe/steps"][-1]) for p in probes.values())
    colour = styles[shown[-1]].colour if len(shown) == 1 else "#4d4d4d"
    legend_below(
        figure,
        [
            Line2D([], [], label="truth", **_TRUTH),
            Line2D([], [], label="support points", markersize=4.5, markeredgewidth=0.4, **_SUPPORT),
            Line2D([], [], label="before (step 0)", **_BEFORE),
            Line2D([], [], label="after 1 step", color=colour, linestyle="--", linewidth=1.1),
            Line2D([], [], label=f"after {last} steps", color=colour, linewidth=1.6),
        ],
    )
    return figure


def _panel(ax: Axes, arrays: Arrays, episode: int, look: PlotStyle) -> None:
    x, truth = arrays["probe/x"], arrays["probe/truth"][episode]
    steps = [int(step) for step in arrays["probe/steps"]]
    models = dict(zip(steps, arrays["probe/before_after"][episode], strict=True))
    ax.plot(x, truth, **_TRUTH)
    ax.plot(x, models[0], **_BEFORE)
    if 1 in models and steps[-1] > 1:
        ax.plot(x, models[1], color=look.colour, linestyle="--", linewidth=1.1)
    ax.plot(x, models[steps[-1]], color=look.colour, linewidth=1.6)
    points = arrays["probe/support_x"][episode], arrays["probe/support_y"][episode]
    ax.plot(*points, markersize=4.5, markeredgewidth=0.4, zorder=4, clip_on=False, **_SUPPORT)
    # The truth and the data set the scale, which is the same for every algorithm; a model that is
    # far away leaves the panel.
    reach = 1.4 * max(1.0, float(np.abs(truth).max()), float(np.abs(points[1]).max()))
    ax.set_ylim(-reach, reach)
    ax.margins(x=0)


def episode_pictures(arrays: Arrays) -> Figure:
    """Return a figure of one image episode: a row for each way, support left and query right.

    Args:
        arrays: ``pictures/support`` (ways, shots, C, H, W) and ``pictures/query``, uint8.
    """
    support, query = arrays["pictures/support"], arrays["pictures/query"]
    left, right = support[:MOST_PICTURES, :MOST_PICTURES], query[:MOST_PICTURES, :MOST_PICTURES]
    ways = len(left)
    sheets = _sheet(left), _sheet(right)
    # The sheets are side by side at the same scale, with half a picture between them.
    columns = left.shape[1] + right.shape[1] + 0.5
    side = min(0.5, (PAGE - 0.6) / columns)
    figure = Figure(
        figsize=(max(side * columns + 0.45, 1.9), side * ways + 0.3), layout="constrained"
    )
    axes = figure.subplots(1, 2, width_ratios=[sheet.shape[1] for sheet in sheets])
    for ax, sheet, title in zip(axes, sheets, ("support", "query"), strict=True):
        ax.imshow(sheet, cmap="gray_r", vmin=0, vmax=255, interpolation="nearest")
        ax.set_title(title)
        ax.set_xticks([])
        ax.grid(visible=False)
        ax.spines[:].set_visible(False)
        ax.set_yticks([])
    height = support.shape[3] + GAP
    axes[0].set_yticks([GAP + height * way + (height - GAP) / 2 for way in range(ways)])
    axes[0].set_yticklabels([str(way) for way in range(ways)])
    axes[0].tick_params(axis="y", length=0)
    axes[0].set_ylabel("class")
    return figure


GAP = 2


def _sheet(pictures: np.ndarray) -> np.ndarray:
    """Return pictures (ways, n, C, H, W) on one sheet, with thin frames between them."""
    ways, n, channels, height, width = pictures.shape
    sheet = np.full(
        (ways * (height + GAP) + GAP, n * (width + GAP) + GAP, channels), 90, dtype=np.uint8
    )
    for way in range(ways):
        for i in range(n):
            top, left = GAP + way * (height + GAP), GAP + i * (width + GAP)
            sheet[top : top + height, left : left + width] = pictures[way, i].transpose(1, 2, 0)
    return sheet[..., 0] if channels == 1 else sheet[..., :3]
