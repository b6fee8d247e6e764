"""Ctrl-C and SIGTERM: a wish to stop, answered where nothing is lost.

While weights are trained the wish waits for the end of the outer step, so that a checkpoint can be
written; elsewhere, and when it comes a second time, it is answered at once. A process that computes
for another one ignores both: its parent answers them, and tells it.
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


_wish: int | None = None
_waits = False
_hurried = False


@contextmanager
def listening() -> Iterator[None]:
    """Turn the signals into `Stopped` while the block runs; one that is ignored stays ignored."""
    global _wish, _hurried
    _wish, _hurried = None, False
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
def waiting() -> Iterator[None]:
    """Let a first signal wait for `answer` while the block runs."""
    global _waits
    _waits = True
    try:
        yield
    finally:
        _waits = False
    answer()


def wish(number: int) -> bool:
    """Let a signal that came to the parent wait for its answer; return whether `waiting` runs."""
    global _wish
    _wish = number
    return _waits


def wished() -> bool:
    """Return whether a signal waits for its answer."""
    return _wish is not None


def answer() -> None:
    """Raise `Stopped` if a signal has come in the meantime."""
    if _wish is not None:
        raise Stopped(_wish)


def hurry() -> None:
    """Raise `Stopped` if a second signal has come, where whoever ran then may have swallowed it."""
    if _hurried and _wish is not None:
        raise Stopped(_wish)


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
    global _wish, _hurried
    first, _wish = _wish is None, number  # kept, should whoever runs now swallow what is raised
    if _waits and first:
        os.write(2, b"\nstopping after this outer step; once more to stop at once\n")
        return
    _hurried = not first
    raise Stopped(number)
