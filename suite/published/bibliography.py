"""The papers of the published numbers, and their BibTeX entries."""

from __future__ import annotations

from pydantic import Field

from suite.core.component import Strict


class Paper(Strict):
    """A paper whose numbers the suite knows."""

    key: str = Field(min_length=1)
    """Short name of the paper in the data file, in the ids of its numbers and in BibTeX."""
    title: str = Field(min_length=1)
    authors: tuple[str, ...] = Field(min_length=1)
    """Authors, each with the given name first."""
    venue: str | None = None
    """Conference; None for a paper that is only on arXiv."""
    year: int = Field(ge=1900)
    arxiv: str | None = Field(None, pattern=r"^\d{4}\.\d{4,5}$")
    url: str = Field(pattern="^https://")
    code: tuple[str, ...] = ()
    """Official code, as ``owner/repository@commit``; empty if none is known."""

    def bibtex(self) -> str:
        """Return the BibTeX entry, under the paper's key."""
        fields = {
            # A second pair of braces keeps the capitals of names such as MAML.
            "title": f"{{{self.title}}}",
            "author": " and ".join(self.authors),
            "booktitle": self.venue,
            "year": str(self.year),
            "eprint": self.arxiv,
            "archiveprefix": "arXiv" if self.arxiv else None,
            "url": self.url,
        }
        kind = "inproceedings" if self.venue else "misc"
        lines = [f"  {name} = {{{value}}},\n" for name, value in fields.items() if value]
        return f"@{kind}{{{self.key},\n{''.join(lines)}}}\n"
