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


#: Begins the first cell of a row that belongs to the row above.
UNDER = "↳ "
#: Letters as they are raised; there is no raised q.
RAISED = dict(zip("abcdefghijklmnoprstuvwxyz", "ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻ", strict=True))


@dataclass(frozen=True)
class Block:
    """Headings of the rows from one row on, some of them over several columns."""

    row: int
    groups: tuple[tuple[str, int], ...]
    """Upper headings, each with how many columns it spans; '' heads nothing."""
    columns: tuple[str, ...]

    def flat(self) -> tuple[str, ...]:
        """Return one heading for each column, where none can span several."""
        upper = [text for text, span in self.groups for _ in range(span)]
        return tuple(f"{over} {own}".strip() for over, own in zip(upper, self.columns, strict=True))


@dataclass(frozen=True)
class Table:
    """What people read, and the same numbers for machines."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]
    data: tuple[Mapping[str, Any], ...]
    """For CSV: one mapping for each line, all with the same keys."""
    text_columns: int = 1
    """How many columns, from the left, hold text; the rest are aligned right."""
    wide: bool = False
    """Whether cells hold phrases that LaTeX must break."""
    blocks: tuple[Block, ...] = ()
    """By row, the first above row 0, where one line of ``columns`` does not head the table."""


def markdown(table: Table) -> str:
    """Return the table and its notes for GitHub."""
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
    "[": "{[}",  # else \\ before it would read it as its argument
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
    UNDER[0]: r"\quad{}",
    "–": "--",
    "—": "---",
    "µ": r"$\mu$",
    **{raised: rf"\textsuperscript{{{letter}}}" for letter, raised in RAISED.items()},
}


def latex_escape(text: str) -> str:
    """Return text that LaTeX prints as it stands; a sign that its fonts may lack becomes ``?``."""
    latin = 0x17F  # the last letter of Latin Extended-A, which the default fonts have
    return "".join(
        _LATEX.get(c, c if c.isascii() or (c.isalpha() and ord(c) <= latin) else "?") for c in text
    )


def latex(table: Table) -> str:
    """Return a float for a document with ``\\usepackage{booktabs}``.

    A table wider than the text is shrunk to it where the document loads graphicx.
    """
    if table.wide:
        # p columns without the array package: ragged right is set inside each cell.
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
    """Return shares of the text width, 1.3 in all: for the longest word and the longest cell."""
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
    # \raggedright takes \\ for itself; \tabularnewline is always the row's end.
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
