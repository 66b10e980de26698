"""Leases: who is believed and until when, and what neither relays nor duplicates can change."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from manifest.leases import LeaseTable, Turn
from manifest.messages import Lease
from manifest.timekeeping import WakingClock
from tests.samples import A, B, C


class Clock:
    """Waking time that stands still until it is told to move."""

    def __init__(self) -> None:
        self.time = 1_000.0

    def now(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    """A clock that the test moves."""
    return Clock()


@pytest.fixture
def table(clock: Clock) -> LeaseTable:
    """An empty table by that clock, in which no lease is longer than an hour."""
    return LeaseTable(clock.now, longest=3_600)


def a_lease(
    node: str, time: int, seconds: float = 10, *, name: str | None = None, born: int = 0
) -> Lease:
    """Return a lease as it would arrive."""
    return Lease(node, time, int(seconds * 1_000), born, name)


def on(node: str) -> Turn:
    """Return that a node is believed from now on."""
    return Turn(node, believed=True)


def off(node: str, by: str | None = None) -> Turn:
    """Return that a node is not believed any more."""
    return Turn(node, believed=False, displaced_by=by)


def test_a_node_is_believed_until_its_lease_lapses(table: LeaseTable, clock: Clock) -> None:
    """Belief begins and ends when `settle` is called, and each turn is told once."""
    assert not table.believed
    assert table.next_deadline() == math.inf
    assert table.settle() == []
    table.grant(a_lease(A, 1))
    assert not table.believes(A)
    assert table.settle() == [on(A)]
    assert table.believes(A)
    assert table.believed == (A,)
    assert table.settle() == []
    clock.time += 9.999
    assert table.settle() == []
    clock.time = table.next_deadline()
    assert clock.time == 1_010
    assert table.believes(A)
    assert table.settle() == [off(A)]
    assert not table.believes(A)
    assert not table.believed
    assert table.next_deadline() == math.inf
    assert table.settle() == []


def test_only_a_newer_time_extends_a_lease(table: LeaseTable, clock: Clock) -> None:
    """What a relay repeats, however long it says is left, and what comes late change nothing."""
    table.grant(a_lease(A, 5))
    clock.time += 4
    for time in (5, 4, 1):
        table.grant(a_lease(A, time, 3_000))
    assert table.next_deadline() == 1_010
    table.grant(a_lease(A, 6))
    assert table.next_deadline() == 1_014


def test_a_late_duplicate_does_not_revive(table: LeaseTable, clock: Clock) -> None:
    """A node whose lease has lapsed is believed again on a newer time only."""
    table.grant(a_lease(A, 5))
    table.settle()
    clock.time += 10
    assert table.settle() == [off(A)]
    table.grant(a_lease(A, 5))
    table.grant(a_lease(A, 4))
    assert table.settle() == []
    table.grant(a_lease(A, 6))
    assert table.settle() == [on(A)]


def test_a_newer_lease_may_be_shorter(table: LeaseTable, clock: Clock) -> None:
    """A node that leaves says so by a lease of nothing, and counts as gone at once."""
    table.grant(a_lease(A, 1, 100))
    table.settle()
    table.grant(a_lease(A, 2, 0))
    assert table.next_deadline() == clock.time
    assert table.settle() == [off(A)]
    clock.time += 50
    assert table.settle() == []


def test_a_lease_that_has_run_out_on_its_way_is_never_believed(table: LeaseTable) -> None:
    """A late joiner does not see for a moment who has been gone for long."""
    table.grant(a_lease(A, 1, 0))
    assert table.settle() == []
    assert not table.believed


def test_no_lease_is_longer_than_the_longest(table: LeaseTable) -> None:
    """Whatever a node asks for is capped."""
    table.grant(Lease(A, 1, 2**63 - 1))
    assert table.next_deadline() == 1_000 + 3_600


def test_a_relay_passes_on_what_is_left(table: LeaseTable, clock: Clock) -> None:
    """Milliseconds that are left, rounded down, with everything else as its owner said it."""
    table.grant(a_lease(A, 7, 10, name="db", born=3))
    clock.time += 2.5
    assert table.remaining(A) == a_lease(A, 7, 7.5, name="db", born=3)
    clock.time += 7.4995
    assert table.remaining(A) == a_lease(A, 7, 0, name="db", born=3)
    clock.time += 100
    assert table.remaining(A) == a_lease(A, 7, 0, name="db", born=3)
    assert table.remaining(B) is None


def test_a_chain_of_relays_extends_nothing(clock: Clock) -> None:
    """However many relays a lease has passed, it lapses when its owner said, or before."""
    tables = [LeaseTable(clock.now, longest=3_600) for _ in range(5)]
    tables[0].grant(a_lease(A, 1, 10))
    for near, far in pairwise(tables):
        clock.time += 1.7003
        left = near.remaining(A)
        assert left is not None
        far.grant(left)
        near.grant(left)
    deadlines = [table.next_deadline() for table in tables]
    assert deadlines[0] == 1_010
    assert deadlines == sorted(deadlines, reverse=True)
    assert deadlines[-1] > 1_009.99


def test_a_leave_is_passed_on(table: LeaseTable, clock: Clock) -> None:
    """Behind a relay a node that has left is not believed until its former lease would lapse."""
    far = LeaseTable(clock.now, longest=3_600)
    for each in (table, far):
        each.grant(a_lease(A, 1))
        each.settle()
    table.grant(a_lease(A, 2, 0))
    clock.time += 1
    left = table.remaining(A)
    assert left is not None
    far.grant(left)
    assert far.settle() == [off(A)]


def test_a_node_believes_in_itself_for_ever(table: LeaseTable, clock: Clock) -> None:
    """Its own lease neither lapses nor can anyone else change it, and it is not passed on."""
    table.hold_for_ever(a_lease(A, 0, 0))
    assert table.settle() == [on(A)]
    table.grant(a_lease(A, 99, 0))
    clock.time += 1e6
    assert table.settle() == []
    assert table.believes(A)
    assert table.remaining(A) is None
    assert table.next_deadline() == math.inf
    table.forget(1_000)
    assert table.believes(A)


# Names


def test_of_one_name_the_later_born_is_believed(table: LeaseTable) -> None:
    """A restarted node displaces its former incarnation at once, and the turn says who it was."""
    table.grant(a_lease(A, 5, name="db", born=1))
    assert table.settle() == [on(A)]
    table.grant(a_lease(B, 3, name="db", born=2))
    assert set(table.settle()) == {off(A, by=B), on(B)}
    table.grant(a_lease(A, 6, name="db", born=1))
    assert table.settle() == []
    assert table.believed == (B,)


def test_the_order_in_which_incarnations_are_heard_of_does_not_matter(table: LeaseTable) -> None:
    """An earlier-born one that is heard of later is never believed."""
    table.grant(a_lease(B, 3, name="db", born=2))
    table.settle()
    table.grant(a_lease(A, 5, name="db", born=1))
    assert table.settle() == []
    assert table.believed == (B,)


def test_births_at_one_time_are_decided_by_the_ids(table: LeaseTable) -> None:
    """Every manifest picks the same of two that were born together."""
    for nodes in ((A, B), (B, A)):
        each = LeaseTable(lambda: 0.0, longest=60)
        for node in nodes:
            each.grant(a_lease(node, 1, name="db", born=7))
            each.settle()
        assert each.believed == (B,)


def test_other_names_are_no_rivals(table: LeaseTable) -> None:
    """Nodes of different names, and nodes without one, live side by side."""
    table.grant(a_lease(A, 1, name="db", born=1))
    table.grant(a_lease(B, 1, name="web", born=2))
    table.grant(a_lease(C, 1, born=3))
    table.grant(a_lease("D" * 24, 1, born=4))
    assert len(table.settle()) == 4


def test_the_displaced_comes_back_when_the_later_born_goes(table: LeaseTable, clock: Clock) -> None:
    """Should the later-born leave or lapse first, the other is believed again."""
    for gone in (a_lease(B, 2, 0, name="db", born=2), None):
        table = LeaseTable(clock.now, longest=3_600)
        table.grant(a_lease(A, 1, 100, name="db", born=1))
        table.grant(a_lease(B, 1, 10, name="db", born=2))
        table.settle()
        assert table.believed == (B,)
        if gone is not None:
            table.grant(gone)
        else:
            clock.time += 10
        assert set(table.settle()) == {off(B), on(A)}


def test_of_three_incarnations_the_last_that_runs_is_believed(
    table: LeaseTable, clock: Clock
) -> None:
    """Each comes to the fore as the later-born ones lapse."""
    for born, (node, seconds) in enumerate({A: 30, B: 20, C: 10}.items()):
        table.grant(a_lease(node, 1, seconds, name="db", born=born))
    assert table.settle() == [on(C)]
    for gone, back in ((C, B), (B, A)):
        clock.time += 10
        assert set(table.settle()) == {off(gone), on(back)}
    clock.time += 10
    assert table.settle() == [off(A)]


def test_a_node_itself_is_displaced_like_any_other(table: LeaseTable, clock: Clock) -> None:
    """It hears who displaced it, and is believed again when that one goes."""
    table.hold_for_ever(a_lease(A, 0, 0, name="db", born=1))
    assert table.settle() == [on(A)]
    table.grant(a_lease(B, 1, name="db", born=2))
    assert set(table.settle()) == {off(A, by=B), on(B)}
    clock.time += 10
    assert set(table.settle()) == {off(B), on(A)}


def test_who_gives_up_a_name_makes_room(table: LeaseTable) -> None:
    """Should a node come under another name, whom it had displaced is judged anew."""
    table.grant(a_lease(A, 1, name="db", born=1))
    table.grant(a_lease(B, 1, name="db", born=2))
    table.settle()
    table.grant(a_lease(B, 2, name="web", born=2))
    assert table.settle() == [on(A)]
    assert sorted(table.believed) == [A, B]


# Time and space


def test_a_pause_of_this_process_is_credited(table: LeaseTable) -> None:
    """By the waking clock a lease does not lapse while its judge sleeps."""
    monotonic = [0.0]
    waking = WakingClock(lambda: monotonic[0], interval=1.0)
    table = LeaseTable(waking.now, longest=3_600)
    table.grant(a_lease(A, 1))
    table.settle()
    monotonic[0] = 500
    assert table.settle() == []
    assert table.believes(A)
    for _ in range(10):
        monotonic[0] += 1
        waking.beat()
    assert table.settle() == [off(A)]


def test_lapsed_leases_are_forgotten_under_the_horizon(table: LeaseTable, clock: Clock) -> None:
    """What ran out and is older than the horizon goes, and a copy of it does not come back."""
    table.grant(a_lease(A, 5))
    table.grant(a_lease(B, 9))
    table.grant(a_lease(C, 5, 100))
    table.settle()
    clock.time += 10
    table.settle()
    table.forget(8)
    assert table.remaining(A) is None
    assert table.remaining(B) is not None
    assert table.believed == (C,)
    table.forget(1)
    for late in (a_lease(A, 5), a_lease(A, 8)):
        table.grant(late)
    assert table.settle() == []
    table.grant(a_lease(A, 9))
    assert table.settle() == [on(A)]


def test_a_lease_that_runs_is_not_forgotten(table: LeaseTable, clock: Clock) -> None:
    """However old its time, also where a later-born displaces it: it may still come back."""
    table.grant(a_lease(A, 1, 100, name="db", born=1))
    table.grant(a_lease(B, 1, 10, name="db", born=2))
    table.settle()
    table.forget(8)
    clock.time += 10
    assert set(table.settle()) == {off(B), on(A)}


def test_a_lease_that_was_not_judged_yet_is_not_forgotten(table: LeaseTable) -> None:
    """Forgetting between a lease and its judgement breaks nothing; the next time it goes."""
    table.grant(a_lease(A, 5, 0, name="db", born=1))
    table.forget(8)
    assert table.remaining(A) is not None
    assert table.settle() == []
    table.forget(8)
    assert table.remaining(A) is None


def test_the_table_does_not_grow_with_heartbeats(table: LeaseTable, clock: Clock) -> None:
    """Ten thousand long leases of two nodes leave a handful of deadlines."""
    for time in range(1, 10_001):
        clock.time += 0.01
        table.grant(a_lease(A, time, 3_000))
        table.grant(a_lease(B, time, 3_000 - (time % 100)))
        assert len(table._deadlines) <= 4
    assert table.settle() == [on(A), on(B)]


def test_a_superseded_deadline_wakes_nobody(table: LeaseTable, clock: Clock) -> None:
    """The next deadline is that of a lease that holds."""
    table.grant(a_lease(A, 1, 10))
    table.grant(a_lease(B, 1, 30))
    table.grant(a_lease(A, 2, 20))
    assert table.next_deadline() == 1_020
    table.settle()
    clock.time += 10
    assert table.settle() == []
    assert table.next_deadline() == 1_020


def test_a_name_costs_what_runs_under_it(table: LeaseTable, clock: Clock) -> None:
    """A node that restarts over and over does not make each heartbeat dearer."""
    for n in range(2_000):
        node = f"{n:024X}"
        table.grant(a_lease(node, n + 1, 1, name="db", born=n + 1))
        table.settle()
        clock.time += 2
        table.settle()
    assert table._named == {}
    assert not table.believed
    table.grant(a_lease(A, 9_999, name="db", born=1))
    assert table.settle() == [on(A)]


def test_a_heartbeat_is_missed_once_a_third_is_left(table: LeaseTable, clock: Clock) -> None:
    """Each is named once, whether its lease still runs or not, and who has left never is."""
    table.hold_for_ever(a_lease(B, 1))
    table.grant(a_lease(A, 1, 9), a_lease(C, 1, 0))
    clock.time += 6
    assert table.overdue() == []
    clock.time += 0.001
    assert table.overdue() == [A]
    assert table.overdue() == []
    table.grant(a_lease(A, 2, 9))
    clock.time += 60
    assert table.overdue() == [A]


def test_no_lease_is_overdue_later_than_the_longest_says(clock: Clock) -> None:
    """A third of what is granted is what counts, not of what was asked for."""
    table = LeaseTable(clock.now, longest=9)
    table.grant(a_lease(A, 1, 3_600))
    clock.time += 6.001
    assert table.overdue() == [A]
