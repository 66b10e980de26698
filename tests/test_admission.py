"""Who is let in: strangers take places from each other, guests from nobody."""

from __future__ import annotations

import pytest

from manifest.admission import Admission
from manifest.errors import LinkRefused
from manifest.options import Limits
from manifest.refusals import Refusal

US, THEM, OTHERS = "192.0.2.1", "192.0.2.2", "192.0.2.3"


def admission(**limits: int) -> Admission[str]:
    """Return an admission with these limits."""
    return Admission(Limits(**limits))


def refused(door: Admission[str], peer: str) -> tuple[Refusal, str]:
    """Return how a peer that says Hello is refused."""
    with pytest.raises(LinkRefused) as caught:
        door.greet(peer)
    return caught.value.refusal, str(caught.value)


def test_where_there_is_room_nobody_has_to_go() -> None:
    """As many strangers as are allowed have a place, and more once some of them are guests."""
    door = admission(ungreeted_connections=2)
    assert door.arrive("a", US) is door.arrive("b", US) is None
    door.greet("a")
    assert door.arrive("c", US) is None
    assert door.arrive("d", US) == "b"


def test_of_strangers_the_oldest_goes() -> None:
    """However many come and say nothing, the newest has a place, and can say Hello."""
    door = admission(ungreeted_connections=3)
    gone = [door.arrive(f"silent {number}", US) for number in range(2000)]
    assert gone == [None] * 3 + [f"silent {number}" for number in range(1997)]
    assert door.arrive("honest", US) == "silent 1997"
    door.greet("honest")


def test_a_crowd_takes_places_from_itself() -> None:
    """Of the address that most strangers are from one goes; a slow newcomer elsewhere stays."""
    door = admission(ungreeted_connections=3)
    door.arrive("honest", THEM)
    for number in range(100):
        assert door.arrive(f"silent {number}", US) != "honest"
    door.greet("honest")


def test_where_all_are_from_different_addresses_the_oldest_goes() -> None:
    """The newcomer itself never is the one that goes."""
    door = admission(ungreeted_connections=1)
    assert [door.arrive(each, each) for each in (US, THEM, OTHERS)] == [None, US, THEM]


def test_who_has_lost_its_place_is_refused() -> None:
    """A Hello that comes too late makes no guest of who was told to go."""
    door = admission(ungreeted_connections=1)
    door.arrive("late", US)
    door.arrive("next", US)
    refusal, words = refused(door, "late")
    assert refusal is Refusal.UNGREETED
    assert "the place of this connection was needed for another before its Hello came: " in words
    assert "connect again, or to another manifest of the cluster, or open this one with " in words
    assert "limits=Limits(ungreeted_connections=...)" in words


def test_there_are_so_many_guests_and_no_more() -> None:
    """One too many is refused in words that say what to do, until another leaves."""
    door = admission(connections=2)
    for peer, host in (("a", US), ("b", THEM), ("c", OTHERS)):
        door.arrive(peer, host)
    door.greet("a")
    door.greet("b")
    refusal, words = refused(door, "c")
    assert refusal is Refusal.CONNECTIONS
    assert "all 2 places for peers are taken: connect to another manifest" in words
    door.leave("b")
    door.greet("c")


def test_there_are_so_many_guests_from_one_address_and_no_more() -> None:
    """Others still have places when one address has taken all of its own."""
    door = admission(address_connections=1)
    for peer, host in (("a", US), ("b", US), ("c", THEM)):
        door.arrive(peer, host)
    door.greet("a")
    refusal, words = refused(door, "b")
    assert refusal is Refusal.ADDRESS_CONNECTIONS
    assert f"all 1 places for peers from {US} are taken" in words
    door.greet("c")
    door.leave("a")
    door.greet("b")


def test_who_leaves_makes_room_for_one() -> None:
    """The others from its address keep the places that they have."""
    door = admission(address_connections=2)
    for peer in "abcd":
        door.arrive(peer, US)
    door.greet("a")
    door.greet("b")
    door.leave("a")
    door.greet("c")
    assert refused(door, "d")[0] is Refusal.ADDRESS_CONNECTIONS


def test_who_leaves_leaves_nothing_behind() -> None:
    """Strangers, guests, and those that had to go: all can leave, and none is remembered."""
    door = admission(ungreeted_connections=2)
    for peer in "abc":
        door.arrive(peer, US)
    door.greet("b")
    for peer in "abc":
        door.leave(peer)
    assert (door._strangers, door._guests, door._from) == ({}, {}, {})
    assert door.spare() is None
