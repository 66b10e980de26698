"""Journal order: entries in the order in which they were last changed *here*.

A link remembers one number, its cursor, and needs what changed since. The journal is an append-only
list of entries with their positions. An entry that was superseded or collected stays in the list
until it is compacted, and is recognised by identity: it is no longer the one that the map holds. So
a change costs O(1), a walk from a cursor costs O(log n + what changed), and the list never grows
beyond about twice the map.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

from .entry import Entry

__all__ = ["Journal"]

K = TypeVar("K")
V = TypeVar("V")

_SLACK = 64
"""Stale items that are tolerated in any case, so that small maps are not compacted all the time."""


class Journal(Generic[K, V]):
    """The current entries of a map, walkable from any position onwards."""

    __slots__ = ("_current", "_items", "_positions")

    def __init__(self, current: Mapping[K, Entry[K, V]]) -> None:
        self._current = current
        self._items: list[Entry[K, V]] = []
        self._positions = array("Q")

    def append(self, position: int, entry: Entry[K, V]) -> None:
        """Record that `entry` is now current. Positions must increase."""
        self._items.append(entry)
        self._positions.append(position)

    def after(self, position: int) -> Iterator[tuple[int, Entry[K, V]]]:
        """Yield the current entries behind `position`, oldest change first.

        The map must not be changed during the walk.
        """
        for index in range(bisect_right(self._positions, position), len(self._items)):
            entry = self._items[index]
            if self._current.get(entry.key) is entry:
                yield self._positions[index], entry

    def trim(self) -> None:
        """Forget stale items once they are the majority: O(1) per change, amortised."""
        if len(self._items) <= 2 * len(self._current) + _SLACK:
            return
        kept = list(self.after(0))
        self._items = [entry for _, entry in kept]
        self._positions = array("Q", [position for position, _ in kept])
