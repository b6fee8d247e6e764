"""Instructions that a piece of work executes, counted by Callgrind: slow, but almost without noise.

The process runs under valgrind. While instructions are recorded it is about fifty times slower, so
recording begins only when the cases are built and warm. One call of each case is counted, by means
of torch's own switches for valgrind. The cases are divided among several such processes, which do
not disturb each other's counts.
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

from suite.gate.process import environment
from suite.gate.worker import Measurer, WorkerSetting, read_setting

#: Maximum seconds of counting for one tree; the counts that exist by then are used.
SECONDS = 120
_TOTAL = re.compile(r"^(?:totals|summary): (\d+)", re.MULTILINE)


def is_installed() -> bool:
    """Return whether valgrind is installed and torch can switch it."""
    tools = shutil.which("valgrind") and shutil.which("callgrind_control")
    return bool(tools) and torch._C._valgrind_supported_platform()


def instructions(tree: Path, setting: WorkerSetting, processes: int) -> dict[str, int]:
    """Return the instructions, by name, of each case of a tree that could be counted."""
    # Neighbouring cases have similar costs: every process gets some of each kind.
    portions = [setting.plans[i::processes] for i in range(processes)]
    until = time.monotonic() + SECONDS
    counts: dict[str, int] = {}
    # If the disk is full, the other cases are judged without instructions.
    with suppress(OSError), ExitStack() as stack:
        counting = [
            stack.enter_context(_counting(tree, setting._replace(plans=portion)))
            for portion in portions
            if portion
        ]
        for process, folder in counting:
            # An old valgrind may not support this processor: the cases are then judged without it.
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, until - time.monotonic()))
            counts |= _read(folder)
    return counts


@contextmanager
def _counting(tree: Path, setting: WorkerSetting) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """Start a counting process; yield the process and the folder that it writes to."""
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
    counts = {}
    with suppress(OSError):
        for number, name in enumerate((folder / "names").read_text().splitlines(), start=1):
            total = _TOTAL.search((folder / f"out.{number}").read_text(errors="replace"))
            if total and int(total[1]):
                counts[name] = int(total[1])
    return counts


def _main(names: Path, switches: Any = torch._C) -> None:
    setting = read_setting(sys.stdin)
    measurer = Measurer(setting)
    works = {}
    for plan in setting.plans:
        with suppress(Exception):  # one failing case must not stop the others
            work = measurer.case(plan.name).work
            work()
            works[plan.name] = work
    gc.collect()
    gc.disable()  # else other cases in this process would decide when it runs
    subprocess.run(["callgrind_control", "-i", "on", str(os.getpid())], check=True)
    with names.open("w") as counted:
        for name, work in works.items():
            work()  # valgrind translates the code during this first recorded call
            switches._valgrind_toggle()
            work()
            switches._valgrind_toggle_and_dump_stats()
            print(name, file=counted, flush=True)
    os._exit(0)  # a regular exit takes many seconds under valgrind


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
