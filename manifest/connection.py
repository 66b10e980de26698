"""One stream, driven until it ends: one reader, one writer, one protocol object.

The writer task owns the sending side: it waits for a wake-up, never for a queue, and asks the
protocol what to send now. While it waits, whoever makes many changes may send in its place. A send
that was cut short may have written part of a frame, so the stream is never written again: it is
closed forcefully.

Deadlines are on the waking clock, and the reader alone judges them, those of the writer included.
After a pause of this process they have moved along with it, so what waits in the socket is read
before the peer is judged.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Protocol

import trio

from .admission import Admission
from .environment import Environment
from .errors import LinkError, LinkRefused, ManifestError, refusal_of
from .events import Event
from .messages import Bye, Gossip, Hello, Synced
from .network import PromptNetwork, Stream
from .protocol import LinkProtocol, Traffic
from .refusals import Refusal
from .replica import Replica

if TYPE_CHECKING:
    from .link import SupervisedLink

__all__ = ["Connection", "Hub"]

_CHUNK = 64 * 1024
_TURN = 4 * 1024
"""How much is looked at before others have their turn: it may be a thousand tiny messages."""
_AHEAD = 1024
"""How many changes gather before they are sent from where they are made: 512 registrations. A part
of so many costs little more for each of them than a larger one, and the last one is soon taken."""
_PARTING = 1.0
"""Seconds for the peer to take the last word and hang up."""


class Hub(Protocol):
    """What a link needs of the manifest that it belongs to."""

    replica: Replica
    environment: Environment
    refused: Counter[Refusal]
    """How many connections this side refused or dropped, and why."""
    admission: Admission[SupervisedLink]
    """Which of the peers that connected are let in."""
    greeted: dict[Connection, None]
    """The connections whose peers have said Hello: nobody else is sent anything."""
    said: dict[str, str]
    """What the log said last about whom, numbers apart, so that attempts do not repeat it."""

    @property
    def listening(self) -> str | None:
        """Where this manifest accepts links, for its peers to know."""

    def emit(self, event: Event) -> None:
        """Tell the subscribers."""

    def pass_on(self, source: Connection, writes: bool, within: Mapping[str, float]) -> None:
        """Have the links carry writes at once, and contexts within so many seconds each."""

    def make_detours(self, lost: Connection) -> None:
        """Ask all peers for the nodes that were heard of by a connection that has ended."""

    def ask_for(self, nodes: list[str]) -> None:
        """Have every link ask for heartbeats of these nodes, which are missed."""

    def learn_address(self, host: str) -> None:
        """Take note of the address at which a peer sees this host."""


class Connection:
    """One stream, driven until it ends. `run` returns the reason."""

    def __init__(self, link: SupervisedLink, hub: Hub, stream: Stream) -> None:
        self._link = link
        self._hub = hub
        self._stream = stream
        self._options = hub.replica.options
        self._waking = hub.replica.waking
        network = hub.environment.network
        remote = network.remote(stream)
        # The zone of a scoped IPv6 address means something on this host alone.
        seen = remote.host.partition("%")[0]
        self.protocol = LinkProtocol(
            hub.replica,
            seen=seen,
            listening=hub.listening,
            admit=_welcome if link.dialled else partial(hub.admission.greet, link),
        )
        self.hold_until = math.inf
        """When what waits is to be sent, if nothing takes it along before."""
        self.parted = False
        """Whether the peer has hung up after this side had said Bye, or has said Bye itself."""
        self._prompt = network if isinstance(network, PromptNetwork) else None
        # What the system did not take at once of what was sent ahead.
        self._unsent = b""
        self._awake = trio.Event()
        self._idle = trio.Event()
        self._ended = trio.Event()
        # Deadlines in waking time; a frame's begins with its first byte.
        self._greeted_by = self._waking.now() + self._options.timeouts.handshake
        self._frame_by = math.inf
        self._heard_by = math.inf
        self._taken_by = math.inf
        self._gone_by = math.inf
        self._receiving = trio.CancelScope()
        # Why this side ended it, where it did; else why nothing more could be written.
        self._end: Exception | None = None
        self._broken: LinkError | None = None

    @property
    def traffic(self) -> Traffic:
        """What has passed over the stream so far."""
        return self.protocol.traffic

    def wake(self) -> None:
        """Have the writer look for something to send."""
        self.hold_until = math.inf
        self._awake.set()

    @trio.lowlevel.enable_ki_protection
    def send_ahead(self) -> None:
        """Send what has gathered, once it is much, as far as the system takes it at once.

        For who makes many changes without a checkpoint, so that nothing else runs: the peer works
        on the first of them while the last are being made, and not after that.
        """
        if (
            self._prompt is None
            or self.protocol.backlog < _AHEAD
            # The writer is in the middle of something, or will not write any more.
            or not self._idle.is_set()
            or self.protocol.parting
        ):
            return
        data = self.protocol.bytes_to_send()
        taken = self._prompt.send_now(self._stream, data)
        if taken < len(data):
            self._unsent = data[taken:]
            self._be_busy()

    def part(self, code: str, reason: str) -> None:
        """Say Bye, and end once the peer has taken it or has had a second to."""
        self.protocol.close(code, reason)
        self._end = self._end or LinkError(f"closed by this side: {reason}")
        self._hurry()
        self.wake()

    def drop(self, reason: LinkError) -> Exception:
        """End it at once and without a word, unless it is ending already; return why it does."""
        end = self._end or self._broken or self._refuse(reason)
        self._gone_by = -math.inf
        self._look_again_at(-math.inf)
        return end

    def _refuse(self, reason: ManifestError) -> Exception:
        """Count why this side ends it, unless it has been ended already; return why it was."""
        if self._end is None:
            self._end = reason
            self._hub.refused[refusal_of(reason)] += 1
        return self._end

    def _hurry(self) -> None:
        """Give the peer a second to hang up."""
        self._gone_by = min(self._gone_by, self._waking.now() + _PARTING)
        self._look_again_at(self._gone_by)

    def _look_again_at(self, time: float) -> None:
        """Have the reader judge its deadlines by a waking time, also where it waits already."""
        by = time + self._waking.paused
        # Setting a deadline costs something, also where it stays.
        if by < self._receiving.deadline:  # noqa: PLR1730
            self._receiving.deadline = by

    async def wait_flushed(self) -> None:
        """Wait until all that there is to say now has been handed to the operating system."""
        while not (self._ended.is_set() or (self.protocol.flushed and self._idle.is_set())):
            self._be_busy()
            self.wake()
            await self._idle.wait()

    async def wait_ended(self) -> None:
        """Wait until `run` is over."""
        await self._ended.wait()

    async def run(self) -> Exception:
        """Drive the stream until it ends, and return why it ended. It is then to be closed."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                end = await self._read()
                nursery.cancel_scope.cancel()
        finally:
            self._ended.set()
            self._idle.set()
        return end

    # Reading

    async def _read(self) -> Exception:
        """Read until the connection ends, or the peer is past a deadline; return why it ended."""
        # Each turn waits or returns.
        while True:  # noqa: ASYNC913
            deadline, complaint, refusal = self._deadline()
            left = deadline - self._waking.now()
            if left <= 0:
                return self.drop(LinkError(complaint, refusal))
            # Less than a millisecond may be too little to move the event loop's clock. Deadlines
            # that move away leave the scope's behind: it then only has them looked at again.
            with trio.move_on_after(max(left, 0.001)) as self._receiving:
                return await self._take_in()

    async def _take_in(self) -> Exception:
        """Read until the connection ends, whatever the deadlines; return why it ended."""
        # Each turn waits.
        while True:  # noqa: ASYNC913
            try:
                data = bytes(await self._stream.receive_some(_CHUNK))
            except trio.BrokenResourceError as error:
                end = _broke(error)
                # It may be all that is seen of a peer that leaves at the same moment.
                self.parted = self.protocol.parting
                return self._refuse(end) if isinstance(end, LinkRefused) else self._end or end
            if not data:
                self.parted = self.protocol.parting
                return self._end or self._broken or LinkError("the peer hung up without a word")
            for start in range(0, len(data), _TURN):
                if start:
                    # Shielded, for what was read and not looked at would be lost.
                    await trio.lowlevel.cancel_shielded_checkpoint()
                ended = self._take(data[start : start + _TURN])
                if ended is not None:
                    return ended

    def _take(self, data: bytes) -> Exception | None:
        """Take bytes that arrived; return why the connection ended, if they end it."""
        try:
            messages = self.protocol.receive_data(data)
        except ManifestError as error:
            # The Bye that says why is on its way; what arrives meanwhile is not looked at.
            self._refuse(error)
            self.part("error", str(error))
            # What came before the fault in the same bytes has been joined.
            self._hub.pass_on(self, *self.protocol.take_news())
            return None
        # Before anything else: what came along with a Bye is news for the others as well.
        self._hub.pass_on(self, *self.protocol.take_news())
        if self.protocol.is_pressed:
            self.wake()
        if asked := self.protocol.take_asked():
            self._hub.ask_for(self._hub.replica.leases.miss(asked))
        self._note_arrival(complete=bool(messages))
        for message in messages:
            if isinstance(message, Bye):
                self.parted = True
                return self._end or _last_words(message)
            self._handle(message)
        return None

    def _deadline(self) -> tuple[float, str, Refusal]:
        timeouts = self._options.timeouts
        return min(
            (self._gone_by, "the peer did not hang up", Refusal.SILENCE),
            (
                self._greeted_by,
                f"no Hello from the peer within {timeouts.handshake:g} s",
                Refusal.HANDSHAKE,
            ),
            (
                self._frame_by,
                f"a frame was not complete within {timeouts.frame:g} s",
                Refusal.FRAME,
            ),
            (
                self._heard_by,
                "the peer has been silent for longer than its lease",
                Refusal.SILENCE,
            ),
            (
                self._taken_by,
                f"the peer did not take what was sent to it within {timeouts.send:g} s",
                Refusal.SEND,
            ),
        )

    def _note_arrival(self, *, complete: bool) -> None:
        now = self._waking.now()
        peer = self.protocol.peer
        if peer is not None:
            # Nobody may be silent for longer than anything is remembered.
            lease = min(peer.lease / 1000, self._options.retention)
            first = self._heard_by == math.inf
            self._heard_by = now + lease
            if first:
                self._look_again_at(self._heard_by)
        if not self.protocol.partial:
            self._frame_by = math.inf
        elif complete or self._frame_by == math.inf:
            self._frame_by = now + self._options.timeouts.frame
            self._look_again_at(self._frame_by)

    def _handle(self, message: Hello | Synced | Gossip) -> None:
        match message:
            case Hello():
                self._greeted_by = math.inf
                self._hub.greeted[self] = None
                self._link.met(message)
                if message.seen is not None:
                    self._hub.learn_address(message.seen)
                self.wake()
            case Synced():
                self._link.has_synced()
            case _:
                pass  # it has been joined

    # Writing

    @trio.lowlevel.enable_ki_protection
    async def _write(self) -> None:
        try:
            while True:
                await self._send_all()
                self._idle.set()
                if self.protocol.parting:
                    await self._stream.send_eof()
                    return
                await self._awake.wait()
        except trio.BrokenResourceError as error:
            self._broken = _broke(error)
            if isinstance(self._broken, LinkRefused):
                self._refuse(self._broken)
            # The reader ends the connection: the peer's last words may still wait to be read.
            self._hurry()

    def _be_busy(self) -> None:
        # Whoever waits for an event that is not set yet must not be left waiting for it.
        if self._idle.is_set():
            self._idle = trio.Event()

    async def _send_all(self) -> None:
        """Send until there is nothing more to send."""
        self._awake = trio.Event()
        self._be_busy()
        timeout = self._options.timeouts.send
        while data := self._unsent or self.protocol.bytes_to_send():
            self._unsent = b""
            self._taken_by = self._waking.now() + timeout
            self._look_again_at(self._taken_by)
            await self._stream.send_all(data)
            self._taken_by = math.inf


def _welcome() -> None:
    """Admit whom this side dialled itself."""


def _broke(error: trio.BrokenResourceError) -> LinkError:
    if isinstance(error.__cause__, LinkError):
        return error.__cause__
    return LinkError(f"the connection broke: {error.__cause__ or error}")


def _last_words(bye: Bye) -> Exception:
    kind = LinkRefused if bye.code == "refused" else LinkError
    return kind(f"the peer said: {bye.reason}")
