"""Tables in the layout of the papers, on made-up scores of real cells."""

from __future__ import annotations

import csv
import io
import re

import numpy as np
import pytest

from suite.config import presets as protocols
from suite.published.numbers import load
from suite.report.layouts import LAYOUTS
from suite.report.render import RAISED, UNDER, comma_separated, latex, markdown
from suite.report.tables.papers import paper_tables
from tests.report.beside import altered, cells, collected, on, seeds, short
from tests.report.typeset import compiles, needs_pdflatex

PLAIN = str.maketrans("", "", "".join(RAISED.values()))
MATCHING = (0.985, 0.986, 0.987, 0.988, 0.989)


def tables(folder, *made, **more):
    return {table.name: table for table in paper_tables(*collected(folder, *made, **more))}


def under(table, method, block=0):
    """Return the lines below a method, without raised letters, by their label."""
    start = [row[0].translate(PLAIN) for row in table.rows].index(method, table.blocks[block].row)
    found = {}
    for row in table.rows[start + 1 :]:
        if not row[0].startswith(UNDER):
            break
        found[row[0].removeprefix(UNDER).translate(PLAIN)] = [c.translate(PLAIN) for c in row[1:]]
    return found


def published(table, method, block=0):
    rows = table.rows[table.blocks[block].row :]
    return next(
        [c.translate(PLAIN) for c in r[1:]] for r in rows if r[0].translate(PLAIN) == method
    )


def lines(table):
    return list(csv.DictReader(io.StringIO(comma_separated(table))))


def note(table, start):
    (found,) = [text for text in table.notes if text.startswith(start)]
    return found


def test_ours_stands_below_the_published_number(tmp_path):
    found = tables(tmp_path, *seeds("omniglot-5w1s/maml", MATCHING, spread=0.01))
    assert list(found) == ["maml-table-1", "reptile-table-2"]
    table = found["maml-table-1"]
    assert published(table, "MAML") == ["98.7 ± 0.4", "99.9 ± 0.1", "95.8 ± 0.3", "98.9 ± 0.2"]
    # 2.776 x sd / sqrt(5) of the five means
    half = 2.776 * 100 * np.std(MATCHING, ddof=1) / 5**0.5
    assert under(table, "MAML") == {"ours": [f"98.70 ± {half:.2f} =", "–", "–", "–"]}
    assert f"{half:.2f}" == "0.20"
    assert under(found["reptile-table-2"], "MAML + transduction") == under(table, "MAML")
    assert "= matches" in note(table, "Verdicts")
    assert "↑" not in note(table, "Verdicts"), "only the signs that are used"


@pytest.mark.parametrize(
    ("means", "mark", "meaning"),
    [
        (
            (0.950, 0.951, 0.952, 0.951, 0.950),
            "↓",
            "a margin of 1 point: ↓ below (all of it beyond the margin)",
        ),
        ((0.980, 0.975, 0.990, 0.970, 0.999), "∼", "∼ inconclusive (neither, or no interval)"),
    ],
)
def test_verdicts_have_signs(tmp_path, means, mark, meaning):
    table = tables(tmp_path, *seeds("omniglot-5w1s/maml", means, spread=0.01))["maml-table-1"]
    assert under(table, "MAML")["ours"][0].endswith(f" {mark}")
    assert meaning in note(table, "Verdicts")


def test_an_error_above_the_published_one(tmp_path):
    made = seeds("sinusoid/maml", (0.90, 0.91, 0.90, 0.91), spread=0.001)
    table = tables(tmp_path, *made)["maml-table-2"]
    assert [cell[-1] for cell in under(table, "MAML")["ours"]] == ["↑"] * 3
    assert "a margin of 0.1:" in note(table, "Verdicts, by")


def test_every_number_of_every_preset_has_its_place():
    ids = [
        template.format(column.key)
        for layout in LAYOUTS
        for part in layout.parts
        for template in part.methods.values()
        for column in part.columns
    ]
    behind = {result.number for preset in protocols.load().values() for result in preset.results}
    assert behind <= set(ids)
    known = {number.id for number in load().numbers}
    # The paper tests its network without convolution on 5 ways alone.
    assert {id for id in ids if id not in known} == {
        f"maml.table1.omniglot-20w{shots}s.maml-no-conv" for shots in (1, 5)
    }


def test_what_was_not_run_is_there_and_what_was_not_published_is_blank(tmp_path):
    table = tables(tmp_path, *seeds("omniglot-5w1s/maml", MATCHING))["maml-table-1"]
    assert published(table, "MAML, no convolution") == ["89.7 ± 1.1", "97.5 ± 0.6", "", ""]
    assert under(table, "MAML, no convolution") == {"ours": ["–", "–", "", ""]}
    assert published(table, "MAML", block=1) == ["48.70 ± 1.84", "63.11 ± 0.92", "", ""]
    assert under(table, "MAML", block=1) == {"ours": ["–", "–", "", ""]}
    assert published(table, "Fine-tuning baseline", block=1)[0] == "28.86 ± 0.54"
    assert "Quoted there from Ravi and Larochelle 2017, Table 1" in note(table, "Quoted")
    shown = {line["number"] for line in lines(table)}
    layout = {n.id for n in load().numbers if n.paper == "maml" and n.table == "Table 1"}
    assert {id for id in layout if id.rpartition(".")[2] in ("maml", "fomaml")} <= shown


@pytest.mark.parametrize(
    ("table", "method", "shown"),
    [
        ("maml-table-2", "Multi-task, l2", ["7.18", "5.69", "5.60"]),
        ("reptile-table-2", "Reptile", ["95.39 ± 0.09?", "98.90 ± 0.10?", "88.14 ± 0.15?"]),
    ],
)
def test_published_numbers_keep_their_zeros(tmp_path, table, method, shown):
    made = [*seeds("sinusoid/maml", (0.4,)), *seeds("omniglot-5w1s/fomaml", (0.98,))]
    assert published(tables(tmp_path, *made)[table], method)[:3] == shown


def test_a_layout_without_a_number_of_ours_is_left_out(tmp_path):
    # The paper has no number for it.
    assert tables(tmp_path, *seeds("sinusoid/fomaml", (0.4, 0.5))) == {}
    # All of the profile's settings are rows, and none was run but this one.
    made = seeds("sinusoid/fomaml", (0.4, 0.5))
    assert tables(tmp_path / "paper", *made, profile="paper") == {}


def test_with_few_seeds_the_interval_is_that_of_the_episodes(tmp_path):
    table = tables(tmp_path, *seeds("omniglot-5w1s/maml", (0.95, 0.95), spread=0.05))[
        "maml-table-1"
    ]
    width = 1.96 * 100 * np.linspace(-0.05, 0.05, 10000).std(ddof=1) / 10000**0.5
    assert under(table, "MAML")["ours"][0] == f"95.00 (± {width:.2f}) ∼", "two give no verdict"
    assert "with fewer than 4 seeds, in parentheses" in note(table, "Ours")


def test_two_rates_stand_below_one_number(tmp_path):
    made = [
        *seeds("sinusoid/maml-0.001", ({1: 0.76, 5: 0.45, 10: 0.41},) * 4),
        *seeds("sinusoid/maml", ({1: 0.66, 5: 0.37, 10: 0.34},) * 4),
    ]
    table = tables(tmp_path, *made)["maml-table-2"]
    found = under(table, "MAML")
    assert list(found) == ["ours (maml)", "ours (maml-0.001)"]
    assert [cell.split(" ±")[0] for cell in found["ours (maml)"]] == ["0.660", "0.370", "0.340"]
    assert [c.split(" ±")[0] for c in found["ours (maml-0.001)"]] == ["0.760", "0.450", "0.410"]
    (other,) = [row[0] for row in table.rows if "0.001" in row[0]]
    assert other[-1] in RAISED.values(), "the rate is another setting than the number's"
    told = note(table, f"{other[-1]} sinusoid/maml-0.001")
    assert "inner rate 0.001" in told


def test_a_variant_that_is_not_the_presets_is_named(tmp_path):
    of = cells()["sinusoid/maml"].model_copy(update={"variant": "mine"})
    assert list(under(tables(tmp_path, *seeds(of, (0.4,)))["maml-table-2"], "MAML")) == [
        "ours (mine)"
    ]


def test_a_shortened_run_has_a_line_and_says_of_how_many_steps(tmp_path):
    means = {"non-transductive": 0.95, "transductive": 0.97}
    made = [
        *seeds("omniglot-5w1s/reptile", (means,) * 4),
        *seeds(short("omniglot-5w1s/reptile"), ({"non-transductive": 0.8, "transductive": 0.9},)),
        *seeds(short("omniglot-20w1s/reptile"), ({"non-transductive": 0.6, "transductive": 0.7},)),
    ]
    table = tables(tmp_path, *made)["reptile-table-2"]
    found = under(table, "Reptile")
    short_line = "ours (5,000 of 100,000 or 200,000 steps)"
    assert list(found) == ["ours", short_line]
    assert found["ours"][0].startswith("95.00 ± 0.00 ")
    assert found[short_line] == ["80.00 (± 0.00) ‡", "–", "60.00 (± 0.00) ‡", "–"]
    assert under(table, "Reptile + transduction")[short_line][0] == "90.00 (± 0.00) ‡"
    assert "‡ shortened training (not judged)" in note(table, "Verdicts")


def test_what_is_not_comparable_says_why(tmp_path):
    of = altered("omniglot-5w1s/maml", model={"head_init": "same"})
    table = tables(tmp_path, *seeds(of, (0.98,) * 4))["maml-table-1"]
    assert under(table, "MAML")["ours"][0] == "98.00 ± 0.00 ≠"
    told = note(table, "≠ omniglot-5w1s/maml test-10k (step 3)")
    assert "model.head_init same, not normal" in told


@pytest.mark.parametrize(("count", "median"), [(1, "0.340"), (2, "–")])
def test_diverged_episodes_are_counted_and_the_median_stands_below(tmp_path, count, median):
    means = {1: 0.66, 5: 0.37, 10: 0.34}
    made = seeds("sinusoid/maml", (means | {10: np.inf},) * count + (means,) * (4 - count))
    table = tables(tmp_path, *made)["maml-table-2"]
    found = under(table, "MAML")
    assert list(found) == ["ours", "median"]
    assert found["ours"][0].startswith("0.660 ± 0.000 ")
    assert found["ours"][2] == f"{600 * count:,} diverged †"
    assert found["median"] == ["0.660", "0.370", median]
    told = note(table, "† sinusoid/maml 5-shot (step 10)")
    assert told.endswith(f"{600 * count} diverged episodes.")
    assert "the median" in note(table, "Ours")


def test_a_diverged_training_is_marked_beside_the_mean_of_the_others(tmp_path):
    table = tables(tmp_path, *seeds("omniglot-5w1s/maml", (*MATCHING, None)))["maml-table-1"]
    assert under(table, "MAML")["ours"][0] == "98.70 ± 0.20 †"
    assert note(table, "† omniglot-5w1s/maml").endswith("1 of 6 seeds diverged.")
    nothing = tables(tmp_path / "all", *seeds("omniglot-5w1s/maml", (None, None)))["maml-table-1"]
    assert under(nothing, "MAML")["ours"][0] == "diverged †"


def test_several_tests_of_one_variant_have_lines_of_their_own(tmp_path):
    of = cells("traps")["omniglot-5w1s-test/maml"]
    means = {test.name: 0.9 for test in of.protocol.evaluations}
    means |= {"support": 0.8}
    table = tables(tmp_path, *seeds(of, (means, means)))["maml-table-1"]
    found = under(table, "MAML")
    assert len(found) == len(of.protocol.evaluations)
    label = next(label for label in found if "support" in label)
    assert "omniglot-5w1s-test" in label
    assert found[label][0].startswith("80.00 ")


def test_devices_have_lines_of_their_own(tmp_path):
    of = cells()["omniglot-5w1s/maml"]
    made = [*seeds(of, (0.98,)), *seeds(on(of, "cuda"), (0.97,))]
    found = under(tables(tmp_path, *made)["maml-table-1"], "MAML")
    assert {label: cells[0].split()[0] for label, cells in found.items()} == {
        "ours (cpu)": "98.00",
        "ours (cuda)": "97.00",
    }


def test_each_letter_leads_to_one_note_in_order(tmp_path):
    made = [*seeds("sinusoid/maml", (0.4,)), *seeds("omniglot-5w1s/maml", (0.98,))]
    for table in tables(tmp_path, *made).values():
        shown = re.findall(f"[{''.join(RAISED.values())}]", "".join("".join(r) for r in table.rows))
        told = [c for text in table.notes for c in text if c in RAISED.values()]
        assert list(dict.fromkeys(shown)) == list(RAISED.values())[: len(set(shown))]
        assert sorted(told) == sorted(set(shown))


def test_a_protocol_is_told_in_one_line(tmp_path):
    table = tables(tmp_path, *seeds("omniglot-5w1s/reptile", (0.9,)))["reptile-table-2"]
    maml = note(table, "ᵃ omniglot-5w1s/maml")
    for text in (
        *("inner rate 0.4 for the loss summed over the ways", "1 inner step in training"),
        *("step 3 read at test", "meta-batch 32", "60,000 outer steps", "(transductive)"),
        *("query shots in training: 1", "query shots at test: 1", "split random_1100"),
        *("rotated at random, at test too", "inferred: task.resize nearest"),
        *("unknown: task.split_by_seed yes", "which checkpoint was tested"),
    ):
        assert text in maml
    assert note(table, "ᵇ omniglot-5w5s/maml").startswith("ᵇ omniglot-5w5s/maml: as a, but ")
    reptile = note(table, "ⁱ omniglot-5w1s/reptile")
    assert "inner rate 0.001 (Adam) for the mean loss" in reptile
    assert "inner batches of 10, 5 at test" in reptile
    assert "10 shots in training" in reptile
    assert "with the support set" in reptile
    assert "ʲ omniglot-5w5s/reptile" in reptile, "the same is said once"
    borrowed = note(table, "ᵉ omniglot-5w1s/fomaml")
    assert re.search(r"inferred: \d\d items", borrowed)


def test_verdicts_say_what_they_assume_of_the_published_error(tmp_path):
    made = seeds("omniglot-5w1s/reptile", ({"non-transductive": 0.95, "transductive": 0.97},) * 4)
    table = tables(tmp_path, *made)["reptile-table-2"]
    assert [text for text in table.notes if text.startswith("Verdicts on")] == []
    spread = seeds(
        "omniglot-5w1s/reptile",
        ({"non-transductive": 0.95, "transductive": 0.97},) * 4,
        spread=0.01,
    )
    table = tables(tmp_path / "spread", *spread)["reptile-table-2"]
    told = note(table, "Verdicts on i, m assume")
    assert "as large as ours (what ± means is not stated)" in told


def test_provenance_is_that_of_the_results_shown(tmp_path):
    made = [
        *seeds("sinusoid/maml", (0.4, 0.4), where={"processor": "Slide rule"}),
        *seeds("omniglot-5w1s/maml", (0.98,), where={"processor": "Abacus", "commit": "f" * 40}),
    ]
    found = tables(tmp_path, *made)
    assert "Slide rule" in note(found["maml-table-2"], "Hardware")
    assert "Abacus" not in note(found["maml-table-2"], "Hardware")
    assert "Abacus" in note(found["maml-table-1"], "Hardware")
    assert "commit ffffffffff" in note(found["maml-table-1"], "Suite 0.1.0")
    assert note(found["maml-table-1"], "Seeds 0; 600, 10000 test episodes")
    assert note(found["maml-table-2"], "Seeds 0, 1; 600, 10000 test episodes")


def test_csv_has_a_line_for_each_result_and_each_number_without_one(tmp_path):
    made = [*seeds("omniglot-5w1s/maml", MATCHING), *seeds(short("omniglot-5w1s/maml"), (0.9,))]
    found = lines(tables(tmp_path, *made)["maml-table-1"])
    ours = [x for x in found if x["number"] == "maml.table1.omniglot-5w1s.maml"]
    assert [(x["line"], x["verdict"], x["seeds"]) for x in ours] == [
        ("ours", "matches", "5"),
        ("ours (5,000 of 60,000 steps)", "shortened", "1"),
    ]
    assert float(ours[0]["ours"]) == pytest.approx(98.7, abs=1e-4)
    assert (ours[0]["published"], ours[0]["published_pm"], ours[0]["read_step"]) == (
        "98.7",
        "0.4",
        "3",
    )
    assert (ours[0]["commit"], ours[0]["hardware"]) == ("0123456789", "Xeon_8 & co (2 cores)")
    (other,) = [x for x in found if x["number"] == "maml.table1.omniglot-20w1s.maml"]
    assert (other["verdict"], other["ours"], other["line"]) == ("not run", "", "")
    assert len({x["number"] for x in found}) == len(found) - 1


@pytest.fixture
def odd(tmp_path):
    of = cells()["omniglot-5w1s/maml"].model_copy(update={"variant": "my_own"})
    made = [*seeds(of, MATCHING, spread=0.01), *seeds(short("omniglot-5w1s/maml"), (0.9,))]
    return tables(tmp_path, *made)["maml-table-1"]


def test_latex_has_headings_over_several_columns(odd):
    text = latex(odd)
    body = text.splitlines()
    head = [
        r"\toprule",
        r"\multicolumn{1}{c}{} & \multicolumn{2}{c}{5-way} & \multicolumn{2}{c}{20-way} "
        r"\tabularnewline",
        r"\cmidrule(lr){2-3}\cmidrule(lr){4-5}",
        r"Omniglot & 1-shot & 5-shot & 1-shot & 5-shot \tabularnewline",
        r"\midrule",
    ]
    start = body.index(r"\toprule")
    assert body[start : start + 5] == head
    second = body.index(r"mini-ImageNet & 1-shot & 5-shot &  &  \tabularnewline")
    assert body[second - 1] == r"\cmidrule(lr){2-3}"
    assert (body[second - 3], body[second + 1]) == (r"\midrule", r"\midrule")
    assert r"\begin{tabular}{lllll}" in body
    (own,) = [line for line in body if "my\\_own" in line and "98.70" in line]
    assert own.startswith(r"\quad{} ours (my\_own) & 98.70 $\pm$ 0.20 $=$ &".replace("$=$", "="))
    assert body[body.index(own) - 1].startswith("MAML &"), "no space between a method and ours"
    assert any(r"98.7 $\pm$ 0.4\textsuperscript{c}" in line for line in body)
    assert any(line.startswith(r"\textsuperscript{c} omniglot-5w1s/maml") for line in body)
    assert "?" not in text.replace(r"\pm", ""), "every sign is one that LaTeX has"


def test_markdown_has_one_heading_for_each_column(odd):
    body = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in markdown(odd).splitlines()
        if line.startswith("|")
    ]
    assert body[0] == ["Omniglot", "5-way 1-shot", "5-way 5-shot", "20-way 1-shot", "20-way 5-shot"]
    assert ["**mini-ImageNet**", "**5-way 1-shot**", "**5-way 5-shot**", "", ""] in body
    assert any(row[0] == "↳ ours (my\\_own)" for row in body)


@needs_pdflatex
def test_latex_compiles(tmp_path, odd):
    made = tables(tmp_path / "sine", *seeds("sinusoid/maml", ({10: np.inf},) * 2))
    compiles(tmp_path, "".join(map(latex, (odd, *made.values()))))
