"""Where workers on other machines say how far they are, and learn that they are to stop.

Nothing heavy is imported here: the desk is a small process beside the one that asks it.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

#: Seconds after which who listens is answered, news or not.
LONGEST = 10.0


class Update(NamedTuple):
    """What a worker says of its cell now and then, first when it begins."""

    label: str
    step: tuple[int, int, str] | None
    """Outer steps done, outer steps in all, and phase, where they are new."""
    notes: tuple[str, ...]


class Desk:
    """An actor of Ray, which runs its methods one at a time in one thread."""

    def __init__(self) -> None:
        self._news: list[Update] = []
        self._some = asyncio.Event()
        self._stopping = False

    async def open(self) -> None:
        """Answer, as soon as there is a desk."""

    async def say(self, news: Update) -> bool:
        """Leave news, and return whether to stop."""
        self._news.append(news)
        self._some.set()
        return self._stopping

    async def hear(self) -> list[Update]:
        """Return the news since the last call, as soon as there are any."""
        try:
            await asyncio.wait_for(self._some.wait(), LONGEST)
        except TimeoutError:
            return []
        self._some.clear()
        news, self._news = self._news, []
        return news

    async def stop(self) -> None:
        """Tell everyone to stop who says something."""
        self._stopping = True
