"""Instructions that a piece of work executes, counted by Callgrind: hardly any noise, much time.

The process runs under valgrind, some fifty times slower than it would once instructions are looked
at. That begins when the cases are built and warm; one call of each is counted, through the switches
that torch has for this.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from suite.gate.tree import environment
from suite.gate.worker import Measurer, Setting, read_setting

#: Calls of a case before instructions are looked at.
WARM_UP = 2
#: After which a tree's counting is given up; what is counted by then counts.
SECONDS = 120
_TOTAL = re.compile(r"^(?:totals|summary): (\d+)", re.MULTILINE)


def available() -> bool:
    """Return whether valgrind is here, and a torch that can switch it."""
    tools = shutil.which("valgrind") and shutil.which("callgrind_control")
    return bool(tools) and torch._C._valgrind_supported_platform()


def instructions(tree: Path, setting: Setting) -> dict[str, int]:
    """Return the instructions of each case of a tree that could be counted, by name."""
    with tempfile.TemporaryDirectory() as folder:
        out, names = Path(folder, "out"), Path(folder, "names")
        command = [
            "valgrind", "--tool=callgrind", "--instr-atstart=no", "--collect-atstart=no",
            f"--callgrind-out-file={out}", sys.executable, "-m", "suite.gate.callgrind", str(names),
        ]  # fmt: skip
        # An old valgrind may not know this processor: the rest is then judged without.
        with suppress(OSError, subprocess.SubprocessError):
            subprocess.run(
                command, cwd=tree, env=environment(tree), input=json.dumps(setting) + "\n",
                capture_output=True, text=True, timeout=SECONDS, check=True,
            )  # fmt: skip
        found = {}
        with suppress(OSError):
            for number, name in enumerate(names.read_text().splitlines(), start=1):
                total = _TOTAL.search(Path(f"{out}.{number}").read_text(errors="replace"))
                if total and int(total[1]):
                    found[name] = int(total[1])
        return found


def _main(names: Path, switches: Any = torch._C) -> None:
    setting = read_setting(sys.stdin)
    measurer = Measurer(setting)
    works = {plan.name: measurer.case(plan.name).work for plan in setting.plans}
    for work in works.values():
        for _ in range(WARM_UP):
            work()
    subprocess.run(["callgrind_control", "-i", "on", str(os.getpid())], check=True)
    with names.open("w") as counted:
        for name, work in works.items():
            work()  # the first one that is looked at is translated meanwhile
            switches._valgrind_toggle()
            work()
            switches._valgrind_toggle_and_dump_stats()
            print(name, file=counted, flush=True)


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
