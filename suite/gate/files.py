"""Files of the gate for one kind of machine: its baseline, its last run and its history."""

from __future__ import annotations

import json
import platform
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, ValidationError

from suite.core.component import Strict
from suite.core.errors import UserError
from suite.gate import calibration as plain
from suite.gate.decision import Sample, SpeedVerdict
from suite.records.files import write_atomically
from suite.records.provenance import processor, usable_cores


class MeasuredCase(Strict):
    """Measurements of a case."""

    cell_sha256: str
    """Hash of the cell that the case was built from; another cell makes another case."""
    blocks: list[Annotated[list[Sample], Field(min_length=1)]] = Field(min_length=1)
    """Seconds of the work and of its calibration, one list for each process."""
    again: list[Annotated[list[Sample], Field(min_length=1)]] = Field(default_factory=list)
    """Blocks of the second look."""
    counts: dict[str, int]
    """Exact counts: operators, synchronisations, allocated bytes and, if known, instructions."""
    milliseconds: float
    """Median time of the work, without the calibration."""

    @property
    def all_blocks(self) -> list[list[Sample]]:
        """Blocks of both looks."""
        return self.blocks + self.again


class Measurement(Strict):
    """Measurements of one run, with the code and machine that they are from."""

    format: Literal[2] = 2
    machine: str
    plain_sha256: str
    """Hash of the calibration's code."""
    suite_version: str
    commit: str | None
    dirty: bool | None
    when: str
    cases: dict[str, MeasuredCase]


class Seen(Strict):
    """One case in an entry of the history."""

    ratio: float = Field(gt=0)
    change: float | None
    verdict: SpeedVerdict


class HistoryLine(Strict):
    """An entry of the history: the result of one run."""

    when: str
    commit: str | None
    dirty: bool | None
    against: str
    """``baseline``, or the commit that was measured for comparison."""
    cases: dict[str, Seen]


def machine(devices: list[str]) -> str:
    """Return the name of this kind of machine; ratios are comparable only within one kind."""
    kinds = [torch.cuda.get_device_name(name) for name in devices if name != "cpu"]
    python = ".".join(platform.python_version_tuple()[:2])
    words = [processor(), f"{usable_cores()} cores", *kinds, f"torch {torch.__version__}"]
    text = " ".join([*words, f"python {python}"]).lower()
    return re.sub(r"[^a-z0-9.+]+", "-", text).strip("-")


class Folder:
    """The folder ``RESULTS/gate/MACHINE/``."""

    def __init__(self, results: Path, name: str) -> None:
        self.path = results / "gate" / name
        self.name = name

    @property
    def baseline_path(self) -> Path:
        """Path of the baseline."""
        return self.path / "baseline.json"

    def baseline(self) -> Measurement | None:
        """Return the baseline; None if there is none or if its calibration was different.

        Raises:
            UserError: if the file is not a valid baseline.
        """
        path = self.baseline_path
        try:
            text = path.read_bytes()
            if _format(text) == 1:  # format 1 stored ratios of pairs, not pairs
                return None
            baseline = Measurement.model_validate_json(text)
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            raise UserError(
                f"{str(path)!r} is not a baseline ({type(error).__name__}); delete it, or make "
                "a new one with gate --update."
            ) from error
        return baseline if baseline.plain_sha256 == plain.sha256() else None

    def keep(self, baseline: Measurement) -> None:
        """Write the baseline; raise `UserError` if it cannot be written."""
        write_atomically(self.baseline_path, _text(baseline.model_dump(mode="json")))

    def report(self, result: dict[str, Any], markdown: str) -> None:
        """Write the result of the last run as JSON and as Markdown."""
        write_atomically(self.path / "last.json", _text(result))
        write_atomically(self.path / "last.md", markdown.encode())

    def add(self, line: HistoryLine) -> list[HistoryLine]:
        """Append to the history and return all of it; entries that cannot be read are left out."""
        path = self.path / "history.jsonl"
        before = path.read_text(errors="replace").splitlines() if path.is_file() else []
        lines = [*before, line.model_dump_json()]
        write_atomically(path, "".join(f"{text}\n" for text in lines).encode())
        entries = []
        for text in lines:
            try:
                entries.append(HistoryLine.model_validate_json(text))
            except ValidationError:
                continue
        return entries


def _format(text: bytes) -> Any:
    try:
        return json.loads(text)["format"]
    except (ValueError, TypeError, KeyError):
        return None


def _text(value: Any) -> bytes:
    return (json.dumps(value, indent=None, sort_keys=True, allow_nan=False) + "\n").encode()
