"""Progress of workers on other machines: they report it here and learn that they must stop.

No large library is imported here, because the actor is a small process beside the driver.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

#: Seconds after which a waiting driver gets an answer, even if there are no updates.
LONGEST = 10.0


class Update(NamedTuple):
    """Message of a worker about its cell, sent when the cell begins and repeatedly after that."""

    label: str
    step: tuple[int, int, str] | None
    """Outer steps done, outer steps in all, and phase; None if they have not changed."""
    notes: tuple[str, ...]


class ProgressActor:
    """Ray actor that passes on progress; its methods run one at a time in one thread."""

    def __init__(self) -> None:
        self._updates: list[Update] = []
        self._some = asyncio.Event()
        self._stopping = False

    async def open(self) -> None:
        """Answer as soon as the actor runs."""

    async def report(self, update: Update) -> bool:
        """Store an update, and return whether the worker must stop."""
        self._updates.append(update)
        self._some.set()
        return self._stopping

    async def poll(self) -> list[Update]:
        """Return the updates since the last call, as soon as there are any."""
        try:
            await asyncio.wait_for(self._some.wait(), LONGEST)
        except TimeoutError:
            return []
        self._some.clear()
        updates, self._updates = self._updates, []
        return updates

    async def stop(self) -> None:
        """Tell every worker to stop when it sends its next update."""
        self._stopping = True
