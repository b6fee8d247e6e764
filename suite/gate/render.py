"""Output of a gate run: a Markdown table, JSON, and a figure of the history."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from suite.gate.files import HistoryLine, Seen
from suite.gate.run import CaseResult, GateOutcome
from suite.records.files import write_atomically
from suite.report.figures.style import encoded, panels, printed

_HEADERS = [
    "Case", "Verdict", "ms", "Ratio", "Change", "Threshold", "Operators", "Syncs", "KiB",
    "Instructions",
]  # fmt: skip
_ORDER = ("slower", "unknown", "faster", "same")
_COLOURS = {"slower": "#d55e00", "faster": "#009e73", "same": "#0072b2", "unknown": "#8c8c8c"}


def gate_markdown(outcome: GateOutcome) -> str:
    """Return a heading, the table of all cases with the worst first, and further remarks."""
    rows = [
        _row(result)
        for result in sorted(outcome.results, key=lambda r: (_ORDER.index(r.verdict), r.name))
    ]
    table = tabulate(rows, _HEADERS, tablefmt="pipe", disable_numparse=True)
    measured = outcome.measurement
    state = " with changes" if measured.dirty else ""
    lines = [
        f"### Performance: {gate_headline(outcome)}",
        "",
        table,
        "",
        "Ratio: time over that of plain work of the same kind beside it. Change: change of the "
        f"ratio against {_other(outcome)}; it is not noise beyond the threshold. Counts: operators "
        "dispatched, synchronisations, peak of allocated memory, instructions.",
        "",
        f"fewshot-suite {measured.suite_version}, commit {measured.commit or 'none'}{state}, on "
        f"{measured.machine}, {measured.when}.",
    ]
    if outcome.added:
        lines += ["", f"New in the baseline: {', '.join(outcome.added)}."]
    return "\n".join(lines) + "\n"


def gate_headline(outcome: GateOutcome) -> str:
    """Return the number of cases with each verdict, in words."""
    if outcome.made:
        return f"a baseline of {len(outcome.measurement.cases)} cases was made, nothing is judged"
    counted = [(sum(r.verdict == v for r in outcome.results), v) for v in _ORDER]
    return ", ".join(f"{count} {verdict}" for count, verdict in counted if count)


def _other(outcome: GateOutcome) -> str:
    return "the baseline" if outcome.against == "baseline" else f"commit {outcome.against[:9]}"


def _row(result: CaseResult) -> list[str]:
    time = result.time
    verdict = f"**{result.verdict}**" if result.verdict == "slower" else result.verdict
    if result.reason:
        verdict += f" ({result.reason})"
    measured = result.milliseconds > 0
    return [
        result.name,
        verdict,
        f"{result.milliseconds:.3g}" if measured else "–",
        f"{result.ratio:.3g}" if measured else "–",
        f"{100 * time.change:+.1f} %" if time else "–",
        f"{100 * time.threshold:.1f} %" if time else "–",
        *(_count(result, name) for name in ("operators", "synchronisations")),
        _count(result, "allocated", 2**10),
        _count(result, "instructions"),
    ]


def _count(result: CaseResult, name: str, unit: int = 1) -> str:
    count = result.counts.get(name)
    if count is None:
        return "–"
    now = f"{count.now / unit:,.0f}"
    return now if count.verdict == "same" else f"{count.before / unit:,.0f} → {now}"


def machine_readable(outcome: GateOutcome) -> dict[str, Any]:
    """Return all results of a run, including raw samples, as JSON values."""
    cases = {
        r.name: {
            "verdict": r.verdict,
            "reason": r.reason,
            "ratio": r.ratio,
            "milliseconds": r.milliseconds,
            "time": r.time._asdict() if r.time else None,
            "counts": {name: count._asdict() for name, count in r.counts.items()},
        }
        for r in outcome.results
    }
    return {
        "verdict": gate_headline(outcome),
        "slower": any(r.verdict == "slower" for r in outcome.results),
        "against": outcome.against,
        "baseline_made": outcome.made,
        "cases": cases,
        "measurement": outcome.measurement.model_dump(mode="json"),
    }


def line(outcome: GateOutcome) -> HistoryLine:
    """Return the history's entry for a run."""
    measured = outcome.measurement
    return HistoryLine(
        when=measured.when,
        commit=measured.commit,
        dirty=measured.dirty,
        against=outcome.against,
        cases={
            r.name: Seen(ratio=r.ratio, change=r.time.change if r.time else None, verdict=r.verdict)
            for r in outcome.results
            if r.ratio > 0
        },
    )


def draw(history: Sequence[HistoryLine], path: Path) -> None:
    """Write a PNG figure of each case's ratio over the runs, with one panel per case."""
    names = list(dict.fromkeys(name for entry in history for name in entry.cases))
    with printed():
        figure, axes = panels(len(names), height=1.5, columns=3)
        for name, ax in zip(names, axes, strict=True):
            runs = [
                (i, entry.cases[name]) for i, entry in enumerate(history) if name in entry.cases
            ]
            ax.plot([i for i, _ in runs], [seen.ratio for _, seen in runs], "-", color="#bbbbbb")
            colours = [_COLOURS[seen.verdict] for _, seen in runs]
            ax.scatter(
                [i for i, _ in runs], [seen.ratio for _, seen in runs], c=colours, s=9, zorder=3
            )
            ax.set_title(name)
            _scale(ax, [seen.ratio for _, seen in runs])
            marks = _commits(history)
            ax.set_xticks(list(marks), list(marks.values()), rotation=40, ha="right")
            ax.set_xlim(-0.5, len(history) - 0.5)
        write_atomically(path, encoded(figure, ["png"])["png"])


def _scale(ax: Any, ratios: Sequence[float]) -> None:
    """Show at least a quarter above and below the middle, so that noise does not fill a panel."""
    middle = math.exp(sum(map(math.log, ratios)) / len(ratios))
    ax.set_ylim(min(*ratios, middle / 1.25) * 0.98, max(*ratios, middle * 1.25) * 1.02)


def _commits(history: Sequence[HistoryLine], most: int = 8) -> dict[int, str]:
    """Return the first run of each commit, by the number of the run; at most ``most`` of them."""
    starts: dict[int, str] = {}
    before: str | None = ""
    for i, entry in enumerate(history):
        if entry.commit != before:
            starts[i] = (entry.commit or "none")[:7]
        before = entry.commit
    every = max(1, math.ceil(len(starts) / most))
    return dict(list(starts.items())[::every])
