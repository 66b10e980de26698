"""The manifest: a registry that an application opens, writes, reads, and listens to.

`Manifest.run` owns one nursery. Listeners, links and the pulse are its children: a failing link
never fails the manifest. `opening` runs it for the time of a block.

What only reads or writes memory is a plain function: it has happened when it returns, here at
once and at the peers as soon as the links have carried it.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import attrs
import trio

from . import __version__
from .codec import pack_data
from .crdt import Stamp
from .environment import Environment
from .errors import ManifestError, NotOwner, ServiceNotFound
from .events import Closed, Displaced, Event, Freed, Heartbeat, Registered, Updated
from .link import Link
from .listener import Listener
from .network import Address, Stream
from .options import Options
from .protocol import Traffic
from .query import parse_query
from .records import (
    Record,
    Service,
    check_address,
    check_flag,
    check_host,
    check_id,
    check_port,
    key_of,
    owner_of,
    parse_role,
    service_of,
)
from .replica import Replica
from .statistics import LinkStatistics, Statistics
from .structure import structure_role
from .subscription import Subscription
from .timekeeping import PhysicalClock, WakingClock

__all__ = ["Manifest", "ManifestClosed"]

_log = logging.getLogger("manifest")

_ADDRESS_BYTES = 255
"""The longest address of this host that is believed."""


class _Unset:
    def __repr__(self) -> str:
        return "this host's, once it is known"


_UNSET: Final = _Unset()


class ManifestClosed(ManifestError, trio.ClosedResourceError):
    """The manifest has been closed: open a new one."""


@attrs.frozen
class _Waiting:
    """A registration that waits for this host's address."""

    key: str
    record: Record


class Manifest:
    """A registry of services that needs no server: see `open_manifest`, which makes one."""

    def __init__(self, options: Options, environment: Environment) -> None:
        self.environment = environment
        self._options = options
        self._nursery: trio.Nursery
        self._subscriptions: dict[Subscription, None] = {}
        self._links: dict[Link, None] = {}
        self._listeners: dict[Listener, trio.CancelScope] = {}
        self._unbinding: dict[Listener, None] = {}
        self._changed = trio.Event()
        self._ids = 0
        self._waiting: dict[str, _Waiting] = {}
        # What was registered without an address, to be written again with it once it is known.
        self._addressless: dict[str, Record] = {}
        self._own_address: str | None = None
        self._past = Traffic()
        self.refused = 0
        self.said: dict[str, str] = {}
        self._displaced_by: str | None = None
        self._closing = False
        self._ended = trio.Event()
        self._closed = trio.Event()
        self._picks: dict[str, int] = {}
        self._picked = 0
        physical = PhysicalClock(environment.wall, environment.monotonic)
        # A pause of up to two intervals is not credited, and must not make up a lifetime.
        self._pulse_interval = min(
            1.0, options.heartbeat_interval, options.registration_lifetime / 4
        )
        waking = WakingClock(trio.current_time, self._pulse_interval)
        self.id: str = environment.node_id()
        """Identifies this incarnation: 24 hex digits, never used again."""
        self.replica = Replica(self.id, options, physical, waking, self.emit)
        if options.advertise is not None:
            self._own_address = options.advertise.host

    def __repr__(self) -> str:
        name = f" {self._options.name!r}" if self._options.name else ""
        return f"<Manifest {self.id}{name}, {len(self.replica.view.services)} services>"

    @property
    def name(self) -> str | None:
        """The name that it was opened with."""
        return self._options.name

    # Links

    async def listen(self, port: int = 3100, host: str = "0.0.0.0") -> Listener:
        """Accept links from peers; bound when it returns. Port 0 binds any free one.

        Registers `manifest@<version>` with the address and port that others can use. OSError
        where the port cannot be bound, ValueError for a port or host that cannot be one.
        Checkpoints always; cancelled, it leaves nothing bound.
        """
        self._check_open()
        _check_order("listen", port, host)
        if port != 0 or type(port) is not int:
            check_port(port)
        check_host(host)
        await trio.lowlevel.checkpoint()
        for listener in tuple(self._unbinding):
            await listener._unbound.wait()
        network = self.environment.network
        sockets = await network.listen(host, port)
        try:
            self._check_open()
            addresses = tuple(network.bound(each) for each in sockets)
            listener = self._make_listener(addresses)
            scope = self._listeners[listener] = trio.CancelScope()
            self._nursery.start_soon(self._accept, listener, sockets, scope)
        except BaseException:
            for each in sockets:
                await trio.aclose_forcefully(each)
            raise
        return listener

    def connect(self, port: int = 3100, host: str = "127.0.0.1") -> Link:
        """Keep a link to a peer for as long as this manifest is open, however often it fails.

        Returns at once and never raises for a peer that is down: see `Link.status` and
        `Link.wait_synced`. ValueError for a port or host that cannot be one.
        """
        self._check_open()
        _check_order("connect", port, host)
        link = Link(self, Address(check_host(host), check_port(port)), dialled=True)
        self._links[link] = None
        self._nursery.start_soon(self._run_link, link)
        return link

    @property
    def links(self) -> tuple[Link, ...]:
        """The links that there are, dialled and accepted."""
        return tuple(self._links)

    # Services

    def register(
        self,
        role: str | Mapping[str, Any],
        data: Mapping[str, Any] | None = None,
        *,
        port: int | None = None,
        address: str | _Unset | None = _UNSET,
        id: str | None = None,
        persistent: bool = False,
    ) -> Service:
        """Register a service at once, and return it as it is registered.

        `role` is "name@version" or "name"; or a mapping with role, id, address, port and
        persistent, whose other keys are data. `data` is a small JSON-like mapping. `address` is
        this host's where it is left out: where that is not known yet, the service is registered
        without one, and written again as soon as it is. None waits until it is known and registers
        then. `id` is a shared name, which this takes over from another manifest; without one an id
        is made that this manifest alone can write. Registering an id anew replaces all that was
        said of it: what is left out is not kept. `persistent` services outlive their owner.
        ValueError for anything malformed or too large, `NotOwner` for an id that is bound to
        another manifest.
        """
        self._check_open()
        check_flag(persistent, "persistent")
        if data is not None and not isinstance(data, Mapping):
            raise ValueError(f"data is a mapping such as {{'zone': 'eu'}}, got {data!r:.80}")
        if isinstance(role, Mapping):
            given = structure_role(role)
            data = {**given.data, **(data or {})}
            role, persistent = given.role, persistent or given.persistent
            id = given.id if id is None else id
            port = given.port if port is None else port
            if isinstance(address, _Unset) and given.has_address:
                address = given.address
        parse_role(role)
        key = key_of(self._new_id() if id is None else check_id(id), persistent=persistent)
        if owner_of(key) not in (None, self.id):
            raise NotOwner(
                f"the id {id} is bound to the manifest {owner_of(key)}: choose another id"
            )
        record = Record(
            role,
            self._own_address
            if address is None or isinstance(address, _Unset)
            else check_address(address),
            None if port is None else check_port(port),
            pack_data(data or {}),
        )
        waits = record.address is None
        # Whatever the address turns out to be, there must be room for it.
        size, limit = record.size(key) + waits * _ADDRESS_BYTES, self._options.limits.record_bytes
        if size > limit:
            raise ValueError(
                f"a service has at most {limit} bytes (id, role, address and data together), got "
                f"{size}: keep large things elsewhere and register where"
            )
        self._forget_what_waits(key)
        if waits and address is None:
            self._waiting[key] = _Waiting(key, record)
            return self._service_in_waiting(key)
        if waits:
            self._addressless[key] = record
        service = self.replica.write(key, record)
        self.gossip(urgent=True)
        return service

    @contextmanager
    def registered(
        self,
        role: str | Mapping[str, Any],
        data: Mapping[str, Any] | None = None,
        *,
        port: int | None = None,
        address: str | _Unset | None = _UNSET,
        id: str | None = None,
        persistent: bool = False,
    ) -> Generator[Service]:
        """Register a service for the time of a `with` block, however it ends.

        Otherwise as `register`. A service that somebody else took over meanwhile stays theirs.
        """
        service = self.register(
            role, data, port=port, address=address, id=id, persistent=persistent
        )
        try:
            yield service
        finally:
            if not self._closing:
                self._free_if_mine(key_of(service.id, persistent=service.persistent))

    def free(
        self, service: Service | None = None, *, id: str | None = None, port: int | None = None
    ) -> Service | None:
        """Take a service off the registry at once; return it, or None where there is none such.

        By the service, by its id, by its port, or by id and port both. Of several services at a
        port one of this manifest's own is meant. `NotOwner` where what is meant is another
        manifest's; persistent services anyone may free.
        """
        self._check_open()
        if port is not None:
            check_port(port)
        if service is not None and not isinstance(service, Service):
            raise ValueError(
                f"free(service) takes what register returned, got {service!r:.80}; for an id say "
                "free(id=...), for a port free(port=...)"
            )
        if service is not None and id in (None, service.id):
            return self._free_first([key_of(service.id, persistent=service.persistent)], port)
        if service is None and id is not None:
            return self._free_first(self._keys_of(check_id(id)), port)
        if service is None and port is not None:
            return self._free_first(self._keys_at(port), port)
        raise ValueError("say what to free: free(service), free(id=...) or free(port=...)")

    def services(self) -> dict[str, Service]:
        """Return all visible services by id: a copy."""
        return dict(self.replica.view.services)

    def get(self, query: str | Mapping[str, Any]) -> dict[str, Service]:
        """Return the visible services that match, by id, newest version first.

        A name ("web"), a version ("web@1.2.3"), a range in npm's grammar ("web@^1.2"), or a mapping
        of fields and data that must be equal ({"role": "web", "zone": "eu"}). ValueError otherwise.
        """
        return self.replica.view.select(parse_query(query))

    async def wait_for(self, query: str | Mapping[str, Any]) -> dict[str, Service]:
        """Wait until at least one service matches, and return what `get` returns then.

        Checkpoints always. `ManifestClosed` where the manifest closes meanwhile.
        """
        parsed = parse_query(query)
        await trio.lowlevel.checkpoint()
        while not (found := self.replica.view.select(parsed)):
            self._check_open()
            await self._changed.wait()
        return found

    def pick(self, query: str | Mapping[str, Any]) -> Service:
        """Return one matching service: the one that was picked longest ago, any among equals.

        `ServiceNotFound`, a LookupError, where none matches.
        """
        found = self.get(query)
        if not found:
            advice = (
                f"the manifest {self.id} is closed"
                if self._closing
                else "await wait_for(...) waits until there is one"
            )
            raise ServiceNotFound(f"no service matches {query!r:.80}: {advice}")
        longest_ago = min(self._picks.get(id, 0) for id in found)
        ids = [id for id in found if self._picks.get(id, 0) == longest_ago]
        id = ids[self.environment.random.randrange(len(ids))]
        self._picked += 1
        self._picks[id] = self._picked
        return found[id]

    @asynccontextmanager
    async def events(self) -> AsyncGenerator[Subscription, None]:
        """Subscribe to what happens, for the time of an `async with` block.

        There is no checkpoint between the subscription's snapshot and the block.
        """
        self._check_open()
        # Too short for the manifest to close meanwhile, so that `Closed` is missed by nobody.
        await trio.lowlevel.checkpoint()
        subscription = Subscription(self.replica.view.services)
        self._subscriptions[subscription] = None
        try:
            yield subscription
        finally:
            del self._subscriptions[subscription]
            subscription.close()

    def statistics(self) -> Statistics:
        """Return what this manifest holds and what its links have carried, as of now."""
        links = tuple(
            LinkStatistics(link.status, link.dialled, link.traffic) for link in self._links
        )
        traffic = sum((link.traffic for link in links), start=self._past)
        return Statistics(
            id=self.id,
            services=len(self.replica.view.services),
            entries=len(self.replica.map),
            tombstones=self.replica.map.tombstones,
            nodes=len(self.replica.leases.believed),
            links=links,
            bytes_sent=traffic.bytes_sent,
            bytes_received=traffic.bytes_received,
            subscribers=len(self._subscriptions),
            lag=max((len(each) for each in self._subscriptions), default=0),
            merged=sum(each.merged for each in self._subscriptions),
            refused=self.refused,
            paused=self.replica.waking.paused,
            displaced_by=None if self.replica.leases.believes(self.id) else self._displaced_by,
        )

    @trio.lowlevel.enable_ki_protection
    async def aclose(self) -> None:
        """Leave: free what this manifest registered, tell the peers, end all links and listeners.

        The peers have `timeouts.close` seconds to take it. May be repeated; leaving the `async
        with` block does the same. Cancelled, it still leaves, without waiting for the peers.
        Nothing of the manifest runs or is bound any more when it returns.
        """
        if self._closing:
            await self._closed.wait()
            return
        self._closing = True
        try:
            for listener in tuple(self._listeners):
                listener.close()
            self._waiting.clear()
            self._addressless.clear()
            self.replica.leave()
            with trio.move_on_after(self._options.timeouts.close):
                await self._say_goodbye()
        finally:
            self._nursery.cancel_scope.cancel()
            try:
                # Everything in there has been cancelled, so this takes no longer than that.
                with trio.CancelScope(shield=True):
                    await self._ended.wait()
            finally:
                # Ctrl-C comes through any shield. Whoever closes it as well must not wait for ever.
                self.emit(Closed())
                self._closed.set()

    # For the links

    @property
    def listening(self) -> str | None:
        """Where peers can reach this manifest, as `host:port`, or None where it does not listen."""
        return next((str(listener.shown) for listener in self._listeners), None)

    def emit(self, event: Event) -> None:
        """Tell the subscribers, and whoever waits for a service."""
        for subscription in self._subscriptions:
            subscription.put(event)
        match event:
            case Registered() | Updated() | Closed():
                self._changed.set()
                self._changed = trio.Event()
            case Freed(service):
                self._picks.pop(service.id, None)
            case Displaced(by):
                self._displaced_by = by
                _log.warning(
                    "%s: the later-born manifest %s bears this one's name, %r, and displaces it: "
                    "its services are not believed any more; give one of them another name",
                    self.id,
                    by,
                    self._options.name,
                )

    def gossip(self, *, urgent: bool) -> None:
        """Wake every link: the replica has changed."""
        for link in self._links:
            if link.connection is not None:
                link.connection.wake(urgent=urgent)

    def learn_address(self, host: str) -> None:
        """Take note of an address of this host, if it is a better one than is known.

        It may be what a peer says, which is believed only if it could be registered. An address
        that others can reach replaces one of the loopback interface.
        """
        mine = self._own_address
        if self._options.advertise is not None or not (
            mine is None or (Address(mine, 0).is_loopback and not Address(host, 0).is_loopback)
        ):
            return
        try:
            check_address(host)
        except ValueError:
            return
        if len(host.encode()) > _ADDRESS_BYTES:
            return
        self._own_address = host
        self._register_waiting()

    # Tasks

    @trio.lowlevel.enable_ki_protection
    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run what runs as long as the manifest is open, until the nursery in it is cancelled.

        Ctrl-C is left to the main task, here and in the other tasks: it ends the application's
        block, and the manifest says goodbye.
        """
        try:
            async with trio.open_nursery() as self._nursery:
                task_status.started()
                # Opened under a cancelled scope, it ends here: nobody would cancel it later.
                await trio.lowlevel.checkpoint_if_cancelled()
                # The links are needed to say goodbye when the application is cancelled.
                self._nursery.cancel_scope.shield = True
                self._nursery.start_soon(self._pulse)
                await trio.sleep_forever()
        finally:
            self._ended.set()

    @trio.lowlevel.enable_ki_protection
    async def _pulse(self) -> None:
        """Let time pass for the replica, and say every now and then that it is alive."""
        replica, interval = self.replica, self._options.heartbeat_interval
        due = trio.current_time() + interval
        while True:
            wake_at = min(due, trio.current_time() + self._pulse_interval)
            lapse = replica.leases.next_deadline() + replica.waking.paused
            await trio.sleep_until(min(wake_at, max(lapse, trio.current_time() + 0.001)))
            if replica.pulse(self._pulse_interval):
                self.gossip(urgent=False)
            if trio.current_time() >= due:
                replica.heartbeat()
                for link in self._links:
                    if link.connection is not None:
                        link.connection.protocol.keep_alive()
                self.gossip(urgent=False)
                self.emit(Heartbeat(replica.physical.now()))
                due = max(due + interval, trio.current_time())

    @trio.lowlevel.enable_ki_protection
    async def _run_link(self, link: Link) -> None:
        try:
            await link.run()
        finally:
            self._forget_link(link)

    @trio.lowlevel.enable_ki_protection
    async def _accept(
        self, listener: Listener, sockets: list[trio.abc.Listener[Stream]], scope: trio.CancelScope
    ) -> None:
        try:
            with scope:
                await trio.serve_listeners(self._serve, sockets, handler_nursery=self._nursery)
        finally:
            self._stop_listening(listener)
            self._unbinding.pop(listener)
            listener._unbound.set()

    @trio.lowlevel.enable_ki_protection
    async def _serve(self, stream: Stream) -> None:
        link = Link(self, self.environment.network.remote(stream), dialled=False)
        self._links[link] = None
        try:
            await link.serve(stream)
        finally:
            self._forget_link(link)

    async def _say_goodbye(self) -> None:
        async with trio.open_nursery() as nursery:
            for link in list(self._links):
                nursery.start_soon(link.say_goodbye)

    # Pieces of the above

    def _check_open(self) -> None:
        if self._closing:
            raise ManifestClosed(f"the manifest {self.id} is closed: open a new one")

    def _new_id(self) -> str:
        """Return an id of this manifest's own that nobody has used, by hand neither."""
        while True:
            self._ids += 1
            id = f"{self.id}.{self._ids}"
            keys = self._keys_of(id)
            entries = [self.replica.map.entry(key) for key in keys]
            if not any(entries) and not any(key in self._waiting for key in keys):
                return id

    def _service_in_waiting(self, key: str) -> Service:
        waiting = self._waiting[key]
        return Service.of(key, Stamp(self.replica.clock.now(), self.id), waiting.record)

    def _forget_link(self, link: Link) -> None:
        del self._links[link]
        self._past += link.traffic

    def _make_listener(self, addresses: tuple[Address, ...]) -> Listener:
        """Register `manifest@<version>` where others can reach it, and return the listener."""
        shown = Address(self._address_of_listener(addresses), addresses[0].port)
        self.learn_address(shown.host)
        advertised = self._options.advertise
        if advertised is not None:
            shown = Address(advertised.host, advertised.port or shown.port)
        service = self.register(f"manifest@{__version__}", port=shown.port, address=shown.host)
        return Listener(addresses, shown, service, self._stop_listening)

    def _address_of_listener(self, addresses: tuple[Address, ...]) -> str:
        for address in addresses:
            if not address.is_wildcard:
                return address.host
        return self.environment.network.own_address()

    def _stop_listening(self, listener: Listener) -> None:
        scope = self._listeners.pop(listener, None)
        if scope is None:
            return
        self._unbinding[listener] = None
        scope.cancel()
        if not self._closing:
            self._free_if_mine(listener.service.id)

    def _register_waiting(self) -> None:
        waiting, self._waiting = self._waiting, {}
        addressless, self._addressless = self._addressless, {}
        records = {key: record for key, record in addressless.items() if self.replica.holds(key)}
        records.update((each.key, each.record) for each in waiting.values())
        for key, record in records.items():
            self.replica.write(key, attrs.evolve(record, address=self._own_address))
        if records:
            self.gossip(urgent=True)

    def _forget_what_waits(self, key: str) -> None:
        """Forget what waits for an address under a key, registered by now or not."""
        self._addressless.pop(key, None)
        self._waiting.pop(key, None)

    def _free_if_mine(self, key: str) -> None:
        # Where both are so, what waits was to take the place of what is there.
        self._forget_what_waits(key)
        if self.replica.holds(key):
            self.replica.free(key)
            self.gossip(urgent=True)

    # Which keys `free` may mean, what it is most likely to mean first

    def _keys_of(self, id: str) -> list[str]:
        """Return both keys of an id: that of what is shown first, for it is what is meant."""
        keys = [key_of(id, persistent=False), key_of(id, persistent=True)]
        shown = self.replica.view.services.get(id)
        return keys[::-1] if shown is not None and shown.persistent else keys

    def _keys_at(self, port: int) -> list[str]:
        mine: list[str] = [key for key, each in self._waiting.items() if each.record.port == port]
        theirs: list[str] = []
        for service in self.replica.view.at_port(port):
            keys = mine if service.owner == self.id else theirs
            keys.append(key_of(service.id, persistent=service.persistent))
        if not mine and not self.replica.leases.believes(self.id):
            # A displaced manifest's services are its own, and are not shown.
            mine = [key for key, record in self.replica.map.items() if record.port == port]
            mine = [key for key in mine if self.replica.holds(key)]
        return mine + theirs

    def _free_first(self, keys: list[str], port: int | None) -> Service | None:
        """Free what the first key stands for that stands for anything, and return it.

        What waits for an address comes before what it is to take the place of, and both go.
        """
        for key in keys:
            waiting = self._service_in_waiting(key) if key in self._waiting else None
            for service in (waiting, self._service_at(key)):
                if service is None or port not in (None, service.port):
                    continue
                if service is waiting:
                    self._free_if_mine(key)
                elif service.owner == self.id or service.persistent:
                    self._forget_what_waits(key)
                    self.replica.free(key)
                    self.gossip(urgent=True)
                else:
                    raise NotOwner(
                        f"{service.role} ({service.id}) belongs to the manifest {service.owner}, "
                        "and only its owner can free it"
                    )
                return service
        return None

    def _service_at(self, key: str) -> Service | None:
        """Return what a key stands for, if its owner is believed or is this manifest."""
        entry = self.replica.map.entry(key)
        service = None if entry is None else service_of(entry)
        if service is None or service.persistent or service.owner == self.id:
            return service
        return service if self.replica.leases.believes(service.owner) else None


def _check_order(call: str, port: object, host: object) -> None:
    """Refuse a host and a port that were given the other way round."""
    if isinstance(port, str) and type(host) is int:
        raise ValueError(
            f"{call} takes the port first, as in {call}({host}, {port!r:.80}), got "
            f"{call}({port!r:.80}, {host})"
        )
