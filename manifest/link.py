"""One link over Trio: dialled again and again, or accepted once; one reader, one writer.

`Connection` drives one protocol object over one stream. The writer task alone owns the sending side: it
waits for a wake-up, never for a queue, and asks the protocol what to send now. A send that was
cancelled or took too long may have written part of a frame, so the stream is never written again:
it is closed forcefully.

`Link` is what the application holds: it supervises connections to one address for as long as the manifest
is open, or is the face of one that a peer made. No failure of a link leaves it as an exception.

Deadlines are on the waking clock. After a pause of this process they have moved along with it, so
what waits in the socket is read before the peer is judged.
"""

from __future__ import annotations

import enum
import logging
import math
from typing import Protocol

import attrs
import trio

from .backoff import pause
from .environment import Environment
from .errors import LinkError, LinkRefused, ManifestError
from .events import Accepted, Connected, Disconnected, Event, Synced
from .messages import Bye, Gossip, Hello, Message
from .messages import Synced as SyncedMessage
from .network import Address, Stream
from .protocol import LinkProtocol, Traffic
from .replica import Replica

__all__ = ["Hub", "Link", "LinkState", "LinkStatus"]

_log = logging.getLogger("manifest")

_CHUNK = 64 * 1024
_PARTING = 1.0
"""Seconds for the peer to take the last word and hang up."""
_LINGER = 0.05
"""Seconds for which a heartbeat alone may wait, to share a frame with others."""


class Hub(Protocol):
    """What a link needs of the manifest that it belongs to."""

    replica: Replica
    environment: Environment
    refused: int
    """How many connections ended because of what the peer sent or was."""

    @property
    def listening(self) -> str | None:
        """Where this manifest accepts links, for its peers to know."""
        ...

    def emit(self, event: Event) -> None:
        """Tell the subscribers."""
        ...

    def gossip(self, *, urgent: bool) -> None:
        """Wake every link: the replica has changed."""
        ...

    def learn_address(self, host: str) -> None:
        """Take note of the address at which a peer sees this host."""
        ...


class LinkState(enum.StrEnum):
    """What a link is doing."""

    DIALLING = "dialling"
    """Making a connection, or waiting for the peer's Hello."""
    CONNECTED = "connected"
    """The peer has said who it is; what it holds is arriving."""
    SYNCED = "synced"
    """All that the peer held when the connection was made has arrived."""
    WAITING = "waiting"
    """The peer is gone or was never there; it will be dialled again."""
    REFUSED = "refused"
    """One side will not have the other; it will be dialled again, less often."""
    CLOSED = "closed"
    """Ended for good."""


@attrs.frozen
class LinkStatus:
    """What a link is doing, with whom, and why it is not connected where it is not."""

    state: LinkState
    address: str
    """Where the other end is, as `host:port`."""
    peer: str | None = None
    """Id of the peer's manifest, once it has said so."""
    peer_name: str | None = None
    reason: str | None = None
    """Why the last connection failed or ended, in words."""
    failures: int = 0
    """Connections that failed in a row."""


class Connection:
    """One stream, driven until it ends. `run` returns the reason."""

    def __init__(self, link: Link, hub: Hub, stream: Stream) -> None:
        self._link = link
        self._hub = hub
        self._stream = stream
        self._options = hub.replica.options
        self._waking = hub.replica.waking
        remote = hub.environment.network.remote(stream)
        self.protocol = LinkProtocol(hub.replica, seen=remote.host, listening=hub.listening)
        self._wake = trio.Event()
        self._urgent = trio.Event()
        self._idle = trio.Event()
        self._ended = trio.Event()
        # Deadlines in waking time; a frame's begins with its first byte.
        self._greeted_by = self._waking.now() + self._options.timeouts.handshake
        self._frame_by = math.inf
        self._heard_by = math.inf
        self._gone_by = math.inf
        self._receiving = trio.CancelScope()
        # Why this side ended it, where it did.
        self._end: Exception | None = None

    @property
    def traffic(self) -> Traffic:
        return self.protocol.traffic

    def wake(self, *, urgent: bool) -> None:
        """Have the writer look for something to send."""
        self._wake.set()
        if urgent:
            self._urgent.set()

    def part(self, code: str, reason: str) -> None:
        """Say Bye, and end once the peer has taken it or has had a second to."""
        self.protocol.close(code, reason)
        self._end = self._end or LinkError(f"closed by this side: {reason}")
        self._hurry()
        self.wake(urgent=True)

    def _hurry(self) -> None:
        """Give the peer a second to hang up, also where the reader is waiting already."""
        self._gone_by = min(self._gone_by, self._waking.now() + _PARTING)
        self._receiving.deadline = min(self._receiving.deadline, trio.current_time() + _PARTING)

    async def wait_flushed(self) -> None:
        """Wait until all that there is to say now has been handed to the operating system."""
        while not (self._ended.is_set() or (self.protocol.flushed and self._idle.is_set())):
            self._idle = trio.Event()
            self.wake(urgent=True)
            await self._idle.wait()

    async def wait_ended(self) -> None:
        """Wait until `run` is over."""
        await self._ended.wait()

    async def run(self) -> Exception:
        """Drive the stream until it ends, close it, and return why it ended."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                end = await self._read()
                nursery.cancel_scope.cancel()
        finally:
            self._ended.set()
            self._idle.set()
            await trio.aclose_forcefully(self._stream)
        return end

    # Reading

    async def _read(self) -> Exception:
        while True:
            try:
                data = await self._receive()
            except trio.BrokenResourceError as error:
                return self._end or _broke(error)
            except trio.TooSlowError as error:
                return self._end or LinkError(str(error))
            if not data:
                return self._end or LinkError("the peer hung up without a word")
            try:
                messages = self.protocol.receive_data(data)
            except ManifestError as error:
                # The Bye that says why is on its way; what arrives meanwhile is not looked at.
                self._end = error
                self._hub.refused += 1
                self.part("error", str(error))
                continue
            self._note_arrival(complete=bool(messages))
            for message in messages:
                if isinstance(message, Bye):
                    return self._end or _last_words(message)
                self._handle(message)

    async def _receive(self) -> bytes:
        """Return the next bytes. `trio.TooSlowError` past a deadline of the waking clock."""
        while True:
            deadline, complaint = self._deadline()
            left = deadline - self._waking.now()
            if left <= 0:
                raise trio.TooSlowError(complaint)
            with trio.move_on_after(left) as self._receiving:
                return bytes(await self._stream.receive_some(_CHUNK))

    def _deadline(self) -> tuple[float, str]:
        timeouts = self._options.timeouts
        return min(
            (self._gone_by, "the peer did not hang up"),
            (self._greeted_by, f"no Hello from the peer within {timeouts.handshake:g} s"),
            (self._frame_by, f"a frame was not complete within {timeouts.frame:g} s"),
            (self._heard_by, "the peer has been silent for longer than its lease"),
        )

    def _note_arrival(self, *, complete: bool) -> None:
        now = self._waking.now()
        peer = self.protocol.peer
        if peer is not None:
            self._heard_by = now + peer.lease / 1000
        if not self.protocol.partial:
            self._frame_by = math.inf
        elif complete or self._frame_by == math.inf:
            self._frame_by = now + self._options.timeouts.frame

    def _handle(self, message: Message) -> None:
        match message:
            case Hello():
                self._greeted_by = math.inf
                self._link.met(message)
                if message.seen is not None:
                    self._hub.learn_address(message.seen)
                self.wake(urgent=True)
            case SyncedMessage():
                self._link.has_synced()
            case Gossip(delta):
                self._hub.gossip(urgent=bool(delta.entries))

    # Writing

    async def _write(self) -> None:
        try:
            while await self._send_all():
                self._idle.set()
                if self.protocol.parting:
                    await self._stream.send_eof()
                    return
                await self._wake.wait()
                with trio.move_on_after(_LINGER):
                    await self._urgent.wait()
        except trio.BrokenResourceError as error:
            self._end = self._end or _broke(error)
        # The reader ends the connection: the peer's last words may still wait to be read.
        self._hurry()

    async def _send_all(self) -> bool:
        """Send until there is nothing more to send; False where the peer did not take it in time."""
        self._wake, self._urgent = trio.Event(), trio.Event()
        timeout = self._options.timeouts.send
        while data := self.protocol.bytes_to_send():
            with trio.move_on_after(timeout) as scope:
                await self._stream.send_all(data)
            if scope.cancelled_caught:
                self._end = LinkError(
                    f"the peer did not take what was sent to it within {timeout:g} s"
                )
                return False
        return True


def _broke(error: trio.BrokenResourceError) -> LinkError:
    return LinkError(f"the connection broke: {error.__cause__ or error}")


def _last_words(bye: Bye) -> Exception:
    kind = LinkRefused if bye.code == "refused" else LinkError
    return kind(f"the peer said: {bye.reason}")


class Link:
    """A link to a peer: supervised while it was dialled, or accepted from a listener."""

    def __init__(self, hub: Hub, address: Address, *, dialled: bool) -> None:
        self._hub = hub
        self._address = address
        self._scope = trio.CancelScope()
        self._changed = trio.Event()
        self._status = LinkStatus(LinkState.DIALLING, str(address))
        self._past = Traffic()
        self.dialled = dialled
        """Whether this side connected; else the peer did."""
        self.connection: Connection | None = None

    def __repr__(self) -> str:
        arrow = "to" if self.dialled else "from"
        return f"<Link {arrow} {self._status.address} {self._status.state}>"

    @property
    def status(self) -> LinkStatus:
        """What the link is doing now."""
        return self._status

    @property
    def traffic(self) -> Traffic:
        """What has passed over the link, all its connections together."""
        if self.connection is None:
            return self._past
        return self._past + self.connection.traffic

    def close(self) -> None:
        """End the link for good. Does not block and may be repeated; the peer is told why."""
        if self._status.state is LinkState.CLOSED:
            return
        self._become(LinkState.CLOSED, reason="closed by this side")
        if self.connection is not None and self.connection.protocol.peer is not None:
            self.connection.part("closed", "the link was closed")
        else:
            self._scope.cancel()

    async def wait_synced(self) -> None:
        """Wait until all that the peer held when the link was made has arrived.

        Returns at once on a synced link. `LinkError` once the link is closed. Checkpoints always.
        """
        await trio.lowlevel.checkpoint()
        while self._status.state is not LinkState.SYNCED:
            if self._status.state is LinkState.CLOSED:
                raise LinkError(f"the link to {self._address} is closed: {self._status.reason}")
            await self._changed.wait()

    async def wait_changed(self) -> LinkStatus:
        """Wait for the next change of the status, and return what it is then. Checkpoints always."""
        await self._changed.wait()
        return self._status

    # For the connection that it drives, and the manifest that it belongs to

    def met(self, hello: Hello) -> None:
        """The peer has said who it is."""
        if self._status.state is LinkState.CLOSED:
            return
        self._become(LinkState.CONNECTED, peer=hello.node, peer_name=hello.name, reason=None)
        self._hub.emit(Connected(self) if self.dialled else Accepted(self))

    def has_synced(self) -> None:
        """All that the peer held has arrived."""
        if self._status.state is LinkState.CLOSED:
            return
        self._become(LinkState.SYNCED, failures=0)
        self._hub.emit(Synced(self))

    async def run(self) -> None:
        """Dial, drive, and dial again, until the link is closed or the manifest is."""
        with self._scope:
            while self._status.state is not LinkState.CLOSED:
                self._become(LinkState.DIALLING)
                stream = await self._dial()
                if stream is not None:
                    await self.drive(stream)
                if self._status.state is not LinkState.CLOSED:
                    await trio.sleep(self._pause())

    async def serve(self, stream: Stream) -> None:
        """Drive a stream that a listener accepted, to its end."""
        with self._scope:
            await self.drive(stream)
        if self._status.state is not LinkState.CLOSED:
            self._become(LinkState.CLOSED)

    async def say_goodbye(self) -> None:
        """Let the peer have all that there is, say Bye, and wait until it has hung up."""
        connection = self.connection
        if connection is not None and connection.protocol.peer is not None:
            await connection.wait_flushed()
            connection.part("closed", "the manifest was closed")
            await connection.wait_ended()

    async def drive(self, stream: Stream) -> None:
        """Run one connection over a stream, and tell how it ended."""
        connection = self.connection = Connection(self, self._hub, stream)
        end: Exception = LinkError("closed by this side")
        try:
            end = await connection.run()
        finally:
            self.connection = None
            self._past += connection.traffic
            self._lost(end, connection.protocol.peer)

    async def _dial(self) -> Stream | None:
        seconds = self._hub.replica.options.timeouts.dial
        network = self._hub.environment.network
        try:
            with trio.fail_after(seconds):
                return await network.dial(self._address.host, self._address.port)
        except trio.TooSlowError:
            self._lost(LinkError(f"no answer within {seconds:g} s"), None)
        except OSError as error:
            self._lost(LinkError(f"could not connect: {error}"), None)
        return None

    def _lost(self, end: Exception, peer: Hello | None) -> None:
        reason = str(end)
        level = logging.WARNING if isinstance(end, LinkRefused) else logging.INFO
        if reason == self._status.reason:
            level = logging.DEBUG  # said already, at the attempt before
        _log.log(level, "%s: link with %s: %s", self._hub.replica.node, self._address, reason)
        if self._status.state is not LinkState.CLOSED:
            state = LinkState.REFUSED if isinstance(end, LinkRefused) else LinkState.WAITING
            self._become(state, reason=reason, failures=self._status.failures + 1)
        if peer is not None:
            self._hub.emit(Disconnected(self, reason))

    def _pause(self) -> float:
        timeouts = self._hub.replica.options.timeouts
        refused = self._status.state is LinkState.REFUSED
        cap = timeouts.refused if refused else timeouts.redial
        return pause(self._status.failures, cap, self._hub.environment.random.random)

    def _become(self, state: LinkState, **changes: object) -> None:
        self._status = attrs.evolve(self._status, state=state, **changes)  # type: ignore[arg-type]
        self._changed.set()
        self._changed = trio.Event()
