"""One link over Trio: dialled again and again, or accepted once; one reader, one writer.

`Connection` drives one protocol object over one stream. The writer task alone owns the sending
side: it waits for a wake-up, never for a queue, and asks the protocol what to send now. A send that
was cut short may have written part of a frame, so the stream is never written again: it is closed
forcefully.

`Link` is what the application holds: it supervises connections to one address for as long as the
manifest is open, or is the face of one that a peer made. No failure of a link leaves it as an
exception.

Deadlines are on the waking clock, and the reader alone judges them, those of the writer included.
After a pause of this process they have moved along with it, so what waits in the socket is read
before the peer is judged.
"""

from __future__ import annotations

import enum
import logging
import math
import re
from typing import Protocol

import attrs
import trio

from .backoff import pause
from .environment import Environment
from .errors import LinkError, LinkRefused, ManifestError
from .events import Accepted, Connected, Disconnected, Event, Synced
from .messages import Bye, Gossip, Hello
from .messages import Synced as SyncedMessage
from .network import Address, Stream
from .protocol import LinkProtocol, Traffic
from .replica import Replica

__all__ = ["Hub", "Link", "LinkState", "LinkStatus"]

_log = logging.getLogger("manifest")

_CHUNK = 64 * 1024
_PARTING = 1.0
"""Seconds for the peer to take the last word and hang up."""
_REMEMBERED = 1000
"""Peers about whom the last word in the log is remembered."""
_CLOSED_WITH_MANIFEST = "the manifest was closed"
_LINGER = 0.05
"""Seconds for which a heartbeat alone may wait, to share a frame with others."""


class Hub(Protocol):
    """What a link needs of the manifest that it belongs to."""

    replica: Replica
    environment: Environment
    refused: int
    """How many connections ended because of what the peer sent or was."""
    said: dict[str, str]
    """What the log said last about whom, numbers apart, so that attempts do not repeat it."""

    @property
    def listening(self) -> str | None:
        """Where this manifest accepts links, for its peers to know."""

    def emit(self, event: Event) -> None:
        """Tell the subscribers."""

    def gossip(self, *, urgent: bool) -> None:
        """Wake every link: the replica has changed."""

    def learn_address(self, host: str) -> None:
        """Take note of the address at which a peer sees this host."""


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
        # The zone of a scoped IPv6 address means something on this host alone.
        seen = remote.host.partition("%")[0]
        self.protocol = LinkProtocol(hub.replica, seen=seen, listening=hub.listening)
        self._wake = trio.Event()
        self._urgent = trio.Event()
        self._idle = trio.Event()
        self._ended = trio.Event()
        # Deadlines in waking time; a frame's begins with its first byte.
        self._greeted_by = self._waking.now() + self._options.timeouts.handshake
        self._frame_by = math.inf
        self._heard_by = math.inf
        self._taken_by = math.inf
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
        """Give the peer a second to hang up."""
        self._gone_by = min(self._gone_by, self._waking.now() + _PARTING)
        self._look_again_within(_PARTING)

    def _look_again_within(self, seconds: float) -> None:
        """Have the reader judge its deadlines by then, also where it is waiting already."""
        by = trio.current_time() + seconds
        self._receiving.deadline = min(self._receiving.deadline, by)

    async def wait_flushed(self) -> None:
        """Wait until all that there is to say now has been handed to the operating system."""
        while not (self._ended.is_set() or (self.protocol.flushed and self._idle.is_set())):
            self._be_busy()
            self.wake(urgent=True)
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
        # Each turn waits, in `_receive`.
        while True:  # noqa: ASYNC913
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
                # What came before the fault in the same bytes has been joined.
                self._hub.gossip(urgent=True)
                continue
            self._note_arrival(complete=bool(messages))
            for message in messages:
                if isinstance(message, Bye):
                    return self._end or _last_words(message)
                self._handle(message)

    async def _receive(self) -> bytes:
        """Return the next bytes. `trio.TooSlowError` past a deadline of the waking clock."""
        # Each turn waits or raises.
        while True:  # noqa: ASYNC913
            deadline, complaint = self._deadline()
            left = deadline - self._waking.now()
            if left <= 0:
                raise trio.TooSlowError(complaint)
            # Less than a millisecond may be too little to move the event loop's clock.
            with trio.move_on_after(max(left, 0.001)) as self._receiving:
                return bytes(await self._stream.receive_some(_CHUNK))

    def _deadline(self) -> tuple[float, str]:
        timeouts = self._options.timeouts
        return min(
            (self._gone_by, "the peer did not hang up"),
            (self._greeted_by, f"no Hello from the peer within {timeouts.handshake:g} s"),
            (self._frame_by, f"a frame was not complete within {timeouts.frame:g} s"),
            (self._heard_by, "the peer has been silent for longer than its lease"),
            (
                self._taken_by,
                f"the peer did not take what was sent to it within {timeouts.send:g} s",
            ),
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

    def _handle(self, message: Hello | SyncedMessage | Gossip) -> None:
        match message:
            case Hello():
                self._greeted_by = math.inf
                self._link.met(message)
                if message.seen is not None:
                    self._hub.learn_address(message.seen)
                self.wake(urgent=True)
            case SyncedMessage():
                self._link.has_synced()
            case _:
                self._hub.gossip(urgent=bool(message.delta.entries))

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
                await self._wake.wait()
                with trio.move_on_after(_LINGER):
                    await self._urgent.wait()
        except trio.BrokenResourceError as error:
            self._end = self._end or _broke(error)
            # The reader ends the connection: the peer's last words may still wait to be read.
            self._hurry()

    def _be_busy(self) -> None:
        # Whoever waits for an event that is not set yet must not be left waiting for it.
        if self._idle.is_set():
            self._idle = trio.Event()

    async def _send_all(self) -> None:
        """Send until there is nothing more to send."""
        self._wake, self._urgent = trio.Event(), trio.Event()
        self._be_busy()
        timeout = self._options.timeouts.send
        while data := self.protocol.bytes_to_send():
            self._taken_by = self._waking.now() + timeout
            self._look_again_within(timeout)
            await self._stream.send_all(data)
            self._taken_by = math.inf


def _broke(error: trio.BrokenResourceError) -> LinkError:
    return LinkError(f"the connection broke: {error.__cause__ or error}")


def _last_words(bye: Bye) -> Exception:
    kind = LinkRefused if bye.code == "refused" else LinkError
    return kind(f"the peer said: {bye.reason}")


class Link:
    """A link to a peer, dialled again and again by this side, or accepted from a listener."""

    def __init__(self, hub: Hub, address: Address, *, dialled: bool) -> None:
        self._hub = hub
        self._address = address
        self._scope = trio.CancelScope()
        self._changed = trio.Event()
        self._status = LinkStatus(LinkState.DIALLING, str(address))
        self._past = Traffic()
        # Whether the peer of the present connection has been announced as Connected or Accepted.
        self._announced = False
        # A peer that dials again has another port, and a new link here.
        self._whom = f"to {address}" if dialled else f"from {address.host}"
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

    @property
    def _is_closed(self) -> bool:
        return self._status.state is LinkState.CLOSED

    def close(self) -> None:
        """End the link for good. Does not block and may be repeated; the peer is told why.

        A link that was accepted is the peer's to make: it may dial again, and has a new link then.
        """
        self._close("closed by this side", tell="the link was closed")

    def _close(self, reason: str, *, tell: str) -> None:
        if self._is_closed:
            return
        self._become(LinkState.CLOSED, reason=reason)
        if self.connection is not None and self.connection.protocol.peer is not None:
            self.connection.part("closed", tell)
        else:
            self._scope.cancel()

    async def wait_synced(self) -> None:
        """Wait until all that the peer held when the link was made has arrived.

        Returns at once on a synced link. `LinkError` once the link is closed, which it is as soon
        as the manifest is. Checkpoints always.
        """
        await trio.lowlevel.checkpoint()
        while self._status.state is not LinkState.SYNCED:
            if self._is_closed:
                raise LinkError(f"the link to {self._address} is closed: {self._status.reason}")
            await self._changed.wait()

    async def wait_changed(self) -> LinkStatus:
        """Wait for the next change of the status, and return what it is then. Checkpoints always.

        Changes that come together are one. The status of a closed link changes no more, and is
        returned at once.
        """
        if self._is_closed:
            await trio.lowlevel.checkpoint()
        else:
            await self._changed.wait()
        return self._status

    # For the connection that it drives, and the manifest that it belongs to

    def met(self, hello: Hello) -> None:
        """Take note that the peer has said who it is."""
        if self._is_closed:
            return
        self._become(LinkState.CONNECTED, peer=hello.node, peer_name=hello.name, reason=None)
        self._announced = True
        self._hub.emit(Connected(self) if self.dialled else Accepted(self))

    def has_synced(self) -> None:
        """Take note that all that the peer held has arrived."""
        if self._is_closed:
            return
        self._become(LinkState.SYNCED, failures=0)
        self._hub.said.pop(self._whom, None)
        self._hub.emit(Synced(self))

    async def run(self) -> None:
        """Dial, drive, and dial again, until the link is closed or the manifest is."""
        try:
            with self._scope:
                while not self._is_closed:
                    self._become(LinkState.DIALLING)
                    stream = await self._dial()
                    if stream is not None:
                        await self.drive(stream)
                    if not self._is_closed:
                        await trio.sleep(self._pause())
        finally:
            # Whoever waits for this link is told, however it came to an end.
            self._close(_CLOSED_WITH_MANIFEST, tell=_CLOSED_WITH_MANIFEST)

    async def serve(self, stream: Stream) -> None:
        """Drive a stream that a listener accepted, to its end."""
        try:
            with self._scope:
                await self.drive(stream)
        finally:
            self._become(LinkState.CLOSED)

    @trio.lowlevel.enable_ki_protection
    async def say_goodbye(self) -> None:
        """Let the peer have all that there is, say Bye, and wait until it has hung up.

        The link is closed then, so that nothing dials while other peers are still being told.
        """
        connection = self.connection
        if connection is not None and connection.protocol.peer is not None:
            await connection.wait_flushed()
        connection = self.connection
        self._close(_CLOSED_WITH_MANIFEST, tell=_CLOSED_WITH_MANIFEST)
        if connection is not None:
            await connection.wait_ended()

    async def drive(self, stream: Stream) -> None:
        """Run one connection over a stream, close it, and tell how it ended."""
        end: Exception = LinkError(_CLOSED_WITH_MANIFEST)
        try:
            connection = self.connection = Connection(self, self._hub, stream)
            try:
                end = await connection.run()
            finally:
                self.connection = None
                self._past += connection.traffic
                self._lost(end)
        finally:
            await trio.aclose_forcefully(stream)

    async def _dial(self) -> Stream | None:
        seconds = self._hub.replica.options.timeouts.dial
        network = self._hub.environment.network
        try:
            with trio.fail_after(seconds):
                return await network.dial(self._address.host, self._address.port)
        except trio.TooSlowError:
            self._lost(LinkError(f"no answer within {seconds:g} s"))
        except OSError as error:
            self._lost(LinkError(f"could not connect: {error}"))
        return None

    def _lost(self, end: Exception) -> None:
        reason = str(end)
        self._log(reason, logging.WARNING if isinstance(end, LinkRefused) else logging.INFO)
        if not self._is_closed:
            state = LinkState.REFUSED if isinstance(end, LinkRefused) else LinkState.WAITING
            self._become(state, reason=reason, failures=self._status.failures + 1)
        if self._announced:
            self._announced = False
            self._hub.emit(Disconnected(self, reason))

    def _log(self, reason: str, level: int) -> None:
        """Log how a connection ended, less loudly where the one before ended so too."""
        said = self._hub.said
        # Numbers apart: two clocks are never the same seconds apart at the next attempt.
        gist = re.sub(r"[0-9]+", "", reason)
        if said.pop(self._whom, None) == gist:
            level = logging.DEBUG
        said[self._whom] = gist
        if len(said) > _REMEMBERED:
            del said[next(iter(said))]
        _log.log(level, "%s: link %s: %s", self._hub.replica.node, self._whom, reason)

    def _pause(self) -> float:
        timeouts = self._hub.replica.options.timeouts
        refused = self._status.state is LinkState.REFUSED
        cap = timeouts.refused if refused else timeouts.redial
        return pause(self._status.failures, cap, self._hub.environment.random.random)

    def _become(self, state: LinkState, **changes: object) -> None:
        self._status = attrs.evolve(self._status, state=state, **changes)  # type: ignore[arg-type]
        self._changed.set()
        self._changed = trio.Event()
