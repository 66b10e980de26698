"""Replicas wired together by hand: link protocols between them, no I/O, and one clock for all.

A `Bench` holds the time. Nothing happens on it by itself: a test lets time pass, has a `Wire` carry
as many bytes as it likes, cuts it, and looks. What every replica tells its subscribers and what
every wire carries is checked as it happens, so that no test has to ask for it:

- per id, Registered, Updated and Freed alternate, and add up to what the view shows;
- no entry is sent to its author, nor back over the wire on which it arrived and changed something;
- Synced is said once;
- contexts and horizons never go back.

Every context is **honest**: each write at or under it is present, or beaten by a present entry, or
at or under the horizon. `check_honest` asks the log of all writes, so it is called by those tests
whose logs are short.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import attrs

from manifest.codec import pack_data
from manifest.crdt import Entry, Stamp
from manifest.errors import ManifestError
from manifest.events import Displaced, Event, Freed, Registered, Updated
from manifest.frames import FrameReader
from manifest.messages import Bye, Gossip, Hello, Message, Synced
from manifest.options import Limits, Options
from manifest.protocol import LinkProtocol, Traffic
from manifest.records import Record, Service, is_persistent
from manifest.replica import Replica
from manifest.timekeeping import PhysicalClock, WakingClock
from manifest.wire import decode_message

__all__ = ["START", "Bench", "Site", "Wire", "check_equal", "record", "ring", "tiny"]

START = 1_700_000_000_000
"""What the clocks say when a bench is set up, in milliseconds since 1970."""


def record(role: str = "web@1.0.0", **data: Any) -> Record:
    """Return a record for a test."""
    return Record(role, "10.0.0.1", 8080, pack_data(data))


def tiny() -> Limits:
    """Return the smallest limits that there may be."""
    return Limits(record_bytes=256, frame_bytes=1024)


@attrs.define(eq=False)
class Site:
    """One incarnation of a node, and what it has told its subscribers."""

    bench: Bench
    node: str
    options: Options
    offset: int
    """What its wall clock is off by, in milliseconds."""
    replica: Replica = attrs.field(init=False)
    shown: dict[str, Service] = attrs.field(factory=dict)
    """What its events add up to."""
    events: list[Event] = attrs.field(factory=list)
    claimed: dict[str, int] = attrs.field(factory=dict)
    """The greatest context that it ever had: it stays bound to it after it dropped an item."""
    claimed_horizon: int = 0
    asleep: bool = False
    """Whether its process does not run."""
    alive: bool = True
    beaten: float = 0.0
    _ids: Iterator[int] = attrs.field(factory=lambda: itertools.count(1))
    _logged: int = 0

    def __attrs_post_init__(self) -> None:
        now = self.bench.monotonic
        physical = PhysicalClock(lambda: START + int(now() * 1000) + self.offset, now)
        waking = WakingClock(now, self.bench.step)
        self.beaten = now()
        self.replica = Replica(self.node, self.options, physical, waking, self._told)

    def __repr__(self) -> str:
        return f"<Site {self.node[-4:]}>"

    @property
    def ids(self) -> list[str]:
        """The ids that are visible here, in order."""
        return sorted(self.replica.view.services)

    def register(self, key: str | None = None, value: Record | None = None) -> str:
        """Register a record, under an owner-bound id where no key is given, and return the key."""
        key = f"{self.node}.{next(self._ids)}" if key is None else key
        self.replica.write(key, value or record())
        self.note()
        return key

    def free(self, key: str) -> None:
        """Free a key."""
        self.replica.free(key)
        self.note()

    def heartbeat(self) -> None:
        """Say that this node is alive, as the manifest does every now and then."""
        self.beaten = self.bench.now
        self.replica.heartbeat()
        for wire in self.bench.wires:
            if self in wire.ends:
                wire.protocol(self).keep_alive()
        self.note()

    def note(self) -> None:
        """Log this node's own writes, and hold it to what always holds."""
        for position, entry in self.replica.map.journal(self._logged):
            if entry.stamp.node == self.node:
                self.bench.log.append(entry)
            self._logged = position
        context, horizon = self.replica.map._context, self.replica.map.horizon
        assert horizon >= self.claimed_horizon, "the horizon went back"
        self.claimed_horizon = horizon
        for node, time in self.claimed.items():
            assert context.get(node, 0) >= time or (node not in context and time <= horizon), (
                "a context went back"
            )
        for node, time in context.items():
            self.claimed[node] = max(time, self.claimed.get(node, 0))
        assert self.shown == self.replica.view.services, "events that do not add up to the view"

    def reasons(self, id: str) -> list[str]:
        """Return why an id was freed here, each time that it was."""
        return [
            str(event.reason)
            for event in self.events
            if isinstance(event, Freed) and event.service.id == id
        ]

    def _told(self, event: Event) -> None:
        self.events.append(event)
        match event:
            case Registered(service):
                assert service.id not in self.shown, "two Registered in a row"
                self.shown[service.id] = service
            case Updated(service, before):
                assert self.shown[service.id] == before, "an Updated of something else"
                self.shown[service.id] = service
            case Freed(service):
                assert self.shown.pop(service.id) == service, "a Freed of something else"
            case _:
                assert isinstance(event, Displaced)


@attrs.define(eq=False)
class _End:
    """One end of a wire: its protocol, what is on its way to it, and what it has said and heard."""

    site: Site
    protocol: LinkProtocol
    incoming: bytearray = attrs.field(factory=bytearray)
    sent_at: float = 0.0
    """When the first of the bytes was sent that are on their way."""
    delay: float = 0.0
    """For how long bytes have been on their way at most."""
    arrived: int = 0
    """How many bytes it has received."""
    said: list[Message] = attrs.field(factory=list)
    heard: list[Message] = attrs.field(factory=list)
    failure: ManifestError | None = None
    tap: FrameReader = attrs.field(factory=lambda: FrameReader(2**31))
    placed: dict[str, Stamp] = attrs.field(factory=dict)
    """What arrived here over this wire and changed something: the stamp by key."""


class Wire:
    """One connection between two sites: it carries bytes when it is told to."""

    def __init__(self, one: Site, other: Site) -> None:
        self.ends = {
            site: _End(site, LinkProtocol(site.replica, seen="192.0.2.1", listening="here:3100"))
            for site in (one, other)
        }
        self.up = True

    def __repr__(self) -> str:
        one, other = self.ends
        return f"<Wire {one} {other}>"

    def protocol(self, site: Site) -> LinkProtocol:
        """Return the protocol at a site."""
        return self.ends[site].protocol

    def traffic(self, site: Site) -> Traffic:
        """Return what has passed, as a site counts it."""
        return self.ends[site].protocol.traffic

    def said(self, site: Site, kind: type[Any] = object) -> list[Any]:
        """Return the messages of a kind that a site has sent."""
        return [message for message in self.ends[site].said if isinstance(message, kind)]

    def heard(self, site: Site, kind: type[Any] = object) -> list[Any]:
        """Return the messages of a kind that a site has received and accepted."""
        return [message for message in self.ends[site].heard if isinstance(message, kind)]

    def failure(self, site: Site) -> ManifestError | None:
        """Return why a site dropped the connection, if it did."""
        return self.ends[site].failure

    def delay(self, site: Site) -> float:
        """Return for how many seconds bytes have been on their way to a site at most."""
        return self.ends[site].delay

    def to(self, site: Site) -> Site:
        """Return the site at the other end."""
        return next(end for end in self.ends if end is not site)

    def send(self, site: Site) -> bool:
        """Have a site send what it would send now; False where that is nothing."""
        if site.asleep or not self.up:
            return False
        end, other = self.ends[site], self.ends[self.to(site)]
        data = end.protocol.bytes_to_send()
        for payload in end.tap.feed(data):
            message = decode_message(payload, record_bytes=site.options.limits.record_bytes)
            self._check_said(end, other.site, message)
            end.said.append(message)
        if not other.incoming:
            other.sent_at = site.bench.now
        other.incoming += data
        return bool(data)

    def deliver(self, site: Site, size: int | None = None) -> bool:
        """Let a site receive what is on its way, or so many bytes; False where that is nothing."""
        end = self.ends[site]
        data = b"" if site.asleep else bytes(end.incoming[:size])
        del end.incoming[: len(data)]
        if data and end.failure is None:
            end.delay = max(end.delay, site.bench.now - end.sent_at)
            end.arrived += len(data)
            before = site.replica.map.position
            try:
                messages = end.protocol.receive_data(data)
            except ManifestError as error:
                end.failure = error
            else:
                end.heard += messages
                site.bench.ask_for(site, site.replica.leases.miss(end.protocol.take_asked()))
            for _, entry in site.replica.map.journal(before):
                if entry.stamp.node != site.node:
                    end.placed[entry.key] = entry.stamp
            site.note()
        return bool(data)

    def waiting(self, site: Site) -> int:
        """Return how many bytes are on their way to a site."""
        return len(self.ends[site].incoming)

    def push(self, site: Site, payload: bytes) -> None:
        """Let a site receive a payload, as if its peer had sent it."""
        self.ends[site].incoming += len(payload).to_bytes(4, "big") + payload
        self.deliver(site)

    def carry(self, *sizes: int) -> bool:
        """Move all there is, both ways, in pieces of these sizes; False where nothing moved."""
        moved = False
        for site in self.ends:
            while self.send(site):
                moved = True
        pieces = itertools.cycle(sizes or [2**31])
        for site in self.ends:
            while self.deliver(site, next(pieces)):
                moved = True
        return moved

    def carry_hellos(self) -> None:
        """Let both sides greet each other, and go no further."""
        for site in self.ends:
            self.send(site)
        for site in self.ends:
            self.deliver(site)

    def cut(self) -> None:
        """Break the connection: what is on its way is lost."""
        self.up = False
        for end in self.ends.values():
            end.incoming.clear()

    def _check_said(self, end: _End, to: Site, message: Message) -> None:
        assert not any(isinstance(earlier, Bye) for earlier in end.said[-1:]), "a word after Bye"
        assert len(end.said) < 5_000, "there is no end of talking"
        match message:
            case Hello():
                assert not end.said, "Hello comes first, and once"
            case Synced():
                assert not self.said(end.site, Synced), "Synced is said once"
            case Gossip(delta):
                assert end.protocol.peer is not None, "gossip comes after both Hellos"
                for entry in delta.entries:
                    assert entry.stamp.node != to.node, "an entry goes back to its author"
                    assert end.placed.get(entry.key) != entry.stamp, "an entry goes back"
                for node, time, _, first, length in message.renewals:
                    assert node != to.node, "a renewal goes back to its author"
                    for key in (f"{node}.{first + at}" for at in range(length)):
                        assert end.placed.get(key) != (time, node), "a renewal goes back"


@attrs.define(eq=False)
class Bench:
    """Sites, the wires between them, and the time that passes for all of them alike."""

    step: float = 1.0
    """Seconds between two looks at what is due, at every site."""
    now: float = 0.0
    sites: list[Site] = attrs.field(factory=list)
    wires: list[Wire] = attrs.field(factory=list)
    log: list[Entry[str, Record]] = attrs.field(factory=list)
    """Every write that was ever made, by anyone."""
    _nodes: Iterator[int] = attrs.field(factory=lambda: itertools.count(1))

    def monotonic(self) -> float:
        """Return seconds since the bench was set up."""
        return self.now

    def open(self, offset: int = 0, **options: Any) -> Site:
        """Open a new node, its clock off by so many milliseconds."""
        number = next(self._nodes)
        site = Site(
            self, f"{number * 0x9E3779B97F4A7C15F39CC060 % 2**96:024X}", _options(options), offset
        )
        self.sites.append(site)
        site.note()
        return site

    def open_all(self, count: int, **options: Any) -> list[Site]:
        """Open several nodes alike."""
        return [self.open(**options) for _ in range(count)]

    def connect(self, one: Site, other: Site) -> Wire:
        """Connect two sites anew; nothing has been carried yet."""
        wire = Wire(one, other)
        self.wires.append(wire)
        return wire

    def cut(self, *wires: Wire) -> None:
        """Break connections; both sides forget their protocols."""
        for wire in wires:
            wire.cut()
            self.wires.remove(wire)

    def crash(self, site: Site) -> None:
        """End a process without a word."""
        site.alive = False
        self.sites.remove(site)
        self.cut(*[wire for wire in self.wires if site in wire.ends])

    def settle(self, *sizes: int) -> None:
        """Carry until there is nothing left to carry, in pieces of these sizes."""
        for _ in range(10_000):
            # Each wire gets its turn: what one brings is news for the others.
            moved = [wire.carry(*sizes) for wire in self.wires]
            if not any(moved):
                return
        raise AssertionError("there is no end of talking")

    def pass_time(self, seconds: float, *, quiet: bool = False) -> None:
        """Let time pass: at each step sites do what is due, and it is carried unless `quiet`."""
        for _ in range(round(seconds / self.step)):
            self.now += self.step
            for site in self.sites:
                if site.asleep:
                    continue
                site.replica.pulse(self.step)
                self.ask_for(site, site.replica.leases.overdue())
                if self.now - site.beaten >= site.options.heartbeat_interval:
                    site.heartbeat()
                site.note()
            if not quiet:
                self.settle()

    def ask_for(self, site: Site, nodes: list[str]) -> None:
        """Have a site ask all its peers for heartbeats that it misses, as a manifest does."""
        for wire in self.wires:
            if site in wire.ends:
                wire.protocol(site).graft(nodes)

    def converge(self) -> None:
        """Have everyone speak once more, carry it, and hold all of them to one state."""
        for _ in range(2):
            for site in self.sites:
                site.heartbeat()
            self.settle()
        check_equal(self.sites)

    def check_honest(self) -> None:
        """Fail where a context claims a write that is not present, nor beaten, nor collected."""
        for site in self.sites:
            for write in self.log:
                if write.stamp.time <= site.claimed.get(write.stamp.node, 0):
                    entry = site.replica.map.entry(write.key)
                    assert (entry is not None and entry.stamp >= write.stamp) or (
                        write.stamp.time <= site.replica.map.horizon
                        and not is_persistent(write.key)
                    ), f"the context of {site} claims {write}, and it never arrived"


def check_equal(sites: Iterable[Site]) -> None:
    """Fail where sites differ in entries, context, horizon, or in what they show."""
    first, *others = sites
    for other in others:
        assert other.replica.map == first.replica.map
        assert dict(other.replica.view.services) == dict(first.replica.view.services)


def ring(bench: Bench, *sites: Site) -> list[Wire]:
    """Connect each site to the next one, and the last one to the first."""
    return [
        bench.connect(one, other) for one, other in zip(sites, (*sites[1:], sites[0]), strict=True)
    ]


def _options(options: dict[str, Any]) -> Options:
    return Options(**{"limits": Limits(), **options})
