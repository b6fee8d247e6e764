"""A table, and its three renderings: Markdown, LaTeX (booktabs) and CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tabulate import tabulate

from suite.report.format import exact


class Bold(str):
    """A cell set in bold."""

    __slots__ = ()


#: First characters of a row that belongs to the row above.
UNDER = "↳ "


@dataclass(frozen=True)
class Block:
    """Headings of the rows from a given row on; some span several columns."""

    row: int
    groups: tuple[tuple[str, int], ...]
    """Upper headings, each with the number of columns that it spans; '' for none."""
    columns: tuple[str, ...]

    def flat(self) -> tuple[str, ...]:
        """Return one heading for each column, for formats in which none can span several."""
        upper = [text for text, span in self.groups for _ in range(span)]
        return tuple(f"{over} {own}".strip() for over, own in zip(upper, self.columns, strict=True))


@dataclass(frozen=True)
class Table:
    """A table for people to read, and the same numbers for machines."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]
    data: tuple[Mapping[str, Any], ...]
    """Lines of the CSV file: one mapping for each, all with the same keys."""
    text_columns: int = 1
    """Number of columns, from the left, that hold text; the others are aligned right."""
    wide: bool = False
    """Whether cells hold phrases that LaTeX must break."""
    blocks: tuple[Block, ...] = ()
    """Blocks by row, the first above row 0; empty if ``columns`` is the only heading."""


def markdown(table: Table) -> str:
    """Return the table and its notes as GitHub Markdown."""
    aligned = [
        "left" if table.wide or i < table.text_columns else "right"
        for i in range(len(table.columns))
    ]
    heads = {block.row: [Bold(text) for text in block.flat()] for block in table.blocks[1:]}
    rows = [row for i, own in enumerate(table.rows) for row in (heads.get(i), own) if row]
    body = tabulate(
        [[_markdown_cell(cell) for cell in row] for row in rows],
        [_markdown_cell(column) for column in table.columns],
        tablefmt="github",
        disable_numparse=True,
        colalign=aligned,
    )
    notes = "\n".join(f"- {_markdown_escape(note)}" for note in table.notes)
    return f"**{_markdown_escape(table.title)}**\n\n{body}\n\n{notes}\n"


def _markdown_cell(cell: str) -> str:
    text = _markdown_escape(cell)
    return f"**{text}**" if isinstance(cell, Bold) and text else text


def _markdown_escape(text: str) -> str:
    return re.sub(r"([\\|*_<\[\]`])", r"\\\1", text)


_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"$<$",
    ">": r"$>$",
    "[": "{[}",  # otherwise a preceding \\ would take it as its argument
    "]": "{]}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "−": r"$-$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "†": r"$^{\dagger}$",
    "‡": r"$^{\ddagger}$",
    "→": r"$\to$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "≠": r"$\neq$",
    "∼": r"$\sim$",
    "⊘": r"$\oslash$",
    "…": r"\ldots{}",
    "°": r"$^{\circ}$",
    UNDER[0]: r"\quad{}",
    "–": "--",
    "—": "---",
    "µ": r"$\mu$",
}


def latex_escape(text: str) -> str:
    """Return text that LaTeX prints unchanged; characters that its fonts may lack become ``?``."""
    latin = 0x17F  # the last letter of Latin Extended-A, which the default fonts have
    return "".join(
        _LATEX.get(c, c if c.isascii() or (c.isalpha() and ord(c) <= latin) else "?") for c in text
    )


def latex(table: Table) -> str:
    """Return a float for a document with ``\\usepackage{booktabs}``.

    A table wider than the text is reduced to its width if the document loads graphicx.
    """
    if table.wide:
        # These are p columns without the array package, so each cell sets ragged right itself.
        layout = "".join(f"p{{{width:.3f}\\textwidth}}" for width in _widths(table))
    else:
        layout = "l" * table.text_columns + "r" * (len(table.columns) - table.text_columns)
    lines = [
        r"\begin{table}[htbp]",
        r"\centering",
        rf"\caption{{{latex_escape(table.title)}}}",
        rf"\label{{tab:{table.name}}}",
        r"\scriptsize",
        r"\setlength{\tabcolsep}{3pt}",
        r"\setbox0=\hbox{%",
        rf"\begin{{tabular}}{{{layout}}}",
        r"\toprule",
    ]
    heads = {block.row: _block(block) for block in table.blocks}
    plain = [_latex_row([_heading(column, table) for column in table.columns], table.wide)]
    lines += [*heads.pop(0, plain), r"\midrule"]
    before: str | None = None
    for i, row in enumerate(table.rows):
        if i in heads:
            lines += [r"\midrule", *heads[i], r"\midrule"]
        elif before is not None and row[0] != before and not row[0].startswith(UNDER):
            lines.append(r"\addlinespace")
        before = row[0]
        lines.append(_latex_row([_latex_cell(cell) for cell in row], table.wide))
    lines += [
        r"\bottomrule",
        r"\end{tabular}}",
        r"\ifdim\wd0>\textwidth\ifdefined\resizebox\resizebox{\textwidth}{!}{\box0}"
        r"\else\box0\fi\else\box0\fi",
        r"\par\medskip",
        r"\begin{minipage}{\textwidth}\raggedright\scriptsize",
        *[rf"{latex_escape(note)}\par" for note in table.notes],
        r"\end{minipage}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _widths(table: Table) -> list[float]:
    """Return fractions of the text width (sum 1.3) from each column's longest word and cell."""
    needs = []
    for column in zip(table.columns, *table.rows, strict=True):
        word = max(len(word) for cell in column for word in re.split(r"[ -]", cell))
        needs.append(max(1.4 * word, 2.5 * max(map(len, column)) ** 0.5))
    return [1.3 * need / sum(needs) for need in needs]


def _heading(column: str, table: Table) -> str:
    text = latex_escape(column)
    if table.wide or " " not in column:
        return text
    side = "l" if table.columns.index(column) < table.text_columns else "r"
    stacked = text.replace(" ", r"\\")
    return rf"\shortstack[{side}]{{{stacked}}}"


def _block(block: Block) -> list[str]:
    """Return the two lines of a block's headings, with rules between them."""
    cells, rules, first = [], "", 1
    for text, span in block.groups:
        cells.append(rf"\multicolumn{{{span}}}{{c}}{{{latex_escape(text)}}}")
        rules += rf"\cmidrule(lr){{{first}-{first + span - 1}}}" if text else ""
        first += span
    own = _latex_row([latex_escape(column) for column in block.columns], wide=False)
    return [_latex_row(cells, wide=False), *([rules] if rules else []), own]


def _latex_cell(cell: str) -> str:
    text = latex_escape(cell)
    return rf"\textbf{{{text}}}" if isinstance(cell, Bold) and text else text


def _latex_row(cells: Sequence[str], wide: bool) -> str:
    written = [rf"\raggedright {text}\strut" if wide else text for text in cells]
    # \raggedright redefines \\, but \tabularnewline always ends the row.
    return " & ".join(written) + r" \tabularnewline"


def comma_separated(table: Table) -> str:
    """Return the table's data as CSV."""
    buffer = io.StringIO()
    if table.data:
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(table.data[0])
        for line in table.data:
            writer.writerow([exact(line[key]) for key in table.data[0]])
    return buffer.getvalue()
