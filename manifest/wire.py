"""Messages to payloads and back: version 1 of the wire format.

A payload is one byte that says what it is, then MessagePack. `Hello`, `Bye` and `Synced` are maps,
so that a later version may add fields that this one ignores, and are read and written here.
`Gossip` is an array that is dense, because it is what fills the links: `packing` writes it and
`unpacking` reads it. docs/wire.md describes every field for a reader who implements it elsewhere.

Everything is checked here and in `unpacking`, before any of it is joined: a message is valid as a
whole or refused as a whole. What is accepted can be sent on as it is: nothing passes that a later
replica would refuse.
"""

from __future__ import annotations

import attrs

from .codec import decoder, pack
from .errors import MalformedMessage
from .messages import Bye, Gossip, Hello, Message, Synced
from .packing import pack_gossip
from .records import check_address
from .unpacking import check_printable, unpack_gossip

__all__ = ["PROTOCOL", "decode_message", "encode_message"]

PROTOCOL = 1
"""The version of the format that this module speaks."""

_KINDS: dict[type[Message], bytes] = {Hello: b"H", Bye: b"B", Synced: b"S"}

_decode_hello = decoder(Hello, "hello")
_decode_bye = decoder(Bye, "bye")
_decode_synced = decoder(Synced, "synced")


def encode_message(message: Message) -> bytes:
    r"""Return a message as a payload. ValueError for gossip of more than `MAX_ROWS` rows.

    >>> encode_message(Bye(code="closed", reason="bye"))
    b'B\x82\xa4code\xa6closed\xa6reason\xa3bye'
    """
    if isinstance(message, Gossip):
        return pack_gossip(message)
    # By way of a mapping, so that the fields come in the order in which they are declared.
    return _KINDS[type(message)] + pack(attrs.asdict(message, recurse=False))


def decode_message(payload: bytes, *, record_bytes: int) -> Message:
    r"""Return the message in a payload; `record_bytes` limits each record that it carries.

    `MalformedMessage`, with the path of the fault, for anything else.

    >>> decode_message(b"S\x80", record_bytes=1024)
    Synced()
    >>> decode_message(b"B\x81\xa4code\x07", record_bytes=1024)
    Traceback (most recent call last):
    ...
    manifest.errors.MalformedMessage: bye.code: Expected `str`, got `int`
    """
    kind, body = payload[:1], payload[1:]
    if kind == b"G":
        return unpack_gossip(body, record_bytes=record_bytes)
    if kind == b"H":
        return _unpack_hello(body)
    if kind == b"B":
        return _unpack_bye(body)
    if kind == b"S":
        return _decode_synced(body)
    raise MalformedMessage("kind", f"a message begins with one of B, G, H, S, got {kind!r}")


def _unpack_hello(body: bytes) -> Hello:
    hello = _decode_hello(body)
    for field in ("cluster", "name", "listening"):
        text = getattr(hello, field)
        if text is not None:
            check_printable(text, f"hello.{field}")
    if hello.seen is not None:
        try:
            check_address(hello.seen)
        except ValueError as error:
            raise MalformedMessage("hello.seen", str(error)) from error
    return hello


def _unpack_bye(body: bytes) -> Bye:
    # Made anew, for msgspec runs no converters: whatever the wording, its sense is to arrive.
    bye = _decode_bye(body)
    return Bye(code=bye.code, reason=bye.reason)
