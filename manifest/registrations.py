"""What one manifest registers and frees: the ids that it makes, and what waits for its address.

A registration without an address is filled in once this host's is known: it stands without one
until then, or waits and is not there yet. Nobody else knows what waits, so it is kept here and not
in the replica, and here `free` looks for it too.
"""

from __future__ import annotations

from collections.abc import Callable

from .bounds import check_registration
from .crdt import Stamp
from .errors import NotOwner
from .options import Options
from .records import Record, Service, check_id, key_of, owner_of, service_of
from .replica import Replica

__all__ = ["ADDRESS_BYTES", "Registrations"]

ADDRESS_BYTES = 255
"""The longest address of this host that is believed."""


class Registrations:
    """What a manifest writes to its replica; `told` is called whenever it has."""

    def __init__(self, replica: Replica, options: Options, told: Callable[[], None]) -> None:
        self.address = None if options.advertise is None else options.advertise.host
        """This host's, once it is known."""
        self._replica = replica
        self._told = told
        self._limits = options.limits
        self._ids = 0
        self._waiting: dict[str, Record] = {}
        """What is not there yet, by key."""
        self._addressless: dict[str, Record] = {}
        """What was registered without an address, to be written again with it."""

    def register(self, record: Record, *, id: str | None, persistent: bool, waits: bool) -> Service:
        """Register a record, with this host's address where it has none.

        Where that is not known yet, it `waits` or is registered without. ValueError where it is too
        large, `LimitReached` where there are too many, `NotOwner` for an id that is bound to
        another manifest.
        """
        if id is None:
            key = self._new_key(persistent=persistent)
        else:
            key = key_of(check_id(id), persistent=persistent)
            if owner_of(key) not in (None, self._replica.node):
                raise NotOwner(
                    f"the id {id} is bound to the manifest {owner_of(key)}: choose another id"
                )
        if record.address is None and self.address is not None:
            record = record.at(self.address)
        addressless = record.address is None
        # Whatever the address turns out to be, there must be room for it.
        size, limit = record.size(key), self._limits.record_bytes
        if size + addressless * ADDRESS_BYTES > limit:
            raise _too_large(size, limit)
        if key not in self._waiting:
            replica, waiting = self._replica, len(self._waiting)
            check_registration(self._limits, replica.map, replica.node, key, waiting=waiting)
        if self._addressless or self._waiting:
            self._forget_what_waits(key)
        if addressless and waits:
            self._waiting[key] = record
            return self._in_waiting(key)
        if addressless:
            self._addressless[key] = record
        service = self._replica.write(key, record)
        self._told()
        return service

    def fill_in(self, address: str) -> None:
        """Take an address as this host's, and register what waits for one with it."""
        self.address = address
        addressless = {
            key: record for key, record in self._addressless.items() if self._replica.holds(key)
        }
        records = {**addressless, **self._waiting}
        self.forget_all_that_waits()
        for key, record in records.items():
            self._replica.write(key, record.at(address))
        if records:
            self._told()

    def forget_all_that_waits(self) -> None:
        """Forget what waits for an address, registered by now or not."""
        self._waiting.clear()
        self._addressless.clear()

    def free(self, service: Service, *, port: int | None = None) -> Service | None:
        """Free a service, if it is at that port where one is given."""
        return self._free_first([key_of(service.id, persistent=service.persistent)], port)

    def free_id(self, id: str, *, port: int | None) -> Service | None:
        """Free what an id is most likely to mean, if it is at that port where one is given."""
        return self._free_first(self._keys_of(check_id(id)), port)

    def free_port(self, port: int) -> Service | None:
        """Free what a port is most likely to mean: something of this manifest's own."""
        return self._free_first(self._keys_at(port), port)

    def free_if_mine(self, service: Service) -> None:
        """Free a service, or what waits to be it, if nobody else has taken it over."""
        self._free_if_mine(key_of(service.id, persistent=service.persistent))

    def _new_key(self, *, persistent: bool) -> str:
        """Return the key of an id of this manifest's own that nobody has used, by hand neither."""
        entry_of, waiting = self._replica.map.entry, self._waiting
        while True:
            self._ids += 1
            id = f"{self._replica.node}.{self._ids}"
            lasting = key_of(id, persistent=True)
            taken = id in waiting or lasting in waiting
            if not taken and entry_of(id) is entry_of(lasting) is None:
                return lasting if persistent else id

    def _in_waiting(self, key: str) -> Service:
        """Return what waits under a key as it would be if it were registered now."""
        stamp = Stamp(self._replica.clock.now(), self._replica.node)
        return Service.of(key, stamp, self._waiting[key])

    def _forget_what_waits(self, key: str) -> None:
        """Forget what waits for an address under a key, registered by now or not."""
        self._addressless.pop(key, None)
        self._waiting.pop(key, None)

    def _free_if_mine(self, key: str) -> None:
        # Where both are so, what waits was to take the place of what is there.
        self._forget_what_waits(key)
        if self._replica.holds(key):
            self._replica.free(key)
            self._told()

    # Which keys may be meant, what is most likely to be meant first

    def _keys_of(self, id: str) -> list[str]:
        """Return both keys of an id: that of what is shown first, for it is what is meant."""
        keys = [key_of(id, persistent=False), key_of(id, persistent=True)]
        shown = self._replica.view.services.get(id)
        return keys[::-1] if shown is not None and shown.persistent else keys

    def _keys_at(self, port: int) -> list[str]:
        node = self._replica.node
        mine = [key for key, record in self._waiting.items() if record.port == port]
        theirs: list[str] = []
        for service in self._replica.view.at_port(port):
            keys = mine if service.owner == node else theirs
            keys.append(key_of(service.id, persistent=service.persistent))
        if not mine and not self._replica.leases.believes(node):
            # A displaced manifest's services are its own, and are not shown.
            mine = [key for key, record in self._replica.map.items() if record.port == port]
            mine = [key for key in mine if self._replica.holds(key)]
        return mine + theirs

    def _free_first(self, keys: list[str], port: int | None) -> Service | None:
        """Free what the first key stands for that stands for anything, and return it.

        What waits for an address comes before what it is to take the place of, and both go.
        """
        for key in keys:
            waiting = self._in_waiting(key) if key in self._waiting else None
            for service in (waiting, self._service_at(key)):
                if service is None or port not in (None, service.port):
                    continue
                if service is waiting:
                    self._free_if_mine(key)
                elif service.owner == self._replica.node or service.persistent:
                    self._forget_what_waits(key)
                    self._replica.free(key)
                    self._told()
                else:
                    raise NotOwner(
                        f"{service.role} ({service.id}) belongs to the manifest {service.owner}, "
                        "and only its owner can free it"
                    )
                return service
        return None

    def _service_at(self, key: str) -> Service | None:
        """Return what a key stands for, if its owner is believed or is this manifest."""
        entry = self._replica.map.entry(key)
        service = None if entry is None else service_of(entry)
        if service is None or service.persistent or service.owner == self._replica.node:
            return service
        return service if self._replica.leases.believes(service.owner) else None


def _too_large(size: int, limit: int) -> ValueError:
    most = f"a service has at most {limit} bytes (id, role, address and data together)"
    where = "keep large things elsewhere and register where"
    if size > limit:
        return ValueError(f"{most}, got {size}: {where}")
    return ValueError(
        f"{most}, got {size}, and {ADDRESS_BYTES} more are reserved for this host's address while "
        f"it is not known: {where}; or give it, as address=... or open_manifest(advertise=...)"
    )
