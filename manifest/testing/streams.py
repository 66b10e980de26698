"""Streams in memory that promise what TCP promises, and no more.

Bytes arrive in order, in pieces of any size, after a while or not at all. A writer waits where the
reader does not read. An end of file comes behind the last byte; a reset takes with it what was not
read. Nobody is told that the other end is gone, unless something reaches it and is answered.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs
import trio

from manifest.network import Address

if TYPE_CHECKING:
    from .network import Host, SimulatedNetwork

__all__ = ["Pipe", "StreamEnd"]


class Pipe:
    """One direction of a stream."""

    def __init__(self, capacity: float) -> None:
        self.capacity = capacity
        self.unread = 0
        """Bytes that were sent and not read, wherever they are."""
        self.arrived = bytearray()
        self.ended = False
        self.broken = False
        self.stalled: list[Callable[[], None]] | None = None
        """What waits while it carries nothing, if it carries nothing."""
        self.latest = 0.0
        """When what was sent last arrives: nothing overtakes it."""
        self.readers = trio.lowlevel.ParkingLot()
        self.writers = trio.lowlevel.ParkingLot()

    def arrive(self, data: bytes) -> None:
        """Have bytes there to be read, unless it broke while they were under way."""
        if not self.broken:
            self.arrived += data
            self.readers.unpark_all()

    def end(self) -> None:
        """Have no more bytes come than are there."""
        self.ended = True
        self.readers.unpark_all()

    def reset(self) -> None:
        """Break it, and lose what was not read."""
        self.broken = True
        self.arrived.clear()
        self.wake()

    def break_off(self) -> None:
        """Break it behind what is there to be read."""
        self.broken = True
        self.wake()

    def wake(self) -> None:
        """Have whoever waits look again."""
        self.readers.unpark_all()
        self.writers.unpark_all()


@attrs.define(eq=False, repr=False)
class StreamEnd(trio.abc.HalfCloseableStream):
    """One end of a stream between two hosts of a `SimulatedNetwork`."""

    network: SimulatedNetwork
    host: Host
    other: Host
    remote: Address
    """Where the other end is, as seen from here."""
    inbound: Pipe
    outbound: Pipe
    closed: bool = False
    lost: bool = False
    """Whether its process was killed: what is left of that process finds it broken."""
    finished: bool = False
    """Whether it sent an end of file."""
    cut_short: bool = False
    """Whether a send was interrupted when part of its data had been taken."""
    cut_after: int | None = None
    """How many more bytes go out before the stream breaks, if it is to break."""
    twin: StreamEnd = attrs.field(init=False)
    """The other end."""
    _sending: bool = False
    _receiving: bool = False

    def __repr__(self) -> str:
        return f"<stream from {self.host.name} to {self.other.name}>"

    def note(self, what: str) -> None:
        """Add to the trace what happened to this end just now, with the ports of both."""
        here, there = self.twin.remote.port, self.remote.port
        self.network.note(f"{self.host.name} {here} -> {self.other.name} {there}: {what}")

    def _check(self) -> None:
        if self.closed:
            raise trio.ClosedResourceError("this end was closed")

    def _begin_to_send(self) -> None:
        """Be the only sender, until `_sending` is false again."""
        if self._sending:
            raise trio.BusyResourceError("another task is sending on this stream")
        self._check()
        self._sending = True

    def _check_whole(self) -> None:
        if self.outbound.broken or self.lost:
            raise trio.BrokenResourceError("connection reset by peer")

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Hand bytes to the network; waits while the reader has not read what is there."""
        self._begin_to_send()
        left = b""
        try:
            if self.finished:
                raise trio.ClosedResourceError("this end sent an end of file")
            if self.cut_short:
                raise AssertionError(
                    "a send on this stream was interrupted and may have written part of a message: "
                    "close the stream, and never write to it again"
                )
            left = bytes(data)
            await trio.lowlevel.checkpoint()
            while left:
                self._check()
                self._check_whole()
                room = self.outbound.capacity - self.outbound.unread
                if room < 1:
                    await self.outbound.writers.park()
                    continue
                part = left if room >= len(left) else left[: int(room)]
                left = left[len(part) :]
                self._transmit(part)
        finally:
            self._sending = False
            self.cut_short = self.cut_short or 0 < len(left) < len(data)

    def send_now(self, data: bytes) -> int:
        """Hand bytes to the network, as many as there is room for; return how many those are."""
        if self._sending or self.closed or self.finished or self.cut_short:
            raise AssertionError("nothing can be sent on this stream: see who sends, or ended it")
        room = self.outbound.capacity - self.outbound.unread
        part = data if room >= len(data) else data[: int(room)]
        if not part or self.outbound.broken or self.lost:
            return 0
        self._transmit(part)
        return len(part)

    def _transmit(self, part: bytes) -> None:
        if self.cut_after is not None:
            part, rest = part[: self.cut_after], part[self.cut_after :]
            self.cut_after -= len(part)
        else:
            rest = b""
        if part:
            self.outbound.unread += len(part)
            self.network.carry(self, part)
        if rest or self.cut_after == 0:
            self.network.post(self.host, self.other, self.outbound, self.outbound.break_off)
            self.note("cut")
            self.inbound.reset()

    def take_in(self, data: bytes) -> None:
        """Have bytes arrive here from the other end."""
        if self.closed or self.lost:
            # Its system says that nobody is there; a machine without power says nothing.
            if not self.host.unplugged:
                self.network.post(self.host, self.other, None, self.twin.reset)
        else:
            self.inbound.arrive(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until there is room for at least a byte."""
        self._begin_to_send()
        try:
            await trio.lowlevel.checkpoint()
            pipe = self.outbound
            while not (pipe.broken or self.closed or self.lost or pipe.capacity - pipe.unread >= 1):
                await pipe.writers.park()
            self._check()
        finally:
            self._sending = False

    async def send_eof(self) -> None:
        """Send an end of file behind what was sent."""
        self._begin_to_send()
        try:
            await trio.lowlevel.checkpoint()
            self._check()
            self._check_whole()
            if not self.finished:
                self.finished = True
                self.note("end of file")
                self.tell(self.outbound.end)
        finally:
            self._sending = False

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return bytes that have arrived, as many as it pleases the network, or b"" at the end."""
        if max_bytes is not None and operator.index(max_bytes) < 1:
            raise ValueError(f"max_bytes is 1 or more, got {max_bytes}")
        if self._receiving:
            raise trio.BusyResourceError("another task is receiving on this stream")
        self._check()
        self._receiving = True
        pipe = self.inbound
        try:
            if self._has_something_to_read():
                await trio.lowlevel.checkpoint()
            while not self._has_something_to_read():
                await pipe.readers.park()
        finally:
            self._receiving = False
        self._check()
        there = len(pipe.arrived)
        if self.lost or (pipe.broken and not there):
            raise trio.BrokenResourceError("connection reset by peer")
        take = min(there, max_bytes or there, self.network.fragment(there))
        data = bytes(pipe.arrived[:take])
        del pipe.arrived[:take]
        pipe.unread -= take
        pipe.writers.unpark_all()
        return data

    def _has_something_to_read(self) -> bool:
        pipe = self.inbound
        there = bool(pipe.arrived or pipe.ended or pipe.broken)
        return self.closed or self.lost or (there and not self.host.deaf)

    def close(self) -> None:
        """Close this end; what was not read by then makes it a reset."""
        if self.closed:
            return
        self.closed = True
        self.note("closed")
        self.network.ends.pop(self, None)
        self.inbound.wake()
        self.outbound.wake()
        if not self.lost:
            self.tell(self.twin.reset if self.inbound.arrived else self.outbound.end)

    def reset(self) -> None:
        """Break both directions, for both ends."""
        self.note("reset")
        self.inbound.reset()
        self.outbound.reset()

    def lose(self, *, silently: bool) -> None:
        """Be what is left of a stream whose process was killed; `silently`, nobody is told."""
        self.lost = True
        self.note("lost")
        self.network.ends.pop(self, None)
        self.inbound.wake()
        self.outbound.wake()
        if not silently:
            self.tell(self.twin.reset)

    def tell(self, happen: Callable[[], None]) -> None:
        """Have something happen at the other end, behind all that was sent."""
        self.network.post(self.host, self.other, self.outbound, happen)

    async def aclose(self) -> None:
        """Close this end. Checkpoints; closed in any case."""
        self.close()
        await trio.lowlevel.checkpoint()
