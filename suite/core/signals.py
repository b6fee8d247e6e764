"""Ctrl-C and SIGTERM: a request to stop, which takes effect when no work would be lost.

While weights are trained, the first request waits for the end of the outer step, so that a
checkpoint can be written. At other times, and when it comes a second time, it takes effect at once.
A process that computes for another one ignores both signals: its parent handles them and tells it.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(BaseException):
    """The user, or the system, wants this process to end.

    It holds the signal's number, and a text that tells the user what happens to the work.
    """

    def __init__(
        self,
        number: int,
        work: str = "finished cells are kept, and the same command continues the run",
    ) -> None:
        super().__init__(signal.Signals(number).name)
        self.number, self.work = number, work


_requested: int | None = None
_defers = False
_twice = False


@contextmanager
def listening() -> Iterator[None]:
    """Turn the signals into `Stopped` while the block runs; one that is ignored stays ignored."""
    global _requested, _twice
    _requested, _twice = None, False
    before = {}
    if threading.current_thread() is threading.main_thread():  # others may not set handlers
        handled = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
        before = {number: signal.signal(number, _handle) for number in handled}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        _requested, _twice = None, False  # a request ends with the work that it stopped


@contextmanager
def deferring() -> Iterator[None]:
    """Defer a first signal until `raise_if_requested` is called, while the block runs.

    Such blocks may be nested: signals are deferred until the outermost one ends.
    """
    global _defers
    outer, _defers = _defers, True
    try:
        yield
    finally:
        _defers = outer
    raise_if_requested()


def request_stop(number: int) -> bool:
    """Defer a signal that the parent received; return False if no `deferring` block runs."""
    global _requested
    _requested = number
    return _defers


def stop_requested() -> bool:
    """Return whether a signal has come and is deferred."""
    return _requested is not None


def raise_if_requested() -> None:
    """Raise `Stopped` if a signal has come in the meantime."""
    if _requested is not None:
        raise Stopped(_requested)


def raise_if_requested_twice() -> None:
    """Raise `Stopped` if a second signal has come, because other code may have suppressed it."""
    if _twice and _requested is not None:
        raise Stopped(_requested)


@contextmanager
def blocked() -> Iterator[None]:
    """Block signals while the block runs, if the system can; new processes inherit that."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ignore() -> None:
    """Ignore signals, which the parent handles; it started this process with them `blocked`."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def _handle(number: int, _: FrameType | None) -> None:
    global _requested, _twice
    first, _requested = (
        _requested is None,
        number,
    )  # kept, because the running code may suppress the exception
    if _defers and first:
        os.write(2, b"\nstopping after this outer step; once more to stop at once\n")
        return
    _twice = not first
    raise Stopped(number)
