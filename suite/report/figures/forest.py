"""The forest figure: the difference of each of our results from its published number, in margins.

One axis serves accuracies, errors and returns, because every difference is divided by its own
margin. The thick line is the interval that lies within the dark band for a match; the thin line is
the 95 % interval, which leaves out zero if the two differ.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.textpath import TextPath

from suite.core.metrics import published_metric
from suite.published.compare import Row
from suite.published.errors import INNER
from suite.published.numbers import load
from suite.report.figures.style import PAGE
from suite.report.footnotes import reference
from suite.report.matched import Own, own_results
from suite.report.verdict_text import SIGNS, chance, with_interval

#: Height in inches of each row, and of all that is around them.
LINE, AROUND = 0.165, 1.25
#: Font size in points.
SIZE = 6.2
#: Reach of the axis, in margins; what lies beyond it is an arrow at the edge.
REACH = 4
CAPTION = (
    "Ours minus published, divided by the margin of each number; for errors the logarithm of the "
    f"ratio. Thin line: 95 % interval; thick line: {100 * INNER:.0f} % interval, within the dark "
    "band for a match. Brackets: what unlimited trainings of ours would leave of the 95 % "
    "interval. Small grey ticks below a line: other people's re-runs. Chance: of a match with "
    "these errors and seeds, if there were no difference. Grey: not judged by an interval. An "
    f"arrow at the edge goes on beyond {REACH} margins."
)
_HEADINGS = ("ours − published [95 %]", "chance", "verdict")


class _Style(NamedTuple):
    colour: str
    marker: str
    fill: str = "full"


_INNER, _OUTER, _GREY = "#cfe2ee", "#eaf2f7", "#8c8c8c"
#: The mark tells the verdict, too, because colour alone must not.
_STYLES = {
    "matches": _Style("#0072b2", "o"),
    "consistent": _Style("#0072b2", "o", "none"),
    "above": _Style("#d55e00", "^"),
    "below": _Style("#d55e00", "v"),
    "differs": _Style("#d55e00", "D", "left"),
    "inconclusive": _Style("#262626", "s", "none"),
    "undecidable": _Style("#262626", "x"),
}
_UNJUDGED = _Style(_GREY, "|")


def forest(rows: Sequence[Row]) -> Figure:
    """Return the figure, with a row for each of our results that has a published number.

    Args:
        rows: comparisons with published numbers, with at least one result of ours.
    """
    found = _ordered(rows)
    lines = _lines(found)
    figure = Figure(figsize=(PAGE, LINE * len(lines) + AROUND), layout="constrained")
    ax = figure.subplots()
    ax.axvspan(-2, 2, color=_OUTER, linewidth=0, zorder=0)
    ax.axvspan(-1, 1, color=_INNER, linewidth=0, zorder=0)
    ax.axvline(0, color="#404040", linewidth=0.7, zorder=1)
    texts = [(_difference(own), chance(own.verdict), own.verdict.kind) for own in found]
    offsets = [7.0]
    for column in range(2):
        widest = max(_width(line[column]) for line in [_HEADINGS, *texts])
        # At a low resolution letters are rounded to pixels and are a little wider.
        offsets.append(offsets[-1] + 9 + 1.08 * widest)
    places = [y for y, line in enumerate(lines) if isinstance(line, Own)]
    for y, own, line in zip(places, found, texts, strict=True):
        _mark(ax, y, own)
        grey = own.verdict.judgement is None
        for text, offset in zip(line, offsets, strict=True):
            _beside(ax, text, y, offset, grey=grey)
    for text, offset in zip(_HEADINGS, offsets, strict=True):
        _beside(ax, text, -1, offset, grey=False, style="italic")
    ax.set_yticks(range(len(lines)), [_label(line) for line in lines], fontsize=SIZE)
    ax.set_ylim(len(lines) - 0.4, -1.5)
    ax.set_xlim(-REACH, REACH)
    ax.set_xticks(range(-REACH, REACH + 1, 2))
    ax.set_axisbelow(True)
    ax.tick_params(axis="y", length=0, pad=6)  # room for an arrow at the edge
    ax.tick_params(axis="x", labelsize=SIZE)
    ax.set_xlabel("ours − published, in margins", fontsize=SIZE + 0.5)
    figure.legend(
        handles=_legend(found),
        loc="outside lower center",
        ncols=4,
        frameon=False,
        fontsize=SIZE + 0.5,
        columnspacing=1.4,
    )
    return figure


def _ordered(rows: Sequence[Row]) -> list[Own]:
    """Return our results by paper and then by verdict."""
    kinds = list(SIGNS)
    papers = list(load().papers)
    return sorted(
        (own for own in own_results(rows) if own.verdict.margin),
        key=lambda own: (papers.index(own.number.paper), kinds.index(own.verdict.kind)),
    )


def _lines(found: Sequence[Own]) -> list[Own | str]:
    """Return the lines of the figure: results under the names of their papers."""
    lines: list[Own | str] = []
    for paper, some in groupby(found, key=lambda own: own.number.paper):
        lines += [f"{reference(paper)}:", *some]
    return lines


def _mark(ax: Axes, y: int, own: Own) -> None:
    """Draw a result; beyond the axis it becomes an arrow at the edge."""
    verdict = own.verdict
    style = _STYLES.get(verdict.kind, _UNJUDGED) if verdict.judgement else _UNJUDGED
    for again in load().reproductions_of(own.number.id):
        at = _shift(own, again.value)
        if abs(at) <= REACH:
            ax.plot(at, y + 0.28, marker="|", color=_GREY, markersize=3, markeredgewidth=0.6)
    if verdict.difference is None:
        return
    assert verdict.margin is not None
    at = verdict.difference / verdict.margin
    ends = [at]
    if verdict.judgement is not None:
        floor = verdict.judgement.floor / verdict.margin
        for edge in (at - floor, at + floor):
            if abs(edge) <= REACH:
                ax.plot([edge, edge], [y - 0.28, y + 0.28], color=style.colour, linewidth=0.6)
        for (low, high), width in ((verdict.judgement.interval, 0.8), (verdict.judgement.inner, 2)):
            shown = [min(max(end / verdict.margin, -REACH), REACH) for end in (low, high)]
            ax.plot(shown, [y, y], color=style.colour, linewidth=width, solid_capstyle="butt")
        ends = [end / verdict.margin for end in verdict.judgement.interval]
    look: dict[str, Any] = {"color": style.colour, "markersize": 4, "clip_on": False}
    if min(ends) < -REACH:
        ax.plot(-REACH, y, marker="<", **look)
    if max(ends) > REACH:
        ax.plot(REACH, y, marker=">", **look)
    if abs(at) <= REACH:
        ax.plot(at, y, **_marker(style), **look)


def _shift(own: Own, value: float) -> float:
    """Return the difference of another value from the published one, in margins."""
    assert own.verdict.margin is not None
    kind = published_metric(own.number.metric)
    ours, theirs = (math.log(v) if kind.by_ratio else v for v in (value, own.number.value))
    return (ours - theirs) / own.verdict.margin


def _marker(style: _Style) -> dict[str, Any]:
    found: dict[str, Any] = {"marker": style.marker, "fillstyle": style.fill}
    if style.fill == "none":
        found |= {"fillstyle": "full", "markerfacecolor": "white"}
    return found


def _beside(
    ax: Axes, text: str, y: int, offset: float, *, grey: bool, style: str = "normal"
) -> None:
    ax.annotate(
        *(text, (1, y)),
        xycoords=("axes fraction", "data"),
        xytext=(offset, 0),
        textcoords="offset points",
        va="center_baseline",
        fontsize=SIZE,
        style=style,
        color="#6b6b6b" if grey else "black",
        annotation_clip=False,
    )


def _label(line: Own | str) -> str:
    return line if isinstance(line, str) else line.name_and_step


def _difference(own: Own) -> str:
    return with_interval(own.verdict, own.number.metric) or "diverged"


def _width(text: str) -> float:
    """Return the width of a text in points."""
    font = FontProperties(family=["DejaVu Sans"])
    return float(TextPath((0, 0), text, size=SIZE, prop=font).get_extents().width)


def _legend(found: Sequence[Own]) -> list[Line2D | Patch]:
    handles: list[Line2D | Patch] = []
    for kind, style in _STYLES.items():
        if any(own.verdict.kind == kind and own.verdict.judgement for own in found):
            handles.append(_handle(kind, style))
    if any(own.verdict.judgement is None for own in found):
        handles.append(_handle("not judged by an interval", _UNJUDGED))
    bands = ((_INNER, "one margin"), (_OUTER, "two margins"))
    return [*handles, *(Patch(color=colour, label=label) for colour, label in bands)]


def _handle(label: str, style: _Style) -> Line2D:
    return Line2D(
        *([], []), color=style.colour, markersize=4, linestyle="-", label=label, **_marker(style)
    )
