"""Links: supervised, dialled again and again, or the face of a connection that a peer made.

A link keeps a `Connection` to one address for as long as the manifest is open. No failure of a link
leaves it as an exception.
"""

from __future__ import annotations

import enum
import logging
import re

import attrs
import trio

from .backoff import pause
from .connection import Connection, Hub
from .errors import LinkError, LinkRefused
from .events import Accepted, Connected, Disconnected, Synced
from .messages import Hello
from .network import Address, Stream
from .protocol import Traffic

__all__ = ["Link", "LinkState", "LinkStatus", "SupervisedLink"]

_log = logging.getLogger("manifest")

_REMEMBERED = 1000
"""Peers about whom the last word in the log is remembered."""
_CLOSED_WITH_MANIFEST = "the manifest was closed"


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
        self._refusals = 0
        self._refusal = ""
        # A peer that dials again has another port, and a new link here.
        self._whom = f"to {address}" if dialled else f"from {address.host}"
        self.dialled = dialled
        """Whether this side connected; else the peer did."""
        self._connection: Connection | None = None

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
        if self._connection is None:
            return self._past
        return self._past + self._connection.traffic

    @property
    def _is_closed(self) -> bool:
        return self._status.state is LinkState.CLOSED

    @trio.lowlevel.enable_ki_protection
    def close(self) -> None:
        """End the link for good. Does not block and may be repeated; the peer is told why.

        A link that was accepted is the peer's to make: it may dial again, and has a new link then.
        """
        self._close("closed by this side", tell="the link was closed")

    def _close(self, reason: str, *, tell: str) -> None:
        if self._is_closed:
            return
        self._become(LinkState.CLOSED, reason=reason)
        if self._connection is not None and self._connection.protocol.peer is not None:
            self._connection.part("closed", tell)
        else:
            self._scope.cancel()

    async def wait_synced(self) -> None:
        """Wait until all that the peer held when the link was made has arrived.

        Returns at once on a synced link. `LinkRefused` where one side will not have the other, by
        now or meanwhile: the link goes on dialling, for somebody may mend that, so whoever would
        rather wait for it calls this again, or `wait_changed`. `LinkError` once the link is
        closed, which it is as soon as the manifest is. Checkpoints always.
        """
        refusals = self._refusals
        await trio.lowlevel.checkpoint()
        while self._status.state is not LinkState.SYNCED:
            # Counted, for by the time that this runs it may be dialling again.
            if self._status.state is LinkState.REFUSED or self._refusals > refusals:
                raise LinkRefused(f"the link to {self._address} is refused: {self._refusal}")
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

    def _become(self, state: LinkState, **changes: object) -> None:
        self._status = attrs.evolve(self._status, state=state, **changes)  # type: ignore[arg-type]
        self._changed.set()
        self._changed = trio.Event()


class SupervisedLink(Link):
    """A link as its manifest and its connection see it: what runs it, and what happens to it."""

    @property
    def connection(self) -> Connection | None:
        """The present connection."""
        return self._connection

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
    async def say_goodbye(self) -> bool:
        """Let the peer have all that there is, say Bye, and wait until it has hung up.

        Returns False where the connection was lost before that. The link is closed then, so that
        nothing dials while other peers are still being told.
        """
        connection = told = self._connection
        if told is not None and told.protocol.peer is not None:
            await told.wait_flushed()
            connection = self._connection
        self._close(_CLOSED_WITH_MANIFEST, tell=_CLOSED_WITH_MANIFEST)
        if connection is not None:
            await connection.wait_ended()
        return told is None or told.protocol.peer is None or told.parted

    async def drive(self, stream: Stream) -> None:
        """Run one connection over a stream, close it, and tell how it ended."""
        end: Exception = LinkError(_CLOSED_WITH_MANIFEST)
        try:
            connection = self._connection = Connection(self, self._hub, stream)
            try:
                end = await connection.run()
            finally:
                self._connection = None
                self._hub.greeted.pop(connection, None)
                self._past += connection.traffic
                self._hub.make_detours(connection)
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
        refused = isinstance(end, LinkRefused)
        self._log(reason, logging.WARNING if refused else logging.INFO)
        if refused:
            self._refusals += 1
            self._refusal = reason
        if not self._is_closed:
            state = LinkState.REFUSED if refused else LinkState.WAITING
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
