"""Instructions that a piece of work executes, counted by Callgrind: hardly any noise, much time.

The process runs under valgrind, some fifty times slower than it would; counting is switched on for
one call of each case, through the switches that torch has for this.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from suite.gate.worker import Measurer, Setting, read_setting

#: Calls before the counted one.
WARM_UP = 2
SECONDS = 240
_TOTAL = re.compile(r"^(?:totals|summary): (\d+)", re.MULTILINE)


def available() -> bool:
    """Return whether valgrind is here, and a torch that can switch it."""
    return shutil.which("valgrind") is not None and torch._C._valgrind_supported_platform()


def instructions(tree: Path, setting: Setting) -> dict[str, int]:
    """Return the instructions of each case of a tree that could be counted, by name."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out")
        command = [
            "valgrind", "--tool=callgrind", "--instr-atstart=no", "--dump-instr=no",
            f"--callgrind-out-file={out}", sys.executable, "-m", "suite.gate.callgrind",
        ]  # fmt: skip
        environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPATH": str(tree)}
        try:
            run = subprocess.run(
                command, cwd=tree, env=environment, input=json.dumps(setting) + "\n",
                capture_output=True, text=True, timeout=SECONDS, check=True,
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError):
            return {}  # an old valgrind may not know this processor: the rest is judged without
        names = run.stdout.splitlines()
        found = {}
        for number, name in enumerate(names, start=1):
            total = _TOTAL.search(Path(f"{out}.{number}").read_text(errors="replace"))
            if total:
                found[name] = int(total[1])
        return found


def _main(switches: Any = torch._C) -> None:
    setting = read_setting(sys.stdin)
    measurer = Measurer(setting)
    for plan in setting.plans:
        work = measurer.case(plan.name).work
        for _ in range(WARM_UP):
            work()
        switches._valgrind_toggle()
        work()
        switches._valgrind_toggle_and_dump_stats()
        print(plan.name, flush=True)


if __name__ == "__main__":
    _main()
