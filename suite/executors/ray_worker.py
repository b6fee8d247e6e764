"""Code that runs on the nodes of a cluster: one cell at a time in each Ray worker process.

A worker process is used for many cells. It loads plug-ins and data once, and it writes checkpoints
and nothing else; records are sent to the driver.
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
from suite.executors.job import CellJob, attempt
from suite.executors.ray_progress import Update
from suite.records.files import write_atomically
from suite.records.provenance import suite_sha256
from suite.tasks import cache

#: Seconds between two messages to the progress actor.
EVERY = 0.5
#: Seconds within which a file of the driver must be visible on this node.
LATE = 30.0


class Plugin(NamedTuple):
    """A plug-in file of the driver."""

    path: Path
    content: bytes


class Common(NamedTuple):
    """Values that all cells of a run have in common."""

    profile: str
    source: str
    """Hash of the suite's code; the code on the node must have the same."""
    plugins: tuple[Plugin, ...]


def compute_on_node(
    job: CellJob, common: Common, data: list[Any], progress: Any, mark: Path | None = None
) -> tuple[Any, ...]:
    """Compute a cell and return the answer of `suite.executors.job.attempt`.

    Args:
        job: the cell.
        common: values that all cells of the run have in common.
        data: list with a reference to the sampler if the task reads data, else empty. It is a list
            because Ray would fetch a bare reference before plug-ins are loaded.
        progress: handle of the progress actor.
        mark: file that the driver has put into the folder of checkpoints, if there is one.
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
    _fetch(job, data, ray.get)
    device = torch.device("cuda", 0) if job.cell.numerics.device == "cuda" else torch.device("cpu")
    with _RayProgress(job.cell.label, progress, ray.get).open() as sender:
        return attempt(job, common.profile, None, device, sender.report, sender.note)


@functools.cache
def _check(source: str) -> None:
    if source != suite_sha256():
        raise UserError(
            f"the node {platform.node()!r} has another version of the suite's code than the "
            "machine that asks it; install the same on all nodes."
        )


@functools.cache
def _see(mark: Path) -> None:
    """Check that this node sees a file of the driver; on a network this may take some seconds."""
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
    """Load a plug-in from its path, if the node has the same file there, or else from a copy."""
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


def _fetch(job: CellJob, data: list[Any], get: Any) -> None:
    """Fetch the data of a cell, only once in this process."""
    for reference in data:
        if reference.hex() not in _fetched:
            setup.give(job.cell, get(reference))
            _fetched.add(reference.hex())


class _RayProgress:
    """Sends progress while a cell is computed; it takes no time from the cell's own thread.

    Args:
        label: label of the cell.
        progress: handle of the progress actor.
        get: function ``ray.get``.
    """

    def __init__(self, label: str, progress: Any, get: Any) -> None:
        self._label, self._progress, self._get = label, progress, get
        self._step: tuple[int, int, str] | None = None
        self._notes: list[str] = []
        self._over = threading.Event()

    def report(self, done: int, steps: int, phase: str) -> None:
        """Store the cell's progress, to be sent with the next message."""
        self._step = done, steps, phase

    def note(self, text: str) -> None:
        """Store a note to the user, to be sent with the next message."""
        self._notes.append(text)

    @contextmanager
    def open(self) -> Iterator[_RayProgress]:
        """Send messages while the block runs."""
        thread = threading.Thread(target=self._send_repeatedly, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._over.set()
            thread.join()

    def _send_repeatedly(self) -> None:
        over = False
        while not over:
            if (
                self._send()
                and not self._over.is_set()
                and not signals.request_stop(signal.SIGTERM)
            ):
                os._exit(0)  # there is nothing to save
            over = self._over.wait(EVERY)
        self._send()

    def _send(self) -> bool:
        step, self._step = self._step, None
        notes, self._notes = self._notes, []
        return bool(
            self._get(self._progress.report.remote(Update(self._label, step, tuple(notes))))
        )
