"""What a manifest and its links share: the replica, who listens to it, and what has been counted.

Whatever happens to the replica is told from here: to the subscribers as events, and to the links as
news to carry. So this is all that a link knows of its manifest, and `Manifest` itself has nothing
that is not for applications.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterable, Mapping

import trio

from .admission import Admission
from .connection import Connection
from .environment import Environment
from .errors import LinkError
from .events import Closed, Displaced, Event, Freed, Registered, Updated
from .link import SupervisedLink
from .listener import Listener
from .network import Address
from .options import Options
from .protocol import Traffic
from .records import Service, check_address
from .refusals import Refusal
from .registrations import ADDRESS_BYTES, Registrations
from .replica import Replica
from .statistics import LinkStatistics, Statistics
from .subscription import Subscription
from .timekeeping import PhysicalClock, WakingClock

__all__ = ["Exchange"]

_log = logging.getLogger("manifest")


class Exchange:
    """The shared state of one manifest: a `connection.Hub`, and what its manifest keeps there."""

    def __init__(self, options: Options, environment: Environment) -> None:
        self.options = options
        self.environment = environment
        self.subscriptions: dict[Subscription, None] = {}
        self.links: dict[SupervisedLink, None] = {}
        self.greeted: dict[Connection, None] = {}
        self.listeners: dict[Listener, None] = {}
        self.refused: Counter[Refusal] = Counter()
        self.admission: Admission[SupervisedLink] = Admission(options.limits)
        self.said: dict[str, str] = {}
        self.waiting = trio.lowlevel.ParkingLot()
        """Who waits for a service, and is woken whenever there may be one."""
        self._past = Traffic()
        self._displaced_by: str | None = None
        self._picks: dict[str, int] = {}
        self._picked = 0
        # A pause of up to two intervals is not credited, and must not make up a lifetime.
        self.pulse_interval = min(
            1.0, options.heartbeat_interval, options.registration_lifetime / 4
        )
        """Seconds between looks at the clock."""
        physical = PhysicalClock(environment.wall, environment.monotonic)
        waking = WakingClock(trio.current_time, self.pulse_interval)
        self.replica = Replica(environment.node_id(), options, physical, waking, self.emit)
        self.registrations = Registrations(self.replica, options, self.gossip)
        # By which connection something new of each node has come last.
        self._ways: dict[str, Connection] = {}
        # What `relay` waits in: its deadline is when what may wait has waited long enough.
        self._holding_back = trio.CancelScope()

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
                if self.waiting:
                    self.waiting.unpark_all()
            case Freed(service):
                self._picks.pop(service.id, None)
            case Displaced(by):
                self._displaced_by = by
                _log.warning(
                    "%s: the later-born manifest %s bears this one's name, %r, and displaces it: "
                    "its services are not believed any more; give one of them another name",
                    self.replica.node,
                    by,
                    self.options.name,
                )

    def gossip(self) -> None:
        """Have every link carry at once what does not wait."""
        for connection in self.greeted:
            if connection.protocol.is_pressed:
                connection.wake()
                connection.send_ahead()

    def pass_on(self, source: Connection, writes: bool, within: Mapping[str, float]) -> None:
        """Have the links carry writes at once, and contexts within so many seconds each.

        What may wait goes with whatever goes out first on a link.
        """
        if not writes and not within:
            return
        self._note_way(source, within)
        now = trio.current_time()
        for connection in self.greeted:
            waits = connection.hold_until - now
            seconds = connection.protocol.may_wait(within, waits)
            if seconds <= 0 or (writes and connection.protocol.is_pressed):
                connection.wake()
            elif seconds < waits:
                connection.hold_until = now + seconds
                # Setting a deadline costs something, also where it stays.
                if connection.hold_until < self._holding_back.deadline:  # noqa: PLR1730
                    self._holding_back.deadline = connection.hold_until

    def _note_way(self, way: Connection, nodes: Iterable[str]) -> None:
        self._ways.update(dict.fromkeys(nodes, way))
        known = self.replica.map.nodes
        if len(self._ways) > 2 * len(known):
            self._ways = {node: way for node, way in self._ways.items() if node in known}

    def ask_for(self, nodes: list[str]) -> None:
        """Have every link ask for heartbeats of these nodes, which are missed."""
        if nodes:
            for connection in self.greeted:
                connection.protocol.graft(nodes)
            self.gossip()

    def make_detours(self, lost: Connection) -> None:
        """Ask all peers for the nodes that were heard of by a connection that has ended."""
        orphans = [node for node, way in self._ways.items() if way is lost]
        for node in orphans:
            del self._ways[node]
        if self.greeted:
            self.ask_for(self.replica.leases.miss(orphans))

    async def relay(self) -> None:
        """Have the links carry what has waited for long enough, again and again, until cancelled.

        One task for all links: each would have to wake for the same heartbeats.
        """
        while True:
            with trio.CancelScope() as self._holding_back:
                # What was sent meanwhile, for whatever reason, has taken along what waited there.
                self._holding_back.deadline = min(
                    (connection.hold_until for connection in self.greeted), default=math.inf
                )
                await trio.sleep_forever()
            now = trio.current_time()
            for connection in self.greeted:
                if connection.hold_until <= now:
                    connection.wake()

    def learn_address(self, host: str) -> None:
        """Take note of an address of this host, if it is a better one than is known.

        It may be what a peer says, which is believed only if it could be registered. An address
        that others can reach replaces one of the loopback interface.
        """
        mine = self.registrations.address
        if self.options.advertise is not None or not (
            mine is None or (Address(mine, 0).is_loopback and not Address(host, 0).is_loopback)
        ):
            return
        try:
            check_address(host)
        except ValueError:
            return
        if len(host.encode()) > ADDRESS_BYTES:
            return
        self.registrations.fill_in(host)

    def admit(self, link: SupervisedLink, host: str) -> None:
        """Give a place to who has just connected, and drop another for it if it takes that."""
        self._turn_away(self.admission.arrive(link, host))

    def make_room(self) -> None:
        """Drop somebody who has not said Hello: the system has no descriptor for a connection."""
        self.refused[Refusal.DESCRIPTORS] += 1
        self._turn_away(self.admission.spare())

    def _turn_away(self, link: SupervisedLink | None) -> None:
        if link is not None and link.connection is not None:
            link.connection.drop(
                LinkError("no Hello yet, and its place was needed", Refusal.UNGREETED)
            )

    def new_link(self, address: Address, *, dialled: bool) -> SupervisedLink:
        """Return a link that is among those of this manifest until it is forgotten."""
        link = SupervisedLink(self, address, dialled=dialled)
        self.links[link] = None
        return link

    def forget_link(self, link: SupervisedLink) -> None:
        """Take a link off that has ended; what it carried stays counted."""
        del self.links[link]
        self.admission.leave(link)
        self._past += link.traffic

    def pick(self, found: dict[str, Service]) -> Service:
        """Return the service that was picked longest ago, any among equals."""
        longest_ago = min(self._picks.get(id, 0) for id in found)
        ids = [id for id in found if self._picks.get(id, 0) == longest_ago]
        id = ids[self.environment.random.randrange(len(ids))]
        self._picked += 1
        self._picks[id] = self._picked
        return found[id]

    def statistics(self) -> Statistics:
        """Return what there is and what has been counted, as of now."""
        replica = self.replica
        links = tuple(
            LinkStatistics(link.status, link.dialled, link.traffic) for link in self.links
        )
        traffic = sum((link.traffic for link in links), start=self._past)
        return Statistics(
            id=replica.node,
            services=len(replica.view.services),
            entries=len(replica.map),
            tombstones=replica.map.tombstones,
            nodes=len(replica.leases.believed),
            links=links,
            bytes_sent=traffic.bytes_sent,
            bytes_received=traffic.bytes_received,
            subscribers=len(self.subscriptions),
            lag=max((len(each) for each in self.subscriptions), default=0),
            merged=sum(each.merged for each in self.subscriptions),
            refused=dict(self.refused),
            paused=replica.waking.paused,
            displaced_by=None if replica.leases.believes(replica.node) else self._displaced_by,
        )
