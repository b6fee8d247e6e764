"""One run of the gate: it measures, compares and returns the results."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from suite.core.errors import UserError
from suite.gate.decision import (
    Count,
    SpeedVerdict,
    Time,
    compare_count,
    confirmed,
    judge_time,
    overall,
    ratios,
)
from suite.gate.files import Folder, MeasuredCase, Measurement
from suite.gate.measure import Effort, Samples, Say, look_again, measure_trees
from suite.gate.process import HERE
from suite.gate.worker import WorkerSetting
from suite.records.provenance import commit_of

#: Maximum number of cases that are measured again; the slowest ones, because time is short.
LOOKS = 4
ONCE = "slower only at one moment"


class CaseResult(NamedTuple):
    """Result of the gate for one case."""

    name: str
    verdict: SpeedVerdict
    ratio: float
    """Ratio of the case's time to the calibration's."""
    milliseconds: float
    time: Time | None
    """Comparison of the times; None if there is nothing to compare with."""
    counts: dict[str, Count]
    reason: str
    """Reason for an unknown verdict, or the names of the quantities that give the verdict."""


class GateOutcome(NamedTuple):
    """Outcome of a run of the gate."""

    results: list[CaseResult]
    measurement: Measurement
    made: bool
    """Whether this run became the baseline."""
    added: list[str]
    """Names of the cases that were added to the baseline."""
    against: str


def results(
    before: Measurement | None, now: Measurement, failed: dict[str, str], had: Collection[str] = ()
) -> list[CaseResult]:
    """Return the result for each case.

    Args:
        before, now: measurements before and now.
        failed: reasons of the cases that fail now, by name.
        had: names of cases that could be measured before.
    """
    case_results = []
    for name, measured in now.cases.items():
        base = before.cases.get(name) if before else None
        ratio = math.exp(float(ratios(measured.all_blocks).mean()))
        numbers = ratio, measured.milliseconds
        if base is None or base.cell_sha256 != measured.cell_sha256:
            why = "no baseline yet" if base is None else "another cell than the baseline's"
            case_results.append(CaseResult(name, "unknown", *numbers, None, {}, why))
            continue
        spent = judge_time(base.all_blocks, measured.all_blocks)
        once = (
            spent.verdict == "slower"
            and measured.again
            and not confirmed(base.again or base.blocks, measured.again)
        )
        if once:
            spent = spent._replace(verdict="unknown")
        counts = {
            key: compare_count(key, base.counts[key], value)
            for key, value in measured.counts.items()
            if key in base.counts
        }
        verdict = overall([spent.verdict, *(count.verdict for count in counts.values())])
        why = ONCE if once else "too noisy"
        reason = why if verdict == "unknown" else _reason(verdict, spent, counts)
        case_results.append(CaseResult(name, verdict, *numbers, spent, counts, reason))
    for name, why in failed.items():
        # A case that could be measured before and fails now must not pass.
        broken: SpeedVerdict = "slower" if name in had else "unknown"
        case_results.append(CaseResult(name, broken, 0.0, 0.0, None, {}, f"not measured: {why}"))
    return case_results


def _reason(verdict: SpeedVerdict, spent: Time, counts: dict[str, Count]) -> str:
    parts = {"time": spent.verdict, **{name: count.verdict for name, count in counts.items()}}
    return ", ".join(name for name, of in parts.items() if of == verdict != "same")


def against_baseline(
    folder: Folder, setting: WorkerSetting, effort: Effort, say: Say, update: bool = False
) -> GateOutcome:
    """Measure this tree and compare it with the stored baseline; make a baseline if there is none.

    Raises:
        UserError: if nothing could be measured, or if files cannot be read or written.
    """
    baseline = None if update else folder.baseline()
    commit = commit_of(HERE)
    if baseline is None:
        [samples] = measure_trees([HERE], setting, effort.of_baseline(), say)
        now = samples.measurement(folder.name, commit)
        case_results = _something(results(None, now, samples.failed))
        folder.keep(now.model_copy(update={"cases": _kept(folder, update) | now.cases}))
        return GateOutcome(case_results, now, True, [], "baseline")

    def compare(samples: Sequence[Samples]) -> tuple[list[CaseResult], Measurement]:
        now = samples[0].measurement(folder.name, commit)
        return results(baseline, now, samples[0].failed, baseline.cases), now

    case_results, now = _twice([HERE], setting, effort, say, compare)
    slower = {result.name for result in case_results if result.verdict == "slower"}
    fresh, counted = _joined(baseline, now, slower)
    if fresh or counted:
        folder.keep(baseline.model_copy(update={"cases": baseline.cases | fresh | counted}))
    return GateOutcome(case_results, now, False, list(fresh), "baseline")


def against_commit(
    other: tuple[Path, str], machine: str, setting: WorkerSetting, effort: Effort, say: Say
) -> GateOutcome:
    """Measure another commit's tree and this one in alternating turns, and compare them.

    Raises:
        UserError: if no case could be measured in both.
    """
    tree, commit = other

    def compare(samples: Sequence[Samples]) -> tuple[list[CaseResult], Measurement]:
        theirs, ours = samples
        old = theirs.measurement(machine, (commit, False))
        now = ours.measurement(machine, commit_of(HERE))
        lost = {name: f"in {commit[:9]}: {why}" for name, why in theirs.failed.items()}
        now = now.model_copy(
            update={"cases": {name: now.cases[name] for name in now.cases if name not in lost}}
        )
        had = [plan.name for plan in setting.plans if plan.name not in lost]
        return results(old, now, lost | ours.failed, had), now

    case_results, now = _twice([tree, HERE], setting, effort, say, compare)
    return GateOutcome(case_results, now, False, [], commit)


def _twice(
    trees: Sequence[Path],
    setting: WorkerSetting,
    effort: Effort,
    say: Say,
    compare: Callable[[Sequence[Samples]], tuple[list[CaseResult], Measurement]],
) -> tuple[list[CaseResult], Measurement]:
    """Measure, then measure again the cases that look slower; return the results of ``compare``."""
    samples = measure_trees(trees, setting, effort, say)
    case_results = _something(compare(samples)[0])
    names = _suspects(case_results)
    if names:
        suspects = [plan for plan in setting.plans if plan.name in names]
        look_again(trees, setting._replace(plans=suspects), effort, samples, say)
    case_results, now = compare(samples)
    if names and not any(r.name in names and r.verdict == "slower" for r in case_results):
        # No second look confirmed a slowdown, so a passing disturbance caused the first results.
        # The cases that there was no time to measure again are then not called slower either.
        case_results = [
            r._replace(verdict="unknown", reason=ONCE) if _by_time(r) else r for r in case_results
        ]
    return case_results, now


def _suspects(case_results: Sequence[CaseResult]) -> list[str]:
    """Return the cases whose time looks slower; none if an exact count has already grown."""
    if any(count.verdict == "slower" for r in case_results for count in r.counts.values()):
        return []
    # These changes exceed their thresholds, even if the samples are too few to be sure; the cases
    # that are surely slower come first.
    looks = [
        (r.verdict != "slower", -r.time.change, r.name)
        for r in case_results
        if r.time is not None and r.time.change > r.time.threshold
    ]
    return [name for *_, name in sorted(looks)][:LOOKS]


def _by_time(result: CaseResult) -> bool:
    """Return whether a case is called slower because of its time."""
    return result.time is not None and result.verdict == result.time.verdict == "slower"


def _something(case_results: list[CaseResult]) -> list[CaseResult]:
    """Return the results; raise `UserError` if no case was measured."""
    if not any(result.milliseconds > 0 for result in case_results):
        why = next((result.reason for result in case_results), "the profile has no case")
        raise UserError(f"the gate measured nothing: {why.removeprefix('not measured: ')}.")
    return case_results


def _kept(folder: Folder, update: bool) -> dict[str, MeasuredCase]:
    """Return the old baseline's cases for an update; those that are not measured now are kept."""
    if not update:
        return {}
    try:
        old = folder.baseline()
    except UserError:
        return {}
    return old.cases if old else {}


def _joined(
    baseline: Measurement, now: Measurement, slower: Collection[str]
) -> tuple[dict[str, MeasuredCase], dict[str, MeasuredCase]]:
    """Return the additions to a baseline: cases with a new name or cell; old cases with new counts.

    For example, a baseline of ``--fast`` has no instructions. A case that is slower now adds no
    counts.
    """
    fresh, counted = {}, {}
    for name, case in now.cases.items():
        old = baseline.cases.get(name)
        if old is None or old.cell_sha256 != case.cell_sha256:
            fresh[name] = case
        elif name not in slower and case.counts.keys() - old.counts.keys():
            counted[name] = old.model_copy(update={"counts": case.counts | old.counts})
    return fresh, counted
