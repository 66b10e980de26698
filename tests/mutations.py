"""Valid payloads, changed: at random, in bits and bytes, and knowing what MessagePack means.

A payload is taken apart once, into the places of its values. A mutation then puts other bytes in
the place of one of them, which costs no more than copying the payload, so that millions can be
tried.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import attrs

__all__ = ["Parsed", "Value", "mutate", "parse"]


@attrs.frozen
class Value:
    """Where a value lies in a payload, header included, and what it is."""

    start: int
    end: int
    kind: str
    """int, text, bytes, array, map or other."""
    items: tuple[Value, ...] = ()
    """What an array holds; the keys and values of a map, in turn."""


@attrs.frozen
class Parsed:
    """A valid payload, and every value in it."""

    payload: bytes
    values: tuple[Value, ...]
    ints: tuple[Value, ...]
    texts: tuple[Value, ...]
    arrays: tuple[Value, ...]
    """Those that are not empty."""


_FIXED = {
    0xC0: 0, 0xC2: 0, 0xC3: 0, 0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8,
    0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8,
}  # fmt: skip
_SIZED = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
_COUNTED = {0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4}


def parse(payload: bytes) -> Parsed:
    """Return a payload taken apart; it must be one that `encode_message` made."""
    top = _value(payload, 1)
    values: list[Value] = []
    waiting = [top]
    while waiting:
        value = waiting.pop()
        values.append(value)
        waiting += value.items
    return Parsed(
        payload,
        tuple(values),
        tuple(value for value in values if value.kind == "int"),
        tuple(value for value in values if value.kind == "text"),
        tuple(value for value in values if value.kind == "array" and value.items),
    )


def _value(data: bytes, at: int) -> Value:
    head, start = data[at], at
    at += 1
    if head < 0x80 or head >= 0xE0:
        return Value(start, at, "int")
    if head in _FIXED:
        kind = "int" if 0xCC <= head <= 0xD3 else "other"
        return Value(start, at + _FIXED[head], kind)
    if head in _SIZED or 0xA0 <= head < 0xC0:
        size = head & 0x1F
        if head in _SIZED:
            width = _SIZED[head]
            size, at = int.from_bytes(data[at : at + width], "big"), at + width
        return Value(start, at + size, "bytes" if 0xC4 <= head <= 0xC6 else "text")
    count = head & 0x0F
    if head in _COUNTED:
        width = _COUNTED[head]
        count, at = int.from_bytes(data[at : at + width], "big"), at + width
    is_map = 0x80 <= head < 0x90 or head >= 0xDE
    items: list[Value] = []
    for _ in range(2 * count if is_map else count):
        item = _value(data, at)
        items.append(item)
        at = item.end
    return Value(start, at, "map" if is_map else "array", tuple(items))


# What takes the place of a value

_INTS = (
    b"\x00", b"\x01", b"\x7f", b"\xff", b"\xe0", b"\xcc\xff", b"\xcd\xff\xff",
    b"\xce\xff\xff\xff\xff", b"\xcf\x7f\xff\xff\xff\xff\xff\xff\xff",
    b"\xcf\x80\x00\x00\x00\x00\x00\x00\x00", b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\xd3\x80\x00\x00\x00\x00\x00\x00\x00", b"\xd3\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\xd2\x80\x00\x00\x00", b"\xd0\x80", b"\xd1\xff\x00",
    b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", b"\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00", b"\xc3",
    b"\xc0",
    # Ten years, as a distance: ahead and behind.
    b"\xcf" + (315_576_000_000 << 16).to_bytes(8, "big"),
    b"\xd3" + (-(315_576_000_000 << 16)).to_bytes(8, "big", signed=True),
)  # fmt: skip


def _text(text: str | bytes) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    return b"\xdb" + len(raw).to_bytes(4, "big") + raw


_TEXTS = (
    _text(b"\xed\xa0\x80"), _text(b"\xff"), _text(b"\xc0\x80"), _text(b"\xf4\x90\x80\x80"),
    _text(""), _text("\x00"), _text("a b"), _text("\u202e"), _text("\ufeff"), _text("é" * 200),
    _text("a" * 255), _text("a" * 256), _text("*"), _text("**"), _text("*a"), _text("A" * 24),
    _text("F" * 24 + ".1"), _text("*" + "F" * 24 + ".1"), _text("F" * 24 + ".01"),
    _text("a" * 24), _text("@"), _text("@@1.2.3"), _text("web@1.2"),
    _text("web@" + "9" * 200 + ".0.0"), _text("web@1.2.3-" + "a." * 100 + "a"), _text("::"),
    _text("0.0.0.0"), _text("::1"), _text("fe80::1%eth0"), _text("[::1]:80"),
    _text("1" * 60 + "::"), _text("0:0:0:0:0:ffff:0.0.0.0"), b"\xdb\xff\xff\xff\xff",
    b"\xdb\x00\x01\x00\x00a", b"\xc4\x01a", b"\xa1",
)  # fmt: skip
_ANYTHING = (
    *_INTS, *_TEXTS, b"\x90", b"\x80", b"\xc0", b"\xc1", b"\xc4\x00", b"\xc4\x01\xc0",
    b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff",
    b"\xc9\xff\xff\xff\xff\x05", b"\xd6\xff\x00\x00\x00\x00", b"\xc7\x0c\xff" + b"\xff" * 12,
    b"\xd4\x05x", b"\x81\x80\x80", b"\x81\xc0\xc0", b"\x91" * 20, b"\x91" * 1000,
    b"\x81\xa1a" * 20, b"\x81\xa1a" * 300, b"\x91" * 16 + b"\xc0",
    b"\xc4\x16" + b"\x81\xa1a" + b"\x91" * 18 + b"\xc0",
    b"\xc4\x0c\x81\xa1a\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", b"\xc4\x05\x81\xa1a\xa1\xff",
    b"\xc4\x04\x81\x01\x01\x01", b"\xc4\x03\x81\xa1a", b"\xc4\x01\x90",
)  # fmt: skip


def _header(count: int) -> bytes:
    return b"\xdd" + count.to_bytes(4, "big")


Mutation = Callable[[random.Random, Parsed, Parsed], bytes]


def _flip_bits(draw: random.Random, parsed: Parsed, other: Parsed) -> bytes:
    data = bytearray(parsed.payload)
    for _ in range(1 + int(draw.random() * 3)):
        data[int(draw.random() * len(data))] ^= 1 << int(draw.random() * 8)
    return bytes(data)


def _change_bytes(draw: random.Random, parsed: Parsed, other: Parsed) -> bytes:
    data = parsed.payload
    at = int(draw.random() * len(data))
    return (
        data[:at] + draw.randbytes(1 + int(draw.random() * 4)) + data[at + int(draw.random() * 5) :]
    )


def _truncate(draw: random.Random, parsed: Parsed, other: Parsed) -> bytes:
    return parsed.payload[: int(draw.random() * len(parsed.payload))]


def _extend(draw: random.Random, parsed: Parsed, other: Parsed) -> bytes:
    return parsed.payload + other.payload[: 1 + int(draw.random() * len(other.payload))]


def _splice(draw: random.Random, parsed: Parsed, other: Parsed) -> bytes:
    data, tail = parsed.payload, other.payload
    return data[: int(draw.random() * len(data))] + tail[int(draw.random() * len(tail)) :]


def _splice_value(draw: random.Random, parsed: Parsed, other: Parsed) -> bytes:
    value = other.values[int(draw.random() * len(other.values))]
    return _put(draw, parsed, other.payload[value.start : value.end])


def _put_anything(draw: random.Random, parsed: Parsed, other: Parsed) -> bytes:
    return _put(draw, parsed, _ANYTHING[int(draw.random() * len(_ANYTHING))])


def _put(draw: random.Random, parsed: Parsed, new: bytes) -> bytes:
    place = parsed.values[int(draw.random() * len(parsed.values))]
    return parsed.payload[: place.start] + new + parsed.payload[place.end :]


def _put_int(draw: random.Random, parsed: Parsed, other: Parsed) -> bytes:
    if not parsed.ints:
        return _flip_bits(draw, parsed, other)
    place = parsed.ints[int(draw.random() * len(parsed.ints))]
    if draw.random() < 0.5:
        new = _INTS[int(draw.random() * len(_INTS))]
    else:
        # Near what is there, where indices point beside their tables and times a little ahead.
        new = b"\xd3" + (int(draw.random() * 2**36) - 2**35).to_bytes(8, "big", signed=True)
        if draw.random() < 0.5:
            new = bytes([int(draw.random() * 8)])
    return parsed.payload[: place.start] + new + parsed.payload[place.end :]


def _put_text(draw: random.Random, parsed: Parsed, other: Parsed) -> bytes:
    if not parsed.texts:
        return _flip_bits(draw, parsed, other)
    place = parsed.texts[int(draw.random() * len(parsed.texts))]
    new = _TEXTS[int(draw.random() * len(_TEXTS))]
    return parsed.payload[: place.start] + new + parsed.payload[place.end :]


def _swap(draw: random.Random, parsed: Parsed, other: Parsed) -> bytes:
    """Swap two values: of one kind often, so that indices, times and words change places."""
    pool = parsed.ints if draw.random() < 0.5 and len(parsed.ints) > 1 else parsed.values
    one = pool[int(draw.random() * len(pool))]
    two = pool[int(draw.random() * len(pool))]
    if one.start > two.start:
        one, two = two, one
    if two.start < one.end:
        return _flip_bits(draw, parsed, other)
    data = parsed.payload
    first, second = data[one.start : one.end], data[two.start : two.end]
    return data[: one.start] + second + data[one.end : two.start] + first + data[two.end :]


def _repeat_item(draw: random.Random, parsed: Parsed, other: Parsed) -> bytes:
    """Have an item of an array there several times, and count them rightly."""
    if not parsed.arrays:
        return _flip_bits(draw, parsed, other)
    place = parsed.arrays[int(draw.random() * len(parsed.arrays))]
    at = int(draw.random() * len(place.items))
    more = 1 if draw.random() < 0.9 else int(draw.random() * 100)
    return _array(parsed.payload, place, [*place.items, *[place.items[at]] * more])


def _drop_item(draw: random.Random, parsed: Parsed, other: Parsed) -> bytes:
    if not parsed.arrays:
        return _flip_bits(draw, parsed, other)
    place = parsed.arrays[int(draw.random() * len(parsed.arrays))]
    at = int(draw.random() * len(place.items))
    return _array(parsed.payload, place, [*place.items[:at], *place.items[at + 1 :]])


def _array(data: bytes, place: Value, items: list[Value]) -> bytes:
    packed = b"".join([data[item.start : item.end] for item in items])
    return data[: place.start] + _header(len(items)) + packed + data[place.end :]


def _miscount(draw: random.Random, parsed: Parsed, other: Parsed) -> bytes:
    """Have an array claim another length than it has."""
    if not parsed.arrays:
        return _flip_bits(draw, parsed, other)
    place = parsed.arrays[int(draw.random() * len(parsed.arrays))]
    count = int(draw.random() * 2 * len(place.items)) if draw.random() < 0.8 else 2**32 - 1
    data = parsed.payload
    return data[: place.start] + _header(count) + data[place.items[0].start :]


_MUTATIONS: tuple[Mutation, ...] = (
    _flip_bits, _flip_bits, _change_bytes, _truncate, _extend, _splice, _splice_value,
    _put_anything, _put_anything, _put_int, _put_int, _put_int, _put_text, _put_text, _swap,
    _swap, _repeat_item, _drop_item, _miscount,
)  # fmt: skip


def mutate(draw: random.Random, parsed: Parsed, other: Parsed) -> bytes:
    """Return a payload changed in one way or in two; `other` is what it may be spliced with."""
    changed = _MUTATIONS[int(draw.random() * len(_MUTATIONS))](draw, parsed, other)
    if draw.random() < 0.1 and changed:
        # Whatever came of it need not be MessagePack any more: so a byte, and where it lies.
        at = int(draw.random() * len(changed))
        return changed[:at] + bytes([int(draw.random() * 256)]) + changed[at + 1 :]
    return changed
