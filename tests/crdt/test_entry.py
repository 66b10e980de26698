"""Entries, tombstones, deltas and changes: plain values."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from manifest.crdt import TOMBSTONE, Change, Delta, Entry, Stamp, VersionVector


def test_a_tombstone_is_the_value_of_a_deletion() -> None:
    """An entry is a tombstone by its value alone, and a value that is falsy is none."""
    assert Entry("k", Stamp(1, "a"), TOMBSTONE).is_tombstone
    assert not Entry("k", Stamp(1, "a"), None).is_tombstone
    assert not Entry("k", Stamp(1, "a"), "TOMBSTONE").is_tombstone


def test_there_is_one_tombstone() -> None:
    """Copies of it, pickled ones too, are the very same object, and it reads as what it is."""
    assert copy.deepcopy(TOMBSTONE) is TOMBSTONE
    assert pickle.loads(pickle.dumps(TOMBSTONE)) is TOMBSTONE
    assert repr(TOMBSTONE) == "TOMBSTONE"


def test_entries_cannot_be_changed() -> None:
    """Replicas share entries, so an entry is a value."""
    entry: Entry[str, int] = Entry("k", Stamp(1, "a"), 1)
    with pytest.raises(AttributeError):
        entry.value = 2  # type: ignore[misc]
    assert entry == Entry("k", Stamp(1, "a"), 1)


def test_a_delta_keeps_its_entries_as_a_tuple() -> None:
    """Whatever sequence of entries it is given, a delta does not change with it."""
    entries: Any = [Entry("k", Stamp(1, "a"), 1)]
    delta: Delta[str, int] = Delta(entries)
    entries.clear()
    assert delta.entries == (Entry("k", Stamp(1, "a"), 1),)


def test_a_delta_that_claims_nothing_is_the_default() -> None:
    """Without an interval a delta is a part; without entries too, there is nothing in it."""
    delta: Delta[str, int] = Delta()
    assert (delta.entries, delta.since, delta.until) == ((), VersionVector(), VersionVector())
    assert delta.horizon == 0


def test_a_delta_is_true_where_it_has_anything_to_say() -> None:
    """Entries or an extended history count; a horizon alone is no reason to send anything."""
    part: Delta[str, int] = Delta((Entry("k", Stamp(1, "a"), 1),))
    beat: Delta[str, int] = Delta(until=VersionVector({"a": 1}))
    assert part
    assert beat
    assert not Delta(horizon=9)


def test_a_change_tells_before_and_after() -> None:
    """Nothing at all is None, so that appearing, changing and going can be told apart."""
    after: Entry[str, int] = Entry("k", Stamp(1, "a"), 1)
    appeared: Change[str, int] = Change("k", None, after)
    assert appeared.before is None
    assert appeared.after == after
    assert appeared == Change("k", None, after)
