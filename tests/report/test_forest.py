"""The forest figure: what is drawn where, and that no text covers another."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex

from suite.published.compare import compare
from suite.published.numbers import load
from suite.report.figures.forest import CAPTION, REACH, forest
from suite.report.figures.style import encoded, printed
from tests.report.beside import ACCURACY, Scored, altered, cells, row, short

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
    """Return (x, y, marker, colour, face) of every mark of a result; re-runs lie between lines."""
    return [
        (x, y, line.get_marker(), to_hex(line.get_color()), to_hex(line.get_markerfacecolor()))
        for line, x, y in _points(ax)
        if y == int(y)
    ]


def reruns(ax):
    """Return (x, y) of every tick of a re-run, which is below the line ``y``."""
    return [(x, y - 0.28) for _, x, y in _points(ax) if y != int(y)]


def _points(ax):
    for line in ax.lines:
        if line.get_marker() not in ("None", None, ""):
            yield line, *(float(np.ravel(v)[0]) for v in (line.get_xdata(), line.get_ydata()))


def _segments(ax):
    for line in ax.lines:
        x, y = (np.ravel(v).astype(float) for v in (line.get_xdata(), line.get_ydata()))
        if len(x) == 2 and line.get_linestyle() != "None" and line.get_transform() == ax.transData:
            yield line, x, y


def intervals(ax):
    """Return (low, high) of the intervals of a line, the thin one first, by ``y``."""
    found = {}
    for _, x, y in sorted(_segments(ax), key=lambda one: one[0].get_linewidth()):
        if y[0] == y[1]:
            found.setdefault(y[0], []).append(tuple(x))
    return found


def brackets(ax):
    """Return the places of the brackets by ``y``."""
    found = {}
    for _, x, y in _segments(ax):
        if y[0] != y[1]:
            found.setdefault(round(y.mean(), 6), []).append(x[0])
    return found


def texts(ax):
    return [text.get_text() for text in ax.texts]


def labels(ax):
    return [text.get_text() for text in ax.get_yticklabels()]


def entries(figure):
    (legend,) = figure.legends
    return [text.get_text() for text in legend.get_texts()]


def make(found):
    with printed():
        return forest(found)


BLUE, RED, BLACK = "#0072b2", "#d55e00", "#262626"


def test_a_judged_result_is_drawn_in_margins():
    found = rows(beside("omniglot-20w1s/maml", [95.8]), beside("sinusoid/maml", [0.6]))
    (ax,) = make(found).axes
    assert ax.get_xlabel() == "ours − published, in margins"
    for one in found:
        assert one.verdict.margin == (1 if one.metric == "accuracy_pct" else np.log(1.25))
        y = labels(ax).index(f"{one.preset.name}{_test(one)}, step {one.step}")
        margin, judged = one.verdict.margin, one.verdict.judgement
        at = one.verdict.difference / margin
        assert intervals(ax)[y] == [
            pytest.approx([end / margin for end in judged.interval]),
            pytest.approx([end / margin for end in judged.inner]),
        ]
        edges = at - judged.floor / margin, at + judged.floor / margin
        assert brackets(ax)[y] == pytest.approx(edges)
        ((x, *_),) = [mark for mark in marks(ax) if mark[1] == y]
        assert x == pytest.approx(at)
    low, high = found[0].verdict.interval
    assert f"+0.00 [−{-low:.2f}, +{high:.2f}]" in texts(ax)
    ratio = np.exp(found[1].verdict.difference)
    assert any(text.startswith(f"×{ratio:.2f} [×") for text in texts(ax))
    assert f"{100 * found[0].verdict.judgement.chance:.0f} %" in texts(ax)


def _test(one):
    return "" if one.test == "test" else f" {one.test}"


def test_one_axis_serves_all_metrics_and_its_bands_are_one_and_two_margins():
    found = rows(beside("omniglot-5w1s/maml", [98.0]), beside("sinusoid/maml", [0.6]))
    (ax,) = make(found).axes
    bands = sorted((patch.get_x(), patch.get_x() + patch.get_width()) for patch in ax.patches)
    assert bands == [(-2, 2), (-1, 1)]
    assert ax.get_xlim() == (-REACH, REACH)
    assert list(ax.get_xticks()) == [-4, -2, 0, 2, 4]
    assert ax.yaxis_inverted(), "the first line is the upper one"


def test_results_stand_under_their_papers_sorted_by_verdict():
    of = [("omniglot-5w1s/reptile", 0), ("omniglot-5w5s/maml", 0), ACCURACY]
    kinds = ("matches", "consistent", "above")
    (ax,) = make([row(kind, of=one) for kind, one in zip(kinds, of, strict=True)]).axes
    assert labels(ax) == [
        "Finn et al. 2017:",
        "omniglot-5w1s/maml, step 3",
        "omniglot-5w5s/maml, step 3",
        "Nichol et al. 2018:",
        "omniglot-5w1s/reptile non-transductive, step 50",
    ]
    assert [y for _, y, *_ in marks(ax)] == [1, 2, 4], "no mark beside the name of a paper"


@pytest.mark.parametrize(
    ("kind", "marker", "colour", "face"),
    [
        ("matches", "o", BLUE, BLUE),
        ("consistent", "o", BLUE, WHITE),
        ("above", "^", RED, RED),
        ("below", "v", RED, RED),
        ("differs", "D", RED, RED),
        ("inconclusive", "s", BLACK, WHITE),
        ("undecidable", "x", BLACK, BLACK),
    ],
)
def test_the_mark_tells_the_verdict_without_its_colour(kind, marker, colour, face):
    figure = make([row(kind, needs=9)])
    (ax,) = figure.axes
    ((x, y, *shown),) = marks(ax)
    assert (x, y) == (pytest.approx(0.1), 1)
    assert shown == [marker, colour, face]
    ((line, _, _),) = [point for point in _points(ax) if point[2] == 1]
    assert line.get_fillstyle() == ("left" if kind == "differs" else "full")
    assert entries(figure) == [kind, "one margin", "two margins"]
    assert texts(ax)[:3] == ["+0.10 [−0.20, +0.40]", "25 %", kind]


def test_reruns_by_others_are_ticks_below_the_line():
    published = load().number("maml.table1.omniglot-5w1s.maml")
    others = [again.value for again in load().reproductions_of(published.id)]
    assert len(others) > 2
    (ax,) = make([row("consistent")]).axes  # a made-up margin of 1 point
    assert reruns(ax) == [(pytest.approx(v - published.value), pytest.approx(1)) for v in others]
    far = rows(beside("omniglot-5w1s/fomaml", [98.3]))
    assert [again.value for again in load().reproductions_of(far[0].number.id)] == [95.5]
    assert far[0].verdict.margin * REACH < 98.3 - 95.5
    assert reruns(make(far).axes[0]) == [], "what is beyond the axis is left out"


@pytest.mark.parametrize(
    ("of", "kind"),
    [
        (lambda: short("omniglot-20w1s/maml"), "shortened"),
        (lambda: altered("omniglot-20w1s/maml", model={"head_init": "same"}), "not comparable"),
    ],
)
def test_a_result_of_another_protocol_is_a_grey_tick_without_an_interval(of, kind):
    figure = make(rows(beside(of(), [94.1])))
    (ax,) = figure.axes
    ((x, y, marker, colour, _),) = marks(ax)
    assert (x, y, marker, colour) == (pytest.approx(-1.7), 1, "|", GREY)
    assert (intervals(ax), brackets(ax)) == ({}, {})
    assert {"−1.70", "–", kind} <= set(texts(ax))
    assert entries(figure)[0] == "not judged by an interval"


def test_one_seed_has_no_interval():
    (group,) = beside("omniglot-20w1s/maml", [95.8])
    group.scores = group.scores[:1]
    (ax,) = make(rows([group])).axes
    assert [mark[2:4] for mark in marks(ax)] == [("|", GREY)]
    assert intervals(ax) == {}
    assert "inconclusive" in texts(ax)


def test_without_a_mean_there_is_no_mark():
    made = list(beside("sinusoid/maml", [0.5]))
    made[0].scores[2, 7, 5] = np.inf
    found = rows(made, beside("sinusoid/maml-0.001", [0.5], diverged_seeds=1))
    (ax,) = make(found).axes
    assert texts(ax).count("diverged") == 4 + 3, "the difference of four, the verdict of three"
    lost = [y for y, name in enumerate(labels(ax)) if "0.001" in name or name.endswith("step 5")]
    assert len(lost) == 4
    assert {y for _, y, *_ in marks(ax)} == set(range(1, 7)) - set(lost)


@pytest.mark.parametrize(
    ("mean", "edge", "told"), [(1e6, ">", "×1e+06 [×1e+06"), (0.01, "<", "×0.0149 [×0.01")]
)
def test_a_result_beyond_the_axis_is_an_arrow_at_its_edge(mean, edge, told):
    made = list(beside("sinusoid/maml-0.001", [0.67]))
    made[0].scores[:, :, 1] += mean - 0.67
    (ax,) = make(rows(made)).axes
    y = labels(ax).index("sinusoid/maml-0.001 5-shot, step 1")
    at = [(x, marker) for x, where, marker, *_ in marks(ax) if where == y]
    assert at == [(REACH if edge == ">" else -REACH, edge)], "no second mark where the arrow is"
    assert y not in brackets(ax)
    assert any(text.startswith(told) for text in texts(ax))
    assert "An arrow at the edge goes on beyond 4 margins" in CAPTION


def test_an_interval_across_the_axis_has_two_arrows_and_no_mark():
    made = list(beside("sinusoid/maml", [0.5]))
    made[0].scores[0, :, 5] += 1e6  # one seed is far out, so the interval is wide
    (ax,) = make(rows(made)).axes
    y = labels(ax).index("sinusoid/maml 5-shot, step 5")
    assert sorted(marker for _, where, marker, *_ in marks(ax) if where == y) == ["<", ">"]
    assert intervals(ax)[y][0] == ax.get_xlim()


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
    assert plot.width > 0.15 * width, "room for the marks beside the longest texts"


def test_the_height_grows_with_the_lines_and_fits_a_page():
    heights = [make(many(count)).get_figheight() for count in (1, 6, 45)]
    assert heights == sorted(heights)
    assert heights[0] < 1.6
    assert heights[2] < 9.6


def test_the_same_rows_give_the_same_bytes():
    with printed():
        one, two = (encoded(forest(many(6))) for _ in range(2))
    assert one == two
