"""Citation of results: a paragraph for the methods section, and BibTeX of all their sources."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from suite.config import presets as protocols
from suite.config.cell import make_task
from suite.core import registry
from suite.core.errors import UserError
from suite.core.version import __version__
from suite.published.compare import Row
from suite.published.counterpart import items_of
from suite.published.margins import RULE
from suite.published.numbers import load
from suite.report.format import listed
from suite.report.groups import Collection
from suite.report.matched import UNLIKE, Own, own_results
from suite.report.notes import splits, stamp
from suite.report.render import latex_escape
from suite.report.verdict_text import SIGNS, chance, headline, size

SUITE = "fewshot-suite"
_TITLE = "a benchmark and reproducibility suite for gradient-based few-shot meta-learning"
_AUTHOR = "The fewshot-suite maintainers"
_LAKE = """\
@article{lake2015,
  title = {{Human-level concept learning through probabilistic program induction}},
  author = {Brenden M. Lake and Ruslan Salakhutdinov and Joshua B. Tenenbaum},
  journal = {Science},
  volume = {350},
  number = {6266},
  pages = {1332--1338},
  year = {2015},
}
"""


def citation(collection: Collection | None, rows: Sequence[Row] = ()) -> str:
    """Return the paragraph, in LaTeX, and the BibTeX entries.

    Args:
        collection: the records; None if there are none yet. Every paper for which the suite has a
            protocol is then named.
        rows: comparisons with published numbers.
    """
    if collection is None:
        presets = tuple(protocols.load().values())
        described = [items_of(preset) for preset in presets]
        papers = [load().number(r.number).paper for preset in presets for r in preset.results]
        text = (
            "Cite the suite with the version and the commit that every table prints, and the "
            "papers of the methods, published numbers and data sets that you use. With records, "
            "versions, seeds and protocols stand here too."
        )
        heading, entry = "How to cite", _suite(__version__)
    else:
        described = [items_of(runs.cell) for runs in collection.runs]
        papers = [row.preset.paper for row in rows]
        papers += [row.number.paper for row in rows if row.number is not None]
        text = " ".join((_made(collection), _used(described), *_compared(rows), *verdicts(rows)))
        heading, entry = "For the methods section, in LaTeX", _suite_of(collection)
    papers += [key for _, keys in (*_algorithms(described), *_data(described)) for key in keys]
    entries = [entry, *(_bibtex(key) for key in dict.fromkeys(papers))]
    wrapped = textwrap.fill(text, 100, break_long_words=False, break_on_hyphens=False)
    return "\n".join((f"{heading}:\n\n{wrapped}\n\nBibTeX:\n", *entries))


def _made(collection: Collection) -> str:
    records = collection.records
    made = {key: latex_escape(text) for key, text in stamp(records).items()}
    seeds = {record.cell.seed for record in records}
    counts = listed(group.evaluation.episodes for group in collection.groups)
    episodes = f"{counts} {splits(collection)} episodes"
    return (
        f"Results are those of the profile {latex_escape(collection.profile)} of the {SUITE} "
        rf"\cite{{{SUITE}}}, version {made['suite_version']} (results version "
        f"{made['results_version']}, commit {made['commit']}), on {made['hardware']}, with "
        f"seed{'s' * (len(seeds) > 1)} {listed(seeds)} and {episodes}."
    )


def _used(described: Sequence[Mapping[str, Any]]) -> str:
    """Name the algorithms and data sets, with their papers."""
    text = f"Algorithms: {_and(_cited(*found) for found in _algorithms(described))}."
    data = [_cited(*found) for found in _data(described)]
    return f"{text} Data: {_and(data)}." if data else text


def _compared(rows: Sequence[Row]) -> list[str]:
    """Name the published settings that were run, and the numbers that they are compared with."""
    whole: dict[str, list[str]] = {}
    lost: dict[str, list[str]] = {}
    unlike: dict[str, dict[str, list[str]]] = {kind: {} for kind in UNLIKE}
    for own in own_results(rows):
        source = rf"{latex_escape(own.number.table)} of \cite{{{own.number.paper}}}"
        if own.verdict.kind in UNLIKE:
            name = f"{own.tested.cell.experiment.split('@')[0]}/{own.tested.cell.variant}"
            if own.verdict.kind == "shortened":
                source += f" ({own.verdict.reason.split(';')[0]})"
            unlike[own.verdict.kind].setdefault(source, []).append(latex_escape(name))
        else:
            into = whole if own.summary.seeds else lost
            into.setdefault(source, []).append(latex_escape(own.row.preset.name))
    without = [_unpublished(row) for row in rows if row.tested is not None and not row.number]
    found = []
    if whole:
        found.append(f"Run in full in the protocols of published settings: {_sources(whole)}.")
    if lost:
        found.append(f"Run in full, but every training diverged: {_sources(lost)}.")
    if without:
        found.append(f"Protocols without a published number: {_and(without)}.")
    if unlike["shortened"]:
        found.append(f"Shortened, hence not judged: {_sources(unlike['shortened'])}.")
    if unlike["not comparable"]:
        told = _sources(unlike["not comparable"])
        found.append(f"In other protocols, hence not comparable: {told}.")
    return found


def verdicts(rows: Sequence[Row]) -> list[str]:
    """Name the results of each verdict in one sentence, and add the outcome in another."""
    by_kind: dict[str, list[str]] = {kind: [] for kind in SIGNS if kind not in UNLIKE}
    for own in own_results(rows):
        if own.verdict.kind in by_kind:
            by_kind[own.verdict.kind].append(f"{own.name_and_step}{_margin(own)}")
    told = [f"{kind}: {_and(names)}" for kind, names in by_kind.items() if names]
    if not told:
        return []
    text = (
        f"Verdicts on published numbers (margin rule {RULE}; chance: of a match with these errors "
        f"and seeds, if there were no difference): {'; '.join(told)}."
    )
    return [latex_escape(text), latex_escape(headline(rows))]


def _margin(own: Own) -> str:
    """Write the margin of a result and its chance of a match; '' if it has none."""
    found = own.verdict
    if found.margin is None:
        return ""
    likely = f", chance {chance(found)}" if found.judgement else ""
    return f" (margin {size(found.margin, own.number.metric)}{likely})"


def _unpublished(row: Row) -> str:
    short = f" (shortened: {row.verdict.reason})" if row.verdict.reason else ""
    return latex_escape(row.preset.name) + short


def _sources(by_source: Mapping[str, list[str]]) -> str:
    return "; ".join(f"{_and(names)}, beside {source}" for source, names in by_source.items())


def _algorithms(described: Iterable[Mapping[str, Any]]) -> list[tuple[str, tuple[str, ...]]]:
    names = dict.fromkeys(str(items["algorithm.name"]) for items in described)
    found = {name: registry.algorithms.find(name) for name in names}
    return [(algorithm.title or name, algorithm.papers) for name, algorithm in found.items()]


def _data(described: Iterable[Mapping[str, Any]]) -> list[tuple[str, tuple[str, ...]]]:
    found = dict.fromkeys(_data_set(items) for items in described)
    return [data for data in found if data[0]]


def _data_set(items: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    task = {key.removeprefix("task."): v for key, v in items.items() if key.startswith("task.")}
    try:
        return make_task(task).data
    except UserError:  # of a plug-in that is not here
        return "", ()


def _cited(name: str, keys: Sequence[str]) -> str:
    return latex_escape(name) + (rf" \cite{{{','.join(keys)}}}" if keys else "")


def _and(texts: Iterable[str]) -> str:
    *first, last = dict.fromkeys(texts)
    return f"{', '.join(first)} and {last}" if first else last


def _suite_of(collection: Collection) -> str:
    made = stamp(collection.records)
    year = max(record.provenance.started[:4] for record in collection.records)
    return _suite(made["suite_version"], year, f"commit {made['commit']}")


def _suite(version: str, year: str = "", note: str = "") -> str:
    fields = {
        "title": f"{{{SUITE}: {_TITLE}}}",
        "author": f"{{{_AUTHOR}}}",
        "version": version,
        "year": year,
        "note": note,
    }
    lines = [f"  {name} = {{{value}}},\n" for name, value in fields.items() if value]
    return f"@software{{{SUITE},\n{''.join(lines)}}}\n"


def _bibtex(key: str) -> str:
    return _LAKE if key == "lake2015" else load().papers[key].bibtex()
