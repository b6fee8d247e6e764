"""Print how the records of a profile were computed: python modes.py RESULTS PROFILE."""

import sys
from collections import defaultdict
from pathlib import Path
from statistics import median

from tabulate import tabulate

from suite.records.store import Store

results, profile = sys.argv[1:]
groups = defaultdict(list)
for record in Store(Path(results), profile).records():  # each was checked against its hashes
    groups[record.cell.experiment, record.cell.variant].append(record)

rows = []
for (experiment, variant), records in sorted(groups.items()):
    timings = [record.timing.outer_step for record in records if record.timing is not None]
    times = [1000 * duration.median for duration in timings if duration is not None]
    rows.append(
        [
            experiment,
            variant,
            ", ".join(sorted({record.engine.used for record in records})),
            ", ".join(sorted({record.engine.mode or "–" for record in records})),
            f"{median(times):.2f}" if times else "–",
        ]
    )
print(tabulate(rows, ["experiment", "algorithm", "engine", "mode", "outer step, ms"], "github"))
