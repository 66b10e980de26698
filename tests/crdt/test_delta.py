"""Deltas: what they carry, and that they cost what changed and not what there is."""

from __future__ import annotations

import pytest

from manifest.crdt import Delta, LWWMap, Stamp, VersionVector
from tests.crdt.states import is_permanent


class Key(str):
    """A key that counts how often any key is looked up in a map."""

    __slots__ = ()
    looked_up = 0

    def __hash__(self) -> int:
        Key.looked_up += 1
        return super().__hash__()


def a_map(size: int, *, node: str = "a") -> LWWMap[Key, int]:
    """Return a map with this many entries, the first of them written at time 1."""
    replica: LWWMap[Key, int] = LWWMap()
    for time in range(1, size + 1):
        replica.set(Key(f"{node}{time}"), time, Stamp(time, node))
    return replica


def looked_up(replica: LWWMap[Key, int], since: dict[str, int], *, after: int) -> tuple[int, int]:
    """Return how many entries a delta has, and how many were looked up to make it."""
    Key.looked_up = 0
    delta = replica.delta(VersionVector(since), after=after)
    return len(delta.entries), Key.looked_up


def test_a_delta_since_nothing_is_everything() -> None:
    """All entries, oldest change first, tombstones too, with the whole context and the horizon."""
    replica: LWWMap[str, int] = LWWMap(is_permanent)
    replica.set("k", 1, Stamp(8, "a"))
    replica.set("p", 2, Stamp(6, "b"))
    replica.delete("l", Stamp(9, "a"))
    replica.prune(5)
    delta = replica.delta()
    assert [entry.key for entry in delta.entries] == ["k", "p", "l"]
    assert delta.since == VersionVector()
    assert delta.until == VersionVector({"a": 9, "b": 6})
    assert delta.horizon == 5


def test_a_delta_is_the_interval_between_two_contexts() -> None:
    """It starts where the reader stands, in every node, and ends where the replica does."""
    replica = a_map(3)
    replica.advance("b", 7)
    replica.advance("c", 9)
    delta = replica.delta(VersionVector({"a": 2, "b": 7, "z": 4}))
    assert [entry.key for entry in delta.entries] == ["a3"]
    assert delta.since == VersionVector({"a": 2, "b": 7, "z": 4})
    assert delta.until == VersionVector({"a": 3, "b": 7, "c": 9}) == replica.context


def test_a_plain_mapping_will_do_as_a_context() -> None:
    """The reader's context may be any mapping of times."""
    assert a_map(3).delta({"a": 2}) == a_map(3).delta(VersionVector({"a": 2}))


def test_a_reader_ahead_gets_nothing() -> None:
    """A context that is ahead of the map's own lacks nothing."""
    assert not a_map(3).delta({"a": 9})


def test_an_entry_beyond_the_context_is_shipped_all_the_same() -> None:
    """What came in a part goes on, and goes on as a part: nothing is claimed with it."""
    replica: LWWMap[Key, int] = LWWMap()
    replica.join(Delta(a_map(3).delta().entries))
    delta = replica.delta()
    assert len(delta.entries) == 3
    assert delta.until == VersionVector()


def test_a_delta_for_an_equal_map_looks_at_no_entry() -> None:
    """Two replicas that agree find that out from their contexts, however much they hold."""
    replica = a_map(1000)
    assert looked_up(replica, {"a": 1000}, after=0) == (0, 0)


@pytest.mark.parametrize("changed", [0, 1, 7])
def test_a_delta_behind_a_cursor_costs_what_changed(changed: int) -> None:
    """A link that remembers a position pays for the changes behind it alone."""
    replica = a_map(1000)
    cursor = replica.position
    for time in range(1001, 1001 + changed):
        replica.set(Key("k"), time, Stamp(time, "a"))
    found, cost = looked_up(replica, {"a": 1000}, after=cursor)
    assert found == min(changed, 1)
    assert cost == changed


def test_a_cursor_holds_back_what_the_reader_covers() -> None:
    """What came from the reader itself changed here too, and is not sent back."""
    replica = a_map(2)
    cursor = replica.position
    replica.join(a_map(5, node="b"))
    replica.set(Key("mine"), 1, Stamp(6, "a"))
    delta = replica.delta({"a": 2, "b": 5}, after=cursor)
    assert [entry.key for entry in delta.entries] == ["mine"]
    assert delta.until == VersionVector({"a": 6})


def test_a_heartbeat_behind_a_cursor_is_a_delta_without_entries() -> None:
    """It costs one item, and tells how far from where."""
    replica = a_map(100)
    cursor = replica.position
    replica.advance("a", 200)
    delta = replica.delta({"a": 100}, after=cursor)
    assert delta == Delta(since=VersionVector({"a": 100}), until=VersionVector({"a": 200}))


def test_nothing_behind_the_cursor_is_nothing_to_send() -> None:
    """A reader of everything up to now gets an empty delta, and that is false."""
    replica = a_map(5)
    assert not replica.delta(after=replica.position)


def test_a_delta_does_not_change_with_the_map() -> None:
    """It is a value: what is written later is not in it."""
    replica = a_map(2)
    delta = replica.delta()
    replica.set(Key("late"), 1, Stamp(9, "a"))
    replica.prune(5)
    assert [entry.key for entry in delta.entries] == ["a1", "a2"]
    assert delta.until == VersionVector({"a": 2})
    assert delta.horizon == 0
