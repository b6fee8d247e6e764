"""Ctrl-C and SIGTERM: a wish to stop, answered where nothing is lost.

While weights are trained the wish waits for the end of the outer step, so that a checkpoint can be
written; elsewhere, and when it comes a second time, it is answered at once.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(BaseException):
    """The user, or the system, wants this process to end; carries the signal's number."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


_wish: int | None = None
_waits = False


@contextmanager
def listening() -> Iterator[None]:
    """Turn the signals into `Stopped` while the block runs, in the main thread."""
    global _wish
    _wish = None
    before = {number: signal.signal(number, _hear) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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


def wished() -> bool:
    """Return whether a signal waits for its answer."""
    return _wish is not None


def answer() -> None:
    """Raise `Stopped` if a signal has come in the meantime."""
    if _wish is not None:
        raise Stopped(_wish)


def _hear(number: int, _: FrameType | None) -> None:
    global _wish
    if _waits and _wish is None:
        _wish = number
        return
    raise Stopped(number)
