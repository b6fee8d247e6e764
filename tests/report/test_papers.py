"""Tables in the layout of the papers, on made-up scores of real cells."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from suite.config import presets as protocols
from suite.published.numbers import load
from suite.report.layouts import LAYOUTS
from suite.report.render import UNDER, latex, markdown
from suite.report.tables.papers import paper_tables
from tests.report.beside import altered, cells, collected, lines, on, scores, seeds, short
from tests.report.builder import record
from tests.report.typeset import compiles, needs_pdflatex

#: Means of seeds that are consistent with 98.7 ± 0.4.
CONSISTENT = (0.985, 0.986, 0.987, 0.988, 0.989)
#: Time before which records are older than the rule of the margins.


def tables(folder, *made, **more):
    found = {table.name: table for table in paper_tables(*collected(folder, *made, **more))}
    for table in found.values():
        assert len(table.notes) <= 5, "a reader reads five lines, not more"
    return found


def under(table, method, block=0):
    """Return the lines below a method by their label."""
    start = [row[0] for row in table.rows].index(method, table.blocks[block].row)
    found = {}
    for row in table.rows[start + 1 :]:
        if not row[0].startswith(UNDER):
            break
        found[row[0].removeprefix(UNDER)] = list(row[1:])
    return found


def published(table, method, block=0):
    rows = table.rows[table.blocks[block].row :]
    return next(list(row[1:]) for row in rows if row[0] == method)


def note(table, start):
    (found,) = [text for text in table.notes if text.startswith(start)]
    return found


def half_width(means, published, decimals):
    """Return the 95 % half width of the difference from a published mean ± error of 600 tasks."""
    trainings = np.var(100 * np.array(means), ddof=1) * (1 / len(means) + 1)
    tasks = (published / 1.96) ** 2
    total = trainings + tasks + 10.0 ** (-2 * decimals) / 12
    degrees = total**2 / (trainings**2 / (len(means) - 1) + tasks**2 / 599)
    return stats.t.ppf(0.975, degrees) * total**0.5


def test_ours_stands_below_the_published_number(tmp_path):
    made = seeds("omniglot-5w1s/maml", CONSISTENT, spread=0.01)
    found = tables(tmp_path, *made)
    assert list(found) == ["maml-table-1", "reptile-table-2"]
    table = found["maml-table-1"]
    assert published(table, "MAML") == ["98.7 ± 0.4", "99.9 ± 0.1", "95.8 ± 0.3", "98.9 ± 0.2"]
    half = f"{half_width(CONSISTENT, 0.4, 1):.2f}"
    assert half == "0.56"
    ours = [f"98.70, +0.00 [−{half}, +{half}] ∼*", "–", "–", "–"]
    assert under(table, "MAML") == {"ours": ours}
    assert under(found["reptile-table-2"], "MAML + transduction") == under(table, "MAML")
    told = note(table, "Verdicts")
    assert "∼ consistent" in told
    assert "* assumes what paper and code leave open" in told
    assert "↑" not in told, "only the signs that are used"
    assert "°" not in told, "only the marks that are used"


@pytest.mark.parametrize(
    ("means", "mark", "meaning"),
    [
        ((0.956, 0.957, 0.958, 0.959, 0.960), "=*", "= matches (the 92 % interval"),
        ((0.940, 0.941, 0.942, 0.941, 0.940), "↓*", "↓ below (the 95 % interval lies beyond"),
        ((0.949, 0.949, 0.950, 0.949, 0.949), "≠*", "≠ differs (the 95 % interval leaves out 0"),
        ((0.952, 0.964, 0.958, 0.955, 0.961), "…", "… inconclusive (more seeds would decide)"),
        ((0.958, 0.958), "…", "… inconclusive (more seeds would decide)"),
        ((0.958, None), "†", "† diverged (trainings or test episodes diverged)"),
    ],
)
def test_verdicts_have_signs(tmp_path, means, mark, meaning):
    made = seeds("omniglot-20w1s/maml", means, spread=0.01)
    table = tables(tmp_path, *made)["maml-table-1"]
    assert under(table, "MAML")["ours"][2].endswith(f" {mark}")
    told = note(table, "Verdicts")
    assert told.startswith(f"Verdicts: {meaning}")
    assert "from 0.2 to 1," in told


def test_results_known_before_the_margins_are_marked(tmp_path, known):
    made = seeds("omniglot-5w1s/maml", CONSISTENT, spread=0.01)
    table = tables(tmp_path, *made)["maml-table-1"]
    assert under(table, "MAML")["ours"][0].endswith(" ∼*°")
    assert "° scores of the setting were known when the rule" in note(table, "Verdicts")


def test_an_error_above_the_published_one(tmp_path):
    made = seeds("sinusoid/maml", (0.90, 0.91, 0.90, 0.91), spread=0.001)
    table = tables(tmp_path, *made)["maml-table-2"]
    found = under(table, "MAML")["ours"]
    assert [cell[-1] for cell in found] == ["↑"] * 3
    assert [cell.split(" [")[0] for cell in found] == [f"0.905, ×{r}" for r in (1.35, 2.38, 2.59)]
    assert "mean squared error: a ratio between 0.8 and 1.25." in note(table, "Verdicts")


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
    table = tables(tmp_path, *seeds("omniglot-5w1s/maml", CONSISTENT))["maml-table-1"]
    assert published(table, "MAML, no convolution") == ["89.7 ± 1.1", "97.5 ± 0.6", "", ""]
    assert under(table, "MAML, no convolution") == {"ours": ["–", "–", "", ""]}
    assert published(table, "MAML", block=1) == ["48.70 ± 1.84", "63.11 ± 0.92", "", ""]
    assert under(table, "MAML", block=1) == {"ours": ["–", "–", "", ""]}
    assert published(table, "Fine-tuning baseline", block=1)[0] == "28.86 ± 0.54"
    assert "Quoted there from Ravi and Larochelle 2017, Table 1" in note(table, "Published ±")
    assert note(table, "Not run").startswith(
        "Not run: Fine-tuning baseline, MAML, first order, MAML on the images of mini-imagenet"
    )
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


def test_one_seed_has_no_interval(tmp_path):
    table = tables(tmp_path, *seeds("omniglot-5w1s/maml", (0.95,), spread=0.05))["maml-table-1"]
    assert under(table, "MAML")["ours"][0] == "95.00 …"
    assert "A verdict takes at least 4 seeds" in note(table, "Published ±")


def test_two_rates_stand_below_one_number(tmp_path):
    made = [
        *seeds("sinusoid/maml-0.001", ({1: 0.76, 5: 0.45, 10: 0.41},) * 4),
        *seeds("sinusoid/maml", ({1: 0.66, 5: 0.37, 10: 0.34},) * 4),
    ]
    table = tables(tmp_path, *made)["maml-table-2"]
    found = under(table, "MAML")
    assert list(found) == ["ours (maml)", "ours (maml-0.001)"]
    assert [cell.split(",")[0] for cell in found["ours (maml)"]] == ["0.660", "0.370", "0.340"]
    assert [c.split(",")[0] for c in found["ours (maml-0.001)"]] == ["0.760", "0.450", "0.410"]
    assert note(table, "Protocols").endswith(
        ": sinusoid/maml, sinusoid/maml-0.001 (1 item assumed)."
    )


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
    assert found["ours"][0].startswith("95.00")
    assert found[short_line] == ["80.00 ‡", "–", "60.00 ‡", "–"]
    assert under(table, "Reptile + transduction")[short_line][0] == "90.00 ‡"
    assert "‡ shortened (fewer outer steps, not judged)" in note(table, "Verdicts")
    told = note(table, "Protocols")
    assert told.endswith("Shortened: 5,000 of 100,000 outer steps, 5,000 of 200,000 outer steps.")


def test_what_is_not_comparable_has_no_interval(tmp_path):
    of = altered("omniglot-5w1s/maml", model={"head_init": "same"})
    table = tables(tmp_path, *seeds(of, (0.98,) * 4))["maml-table-1"]
    assert under(table, "MAML")["ours"][0] == "98.00 ×"
    assert "× not comparable (another protocol, not judged)" in note(table, "Verdicts")
    (line,) = [x for x in lines(table) if x["verdict"] == "not comparable"]
    assert line["reason"] == "model.head_init same, not normal"


@pytest.mark.parametrize(("count", "median"), [(1, "0.340"), (2, "–")])
def test_diverged_episodes_are_counted_and_the_median_stands_below(tmp_path, count, median):
    means = {1: 0.66, 5: 0.37, 10: 0.34}
    made = seeds("sinusoid/maml", (means | {10: np.inf},) * count + (means,) * (4 - count))
    table = tables(tmp_path, *made)["maml-table-2"]
    found = under(table, "MAML")
    assert list(found) == ["ours", "median"]
    assert found["ours"][0].startswith("0.660, ×0.99")
    assert found["ours"][2] == f"{600 * count:,} diverged ⊘"
    assert found["median"] == ["0.660", "0.370", median]
    told = note(table, "The paper gives no ±")
    assert "how many did, and the median" in told


def test_a_mean_that_one_task_carries_has_its_median_below(tmp_path):
    of = cells()["sinusoid/maml"]
    values = scores(of, {1: 0.66, 5: 0.37, 10: 0.34})
    values["5-shot"][0, 10] = 1e5
    made = [
        *seeds(of, ({1: 0.66, 5: 0.37, 10: 0.34},) * 3),
        record(of.model_copy(update={"seed": 3}), values),
    ]
    table = tables(tmp_path, *made)["maml-table-2"]
    found = under(table, "MAML")
    assert found["ours"][2].startswith("42.0, ×")
    assert found["ours"][2].endswith(" ⊘")
    assert found["median"] == ["0.660", "0.370", "0.340"]
    assert "Where a few tasks carry the mean" in note(table, "The paper gives no ±")


def test_a_diverged_training_is_marked_beside_the_mean_of_the_others(tmp_path):
    table = tables(tmp_path, *seeds("omniglot-5w1s/maml", (*CONSISTENT, None)))["maml-table-1"]
    assert under(table, "MAML")["ours"][0] == "98.70 †"
    (line,) = [x for x in lines(table) if x["verdict"] == "diverged"]
    assert (line["reason"], line["diverged_seeds"]) == ("1 of 6 seeds diverged", "1")
    nothing = tables(tmp_path / "all", *seeds("omniglot-5w1s/maml", (None, None)))["maml-table-1"]
    assert under(nothing, "MAML")["ours"][0] == "diverged †"


def test_the_interval_over_classes_stands_below(tmp_path):
    of = cells()["omniglot-5w1s/maml"]
    test = of.protocol.evaluations[-1]
    hits = np.zeros((2, len(test.scored_steps)), dtype=np.int32)
    hits[:, test.column(3)] = (8, 9)  # of 10 queries each
    arrays = {"classes": np.arange(2), "episodes": np.full(2, 10), "hits": hits}
    extra = {f"by-class/{test.name}/{name}": values for name, values in arrays.items()}
    made = seeds(of, CONSISTENT, spread=0.01, extra=extra)
    table = tables(tmp_path, *made)["maml-table-1"]
    found = under(table, "MAML")
    assert list(found) == ["ours", "± data"]
    width = 1.96 * 10 * np.std((0.8, 0.9), ddof=1) * 10 / 2**0.5
    assert found["± data"] == [f"{width:.2f}", "", "", ""]
    assert f"{width:.2f}" == "9.80"
    assert "± data: 1.96 standard errors over the classes" in note(table, "Published ±")


def test_several_tests_of_one_variant_have_lines_of_their_own(tmp_path):
    of = cells("traps")["omniglot-5w1s-test/maml"]
    means = {test.name: 0.9 for test in of.protocol.evaluations}
    means |= {"support": 0.8}
    table = tables(tmp_path, *seeds(of, (means, means)))["maml-table-1"]
    found = under(table, "MAML")
    assert len(found) == len(of.protocol.evaluations)
    label = next(label for label in found if "support" in label)
    assert "omniglot-5w1s-test" in label
    assert found[label][0].startswith("80.00")


def test_devices_have_lines_of_their_own(tmp_path):
    of = cells()["omniglot-5w1s/maml"]
    made = [*seeds(of, (0.98,)), *seeds(on(of, "cuda"), (0.97,))]
    found = under(tables(tmp_path, *made)["maml-table-1"], "MAML")
    assert {label: cells[0].split()[0].strip(",") for label, cells in found.items()} == {
        "ours (cpu)": "98.00",
        "ours (cuda)": "97.00",
    }


def test_the_protocols_are_named_and_their_assumptions_counted(tmp_path):
    made = [*seeds("omniglot-5w1s/maml", (0.98,)), *seeds("omniglot-5w1s/fomaml", (0.98,))]
    table = tables(tmp_path, *made)["reptile-table-2"]
    known = protocols.load()
    counts = [len(known[f"omniglot-5w1s/{name}"].assumed) for name in ("maml", "fomaml")]
    assert note(table, "Protocols") == (
        "Protocols, each in full by `protocols show`: omniglot-5w1s/maml "
        f"({counts[0]} items assumed), omniglot-5w1s/fomaml ({counts[1]} items assumed)."
    )


def test_the_notes_are_five_lines_at_most(tmp_path):
    """Everything that can be told is told here: all signs, missing data, shortened trainings."""
    of = altered("omniglot-5w5s/maml", model={"head_init": "same"})
    made = [
        *seeds("omniglot-5w1s/maml", (*CONSISTENT, None), spread=0.01),
        *seeds("omniglot-20w1s/maml", (0.95, 0.951, 0.949, 0.95), spread=0.01),
        *seeds(short("omniglot-5w1s/maml"), (0.9,)),
        *seeds(of, (0.98,) * 4),
    ]
    table = tables(tmp_path, *made)["maml-table-1"]
    assert [text.split()[0] for text in table.notes] == [
        *("Published", "Verdicts:", "Protocols,", "Not", "Suite"),
    ]


def test_provenance_is_that_of_the_results_shown(tmp_path):
    made = [
        *seeds("sinusoid/maml", (0.4, 0.4), where={"processor": "Slide rule"}),
        *seeds("omniglot-5w1s/maml", (0.98,), where={"processor": "Abacus", "commit": "f" * 40}),
    ]
    found = tables(tmp_path, *made)
    one, two = (note(found[f"maml-table-{number}"], "Suite 0.1.0") for number in (1, 2))
    assert "Hardware: Slide rule" in two
    assert "Abacus" not in two
    assert "Hardware: Abacus" in one
    assert "commit ffffffffff" in one
    assert "Seeds 0; 600, 10000 test episodes" in one
    assert "Seeds 0, 1; 600, 10000 test episodes" in two


def test_csv_has_a_line_for_each_result_and_each_number_without_one(tmp_path):
    made = [
        *seeds("omniglot-5w1s/maml", CONSISTENT, spread=0.01),
        *seeds(short("omniglot-5w1s/maml"), (0.9,)),
    ]
    found = lines(tables(tmp_path, *made)["maml-table-1"])
    ours = [x for x in found if x["number"] == "maml.table1.omniglot-5w1s.maml"]
    assert [(x["line"], x["verdict"], x["seeds"]) for x in ours] == [
        ("ours", "consistent", "5"),
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
    made = [*seeds(of, CONSISTENT, spread=0.01), *seeds(short("omniglot-5w1s/maml"), (0.9,))]
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
    assert own.startswith(
        r"\quad{} ours (my\_own) & 98.70, +0.00 {[}$-$0.56, +0.56{]} $\sim$* & --"
    )
    assert body[body.index(own) - 1].startswith("MAML &"), "no space between a method and ours"
    assert any(r"98.7 $\pm$ 0.4" in line for line in body)
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
