"""What runs on the nodes of a cluster: one cell at a time in each of Ray's worker processes.

A worker process is used for many cells. It loads plug-ins and data once, and it writes checkpoints
and nothing else; records travel to the driver.
"""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch

from suite.cell import setup
from suite.core import registry, signals
from suite.core.errors import UserError
from suite.executors.attempt import CellJob, attempt
from suite.executors.ray_progress import Update
from suite.records.files import write_atomically
from suite.records.provenance import suite_sha256
from suite.tasks import cache

#: Seconds between two messages to the desk.
EVERY = 0.5
#: Seconds in which a file of the driver's must be seen here.
LATE = 30.0


class Plugin(NamedTuple):
    """A plug-in file of the driver's."""

    path: Path
    content: bytes


class Common(NamedTuple):
    """What the cells of a run have in common."""

    profile: str
    source: str
    """Hash of the suite's code, which must be the node's, too."""
    plugins: tuple[Plugin, ...]


def compute(
    task: CellJob, common: Common, data: list[Any], desk: Any, mark: Path | None = None
) -> tuple[Any, ...]:
    """Compute a cell and return what to answer: see `suite.executors.attempt.attempt`.

    Args:
        task: the cell.
        common: to all cells of the run.
        data: a reference to the sampler, where the task reads data; else empty. In a list, for
            Ray would fetch it before plug-ins are loaded.
        desk: a handle of the `Desk`.
        mark: a file that the driver has put where checkpoints go, if there are any.
    """
    import ray

    try:
        if mark is not None:
            _see(mark)
        _check(common.source)
        for plugin in common.plugins:
            _load(plugin)
    except UserError as error:
        return "refused", str(error)
    _fetch(task, data, ray.get)
    device = torch.device("cuda", 0) if task.cell.numerics.device == "cuda" else torch.device("cpu")
    with _RayProgress(task.cell.label, desk, ray.get).open() as line:
        return attempt(task, common.profile, None, device, line.report, line.note)


@functools.cache
def _check(source: str) -> None:
    if source != suite_sha256():
        raise UserError(
            f"the node {platform.node()!r} has another version of the suite's code than the "
            "machine that asks it; install the same on all nodes."
        )


@functools.cache
def _see(mark: Path) -> None:
    """Check that this node sees a file of the driver's, which a network may bring a little late."""
    until = time.monotonic() + LATE
    while not mark.exists():
        if time.monotonic() > until:
            raise UserError(
                f"the node {platform.node()!r} does not see the driver's files in "
                f"{str(mark.parent)!r}; with --checkpoints, name a folder that all nodes share, or "
                "leave it out."
            )
        time.sleep(0.1)


@functools.cache
def _load(plugin: Plugin) -> None:
    """Load a plug-in from its own path, where the node has the same file there, or from a copy."""
    path, content = plugin
    try:
        same = path.read_bytes() == content
    except OSError:
        same = False
    if not same:
        path = cache.folder() / "plugins" / hashlib.sha256(content).hexdigest()[:24] / path.name
        try:
            write_atomically(path, content)
        except UserError as error:
            raise UserError(
                f"the node {platform.node()!r} cannot write the plug-in {str(path)!r}; set "
                "FEWSHOT_SUITE_CACHE there to a folder that can be written."
            ) from error
    registry.load_plugin(path)


_fetched: set[str] = set()


def _fetch(task: CellJob, data: list[Any], get: Any) -> None:
    """Have the data of a cell at hand, once in this process."""
    for reference in data:
        if reference.hex() not in _fetched:
            setup.give(task.cell, get(reference))
            _fetched.add(reference.hex())


class _RayProgress:
    """The line to the desk while a cell is computed; it takes no time from the cell's own thread.

    Args:
        label: of the cell.
        desk: a handle of the `Desk`.
        get: Ray's function.
    """

    def __init__(self, label: str, desk: Any, get: Any) -> None:
        self._label, self._desk, self._get = label, desk, get
        self._step: tuple[int, int, str] | None = None
        self._notes: list[str] = []
        self._over = threading.Event()

    def report(self, done: int, steps: int, phase: str) -> None:
        """Have the desk told how far the cell is."""
        self._step = done, steps, phase

    def note(self, text: str) -> None:
        """Have the desk told what the user should know."""
        self._notes.append(text)

    @contextmanager
    def open(self) -> Iterator[_RayProgress]:
        """Talk to the desk while the block runs."""
        thread = threading.Thread(target=self._talk, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._over.set()
            thread.join()

    def _talk(self) -> None:
        over = False
        while not over:
            if self._say() and not self._over.is_set() and not signals.request_stop(signal.SIGTERM):
                os._exit(0)  # nothing of it could be kept
            over = self._over.wait(EVERY)
        self._say()

    def _say(self) -> bool:
        step, self._step = self._step, None
        notes, self._notes = self._notes, []
        return bool(self._get(self._desk.say.remote(Update(self._label, step, tuple(notes)))))
