"""MkDocs hook: bring files of the repository that a page links to into the site.

On a page ``../results/figures/quick/forest.png`` is a path in the repository, so that links also
work there. In the site such a file lies below ``repository/``; all but images are shown as text.
"""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
_LINK = re.compile(r"\]\(\.\./([^)#\s]+)\)")
_IMAGES = (".png", ".svg")


def _place(path: str) -> str:
    path = path.lstrip(".")  # MkDocs leaves hidden files and folders out
    return f"repository/{path}" if path.endswith(_IMAGES) else f"repository/{path}.txt"


def on_files(files, config):
    """Add every file of the repository that a page links to."""
    pages = list(files.documentation_pages())
    paths = {path for page in pages for path in _LINK.findall(page.content_string)}
    for path in sorted(paths):
        if not (ROOT / path).is_file():
            raise FileNotFoundError(f"a page links to {path}, which is not a file")
        files.append(File.generated(config, _place(path), content=(ROOT / path).read_bytes()))
    return files


def on_page_markdown(markdown, page, config, files):
    """Point links to files of the repository at their place in the site."""
    return _LINK.sub(lambda match: f"]({_place(match[1])})", markdown)
