"""A fresh process that measures cases for `suite.gate.process`, one question at a time.

Questions and answers are lines of JSON. The first line is a `WorkerSetting`. The questions are
``["ready"]``, answered by the cases that cannot be measured, ``["pairs", name, seconds]``, answered
by pairs of seconds, and ``["counts", name]``, answered by `Counts`. An answer is
``{"result": ...}``, or ``{"failed": text}`` if a case fails.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from suite.core import registry
from suite.core.errors import UserError
from suite.gate.cases import Case, Plan, build_case
from suite.gate.counts import count
from suite.gate.sampling import TimeSampler


class WorkerSetting(NamedTuple):
    """The first message to a worker; it contains only text."""

    plans: list[Plan]
    plugins: list[str]
    data: str | None


class Measurer:
    """The cases of a setting, each built when it is first asked for."""

    def __init__(self, setting: WorkerSetting) -> None:
        for plugin in setting.plugins:
            registry.load_plugin(Path(plugin))
        self._plans = {plan.name: plan for plan in setting.plans}
        self._data = Path(setting.data) if setting.data else None
        self._cases: dict[str, Case] = {}
        self._samplers: dict[str, TimeSampler] = {}

    def case(self, name: str) -> Case:
        """Return a case, which is built once."""
        if name not in self._cases:
            self._cases[name] = build_case(self._plans[name], self._data)
        return self._cases[name]

    def ready(self) -> dict[str, str]:
        """Build all cases; return the names of those that fail, with the reasons."""
        failed = {}
        for name in self._plans:
            try:
                self._samplers[name] = TimeSampler(self.case(name))
            except Exception as error:  # one failing case must not stop the others
                failed[name] = _sentence(error)
        gc.collect()
        gc.freeze()  # the collection before every turn then has few objects to check
        return failed

    def pairs(self, name: str, seconds: float) -> list[tuple[float, float]]:
        """Return the times of a case and of its calibration; see `TimeSampler.pairs`."""
        return self._samplers[name].pairs(seconds)

    def counts(self, name: str) -> dict[str, int]:
        """Return the exact counts of a case."""
        case = self.case(name)
        return count(case.counted or case.work, case.device)._asdict()


def _answer(measurer: Measurer, question: list[Any]) -> dict[str, Any]:
    try:
        return {"result": getattr(measurer, question[0])(*question[1:])}
    except Exception as error:
        return {"failed": _sentence(error)}


def _sentence(error: Exception) -> str:
    return str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"


def read_setting(questions: TextIO) -> WorkerSetting:
    """Return the setting that the first line holds."""
    plans, plugins, data = json.loads(questions.readline())
    return WorkerSetting([Plan(*plan) for plan in plans], plugins, data)


def _serve(questions: TextIO, answers: TextIO) -> None:
    measurer = Measurer(read_setting(questions))
    for line in questions:
        print(json.dumps(_answer(measurer, json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)  # text that libraries print must not mix with the answers
        _serve(sys.stdin, answers)
