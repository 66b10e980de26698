"""One TLS connection without I/O: ciphertext in, cleartext out, and the other way round.

Trio's own TLS stream does not do for links: it cannot end one direction alone, and where it refuses
a peer it does not tell it why. Here what OpenSSL has to say to a peer that it refuses, the alert,
is among the bytes to send, and `finish` says close_notify while cleartext still arrives, as TLS 1.3
allows. A peer that does not speak TLS at all is told so in the link protocol's own words.

Whatever arrives is decrypted at once, so that OpenSSL never holds more than a record in part: it
could not say close_notify over what waits to be read.
"""

from __future__ import annotations

import ssl
from contextlib import suppress

from .errors import LinkError, LinkRefused
from .explaining import SPEAKS_PLAIN, TOLD_TO_PLAIN, explain
from .frames import frame
from .messages import Bye, one_line
from .refusals import Refusal
from .tls import TLS
from .wire import encode_message

__all__ = ["Session"]

_CHUNK = 64 * 1024
_ALERT, _HANDSHAKE = 0x15, 0x16


class Session:
    """The TLS of one connection, seen from one end."""

    def __init__(self, tls: TLS, host: str | None) -> None:
        """Begin for the end that dialled `host`, or for the one that was dialled where it is None.

        ValueError for a host that cannot be a name in a certificate.
        """
        self.established = False
        """Whether both ends have proved who they are, as far as this one knows."""
        self.ended = False
        """Whether the peer has said that no more comes."""
        self._tls = tls
        # The zone of a scoped IPv6 address and the dot of an absolute name are in no certificate.
        self._name = host and (tls.peer_name or host.partition("%")[0].rstrip("."))
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._dialled = host is not None
        context = tls.client if self._dialled else tls.server
        self._tls_object = context.wrap_bio(
            self._incoming,
            self._outgoing,
            server_side=not self._dialled,
            server_hostname=self._name,
        )
        self._begun = False
        self._plain = b""
        self._cleartext = bytearray()

    @property
    def readable(self) -> bool:
        """Whether there is something to read, the end included."""
        return bool(self._cleartext) or self.ended

    def start(self) -> None:
        """Have this end's first bytes ready to be sent, if it speaks first.

        `LinkError` where its context allows no handshake at all.
        """
        try:
            self._tls_object.do_handshake()
        except ssl.SSLWantReadError:
            return
        except ssl.SSLError as error:
            raise self._explained(error) from error

    def receive(self, ciphertext: bytes) -> None:
        """Take bytes from the peer.

        `LinkError`, or `LinkRefused` where one end will not have the other. What is ready to be
        sent then says so to the peer, and nothing more is to be received.
        """
        if self.ended:
            return
        self._check_language(ciphertext)
        self._incoming.write(ciphertext)
        try:
            if not self.established:
                self._tls_object.do_handshake()
                self._admit()
                self.established = True
            self._decrypt()
        except ssl.SSLWantReadError:
            return
        except ssl.SSLError as error:
            raise self._explained(error) from error

    def read(self, most: int | None) -> bytes:
        """Return cleartext, all of it or so many bytes of it; b"" where there is none."""
        data = bytes(self._cleartext[:most])
        del self._cleartext[: len(data)]
        return data

    def encrypt(self, data: bytes | bytearray | memoryview) -> None:
        """Have bytes ready to be sent. `LinkError` where the connection is broken."""
        if not data:
            # OpenSSL takes an empty write for a mistake.
            return
        try:
            self._tls_object.write(data)
        except ssl.SSLError as error:
            raise self._explained(error) from error

    def finish(self) -> None:
        """Have it ready to be sent that no more comes; cleartext may still arrive."""
        # It would wait for the peer to say the same, and the peer may have more to say.
        with suppress(ssl.SSLError):
            self._tls_object.unwrap()

    def bytes_to_send(self) -> bytes:
        """Return what is to be sent to the peer now; each byte once."""
        plain, self._plain = self._plain, b""
        return plain or self._outgoing.read()

    def _decrypt(self) -> None:
        """Decrypt all that is there, and raise `ssl.SSLWantReadError` where more may come."""
        while not self.ended:
            try:
                data = self._tls_object.read(_CHUNK)
            except ssl.SSLZeroReturnError:
                # What it says where this end has said it before; else it returns nothing.
                data = b""
            self.ended = not data
            self._cleartext += data

    def _explained(self, error: ssl.SSLError) -> LinkError:
        return explain(error, self._name, self._tls.expires, established=self.established)

    def _check_language(self, ciphertext: bytes) -> None:
        """Refuse a peer whose first byte cannot be TLS, which OpenSSL would not say in words."""
        if self._begun:
            return
        self._begun = True
        expected = (_HANDSHAKE, _ALERT) if self._dialled else (_HANDSHAKE,)
        if ciphertext[0] in expected:
            return
        if not self._dialled:
            # One that dialled here in plain can read this; one that listens in plain is not read
            # any more by the time that it could.
            self._plain = _bye(TOLD_TO_PLAIN)
        raise LinkRefused(SPEAKS_PLAIN, Refusal.TLS)

    def _admit(self) -> None:
        """Refuse a peer whose certificate is right, but not of this cluster."""
        wanted = self._tls.peer_name
        if wanted is None:
            return
        try:
            certificate = self._tls_object.getpeercert() or {}
        except ValueError:
            # Whatever the CA has signed: a name may be no text.
            certificate = {}
        alternatives = certificate.get("subjectAltName", ())
        if wanted.lower() in (str(each[1]).lower() for each in alternatives if each[0] == "DNS"):
            return
        names = [str(each[1]) for each in alternatives if each[0] in ("DNS", "IP Address")]
        reason = (
            f"certificate is for {one_line(', '.join(names))[:200] or 'no name'}, and not for "
            f"{wanted}, which "
            "peer_name= asks of every member"
        )
        self.encrypt(_bye(f"your {reason}"))
        self.finish()
        raise LinkRefused(f"the peer's {reason}", Refusal.TLS)


def _bye(reason: str) -> bytes:
    return frame(encode_message(Bye(code="refused", reason=reason)))
