"""Stamps: which of two writes is the later one, agreed on by every replica without asking.

A stamp is a pair `(time, node)` in the order of tuples: first the hybrid time, then the name of
the writer. No two writes bear the same stamp, because a node's own stamps strictly increase and
a node id is never used again. It is a plain named tuple because it is compared at every merge.

A hybrid time is one integer: milliseconds in the upper bits, a counter in the lower 16. It can
be compared, shipped and stored as a number, and read as a time.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["COUNTER_BITS", "Stamp", "from_milliseconds", "to_milliseconds"]

COUNTER_BITS = 16


class Stamp(NamedTuple):
    """When and by whom a write was made; stamps are totally ordered.

    >>> Stamp(7, "a") < Stamp(7, "b") < Stamp(8, "a")
    True
    """

    time: int
    """Hybrid time: milliseconds << 16 | counter."""
    node: str
    """Id of the writer."""


def from_milliseconds(milliseconds: int) -> int:
    """Return the first hybrid time of a millisecond.

    >>> from_milliseconds(2)
    131072
    """
    return milliseconds << COUNTER_BITS


def to_milliseconds(time: int) -> int:
    """Return the millisecond that a hybrid time lies in.

    >>> to_milliseconds(from_milliseconds(2) + 5)
    2
    """
    return time >> COUNTER_BITS
