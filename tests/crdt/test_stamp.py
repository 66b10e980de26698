"""Stamps: their order, and the two halves of a hybrid time."""

from __future__ import annotations

from itertools import pairwise

from manifest.crdt import COUNTER_BITS, Stamp, from_milliseconds, to_milliseconds


def test_the_time_decides_before_the_node() -> None:
    """A later time wins whatever the nodes are called; the node decides between equal times."""
    ordered = [Stamp(1, "z"), Stamp(2, "a"), Stamp(2, "b"), Stamp(3, "")]
    assert all(early < late for early, late in pairwise(ordered))


def test_equal_stamps_are_one_key() -> None:
    """Stamps with the same time and node are equal and hash alike."""
    assert len({Stamp(1, "a"), Stamp(1, "a"), Stamp(1, "b")}) == 2


def test_a_stamp_is_a_tuple() -> None:
    """A stamp unpacks into time and node, in this order, which is that of the wire."""
    time, node = Stamp(time=7, node="a")
    assert (time, node) == (7, "a")


def test_the_counter_stands_below_the_milliseconds() -> None:
    """A millisecond has room for 65,536 times, and the one after them is the next millisecond."""
    assert COUNTER_BITS == 16
    first = from_milliseconds(1_700_000_000_000)
    assert to_milliseconds(first) == 1_700_000_000_000
    assert to_milliseconds(first + 65_535) == 1_700_000_000_000
    assert first + 65_536 == from_milliseconds(1_700_000_000_001)
