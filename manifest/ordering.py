"""The order in which lookups answer: newest version first, then by id.

It is kept up rather than made anew: a service that comes or goes is looked for by bisection among
those that bear its name, so that a lookup costs what it returns, also right after a change. An
order that nobody reads is kept up for as many changes as the name had services when it was last
read, and then dropped: by then sorting them anew is no dearer than having kept them in order.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterable, Mapping

from .ranges import Range
from .records import Service, precedence_of
from .versions import Precedence

__all__ = ["Order", "Orders"]

_RANGES = 16
"""For how many ranges what lies within is kept, of each name."""


class Order:
    """Services whose versions lie in all of some ranges, newest version first, then by id.

    It knows their ids alone. The services themselves are the caller's, by id, and may be replaced
    there by others of the same roles: `replace` says so.
    """

    __slots__ = ("_found", "_ids", "_ranges", "_unread", "_versions")

    def __init__(self, ranges: tuple[Range, ...], services: Iterable[Service]) -> None:
        self._ranges = ranges
        ids: defaultdict[Precedence, list[str]] = defaultdict(list)
        for service in services:
            ids[precedence_of(service.role)].append(service.id)
        # The versions ascend, and so do the ids of each, which have the same place.
        self._versions = sorted(filter(self._covers, ids))
        self._ids = [sorted(ids[version]) for version in self._versions]
        self._found: dict[str, Service] | None = None
        # How many more changes it is kept up for before somebody reads it.
        self._unread = 0

    def read(self, services: Mapping[str, Service]) -> dict[str, Service]:
        """Return the services in order, of all that may be in it. Not a copy."""
        self._unread = len(services)
        found = self._found
        if found is None:
            newest_first = reversed(self._ids)
            found = self._found = {id: services[id] for ids in newest_first for id in ids}
        return found

    def ages_out(self) -> bool:
        """Count one more change, and tell whether nobody has read it for too many."""
        self._unread -= 1
        return self._unread < 0

    def add(self, version: Precedence, id: str) -> None:
        """Take in a service that has come, if it lies within."""
        if not self._covers(version):
            return
        place = bisect_left(self._versions, version)
        if self._versions[place : place + 1] == [version]:
            insort(self._ids[place], id)
        else:
            self._versions.insert(place, version)
            self._ids.insert(place, [id])
        self._found = None

    def remove(self, version: Precedence, id: str) -> None:
        """Leave out a service that has gone, if it lay within."""
        if not self._covers(version):
            return
        place = bisect_left(self._versions, version)
        ids = self._ids[place]
        del ids[bisect_left(ids, id)]
        if not ids:
            del self._versions[place], self._ids[place]
        self._found = None

    def replace(self, service: Service) -> None:
        """Show a service in place of the one that has its id and its role."""
        if self._found is not None and service.id in self._found:
            self._found[service.id] = service

    def _covers(self, version: Precedence) -> bool:
        return all(wanted.covers(version) for wanted in self._ranges)


class Orders:
    """The orders of one name that are asked for: of all its services, or within ranges."""

    __slots__ = ("_orders",)

    def __init__(self) -> None:
        self._orders: dict[tuple[Range, ...], Order] = {}

    def read(
        self, ranges: tuple[Range, ...], services: Mapping[str, Service]
    ) -> Mapping[str, Service]:
        """Return those of the services of the name that lie in all of these ranges, in order."""
        order = self._orders.get(ranges)
        if order is None:
            order = Order(ranges, services.values())
            ranged = [each for each in self._orders if each]
            if ranges and len(ranged) == _RANGES:
                del self._orders[ranged[0]]
            self._orders[ranges] = order
        return order.read(services)

    def add(self, service: Service) -> None:
        """Take in a service that has come."""
        self._drop_idle()
        version, id = precedence_of(service.role), service.id
        for order in self._orders.values():
            order.add(version, id)

    def remove(self, service: Service) -> None:
        """Leave out a service that has gone."""
        self._drop_idle()
        version, id = precedence_of(service.role), service.id
        for order in self._orders.values():
            order.remove(version, id)

    def replace(self, service: Service) -> None:
        """Show a service in place of the one that has its id and its role."""
        for order in self._orders.values():
            order.replace(service)

    def _drop_idle(self) -> None:
        idle = [ranges for ranges, order in self._orders.items() if order.ages_out()]
        for ranges in idle:
            del self._orders[ranges]
