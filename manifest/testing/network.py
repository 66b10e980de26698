"""A network in memory: hosts that reach each other, and all that can come between them.

A `SimulatedNetwork` lives inside one `trio.run`, on a clock that is virtual. Each `Host` is a
`manifest.Network`, so a manifest is opened on it by `open_manifest(environment=host.environment())`
and runs the same code as anywhere; and any Trio program that dials and listens through it can run
there as well.

Across a blocked way nothing arrives and nobody is told. What was sent waits in the network until
the way is open, as TCP would send it again.

Everything is decided by the network's own randomness, which is seeded: one seed, one run.
"""

from __future__ import annotations

import errno
import heapq
import math
import random
from collections.abc import Callable, Iterable, Iterator
from itertools import count

import attrs
import trio

from manifest import Environment
from manifest.network import Address, Stream

from .clocks import NodeClock
from .pausing import Gate
from .streams import Pipe, StreamEnd
from .trace import Trace

__all__ = ["Conditions", "Host", "SimulatedListener", "SimulatedNetwork"]


def _is_range(
    instance: object, attribute: attrs.Attribute[tuple[float, float]], value: object
) -> None:
    match value:
        case (float() | int() as low, float() | int() as high) if 0 <= low <= high < math.inf:
            return
        case _:
            raise ValueError(
                f"{attribute.name} is a shortest and a longest time in seconds, such as "
                f"(0.001, 0.05), got {value!r}"
            )


def _is_share(instance: object, attribute: attrs.Attribute[float], value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{attribute.name} is a share from 0 to 1, got {value!r}")


def _is_room(instance: object, attribute: attrs.Attribute[float], value: float) -> None:
    if not value >= 1:
        raise ValueError(f"{attribute.name} is 1 byte or more, got {value!r}")


def _as_python(value: float) -> str:
    return repr(value) if value < math.inf else 'float("inf")'


@attrs.frozen
class Conditions:
    """What a network is like when nothing is wrong with it."""

    latency: tuple[float, float] = attrs.field(default=(0.0, 0.0), validator=_is_range)
    """Shortest and longest time, in seconds, until bytes arrive."""
    capacity: float = attrs.field(default=math.inf, validator=_is_room, repr=_as_python)
    """Bytes that a stream takes beyond what its reader has read, before its writer waits."""
    fragmented: float = attrs.field(default=0.0, validator=_is_share)
    """The share of reads that get a random part of what is there."""


class SimulatedNetwork:
    """Hosts that reach each other, until a test comes between them.

    Bytes take time to arrive only while `deliver` runs, in a task of its own.
    """

    def __init__(
        self,
        seed: int = 0,
        conditions: Conditions | None = None,
        *,
        trace: Trace | None = None,
    ) -> None:
        self.seed = seed
        self.conditions = conditions or Conditions()
        self.trace = trace or Trace(keep=False)
        self.hosts: dict[str, Host] = {}
        self.ends: dict[StreamEnd, None] = {}
        """Ends of streams that are open."""
        self.transmitted: dict[tuple[str, str], int] = {}
        """Bytes handed to the network, from host to host."""
        self._random = random.Random(f"{seed}/network")
        self._blocked: dict[tuple[str, str], list[Callable[[], None]]] = {}
        self._opened = trio.Event()
        self._under_way: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self._delivery = trio.CancelScope()

    def host(self, name: str) -> Host:
        """Return the host of a name or an address, made at its first mention."""
        if name not in self.hosts:
            self.hosts[name] = Host(self, name)
        return self.hosts[name]

    # What comes between hosts

    def block(self, source: str, target: str) -> None:
        """Let nothing through from one host to another."""
        self._blocked.setdefault((source, target), [])

    def unblock(self, source: str, target: str) -> None:
        """Let everything through again, what was sent meanwhile first."""
        held = self._blocked.pop((source, target), None)
        if held is not None:
            for arrive in held:
                arrive()
            self.look_again()

    def partition(self, one: str, other: str, *, one_way: bool = False) -> None:
        """Let nothing through from one host to the other, and nothing back unless `one_way`."""
        self.block(one, other)
        if not one_way:
            self.block(other, one)

    def split(self, side: Iterable[str]) -> None:
        """Let nothing through between these hosts and the others."""
        one = [*side]
        for other in self.hosts:
            if other not in one:
                for each in one:
                    self.partition(each, other)

    def heal(self) -> None:
        """Let everything through again, everywhere, in streams that stalled too."""
        for way in [*self._blocked]:
            self.unblock(*way)
        for one, other in {(end.host.name, end.other.name): None for end in self.ends}:
            self.flow(one, other)

    def cut(self, one: str, other: str, *, after: int = 0) -> None:
        """Break all streams between two hosts: at once, or when so many bytes more were sent.

        The bytes are counted for each stream and direction. What was sent until then arrives.
        """
        for end in self._between(one, other):
            if after:
                end.cut_after = after
            else:
                end.reset()

    def stall(self, one: str, other: str, *, one_way: bool = False) -> None:
        """Have all streams between two hosts carry nothing, or only back; new ones do carry."""
        for pipe in self._pipes(one, other, one_way=one_way):
            if pipe.stalled is None:
                pipe.stalled = []

    def flow(self, one: str, other: str, *, one_way: bool = False) -> None:
        """Have all streams between two hosts carry again, first what was sent meanwhile.

        Only from the one to the other, where `one_way`.
        """
        for pipe in self._pipes(one, other, one_way=one_way):
            held, pipe.stalled = pipe.stalled or [], None
            for go_on in held:
                go_on()

    def _between(self, one: str, other: str) -> list[StreamEnd]:
        return [end for end in self.ends if {end.host.name, end.other.name} == {one, other}]

    def _pipes(self, one: str, other: str, *, one_way: bool) -> list[Pipe]:
        # Both of each end: what the other end sent before it closed is still to arrive.
        pipes: dict[Pipe, None] = {}
        for end in self._between(one, other):
            if not one_way or end.host.name == one:
                pipes[end.outbound] = None
            if not one_way or end.host.name == other:
                pipes[end.inbound] = None
        return [*pipes]

    async def wait_reachable(self, one: str, other: str) -> None:
        """Wait until packets go both ways between two hosts, as a connection needs."""
        while (
            (one, other) in self._blocked or (other, one) in self._blocked or self.host(other).dark
        ):
            await self._opened.wait()

    def look_again(self) -> None:
        """Have whoever waits for a way look whether it is open now."""
        self._opened.set()
        self._opened = trio.Event()

    # For the streams

    def note(self, what: str) -> None:
        """Add to the trace what happened just now."""
        self.trace.note(trio.current_time(), what)

    def carry(self, end: StreamEnd, data: bytes) -> None:
        """Take bytes from one end of a stream to the other."""
        way = end.host.name, end.other.name
        self.transmitted[way] = self.transmitted.get(way, 0) + len(data)
        self.trace.note(trio.current_time(), f"{way[0]} -> {way[1]}", data)
        twin = end.twin
        self.post(end.host, end.other, end.outbound, lambda: twin.take_in(data))

    def post(
        self, source: Host, target: Host, pipe: Pipe | None, arrive: Callable[[], None]
    ) -> None:
        """Have something arrive, behind all that went into the same pipe before."""
        shortest, longest = self.conditions.latency
        if not longest:
            self._pass(source, target, pipe, arrive)
            return
        at = trio.current_time() + shortest + (longest - shortest) * self._random.random()
        if pipe is not None:
            at = pipe.latest = max(at, pipe.latest)
        heapq.heappush(
            self._under_way,
            (at, next(self._numbers), lambda: self._pass(source, target, pipe, arrive)),
        )
        self._delivery.deadline = min(self._delivery.deadline, at)

    def _pass(
        self, source: Host, target: Host, pipe: Pipe | None, arrive: Callable[[], None]
    ) -> None:
        # A stream stalls ahead of the way: what it held may be held up once more, in its order.
        held = self._blocked.get((source.name, target.name))
        if pipe is not None and pipe.stalled is not None:
            pipe.stalled.append(lambda: self._pass(source, target, None, arrive))
        elif held is not None:
            held.append(arrive)
        else:
            arrive()

    def fragment(self, there: int) -> int:
        """Return how many of the bytes that are there a read gets at the most."""
        share = self.conditions.fragmented
        if share and there > 1 and self._random.random() < share:
            return self._random.randint(1, there)
        return there

    async def deliver(self) -> None:
        """Have bytes arrive when their time has come, until cancelled."""
        while True:
            with trio.CancelScope() as self._delivery:
                if self._under_way:
                    self._delivery.deadline = self._under_way[0][0]
                await trio.sleep_forever()
            now = trio.current_time()
            while self._under_way and self._under_way[0][0] <= now:
                heapq.heappop(self._under_way)[2]()
            await trio.lowlevel.checkpoint_if_cancelled()


@attrs.define(eq=False, repr=False)
class SimulatedListener(trio.abc.Listener[Stream]):
    """A port of a host."""

    host: Host
    address: Address
    queue: list[StreamEnd] = attrs.field(factory=list)
    closed: bool = False
    waiting: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)

    async def accept(self) -> Stream:
        """Return the next stream that was dialled from elsewhere."""
        await trio.lowlevel.checkpoint()
        while not self.queue and not self.closed:
            await self.waiting.park()
        if self.closed:
            raise trio.ClosedResourceError("this listener was closed")
        end = self.queue.pop(0)
        end.note("accepted")
        return end

    def close(self) -> None:
        """Accept nothing more; what was dialled and not accepted is reset."""
        if self.closed:
            return
        self.closed = True
        place = self.address.host, self.address.port
        # After a crash somebody else may listen there.
        if self.host.listeners.get(place) is self:
            del self.host.listeners[place]
        self.waiting.unpark_all()
        for end in self.queue:
            end.lose(silently=False)

    async def aclose(self) -> None:
        """Close it. Checkpoints; closed in any case."""
        self.close()
        await trio.lowlevel.checkpoint()


@attrs.define(eq=False, repr=False)
class Host:
    """One machine: its ports, its clock, and the tasks that run on it. A `manifest.Network`."""

    network: SimulatedNetwork
    name: str
    clock: NodeClock = attrs.field(factory=NodeClock)
    listeners: dict[tuple[str, int], SimulatedListener] = attrs.field(factory=dict)
    hangs: set[int] = attrs.field(factory=set)
    """Ports at which a dial neither succeeds nor fails."""
    dials: list[float] = attrs.field(factory=list)
    """When it dialled, in virtual time."""
    unplugged: bool = False
    """Whether it can neither dial nor be dialled, nor answer."""
    dark: bool = False
    """Whether it is without power: whoever dials it hears nothing at all."""
    gate: Gate = attrs.field(factory=Gate)
    _deaf: bool = False
    _ports: Iterator[int] = attrs.field(factory=lambda: iter(range(49152, 10**9)))
    _environments: int = 0

    def __repr__(self) -> str:
        return f"<host {self.name}>"

    def environment(self) -> Environment:
        """Return what a manifest on this host needs; each has randomness of its own."""
        self._environments += 1
        seed = f"{self.network.seed}/{self.name}/{self._environments}"
        return Environment(
            wall=self.clock.wall,
            monotonic=self.clock.monotonic,
            random=random.Random(seed),
            network=self,
        )

    # What a program asks of a network

    async def dial(self, host: str, port: int) -> StreamEnd:
        """Connect to a port of a host. OSError where nobody listens there."""
        await trio.lowlevel.checkpoint()
        self.dials.append(trio.current_time())
        host = "127.0.0.1" if host == "localhost" else host
        here = Address(host, 0).is_loopback
        name = self.name if here else host
        there = self.network.host(name)
        await self.network.wait_reachable(self.name, name)
        if port in there.hangs:
            await trio.sleep_forever()
        longest = self.network.conditions.latency[1]
        if longest:
            await trio.sleep(longest)
            await self.network.wait_reachable(self.name, name)
        wildcard = "::" if ":" in host else "0.0.0.0"
        listener = there.listeners.get((host, port)) or there.listeners.get((wildcard, port))
        if listener is None or there.unplugged or self.unplugged:
            self.network.note(f"{self.name} -> {name}: refused at port {port}")
            raise OSError(errno.ECONNREFUSED, "Connection refused")
        mine = Address(host if here else self.name, next(self._ports))
        capacity = self.network.conditions.capacity
        out, back = Pipe(capacity), Pipe(capacity)
        near = StreamEnd(self.network, self, there, Address(host, port), inbound=back, outbound=out)
        far = StreamEnd(self.network, there, self, mine, inbound=out, outbound=back)
        near.twin, far.twin = far, near
        self.network.ends |= {near: None, far: None}
        near.note("connected")
        listener.queue.append(far)
        listener.waiting.unpark_all()
        return near

    async def listen(self, host: str, port: int) -> list[trio.abc.Listener[Stream]]:
        """Bind a port, any free one for 0, at one of its addresses. OSError where it is taken."""
        await trio.lowlevel.checkpoint()
        port = port or next(self._ports)
        hosts = ["127.0.0.1", "::1"] if host == "localhost" else [host]
        if any((each, port) in self.listeners for each in hosts):
            raise OSError(errno.EADDRINUSE, "Address already in use")
        bound = [SimulatedListener(self, Address(each, port)) for each in hosts]
        self.listeners |= {(each.address.host, port): each for each in bound}
        return [*bound]

    def bound(self, listener: trio.abc.Listener[Stream]) -> Address:
        """Return where a listener listens."""
        assert isinstance(listener, SimulatedListener)
        return listener.address

    def remote(self, stream: Stream) -> Address:
        """Return where a stream's other end is, as seen from here."""
        assert isinstance(stream, StreamEnd)
        return stream.remote

    def send_now(self, stream: Stream, data: bytes) -> int:
        """Send what there is room for, and return how many bytes that is."""
        assert isinstance(stream, StreamEnd)
        return stream.send_now(data)

    def own_address(self) -> str:
        """Return the address under which others reach this host: its name."""
        return self.name

    # What a test does to it

    @property
    def ends(self) -> list[StreamEnd]:
        """The open ends of streams on this host."""
        return [end for end in self.network.ends if end.host is self]

    @property
    def deaf(self) -> bool:
        """Whether its programs get nothing to read, so that what is sent to them piles up."""
        return self._deaf

    @deaf.setter
    def deaf(self, deaf: bool) -> None:
        self._deaf = deaf
        for end in self.ends:
            end.inbound.wake()

    def crash(self, *, silently: bool = False) -> None:
        """Lose all sockets as a killed process does: the system resets the peers' streams.

        Or as a machine without power does, where `silently`: nobody is told. What is left of the
        process until it is cancelled finds them broken.
        """
        self.unplugged = True
        self.dark = silently
        for listener in self.listeners.values():
            for end in listener.queue:
                end.lose(silently=silently)
        self.listeners.clear()
        for end in self.ends:
            end.lose(silently=silently)

    def come_back(self) -> None:
        """Be a machine on the network again, with no memory of the streams that there were."""
        self.unplugged = self.dark = False
        self.network.look_again()

    def pause(self) -> None:
        """Run no more tasks of this host, as under SIGSTOP; its sockets fill."""
        self.gate.shut = True

    def resume(self) -> None:
        """Run them again."""
        self.gate.open()
