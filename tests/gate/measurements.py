"""Measurements and lines of a history, made up."""

from __future__ import annotations

from suite.gate import calibration as plain
from suite.gate.files import HistoryLine, MeasuredCase, Measurement, Seen


def measurement(**changes) -> Measurement:
    case = MeasuredCase(
        cell_sha256="0", blocks=[[(0.1, 0.2)]], counts={"operators": 3}, milliseconds=1.5
    )
    return Measurement(
        **{
            "machine": "m",
            "plain_sha256": plain.sha256(),
            "suite_version": "0",
            "commit": None,
            "dirty": None,
            "when": "now",
            "cases": {"a": case},
            **changes,
        }
    )


def line(commit: str = "abc") -> HistoryLine:
    seen = {"a": Seen(ratio=2.0, change=0.01, verdict="same")}
    return HistoryLine(when="now", commit=commit, dirty=False, against="baseline", cases=seen)
