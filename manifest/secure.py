"""Links under TLS: a `Network` around another one, whatever that is.

The handshake is made in the task that drives the connection, within its deadlines, and never where
connections are accepted: a peer that is silent holds up nobody else.

One task alone writes to a stream, and an interrupted write must never be continued. So whoever
sends makes the handshake, which writes as well as reads, and whoever receives waits for it: a
receive may be cancelled and repeated at any time. A link begins by sending, at both ends.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial

import trio

from .errors import LinkError
from .network import Address, Network, Stream
from .session import Session
from .tls import TLS

__all__ = ["SecureNetwork", "SecureStream"]

_CHUNK = 64 * 1024
_PARTING = 1.0
"""Seconds for a peer that is refused to take the reason and hang up."""


class SecureStream(trio.abc.HalfCloseableStream):
    """A stream under TLS. `BrokenResourceError` has the `LinkError` that broke it as its cause."""

    def __init__(self, transport: Stream, begin: Callable[[], Session]) -> None:
        self.transport = transport
        """What the ciphertext goes through."""
        self._begin = begin
        self._session: Session
        self._shaken = trio.Event()
        self._failure: LinkError | None = None
        self._writing = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes, after the handshake if there was none yet. Checkpoints always.

        Cancelled, it leaves a stream that can only be closed.
        """
        await self._shake_hands()
        try:
            self._session.encrypt(data)
        except LinkError as error:
            raise trio.BrokenResourceError("TLS failed") from error
        await self._flush()

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until something can be sent. Checkpoints always."""
        await self.transport.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        """Say that no more comes, so that no one else could have. Checkpoints always."""
        await self._shake_hands()
        self._session.finish()
        await self._flush()
        await self.transport.send_eof()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return bytes, as they come, after somebody's send has made the handshake.

        Returns b"" at the end, said or not: whoever cuts the connection cannot forge a farewell,
        since the link protocol has its own. Checkpoints always; cancelled, it loses nothing.
        """
        await self._shaken.wait()
        self._check_shaken()
        while not self._session.readable:
            ciphertext = await self.transport.receive_some(_CHUNK)
            if not ciphertext:
                break
            try:
                self._session.receive(bytes(ciphertext))
            except LinkError as error:
                # Nothing is sent from here: that is for the one task that writes.
                raise trio.BrokenResourceError("TLS failed") from error
        return self._session.read(max_bytes)

    async def aclose(self) -> None:
        """Close it without a word: that is for `send_eof`. Checkpoints; closed in any case."""
        await self.transport.aclose()

    async def _shake_hands(self) -> None:
        await trio.lowlevel.checkpoint()
        if self._shaken.is_set():
            self._check_shaken()
            return
        self._failure = LinkError("the TLS handshake was interrupted")
        try:
            failure = await self._exchange_flights()
            if failure is not None:
                await self._take_leave()
            self._failure = failure
        except trio.BrokenResourceError as error:
            why = error.__cause__ or error
            self._failure = LinkError(f"the connection broke in the TLS handshake: {why}")
        finally:
            self._shaken.set()
        self._check_shaken()
        # The last flight. The peer may take it only once it has been read from; and if it will not
        # have this side, it says so to the reader.
        await self._flush()

    def _check_shaken(self) -> None:
        if self._failure is not None:
            raise trio.BrokenResourceError("TLS failed") from self._failure

    async def _exchange_flights(self) -> LinkError | None:
        """Make the handshake but for its last flight; return why it failed, if it did."""
        self._session = session = self._begin()
        try:
            session.start()
        except LinkError as error:
            return error
        # Each turn waits for the peer.
        while not session.established:
            await self._flush()
            ciphertext = await self.transport.receive_some(_CHUNK)
            if not ciphertext:
                return LinkError("the peer hung up in the TLS handshake")
            try:
                session.receive(bytes(ciphertext))
            except LinkError as error:
                return error
        return None

    async def _take_leave(self) -> None:
        """Let a peer have the reason, and read on until it has hung up, so that it arrives.

        A stream that is closed over bytes that were not read is reset, reason and all.
        """
        with trio.move_on_after(_PARTING), suppress(trio.BrokenResourceError):
            await self._flush()
            await self.transport.send_eof()
            while await self.transport.receive_some(_CHUNK):
                pass

    async def _flush(self) -> None:
        """Send what is ready to be sent, unless a send was interrupted before."""
        if self._writing:
            raise trio.BrokenResourceError("a send on this stream was interrupted")
        self._writing = True
        while data := self._session.bytes_to_send():
            await self.transport.send_all(data)
        self._writing = False


class _SecureListener(trio.abc.Listener[Stream]):
    """A listener whose streams are under TLS."""

    def __init__(self, plain: trio.abc.Listener[Stream], tls: TLS) -> None:
        self.plain = plain
        self._tls = tls

    async def accept(self) -> Stream:
        """Return the next stream, with the handshake still to be made."""
        return SecureStream(await self.plain.accept(), partial(_accepting, self._tls))

    async def aclose(self) -> None:
        """Close it."""
        await self.plain.aclose()


class SecureNetwork:
    """Another network, with everything that it carries under TLS."""

    def __init__(self, plain: Network, tls: TLS) -> None:
        self._plain = plain
        self._tls = tls

    async def dial(self, host: str, port: int) -> Stream:
        """Connect to a listener, with the handshake still to be made. OSError where that fails."""
        try:
            session = Session(self._tls.latest(trio.current_time()), host)
        except ValueError as error:
            raise OSError(f"{host!r} cannot be a name in a certificate: {error}") from error
        return SecureStream(await self._plain.dial(host, port), lambda: session)

    async def listen(self, host: str, port: int) -> list[trio.abc.Listener[Stream]]:
        """Bind a port, any free one for 0, on each address of a host. OSError where that fails."""
        return [_SecureListener(each, self._tls) for each in await self._plain.listen(host, port)]

    def bound(self, listener: trio.abc.Listener[Stream]) -> Address:
        """Return where a listener listens."""
        assert isinstance(listener, _SecureListener)
        return self._plain.bound(listener.plain)

    def remote(self, stream: Stream) -> Address:
        """Return where a stream's other end is, as seen from here."""
        assert isinstance(stream, SecureStream)
        return self._plain.remote(stream.transport)

    def own_address(self) -> str:
        """Return the address under which this host is likely reached by others."""
        return self._plain.own_address()


def _accepting(tls: TLS) -> Session:
    return Session(tls.latest(trio.current_time()), None)
