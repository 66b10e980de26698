"""A network in memory for virtual time: hosts, listeners, streams, and what goes wrong with them.

One `MemoryNetwork` holds several hosts. Each gives an environment to a manifest: this network, a
wall clock that a test can step, and randomness from the network's seed. A stream keeps what TCP
promises and no more: bytes in order, a writer that waits where the reader does not read
(`capacity`), an end of file behind the last byte, and a reset that takes with it what was not read.

Across a partition nothing arrives and nobody is told. What was sent waits in the network until
it heals, as TCP would send it again.

A host can be paused: its tasks do not run and its sockets fill, as under SIGSTOP.
"""

from __future__ import annotations

import contextvars
import errno
import math
import random
import types
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import attrs
import trio

from manifest import Environment, Manifest, open_manifest
from manifest.messages import Message
from manifest.network import Address, Stream
from manifest.options import Options
from manifest.protocol import LinkProtocol
from manifest.replica import Replica
from manifest.timekeeping import PhysicalClock, WakingClock

__all__ = [
    "EPOCH",
    "End",
    "Host",
    "Listener",
    "MemoryNetwork",
    "Node",
    "Puppet",
    "Wall",
    "pausable",
    "until",
]

EPOCH = 1_700_000_000_000
"""What every wall clock says at virtual time zero, in milliseconds since 1970."""


class MemoryNetwork:
    """Hosts that reach each other, until a test comes between them."""

    def __init__(self, seed: int = 0, *, capacity: float = math.inf) -> None:
        self.seed = seed
        self.capacity = capacity
        """Bytes that a stream takes beyond what its reader has read, before its writer waits."""
        self.hosts: dict[str, Host] = {}
        self.ends: dict[End, None] = {}
        """Ends of streams that are open."""
        self.transmitted: dict[tuple[str, str], int] = {}
        """Bytes handed to the network, from host to host."""
        self._parted: dict[tuple[str, str], list[Callable[[], None]]] = {}
        self._healed = trio.Event()

    def host(self, name: str) -> Host:
        """Return the host of a name or an address, made at its first mention."""
        if name not in self.hosts:
            self.hosts[name] = Host(self, name)
        return self.hosts[name]

    def partition(self, one: str, other: str, *, one_way: bool = False) -> None:
        """Let nothing through from one host to the other, and nothing back unless `one_way`."""
        self._parted.setdefault((one, other), [])
        if not one_way:
            self._parted.setdefault((other, one), [])

    def heal(self) -> None:
        """Let everything through again, what was sent meanwhile first."""
        parted, self._parted = self._parted, {}
        for under_way in parted.values():
            for arrive in under_way:
                arrive()
        self._healed.set()
        self._healed = trio.Event()

    def cut(self, one: str, other: str) -> None:
        """Break all streams between two hosts, at both ends."""
        for end in [*self.ends]:
            if {*end.way} == {one, other}:
                end.reset()

    def send(self, source: str, target: str, arrive: Callable[[], None]) -> None:
        """Have something arrive: at once, or when a partition in between has healed."""
        under_way = self._parted.get((source, target))
        if under_way is None:
            arrive()
        else:
            under_way.append(arrive)

    async def wait_reachable(self, one: str, other: str) -> None:
        """Wait until packets go both ways between two hosts, as a connection needs."""
        while (one, other) in self._parted or (other, one) in self._parted:
            await self._healed.wait()


class Pipe:
    """One direction of a stream."""

    def __init__(self, capacity: float) -> None:
        self.capacity = capacity
        self.unread = 0
        """Bytes that were sent and not read, wherever they are."""
        self.arrived = bytearray()
        self.ended = False
        self.broken = False
        self.closed_by_reader = False
        self.readers = trio.lowlevel.ParkingLot()
        self.writers = trio.lowlevel.ParkingLot()

    def arrive(self, data: bytes) -> None:
        self.arrived += data
        self.readers.unpark_all()

    def end(self) -> None:
        self.ended = True
        self.readers.unpark_all()

    def reset(self) -> None:
        self.broken = True
        self.arrived.clear()
        self.readers.unpark_all()
        self.writers.unpark_all()


@attrs.define(eq=False)
class End(trio.abc.HalfCloseableStream):
    """One end of a stream."""

    network: MemoryNetwork
    way: tuple[str, str]
    """The host that it is on, and the host at the other end."""
    remote: Address
    inbound: Pipe
    outbound: Pipe
    closed: bool = False
    cut_short: bool = False
    """Whether a send was interrupted when part of its data had been taken."""
    sent: bytearray = attrs.field(factory=bytearray)
    """Everything that was ever sent."""
    _sending: bool = False
    _receiving: bool = False

    def _check(self) -> None:
        if self.closed:
            raise trio.ClosedResourceError("this end was closed")

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.cut_short, "a stream is never written again after an interrupted send"
        assert not self._sending, "one task writes a stream"
        self._check()
        self._sending = True
        left = bytes(data)
        try:
            await trio.lowlevel.checkpoint()
            while left:
                self._check()
                if self.outbound.broken:
                    raise trio.BrokenResourceError("connection reset by peer")
                room = self.outbound.capacity - self.outbound.unread
                if room <= 0:
                    await self.outbound.writers.park()
                    continue
                part = left if room >= len(left) else left[: int(room)]
                left = left[len(part) :]
                self._transmit(part)
        finally:
            self._sending = False
            self.cut_short = 0 < len(left) < len(data)

    def _transmit(self, part: bytes) -> None:
        network, pipe, way = self.network, self.outbound, self.way
        self.sent += part
        pipe.unread += len(part)
        network.transmitted[way] = network.transmitted.get(way, 0) + len(part)

        def arrive() -> None:
            if pipe.closed_by_reader:
                # The other end is gone, and its system says so.
                network.send(*way[::-1], self.reset)
            else:
                pipe.arrive(part)

        network.send(*way, arrive)

    async def wait_send_all_might_not_block(self) -> None:
        raise NotImplementedError

    async def send_eof(self) -> None:
        assert not self.cut_short, "a frame that was cut short does not end cleanly"
        self._check()
        await trio.lowlevel.checkpoint()
        self.network.send(*self.way, self.outbound.end)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        assert not self._receiving, "one task reads a stream"
        self._check()
        self._receiving = True
        pipe = self.inbound
        try:
            await trio.lowlevel.checkpoint()
            while not (pipe.arrived or pipe.ended or pipe.broken or self.closed):
                await pipe.readers.park()
        finally:
            self._receiving = False
        self._check()
        if pipe.broken:
            raise trio.BrokenResourceError("connection reset by peer")
        data = bytes(pipe.arrived[:max_bytes])
        del pipe.arrived[: len(data)]
        pipe.unread -= len(data)
        pipe.writers.unpark_all()
        return data

    def close(self) -> None:
        """Close the end; what was not read by then makes it a reset."""
        if self.closed:
            return
        self.closed = True
        del self.network.ends[self]
        self.inbound.closed_by_reader = True
        self.inbound.readers.unpark_all()
        self.outbound.writers.unpark_all()
        self.inbound.writers.unpark_all()
        self.network.send(*self.way, self.reset if self.inbound.arrived else self.outbound.end)

    def reset(self) -> None:
        """Break both directions, for both ends."""
        self.inbound.reset()
        self.outbound.reset()

    def vanish(self) -> None:
        """Be gone without a word to the other end."""
        self.closed = True
        self.network.ends.pop(self, None)
        self.inbound.readers.unpark_all()
        self.outbound.writers.unpark_all()

    async def aclose(self) -> None:
        self.close()
        await trio.lowlevel.checkpoint()


@attrs.define(eq=False)
class Listener(trio.abc.Listener[Stream]):
    """A port of a host."""

    host: Host
    address: Address
    queue: list[End] = attrs.field(factory=list)
    closed: bool = False
    waiting: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)

    async def accept(self) -> Stream:
        await trio.lowlevel.checkpoint()
        while not self.queue and not self.closed:
            await self.waiting.park()
        if self.closed:
            raise trio.ClosedResourceError("this listener was closed")
        return self.queue.pop(0)

    def close(self) -> None:
        self.closed = True
        self.host.listeners.pop((self.address.host, self.address.port), None)
        self.waiting.unpark_all()
        for end in self.queue:
            end.close()

    async def aclose(self) -> None:
        self.close()
        await trio.lowlevel.checkpoint()


@attrs.define(eq=False)
class Wall:
    """A wall clock, in milliseconds: virtual time, and what it is off by."""

    off: int = 0

    def __call__(self) -> int:
        return EPOCH + self.off + int(trio.current_time() * 1000)

    def step(self, seconds: float) -> None:
        """Move the hands."""
        self.off += int(seconds * 1000)


class Gate:
    """What a host's tasks pass through at every step; shut, it holds them."""

    def __init__(self) -> None:
        self.shut = False
        self._held: list[trio.lowlevel.Task] = []

    def open(self) -> None:
        """Let everything through that was held, in its order."""
        self.shut = False
        held, self._held = self._held, []
        for task in held:
            trio.lowlevel.reschedule(task)

    async def _pass(self) -> None:
        while self.shut:
            self._held.append(trio.lowlevel.current_task())
            await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.FAILED)

    async def guard(self, work: Coroutine[Any, Any, Any]) -> object:
        """Run a task's coroutine step by step, each as soon as the gate is open."""
        return await self._steps(work)

    @types.coroutine
    def _steps(self, work: Coroutine[Any, Any, Any]) -> Generator[Any, Any, object]:
        result: object = None
        while True:
            yield from self._pass().__await__()
            try:
                trap = work.send(result)
            except StopIteration as stop:
                return stop.value
            result = yield trap


_gate: contextvars.ContextVar[Gate] = contextvars.ContextVar("gate")


class Gatekeeper(trio.abc.Instrument):
    """Puts the tasks of paused hosts behind their gates."""

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        # Of the task above it, whoever called `start_soon`: a test does, through a manifest.
        above = task.parent_nursery and task.parent_nursery.parent_task
        gate = above and above.context.get(_gate)
        if gate is not None:
            task.context.run(_gate.set, gate)
            task.coro = gate.guard(task.coro)  # type: ignore[assignment]  # typed as CoroutineType


@contextmanager
def pausable() -> Iterator[None]:
    """Have `Host.pause` work for what is started within the block."""
    keeper = Gatekeeper()
    trio.lowlevel.add_instrument(keeper)
    try:
        yield
    finally:
        trio.lowlevel.remove_instrument(keeper)


@attrs.define(eq=False)
class Host:
    """One machine: its ports, its clock, and the tasks that run on it. A `manifest.Network`."""

    network: MemoryNetwork
    name: str
    wall: Wall = attrs.field(factory=Wall)
    listeners: dict[tuple[str, int], Listener] = attrs.field(factory=dict)
    hangs: set[int] = attrs.field(factory=set)
    """Ports at which a dial neither succeeds nor fails."""
    dials: list[float] = attrs.field(factory=list)
    """When it dialled, in virtual time."""
    unplugged: bool = False
    """Whether it can neither dial nor be dialled."""
    ports: Iterator[int] = attrs.field(factory=lambda: iter(range(49152, 65536)))
    gate: Gate = attrs.field(factory=Gate)
    environments: int = 0

    def environment(self) -> Environment:
        """Return what a manifest on this host needs; each has randomness of its own."""
        self.environments += 1
        seed = f"{self.network.seed}/{self.name}/{self.environments}"
        return Environment(wall=self.wall, random=random.Random(seed), network=self)

    # What a manifest asks of a network

    async def dial(self, host: str, port: int) -> Stream:
        return await self.reach(host, port)

    async def reach(self, host: str, port: int) -> End:
        await trio.lowlevel.checkpoint()
        self.dials.append(trio.current_time())
        here = Address(host, 0).is_loopback or host == "localhost"
        name = self.name if here else host
        there = self.network.host(name)
        await self.network.wait_reachable(self.name, name)
        if port in there.hangs:
            await trio.sleep_forever()
        wildcard = "::" if ":" in host else "0.0.0.0"
        listener = there.listeners.get((host, port)) or there.listeners.get((wildcard, port))
        if listener is None or there.unplugged or self.unplugged:
            raise OSError(errno.ECONNREFUSED, "Connection refused")
        mine = Address(host if here else self.name, next(self.ports))
        pipes = Pipe(self.network.capacity), Pipe(self.network.capacity)
        near = End(self.network, (self.name, name), Address(host, port), *pipes)
        far = End(self.network, (name, self.name), mine, *pipes[::-1])
        self.network.ends |= {near: None, far: None}
        listener.queue.append(far)
        listener.waiting.unpark_all()
        return near

    async def listen(self, host: str, port: int) -> list[trio.abc.Listener[Stream]]:
        await trio.lowlevel.checkpoint()
        port = port or next(self.ports)
        hosts = ["127.0.0.1", "::1"] if host == "localhost" else [host]
        if any((each, port) in self.listeners for each in hosts):
            raise OSError(errno.EADDRINUSE, "Address already in use")
        bound = [Listener(self, Address(each, port)) for each in hosts]
        self.listeners |= {(each.address.host, port): each for each in bound}
        return [*bound]

    def bound(self, listener: trio.abc.Listener[Stream]) -> Address:
        assert isinstance(listener, Listener)
        return listener.address

    def remote(self, stream: Stream) -> Address:
        assert isinstance(stream, End)
        return stream.remote

    def own_address(self) -> str:
        return self.name

    # What a test does to it

    @property
    def ends(self) -> list[End]:
        """The open ends of streams on this host."""
        return [end for end in self.network.ends if end.way[0] == self.name]

    def crash(self) -> None:
        """Lose all sockets as a killed process does: the system resets the peers' streams."""
        self.unplugged = True
        for end in self.ends:
            end.reset()
            end.vanish()

    def vanish(self) -> None:
        """Lose all sockets as a machine without power does: nobody is told."""
        self.unplugged = True
        for end in self.ends:
            end.vanish()

    def come_back(self) -> None:
        """Be a machine on the network again, with no memory of the streams that there were."""
        self.unplugged = False

    def pause(self) -> None:
        """Run no more tasks of this host's nodes."""
        self.gate.shut = True

    def resume(self) -> None:
        """Run them again."""
        self.gate.open()

    @asynccontextmanager
    async def node(self, **options: Any) -> AsyncIterator[Node]:
        """Run a manifest in a task of its own, so that it can be paused, cancelled and killed."""
        async with trio.open_nursery() as nursery:
            node: Node = await nursery.start(self._run_node, options)
            try:
                yield node
            finally:
                self.resume()
                node.leave()

    async def _run_node(
        self, options: dict[str, Any], *, task_status: trio.TaskStatus[Node]
    ) -> None:
        _gate.set(self.gate)
        with trio.CancelScope() as scope:
            async with open_manifest(environment=self.environment(), **options) as manifest:
                node = Node(self, manifest, scope)
                task_status.started(node)
                await node.leaving.wait()
        node.gone.set()


@attrs.define(eq=False)
class Node:
    """A manifest that runs on a host."""

    host: Host
    manifest: Manifest
    scope: trio.CancelScope
    leaving: trio.Event = attrs.field(factory=trio.Event)
    gone: trio.Event = attrs.field(factory=trio.Event)

    def leave(self) -> None:
        """Close the manifest, in its own task."""
        self.leaving.set()

    async def kill(self, *, silently: bool = False) -> None:
        """End it as SIGKILL does, or as a power cut does: it says nothing more to anyone."""
        if silently:
            self.host.vanish()
        else:
            self.host.crash()
        self.scope.cancel()
        await self.gone.wait()


class Puppet:
    """A peer of which a test decides every byte, and whether it reads."""

    def __init__(self, end: End, **options: Any) -> None:
        self.end = end
        self.replica = Replica(
            "F" * 24,
            Options(**options),
            PhysicalClock(Wall(), trio.current_time),
            WakingClock(trio.current_time, math.inf),
            lambda _: None,
        )
        self.protocol = LinkProtocol(self.replica)

    async def say(self) -> None:
        """Send what a well-behaved peer would send now."""
        await self.end.send_all(self.protocol.bytes_to_send())

    async def hear(self) -> list[Message]:
        """Read what has arrived, as a well-behaved peer would; nothing at the end."""
        return self.protocol.receive_data(await self.end.receive_some())

    async def greet(self) -> None:
        """Exchange Hellos."""
        await self.say()
        while self.protocol.peer is None:
            await self.hear()


async def until(holds: Callable[[], object], *, within: float = 60.0) -> float:
    """Wait until something holds, in virtual time; return how many seconds that took."""
    begun = trio.current_time()
    with trio.fail_after(within):
        await trio.lowlevel.checkpoint()
        while not holds():  # noqa: ASYNC110 - anything at all may be waited for
            await trio.sleep(0.01)
    return trio.current_time() - begun
