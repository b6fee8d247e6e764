"""Run a profile for a limited time: python until_time.py SECONDS PROFILE RESULTS."""

import sys
import time
from pathlib import Path

from rich.console import Console

from suite.config.profile import expand, load_profile
from suite.executors.serial import Serial
from suite.matrix.progress import Progress
from suite.matrix.run import run_matrix
from suite.records.store import Store


class UntilTime(Serial):
    """Computes cells one after the other, and begins none after a number of seconds."""

    def __init__(self, seconds):
        self.end = time.monotonic() + seconds

    def run(self, cells, work):
        for outcome in super().run(cells, work):
            yield outcome  # its record is written before the next cell is taken
            if time.monotonic() > self.end:
                return


if __name__ == "__main__":
    seconds, profile, results = sys.argv[1:]
    executor, store = UntilTime(float(seconds)), Store(Path(results), Path(profile).stem)
    cells = expand(load_profile(profile), ["cpu"], executor.cores)
    summary = run_matrix(cells, store, None, Progress(Console()), executor)
    print(f"{summary.done} cells done, {summary.skipped} were there, of {len(cells)}.")
