"""The map as its own replica sees it: a mapping of live keys, local writes, and looking inside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from manifest.crdt import (
    TOMBSTONE,
    Change,
    ConflictingStamp,
    Delta,
    Entry,
    LWWMap,
    Moved,
    Stamp,
    VersionVector,
    never,
)
from tests.crdt.inspection import audit, fields
from tests.crdt.states import is_permanent

Map = LWWMap[str, int]


def a_map(*, horizon: int = 0) -> Map:
    """Return a map with a live key, a deleted one and a permanent one."""
    replica: Map = LWWMap(is_permanent)
    replica.set("k", 1, Stamp(21, "a"))
    replica.delete("gone", Stamp(22, "a"))
    replica.set("p", 3, Stamp(23, "b"))
    replica.prune(horizon)
    return replica


# The mapping of live keys


def test_a_map_is_a_mapping_of_its_live_keys() -> None:
    """A deleted key is in none of the ways in which a mapping can be read."""
    replica = a_map()
    assert isinstance(replica, Mapping)
    assert dict(replica) == {"k": 1, "p": 3}
    assert list(replica) == ["k", "p"]
    assert len(replica) == 2
    assert "k" in replica
    assert "gone" not in replica
    assert replica.get("gone") is None
    assert replica.tombstones == 1


@pytest.mark.parametrize("key", ["gone", "never written"])
def test_a_key_that_is_not_live_is_missing(key: str) -> None:
    """A deleted key raises the same KeyError as one that never was."""
    with pytest.raises(KeyError, match=key):
        a_map()[key]


def test_any_value_but_the_tombstone_is_live() -> None:
    """None, zero and emptiness are values like any other."""
    replica: LWWMap[str, Any] = LWWMap()
    for time, value in enumerate((None, 0, "", (), False), start=1):
        replica.set("k", value, Stamp(time, "a"))
        assert replica["k"] == value
        assert len(replica) == 1


def test_entries_show_tombstones_too() -> None:
    """`entry` gives the winning write of a key, with its stamp, or None."""
    replica = a_map()
    assert replica.entry("gone") == Entry("gone", Stamp(22, "a"), TOMBSTONE)
    assert replica.entry("k") == Entry("k", Stamp(21, "a"), 1)
    assert replica.entry("never written") is None


def test_maps_are_equal_in_entries_context_and_horizon() -> None:
    """The way to a state does not matter, and any of the three parts of it does."""
    one, other = a_map(), a_map()
    other.join(one)
    assert one == other
    other.advance("a", 24)
    assert one != other
    one.advance("a", 24)
    assert one == other
    one.prune(5)
    assert one != other
    other.prune(5)
    assert one == other
    part: Delta[str, int] = Delta((Entry("new", Stamp(30, "b"), 1),))
    one.join(part)
    assert one != other
    assert one != dict(one)


def test_a_map_has_no_hash() -> None:
    """It is mutable, so it cannot be a key or a member of a set."""
    with pytest.raises(TypeError, match="unhashable type: 'LWWMap'"):
        hash(a_map())


def test_the_repr_counts() -> None:
    """A map in a log line shows its size and not its content."""
    assert repr(a_map(horizon=3)) == "LWWMap(2 live, 1 tombstones, 2 writers, horizon=3)"


def test_no_key_is_permanent_by_default() -> None:
    """Without being told otherwise, a map collects everything."""
    replica: Map = LWWMap()
    replica.set("p", 1, Stamp(1, "a"))
    replica.prune(1)
    assert not never("p")
    assert replica.entry("p") is None


# Local writes


def test_a_write_returns_what_it_changed() -> None:
    """Set and delete tell the entry before and after, as a join does."""
    replica: Map = LWWMap()
    first: Entry[str, int] = Entry("k", Stamp(1, "a"), 1)
    second: Entry[str, int] = Entry("k", Stamp(2, "a"), TOMBSTONE)
    assert replica.set("k", 1, Stamp(1, "a")) == (Change("k", None, first),)
    assert replica.delete("k", Stamp(2, "a")) == (Change("k", first, second),)


def test_an_entry_can_be_written_as_it_is() -> None:
    """`write` takes an entry that was made already, live or not."""
    replica: Map = LWWMap()
    replica.write(Entry("k", Stamp(1, "a"), 1))
    assert replica["k"] == 1
    replica.write(Entry("k", Stamp(2, "a"), TOMBSTONE))
    assert replica.tombstones == 1


def test_an_unknown_key_can_be_deleted() -> None:
    """The tombstone of a key that was never seen beats the write that may still be under way."""
    replica: Map = LWWMap()
    replica.delete("k", Stamp(5, "a"))
    assert replica.join(Delta((Entry("k", Stamp(4, "b"), 1),))) == ()
    assert "k" not in replica
    assert replica.tombstones == 1


def test_a_deleted_key_can_be_set_again() -> None:
    """A later write beats the tombstone, and the count of tombstones follows."""
    replica = a_map()
    replica.set("gone", 7, Stamp(24, "a"))
    assert replica["gone"] == 7
    assert replica.tombstones == 0


def test_a_write_moves_its_node_in_the_context() -> None:
    """What a node has written, it has reflected."""
    replica = a_map()
    assert replica.context == VersionVector({"a": 22, "b": 23})
    assert replica.reflected("a") == 22
    assert replica.reflected("stranger") == 0


def test_a_write_under_a_later_one_changes_nothing_but_the_context() -> None:
    """A local write can lose where the clock has not observed: it is reflected by being beaten."""
    replica: Map = LWWMap()
    replica.join(Delta((Entry("k", Stamp(9, "b"), 1),)))
    assert replica.set("k", 2, Stamp(5, "a")) == ()
    assert replica["k"] == 1
    assert replica.context == VersionVector({"a": 5})
    audit(replica)


def test_a_write_that_loses_under_the_horizon_leaves_no_context() -> None:
    """A permanent key may be written under the horizon; beaten there, it leaves nothing to keep."""
    replica: Map = LWWMap(is_permanent)
    replica.set("p", 1, Stamp(9, "b"))
    replica.prune(9)
    assert replica.set("p", 2, Stamp(5, "a")) == ()
    assert replica.context == VersionVector({"b": 9})
    audit(replica)


def test_a_local_write_under_a_stamp_that_is_taken_is_refused() -> None:
    """A part can bring a write of one's own node id ahead of the context: that is no pick either.

    It means that two processes use one node id, or that one forgot what it had written.
    """
    replica: Map = LWWMap()
    replica.join(Delta((Entry("k", Stamp(5, "a"), 1),)))
    before = fields(replica)
    with pytest.raises(ConflictingStamp, match="used for two writes of 'k': 1 and 2"):
        replica.set("k", 2, Stamp(5, "a"))
    assert fields(replica) == before
    assert replica.set("k", 1, Stamp(5, "a")) == ()


def test_entries_that_are_written_together_are_one_write() -> None:
    """They bear one stamp, over which the context moves once, and each that wins is a change."""
    replica = a_map()
    replica.join(Delta((Entry("late", Stamp(99, "z"), 9),)))
    position = replica.position
    entries: list[Entry[str, int]] = [
        Entry(key, Stamp(31, "a"), 31) for key in ("k", "late", "new", "p")
    ]
    changes = replica.write(*entries)
    assert [(change.key, change.after) for change in changes] == [
        (entry.key, entry) for entry in entries if entry.key != "late"
    ]
    assert changes[0].before == Entry("k", Stamp(21, "a"), 1)
    assert replica.reflected("a") == 31
    assert [entry.key for _, entry in replica.journal(position)] == ["k", "new", "p"]
    assert [move.node for move in replica.moved(position)] == ["a"]
    assert {entry.key for entry in replica.delta(VersionVector({"a": 30, "b": 99})).entries} == {
        "k", "new", "p", "late",
    }  # fmt: skip
    audit(replica)
    assert [change.key for change in replica.prune(31)] == ["gone", "k", "new"]
    audit(replica)


@pytest.mark.parametrize(
    "others, error, match",
    [
        ([Entry("b", Stamp(32, "a"), 2)], ValueError, "bear one stamp, got .*31.* and .*32"),
        ([Entry("b", Stamp(31, "b"), 2)], ValueError, "bear one stamp, got .*'a'.* and .*'b'"),
        ([Entry("k", Stamp(31, "a"), 1)], ValueError, "different keys, got 2 for 1 keys"),
        ([Entry("taken", Stamp(31, "a"), 2)], ConflictingStamp, "used for two writes of 'taken'"),
    ],
)
def test_entries_that_are_not_one_write_are_not_written(
    others: list[Entry[str, int]], error: type[Exception], match: str
) -> None:
    """Two stamps, a key that comes twice or a conflict: none of them is written."""
    replica = a_map()
    replica.join(Delta((Entry("taken", Stamp(31, "a"), 1),)))
    before = fields(replica)
    with pytest.raises(error, match=match):
        replica.write(Entry("k", Stamp(31, "a"), 1), *others)
    assert fields(replica) == before


@pytest.mark.parametrize("time", [23, 40])
def test_each_of_several_writes_is_held_to_the_rules_of_one(time: int) -> None:
    """None of them may lie within the context, nor under the horizon unless it is permanent."""
    replica = a_map()
    replica.set("k", 1, Stamp(30, "c"))
    replica.prune(45)
    before = fields(replica)
    with pytest.raises(ValueError, match=r"beyond its node's context|at or under the horizon"):
        replica.write(Entry("p", Stamp(time, "c"), 1), Entry("k", Stamp(time, "c"), 1))
    assert fields(replica) == before


def beyond(stamp: str, context: int) -> str:
    """Return what is said of a stamp within the context."""
    return (
        f"a local write needs a stamp beyond its node's context, got Stamp({stamp}) where the "
        f"context says {context}: take the time from HybridClock.tick()"
    )


def above(stamp: str) -> str:
    """Return what is said of a stamp under the horizon."""
    return (
        f"nothing exists at or under the horizon 20, got Stamp({stamp}): let the clock observe the "
        "horizon, then take a new time"
    )


REFUSED: dict[str, tuple[Callable[[Map], object], str]] = {
    "a stamp within the context": (
        lambda replica: replica.set("k", 2, Stamp(22, "a")),
        beyond("time=22, node='a'", 22),
    ),
    "a deletion within the context": (
        lambda replica: replica.delete("k", Stamp(21, "a")),
        beyond("time=21, node='a'", 22),
    ),
    "a heartbeat that does not move": (
        lambda replica: replica.advance("a", 22),
        beyond("time=22, node='a'", 22),
    ),
    "a stamp at zero": (
        lambda replica: replica.set("k", 2, Stamp(0, "c")),
        beyond("time=0, node='c'", 0),
    ),
    "a stamp on the horizon": (
        lambda replica: replica.set("k", 2, Stamp(20, "c")),
        above("time=20, node='c'"),
    ),
    "a heartbeat on the horizon": (
        lambda replica: replica.advance("c", 20),
        above("time=20, node='c'"),
    ),
    "a tombstone as a value": (
        lambda replica: replica.set("k", TOMBSTONE, Stamp(30, "a")),  # type: ignore[arg-type]
        "TOMBSTONE is not a value to set: call delete(key, stamp)",
    ),
}


@pytest.mark.parametrize("call, said", REFUSED.values(), ids=REFUSED)
def test_a_write_that_is_not_one_is_refused(call: Callable[[Map], object], said: str) -> None:
    """The error says what was given, what is right and what to do, and the map is as before."""
    replica = a_map(horizon=20)
    before = fields(replica)
    with pytest.raises(ValueError) as caught:
        call(replica)
    assert str(caught.value) == said
    assert fields(replica) == before


def test_a_key_that_has_no_hash_is_refused_before_anything_changes() -> None:
    """A TypeError from the key leaves the context where it was."""
    replica: LWWMap[Any, int] = LWWMap()
    with pytest.raises(TypeError, match="unhashable"):
        replica.set([], 1, Stamp(1, "a"))
    with pytest.raises(TypeError, match="unhashable"):
        replica.join(Delta((Entry([], Stamp(1, "a"), 1),), until=VersionVector({"a": 1})))
    assert replica == LWWMap()


def test_a_map_tells_whether_it_holds_anything_permanent() -> None:
    """Tombstones count, for they are kept as well; what was never written does not."""
    replica: Map = LWWMap(is_permanent)
    replica.set("a", 1, Stamp(1, "n"))
    assert not replica.any_permanent
    replica.set("p", 1, Stamp(2, "n"))
    assert replica.any_permanent
    replica.delete("p", Stamp(3, "n"))
    replica.prune(9)
    assert replica.any_permanent


def test_permanent_keys_may_be_written_under_the_horizon() -> None:
    """They are exempt, so a slow clock may write them, and its context stays with the entry."""
    replica = a_map(horizon=20)
    replica.set("p2", 1, Stamp(5, "slow"))
    replica.delete("p3", Stamp(6, "slow"))
    assert replica["p2"] == 1
    assert replica.reflected("slow") == 6
    audit(replica)


def test_a_heartbeat_moves_the_context_alone() -> None:
    """`advance` changes no entry, and it counts as a change for those who read the journal."""
    replica = a_map()
    position = replica.position
    replica.advance("a", 40)
    assert replica.context == VersionVector({"a": 40, "b": 23})
    assert list(replica.journal(position)) == []
    assert list(replica.moved(position)) == [Moved(position + 1, "a", 40)]


# Looking inside


def test_the_context_is_a_snapshot() -> None:
    """A context that was read does not change when the map does."""
    replica = a_map()
    context = replica.context
    replica.advance("a", 40)
    assert context["a"] == 22


def test_the_journal_tells_what_changed_behind_a_position() -> None:
    """A reader that remembers one number meets each key at its last change."""
    replica = a_map()
    position = replica.position
    assert list(replica.journal(position)) == []
    replica.set("k", 2, Stamp(30, "a"))
    replica.set("new", 3, Stamp(31, "a"))
    replica.delete("k", Stamp(32, "a"))
    assert [entry.key for _, entry in replica.journal(position)] == ["new", "k"]
    assert [entry.key for _, entry in replica.journal()] == ["gone", "p", "new", "k"]


def test_the_contexts_that_moved_come_in_the_order_in_which_they_did() -> None:
    """Behind any position stand the nodes that moved since, each once, at its last move."""
    replica: Map = LWWMap()
    for time, node in enumerate("abcab", start=1):
        replica.advance(node, time)
    moves = [Moved(3, "c", 3), Moved(4, "a", 4), Moved(5, "b", 5)]
    for after in range(6):
        assert list(replica.moved(after)) == [move for move in moves if move.position > after]


def test_what_the_horizon_took_is_not_told_to_who_asked_before() -> None:
    """The answer to one question changes with a horizon that is raised, and no entry with it."""
    replica: Map = LWWMap()
    replica.advance("a", 10)
    replica.advance("b", 20)
    assert [move.node for move in replica.moved()] == ["a", "b"]
    replica.prune(15)
    assert [move.node for move in replica.moved()] == ["b"]


# What is no stamp and no delta


WRONG: list[Any] = [(3, 7), (True, "a"), (1.5, "b"), ("9", "a")]
NO_STAMPS: list[Any] = [(2, "b"), *(Stamp(*each) for each in WRONG)]


@pytest.mark.parametrize("stamp", NO_STAMPS)
def test_what_is_no_stamp_is_refused_where_it_is_given(stamp: Any) -> None:
    """Nobody else meets it later, and nothing is written."""
    replica: Map = LWWMap()
    with pytest.raises(ValueError, match=r"^a write bears a Stamp\(time, node\) of an int and"):
        replica.set("k", 1, stamp)
    with pytest.raises(ValueError, match=r"^a write bears a Stamp\(time, node\) of an int and"):
        replica.delete("k", stamp)
    assert replica == LWWMap()


def test_what_is_no_delta_is_not_joined() -> None:
    """A mapping is not one, be it as like a map as it may."""
    other: Any = {"k": 1}
    with pytest.raises(ValueError, match=r"^a map joins a Delta or an LWWMap, got \{'k': 1\}$"):
        LWWMap().join(other)
