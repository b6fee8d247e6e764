"""What is shown of several cells at once, on a terminal and elsewhere."""

from __future__ import annotations

import io

from rich.console import Console

from suite.matrix.progress import Progress, in_words


def test_a_terminal_has_a_bar_for_every_cell_that_runs():
    console = Console(file=io.StringIO(), force_terminal=True, width=120, highlight=False)
    progress = Progress(console)
    with progress.over(3, skipped=0):
        progress.begin("a")
        progress.begin("b")
        progress.step("b", 3, 10, "training")
        bars = progress._bars.tasks
        assert [(bar.description, bar.completed) for bar in bars] == [
            ("cells", 0), ("a", 0), ("b: training", 3),
        ]  # fmt: skip
        progress.finished("a", "done")
        progress.begin("c")  # in the place of the one that ended
        shown = [(bar.description, bar.completed, bar.visible) for bar in progress._bars.tasks]
        assert shown == [("cells", 1, True), ("c", 0, True), ("b: training", 3, True)]
    assert "[1/3] a: done" in console.file.getvalue()


def test_elsewhere_each_cell_has_a_line_now_and_then(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("suite.matrix.progress.time.monotonic", lambda: now[0])
    console = Console(file=io.StringIO(), width=120)
    progress = Progress(console)
    with progress.over(2, skipped=1):
        progress.begin("a")
        now[0] = 20.0
        progress.begin("b")
        for moment in (25.0, 40.0, 41.0, 55.0):
            now[0] = moment
            progress.step("a", int(moment), 100, "training")
            progress.step("b", int(moment), 100, "training")
        progress.finished("b", "done")
    assert console.file.getvalue().splitlines() == [
        "1 cells are done already; 2 to do.",
        "  a: training, outer step 40 of 100",
        "  b: training, outer step 55 of 100",
        "[1/2] b: done",
    ]


def test_the_time_left_is_said_where_it_is_known():
    console = Console(file=io.StringIO(), width=120)
    progress = Progress(console)
    with progress.over(3, skipped=2, left=400.0):
        for label, left in (("a", 150.0), ("b", None), ("c", 0.0)):
            progress.begin(label)
            progress.finished(label, "done", left)
    assert console.file.getvalue().splitlines() == [
        "2 cells are done already; 3 to do, about 6.7 minutes.",
        "[1/3] a: done (about 2.5 minutes to go)",
        "[2/3] b: done",
        "[3/3] c: done",
    ]
    assert in_words(100.0) == "100 s"
    assert in_words(3 * 86400.0) == "3.0 days"
