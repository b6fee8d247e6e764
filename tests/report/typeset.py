"""LaTeX of the suite, compiled as a user would."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

needs_pdflatex = pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")


def compiles(folder: Path, body: str, packages: str = "booktabs") -> None:
    """Typeset ``body`` as an article; fail where LaTeX does."""
    text = (
        f"\\documentclass{{article}}\\usepackage{{{packages}}}"
        f"\\begin{{document}}{body}\\end{{document}}"
    )
    (folder / "paper.tex").write_text(text, encoding="utf-8")
    subprocess.run(
        ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "paper.tex"],
        cwd=folder,
        check=True,
        capture_output=True,
        timeout=60,
    )
