"""The mailbox: what a subscriber that lags finds when it reads, and how little is kept for it."""

from __future__ import annotations

import gc
import time
import weakref

import attrs
import pytest

from manifest.events import (
    Accepted,
    Closed,
    Connected,
    Disconnected,
    Displaced,
    Event,
    Freed,
    FreeReason,
    Heartbeat,
    Mailbox,
    Registered,
    Synced,
    Updated,
)
from manifest.link import Link
from tests.samples import A, B, a_link, a_service

V1, V2, V3 = (a_service(n=n) for n in (1, 2, 3))
OTHER = a_service("other")
EXPIRED, FREED, REPLACED = FreeReason.EXPIRED, FreeReason.FREED, FreeReason.REPLACED


def left_of(*events: Event) -> list[Event]:
    """Return what a subscriber reads that was away while all of this happened."""
    mailbox = Mailbox()
    for event in events:
        mailbox.put(event)
    left = drained(mailbox)
    assert len(left) + mailbox.merged == len(events)
    return left


def drained(mailbox: Mailbox) -> list[Event]:
    """Take out all that waits, and check on the way that the mailbox knows how much that is."""
    events: list[Event] = []
    waiting = len(mailbox)
    while mailbox:
        events.append(mailbox.take())
        assert len(mailbox) == waiting - len(events)
    return events


def test_an_empty_mailbox_has_nothing_to_take() -> None:
    """It is false, has no length, and taking from it is a LookupError."""
    mailbox = Mailbox()
    assert not mailbox
    assert len(mailbox) == mailbox.merged == 0
    with pytest.raises(LookupError, match=r"^no event waits$"):
        mailbox.take()


def test_what_is_read_at_once_is_read_as_it_happened() -> None:
    """A subscriber that keeps up gets every event, and nothing is merged."""
    mailbox = Mailbox()
    events: list[Event] = [
        Registered(V1), Updated(V2, V1), Updated(V3, V2), Freed(V3, FREED), Heartbeat(1),
        Heartbeat(2),
    ]  # fmt: skip
    for event in events:
        mailbox.put(event)
        assert mailbox
        assert mailbox.take() is event
    assert mailbox.merged == 0


def test_what_does_not_concern_one_thing_keeps_its_order() -> None:
    """Events of different services, links and kinds come out as they went in."""
    link, other = a_link(dialled=True), a_link(dialled=False)
    events: list[Event] = [
        Connected(link), Registered(V1), Accepted(other), Synced(link), Registered(OTHER),
        Synced(other), Disconnected(other, "gone"), Heartbeat(1), Displaced(B), Closed(),
    ]  # fmt: skip
    assert left_of(*events) == events


@pytest.mark.parametrize(
    "events, left",
    [
        ([Registered(V1), Updated(V2, V1)], [Registered(V2)]),
        ([Registered(V1), Freed(V1, FREED)], []),
        ([Registered(V1), Updated(V2, V1), Freed(V2, FREED)], []),
        ([Updated(V2, V1), Updated(V3, V2)], [Updated(V3, V1)]),
        ([Updated(V2, V1), Freed(V2, EXPIRED)], [Freed(V1, EXPIRED)]),
        ([Freed(V1, EXPIRED), Registered(V2)], [Freed(V1, EXPIRED), Registered(V2)]),
        (
            [Freed(V1, EXPIRED), Registered(V2), Updated(V3, V2)],
            [Freed(V1, EXPIRED), Registered(V3)],
        ),
        ([Freed(V1, EXPIRED), Registered(V2), Freed(V2, FREED)], [Freed(V1, EXPIRED)]),
        (
            [Updated(V2, V1), Freed(V2, REPLACED), Registered(V3)],
            [Freed(V1, REPLACED), Registered(V3)],
        ),
        (
            [Freed(V1, EXPIRED), Registered(V1), Freed(V1, FREED), Registered(V2)],
            [Freed(V1, EXPIRED), Registered(V2)],
        ),
    ],
)
def test_events_of_a_service_merge_into_what_the_reader_must_know(
    events: list[Event], left: list[Event]
) -> None:
    """At most a Freed of what the reader knows and a Registered of what there is now are left."""
    assert left_of(*events) == left


def test_merged_events_keep_their_place() -> None:
    """A service's events wait where the first of them stood, among those of others."""
    events: list[Event] = [Registered(V1), Registered(OTHER), Updated(V2, V1)]
    assert left_of(*events) == [Registered(V2), Registered(OTHER)]


def test_nothing_of_a_service_is_read_after_what_came_later_of_a_link() -> None:
    """What had arrived when a link was synced is read before Synced is."""
    link = a_link(dialled=True)
    events: list[Event] = [Freed(V1, FREED), Synced(link), Registered(V2)]
    assert left_of(*events) == [Freed(V1, FREED), Registered(V2), Synced(link)]


def test_of_a_link_the_latest_of_each_kind_is_kept_in_its_place() -> None:
    """The last that is read of a link is the last that happened, with its reason."""
    link, other = a_link(dialled=True), a_link(dialled=True)
    events: list[Event] = [
        Connected(link), Synced(link), Disconnected(link, "one"), Connected(other),
        Connected(link), Disconnected(link, "two"),
    ]  # fmt: skip
    assert left_of(*events) == [
        Synced(link), Connected(other), Connected(link), Disconnected(link, "two")
    ]  # fmt: skip


def test_of_other_events_the_latest_is_kept() -> None:
    """One heartbeat, one displacement and one end are enough."""
    events: list[Event] = [Heartbeat(1), Displaced(A), Heartbeat(2), Displaced(B), Closed()]
    assert left_of(*events) == [Heartbeat(2), Displaced(B), Closed()]


def test_who_never_reads_costs_no_more_than_there_is() -> None:
    """However long services and links come and go, what waits is bounded."""
    mailbox = Mailbox()
    dialled = a_link(dialled=True)
    for n in range(1_000):
        service, link = a_service(f"{n}"), a_link(dialled=False)
        for event in (
            Accepted(link), Registered(service), Updated(service, service), Freed(service, FREED),
            Synced(link), Disconnected(link, f"{n}"), Connected(dialled), Synced(dialled),
            Disconnected(dialled, f"{n}"), Heartbeat(n),
        ):  # fmt: skip
            mailbox.put(event)
    # The link that is dialled again and again has gone last of all but one.
    assert len(mailbox) == 3 * 100 + 1
    assert len(mailbox) + mailbox.merged == 10_000
    left = drained(mailbox)
    assert {each.reason for each in left if isinstance(each, Disconnected)} == {
        f"{n}" for n in range(901, 1_000)
    }


@pytest.mark.parametrize("dialled", [True, False])
def test_links_that_have_ended_unread_are_forgotten(dialled: bool) -> None:
    """Whoever dials link after link, or accepts them, keeps none alive for who never reads."""
    mailbox = Mailbox()
    met = Connected if dialled else Accepted
    links = [weakref.ref(link) for link in _passed_by(mailbox, met, 1_000)]
    gc.collect()
    assert len(mailbox) == 3 * 100
    assert [link() is None for link in links] == [True] * 900 + [False] * 100
    drained(mailbox)
    gc.collect()
    assert all(link() is None for link in links)


def _passed_by(mailbox: Mailbox, met: type[Connected | Accepted], count: int) -> list[Link]:
    links = [a_link(dialled=met is Connected) for _ in range(count)]
    for link in links:
        for event in (met(link), Synced(link), Disconnected(link, "gone")):
            mailbox.put(event)
    return links


@pytest.mark.parametrize("unread", [False, True])
def test_a_link_that_is_connected_again_is_not_forgotten(unread: bool) -> None:
    """It may lose its peer unread many times over: while it has one the reader is told so."""
    mailbox, link = Mailbox(), a_link(dialled=True)
    mailbox.put(Connected(link))
    if not unread:
        mailbox.take()
    mailbox.put(Disconnected(link, "one"))
    mailbox.put(Connected(link))
    _passed_by(mailbox, Connected, 200)
    assert drained(mailbox)[:2] == [Disconnected(link, "one"), Connected(link)]
    mailbox.put(Disconnected(link, "two"))
    mailbox.put(Connected(link))
    mailbox.put(Disconnected(link, "three"))
    _passed_by(mailbox, Accepted, 200)
    # He has read that it met its peer, so he reads that it lost it.
    assert drained(mailbox)[:2] == [Connected(link), Disconnected(link, "three")]


def test_a_link_that_was_there_before_the_reader_is_never_forgotten() -> None:
    """Who subscribes when a link has its peer finds it there, and is told when it is lost."""
    mailbox, link = Mailbox(), a_link(dialled=True)
    for reason in ("one", "two"):
        mailbox.put(Disconnected(link, reason))
        mailbox.put(Connected(link))
    mailbox.put(Disconnected(link, "three"))
    _passed_by(mailbox, Connected, 200)
    assert drained(mailbox)[:2] == [Connected(link), Disconnected(link, "three")]


@pytest.mark.parametrize("dialled", [True, False])
def test_a_link_that_the_reader_has_met_is_never_forgotten(dialled: bool) -> None:
    """Whoever has read that a link met its peer also reads that it has lost it."""
    mailbox = Mailbox()
    starts = Connected if dialled else Accepted
    met, passing = (
        [a_link(dialled=dialled) for _ in range(2)],
        [a_link(dialled=dialled) for _ in range(200)],
    )
    mailbox.put(starts(met[0]))
    assert mailbox.take() == starts(met[0])
    mailbox.put(Disconnected(met[0], "first"))
    mailbox.put(starts(met[1]))
    mailbox.put(Disconnected(met[1], "second"))
    assert mailbox.take() == Disconnected(met[0], "first")
    assert mailbox.take() == starts(met[1])
    for link in passing:
        mailbox.put(starts(link))
        mailbox.put(Disconnected(link, "passing"))
    left = drained(mailbox)
    assert left[0] == Disconnected(met[1], "second")
    assert left[1:] == [
        event for link in passing[100:] for event in (starts(link), Disconnected(link, "passing"))
    ]


def test_a_mailbox_is_emptied_in_time_that_grows_with_what_waits() -> None:
    """Eight times as many events take about eight times as long to take out, and not its square."""

    def seconds(count: int) -> float:
        mailbox = Mailbox()
        for n in range(count):
            mailbox.put(Registered(a_service(f"{n}")))
        start = time.process_time()
        while mailbox:
            mailbox.take()
        return time.process_time() - start

    few = min(seconds(2_000) for _ in range(3))
    assert seconds(16_000) < 24 * few


def test_a_reason_is_its_text() -> None:
    """Reasons compare and print as the words that they are."""
    assert [f"{reason}" for reason in FreeReason] == ["freed", "expired", "replaced"]
    assert FreeReason("expired") == "expired"


def test_events_are_values() -> None:
    """Events of the same fact are equal and cannot be changed."""
    link = a_link(dialled=True)
    events: list[Event] = [
        Registered(V1), Updated(V2, V1), Freed(V1, FREED), Connected(link), Accepted(link),
        Synced(link), Disconnected(link, "x"), Heartbeat(1), Displaced(A), Closed(),
    ]  # fmt: skip
    for event in events:
        assert event == attrs.evolve(event)
        assert [each for each in events if each == event] == [event]
        for field in attrs.fields(type(event)):
            with pytest.raises(attrs.exceptions.FrozenInstanceError):
                setattr(event, field.name, None)
