"""One word, one meaning: no two modules define a class, alias or public function of one name."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


#: Names of functions that several modules may define, each with the reason.
SHARED = {
    "choose": "random choice (streams), choice of an engine and of a setting; all are short verbs",
    "load": "a module's data from files: `setup.load`, `presets.load`, `numbers.load`",
    "printed": "a style of figures, and a number as a paper prints it",
    "scores": "the scores of a cell, and their table",
    "signed": "a number with its sign, in text and in a table",
    "summarise": "scores of one cell in its record, and of all seeds in a table",
}
#: Modules whose functions are the commands of the command line, called as the user types them.
COMMANDS = {"suite/cli", "suite/__main__.py"}


def functions_of(text):
    """Return the public functions that a module defines at its top level."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    functions = [node.name for node in ast.parse(text).body if isinstance(node, kinds)]
    return [name for name in functions if not name.startswith("_")]


def repeated(names_in):
    """Return the files of each name that several modules of the package define."""
    homes = defaultdict(list)
    for path in sorted((ROOT / "suite").rglob("*.py")):
        for name in names_in(path.read_text(encoding="utf-8")):
            homes[name].append(path.relative_to(ROOT).as_posix())
    assert len(homes) > 100
    return {name: files for name, files in homes.items() if len(files) > 1}


def names_of(text):
    """Return the classes and aliases that a module defines at its top level."""
    names = []
    for node in ast.parse(text).body:
        if isinstance(node, ast.ClassDef):
            names.append(node.name)
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        for target in targets:
            if isinstance(target, ast.Name) and not target.id.isupper():
                names += [target.id] if target.id.lstrip("_")[:1].isupper() else []
    return [name for name in names if len(name) > 1]  # one letter is a type variable


def test_a_class_or_alias_has_one_meaning():
    assert repeated(names_of) == {}


def test_a_function_has_one_meaning():
    homes = {
        name: [file for file in files if not file.startswith(tuple(COMMANDS))]
        for name, files in repeated(functions_of).items()
    }
    assert {n: files for n, files in homes.items() if len(files) > 1 and n not in SHARED} == {}


def test_names_are_found():
    text = "class One: pass\n_Two = tuple[int, ...]\nThree: type = One\nlimit = 3\nLIMIT = 4\n"
    assert names_of(text) == ["One", "_Two", "Three"]


def test_functions_are_found():
    text = "def one(): pass\ndef _two(): pass\nasync def three():\n    def four(): pass\n"
    assert functions_of(text) == ["one", "three"]
