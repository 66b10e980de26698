"""What a manifest and its links share: the replica, who listens to it, and this host's address.

Whatever happens to the replica is told from here: to the subscribers as events, and to the links as
news to carry. So this is all that a link knows of its manifest, and `Manifest` itself has nothing
that is not for applications.
"""

from __future__ import annotations

import logging

import attrs
import trio

from .crdt import Stamp
from .environment import Environment
from .events import Closed, Displaced, Event, Freed, Registered, Updated
from .link import SupervisedLink
from .listener import Listener
from .network import Address
from .options import Options
from .records import Record, Service, check_address
from .replica import Replica
from .subscription import Subscription
from .timekeeping import PhysicalClock, WakingClock

__all__ = ["ADDRESS_BYTES", "Exchange"]

_log = logging.getLogger("manifest")

ADDRESS_BYTES = 255
"""The longest address of this host that is believed."""


class Exchange:
    """The shared state of one manifest: a `connection.Hub`, and what its manifest keeps there."""

    def __init__(
        self, node: str, options: Options, environment: Environment, pulse_interval: float
    ) -> None:
        self.environment = environment
        self.subscriptions: dict[Subscription, None] = {}
        self.links: dict[SupervisedLink, None] = {}
        self.listeners: dict[Listener, trio.CancelScope] = {}
        self.refused = 0
        self.said: dict[str, str] = {}
        self.changed = trio.Event()
        """Set, and replaced, when there may be a service for whoever waits for one."""
        self.displaced_by: str | None = None
        self.picks: dict[str, int] = {}
        """When each service was picked last, by id."""
        self.waiting: dict[str, Record] = {}
        """Registrations that wait for this host's address, by key."""
        self.addressless: dict[str, Record] = {}
        """Those that were made without one, to be written again with it once it is known."""
        self.own_address = None if options.advertise is None else options.advertise.host
        self._options = options
        physical = PhysicalClock(environment.wall, environment.monotonic)
        waking = WakingClock(trio.current_time, pulse_interval)
        self.replica = Replica(node, options, physical, waking, self.emit)

    @property
    def listening(self) -> str | None:
        """Where peers can reach this manifest, as `host:port`, or None where it does not listen."""
        return next((str(listener.shown) for listener in self.listeners), None)

    def emit(self, event: Event) -> None:
        """Tell the subscribers, and whoever waits for a service."""
        for subscription in self.subscriptions:
            subscription.put(event)
        match event:
            case Registered() | Updated() | Closed():
                self.changed.set()
                self.changed = trio.Event()
            case Freed(service):
                self.picks.pop(service.id, None)
            case Displaced(by):
                self.displaced_by = by
                _log.warning(
                    "%s: the later-born manifest %s bears this one's name, %r, and displaces it: "
                    "its services are not believed any more; give one of them another name",
                    self.replica.node,
                    by,
                    self._options.name,
                )

    def gossip(self, *, urgent: bool) -> None:
        """Wake every link: the replica has changed."""
        for link in self.links:
            if link.connection is not None:
                link.connection.wake(urgent=urgent)

    # This host's address

    def learn_address(self, host: str) -> None:
        """Take note of an address of this host, if it is a better one than is known.

        It may be what a peer says, which is believed only if it could be registered. An address
        that others can reach replaces one of the loopback interface.
        """
        mine = self.own_address
        if self._options.advertise is not None or not (
            mine is None or (Address(mine, 0).is_loopback and not Address(host, 0).is_loopback)
        ):
            return
        try:
            check_address(host)
        except ValueError:
            return
        if len(host.encode()) > ADDRESS_BYTES:
            return
        self.own_address = host
        self._register_waiting()

    def _register_waiting(self) -> None:
        addressless = {
            key: record for key, record in self.addressless.items() if self.replica.holds(key)
        }
        records = {**addressless, **self.waiting}
        self.addressless.clear()
        self.waiting.clear()
        for key, record in records.items():
            self.replica.write(key, attrs.evolve(record, address=self.own_address))
        if records:
            self.gossip(urgent=True)

    def service_in_waiting(self, key: str) -> Service:
        """Return what a registration that waits would be, if it were made now."""
        return Service.of(
            key, Stamp(self.replica.clock.now(), self.replica.node), self.waiting[key]
        )

    def forget_what_waits(self, key: str) -> bool:
        """Forget what waits for an address under a key; return whether it is not even there yet."""
        self.addressless.pop(key, None)
        return self.waiting.pop(key, None) is not None

    def free_if_mine(self, key: str) -> None:
        """Free what stands under a key, or waits to, if nobody else has taken it over."""
        if not self.forget_what_waits(key) and self.replica.holds(key):
            self.replica.free(key)
            self.gossip(urgent=True)
