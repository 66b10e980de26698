"""What happens in a registry, as past-tense facts, and a mailbox that keeps them in bounded space.

Per id, `Registered`, `Updated` and `Freed` alternate properly: never a Freed without a Registered
before it, never two Registered in a row. So a view that is kept from a snapshot and the events that
follow equals the registry at every step.

A subscriber that lags must neither delay anyone nor hold unbounded memory. What it has not read yet
is merged: per service into what it still needs to know, per link and kind into the latest. A
service's events keep the place of the first of them, a link's take that of the latest, so the last
one read of either says how it stands.
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from typing import TYPE_CHECKING

import attrs

from .records import Service

if TYPE_CHECKING:
    from .link import Link

__all__ = [
    "Accepted",
    "Closed",
    "Connected",
    "Disconnected",
    "Displaced",
    "Event",
    "FreeReason",
    "Freed",
    "Heartbeat",
    "Mailbox",
    "Registered",
    "Synced",
    "Updated",
]


class FreeReason(enum.StrEnum):
    """Why a service is no longer there; equal to its text."""

    FREED = "freed"
    """Its owner freed it, or left."""
    EXPIRED = "expired"
    """Its owner has not been heard of for too long."""
    REPLACED = "replaced"
    """Another manifest took its id over, or a later incarnation displaced its owner."""


@attrs.frozen
class Registered:
    """A service has appeared."""

    service: Service


@attrs.frozen
class Updated:
    """A service's owner has changed it."""

    service: Service
    before: Service


@attrs.frozen
class Freed:
    """A service has gone."""

    service: Service
    reason: FreeReason


@attrs.frozen
class Connected:
    """A link that this manifest dialled has met its peer."""

    link: Link


@attrs.frozen
class Accepted:
    """A peer has connected to a listener of this manifest, and has said who it is."""

    link: Link


@attrs.frozen
class Synced:
    """All that the peer held when the link was made has arrived."""

    link: Link


@attrs.frozen
class Disconnected:
    """A link has lost its peer."""

    link: Link
    reason: str


@attrs.frozen
class Heartbeat:
    """This manifest has told its peers that it is alive."""

    time: int
    """Milliseconds since 1970, by this manifest's clock."""


@attrs.frozen
class Displaced:
    """A later-born manifest bears this one's name, and this one's services are believed no more."""

    by: str
    """Id of the manifest that displaced this one."""


@attrs.frozen
class Closed:
    """The manifest has closed; no event follows."""


Event = (
    Registered
    | Updated
    | Freed
    | Connected
    | Accepted
    | Synced
    | Disconnected
    | Heartbeat
    | Displaced
    | Closed
)


_MAX_VISITS = 100


class Mailbox:
    """What one subscriber has not read yet: at most two events per id, one per link and kind.

    Ids and links that have come and gone unread cancel out, but for the last 100 of such links: so
    a subscriber that never reads holds no more than there is, however long it goes on. Whoever has
    read that a link met its peer is also told that it has lost it.
    """

    def __init__(self) -> None:
        # Ordered by class: a plain dict finds its first item behind the gaps of all it has lost.
        self._waiting: OrderedDict[object, list[Event]] = OrderedDict()
        # Links that have come and gone unread, the one that went first in front.
        self._visits: OrderedDict[int, None] = OrderedDict()
        # Links whose Disconnected waits for a reader who knows that they were connected.
        self._owed: dict[int, None] = {}
        self.merged = 0
        """How many events were put in that nobody will take out, because the subscriber lagged."""

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def __len__(self) -> int:
        return sum(len(events) for events in self._waiting.values())

    def put(self, event: Event) -> None:
        """Add an event behind those that wait."""
        match event:
            case Registered(service) | Updated(service) | Freed(service):
                self._put_service(service.id, event)
            case Connected(link) | Accepted(link) | Synced(link) | Disconnected(link):
                self._put_latest((id(link), type(event)), event)
                self._note_visit(id(link), ended=isinstance(event, Disconnected))
            case _:
                self._put_latest(type(event), event)

    def take(self) -> Event:
        """Remove and return the event that has waited longest. LookupError where none waits."""
        for key, events in self._waiting.items():
            event = events.pop(0)
            if not events:
                del self._waiting[key]
            match event:
                case Connected(link) | Accepted(link) if id(link) in self._visits:
                    del self._visits[id(link)]
                    self._owed[id(link)] = None
                case Disconnected(link):
                    self._owed.pop(id(link), None)
                case _:
                    pass
            return event
        raise LookupError("no event waits")

    def _put_latest(self, key: object, event: Event) -> None:
        self.merged += self._waiting.pop(key, None) is not None
        self._waiting[key] = [event]

    def _note_visit(self, link: int, *, ended: bool) -> None:
        self._visits.pop(link, None)
        if not ended or link in self._owed:
            return
        if not any((link, kind) in self._waiting for kind in (Connected, Accepted)):
            # The reader has been told that it met its peer, or came when it had.
            self._owed[link] = None
            return
        self._visits[link] = None
        if len(self._visits) > _MAX_VISITS:
            oldest, _ = self._visits.popitem(last=False)
            for kind in (Connected, Accepted, Synced, Disconnected):
                self.merged += self._waiting.pop((oldest, kind), None) is not None

    def _put_service(self, id: str, event: Event) -> None:
        key = ("service", id)
        waiting = self._waiting.setdefault(key, [])
        match (waiting[-1] if waiting else None, event):
            case (Registered(), Updated(after)):
                waiting[-1] = Registered(after)
            case (Updated(_, before), Updated(after)):
                waiting[-1] = Updated(after, before)
            case (Updated(_, before), Freed(_, reason)):
                # What the reader last heard of is what is gone.
                waiting[-1] = Freed(before, reason)
            case (Registered(), Freed()):
                waiting.pop()
                self.merged += 1
                if not waiting:
                    del self._waiting[key]
            case _:
                waiting.append(event)
                return
        self.merged += 1
