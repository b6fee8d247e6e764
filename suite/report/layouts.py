"""The layouts of the papers' tables that hold the numbers of a preset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class LayoutColumn(NamedTuple):
    """A column of published numbers."""

    group: str
    """Heading that the column has in common with its neighbours."""
    heading: str
    key: str
    """Text that replaces ``{}`` in the ids of the column's numbers."""


class LayoutPart(NamedTuple):
    """Rows of methods under columns of settings."""

    name: str
    columns: tuple[LayoutColumn, ...]
    methods: Mapping[str, str]
    """Ids of a method's numbers, by its name; ``{}`` is the place of the column's key."""


class PaperLayout(NamedTuple):
    """One table of a paper; its parts are printed one below the other."""

    name: str
    paper: str
    table: str
    metric: str
    """Metric in words, with its unit."""
    parts: tuple[LayoutPart, ...]


_OMNIGLOT = tuple(
    LayoutColumn(f"{ways}-way", f"{shots}-shot", f"omniglot-{ways}w{shots}s")
    for ways in (5, 20)
    for shots in (1, 5)
)
_MINIIMAGENET = tuple(
    LayoutColumn("5-way", f"{shots}-shot", f"miniimagenet-5w{shots}s") for shots in (1, 5)
)
_STEPS = tuple(
    LayoutColumn("after gradient steps", str(step), f"step{step}") for step in (1, 5, 10)
)

#: Tables of the papers, without the methods that have no preset (such as matching networks).
LAYOUTS = (
    PaperLayout(
        "maml-table-1",
        "maml",
        "Table 1",
        "accuracy in %",
        (
            LayoutPart(
                "Omniglot",
                _OMNIGLOT,
                {
                    "MAML, no convolution": "maml.table1.{}.maml-no-conv",
                    "MAML": "maml.table1.{}.maml",
                },
            ),
            LayoutPart(
                "mini-ImageNet",
                _MINIIMAGENET,
                {
                    "Fine-tuning baseline": "ravi2017.table1.{}.fine-tune",
                    "MAML, first order": "maml.table1.{}.fomaml",
                    "MAML": "maml.table1.{}.maml",
                },
            ),
        ),
    ),
    PaperLayout(
        "maml-table-2",
        "maml",
        "Table 2",
        "mean squared error",
        (
            LayoutPart(
                "Sinusoid, 5 points",
                _STEPS,
                {
                    "Multi-task, unregularised": (
                        "maml.table2.sinusoid-5.multi-task-unregularised.{}"
                    ),
                    "Multi-task, l2": "maml.table2.sinusoid-5.multi-task-l2.{}",
                    "Multi-task, to the mean": "maml.table2.sinusoid-5.multi-task-mean.{}",
                    "Pre-trained on all tasks": "maml.table2.sinusoid-5.pretrain.{}",
                    "MAML": "maml.table2.sinusoid-5.maml.{}",
                },
            ),
        ),
    ),
    PaperLayout(
        "reptile-table-1",
        "reptile",
        "Table 1",
        "accuracy in %",
        (
            LayoutPart(
                "mini-ImageNet",
                _MINIIMAGENET,
                {
                    "MAML + transduction": "maml.table1.{}.maml",
                    "FOMAML + transduction": "maml.table1.{}.fomaml",
                    "Reptile": "reptile.table1.{}.reptile",
                    "Reptile + transduction": "reptile.table1.{}.reptile-transduction",
                },
            ),
        ),
    ),
    PaperLayout(
        "reptile-table-2",
        "reptile",
        "Table 2",
        "accuracy in %",
        (
            LayoutPart(
                "Omniglot",
                _OMNIGLOT,
                {
                    "MAML + transduction": "maml.table1.{}.maml",
                    "FOMAML + transduction": "reptile.table2.{}.fomaml",
                    "Reptile": "reptile.table2.{}.reptile",
                    "Reptile + transduction": "reptile.table2.{}.reptile-transduction",
                },
            ),
        ),
    ),
)
