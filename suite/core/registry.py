"""Registries that map names to algorithms, tasks, models and engines.

A built-in module registers its classes with a decorator when it is imported. Third parties do the
same from their own package (an entry point of group ``fewshot_suite``) or from a file that the user
names (``--plugin FILE``). It is an error to register two classes under one name.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, TypeVar

from suite.core.errors import UserError, unknown

T = TypeVar("T")
ENTRY_POINTS = "fewshot_suite"


class Registry:
    """All registered classes of one kind, by name.

    ``package`` contains the built-in ones; ``base`` is their base class, as (module, name).
    """

    def __init__(self, kind: str, package: str, base: tuple[str, str]) -> None:
        self.kind = kind
        self._base = base
        self._package = package
        self._items: dict[str, Any] = {}
        self._loaded = False

    def register(self, name: str) -> Callable[[T], T]:
        """Return the decorator that registers a class under ``name``."""

        def decorate(item: T) -> T:
            old = self._items.get(name)
            if old is not None and (old.__module__, old.__qualname__) != (
                item.__module__,
                item.__qualname__,  # type: ignore[attr-defined]
            ):
                raise UserError(
                    f"two {self.kind}s are called {name!r}: {old.__module__}.{old.__qualname__} "
                    f"and {item.__module__}; rename one."
                )
            base = getattr(importlib.import_module(self._base[0]), self._base[1])
            if not (isinstance(item, type) and issubclass(item, base)):
                raise UserError(f"the {self.kind} {name!r} is not a subclass of {base.__name__}.")
            if missing := sorted(getattr(item, "__abstractmethods__", ())):
                raise UserError(f"the {self.kind} {name!r} does not define {missing[0]}.")
            item.name = name  # type: ignore[attr-defined]
            self._items[name] = item
            return item

        return decorate

    def get(self, name: str) -> Any:
        """Return the class of this ``name``; raise `UserError` with the nearest name if none."""
        self._load()
        if name not in self._items:
            raise unknown(self.kind, name, self._items)
        return self._items[name]

    def find(self, name: str) -> Any:
        """Return the class registered under ``name``, or the base class if there is none."""
        self._load()
        base = getattr(importlib.import_module(self._base[0]), self._base[1])
        return self._items.get(name, base)

    def names(self) -> list[str]:
        """Return all names, sorted."""
        self._load()
        return sorted(self._items)

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        package = importlib.import_module(self._package)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{self._package}.{module.name}")
        load_entry_points()


algorithms = Registry("algorithm", "suite.algorithms", ("suite.algorithms.base", "Algorithm"))
tasks = Registry("task", "suite.tasks", ("suite.tasks.base", "Task"))
models = Registry("model", "suite.models", ("torch.nn", "Module"))
engines = Registry("engine", "suite.engines", ("suite.engines.base", "Engine"))

algorithm = algorithms.register
task = tasks.register
model = models.register
engine = engines.register

_entry_points_loaded = False


def load_entry_points() -> None:
    """Import every installed plug-in, once; report the name of one that fails."""
    global _entry_points_loaded
    if _entry_points_loaded:
        return
    _entry_points_loaded = True
    for point in entry_points(group=ENTRY_POINTS):
        try:
            point.load()
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                f"the installed plug-in {point.name!r} ({point.value}) cannot be imported: "
                f"{type(error).__name__}: {error}; fix or uninstall it."
            ) from error


def load_plugin(path: Path) -> None:
    """Import a plug-in file that the user named; raise `UserError` if that fails."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"the plug-in file {str(path)!r} does not exist.")
    spec = importlib.util.spec_from_file_location(f"suite_plugin_{path.stem}", path.resolve())
    if spec is None or spec.loader is None:
        raise UserError(f"the plug-in {str(path)!r} is not a Python file (its name must end .py).")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # annotations written as text are looked up here
    try:
        spec.loader.exec_module(module)
    except UserError:
        raise
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        raise UserError(
            f"the plug-in {str(path)!r} cannot be imported: {type(error).__name__}: {error}."
        ) from error
