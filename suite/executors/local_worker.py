"""A worker: a process that computes cells on one slot for `suite.executors.local`, one at a time.

It writes checkpoints and nothing else; records are sent to the parent. When the pipe to the parent
closes, the worker ends at once, even during a write: a checkpoint is complete or missing.
"""

from __future__ import annotations

import os
import queue
import signal
import threading
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from suite.core import registry, signals
from suite.core.errors import UserError
from suite.executors.job import CellJob, attempt
from suite.executors.slots import Slot

#: Message of the parent that ends the worker, after a checkpoint if weights are being trained.
STOP = "stop"


def serve(
    connection: Connection, slot: Slot, profile: str, data: Path | None, plugins: Sequence[Path]
) -> None:
    """Compute the cells that come through the pipe, until it closes.

    Answers are tuples: ``("step", done, steps, phase)`` and ``("note", text)`` while a cell is
    computed, then the answer of `suite.executors.job.attempt`.
    """
    signals.ignore()
    if slot.cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, slot.cores)
    if slot.device.type == "cuda":
        torch.cuda.set_device(slot.device)  # for code that uses the current device
    pipe = _Pipe(connection)
    try:
        for plugin in plugins:
            registry.load_plugin(plugin)
    except UserError as error:
        pipe.send("refused", str(error))

    def report(done: int, steps: int, phase: str) -> None:
        pipe.send("step", done, steps, phase)

    def note(text: str) -> None:
        pipe.send("note", text)

    while True:
        pipe.send(*attempt(pipe.jobs.get(), profile, data, slot.device, report, note))


class _Pipe:
    """The pipe to the parent; a thread reads it while a cell is computed."""

    def __init__(self, connection: Connection) -> None:
        self.jobs: queue.SimpleQueue[CellJob] = queue.SimpleQueue()
        self._connection = connection
        self._sending = threading.Lock()
        threading.Thread(target=self._listen, daemon=True).start()

    def send(self, *answer: Any) -> None:
        try:
            with self._sending:
                self._connection.send(answer)
        except OSError:
            os._exit(1)

    def _listen(self) -> None:
        while True:
            try:
                message = self._connection.recv()
            except (EOFError, OSError):
                os._exit(1)  # the parent has ended; another run may hold its cells by now
            if message != STOP:
                self.jobs.put(message)
            elif not signals.request_stop(signal.SIGTERM):
                with self._sending:  # if an answer is being sent, wait for its end
                    os._exit(0)
