"""What happened in a simulation, as one SHA-256: equal digests mean equal runs.

Every wire byte, every virtual time, what becomes of each stream, and every other event goes into
it, in the order in which it happened. So two runs from one seed are compared by 64 characters; and
where they differ, by their records, to name the first event that is not the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from itertools import zip_longest

import attrs

__all__ = ["Happening", "Trace", "first_difference"]


@attrs.frozen
class Happening:
    """One event of a run: when, what, and where it matters the bytes."""

    time: float
    """Virtual seconds."""
    what: str
    data: bytes = b""

    def __str__(self) -> str:
        shown = f" {len(self.data)} bytes {self.data[:40]!r}" if self.data else ""
        return f"{self.time:.6f} s: {self.what}{shown}"


class Trace:
    """Takes note of what happens, and digests it.

    >>> one, other = Trace(), Trace()
    >>> one.note(0.5, "a sends to b", b"hello"); other.note(0.5, "a sends to b", b"hellO")
    >>> one.digest == other.digest
    False
    >>> print(*first_difference(one.record, other.record), sep="; ")
    0.500000 s: a sends to b 5 bytes b'hello'; 0.500000 s: a sends to b 5 bytes b'hellO'
    """

    def __init__(self, *, keep: bool = True) -> None:
        self._hash = hashlib.sha256()
        self._keep = keep
        self.length = 0
        """How many events there were."""
        self.record: list[Happening] = []
        """All of them, unless `keep` is false, as it is for runs that are long."""

    def note(self, time: float, what: str, data: bytes = b"") -> None:
        """Add an event."""
        self.length += 1
        # The length of each field stands before it, so that no two records look alike.
        text = f"{time!r} {what}".encode()
        self._hash.update(b"%d %d " % (len(text), len(data)) + text + data)
        if self._keep:
            self.record.append(Happening(time, what, data))

    @property
    def digest(self) -> str:
        """The SHA-256 of everything so far, in hex."""
        return self._hash.hexdigest()


def first_difference(
    one: Iterable[Happening], other: Iterable[Happening]
) -> tuple[Happening | None, Happening | None] | None:
    """Return the first pair of events that differ, None for one that ended sooner; or None."""
    for pair in zip_longest(one, other):
        if pair[0] != pair[1]:
            return pair
    return None
