"""The figure of times: inner loop and outer step, with quartiles."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.patches import Patch

from suite.report.figures.style import panels
from suite.report.format import significant
from suite.report.groups import Runs
from suite.report.tables.timing import alone, duration

# One colour is light and one is dark, so that they also differ in grey print.
_PARTS = {"inner_loop": ("inner loop", "#9ecae1"), "outer_step": ("outer step", "#0072b2")}


def timing_bars(experiments: Sequence[list[Runs]]) -> Figure:
    """Return a figure of the times of a meta-batch: a panel for each experiment and device."""
    most = max(len(found) for found in experiments)
    figure, axes = panels(len(experiments), height=0.55 + 0.36 * most)
    several = len({runs.device for found in experiments for runs in found}) > 1
    for ax, found in zip(axes, experiments, strict=True):
        longest = 0.0
        for i, runs in enumerate(found):
            for part, offset in (("inner_loop", -0.2), ("outer_step", 0.2)):
                times = duration(alone(runs), part)
                if times is None:
                    continue
                middle, low, high = (1e3 * seconds for seconds in times)
                longest = max(longest, high)
                ax.barh(i + offset, middle, height=0.38, color=_PARTS[part][1])
                ax.errorbar(
                    *(middle, i + offset),
                    xerr=[[max(0.0, middle - low)], [max(0.0, high - middle)]],
                    color="black",
                    linewidth=0.8,
                    capsize=1.8,
                )
                ax.annotate(
                    significant(middle),
                    (high, i + offset),
                    xytext=(3, 0),
                    textcoords="offset points",
                    va="center",
                    fontsize=6.5,
                )
        ax.set_yticks(range(len(found)), [runs.variant for runs in found])
        ax.set_ylim(len(found) - 0.5, -0.5)
        ax.set_xlim(0, 1.18 * longest)  # room for the numbers
        ax.grid(visible=False, axis="y")
        ax.grid(visible=True, axis="x")
        ax.set_axisbelow(True)
        ax.tick_params(axis="y", length=0)
        ax.set_xlabel("time of one meta-batch (ms)")
        ax.set_title(found[0].experiment + (f" ({found[0].device})" if several else ""))
    figure.legend(
        handles=[Patch(color=colour, label=label) for label, colour in _PARTS.values()],
        loc="outside lower center",
        ncols=2,
        frameon=False,
    )
    return figure
