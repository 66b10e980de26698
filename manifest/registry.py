"""The manifest: a registry that an application opens, writes, reads, and listens to.

`open_manifest` owns one nursery. Listeners, links and the pulse are its children: a failing link never fails
the manifest, a bug in this library does, as `ManifestInternalError`. The application's own
exceptions pass through bare, and so does cancellation.

What only reads or writes memory is a plain function: it has happened when it returns, here at
once and at the peers as soon as the links have carried it.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import attrs
import trio

from . import __version__
from .codec import pack_data
from .crdt import Stamp
from .environment import Environment
from .errors import ManifestError, ManifestInternalError, NotOwner, ServiceNotFound
from .events import Closed, Displaced, Event, Freed, Heartbeat, Registered, Updated
from .link import Link, LinkStatus
from .network import Address, Stream
from .options import Limits, Options, Timeouts
from .protocol import Traffic
from .query import parse_query
from .records import (
    Record,
    Service,
    check_address,
    check_id,
    check_port,
    id_of,
    key_of,
    owner_of,
    parse_role,
)
from .replica import Replica
from .structure import structure_role
from .subscription import Subscription
from .timekeeping import PhysicalClock, WakingClock

__all__ = [
    "LinkStatistics",
    "Listener",
    "Manifest",
    "ManifestClosed",
    "Statistics",
    "open_manifest",
]

_log = logging.getLogger("manifest")


class _Unset:
    def __repr__(self) -> str:
        return "this host's, if it is known"


_UNSET: Final = _Unset()


class ManifestClosed(ManifestError, trio.ClosedResourceError):
    """The manifest has been closed: open a new one."""


@attrs.frozen
class LinkStatistics:
    """One link at one moment."""

    status: LinkStatus
    dialled: bool
    traffic: Traffic


@attrs.frozen
class Statistics:
    """A manifest at one moment."""

    id: str
    services: int
    """Visible services."""
    entries: int
    """Entries of the map that are not tombstones, visible or not."""
    tombstones: int
    nodes: int
    """Manifests that are believed to be alive, this one included."""
    links: tuple[LinkStatistics, ...]
    bytes_sent: int
    bytes_received: int
    subscribers: int
    lag: int
    """Events that wait to be read by the slowest subscriber."""
    merged: int
    """Events that were merged because a subscriber lagged, all present subscribers together."""
    refused: int
    """Connections that ended because of what the peer sent or was, since the manifest was opened."""
    paused: float
    """Seconds in which this process did not run, since the manifest was opened."""
    displaced_by: str | None
    """Id of the later-born manifest of the same name that is believed instead of this one."""


class Listener:
    """A port on which peers are accepted, until it or the manifest is closed."""

    def __init__(
        self, addresses: tuple[Address, ...], scope: trio.CancelScope, service: Service
    ) -> None:
        self._scope = scope
        self.addresses: tuple[Address, ...] = addresses
        """What is bound; each has `host` and `port` and reads `host:port`."""
        self.service = service
        """What this manifest registered for it, `manifest@<version>`."""

    @property
    def port(self) -> int:
        """The port that is bound, also where any free one was asked for."""
        return self.addresses[0].port

    def close(self) -> None:
        """Accept no more peers and free the registration. Links that were accepted go on."""
        self._scope.cancel()

    def __repr__(self) -> str:
        return f"<Listener on {', '.join(map(str, self.addresses))}>"


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
        self._listeners: dict[Listener, list[trio.abc.Listener[Stream]]] = {}
        self._changed = trio.Event()
        self._ids = 0
        self._waiting: dict[str, _Waiting] = {}
        self._own_address: str | None = None
        self.refused = 0
        self._displaced_by: str | None = None
        self._closing = False
        self._closed = trio.Event()
        self._picks: dict[str, int] = {}
        self._picked = 0
        physical = PhysicalClock(environment.wall, trio.current_time)
        self._pulse_interval = min(1.0, options.heartbeat_interval, options.lease / 4)
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

    async def listen(
        self, port: int = 3100, host: str = "0.0.0.0"
    ) -> Listener:  # the documented default
        """Accept links from peers; bound when it returns. Port 0 binds any free one.

        Registers `manifest@<version>` with the address and port that others can use. OSError
        where the port cannot be bound. Cancelled, it leaves nothing bound.
        """
        self._check_open()
        if port != 0:
            check_port(port)
        check_address(host)
        network = self.environment.network
        sockets = await network.listen(host, port)
        addresses = tuple(network.bound(each) for each in sockets)
        if self._own_address is None:
            self._own_address = self._address_of_listener(addresses)
            self._register_waiting()
        advertised = self._options.advertise
        shown = advertised.port if advertised is not None and advertised.port else addresses[0].port
        service = self.register(f"manifest@{__version__}", port=shown)
        scope = trio.CancelScope()
        listener = Listener(addresses, scope, service)
        self._listeners[listener] = sockets
        self._nursery.start_soon(self._accept, listener, sockets, scope)
        return listener

    def connect(self, port: int = 3100, host: str = "127.0.0.1") -> Link:
        """Keep a link to a peer for as long as this manifest is open, however often it fails.

        Returns at once and never raises for a peer that is down: see `Link.status` and
        `Link.wait_synced`. ValueError for a port or host that cannot be one.
        """
        self._check_open()
        link = Link(self, Address(check_address(host), check_port(port)), dialled=True)
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

        `role` is "name@version" or "name"; or a mapping with role, id, address, port and persistent, whose
        other keys are data. `data` is a small JSON-like mapping. `address` is this host's where it
        is left out and known; None waits until it is known and registers then. `id` is a shared
        name: registering it anew updates it, and takes it over from another manifest; without one
        an id is made that this manifest alone can write. `persistent` services outlive their owner.
        ValueError for anything malformed or too large, `NotOwner` for an id that is bound to
        another manifest.
        """
        self._check_open()
        if isinstance(role, Mapping):
            given = structure_role(role)
            data = {**given.data, **(data or {})}
            role, id, persistent = given.role, id or given.id, persistent or given.persistent
            port = given.port if port is None else port
            if isinstance(address, _Unset) and given.has_address:
                address = given.address
        parse_role(role)
        key = key_of(self._new_id() if id is None else check_id(id), persistent=persistent)
        if owner_of(key) not in (None, self.id):
            raise NotOwner(
                f"the id {key} is bound to the manifest {owner_of(key)}: choose another id"
            )
        if data is not None and not isinstance(data, Mapping):
            raise ValueError(f"data is a mapping such as {{'zone': 'eu'}}, got {data!r:.80}")
        record = Record(
            role,
            self._own_address
            if address is None or isinstance(address, _Unset)
            else check_address(address),
            None if port is None else check_port(port),
            pack_data(data or {}),
        )
        limit = self._options.limits.record_bytes
        if record.size(key) > limit:
            raise ValueError(
                f"a service has at most {limit} bytes (id, role, address and data together), got "
                f"{record.size(key)}: keep large things elsewhere and register where"
            )
        self._waiting.pop(key, None)
        if address is None and record.address is None:
            self._waiting[key] = _Waiting(key, record)
            return self._service_in_waiting(key)
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
    ) -> Iterator[Service]:
        """Register a service for the time of a `with` block, however it ends. Otherwise as
        `register`.

        A service that somebody else took over meanwhile stays theirs.
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

        By the service, by its id, by its port, or by id and port both. A port means a service of
        this manifest. `NotOwner` where what is meant is another manifest's; persistent services
        anyone may free.
        """
        self._check_open()
        if service is not None:
            id = service.id
        if id is None and port is None:
            raise ValueError("say what to free: free(service), free(id=...) or free(port=...)")
        if port is not None:
            check_port(port)
        if id is None:
            assert port is not None
            return self._free_at_port(port)
        return self._free_id(check_id(id), port)

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
            raise ServiceNotFound(
                f"no service matches {query!r}: await wait_for(...) waits until there is one"
            )
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
        await trio.lowlevel.checkpoint()
        subscription = Subscription(self.replica.view.services)
        self._subscriptions[subscription] = None
        if self._closed.is_set():
            subscription.put(Closed())
        try:
            yield subscription
        finally:
            self._subscriptions.pop(subscription, None)

    def statistics(self) -> Statistics:
        """Return what this manifest holds and what its links have carried, as of now."""
        links = tuple(
            LinkStatistics(link.status, link.dialled, link.traffic) for link in self._links
        )
        return Statistics(
            id=self.id,
            services=len(self.replica.view.services),
            entries=len(self.replica.map),
            tombstones=self.replica.map.tombstones,
            nodes=len(self.replica.leases.believed),
            links=links,
            bytes_sent=sum(link.traffic.bytes_sent for link in links),
            bytes_received=sum(link.traffic.bytes_received for link in links),
            subscribers=len(self._subscriptions),
            lag=max((len(each) for each in self._subscriptions), default=0),
            merged=sum(each.merged for each in self._subscriptions),
            refused=self.refused,
            paused=self.replica.waking.paused,
            displaced_by=self._displaced_by,
        )

    async def aclose(self) -> None:
        """Leave: free what this manifest registered, tell the peers, end all links and listeners.

        The peers have `timeouts.close` seconds to take it. May be repeated; leaving the `async
        with` block does the same. Cancelled, it still leaves, without waiting for the peers.
        """
        if self._closing:
            await self._closed.wait()
            return
        self._closing = True
        try:
            self._waiting.clear()
            self.replica.leave()
            self.gossip(urgent=True)
            with trio.move_on_after(self._options.timeouts.close):
                await self._say_goodbye()
        finally:
            self._nursery.cancel_scope.cancel()
            self._closed.set()
            self.emit(Closed())

    # For the links

    @property
    def listening(self) -> str | None:
        """Where peers can reach this manifest, as `host:port`, or None where it does not listen."""
        for listener in self._listeners:
            service = listener.service
            if service.address is not None and service.port is not None:
                return str(Address(service.address, service.port))
        return None

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
        """Take note of the address at which a peer sees this host."""
        if self._own_address is None:
            self._own_address = host
            self._register_waiting()

    # Tasks

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run what runs as long as the manifest is open; it returns when the manifest has closed."""
        async with trio.open_nursery() as self._nursery:
            # Shielded, for the links are needed to say goodbye when the application is cancelled.
            self._nursery.cancel_scope.shield = True
            self._nursery.start_soon(self._pulse)
            task_status.started()
            await trio.sleep_forever()

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

    async def _run_link(self, link: Link) -> None:
        try:
            await link.run()
        finally:
            self._links.pop(link, None)

    async def _accept(
        self, listener: Listener, sockets: list[trio.abc.Listener[Stream]], scope: trio.CancelScope
    ) -> None:
        try:
            with scope:
                await trio.serve_listeners(self._serve, sockets, handler_nursery=self._nursery)
        finally:
            self._listeners.pop(listener, None)
            if not self._closing:
                self._free_if_mine(listener.service.id)

    async def _serve(self, stream: Stream) -> None:
        link = Link(self, self.environment.network.remote(stream), dialled=False)
        self._links[link] = None
        try:
            await link.serve(stream)
        finally:
            self._links.pop(link, None)

    async def _say_goodbye(self) -> None:
        async with trio.open_nursery() as nursery:
            for link in list(self._links):
                nursery.start_soon(link.say_goodbye)

    # Pieces of the above

    def _check_open(self) -> None:
        if self._closing:
            raise ManifestClosed(f"the manifest {self.id} is closed: open a new one")

    def _new_id(self) -> str:
        self._ids += 1
        return f"{self.id}.{self._ids}"

    def _service_in_waiting(self, key: str) -> Service:
        waiting = self._waiting[key]
        return Service.of(key, Stamp(self.replica.clock.now(), self.id), waiting.record)

    def _address_of_listener(self, addresses: tuple[Address, ...]) -> str:
        for address in addresses:
            if not address.is_wildcard:
                return address.host
        return self.environment.network.own_address()

    def _register_waiting(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for each in waiting.values():
            self.replica.write(each.key, attrs.evolve(each.record, address=self._own_address))
        if waiting:
            self.gossip(urgent=True)

    def _free_if_mine(self, key: str) -> None:
        if self._waiting.pop(key, None) is None and self.replica.holds(key):
            self.replica.free(key)
            self.gossip(urgent=True)

    def _free_id(self, id: str, port: int | None) -> Service | None:
        for key in (id, key_of(id, persistent=True)):
            waiting = self._waiting.get(key)
            if waiting is not None and port in (None, waiting.record.port):
                service = self._service_in_waiting(key)
                del self._waiting[key]
                return service
        service = self.replica.view.services.get(id)
        if service is None or port not in (None, service.port):
            return None
        return self._free_visible(service)

    def _free_at_port(self, port: int) -> Service | None:
        for key, waiting in self._waiting.items():
            if waiting.record.port == port:
                return self._free_id(id_of(key), port)
        theirs: Service | None = None
        for service in self.replica.view.at_port(port):
            if service.owner == self.id:
                return self._free_visible(service)
            theirs = service
        return None if theirs is None else self._free_visible(theirs)

    def _free_visible(self, service: Service) -> Service:
        if service.owner != self.id and not service.persistent:
            raise NotOwner(
                f"{service.role} ({service.id}) belongs to the manifest {service.owner}, and only "
                "its owner can free it"
            )
        self.replica.free(key_of(service.id, persistent=service.persistent))
        self.gossip(urgent=True)
        return service


@asynccontextmanager
async def open_manifest(
    *,
    name: str | None = None,
    cluster: str = "manifest",
    registration_lifetime: float = 5.0,
    heartbeat_interval: float = 5.0,
    advertise: str | None = None,
    retention: float = 3600.0,
    max_clock_skew: float | None = None,
    limits: Limits | None = None,
    timeouts: Timeouts | None = None,
    environment: Environment | None = None,
) -> AsyncGenerator[Manifest, None]:
    """Open a manifest for the time of an `async with` block, and leave gracefully at its end.

    Times are in seconds. `name` survives restarts: a later incarnation displaces an earlier one at
    once. Manifests of different `cluster`s, or with different `retention`, refuse each other.
    Others believe in this one for `heartbeat_interval` + `registration_lifetime` after it last
    spoke.
    `advertise` ("host" or "host:port") is what others are told instead of what is bound.
    `max_clock_skew` is 60 s, or a quarter of `retention` where that is less. `environment` replaces
    wall clock, randomness and network, for simulations. Every bad value is a ValueError.

    An exception in the block comes out as it is. `ManifestInternalError` means a bug in this
    library. Cancelled, it still says goodbye to its peers, for at most `timeouts.close` seconds.
    """
    given: dict[str, Any] = {
        "max_clock_skew": max_clock_skew,
        "limits": limits,
        "timeouts": timeouts,
    }
    options = Options(
        name=name,
        cluster=cluster,
        registration_lifetime=registration_lifetime,
        heartbeat_interval=heartbeat_interval,
        advertise=advertise,
        retention=retention,
        **{option: value for option, value in given.items() if value is not None},
    )
    manifest = Manifest(options, environment or Environment())
    failure: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(manifest.run)
            try:
                yield manifest
            except BaseException as error:
                # Kept, and raised outside the nursery, which would wrap it in a group.
                failure = error
            with trio.CancelScope(shield=True):
                await manifest.aclose()
    except BaseException as error:
        bugs = _bugs_in(error)
        if bugs is not None:
            internal = ManifestInternalError(f"a bug in manifest, please report it: {bugs[0]!r}")
            if failure is None or isinstance(failure, trio.Cancelled):
                raise internal from error
            internal.__cause__ = error
            raise failure from internal
        if failure is None:
            raise
    if failure is not None:
        raise failure


def _bugs_in(error: BaseException) -> list[BaseException] | None:
    """Return what a nursery's failure comes down to besides cancellation, or None."""
    if not isinstance(error, BaseExceptionGroup):
        return None if isinstance(error, trio.Cancelled) else [error]
    bugs = [bug for each in error.exceptions for bug in _bugs_in(each) or ()]
    return bugs or None
