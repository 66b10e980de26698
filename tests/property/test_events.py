"""Whenever a subscriber reads, and however late, its model ends up as the registry is."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from manifest.events import (
    Accepted,
    Connected,
    Disconnected,
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
from manifest.records import Service
from tests.samples import a_link, a_service

IDS = "xyz"
steps = st.one_of(
    st.tuples(st.just("change"), st.sampled_from(IDS), st.integers(0, 3)),
    st.tuples(st.just("free"), st.sampled_from(IDS), st.sampled_from(FreeReason)),
    st.tuples(st.just("link"), st.integers(0, 2), st.sampled_from(["up", "synced", "down"])),
    st.tuples(st.just("heartbeat")),
    st.tuples(st.just("read"), st.integers(1, 6)),
)


class Reader:
    """A subscriber's model: what it takes the registry and the links to be, by what it has read."""

    def __init__(self) -> None:
        self.services: dict[str, Service] = {}
        self.links: dict[Link, Event] = {}

    def read(self, event: Event) -> None:
        match event:
            case Registered(service):
                assert service.id not in self.services
                self.services[service.id] = service
            case Updated(service, before):
                assert self.services[service.id] == before
                self.services[service.id] = service
            case Freed(service):
                assert self.services.pop(service.id) == service
            case Connected(link) | Accepted(link) | Synced(link) | Disconnected(link):
                self.links[link] = event
            case _:
                pass


@given(st.lists(steps, max_size=60))
def test_the_readers_model_is_right_wherever_it_reads(history: list[Any]) -> None:
    """What was read changes the model lawfully, and once all is read the model is the truth.

    On the way: at most two events wait for a service, one of a kind for a link, and every event
    that was put is read, waits, or has been counted as merged.
    """
    mailbox, reader, truth = Mailbox(), Reader(), Reader()
    links = [a_link(dialled=True), a_link(dialled=True), a_link(dialled=True)]
    put = taken = 0
    for step in [*history, ("read", 1_000)]:
        event: Event
        match step:
            case "read", count:
                for _ in range(min(count, len(mailbox))):
                    reader.read(mailbox.take())
                    taken += 1
                assert put == taken + len(mailbox) + mailbox.merged
                continue
            case "change", id, n:
                before, service = truth.services.get(id), a_service(id, n=n)
                event = Registered(service) if before is None else Updated(service, before)
            case "free", id, reason:
                if id not in truth.services:
                    continue
                event = Freed(truth.services[id], reason)
            case "link", number, what:
                link = links[number]
                happened: dict[str, Event] = {
                    "up": Connected(link),
                    "synced": Synced(link),
                    "down": Disconnected(link, f"{put}"),
                }
                event = happened[what]
            case _:
                event = Heartbeat(put)
        truth.read(event)
        mailbox.put(event)
        put += 1
        waiting = [each for events in mailbox._waiting.values() for each in events]
        kinds = Counter(
            (type(each), each.link) if hasattr(each, "link") else type(each)
            for each in waiting
            if not isinstance(each, Registered | Updated | Freed)
        )
        assert all(count == 1 for count in kinds.values())
        ids = Counter(
            each.service.id for each in waiting if isinstance(each, Registered | Updated | Freed)
        )
        assert all(count <= 2 for count in ids.values())
    assert reader.services == truth.services
    assert reader.links == truth.links
    assert not mailbox


visits = st.tuples(st.sampled_from(["come", "go", "read"]), st.integers(1, 120))


@given(st.lists(visits, max_size=12))
def test_who_meets_a_link_learns_of_its_end(history: list[tuple[str, int]]) -> None:
    """However many links come and go unread: each that was read of at all is read of to its end.

    And what waits is bounded by the links that are open, that the reader knows, and 100 more.
    """
    mailbox, open_links = Mailbox(), list[Link]()
    met, ended = dict[Link, None](), dict[Link, None]()
    for what, count in [*history, ("read", 100_000)]:
        if what == "come":
            come = [a_link(dialled=False) for _ in range(count)]
            open_links += come
            for link in come:
                mailbox.put(Accepted(link))
                mailbox.put(Synced(link))
        elif what == "go":
            for link in open_links[:count]:
                mailbox.put(Disconnected(link, "gone"))
            del open_links[:count]
        else:
            for _ in range(min(count, len(mailbox))):
                match mailbox.take():
                    case Accepted(link):
                        met[link] = None
                    case Disconnected(link):
                        assert link in met
                        ended[link] = None
                    case Synced(link):
                        assert link in met
                        assert link not in ended
        assert len(mailbox) <= 3 * 100 + 2 * len(open_links) + 2 * len(met.keys() - ended)
    assert met.keys() - ended == set(open_links)
