"""What the gate says, to people and to machines."""

from __future__ import annotations

import json

from suite.gate import render as show
from suite.gate.decision import Count, Time
from suite.gate.run import CaseResult, GateOutcome
from tests.gate.measurements import line, measurement

SLOW = CaseResult(
    "b", "slower", 1.2, 3.4, Time("slower", 0.2, 0.05, 1e-9),
    {"operators": Count("same", 1000, 1000), "allocated": Count("slower", 2**20, 2**21)},
    "time, allocated",
)  # fmt: skip
SAME = CaseResult("a", "same", 1.0, 2.0, Time("same", 0.001, 0.05, 0.4), {}, "")
LOST = CaseResult("c", "unknown", 0.0, 0.0, None, {}, "not measured: no data")
OUTCOME = GateOutcome(
    [SAME, SLOW, LOST], measurement(commit="abc", dirty=True), False, [], "baseline"
)


def test_the_worst_comes_first_and_says_why():
    text = show.gate_markdown(OUTCOME)
    rows = [row.split("|")[1].strip() for row in text.splitlines() if row.startswith("| ")]
    assert rows == ["Case", "b", "c", "a"]
    assert "### Performance: 1 slower, 1 unknown, 1 same" in text
    assert "**slower** (time, allocated)" in text
    assert "+20.0 %" in text
    assert "1,024 → 2,048" in text
    assert "abc with changes" in text


def test_machines_read_the_same():
    told = json.loads(json.dumps(show.machine_readable(OUTCOME), allow_nan=False))
    assert told["slower"] is True
    assert told["cases"]["b"]["counts"]["allocated"] == {
        "verdict": "slower", "before": 2**20, "now": 2**21,
    }  # fmt: skip
    assert told["measurement"]["cases"]["a"]["blocks"] == [[[0.1, 0.2]]]


def test_the_history_keeps_what_was_measured():
    kept = show.line(OUTCOME)
    assert set(kept.cases) == {"a", "b"}
    assert kept.cases["b"].change == 0.2


def test_the_figure_has_a_panel_for_each_case(tmp_path, monkeypatch):
    titles = []
    original = show.panels

    def watched(*words, **more):
        figure, axes = original(*words, **more)
        titles.append(axes)
        return figure, axes

    monkeypatch.setattr(show, "panels", watched)
    show.draw([line("abc"), show.line(OUTCOME), line("def")], tmp_path / "history.png")
    assert (tmp_path / "history.png").read_bytes().startswith(b"\x89PNG")
    [axes] = titles
    assert [ax.get_title(loc="left") for ax in axes] == ["a", "b"]
    assert list(axes[0].lines[0].get_xdata()) == [0, 1, 2]
    assert list(axes[1].lines[0].get_xdata()) == [1]
