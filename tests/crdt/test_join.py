"""Joining: who wins, what the context does, what is refused, and that a refusal changes nothing.

The laws stand in tests/property/test_crdt.py; here is each rule by itself, and each counterexample
that was found on the way.
"""

from __future__ import annotations

from typing import Any

import pytest

from manifest.crdt import (
    TOMBSTONE,
    CausalGap,
    Change,
    ConflictingStamp,
    Delta,
    Entry,
    LWWMap,
    Stamp,
    VersionVector,
)
from tests.crdt.inspection import audit, fields
from tests.crdt.states import is_permanent

Map = LWWMap[str, Any]


def put(key: str, time: int, node: str = "a", value: Any = None) -> Entry[str, Any]:
    """Return a live entry, whose value tells where it comes from unless one is given."""
    return Entry(key, Stamp(time, node), f"{key}{time}{node}" if value is None else value)


def bury(key: str, time: int, node: str = "a") -> Entry[str, Any]:
    """Return a tombstone."""
    return Entry(key, Stamp(time, node), TOMBSTONE)


def part(*entries: Entry[str, Any], horizon: int = 0) -> Delta[str, Any]:
    """Return a delta that claims nothing."""
    return Delta(entries, horizon=horizon)


def interval(
    *entries: Entry[str, Any], since: dict[str, int], until: dict[str, int], horizon: int = 0
) -> Delta[str, Any]:
    """Return a delta from one vector to another."""
    return Delta(entries, VersionVector(since), VersionVector(until), horizon)


def joined(*others: Delta[str, Any] | Map) -> Map:
    """Return a map that has joined these, in this order."""
    replica: Map = LWWMap(is_permanent)
    for other in others:
        replica.join(other)
        audit(replica)
    return replica


# Who wins


@pytest.mark.parametrize(
    "loser, winner",
    [
        (put("k", 1), put("k", 2)),
        (put("k", 1, "z"), put("k", 2, "a")),
        (put("k", 2, "a"), put("k", 2, "b")),
        (put("k", 1), bury("k", 2)),
        (bury("k", 1), put("k", 2)),
        (bury("k", 2, "a"), put("k", 2, "b")),
        (put("k", 2, "a"), bury("k", 2, "b")),
    ],
)
def test_the_greater_stamp_wins(loser: Entry[str, Any], winner: Entry[str, Any]) -> None:
    """Time decides, then the node, and never what was written or what arrived first."""
    assert joined(part(loser), part(winner)) == joined(part(winner), part(loser))
    assert joined(part(loser), part(winner)).entry("k") == winner
    assert joined(part(loser, winner)).entry("k") == winner
    assert joined(part(winner, loser)).entry("k") == winner


def test_a_join_tells_what_changed() -> None:
    """One change for each key, those that were dropped last, and nothing for what stayed."""
    replica = joined(part(put("old", 1), put("kept", 8), put("k", 5)))
    changes = replica.join(part(put("k", 6), put("kept", 7), put("new", 9), horizon=4))
    assert changes == (
        Change("k", put("k", 5), put("k", 6)),
        Change("new", None, put("new", 9)),
        Change("old", put("old", 1), None),
    )


def test_a_whole_map_can_be_joined() -> None:
    """Joining a map takes its entries, tombstones too, its context and its horizon."""
    source = joined(interval(put("k", 5), bury("gone", 6), since={}, until={"a": 9}, horizon=3))
    assert joined(source) == source


def test_a_map_can_be_joined_with_itself() -> None:
    """That changes nothing."""
    replica = joined(part(put("k", 5), bury("gone", 6)))
    before = fields(replica)
    assert replica.join(replica) == ()
    assert fields(replica) == before


def test_an_empty_delta_changes_nothing() -> None:
    """Not even the journal."""
    replica = joined(part(put("k", 5)))
    before = fields(replica)
    assert replica.join(Delta()) == ()
    assert fields(replica) == before


# One stamp, two values


@pytest.mark.parametrize(
    "one, other",
    [
        (put("k", 5, value=1), put("k", 5, value=2)),
        (put("k", 5, value=1), bury("k", 5)),
        (bury("k", 5), put("k", 5, value=1)),
    ],
)
def test_one_stamp_with_two_values_is_an_error(
    one: Entry[str, Any], other: Entry[str, Any]
) -> None:
    """The second is refused whichever it is, and the error shows both and says what to mend."""
    replica = joined(part(one))
    before = fields(replica)
    with pytest.raises(ConflictingStamp) as caught:
        replica.join(part(put("new", 9), other, put("newer", 9)))
    assert str(caught.value) == (
        f"Stamp(time=5, node='a') was used for two writes of 'k': {one.value!r} and "
        f"{other.value!r}; every process needs a node id of its own"
    )
    assert fields(replica) == before


def test_two_values_under_one_stamp_in_one_delta_are_an_error() -> None:
    """Neither is picked by its place in the delta."""
    replica: Map = LWWMap()
    with pytest.raises(ConflictingStamp, match="used for two writes of 'k': 1 and 2"):
        replica.join(part(put("k", 5, value=1), put("k", 5, value=2)))
    assert replica == LWWMap()


def test_equal_entries_twice_are_no_conflict() -> None:
    """A duplicate is what a retransmission makes, within one delta too."""
    replica: Map = LWWMap()
    assert len(replica.join(part(put("k", 5), put("k", 5)))) == 1
    assert replica.join(part(put("k", 5))) == ()


# The context and the causal condition


def test_entries_alone_do_not_move_the_context() -> None:
    """A part claims nothing: what else its writer wrote may still be under way."""
    replica = joined(part(put("k", 5)))
    assert replica["k"] == "k5a"
    assert replica.context == VersionVector()


def test_a_delta_moves_the_context_to_its_end() -> None:
    """The nodes that it names move, to the greater time, and others stay."""
    replica = joined(
        interval(since={}, until={"a": 5, "b": 7}),
        interval(put("k", 9), since={"a": 5, "b": 3}, until={"a": 9, "b": 6}),
    )
    assert replica.context == VersionVector({"a": 9, "b": 7})


def test_a_delta_may_start_before_the_context_or_at_it() -> None:
    """What is known twice is no gap."""
    replica = joined(interval(since={}, until={"a": 5}))
    replica.join(interval(put("k", 6), since={"a": 5}, until={"a": 6}))
    replica.join(interval(put("l", 7), since={"a": 2}, until={"a": 7}))
    assert replica.context == VersionVector({"a": 7})


def test_a_delta_that_starts_beyond_the_context_is_refused_whole() -> None:
    """The error names the node, both times and the mend, and nothing of the delta is joined."""
    replica = joined(interval(put("k", 5), since={}, until={"a": 5, "b": 9}))
    before = fields(replica)
    gap = interval(put("l", 8), since={"b": 2, "a": 6}, until={"b": 10, "a": 8, "c": 1}, horizon=4)
    with pytest.raises(CausalGap) as caught:
        replica.join(gap)
    assert str(caught.value) == (
        "the delta continues the history of a from 6, and this replica has reflected it up to 5: "
        "ask for a delta since its context"
    )
    assert fields(replica) == before


def test_a_start_has_to_connect_also_where_no_end_goes_with_it() -> None:
    """What the reader is taken to have of one node may be what beats the claims of another."""
    writer = joined(interval(put("k", 6, "slow"), since={}, until={"slow": 6}))
    writer.join(interval(put("k", 99, "fast"), since={}, until={"fast": 99}))
    writer.advance("slow", 7)
    for_one_that_has_it = writer.delta(VersionVector({"fast": 99}))
    assert for_one_that_has_it.entries == ()
    with pytest.raises(CausalGap, match="fast"):
        LWWMap[str, str]().join(for_one_that_has_it)


@pytest.mark.parametrize("mine, theirs", [(6, 0), (0, 6)])
def test_the_horizon_excuses_a_gap_under_it(mine: int, theirs: int) -> None:
    """Where all that could be missing is collected nothing is missing, whoever knows that."""
    replica = joined(part(horizon=mine))
    replica.join(interval(put("k", 9), since={"a": 6}, until={"a": 9}, horizon=theirs))
    assert replica.context == VersionVector({"a": 9})


def test_the_horizon_excuses_nothing_beyond_it() -> None:
    """A gap that reaches past the horizon by one is a gap."""
    replica = joined(part(horizon=6))
    with pytest.raises(CausalGap, match="from 7"):
        replica.join(interval(put("k", 9), since={"a": 7}, until={"a": 9}, horizon=5))


def test_a_refusal_for_a_conflict_leaves_the_horizon_and_the_context_too() -> None:
    """The entries are looked at before anything is changed."""
    replica = joined(interval(put("k", 5, value=1), put("old", 2), since={}, until={"a": 5}))
    before = fields(replica)
    bad = interval(put("new", 8), put("k", 5, value=2), since={"a": 5}, until={"a": 8}, horizon=3)
    with pytest.raises(ConflictingStamp):
        replica.join(bad)
    assert fields(replica) == before


# The horizon


def test_nothing_is_let_in_at_or_under_the_horizon() -> None:
    """Neither live entries nor tombstones, under the own horizon or that of the delta."""
    replica = joined(part(horizon=5))
    assert replica.join(part(put("k", 5), bury("l", 4), horizon=2)) == ()
    assert [change.key for change in replica.join(part(put("k", 7), put("l", 8), horizon=7))] == [
        "l"
    ]
    assert replica.horizon == 7


def test_the_horizon_drops_what_lies_at_or_under_it() -> None:
    """Live entries and tombstones go alike, one beyond it stays, and the changes say so."""
    replica = joined(part(put("k", 5), bury("gone", 4), put("l", 6)))
    assert replica.prune(5) == (
        Change("gone", bury("gone", 4), None),
        Change("k", put("k", 5), None),
    )
    assert list(replica) == ["l"]
    assert replica.tombstones == 0
    audit(replica)


@pytest.mark.parametrize("horizon", [5, 4, 0, -1])
def test_the_horizon_does_not_go_back(horizon: int) -> None:
    """A horizon that is not higher changes nothing at all."""
    replica = joined(part(put("k", 6), horizon=5))
    before = fields(replica)
    assert replica.prune(horizon) == ()
    assert fields(replica) == before


def test_pruning_looks_at_no_entries_but_those_that_are_due() -> None:
    """However often the horizon rises, and whatever it has collected: each is looked at once."""
    looked_at: list[str] = []

    class Watched(dict[str, Any]):
        def get(self, key: str, default: Any = None) -> Any:
            looked_at.append(key)
            return super().get(key, default)

    replica: Map = LWWMap()
    replica.join(part(*(put(f"k{n}", 100 + n) for n in range(50))))
    replica._entries = Watched(replica._entries)
    for horizon in range(1, 110):
        replica.prune(horizon)
    assert looked_at == [f"k{n}" for n in range(10)]
    assert len(replica) == 40


def test_what_is_superseded_is_not_kept_for_collection() -> None:
    """One key that is written ten thousand times takes no more room than it did at first."""
    replica = joined()
    for time in range(1, 10_000):
        replica.set(("k", "p", "p2")[time % 3], "v", Stamp(time, "a"))
    audit(replica)
    assert len(replica._due) + len(replica._earliest["a"]) < 200


def test_a_context_is_kept_by_the_earliest_of_what_lasts() -> None:
    """Of many permanent keys, most of them beyond the context, those that were are passed over."""
    entries = [put(f"p{n}", 10 + n) for n in range(5)]
    replica = joined(interval(*entries, since={}, until={"a": 10}))
    replica.prune(12)
    assert dict(replica.context) == {"a": 10}
    replica.join(part(put("p0", 20, "b")))
    assert dict(replica.context) == {}
    audit(replica)


def test_a_map_of_permanent_keys_has_nothing_to_collect() -> None:
    """Their times are no reason to look at anything, ever."""
    replica = joined(part(put("p", 5), bury("p2", 6)))
    before = fields(replica)["_journal"]
    assert replica.prune(100) == ()
    assert fields(replica)["_journal"] == before
    audit(replica)


def test_permanent_keys_and_their_tombstones_outlive_the_horizon() -> None:
    """They are held through it, and let in from under it."""
    replica = joined(part(put("p", 5), bury("p2", 4)))
    replica.prune(9)
    replica.join(part(put("p3", 2), bury("p4", 3), put("k", 9)))
    assert {entry.key for _, entry in replica.journal()} == {"p", "p2", "p3", "p4"}
    assert replica.tombstones == 2
    audit(replica)


def test_a_collected_key_can_be_written_again() -> None:
    """Only what was is gone, and the counts start anew."""
    replica = joined(part(put("k", 5), horizon=5))
    replica.set("k", "again", Stamp(6, "a"))
    assert dict(replica) == {"k": "again"}
    audit(replica)


# Context items under the horizon


def test_a_context_at_the_horizon_is_dropped_with_the_last_entry() -> None:
    """A writer of whom nothing is left is forgotten; one beyond the horizon is not."""
    replica = joined(interval(put("k", 5, "a"), since={}, until={"a": 5, "b": 6}))
    replica.prune(5)
    assert replica.context == VersionVector({"b": 6})
    replica.prune(6)
    assert replica == joined(part(horizon=6))
    audit(replica)


def test_a_context_stays_while_its_writer_has_a_permanent_entry() -> None:
    """Else every peer that connects would be sent that entry again."""
    replica = joined(interval(put("p", 3), put("k", 5), since={}, until={"a": 5}))
    replica.prune(9)
    assert replica.context == VersionVector({"a": 5})
    assert replica.delta({"a": 5}).entries == ()
    audit(replica)


def test_a_context_goes_when_its_writers_permanent_entry_is_beaten() -> None:
    """The writer who beats it takes its place, without any further pruning."""
    replica = joined(interval(put("p", 3, "a"), since={}, until={"a": 5}, horizon=9))
    replica.join(interval(bury("p", 12, "b"), since={}, until={"b": 12}))
    assert replica.context == VersionVector({"b": 12})
    audit(replica)


def test_a_context_stays_while_another_of_its_permanent_entries_does() -> None:
    """Of two permanent entries, the last one to be beaten takes the context along."""
    replica = joined(interval(put("p", 3), put("p2", 4), since={}, until={"a": 5}, horizon=9))
    replica.join(part(put("p", 12, "b")))
    assert replica.reflected("a") == 5
    replica.join(part(put("p2", 13, "b")))
    assert replica.context == VersionVector()
    audit(replica)


def test_a_writer_that_beats_itself_keeps_its_context() -> None:
    """Its newer permanent entry stands in for the older one."""
    replica = joined(interval(put("p", 3), since={}, until={"a": 5}, horizon=9))
    replica.join(interval(put("p", 7), since={"a": 5}, until={"a": 8}))
    assert replica.context == VersionVector({"a": 8})
    audit(replica)


def test_a_context_that_arrives_under_the_horizon_is_not_taken_up() -> None:
    """A peer that has not collected yet does not bring a forgotten writer back."""
    replica = joined(part(horizon=9))
    replica.join(interval(put("k", 5), since={}, until={"a": 5, "b": 12}))
    assert replica.context == VersionVector({"b": 12})
    audit(replica)


@pytest.mark.parametrize("early", [put("k", 12), put("p", 8)])
def test_an_entry_beyond_a_context_does_not_keep_it(early: Entry[str, Any]) -> None:
    """Found by the laws: the entry of a part kept an old context in one order of joins alone.

    Only an entry *within* a context may keep it, for that one is there in every order.
    """
    one = joined(interval(since={}, until={"a": 5}))
    two = joined(part(horizon=10))
    three = joined(part(early))
    left = joined(joined(one, two), three)
    assert left == joined(one, joined(two, three))
    assert left.context == VersionVector()
