"""The manifest: a registry that an application opens, writes, reads, and listens to.

`Manifest` says what can be asked of it, and checks what it is given. What runs is in `tasks`, what
it registers in `registrations`, what it shares with its links in `exchange`; `opening` runs it for
the time of a block.

What only reads or writes memory is a plain function: it has happened when it returns, here at
once and at the peers as soon as the links have carried it. Ctrl-C may come while one looks at what
it was given, but not while it writes: then it is raised at the next checkpoint.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import trio

from .codec import EMPTY_DATA, pack_data
from .environment import Environment
from .errors import ServiceNotFound
from .exchange import Exchange
from .link import Link
from .listener import Listener
from .network import Address
from .options import Options
from .query import parse_query
from .records import (
    Record,
    Service,
    check_address,
    check_flag,
    check_host,
    check_port,
    parse_role,
)
from .statistics import Statistics
from .structure import structure_role
from .subscription import Subscription
from .tasks import Tasks

__all__ = ["Manifest"]


class _Unset:
    def __repr__(self) -> str:
        return "this host's, once it is known"


_UNSET: Final = _Unset()


class Manifest:
    """A registry of services that needs no server: see `open_manifest`, which makes one."""

    def __init__(self, options: Options, environment: Environment) -> None:
        self._name = options.name
        self._hub = Exchange(options, environment)
        self._tasks = Tasks(self._hub)
        self.id: str = self._hub.replica.node
        """Identifies this incarnation: 24 hex digits, never used again."""

    def __repr__(self) -> str:
        name = f" {self._name!r}" if self._name else ""
        return f"<Manifest {self.id}{name}, {len(self._hub.replica.view.services)} services>"

    @property
    def name(self) -> str | None:
        """The name that it was opened with."""
        return self._name

    @property
    def listening(self) -> str | None:
        """Where peers can reach this manifest, as `host:port`, or None where it does not listen."""
        return self._hub.listening

    # Links

    async def listen(self, port: int = 3100, host: str = "0.0.0.0") -> Listener:
        """Accept links from peers; bound when it returns. Port 0 binds any free one.

        Registers `manifest@<version>` with the address and port that others can use. OSError
        where the port cannot be bound, ValueError for a port or host that cannot be one.
        Checkpoints always; cancelled, it leaves nothing bound.
        """
        self._tasks.check_open()
        _check_order("listen", port, host)
        if port != 0 or type(port) is not int:
            check_port(port)
        check_host(host)
        return await self._tasks.listen(port, host)

    @trio.lowlevel.enable_ki_protection
    def connect(self, port: int = 3100, host: str = "127.0.0.1") -> Link:
        """Keep a link to a peer for as long as this manifest is open, however often it fails.

        Returns at once and never raises for a peer that is down: see `Link.status` and
        `Link.wait_synced`. ValueError for a port or host that cannot be one.
        """
        self._tasks.check_open()
        _check_order("connect", port, host)
        peer = Address(check_host(host), check_port(port))
        if peer.is_wildcard:
            raise ValueError(
                f"{host!r} stands for every address of a host, to listen on; to connect to this "
                "host say 127.0.0.1 or ::1"
            )
        return self._tasks.connect(peer)

    @property
    def links(self) -> tuple[Link, ...]:
        """The links that there are, dialled and accepted."""
        return tuple(self._hub.links)

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
        another manifest, `LimitReached` where this manifest has registered, or freed, as many as
        `Limits` allows.
        """
        self._tasks.check_open()
        check_flag(persistent, "persistent")
        # The usual type first: to ask an abstract one takes several times as long.
        if data is not None and type(data) is not dict and not isinstance(data, Mapping):
            hint = f"; for a port say port={data}" if type(data) is int else ""
            raise ValueError(f"data is a mapping such as {{'zone': 'eu'}}, got {data!r:.80}{hint}")
        if not isinstance(role, str) and isinstance(role, Mapping):
            given = structure_role(role)
            data = {**given.data, **(data or {})}
            role, persistent = given.role, persistent or given.persistent
            id = given.id if id is None else id
            port = given.port if port is None else port
            if isinstance(address, _Unset) and given.has_address:
                address = given.address
        parse_role(role)
        record = Record(
            role,
            None if address is None or isinstance(address, _Unset) else check_address(address),
            None if port is None else check_port(port),
            pack_data(data) if data else EMPTY_DATA,
        )
        return self._write(record, id=id, persistent=persistent, waits=address is None)

    @trio.lowlevel.enable_ki_protection
    def _write(self, record: Record, *, id: str | None, persistent: bool, waits: bool) -> Service:
        return self._hub.registrations.register(record, id=id, persistent=persistent, waits=waits)

    @contextmanager
    @trio.lowlevel.enable_ki_protection
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
            if not self._tasks.closing:
                self._hub.registrations.free_if_mine(service)

    @trio.lowlevel.enable_ki_protection
    def free(
        self, service: Service | None = None, *, id: str | None = None, port: int | None = None
    ) -> Service | None:
        """Take a service off the registry at once; return it, or None where there is none such.

        By the service, by its id, by its port, or by id and port both. Of several services at a
        port one of this manifest's own is meant. `NotOwner` where what is meant is another
        manifest's; persistent services anyone may free.
        """
        self._tasks.check_open()
        if port is not None:
            check_port(port)
        if service is not None and not isinstance(service, Service):
            raise ValueError(
                f"free(service) takes what register returned, got {service!r:.80}; for an id say "
                "free(id=...), for a port free(port=...)"
            )
        registrations = self._hub.registrations
        if service is not None and id in (None, service.id):
            return registrations.free(service, port=port)
        if service is None and id is not None:
            return registrations.free_id(id, port=port)
        if service is None and port is not None:
            return registrations.free_port(port)
        raise ValueError("say what to free: free(service), free(id=...) or free(port=...)")

    def services(self) -> dict[str, Service]:
        """Return all visible services by id: a copy."""
        return dict(self._hub.replica.view.services)

    def get(self, query: str | Mapping[str, Any]) -> dict[str, Service]:
        """Return the visible services that match, by id, newest version first.

        A name ("web"), a version ("web@1.2.3"), a range in npm's grammar ("web@^1.2"), or a mapping
        of fields and data that must be equal ({"role": "web", "zone": "eu"}). ValueError otherwise.
        """
        return self._hub.replica.view.select(parse_query(query))

    async def wait_for(self, query: str | Mapping[str, Any]) -> dict[str, Service]:
        """Wait until at least one service matches, and return what `get` returns then.

        Checkpoints always. `ManifestClosed` where the manifest closes meanwhile.
        """
        parsed = parse_query(query)
        await trio.lowlevel.checkpoint()
        while not (found := self._hub.replica.view.select(parsed)):
            self._tasks.check_open()
            await self._hub.waiting.park()
        return found

    def pick(self, query: str | Mapping[str, Any]) -> Service:
        """Return one matching service: the one that was picked longest ago, any among equals.

        `ServiceNotFound`, a LookupError, where none matches.
        """
        found = self.get(query)
        if not found:
            advice = (
                f"the manifest {self.id} is closed"
                if self._tasks.closing
                else "await wait_for(...) waits until there is one"
            )
            raise ServiceNotFound(f"no service matches {query!r:.80}: {advice}")
        return self._hub.pick(found)

    @asynccontextmanager
    async def events(self) -> AsyncGenerator[Subscription, None]:
        """Subscribe to what happens, for the time of an `async with` block.

        There is no checkpoint between the subscription's snapshot and the block.
        """
        self._tasks.check_open()
        # Too short for the manifest to close meanwhile, so that `Closed` is missed by nobody.
        await trio.lowlevel.checkpoint()
        subscription = Subscription(self._hub.replica.view.services)
        self._hub.subscriptions[subscription] = None
        try:
            yield subscription
        finally:
            del self._hub.subscriptions[subscription]
            subscription.close()

    def statistics(self) -> Statistics:
        """Return what this manifest holds and what its links have carried, as of now."""
        return self._hub.statistics()

    @trio.lowlevel.enable_ki_protection
    async def aclose(self) -> None:
        """Leave: free what this manifest registered, tell the peers, end all links and listeners.

        The peers have `timeouts.close` seconds to take it. May be repeated; leaving the `async
        with` block does the same. Cancelled, it still leaves, without waiting for the peers, and so
        it does where Ctrl-C comes meanwhile. One that was pending is raised at the end.
        Nothing of the manifest runs or is bound any more when it returns.
        """
        await self._tasks.aclose()


def _check_order(call: str, port: object, host: object) -> None:
    """Refuse a host and a port that were given the other way round, or as one."""
    if isinstance(port, str) and ":" in port:
        place, _, number = port.rpartition(":")
        right = f"{number:.80}, {place!r:.80}" if place else f"{number:.80}"
        raise ValueError(
            f"{call} takes a port and a host, as in {call}({right}), got {call}({port!r:.80})"
        )
    if isinstance(port, str) and type(host) is int:
        raise ValueError(
            f"{call} takes the port first, as in {call}({host}, {port!r:.80}), got "
            f"{call}({port!r:.80}, {host})"
        )
