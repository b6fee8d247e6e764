"""Ctrl-C and SIGTERM: a request to stop, which takes effect where nothing is lost.

While weights are trained, the first request waits for the end of the outer step, so that a
checkpoint can be written. Elsewhere, and when it comes a second time, it takes effect at once. A
process that computes for another one ignores both signals: its parent handles them and tells it.
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

    Carries the signal's number, and what becomes of the work, for people.
    """

    def __init__(
        self, number: int, work: str = "what is done is kept, and the same command goes on"
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
    if threading.current_thread() is threading.main_thread():  # no other may set handlers
        heard = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
        before = {number: signal.signal(number, _hear) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


@contextmanager
def deferring() -> Iterator[None]:
    """Let a first signal wait for `raise_if_requested` while the block runs."""
    global _defers
    _defers = True
    try:
        yield
    finally:
        _defers = False
    raise_if_requested()


def request_stop(number: int) -> bool:
    """Let a signal that came to the parent wait for its answer; return whether `deferring` runs."""
    global _requested
    _requested = number
    return _defers


def stop_requested() -> bool:
    """Return whether a signal waits for its answer."""
    return _requested is not None


def raise_if_requested() -> None:
    """Raise `Stopped` if a signal has come in the meantime."""
    if _requested is not None:
        raise Stopped(_requested)


def raise_if_requested_twice() -> None:
    """Raise `Stopped` if a second signal has come, where whoever ran then may have swallowed it."""
    if _twice and _requested is not None:
        raise Stopped(_requested)


@contextmanager
def blocked() -> Iterator[None]:
    """Hold signals back while the block runs, where the system can; processes inherit that."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ignore() -> None:
    """Leave signals to the parent, which has started this process while they were `blocked`."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def _hear(number: int, _: FrameType | None) -> None:
    global _requested, _twice
    first, _requested = (
        _requested is None,
        number,
    )  # kept, should whoever runs now swallow what is raised
    if _defers and first:
        os.write(2, b"\nstopping after this outer step; once more to stop at once\n")
        return
    _twice = not first
    raise Stopped(number)
