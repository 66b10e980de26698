"""What is visible: the services of believed owners, indexed for lookup, and the events of a change.

The map knows every entry; the view shows those whose owner's lease runs, and persistent records
always. It is derived: `refresh` computes what an id should show from the map and the leases,
compares it with what it shows, and tells the difference as events, one by one: as each event is
told, the services are what they are once it has been applied. Nothing here is written back.

A lookup by name costs what bears that name, never the registry. A renewal, which changes nothing
but the timestamp, is put in place of what it renews and disturbs no index.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from .crdt import TOMBSTONE, Entry, LWWMap
from .events import Event, Freed, FreeReason, Registered, Updated
from .ordering import Order, Orders
from .query import Query
from .records import Record, Service, id_of, is_persistent, key_of, service_of

__all__ = ["View"]

K = TypeVar("K")
V = TypeVar("V")


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
        # Made when somebody first asks for a port, which few do, and most ports have one service.
        self._by_port: dict[int, dict[str, Service]] | None = None
        # In which order lookups return them, of the names that were asked for and are there.
        self._orders: dict[str, Orders] = {}
        # Live leased keys per owner, visible or not: what a turn of its lease concerns.
        self._leased: dict[str, dict[str, None]] = {}

    @property
    def services(self) -> Mapping[str, Service]:
        """The visible services by id: the view's own mapping, not a copy."""
        return self._services

    def at_port(self, port: int) -> Iterable[Service]:
        """Return the visible services with a port."""
        if self._by_port is None:
            # Kept once it is whole: Ctrl-C may come meanwhile.
            ports: dict[int, dict[str, Service]] = {}
            for service in self._services.values():
                self._index_port(ports, service)
            self._by_port = ports
        return self._by_port.get(port, {}).values()

    def select(self, query: Query) -> dict[str, Service]:
        """Return what matches, newest version first, then by id."""
        if query.name is None or "id" in query.fields:
            chosen = {each.id: each for each in self._candidates(query) if query.matches(each)}
            return Order((), chosen.values()).read(chosen)
        named = self._by_name.get(query.name)
        if named is None:
            return {}
        orders = self._orders.get(query.name)
        if orders is None:
            orders = self._orders[query.name] = Orders()
        found = orders.read(query.ranges, named)
        if query.fields or query.data:
            return {id: service for id, service in found.items() if query.matches_rest(service)}
        return dict(found)

    def _candidates(self, query: Query) -> Iterable[Service]:
        if "id" in query.fields:
            service = self._services.get(query.fields["id"])
            return () if service is None else (service,)
        if query.fields.get("port") is not None:
            return self.at_port(query.fields["port"])
        return self._services.values()

    # Changes

    def refresh(
        self, key: str, before: Entry[str, Record] | None, after: Entry[str, Record] | None
    ) -> None:
        """Show what a key's entry means now; `before` is the entry as of the last refresh."""
        if is_persistent(key):
            self._show(id_of(key), FreeReason.EXPIRED)
            return
        holder = _holder(after)
        self._index_lease(key, _holder(before), holder)
        # A fresh node gets nearly all that there is before it may believe the owners.
        if key in self._services or (holder is not None and self._believes(holder)):
            self._show(key, FreeReason.EXPIRED)

    def turn(self, node: str, reason: FreeReason) -> None:
        """Show or hide the services of a node whose lease has turned; `reason` is why they go."""
        for key in list(self._leased.get(node, ())):
            self._show(key, reason)

    def _index_lease(self, key: str, before: str | None, after: str | None) -> None:
        if before == after:
            return
        if before is not None:
            _discard(self._leased, before, key)
        if after is not None:
            self._leased.setdefault(after, {})[key] = None

    def _visible(self, id: str) -> Service | None:
        """Return what an id should show: of a leased and a persistent record, the later-written."""
        entry = self._entries.entry(id)
        if entry is not None and (entry.value is TOMBSTONE or not self._believes(entry.stamp.node)):
            entry = None
        if self._entries.any_permanent:
            kept = self._entries.entry(key_of(id, persistent=True))
            if (
                kept is not None
                and kept.value is not TOMBSTONE
                and (entry is None or kept.stamp > entry.stamp)
            ):
                entry = kept
        return None if entry is None else service_of(entry)

    def _show(self, id: str, lapse: FreeReason) -> None:
        before, after = self._services.get(id), self._visible(id)
        if before is not None:
            if after is not None and _is_one(before, after):
                self._replace(before, after)
                if before != after:
                    self._emit(Updated(after, before))
                return
            self._remove(before)
            self._emit(Freed(before, self._why_gone(before, lapse)))
        if after is not None:
            self._add(id, after)
            self._emit(Registered(after))

    def _why_gone(self, service: Service, lapse: FreeReason) -> FreeReason:
        """Return why a service is not shown any more; `lapse` is why its owner is not believed."""
        entry = self._entries.entry(key_of(service.id, persistent=service.persistent))
        if entry is None:
            return FreeReason.EXPIRED
        if entry.is_tombstone:
            return FreeReason.FREED
        if entry.stamp.node == service.owner and not self._believes(service.owner):
            # A persistent service does not go with its owner, only for one that was written later.
            return FreeReason.REPLACED if service.persistent else lapse
        return FreeReason.REPLACED

    def _add(self, id: str, service: Service) -> None:
        name = service.name
        self._services[id] = service
        named = self._by_name.get(name)
        if named is None:
            self._by_name[name] = {id: service}
        else:
            named[id] = service
        if self._by_port is not None:
            self._index_port(self._by_port, service)
        if name in self._orders:
            self._orders[name].add(service)

    def _index_port(self, ports: dict[int, dict[str, Service]], service: Service) -> None:
        if service.port is not None:
            ports.setdefault(service.port, {})[service.id] = service

    def _remove(self, service: Service) -> None:
        name = service.name
        del self._services[service.id]
        _discard(self._by_name, name, service.id)
        if service.port is not None and self._by_port is not None:
            _discard(self._by_port, service.port, service.id)
        if name in self._orders:
            if name in self._by_name:
                self._orders[name].remove(service)
            else:
                del self._orders[name]

    def _replace(self, before: Service, after: Service) -> None:
        if (before.role, before.port) != (after.role, after.port):
            self._remove(before)
            self._add(after.id, after)
            return
        id, name = after.id, after.name
        self._services[id] = self._by_name[name][id] = after
        if after.port is not None and self._by_port is not None:
            self._by_port[after.port][id] = after
        if name in self._orders:
            self._orders[name].replace(after)


def _is_one(before: Service, after: Service) -> bool:
    """Tell whether two states are of one registration, rather than of two that share an id."""
    return before.owner == after.owner and before.persistent == after.persistent


def _holder(entry: Entry[str, Record] | None) -> str | None:
    return None if entry is None or entry.value is TOMBSTONE else entry.stamp.node


def _discard(index: dict[K, dict[str, V]], key: K, id: str) -> None:
    members = index[key]
    del members[id]
    if not members:
        del index[key]
