"""Longest first, on lanes that each take their kinds of device."""

from __future__ import annotations

from suite.matrix.schedule import makespan


def test_longest_first_fills_lanes_that_are_alike():
    cells = [("cpu", float(seconds)) for seconds in (2, 2, 2, 3, 3)]
    assert makespan(cells, [("cpu",)]) == 12
    assert makespan(cells, [("cpu",)] * 2) == 7  # 3 2 2 | 3 2; the best is 6
    assert makespan(cells, [("cpu",)] * 9) == 3
    assert makespan([], [("cpu",)]) == 0


def test_a_lane_takes_its_own_kinds_alone():
    cells = [("cpu", 5.0), ("cuda", 1.0), ("cuda", 2.0)]
    assert makespan(cells, [("cpu",), ("cuda",)]) == 5
    assert makespan(cells, [("cpu", "cuda")]) == 8
    assert makespan(cells, [("cpu",), ("cuda",), ("cuda",)]) == 5
