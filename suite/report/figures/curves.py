"""Line figures: learning curves and adaptation curves, as means over seeds with t bands."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from suite.core.metrics import metric_of
from suite.core.statistics import seed_interval, seed_means
from suite.report.figures.style import PlotStyle, handle, legend_below, panels
from suite.report.groups import Group, Runs

#: Largest shown error, as a multiple of the scores before adaptation; larger errors diverge.
OFF_CHART = 10.0


def adaptation_curves(compared: Sequence[list[Group]], styles: dict[str, PlotStyle]) -> Figure:
    """Return a figure of test score against inner steps, with a panel for each list of groups."""
    figure, axes = panels(len(compared))
    several = len({group.runs.device for groups in compared for group in groups}) > 1
    for ax, groups in zip(axes, compared, strict=True):
        first = groups[0]
        lines = {g.runs.variant: _over_seeds(g) for g in groups if len(g.runs.done)}
        _draw(ax, lines, styles, first.metric)
        _x_label(ax, "inner steps", lines, [group.runs for group in groups])
        experiment, evaluation, device = first.key
        ax.set_title(f"{experiment}: {evaluation}" + (f" ({device})" if several else ""))
        ax.set_ylabel(f"{first.evaluation.split} {_axis(first.metric)}")
        if _is_proportion(first.metric):
            _chance(ax, first.evaluation.ways)
    extra = [_chance_handle()] if any(_is_proportion(g[0].metric) for g in compared) else []
    _legend(figure, [g.runs.variant for groups in compared for g in groups], styles, extra)
    return figure


def learning_curves(
    panels_of: Sequence[tuple[list[Runs], str, int]], styles: dict[str, PlotStyle]
) -> Figure:
    """Return a figure of validation score against outer steps.

    Args:
        panels_of: algorithms, metric and number of ways of each panel.
        styles: line styles, by variant.
    """
    figure, axes = panels(len(panels_of))
    several = len({runs.device for found, *_ in panels_of for runs in found}) > 1
    drawn = []
    for ax, (found, metric, ways) in zip(axes, panels_of, strict=True):
        lines = {runs.variant: curve for runs in found if (curve := validation(runs)) is not None}
        drawn += list(lines)
        _draw(ax, lines, styles, metric)
        ax.set_title(found[0].experiment + (f" ({found[0].device})" if several else ""))
        _x_label(ax, "outer steps", lines, found)
        ax.set_ylabel(f"validation {_axis(metric)}")
        if _is_proportion(metric):
            _chance(ax, ways)
    extra = [_chance_handle()] if any(_is_proportion(metric) for _, metric, _ in panels_of) else []
    _legend(figure, drawn, styles, extra)
    return figure


def validation(runs: Runs) -> tuple[np.ndarray, np.ndarray] | None:
    """Return outer steps (n,) and validation scores (seeds, n), or None if there is no curve."""
    curves = [record.results.curve for record in runs.done if record.results]
    if not curves or len(curves[0].steps) < 2:
        return None
    values = [[np.nan if v is None else v for v in curve.validation] for curve in curves]
    if len({tuple(curve.steps) for curve in curves}) > 1 or not np.isfinite(values).any():
        return None
    return np.array(curves[0].steps), np.array(values, dtype=np.float64)


def _over_seeds(group: Group) -> tuple[np.ndarray, np.ndarray]:
    """Return inner steps (n,) and means over episodes (seeds, n)."""
    steps = group.evaluation.scored_steps
    return np.array(steps), np.stack([seed_means(group.after(k)) for k in steps], axis=1)


def _draw(
    ax: Axes,
    lines: dict[str, tuple[np.ndarray, np.ndarray]],
    styles: dict[str, PlotStyle],
    metric: str,
) -> None:
    scale = metric_of(metric).scale if metric else 1.0
    tops, bottoms, starts = [], [], []
    for variant, (x, values) in lines.items():
        look, values = styles[variant], scale * values  # (seeds, n)
        mean = values.mean(axis=0)  # NaN (a gap) if an episode diverged
        band = np.array([seed_interval(column) or 0.0 for column in values.T])
        ax.plot(
            x,
            mean,
            color=look.colour,
            marker=look.marker,
            linestyle=look.line,
            markevery=max(1, len(x) // 8),
            zorder=3,
        )
        ax.fill_between(x, mean - band, mean + band, color=look.colour, alpha=0.18, linewidth=0)
        if np.isfinite(mean).any():
            tops.append(np.nanmax(mean + band))
            bottoms.append(np.nanmin(mean))
            starts.append(mean[np.isfinite(mean)][0])
    ax.margins(x=0.02)
    top = max((int(x[-1]) for x, _ in lines.values()), default=0)
    if 0 < top <= 5:
        ax.set_xticks(range(top + 1))
    else:
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    _limits(ax, metric, tops, bottoms, starts)


def _x_label(
    ax: Axes,
    label: str,
    lines: dict[str, tuple[np.ndarray, np.ndarray]],
    found: Sequence[Runs],
) -> None:
    """Write the axis label and, below it, the diverged runs; no line can cross the text there."""
    cells = [f"{runs.variant}: {runs.diverged_cells}" for runs in found if runs.diverged]
    gaps = [variant for variant, (_, values) in lines.items() if not np.isfinite(values).all()]
    cells += [f"gap: {', '.join(gaps)} diverged"] if gaps else []
    top = ax.get_ylim()[1]
    off = [v for v, (_, values) in lines.items() if (values.mean(axis=0) > top).any()]
    if ax.get_yscale() == "log" and off:
        cells.append(f"off the chart: {', '.join(off)}")
    ax.set_xlabel("\n".join([label, "; ".join(cells)] if cells else [label]))


def _limits(
    ax: Axes, metric: str, tops: list[float], bottoms: list[float], starts: list[float]
) -> None:
    if _is_proportion(metric):
        ax.set_ylim(0, 101)
    elif tops and min(bottoms) > 0:
        ax.set_yscale("log")
        ax.set_ylim(0.6 * min(bottoms), 1.3 * min(max(tops), OFF_CHART * max(starts)))
        # The ticks are 0.1, 0.2, 0.5, 1 ...: within one decade there may be no power of ten.
        decades = np.log10(ax.get_ylim()[1] / ax.get_ylim()[0])
        subs = (1, 1.5, 2, 3, 4, 5, 7) if decades < 1 else (1, 2, 5) if decades < 4 else (1,)
        ax.yaxis.set_major_locator(LogLocator(subs=subs))
        ax.yaxis.set_minor_locator(NullLocator())
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _axis(metric: str) -> str:
    return metric_of(metric).label if metric else "score"


def _is_proportion(metric: str) -> bool:
    return bool(metric) and metric_of(metric).is_proportion


def _chance(ax: Axes, ways: int) -> None:
    look = _chance_handle()
    ax.axhline(100 / ways, color=look.get_color(), linestyle=look.get_linestyle(), linewidth=0.9)


def _chance_handle() -> Line2D:
    return Line2D([], [], color="#9a9a9a", linestyle="--", linewidth=0.9, label="chance")


def _legend(
    figure: Figure, variants: Sequence[str], styles: dict[str, PlotStyle], extra: list[Line2D]
) -> None:
    shown = [variant for variant in styles if variant in variants]
    legend_below(figure, [handle(variant, styles[variant]) for variant in shown] + extra)
