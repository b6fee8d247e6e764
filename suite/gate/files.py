"""What a gate keeps for a kind of machine: its baseline, its last run, its history."""

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
from suite.gate import plain
from suite.gate.decide import Sample, Verdict
from suite.records.files import write_atomically
from suite.records.provenance import processor, usable_cores


class Measured(Strict):
    """What was measured of a case."""

    cell_sha256: str
    """Of what the case was built from: another cell is another case."""
    blocks: list[Annotated[list[Sample], Field(min_length=1)]] = Field(min_length=1)
    """Seconds of the work and of its calibration, a list for each process."""
    again: list[Annotated[list[Sample], Field(min_length=1)]] = Field(default_factory=list)
    """Those of the second look."""
    counts: dict[str, int]
    """Exact: operators, synchronisations, allocated bytes, instructions where they are known."""
    milliseconds: float
    """Median of the work itself."""

    @property
    def all_blocks(self) -> list[list[Sample]]:
        """Those of both looks."""
        return self.blocks + self.again


class Measurement(Strict):
    """What one run measured, and of what."""

    format: Literal[2] = 2
    machine: str
    plain_sha256: str
    """Of the calibration."""
    suite_version: str
    commit: str | None
    dirty: bool | None
    when: str
    cases: dict[str, Measured]


class Seen(Strict):
    """One case in a line of the history."""

    ratio: float = Field(gt=0)
    change: float | None
    verdict: Verdict


class Line(Strict):
    """A line of the history: what one run said."""

    when: str
    commit: str | None
    dirty: bool | None
    against: str
    """``baseline``, or the commit that was measured beside."""
    cases: dict[str, Seen]


def machine(devices: list[str]) -> str:
    """Return the name of this kind of machine: what ratios may be compared across."""
    kinds = [torch.cuda.get_device_name(name) for name in devices if name != "cpu"]
    python = ".".join(platform.python_version_tuple()[:2])
    words = [processor(), f"{usable_cores()} cores", *kinds, f"torch {torch.__version__}"]
    text = " ".join([*words, f"python {python}"]).lower()
    return re.sub(r"[^a-z0-9.+]+", "-", text).strip("-")


class Folder:
    """``RESULTS/gate/MACHINE/``."""

    def __init__(self, results: Path, name: str) -> None:
        self.path = results / "gate" / name
        self.name = name

    @property
    def baseline_path(self) -> Path:
        """Where the baseline lies."""
        return self.path / "baseline.json"

    def baseline(self) -> Measurement | None:
        """Return the baseline; None without one, or if its ratios meant something else.

        Raises:
            UserError: the file is no baseline.
        """
        path = self.baseline_path
        try:
            text = path.read_bytes()
            if _format(text) == 1:  # its samples were ratios of pairs, and not kept as pairs
                return None
            found = Measurement.model_validate_json(text)
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            raise UserError(
                f"{str(path)!r} is no baseline ({type(error).__name__}); delete it, or make a new "
                "one with gate --update."
            ) from error
        return found if found.plain_sha256 == plain.sha256() else None

    def keep(self, baseline: Measurement) -> None:
        """Write the baseline; raise `UserError` where that cannot be."""
        write_atomically(self.baseline_path, _text(baseline.model_dump(mode="json")))

    def report(self, told: dict[str, Any], markdown: str) -> None:
        """Write what the last run said, for machines and for people."""
        write_atomically(self.path / "last.json", _text(told))
        write_atomically(self.path / "last.md", markdown.encode())

    def add(self, line: Line) -> list[Line]:
        """Append to the history and return it whole; lines that cannot be read are left out."""
        path = self.path / "history.jsonl"
        before = path.read_text(errors="replace").splitlines() if path.is_file() else []
        lines = [*before, line.model_dump_json()]
        write_atomically(path, "".join(f"{text}\n" for text in lines).encode())
        found = []
        for text in lines:
            try:
                found.append(Line.model_validate_json(text))
            except ValidationError:
                continue
        return found


def _format(text: bytes) -> Any:
    try:
        return json.loads(text)["format"]
    except (ValueError, TypeError, KeyError):
        return None


def _text(value: Any) -> bytes:
    return (json.dumps(value, indent=None, sort_keys=True, allow_nan=False) + "\n").encode()
