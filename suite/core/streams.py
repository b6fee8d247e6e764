"""Named random streams: every draw of the suite is a number at a known place of a named stream.

A stream is the output of the counter-based generator Philox4x64 (Salmon et al. 2011, "Parallel
random numbers: as easy as 1, 2, 3"), keyed by the SHA-256 of its names. Counter-based means that
word ``i`` is a function of ``i``: the episodes of any step can be drawn again without the earlier
ones, and the words are the same integers on every machine and device.
"""

from __future__ import annotations

import hashlib
import json

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]
Integers = NDArray[np.int64]

_PER_BLOCK = 4  # 64-bit words per value of the Philox counter

#: Largest ratio of places to draws at which the whole shuffle is stored in memory.
DENSE = 4


class Stream:
    """The stream of 32-bit random words that belongs to ``names``.

    >>> Stream(0, "train").words(5, 3).tolist() == Stream(0, "train").words(0, 8)[5:].tolist()
    True
    """

    def __init__(self, *names: str | int) -> None:
        self.names = names
        digest = hashlib.sha256(json.dumps(names).encode()).digest()
        self._key = np.frombuffer(digest[:16], dtype="<u8")

    def __repr__(self) -> str:
        return f"Stream{self.names!r}"

    def child(self, *names: str | int) -> Stream:
        """Return the stream whose names are this stream's, followed by ``names``."""
        return Stream(*self.names, *names)

    def words(self, first: int, count: int) -> Words:
        """Return words ``first`` .. ``first + count - 1``, each in [0, 2**32), as uint64."""
        block, skip = divmod(first, _PER_BLOCK)
        counter = np.array([block, 0, 0, 0], dtype=np.uint64)
        raw = np.random.Philox(key=self._key, counter=counter).random_raw(skip + count)
        return raw[skip:] >> np.uint64(32)

    def rows(self, first: int, count: int, width: int, period: int | None = None) -> Words:
        """Return rows ``first`` .. of a table with ``width`` words per row, shape (count, width).

        With a ``period``, the rows repeat after that number of rows.
        """
        if period is None or first + count <= period:
            return self.words(first * width, count * width).reshape(count, width)
        first %= period
        if first + count <= period:
            return self.rows(first, count, width)
        table = self.rows(0, period, width) if count >= period else None
        if table is not None:
            return table[np.arange(first, first + count) % period]
        head = self.rows(first, period - first, width)
        return np.concatenate([head, self.rows(0, count - len(head), width)])

    def seed(self) -> int:
        """Return a 63-bit seed for a library generator (initialisations of ``nn.Module``s)."""
        high, low = self.words(0, 2).tolist()
        return (high << 31) ^ low


def below(words: Words, n: int | Integers) -> Integers:
    """Map 32-bit words to integers in [0, n); a value's probability is off by less than n/2**32."""
    return ((words * np.asarray(n, dtype=np.uint64)) >> np.uint64(32)).astype(np.int64)


def uniform(words: Words, low: float, high: float) -> NDArray[np.float64]:
    """Map 32-bit words to float64 in [low, high), with the same bits on every machine."""
    return low + (high - low) * (words.astype(np.float64) * 2.0**-32)


def choose(words: Words, n: int | Integers) -> Integers:
    """Draw without replacement: row r becomes ``k`` distinct integers in [0, n[r]).

    ``words`` has shape (rows, k), ``n`` is one number or (rows,). These are the first k places of
    a Fisher-Yates shuffle, so that a shorter draw is a prefix of a longer one.
    """
    rows, k = words.shape
    sizes = np.broadcast_to(np.asarray(n, dtype=np.int64), (rows,))
    if k > int(sizes.min()):
        raise ValueError(f"cannot draw {k} of {int(sizes.min())} without replacement")
    if int(sizes.max()) <= DENSE * k:
        return _shuffled(words, sizes)[:, :k]
    # The shuffle itself is not stored: only the places that were swapped are, so the cost does not
    # grow with n.
    taken, moved, drawn = (np.empty((k, rows), dtype=np.int64) for _ in range(3))
    for j in range(k):
        place = j + below(words[:, j], sizes - j)
        at_place, at_j = place.copy(), np.full(rows, j)
        for i in range(j):
            np.copyto(at_place, moved[i], where=taken[i] == place)
            np.copyto(at_j, moved[i], where=taken[i] == j)
        taken[j], moved[j], drawn[j] = place, at_j, at_place
    return drawn.T


def _shuffled(words: Words, sizes: Integers) -> Integers:
    """Return the draws of `choose` from a shuffle stored in memory, at a cost linear in k."""
    rows, k = words.shape
    each = np.arange(rows)
    order = np.tile(np.arange(int(sizes.max())), (rows, 1))
    for j in range(k):
        place = j + below(words[:, j], sizes - j)
        order[each, place], order[:, j] = order[:, j], order[each, place]
    return order
