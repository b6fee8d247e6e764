"""How often the judge would give each verdict: for every published number of the presets.

    python benchmarks/power.py [RESULTS]

It writes RESULTS/power/power.md, .tex and .csv. The chances are those of `suite.published.errors`,
by simulation, if our method were exactly theirs, off by one margin, and off by three. The spread
between trainings is the one seen in the records of RESULTS, where there are four seeds, and three
assumed ones. The error of the published number over its tasks is that of its ±; if its meaning is
not known, that of a proportion over 10,000 episodes; on the paper's own tasks there is none.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from suite.config import presets
from suite.core.metrics import published_metric
from suite.core.statistics import HEADLINE_SEEDS
from suite.published.compare import Row, compare
from suite.published.errors import DECISIONS, ErrorModel, VariancePart, chances
from suite.published.margins import RULE, margin
from suite.published.numbers import Number, load
from suite.published.verdicts import published_task_error
from suite.records.files import write_atomically
from suite.records.store import Store
from suite.report.collect import collect
from suite.report.format import significant
from suite.report.render import Table, comma_separated, latex, markdown
from suite.report.verdict_text import size

#: Numbers of seeds, and true differences in margins.
SEEDS, TRUTHS = (4, 5, 10), (0, 1, 3)
#: Assumed standard deviations between trainings: points of accuracy, or shares of an error.
SPREADS = {"accuracy_pct": (0.1, 0.2, 0.5), "mse": (0.05, 0.1, 0.2)}
#: Test episodes of a published number whose ± has no known meaning.
EPISODES = 10_000
LETTERS = dict(zip(DECISIONS, "MXDICU", strict=True))


def main(results: Path) -> None:
    """Write the tables."""
    table = power_table(results)
    for ending, render in (("md", markdown), ("tex", latex), ("csv", comma_separated)):
        write_atomically(results / "power" / f"power.{ending}", render(table).encode())


def power_table(results: Path) -> Table:
    """Return the table of chances, with the spreads seen in the records of ``results``."""
    seen = dict(_seen(results))
    rows: list[tuple[str, ...]] = []
    data: list[Mapping[str, Any]] = []
    for preset, number in _numbers():
        spreads = [(value, "assumed") for value in SPREADS[number.metric]]
        if (preset, number.id) in seen:
            spreads.insert(0, (seen[preset, number.id], "seen"))
        for spread, origin in spreads:
            found = {(n, k): chances_of(number, spread, n, k) for n in SEEDS for k in TRUTHS}
            rows.append(_row(preset, number, spread, origin, found))
            data += [
                {
                    "preset": preset,
                    "number": number.id,
                    "published": number.value,
                    "margin": margin(number),
                    "margin_rule": RULE,
                    "spread": spread,
                    "spread_origin": origin,
                    "seeds": n,
                    "true_difference_in_margins": k,
                    **{kind: float(p) for kind, p in zip(DECISIONS, found[n, k], strict=True)},
                }
                for n, k in found
            ]
    columns = (
        *("Preset", "Number", "Spread", "Published", "Margin", "matches at 0, 4/5/10 seeds, %"),
        *(f"at {k} margin{'s' * (k != 1)}, 5 seeds" for k in TRUTHS),
        "at 0, 10 seeds",
    )
    letters = ", ".join(f"{letter} {kind}" for kind, letter in LETTERS.items())
    notes = (
        "Chances in percent, by 4,000 simulated comparisons each; Monte Carlo error up to 0.8.",
        f"{letters} (beyond: above or below). A decision that has less than 0.5 % is left out.",
        "The error of a published number over its tasks is that of its ±; if its meaning is not "
        "known, that of a proportion over 10,000 episodes; on the paper's own tasks there is none.",
        "Spread: standard deviation between trainings, in points of accuracy or as a share of an "
        "error; seen: of the records here, else assumed.",
    )
    title = f"Chance of each verdict for the published numbers of the presets, margin rule {RULE}"
    return Table("power", title, columns, tuple(rows), notes, tuple(data), text_columns=3)


def _numbers() -> list[tuple[str, Number]]:
    """Return the published numbers, each with the name of a preset for it."""
    return [
        (preset.name, load().number(result.number))
        for preset in presets.load().values()
        for result in preset.results
    ]


def _seen(results: Path) -> Iterator[tuple[tuple[str, str], float]]:
    """Yield the spread between our trainings, by preset and published number."""
    rows: list[Row] = compare(collect(Store(results, "paper")).groups, ())
    for row in rows:
        if row.number and row.verdict.judgement and row.summary.seeds >= HEADLINE_SEEDS:
            between = row.verdict.judgement.model.between
            yield (row.preset.name, row.number.id), float(np.sqrt(between))


def chances_of(number: Number, spread: float, seeds: int, true: int) -> np.ndarray:
    """Return the chance of each decision at a true difference of ``true`` margins."""
    width = margin(number)
    assert width is not None
    model = ErrorModel(spread**2, seeds, _fixed(number))
    return chances(true * width, model, width, np.random.default_rng(seeds))


def _fixed(number: Number) -> tuple[VariancePart, ...]:
    """Return the error of a published number over its tasks."""
    if published_metric(number.metric).by_ratio:
        return ()  # the paper's own tasks are drawn again
    if (published := published_task_error(number)) is not None:
        return (published,)
    share = number.value / 100
    # An episode's images depend on one another, which widens a binomial's spread by a tenth.
    one = (110 * math.sqrt(share * (1 - share) / (number.ways or 1))) ** 2
    return (VariancePart(one / EPISODES, EPISODES - 1),)


def _row(
    preset: str,
    number: Number,
    spread: float,
    origin: str,
    found: Mapping[tuple[int, int], np.ndarray],
) -> tuple[str, ...]:
    match = DECISIONS.index("matches")
    unit = 100 if published_metric(number.metric).by_ratio else 1
    shown = f"{significant(unit * spread, 2)}{' %' if unit > 1 else ''} {origin}"
    return (
        *(preset, number.id, shown, f"{number.value:g}", size(margin(number) or 0, number.metric)),
        " / ".join(f"{100 * found[n, 0][match]:.0f}" for n in SEEDS),
        *(_told(found[5, k]) for k in TRUTHS),
        _told(found[10, 0]),
    )


def _told(found: np.ndarray) -> str:
    return " ".join(
        f"{letter}{100 * p:.0f}"
        for letter, p in zip(LETTERS.values(), found, strict=True)
        if p >= 0.005
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("results"))
