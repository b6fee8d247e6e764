"""How numbers and text are written."""

from __future__ import annotations

import csv
import io

import pytest

from suite.report import format as written
from suite.report.columns import Column, Label, make_table
from suite.report.render import Bold, Table, comma_separated, latex, latex_escape, markdown
from tests.report.typeset import compiles, needs_pdflatex


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1.0, "1.00"),
        (0.12345, "0.123"),
        (9.996, "10.0"),
        (0.0009996, "0.00100"),
        (123456.0, "123000"),
        (1234567.0, "1.23e+06"),
        (0.0000001, "1.00e-07"),
        (-2.345, "-2.35"),
    ],
)
def test_three_significant_digits(value, text):
    assert written.significant(value) == text


def test_half_width_has_the_decimals_of_its_mean():
    assert written.half_width(0.01234, 0.97, "accuracy") == "1.23"
    assert written.half_width(0.01234, 2.5, "mse") == "0.01"
    assert written.half_width(0.001234, 2.5, "mse") == "0.001"
    assert written.half_width(0.0, 2.5, "mse") == "0.00"
    assert written.half_width(None, 2.5, "mse") == "–"
    assert written.half_width(1.26e7, 2.5e7, "mse") == "1.3e+07"


def test_small_words():
    assert written.signed(0.0123, "accuracy") == "+1.23"
    assert written.signed(-0.5, "mse") == "−0.500"
    assert written.p_value(0.0004) == "< 0.001"
    assert written.p_value(0.0406) == "0.041"
    assert written.listed([3, 1, 2, 0]) == "0 to 3"
    assert written.listed([7, 1]) == "1, 7"
    assert written.listed(["b", "a", "b"]) == "a, b"
    assert written.listed(["26ee", "b393", "0cfd"]) == "0cfd, 26ee, b393", "three commits"


def test_exact_values():
    assert written.exact(1 / 3) == "0.3333333333"
    assert written.exact(True) == "true"
    assert written.exact(None) == ""
    assert written.exact(float("nan")) == ""
    assert written.exact(12) == "12"


def test_latex_escapes_what_it_would_read_as_commands():
    assert latex_escape("a_b & 50 % of #1 ${x}^~\\") == (
        r"a\_b \& 50 \% of \#1 \$\{x\}\textasciicircum{}\textasciitilde{}\textbackslash{}"
    )
    assert latex_escape("± 2 × 3 ≥ −1 < 4") == r"$\pm$ 2 $\times$ 3 $\geq$ $-$1 $<$ 4"
    assert latex_escape("é字☃") == "é??"


TABLE = Table(
    name="odd_names",
    title="50 % of R&D_1",
    columns=("Experiment", "Inner step", "± seeds"),
    rows=(
        ("a_1|b", Bold("1.0"), "[x]"),
        ("a_1|b", "2.0†", "< 3"),
        ("c", "3.0", "4.0"),
    ),
    notes=("100 % _sure_ & so on.",),
    data=({"name": 'quo"te, comma', "value": 0.5}, {"name": "line\nbreak", "value": None}),
)


def test_latex_structure():
    text = latex(TABLE)
    body = text.splitlines()
    assert r"\caption{50 \% of R\&D\_1}" in body
    assert r"\label{tab:odd_names}" in body
    assert r"\begin{tabular}{lrr}" in body
    assert (
        r"Experiment & \shortstack[r]{Inner\\step} & \shortstack[r]{$\pm$\\seeds} \tabularnewline"
        in body
    )
    assert r"a\_1|b & \textbf{1.0} & {[}x{]} \tabularnewline" in body
    assert r"100 \% \_sure\_ \& so on.\par" in body
    rules = [body.index(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")]
    assert rules == sorted(rules)
    assert body.count(r"\addlinespace") == 1
    for start in ("table", "minipage", "tabular"):
        assert text.count(rf"\begin{{{start}}}") == text.count(rf"\end{{{start}}}") == 1


@needs_pdflatex
@pytest.mark.parametrize("packages", ["booktabs", "booktabs,graphicx"])
@pytest.mark.parametrize("wide", [False, True])
def test_latex_compiles_in_a_plain_article(tmp_path, packages, wide):
    table = Table(**{**vars(TABLE), "wide": wide})
    compiles(tmp_path, latex(table), packages)


def test_markdown_escapes_and_sets_bold():
    text = markdown(TABLE)
    first = next(line for line in text.splitlines() if "1.0" in line)
    assert [cell.strip() for cell in first.replace("\\|", "/").strip("|").split("|")] == [
        "a\\_1/b",
        "**1.0**",
        "\\[x\\]",
    ]
    assert text.startswith("**50 % of R&D\\_1**\n\n| Experiment")
    assert text.endswith("\n\n- 100 % \\_sure\\_ & so on.\n")


def test_csv_round_trip():
    found = list(csv.DictReader(io.StringIO(comma_separated(TABLE))))
    assert found == [
        {"name": 'quo"te, comma', "value": "0.5"},
        {"name": "line\nbreak", "value": ""},
    ]


def test_columns_make_a_table_and_its_csv_file():
    rows = [
        (
            Label("Name", "name", name),
            Label(None, "hidden", "h"),
            Column("Mean", "mean", mean),
            Column("Shown", None, mean, Bold("x")),
            Column("Count", "count", 2, "2 of 3"),
        )
        for name, mean in (("a", 0.12345), ("b", None))
    ]
    table = make_table("t", "T", rows, ("Note.",))
    assert table.columns == ("Name", "Mean", "Shown", "Count")
    assert table.rows == (("a", "0.123", "x", "2 of 3"), ("b", "–", "x", "2 of 3"))
    assert isinstance(table.rows[0][2], Bold)
    assert table.text_columns == 1
    assert comma_separated(table) == "name,hidden,mean,count\na,h,0.12345,2\nb,h,,2\n"
    assert make_table("t", "T", rows, (), data=[{"x": 1}]).data == ({"x": 1},)
    with pytest.raises(ValueError, match="'t' has a label behind a number"):
        make_table("t", "T", [rows[0][::-1]], ())
