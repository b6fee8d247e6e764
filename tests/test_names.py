"""One word, one meaning: no two modules of the package define a class or alias of one name."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def names_of(text):
    """Return the classes and aliases that a module defines at its top level."""
    found = []
    for node in ast.parse(text).body:
        if isinstance(node, ast.ClassDef):
            found.append(node.name)
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        for target in targets:
            if isinstance(target, ast.Name) and not target.id.isupper():
                found += [target.id] if target.id.lstrip("_")[:1].isupper() else []
    return found


def test_a_name_has_one_meaning():
    homes = defaultdict(list)
    for path in sorted((ROOT / "suite").rglob("*.py")):
        for name in names_of(path.read_text(encoding="utf-8")):
            if len(name) > 1:  # a type variable
                homes[name].append(path.relative_to(ROOT).as_posix())
    assert len(homes) > 100
    assert {name: files for name, files in homes.items() if len(files) > 1} == {}


def test_names_are_found():
    text = "class One: pass\n_Two = tuple[int, ...]\nThree: type = One\nlimit = 3\nLIMIT = 4\n"
    assert names_of(text) == ["One", "_Two", "Three"]
