"""A view over a map without a replica, watched by a reader who believes nothing but its events."""

from __future__ import annotations

from collections.abc import Iterable

from manifest.crdt import Change, Delta, Entry, LWWMap, Stamp, from_milliseconds
from manifest.events import Event, Freed, FreeReason, Registered, Updated
from manifest.query import parse_query
from manifest.records import Record, Service, is_persistent, key_of, service_of
from manifest.versions import precedence
from manifest.view import View


class Watched:
    """A map, who is believed, the view of both, and a model kept from the view's events alone.

    The model is compared with the view as each event is told, so no event may be early or late.
    """

    def __init__(self, *believed: str) -> None:
        self.map: LWWMap[str, Record] = LWWMap(is_persistent)
        self.believed = set(believed)
        self.view = View(self.map, self.believes, self._tell)
        self.model: dict[str, Service] = {}
        self.events: list[Event] = []

    def believes(self, node: str) -> bool:
        return node in self.believed

    def _tell(self, event: Event) -> None:
        self.events.append(event)
        match event:
            case Registered(service):
                assert service.id not in self.model
                self.model[service.id] = service
            case Updated(service, before):
                assert self.model[service.id] == before != service
                assert (before.owner, before.persistent) == (service.owner, service.persistent)
                self.model[service.id] = service
            case Freed(service):
                assert self.model.pop(service.id) == service
            case _:
                raise AssertionError(f"a view tells of services alone, not {event}")
        assert self.model == self.view.services

    def told(self) -> list[Event]:
        """Return what was told since the last call."""
        events, self.events = self.events, []
        return events

    # What happens

    def write(
        self, id: str, record: Record | None, time: int, node: str, *, persistent: bool = False
    ) -> None:
        """Write a record, or free one, as the node would at this time in milliseconds."""
        key, stamp = key_of(id, persistent=persistent), Stamp(from_milliseconds(time), node)
        changes = (
            self.map.delete(key, stamp) if record is None else self.map.set(key, record, stamp)
        )
        self._apply(changes)

    def join(self, entries: Iterable[Entry[str, Record]], horizon: int = 0) -> None:
        """Join entries from elsewhere, and the horizon under which they were collected."""
        self._apply(self.map.join(Delta(tuple(entries), horizon=horizon)))

    def collect(self, horizon: int) -> None:
        """Drop what lies at or under a horizon, in milliseconds."""
        self._apply(self.map.prune(from_milliseconds(horizon)))

    def turn(self, node: str, reason: FreeReason = FreeReason.EXPIRED) -> None:
        """Let the lease of a node lapse where it is believed, and run where it is not."""
        self.believed ^= {node}
        self.view.turn(node, reason)

    def _apply(self, changes: Iterable[Change[str, Record]]) -> None:
        for change in changes:
            self.view.refresh(change.key, change.before, change.after)

    # What is to be seen, worked out from scratch

    def visible(self) -> dict[str, Service]:
        """Return what the view should show, by its definition."""
        latest: dict[str, Entry[str, Record]] = {}
        for _, entry in self.map.journal():
            service = service_of(entry)
            if service is None or not (service.persistent or self.believes(service.owner)):
                continue
            rival = latest.get(service.id)
            if rival is None or _rank(rival) < _rank(entry):
                latest[service.id] = entry
        services = (service_of(entry) for entry in latest.values())
        return {service.id: service for service in services if service is not None}

    def found(self, query: object) -> list[Service]:
        """Return what a lookup should return, by its definition, in its order."""
        parsed = parse_query(query)
        found = [service for service in self.visible().values() if parsed.matches(service)]
        found.sort(key=lambda service: service.id)
        found.sort(key=lambda service: precedence(service.version), reverse=True)
        return found

    def select(self, query: object) -> list[Service]:
        """Return what a lookup returns."""
        found = self.view.select(parse_query(query))
        assert [service.id for service in found.values()] == list(found)
        return list(found.values())


def _rank(entry: Entry[str, Record]) -> tuple[Stamp, bool]:
    """Return what decides between twins; only a broken writer gives both one stamp."""
    return entry.stamp, not is_persistent(entry.key)
