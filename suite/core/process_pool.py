"""Processes that divide the episodes of one cell among themselves, one core each.

Python dispatches operations from one thread at a time, and few-shot portions are too small to keep
the library's own threads busy. Processes therefore speed up work on episodes, and threads do not.
The processes are forked from the one that has set the cell up, so they already hold its data,
models and random streams. Only the choice of episodes, the weights and the results are sent. A
part has the same result in every process, and results are returned in the order of the parts: the
number of processes changes no bit.
"""

from __future__ import annotations

import ctypes
import itertools
import mmap
import multiprocessing
import select
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch import Tensor

from suite.core import signals
from suite.core.errors import UserError

#: Errors that are raised when memory runs out.
MEMORY = (MemoryError, torch.OutOfMemoryError)
#: PR_SET_PDEATHSIG of Linux: the signal that a process gets when its parent ends.
_DEATH_SIGNAL = 1
#: Seconds for which a process that waits for another stays awake. Waking a process up takes 0.05 to
#: 0.1 ms, which would noticeably slow down an outer step of a small network.
AWAKE = 1e-3
#: Function of a part and the arguments of the call; both, and its result, must be picklable.
Job = Callable[..., Any]


def can_fork() -> bool:
    """Return whether this system can fork a process that computes."""
    return sys.platform == "linux"  # on other systems fork is missing or breaks libraries


def shared(*shape: int, dtype: torch.dtype) -> Tensor:
    """Return zeros in memory that this process and processes forked from it can read and write."""
    count = torch.Size(shape).numel()
    return torch.frombuffer(mmap.mmap(-1, count * dtype.itemsize), dtype=dtype).view(shape)


def runs(count: int, processes: int) -> list[slice]:
    """Cut ``count`` items into one run for each process; earlier runs are at least as long."""
    # Bounds are rounded up: items that cannot be divided evenly go to the first processes.
    bounds = [-(-count * i // processes) for i in range(processes + 1)]
    return [slice(a, b) for a, b in itertools.pairwise(bounds)]


class ForkPool:
    """This process and ``others`` forked from it, which do jobs together, one thread each.

    An error in one process ends all others, because the next call must not read half an answer.

    Args:
        jobs: function that returns the jobs by name. It is called once in every process; the
            variables that it closes over have the values that they had at the fork.
        others: number of processes in addition to this one; with 0 this one does all jobs.
    """

    def __init__(self, jobs: Callable[[], Mapping[str, Job]], others: int = 0) -> None:
        self._members: list[tuple[Any, Connection]] = []
        with self._or_end():
            for _ in range(others if can_fork() else 0):
                self._members.append(_forked(jobs))
            self._jobs = jobs()

    def __len__(self) -> int:
        return 1 + len(self._members)

    def map(self, job: str, parts: Sequence[Any], *arguments: Any) -> list[Any]:
        """Return the result of ``job`` for each part, in order; each process does a run of parts.

        Raises:
            RuntimeError: another process ended, or its job raised an error; its traceback is in
                the message.
        """
        portions = [parts[run] for run in runs(len(parts), len(self))]
        busy = [(c, s) for (_, c), s in zip(self._members, portions[1:], strict=True) if s]
        with self._or_end():
            for connection, portion in busy:
                _send(connection, (job, portion, arguments))
            results = [self._jobs[job](part, *arguments) for part in portions[0]]
            for connection, _ in busy:
                results += _received(connection)
        return results

    def broadcast(self, job: str) -> list[Any]:
        """Run ``job`` in all processes at the same time and return their results."""
        with self._or_end():
            for _, connection in self._members:
                _send(connection, (job, [None], ()))
            results = [self._jobs[job](None)]
            for _, connection in self._members:
                results += _received(connection)
        return results

    @contextmanager
    def _or_end(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the other processes."""
        for process, connection in self._members:
            connection.close()
            process.kill()  # they ignore SIGTERM, which this process handles
            process.join()
        self._members = []


def _send(connection: Connection, message: Any) -> None:
    try:
        connection.send(message)
    except OSError:
        raise RuntimeError("a process of the cell has ended") from None


def _forked(jobs: Callable[[], Mapping[str, Job]]) -> tuple[Any, Connection]:
    """Return a process that does jobs, and this end of the pipe to it."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, ours, jobs), daemon=True)
    with warnings.catch_warnings():
        # Python warns of threads that a fork does not copy. The forked process uses none of the
        # library's threads, and the display's thread holds no lock that it needs.
        warnings.simplefilter("ignore", DeprecationWarning)
        with signals.blocked():
            process.start()
    theirs.close()
    return process, ours


def _await(connection: Connection) -> None:
    """Wait for a message; poll for the first `AWAKE` seconds."""
    waiting = select.poll()
    waiting.register(connection, select.POLLIN)
    end = time.perf_counter() + AWAKE
    while not waiting.poll(0) and time.perf_counter() < end:
        pass


def _received(connection: Connection) -> list[Any]:
    _await(connection)
    try:
        how, content = connection.recv()
    except (EOFError, OSError):
        raise RuntimeError("a process of the cell ended before its work was done") from None
    if how == "refused":
        raise UserError(content)
    if how == "memory":
        raise MemoryError(content)
    if how == "failed":
        raise RuntimeError(f"a process of the cell failed: {content}")
    return content


def _serve(
    connection: Connection, parents: Connection, jobs: Callable[[], Mapping[str, Job]]
) -> None:
    """Do the jobs that come through the pipe until it closes, as it does when the parent ends."""
    parents.close()
    # A run of parts may take minutes: if the parent is killed, nobody needs the results.
    ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL)
    signals.ignore()
    torch.set_num_threads(1)  # the parent's threads were not forked: waiting for them would hang
    mine = jobs()
    while True:
        _await(connection)
        try:
            job, portion, arguments = connection.recv()
        except (EOFError, OSError):
            return
        answer: Any
        try:
            how, answer = "done", [mine[job](part, *arguments) for part in portion]
        except UserError as error:
            how, answer = "refused", str(error)
        except MEMORY as error:
            how, answer = "memory", str(error)
        except Exception:
            how, answer = "failed", traceback.format_exc()
        try:
            connection.send((how, answer))
        except OSError:
            return
