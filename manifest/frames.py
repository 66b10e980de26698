"""Bytes to frames: each frame is a length, four bytes big-endian, and that many bytes of payload.

The length is judged as soon as it is read, before anything is set aside for the payload.
"""

from __future__ import annotations

from collections.abc import Iterator

from .errors import LinkRefused, MalformedMessage
from .refusals import Refusal

__all__ = ["HEADER_BYTES", "FrameReader", "frame"]

HEADER_BYTES = 4

# As a length this is hundreds of megabytes.
_TLS = b"\x16\x03"
_SPEAKS_TLS = "the peer speaks TLS, and this manifest does not: open both with tls=, or neither"


def frame(payload: bytes) -> bytes:
    r"""Return a payload as a frame, header included.

    >>> frame(b"abc")
    b'\x00\x00\x00\x03abc'
    """
    return len(payload).to_bytes(HEADER_BYTES, "big") + payload


class FrameReader:
    r"""Cuts a stream of bytes into payloads, however the stream was fragmented.

    >>> reader = FrameReader(limit=10)
    >>> list(reader.feed(b"\x00\x00\x00\x03ab")), reader.partial
    ([], True)
    >>> list(reader.feed(b"c")), reader.partial
    ([b'abc'], False)
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        """The largest payload, in bytes, that is accepted from now on."""
        self._buffer = bytearray()

    @property
    def partial(self) -> bool:
        """Whether a frame has begun to arrive and is not complete."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take more bytes, and yield the payloads that are complete. Read it to its end.

        `MalformedMessage` on a bad length, and what came before it has been yielded by then;
        `LinkRefused` where it is the beginning of TLS. It is not to be fed after that: where the
        next frame begins is not known.
        """
        self._buffer += data
        start = 0
        try:
            while len(self._buffer) - start >= HEADER_BYTES:
                length = int.from_bytes(self._buffer[start : start + HEADER_BYTES], "big")
                if not 0 < length <= self.limit:
                    if self._buffer.startswith(_TLS, start):
                        raise LinkRefused(_SPEAKS_TLS, Refusal.TLS)
                    raise MalformedMessage(
                        "frame",
                        f"its length must be 1 to {self.limit} bytes, got {length}",
                        Refusal.FRAME_BYTES,
                    )
                end = start + HEADER_BYTES + length
                if len(self._buffer) < end:
                    break
                payload = bytes(self._buffer[start + HEADER_BYTES : end])
                start = end
                yield payload
        finally:
            del self._buffer[:start]
