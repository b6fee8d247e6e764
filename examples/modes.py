"""Print how the cells of a profile were computed: python modes.py RESULTS PROFILE md|tex|csv."""

import sys
from pathlib import Path

from suite.records.store import Store
from suite.report.collect import collect
from suite.report.columns import Column, Label, make_table
from suite.report.format import listed
from suite.report.notes import provenance
from suite.report.render import comma_separated, latex, markdown
from suite.report.tables.timing import alone, duration


def columns(runs):
    """Return a row: the columns, with the values of one algorithm on one experiment."""
    outer = duration(alone(runs), "outer_step")  # median and quartiles in s, if it was timed
    return [
        Label("Experiment", "experiment", runs.experiment),
        Label("Algorithm", "variant", runs.variant),
        Label("Engine", "engine", listed(record.engine.used for record in runs.records)),
        Label("Mode", "mode", listed(record.engine.mode or "–" for record in runs.records)),
        Column("Outer step, ms", "outer_step_ms", outer and 1000 * outer[0]),
    ]


results, profile, kind = sys.argv[1:]
collection = collect(Store(Path(results), profile))  # each record was checked against its hashes
rows = [columns(runs) for runs in collection.runs]
table = make_table("modes", f"Modes, profile {profile}", rows, provenance(collection))
print({"md": markdown, "tex": latex, "csv": comma_separated}[kind](table), end="")
