"""The forest figure: the difference of each of our results from its published number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.textpath import TextPath

from suite.core.metrics import margins, published_metric
from suite.published.compare import Row
from suite.report.figures.style import PAGE
from suite.report.matched import UNLIKE, Own, own_results, signed

#: Height in inches of each row, and of the rest of each panel.
LINE, AROUND = 0.155, 0.62
#: Font size in points.
SIZE = 6.2
#: Maximum reach of an axis, in margins; a result beyond it is drawn as an arrow at the edge.
REACH = 20
_HEADING = "difference [95 % interval]"


class _Style(NamedTuple):
    colour: str
    marker: str


_BAND, _GREY = "#d9e8f2", "#8c8c8c"
_STYLES = {
    "matches": _Style("#0072b2", "o"),
    "above": _Style("#d55e00", "D"),
    "below": _Style("#d55e00", "s"),
    "inconclusive": _Style("#262626", "o"),
}


def forest(rows: Sequence[Row]) -> Figure:
    """Return the figure, with a row for each of our results that has a published number.

    Args:
        rows: comparisons with published numbers, with at least one result of ours.
    """
    panels = _panels(rows)
    lines = sum(map(len, panels))
    height = LINE * (lines + 0.6 * len(panels)) + AROUND * len(panels) + 0.35
    figure = Figure(figsize=(PAGE, height), layout="constrained")
    ratios = [len(found) + 0.6 for found in panels]
    axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=ratios)[:, 0]
    # In all panels the second column of text begins to the right of the longest text of the first;
    # at a low resolution letters are rounded to pixels and are a little wider.
    texts = [_difference(own) for found in panels for own in found]
    second = 16 + 1.08 * max(_width(text) for text in (_HEADING, *texts))
    for ax, found in zip(axes, panels, strict=True):
        _panel(ax, found, second)
    figure.legend(
        handles=_legend([own for found in panels for own in found]),
        loc="outside lower center",
        ncols=3,
        frameon=False,
        fontsize=SIZE + 0.5,
        columnspacing=1.4,
    )
    return figure


def forest_caption(rows: Sequence[Row]) -> str:
    """Return the caption of the figure."""
    panels = _panels(rows)
    metrics = [found[0].number.metric for found in panels]
    widths = " and ".join(f"±{margins()[m]:g} {published_metric(m).unit}" for m in metrics)
    every = [own for found in panels for own in found]
    caption = (
        "Ours minus published, with the 95 % interval of the difference where a verdict was "
        f"given. Shaded: the equivalence margin, {widths}. Hollow: not judged."
    )
    if any(_beyond(own, _limit(found)) for found in panels for own in found):
        caption += (
            f" An axis ends {REACH} margins from zero at most; an arrow at its edge goes on to "
            "where the numbers at the right say."
        )
    if any(own.verdict.difference is None for own in every):
        caption += " Diverged: there is no mean, hence no difference."
    return caption


def _panels(rows: Sequence[Row]) -> list[list[Own]]:
    found = own_results(rows)
    panels = [[own for own in found if own.number.metric == metric] for metric in margins()]
    return [panel for panel in panels if panel]


def _panel(ax: Axes, found: Sequence[Own], second: float) -> None:
    metric = found[0].number.metric
    margin, limit = margins()[metric], _limit(found)
    ax.axvspan(-margin, margin, color=_BAND, linewidth=0, zorder=0)
    ax.axvline(0, color="#404040", linewidth=0.7, zorder=1)
    for y, own in enumerate(found):
        _mark(ax, y, own, limit)
        verdict = own.verdict.kind
        for text, offset in ((_difference(own), 7.0), (verdict, second)):
            _beside(ax, text, y, offset, grey=verdict in UNLIKE)
    ax.set_yticks(range(len(found)), [_label(own) for own in found], fontsize=SIZE)
    ax.set_ylim(len(found) - 0.2, -0.8)
    ax.set_xlim(-limit, limit)
    ax.set_axisbelow(True)
    ax.tick_params(axis="y", length=0, pad=6)  # room for an arrow at the edge
    ax.tick_params(axis="x", labelsize=SIZE)
    kind = published_metric(metric)
    title, label = kind.heading, f"ours − published ({kind.difference_label})"
    ax.set_xlabel(label, fontsize=SIZE + 0.5)
    ax.set_title(title)
    for text, offset in ((_HEADING, 7.0), ("verdict", second)):
        ax.annotate(
            *(text, (1, 1)),
            xycoords="axes fraction",
            xytext=(offset, 5),
            textcoords="offset points",
            fontsize=SIZE,
            style="italic",
        )


def _mark(ax: Axes, y: int, own: Own, limit: float) -> None:
    """Draw a result; beyond the axis it becomes an arrow at the edge."""
    difference = own.verdict.difference
    if difference is None:
        return
    low, high = own.verdict.interval or (difference, difference)
    style = _style(own)
    look: dict[str, Any] = {
        "color": style.colour,
        "markerfacecolor": style.colour if own.verdict.interval else "white",
        "markersize": 4,
        "clip_on": False,
    }
    shown = [min(max(end, -limit), limit) for end in (low, high)]
    ax.plot(shown, [y, y], color=style.colour, linewidth=1.1, solid_capstyle="butt")
    if low < -limit:
        ax.plot(-limit, y, marker="<", **look)
    if high > limit:
        ax.plot(limit, y, marker=">", **look)
    if abs(difference) <= limit:
        ax.plot(difference, y, marker=style.marker, **look)


def _style(own: Own) -> _Style:
    return _STYLES.get(own.verdict.kind, _Style(_GREY, "o"))


def _beside(ax: Axes, text: str, y: int, offset: float, *, grey: bool) -> None:
    ax.annotate(
        *(text, (1, y)),
        xycoords=("axes fraction", "data"),
        xytext=(offset, 0),
        textcoords="offset points",
        va="center_baseline",
        fontsize=SIZE,
        color="#6b6b6b" if grey else "black",
    )


def _limit(found: Sequence[Own]) -> float:
    """Return the limit of a panel's axis, the same on both sides."""
    margin = margins()[found[0].number.metric]
    ends = [abs(end) for own in found for end in _ends(own)]
    inside = [end for end in ends if end <= REACH * margin]
    return 1.06 * max([2 * margin, *inside])


def _ends(own: Own) -> tuple[float, ...]:
    if own.verdict.difference is None:
        return ()
    return own.verdict.interval or (own.verdict.difference,)


def _beyond(own: Own, limit: float) -> bool:
    return any(abs(end) > limit for end in _ends(own))


def _label(own: Own) -> str:
    return f"{own.name}, step {own.result.step}"


def _difference(own: Own) -> str:
    difference, metric = own.verdict.difference, own.number.metric
    if difference is None:
        return "diverged"
    values = [_short(value, metric) for value in (difference, *(own.verdict.interval or ()))]
    return f"{values[0]} [{', '.join(values[1:])}]" if values[1:] else values[0]


def _short(value: float, metric: str) -> str:
    """Write a difference; a huge one has fewer digits, because its text must fit."""
    return signed(value, metric) if abs(value) < 1e4 else f"{value:+.0e}".replace("-", "−", 1)


def _width(text: str) -> float:
    """Return the width of a text in points."""
    font = FontProperties(family=["DejaVu Sans"])
    return float(TextPath((0, 0), text, size=SIZE, prop=font).get_extents().width)


def _legend(found: Sequence[Own]) -> list[Line2D | Patch]:
    margin = Patch(color=_BAND, label="equivalence margin")
    handles: list[Line2D | Patch] = []
    for kind, style in _STYLES.items():
        if any(own.verdict.kind == kind and own.verdict.interval for own in found):
            handles.append(_handle(kind, style, filled=True))
    drawn = [own for own in found if own.verdict.difference is not None]
    if any(own.verdict.interval is None and own.verdict.kind not in UNLIKE for own in drawn):
        handles.append(_handle("not judged", _STYLES["inconclusive"], filled=False))
    if any(own.verdict.kind in UNLIKE for own in drawn):
        handles.append(_handle("shortened or not comparable", _Style(_GREY, "o"), filled=False))
    return [*handles, margin]


def _handle(label: str, style: _Style, *, filled: bool) -> Line2D:
    return Line2D(
        *([], []),
        color=style.colour,
        marker=style.marker,
        markersize=4,
        markerfacecolor=style.colour if filled else "white",
        linestyle="-" if filled else "",
        label=label,
    )
