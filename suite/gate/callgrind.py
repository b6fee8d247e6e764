"""Instructions that a piece of work executes, counted by Callgrind: hardly any noise, much time.

The process runs under valgrind, some fifty times slower than it would once instructions are looked
at. That begins when the cases are built and warm; one call of each is counted, through the switches
that torch has for this. Cases are shared among several such processes, which do not disturb what
the others count.
"""

from __future__ import annotations

import gc
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from suite.gate.tree import environment
from suite.gate.worker import Measurer, WorkerSetting, read_setting

#: After which a tree's counting is given up; what is counted by then counts.
SECONDS = 120
_TOTAL = re.compile(r"^(?:totals|summary): (\d+)", re.MULTILINE)


def available() -> bool:
    """Return whether valgrind is here, and a torch that can switch it."""
    tools = shutil.which("valgrind") and shutil.which("callgrind_control")
    return bool(tools) and torch._C._valgrind_supported_platform()


def instructions(tree: Path, setting: WorkerSetting, processes: int) -> dict[str, int]:
    """Return the instructions of each case of a tree that could be counted, by name."""
    # Neighbours are much alike and cost as much: every process gets some of each.
    shares = [setting.plans[which::processes] for which in range(processes)]
    until = time.monotonic() + SECONDS
    found: dict[str, int] = {}
    # Without room for its files the rest is judged without.
    with suppress(OSError), ExitStack() as stack:
        counting = [
            stack.enter_context(_counting(tree, setting._replace(plans=share)))
            for share in shares
            if share
        ]
        for process, folder in counting:
            # An old valgrind may not know this processor: the rest is then judged without.
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, until - time.monotonic()))
            found |= _read(folder)
    return found


@contextmanager
def _counting(tree: Path, setting: WorkerSetting) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """Start to count; yield the process and the folder that it writes to."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "setting").write_text(json.dumps(setting) + "\n")
        command = [
            "valgrind", "--tool=callgrind", "--instr-atstart=no", "--collect-atstart=no",
            f"--callgrind-out-file={folder / 'out'}",
            sys.executable, "-m", "suite.gate.callgrind", str(folder / "names"),
        ]  # fmt: skip
        with (folder / "setting").open() as text:
            process = subprocess.Popen(
                command, cwd=tree, env=environment(tree), stdin=text,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        try:
            yield process, folder
        finally:
            process.kill()
            process.wait()


def _read(folder: Path) -> dict[str, int]:
    found = {}
    with suppress(OSError):
        for number, name in enumerate((folder / "names").read_text().splitlines(), start=1):
            total = _TOTAL.search((folder / f"out.{number}").read_text(errors="replace"))
            if total and int(total[1]):
                found[name] = int(total[1])
    return found


def _main(names: Path, switches: Any = torch._C) -> None:
    setting = read_setting(sys.stdin)
    measurer = Measurer(setting)
    works = {}
    for plan in setting.plans:
        with suppress(Exception):  # one broken case must not cost the others
            work = measurer.case(plan.name).work
            work()
            works[plan.name] = work
    gc.collect()
    gc.disable()  # or the neighbours in this process would decide when it comes
    subprocess.run(["callgrind_control", "-i", "on", str(os.getpid())], check=True)
    with names.open("w") as counted:
        for name, work in works.items():
            work()  # the first one that is looked at is translated meanwhile
            switches._valgrind_toggle()
            work()
            switches._valgrind_toggle_and_dump_stats()
            print(name, file=counted, flush=True)
    os._exit(0)  # to end in order takes an interpreter under valgrind many seconds


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
