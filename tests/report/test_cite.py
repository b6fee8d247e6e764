"""How results are cited: the paragraph and its BibTeX."""

from __future__ import annotations

import re

from suite.config import presets as protocols
from suite.config.profile import load_profile
from suite.core.version import __version__
from suite.published.numbers import load
from suite.report import cited
from suite.report.cite import citation, verdicts
from suite.report.render import latex_escape
from suite.report.verdict_text import headline
from tests.report.beside import ERROR, altered, cells, collected, row, seeds, short
from tests.report.builder import cell, record, write
from tests.report.typeset import compiles, needs_pdflatex


def cite(folder, *made, **more):
    return citation(*collected(folder, *made, **more))


def paragraph(text):
    """Return the paragraph in one line."""
    return " ".join(text.split("\n\n")[1].split())


def entries(text):
    """Return the BibTeX entries by key."""
    found = re.findall(r"^(@\w+\{([^,]+),\n.*?^\})", text, flags=re.MULTILINE | re.DOTALL)
    assert len(found) == text.count("\n@"), "every entry is whole, and no key is there twice"
    assert len({key for _, key in found}) == len(found)
    return {key: entry for entry, key in found}


def test_a_whole_run_names_what_made_it_and_what_it_stands_beside(tmp_path):
    made = [*seeds("sinusoid/maml", (0.4, 0.5, 0.6)), *seeds("sinusoid/fomaml", (0.4,) * 3)]
    text = cite(tmp_path, *made)
    told = paragraph(text)
    for part in (
        r"profile demo of the fewshot-suite \cite{fewshot-suite}, version 0.1.0 (results version",
        "commit 0123456789)",
        r"on Xeon\_8 \& co (2 cores)",
        "with seeds 0 to 2 and 600, 10000 test episodes.",
        r"Algorithms: first-order MAML \cite{maml} and MAML \cite{maml}.",
        r"published settings: sinusoid/maml, beside Table 2 of \cite{maml}.",
        "Protocols without a published number: sinusoid/fomaml.",
    ):
        assert part in told
    for absent in ("Data:", "Shortened", "not comparable"):
        assert absent not in told
    assert set(entries(text)) == {"fewshot-suite", "maml"}
    assert max(map(len, text.split("BibTeX")[0].splitlines())) <= 100


def test_verdicts_name_their_rows_with_margins_and_chances():
    assumed = ("task.split",)
    found = [
        row("consistent", of=("omniglot-5w1s/reptile", 0), chance=0.125),
        row("matches", assuming=assumed, chance=0.5),
        row("matches", of=ERROR, chance=0.25),
        row("above", of=("sinusoid/maml", 1)),
        row("shortened", None, of=("omniglot-5w5s/maml", 0)),
    ]
    found.append(row("undecidable", None, of=("sinusoid/maml", 2)))
    told = " ".join(verdicts(found))
    assert told.startswith(
        "Verdicts on published numbers (margin rule 2; chance: of a match with these errors and "
        "seeds, if there were no difference): "
        r"matches: omniglot-5w1s/maml, step 3 (margin 1, chance 50 \%) and sinusoid/maml 5-shot, "
        r"step 1 (margin $\times$2.72, chance 25 \%); "
        r"above: sinusoid/maml 5-shot, step 5 (margin $\times$2.72, chance 25 \%); "
        r"consistent: omniglot-5w1s/reptile non-transductive, step 50 (margin 1, chance 12 \%); "
        r"undecidable: sinusoid/maml 5-shot, step 10 (margin $\times$2.72). "
    )
    assert told.endswith(latex_escape(headline(found)))
    assert "omniglot-5w5s" not in told, "a shortened run has no verdict"
    assert [verdicts([]), verdicts([found[4]])] == [[], []]


def test_the_paragraph_ends_with_the_verdicts_and_the_outcome(tmp_path):
    made = seeds("omniglot-20w1s/maml", (0.956, 0.957, 0.958, 0.959, 0.960), spread=0.01)
    told = paragraph(cite(tmp_path, *made))
    assert (
        "if there were no difference): matches: omniglot-20w1s/maml test-10k, step 5 "
        r"(margin 1, chance 98 \%). Of 1 published numbers, 1 were run in their protocol"
    ) in told
    assert told.endswith("0 numbers were not run, or not so.")
    short_one = paragraph(cite(tmp_path / "short", *seeds(short("omniglot-20w1s/maml"), (0.9,))))
    assert "Verdicts" not in short_one
    assert "published numbers" not in short_one


def test_shortened_and_unlike_runs_are_never_called_the_protocols(tmp_path):
    made = [
        *seeds(short("omniglot-5w1s/maml"), (0.9,)),
        *seeds(altered("omniglot-5w1s/fomaml", model={"head_init": "same"}), (0.9,)),
    ]
    told = paragraph(cite(tmp_path, *made))
    assert "Run in full" not in told
    assert (
        r"Shortened, hence not judged: omniglot-5w1s/maml, beside Table 1 of \cite{maml} "
        "(5,000 of 60,000 outer steps)."
    ) in told
    assert (
        r"In other protocols, hence not comparable: omniglot-5w1s/fomaml, beside Table 2 of "
        r"\cite{reptile}."
    ) in told
    assert "with seed 0 and" in told


def test_a_setting_whose_trainings_all_diverged_has_not_been_run_well(tmp_path):
    told = paragraph(cite(tmp_path, *seeds("omniglot-5w1s/maml", (None, None))))
    assert "in the protocols of published settings" not in told
    assert "Run in full, but every training diverged: omniglot-5w1s/maml, beside" in told


def test_data_sets_and_methods_bring_their_papers(tmp_path):
    made = [*seeds("omniglot-5w1s/maml", (0.98,)), *seeds("miniimagenet-5w1s/maml", (0.48,))]
    text = cite(tmp_path, *made)
    assert r"mini-ImageNet \cite{vinyals2016,ravi2017} and Omniglot \cite{lake2015}" in paragraph(
        text
    )
    found = entries(text)
    assert set(found) == {"fewshot-suite", "maml", "vinyals2016", "ravi2017", "lake2015"}
    for part in ("Science", "{350}", "{6266}", "1332--1338", "{2015}", "Lake"):
        assert part in found["lake2015"]
    # Beside no number of its own, but somebody's method.
    text = cite(tmp_path / "own", record(cell("reptile", 0), {"test": [[0.5] * 3] * 4}))
    assert r"Algorithms: Reptile \cite{reptile}." in paragraph(text)
    assert set(entries(text)) == {"fewshot-suite", "reptile"}


def test_an_algorithm_without_a_paper_is_named_all_the_same(tmp_path):
    text = cite(tmp_path, record(cell("sgd", 0), {"test": [[0.5] * 3] * 4}))
    assert "Algorithms: SGD from scratch." in paragraph(text)
    assert set(entries(text)) == {"fewshot-suite"}


def test_papers_of_numbers_in_the_tables_are_there_without_a_run(tmp_path):
    text = cite(tmp_path, *seeds("sinusoid/maml", (0.4,)), profile="paper")
    assert {"reptile", "ravi2017"} <= set(entries(text))
    assert "reptile" not in paragraph(text)


def test_the_suites_entry_has_the_records_version_year_and_commits(tmp_path):
    made = [
        *seeds("sinusoid/maml", (0.4,), where={"started": "2025-12-31T23:00:00Z"}),
        *seeds("sinusoid/fomaml", (0.4,), where={"commit": "f" * 40, "dirty": True}),
    ]
    entry = entries(cite(tmp_path, *made))["fewshot-suite"]
    assert entry.startswith("@software{")
    assert "author = {{The fewshot-suite maintainers}}" in entry
    assert "version = {0.1.0}" in entry
    assert "year = {2026}" in entry
    assert "note = {commit 0123456789, ffffffffff (dirty)}" in entry
    assert "url" not in entry


def test_without_records_all_papers_of_the_protocols_are_named():
    text = citation(None)
    assert text.startswith("How to cite:\n\n")
    assert "the version and the commit" in paragraph(text)
    found = entries(text)
    papers = {preset.paper for preset in protocols.load().values()}
    papers |= {
        load().number(result.number).paper
        for preset in protocols.load().values()
        for result in preset.results
    }
    assert set(found) == papers | {"fewshot-suite", "lake2015", "vinyals2016"}
    assert f"version = {{{__version__}}}" in found["fewshot-suite"]
    assert "year" not in found["fewshot-suite"], "no record says when"
    assert next(iter(found)) == "fewshot-suite"


def test_braces_are_balanced_and_names_keep_their_capitals():
    for key, entry in entries(citation(None)).items():
        assert entry.count("{") == entry.count("}"), key
        assert re.search(r"^  title = \{\{.+\}\},$", entry, flags=re.MULTILINE), key


@needs_pdflatex
def test_the_paragraph_compiles(tmp_path):
    of = cells()["sinusoid/maml"].model_copy(update={"variant": "my_own"})
    made = [*seeds(of, (0.4,) * 4), *seeds("omniglot-5w1s/reptile", (0.95,) * 4, spread=0.01)]
    told = cite(tmp_path, *made, profile="a_b").split("\n\n")[1]
    assert "Verdicts" in told
    compiles(tmp_path, told)


def test_the_outcome_counts_what_was_not_run(tmp_path):
    write(tmp_path, *seeds("sinusoid/maml", (0.67,) * 4), profile="paper")
    presets = protocols.matching(load_profile("paper").presets)
    text = " ".join(cited(tmp_path, "paper", presets).split())
    assert "Of 43 published numbers, 3 were run in their protocol" in text
    assert "40 numbers were not run, or not so." in text
