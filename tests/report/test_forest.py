"""The forest figure: what is drawn where, and that no text covers another."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex

from suite.published.compare import compare
from suite.report.figures.forest import forest, forest_caption
from suite.report.figures.style import encoded, printed
from tests.report.beside import Scored, altered, cells, short

GREY, WHITE = "#8c8c8c", "#ffffff"


def beside(of, means, *, spread=0.001, diverged_seeds=0):
    """Yield scores (5 seeds, 50 episodes) of each test around its mean, in the published unit."""
    of = cells()[of] if isinstance(of, str) else of
    scale = 1 if of.task["name"] == "sinusoid" else 100
    for test, mean in zip(of.protocol.evaluations, means, strict=False):
        around = np.linspace(-spread, spread, 5)[:, None] + np.linspace(-spread, spread, 50)
        by_step = np.repeat((mean / scale + around)[:, :, None], test.steps + 1, axis=2)
        yield Scored(of, test, by_step, diverged_seeds)


def rows(*made):
    return compare([group for some in made for group in some], [])


def drawn(figure):
    with printed():
        FigureCanvasAgg(figure).draw()
    return figure


def marks(ax):
    """Return (x, y, marker, colour, face) of every marker of a panel."""
    return [
        (
            *(float(np.ravel(line.get_xdata())[0]), float(np.ravel(line.get_ydata())[0])),
            *(line.get_marker(), to_hex(line.get_color())),
            to_hex(line.get_markerfacecolor()),
        )
        for line in ax.lines
        if line.get_marker() not in ("None", None, "")
    ]


def intervals(ax):
    """Return (low, high) by line, of the lines across a panel."""
    return {
        float(line.get_ydata()[0]): tuple(map(float, line.get_xdata()))
        for line in ax.lines
        if len(np.ravel(line.get_xdata())) == 2 and line.get_ydata()[0] == line.get_ydata()[1]
    }


def texts(ax):
    return [text.get_text() for text in ax.texts]


def make(found):
    with printed():
        return forest(found)


def test_a_judged_result_has_its_interval_and_verdict():
    found = rows(beside("omniglot-5w1s/maml", [98.7]), beside("omniglot-5w5s/maml", [95.0]))
    (ax,) = make(found).axes
    assert [text.get_text() for text in ax.get_yticklabels()] == [
        "omniglot-5w1s/maml, step 3",
        "omniglot-5w5s/maml, step 3",
    ]
    first, second = (row.verdict for row in found)
    assert (first.kind, second.kind) == ("matches", "below")
    assert intervals(ax)[0] == pytest.approx(first.interval)
    assert intervals(ax)[1] == pytest.approx(second.interval)
    (one, two) = marks(ax)
    assert one[:2] == pytest.approx((0, 0), abs=1e-9)
    assert two[:2] == pytest.approx((-4.9, 1))
    assert one[3] == one[4] == "#0072b2"
    assert (two[2], one[2]) == ("s", "o"), "told apart without colour"
    assert two[3] == two[4] == "#d55e00"
    low, high = first.interval
    assert f"+0.00 [−{-low:.2f}, +{high:.2f}]" in texts(ax)
    assert [t for t in texts(ax) if t in ("matches", "below")] == ["matches", "below"]


def test_the_margin_is_shaded_in_each_metric():
    figure = make(rows(beside("omniglot-5w1s/maml", [98.0]), beside("sinusoid/maml", [0.6])))
    assert [ax.get_xlabel() for ax in figure.axes] == [
        "ours − published (points of accuracy)",
        "ours − published (mean squared error)",
    ]
    for ax, margin in zip(figure.axes, (1, 0.1), strict=True):
        (band,) = ax.patches
        assert band.get_x() == pytest.approx(-margin)
        assert band.get_width() == pytest.approx(2 * margin)
        low, high = ax.get_xlim()
        assert -low == high > 2 * margin
        assert ax.yaxis_inverted(), "the first line is the upper one"
    caption = forest_caption(
        rows(beside("omniglot-5w1s/maml", [98.0]), beside("sinusoid/maml", [1]))
    )
    assert "±1 point of accuracy and ±0.1 squared error" in caption


@pytest.mark.parametrize(
    ("of", "kind"),
    [
        (lambda: short("omniglot-5w1s/maml"), "shortened"),
        (lambda: altered("omniglot-5w1s/maml", model={"head_init": "same"}), "not comparable"),
    ],
)
def test_what_is_unlike_is_hollow_grey_and_has_no_interval(of, kind):
    (ax,) = make(rows(beside(of(), [97.0]))).axes
    ((x, _, _, colour, face),) = marks(ax)
    assert x == pytest.approx(-1.7)
    assert (colour, face) == (GREY, WHITE)
    assert {low == high for low, high in intervals(ax).values()} == {True}
    assert "−1.70" in texts(ax)
    assert kind in texts(ax)


def test_one_seed_is_hollow_and_black():
    (group,) = beside("omniglot-5w1s/maml", [98.7])
    group.scores = group.scores[:1]
    (ax,) = make(rows([group])).axes
    ((_, _, _, colour, face),) = marks(ax)
    assert face == WHITE
    assert colour not in (GREY, WHITE)


def test_what_diverged_is_listed_without_a_mark():
    made = list(beside("sinusoid/maml", [0.5]))
    made[0].scores[2, 7, 5] = np.inf
    found = rows(made, beside("sinusoid/maml-0.001", [0.5], diverged_seeds=1))
    (ax,) = make(found).axes
    assert len(ax.get_yticklabels()) == 6
    assert sorted({y for _, y, *_ in marks(ax)}) == [0, 2]
    assert texts(ax).count("diverged") == 4
    assert "Diverged: there is no mean" in forest_caption(found)
    assert "Diverged" not in forest_caption(rows(beside("sinusoid/maml", [0.5])))


@pytest.mark.parametrize(
    ("mean", "edge", "told"), [(1e6, ">", "+1e+06 [+1e+06, "), (-5.0, "<", "−5.17 [−5.")]
)
def test_what_lies_far_out_is_an_arrow_and_leaves_the_axis_readable(mean, edge, told):
    made = list(beside("sinusoid/maml-0.001", [0.5]))
    made[0].scores[:, :, 1] += mean  # a mean of 0.5, published 0.67
    found = rows(made)
    (ax,) = make(found).axes
    assert ax.get_xlim()[1] <= 0.1 * 20 * 1.06
    arrows = [mark for mark in marks(ax) if mark[2] in "<>"]
    assert [(x, y, marker) for x, y, marker, *_ in arrows] == [
        (ax.get_xlim()[edge == ">"], 0, edge)
    ]
    assert len(marks(ax)) == 3, "no second mark where the arrow is"
    assert any(text.startswith(told) for text in texts(ax))
    assert "an arrow at its edge" in forest_caption(found)
    assert "arrow" not in forest_caption(rows(beside("sinusoid/maml", [0.5])))


def test_an_interval_across_the_axis_has_two_arrows_and_no_mark():
    made = list(beside("sinusoid/maml", [0.5]))
    made[0].scores[0, :, 5] += 1e6  # one seed far out: a mean of 2e5, an interval around zero
    (ax,) = make(rows(made)).axes
    at = [marker for _, y, marker, *_ in marks(ax) if y == 1]
    assert sorted(at) == ["<", ">"]
    assert intervals(ax)[1.0] == ax.get_xlim()


def many(count):
    """Return so many lines of all kinds, far-out ones and long labels among them."""
    made = []
    for i, of in enumerate(cells().values()):
        changed = of
        if i % 5 == 1:
            changed = short(f"{of.experiment}/{of.variant}")
        if i % 5 == 2:
            changed = of.model_copy(update={"model": {**of.model, "activation": "tanh"}})
        mean = (1e6, 0.5, 3.0)[i % 3] if of.task["name"] == "sinusoid" else (60.0, 97.0)[i % 2]
        made.append(beside(changed, [mean] * 2, spread=0.01, diverged_seeds=i % 7 == 6))
    return rows(*made)[:count]


@pytest.mark.parametrize("count", [1, 6, 45])
def test_no_text_covers_another_and_all_is_inside(count):
    found = many(count)
    assert len(found) == count
    figure = drawn(make(found))
    renderer = figure.canvas.get_renderer()
    boxes = []
    for ax in figure.axes:
        ticks = [*ax.get_yticklabels(), *ax.get_xticklabels()]
        inside = [t for t in ticks if t.get_text()]
        for text in (*inside, *ax.texts, ax.title, ax.xaxis.label):
            if text.get_text() and text.get_visible():
                boxes.append((text.get_text(), text.get_window_extent(renderer)))
    (legend,) = figure.legends
    boxes.append(("legend", legend.get_window_extent(renderer)))
    width, height = figure.get_size_inches() * figure.dpi
    for text, box in boxes:
        assert box.x0 >= -0.5, text
        assert box.x1 <= width + 0.5, text
        assert box.y0 >= -0.5, text
        assert box.y1 <= height + 0.5, text
    for (one, a), (two, b) in combinations(boxes, 2):
        across = min(a.x1, b.x1) - max(a.x0, b.x0)
        down = min(a.y1, b.y1) - max(a.y0, b.y0)
        assert across <= 0.5 or down <= 1.5, f"{one!r} covers {two!r}"
    plot = figure.axes[0].get_window_extent(renderer)
    assert plot.width > 0.2 * width, "room for the marks"


def test_the_height_grows_with_the_lines_and_fits_a_page():
    heights = [make(many(count)).get_figheight() for count in (1, 6, 45)]
    assert heights == sorted(heights)
    assert heights[0] < 1.6
    assert heights[2] < 9.6


def test_the_same_rows_give_the_same_bytes():
    with printed():
        one, two = (encoded(forest(many(6))) for _ in range(2))
    assert one == two
