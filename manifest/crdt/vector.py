"""Version vectors: how far each writer's history is known.

A vector maps node ids to hybrid times. A node that it does not name stands at zero, so zero is
never stored and two vectors that say the same are equal. Vectors are values: a join makes a new
one.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from typing import NoReturn

from .stamp import Stamp

__all__ = ["VersionVector"]


class VersionVector(Mapping[str, int]):
    """An immutable mapping from node id to hybrid time, with the lattice's join and order.

    >>> old, new = VersionVector({"a": 3}), VersionVector({"a": 5, "b": 1})
    >>> old <= new, new <= old
    (True, False)
    >>> old.join(VersionVector({"b": 9}))
    VersionVector({'a': 3, 'b': 9})
    >>> new.covers(Stamp(5, "a")), new.covers(Stamp(2, "b")), new.covers(Stamp(1, "c"))
    (True, False, False)

    Times are integers of zero or more; zero is the same as being absent.

    >>> VersionVector({"a": 0}) == VersionVector()
    True
    >>> VersionVector({"a": -1})
    Traceback (most recent call last):
        ...
    ValueError: a version vector maps node ids (str) to times (int, 0 or more), got 'a': -1
    """

    __slots__ = ("_times",)

    def __init__(self, times: Mapping[str, int] | None = None) -> None:
        mine = dict(times or {})
        # One look at all of them, for a vector is made of each message that arrives.
        if {*map(type, mine)} <= {str} and {*map(type, mine.values())} <= {int}:
            least = min(mine.values(), default=1)
        else:
            least = -1
        if least < 0:
            _complain(mine)
        self._times = mine if least else {node: time for node, time in mine.items() if time}

    def __getitem__(self, node: str) -> int:
        return self._times[node]

    def __iter__(self) -> Iterator[str]:
        return iter(self._times)

    # What Mapping makes of the three above does the same, several times as slowly.

    def keys(self) -> KeysView[str]:
        """Return the nodes that it names."""
        return self._times.keys()

    def values(self) -> ValuesView[int]:
        """Return the times, in the order of the nodes."""
        return self._times.values()

    def items(self) -> ItemsView[str, int]:
        """Return the pairs of node and time."""
        return self._times.items()

    def __len__(self) -> int:
        return len(self._times)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, VersionVector):
            return self._times == other._times
        return NotImplemented

    def __hash__(self) -> int:
        return hash(frozenset(self._times.items()))

    def __repr__(self) -> str:
        return f"VersionVector({dict(sorted(self._times.items()))})" if self else "VersionVector()"

    def __le__(self, other: VersionVector) -> bool:
        if not isinstance(other, VersionVector):
            return NotImplemented
        theirs = other._times
        return all(time <= theirs.get(node, 0) for node, time in self._times.items())

    def covers(self, stamp: Stamp) -> bool:
        """Tell whether the write with this stamp lies within the vector."""
        return stamp.time <= self._times.get(stamp.node, 0)

    def join(self, other: Mapping[str, int]) -> VersionVector:
        """Return the least vector that is at least both: per node, the greater time."""
        joined = dict(self._times)
        for node, time in other.items():
            if time > joined.get(node, 0):
                joined[node] = time
        return VersionVector(joined)


def _complain(times: Mapping[str, int]) -> NoReturn:
    node, time = next(
        (node, time)
        for node, time in times.items()
        if type(node) is not str or type(time) is not int or time < 0
    )
    raise ValueError(
        f"a version vector maps node ids (str) to times (int, 0 or more), got {node!r}: {time!r}"
    )
