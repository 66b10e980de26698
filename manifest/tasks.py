"""What runs as long as a manifest is open, and how it ends.

`Tasks.run` owns one nursery. Listeners, links and the pulse are its children: a failing link never
fails the manifest. Ctrl-C is left to the main task: it ends the application's block, and the
manifest says goodbye.
"""

from __future__ import annotations

import logging

import trio

from . import __version__
from .accepting import accept_for_ever
from .errors import ManifestError
from .events import Closed, Heartbeat
from .exchange import Exchange
from .link import SupervisedLink
from .listener import Listener
from .network import Address, Stream
from .records import Record, check_address, check_port
from .tcp import TcpNetwork

__all__ = ["ManifestClosed", "Tasks"]

_log = logging.getLogger("manifest")


class ManifestClosed(ManifestError, trio.ClosedResourceError):
    """The manifest has been closed: open a new one."""


class Tasks:
    """The tasks of one manifest, from when it is opened until nothing of it runs any more."""

    def __init__(self, hub: Exchange) -> None:
        self.closing = False
        """Whether the manifest has been closed, or is being closed."""
        self._hub = hub
        self._nursery: trio.Nursery
        self._warned = False
        self._accepting: dict[Listener, trio.CancelScope] = {}
        self._ended = trio.Event()
        self._closed = trio.Event()

    def check_open(self) -> None:
        """Raise `ManifestClosed` if that is so."""
        if self.closing:
            raise ManifestClosed(f"the manifest {self._hub.replica.node} is closed: open a new one")

    @trio.lowlevel.enable_ki_protection
    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run what runs as long as the manifest is open, until the nursery in it is cancelled."""
        try:
            async with trio.open_nursery() as self._nursery:
                task_status.started()
                # Opened under a cancelled scope, it ends here: nobody would cancel it later.
                await trio.lowlevel.checkpoint_if_cancelled()
                # The links are needed to say goodbye when the application is cancelled.
                self._nursery.cancel_scope.shield = True
                self._nursery.start_soon(self._pulse)
                self._nursery.start_soon(self._hub.relay)
                await trio.sleep_forever()
        finally:
            self._ended.set()

    @trio.lowlevel.enable_ki_protection
    async def aclose(self) -> None:
        """Leave, tell the peers, and end all that runs: see `Manifest.aclose`."""
        if self.closing:
            await self._closed.wait()
            return
        self.closing = True
        hub = self._hub
        interrupt: KeyboardInterrupt | None = None
        try:
            for listener in tuple(hub.listeners):
                listener.close()
            hub.registrations.forget_all_that_waits()
            hub.replica.leave()
            interrupt = await _pending_interrupt()
            told = False
            with trio.move_on_after(hub.options.timeouts.close):
                told = await self._say_goodbye()
            if not told:
                _log.warning(
                    "%s: closed, and not every peer has taken the farewell, for which they have "
                    "%g s (timeouts.close): until the lease lapses, some may show services of it",
                    hub.replica.node,
                    hub.options.timeouts.close,
                )
        finally:
            self._nursery.cancel_scope.cancel()
            try:
                # Everything in there has been cancelled, so this takes no longer than that.
                with trio.CancelScope(shield=True):
                    await self._ended.wait()
            finally:
                # Ctrl-C comes through any shield. Whoever closes it as well must not wait for ever.
                hub.emit(Closed())
                self._closed.set()
                if interrupt is not None:
                    # Whatever else came out meanwhile, cancellation included.
                    raise interrupt

    async def _say_goodbye(self) -> bool:
        """Say it on all links at once, and return whether all peers have taken it."""
        told: list[bool] = []

        async def say_goodbye(link: SupervisedLink) -> None:
            told.append(await link.say_goodbye())

        async with trio.open_nursery() as nursery:
            for link in list(self._hub.links):
                nursery.start_soon(say_goodbye, link)
        return all(told)

    @trio.lowlevel.enable_ki_protection
    async def _pulse(self) -> None:
        """Let time pass for the replica, and say every now and then that it is alive."""
        hub, replica = self._hub, self._hub.replica
        interval = hub.options.heartbeat_interval
        due = trio.current_time() + interval
        look_at = trio.current_time() + hub.pulse_interval
        while True:
            wake_at = min(due, look_at)
            lapse = replica.leases.next_deadline() + replica.waking.paused
            await trio.sleep_until(min(wake_at, max(lapse, trio.current_time() + 0.001)))
            news = replica.pulse(hub.pulse_interval)
            # It asks all nodes, so not whenever one of them lapses: thousands may, one by one.
            if trio.current_time() >= look_at:
                look_at = trio.current_time() + hub.pulse_interval
                hub.ask_for(replica.leases.overdue())
            if trio.current_time() >= due:
                replica.heartbeat()
                for connection in hub.greeted:
                    connection.protocol.keep_alive()
                news = True
                hub.emit(Heartbeat(replica.physical.now()))
                due = max(due + interval, trio.current_time())
            if news:
                hub.gossip()

    # Links

    def connect(self, address: Address) -> SupervisedLink:
        """Return a link that dials a peer again and again."""
        link = self._hub.new_link(address, dialled=True)
        self._nursery.start_soon(self._run_link, link)
        return link

    @trio.lowlevel.enable_ki_protection
    async def _run_link(self, link: SupervisedLink) -> None:
        try:
            await link.run()
        finally:
            self._hub.forget_link(link)

    @trio.lowlevel.enable_ki_protection
    async def _serve(self, stream: Stream) -> None:
        hub = self._hub
        remote = hub.environment.network.remote(stream)
        link = hub.new_link(remote, dialled=False)
        hub.admit(link, remote.host)
        try:
            await link.serve(stream)
        finally:
            hub.forget_link(link)

    # Listeners

    async def listen(self, port: int, host: str) -> Listener:
        """Bind a port, and accept links there until the listener is closed."""
        await trio.lowlevel.checkpoint()
        for other in [each for each in self._accepting if each not in self._hub.listeners]:
            await other._unbound.wait()
        network = self._hub.environment.network
        sockets = await network.listen(host, port)
        try:
            self.check_open()
            addresses = tuple(network.bound(each) for each in sockets)
            self._warn_of_exposure(addresses)
            listener = self._new_listener(addresses)
            self._hub.listeners[listener] = None
            self._accepting[listener] = trio.CancelScope()
            self._nursery.start_soon(self._accept, listener, sockets)
        except BaseException:
            for each in sockets:
                await trio.aclose_forcefully(each)
            raise
        return listener

    def _warn_of_exposure(self, addresses: tuple[Address, ...]) -> None:
        """Say once what can be reached from elsewhere by anyone: real sockets without TLS."""
        plain = isinstance(self._hub.environment.network, TcpNetwork)
        exposed = [str(address) for address in addresses if not address.is_loopback]
        if not plain or not exposed or self._warned:
            return
        self._warned = True
        _log.warning(
            "%s: listening on %s without TLS: whoever can reach that may read the whole registry, "
            "register, take shared names over and free persistent services, and whoever is on the "
            "way may change what passes; open the manifest with tls=, or listen on 127.0.0.1",
            self._hub.replica.node,
            ", ".join(exposed),
        )

    def _new_listener(self, addresses: tuple[Address, ...]) -> Listener:
        """Register `manifest@<version>` where others can reach it, and return the listener."""
        hub = self._hub
        shown = Address(self._address_of_listener(addresses), addresses[0].port)
        hub.learn_address(shown.host)
        advertised = hub.options.advertise
        if advertised is not None:
            shown = Address(advertised.host, advertised.port or shown.port)
        record = Record(
            f"manifest@{__version__}", check_address(shown.host), check_port(shown.port)
        )
        service = hub.registrations.register(record, id=None, persistent=False, waits=False)
        return Listener(addresses, shown, service, self._stop_listening)

    def _address_of_listener(self, addresses: tuple[Address, ...]) -> str:
        for address in addresses:
            if not address.is_wildcard:
                return address.host
        return self._hub.environment.network.own_address()

    @trio.lowlevel.enable_ki_protection
    async def _accept(self, listener: Listener, sockets: list[trio.abc.Listener[Stream]]) -> None:
        try:
            with self._accepting[listener]:
                async with trio.open_nursery() as nursery:
                    for each in sockets:
                        nursery.start_soon(
                            accept_for_ever, each, self._nursery, self._serve, self._hub.make_room
                        )
        finally:
            self._stop_listening(listener)
            del self._accepting[listener]
            listener._unbound.set()

    def _stop_listening(self, listener: Listener) -> None:
        if listener not in self._hub.listeners:
            return
        del self._hub.listeners[listener]
        self._accepting[listener].cancel()
        if not self.closing:
            self._hub.registrations.free_if_mine(listener.service)


async def _pending_interrupt() -> KeyboardInterrupt | None:
    """Return the Ctrl-C that came where it could not be raised, if there is one.

    It is what ends the application's block. The goodbye is not what it was meant for, and would be
    the first to be hit by it.
    """
    try:
        with trio.CancelScope(shield=True):
            await trio.lowlevel.checkpoint()
    except KeyboardInterrupt as error:
        return error
    return None
