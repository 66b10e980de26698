"""What is visible: the services of believed owners, indexed for lookup, and the events of a change.

The map knows every entry; the view shows those whose owner's lease runs, and persistent records
always. It is derived: `refresh` computes what an id should show from the map and the leases,
compares it with what it shows, and tells the difference as events. Nothing here is written back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from .crdt import Entry, LWWMap
from .events import Event, Freed, FreeReason, Registered, Updated
from .query import Query
from .records import Record, Service, id_of, is_persistent, key_of, service_of
from .versions import precedence

__all__ = ["View"]

K = TypeVar("K")


class View:
    """The visible services of a map, by id, name, owner and port."""

    def __init__(
        self,
        entries: LWWMap[str, Record],
        believes: Callable[[str], bool],
        emit: Callable[[Event], None],
    ) -> None:
        self._entries = entries
        self._believes = believes
        self._emit = emit
        self._services: dict[str, Service] = {}
        self._by_name: dict[str, dict[str, Service]] = {}
        self._by_port: dict[int, dict[str, Service]] = {}
        # Services of a name with the newest version first, until the next change of one of them.
        self._sorted: dict[str, dict[str, Service]] = {}
        # Live leased keys per owner, visible or not: what a turn of its lease concerns.
        self._leased: dict[str, dict[str, None]] = {}

    @property
    def services(self) -> Mapping[str, Service]:
        """The visible services by id: the view's own mapping, not a copy."""
        return self._services

    def at_port(self, port: int) -> Iterable[Service]:
        """Return the visible services with a port."""
        return self._by_port.get(port, {}).values()

    def select(self, query: Query) -> dict[str, Service]:
        """Return what matches, newest version first, then by id."""
        if query.name is None or "id" in query.fields:
            return _newest_first(self._candidates(query), query)
        found = self._sorted.get(query.name)
        if found is None:
            found = _newest_first(self._by_name.get(query.name, {}).values())
            if found:
                self._sorted[query.name] = found
        if query.fields or query.data or query.range is not None:
            return {id: service for id, service in found.items() if query.matches(service)}
        return dict(found)

    def _candidates(self, query: Query) -> Iterable[Service]:
        if "id" in query.fields:
            service = self._services.get(query.fields["id"])
            return () if service is None else (service,)
        if "port" in query.fields:
            return self.at_port(query.fields["port"])
        return self._services.values()

    # Changes

    def refresh(
        self, key: str, before: Entry[str, Record] | None, after: Entry[str, Record] | None
    ) -> None:
        """Show what a key's entry means now; `before` is the entry as of the last refresh."""
        if not is_persistent(key):
            self._index_lease(key, before, after)
        if after is None:
            gone = FreeReason.EXPIRED
        else:
            gone = FreeReason.FREED if after.is_tombstone else FreeReason.REPLACED
        self._show(id_of(key), gone, FreeReason.REPLACED)

    def turn(self, node: str, reason: FreeReason) -> None:
        """Show or hide the services of a node whose lease has turned."""
        for key in list(self._leased.get(node, ())):
            self._show(key, reason, reason)

    def _index_lease(
        self, key: str, before: Entry[str, Record] | None, after: Entry[str, Record] | None
    ) -> None:
        if before is not None and not before.is_tombstone:
            owned = self._leased[before.stamp.node]
            del owned[key]
            if not owned:
                del self._leased[before.stamp.node]
        if after is not None and not after.is_tombstone:
            self._leased.setdefault(after.stamp.node, {})[key] = None

    def _visible(self, id: str) -> Service | None:
        """Return what an id should show: of a leased and a persistent record, the later-written."""
        leased = self._entries.entry(id)
        if leased is not None and (leased.is_tombstone or not self._believes(leased.stamp.node)):
            leased = None
        kept = self._entries.entry(key_of(id, persistent=True))
        if kept is not None and kept.is_tombstone:
            kept = None
        if leased is None or (kept is not None and kept.stamp > leased.stamp):
            leased = kept
        return None if leased is None else service_of(leased)

    def _show(self, id: str, gone: FreeReason, replaced: FreeReason) -> None:
        before, after = self._services.get(id), self._visible(id)
        if before is not None:
            self._remove(before)
        if after is not None:
            self._add(after)
        match before, after:
            case (None, None):
                return
            case (None, Service() as service):
                self._emit(Registered(service))
            case (Service() as service, None):
                self._emit(Freed(service, gone))
            case (Service() as old, Service() as new):
                if (old.owner, old.persistent) != (new.owner, new.persistent):
                    self._emit(Freed(old, replaced))
                    self._emit(Registered(new))
                elif old != new:
                    self._emit(Updated(new, old))

    def _add(self, service: Service) -> None:
        name = service.name
        self._services[service.id] = service
        self._by_name.setdefault(name, {})[service.id] = service
        if service.port is not None:
            self._by_port.setdefault(service.port, {})[service.id] = service
        self._sorted.pop(name, None)

    def _remove(self, service: Service) -> None:
        name = service.name
        del self._services[service.id]
        _discard(self._by_name, name, service.id)
        if service.port is not None:
            _discard(self._by_port, service.port, service.id)
        self._sorted.pop(name, None)


def _discard(index: dict[K, dict[str, Service]], key: K, id: str) -> None:
    members = index[key]
    del members[id]
    if not members:
        del index[key]


def _newest_first(services: Iterable[Service], query: Query | None = None) -> dict[str, Service]:
    chosen = [service for service in services if query is None or query.matches(service)]
    chosen.sort(key=lambda service: service.id)
    chosen.sort(key=lambda service: precedence(service.version), reverse=True)
    return {service.id: service for service in chosen}
