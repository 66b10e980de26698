"""Frames made to cost as much as they can, each as large as a limit allows.

Every one is what a peer could send once it has said Hello. Some are valid from end to end, and are
joined; others are wrong at the very last place. `tests/hostile.py` measures what they cost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from manifest.codec import MAX_ROWS, pack
from tests.wired import START

__all__ = ["array", "crafted_frames", "gossip_of"]

BASE = START << 16
NODES = [f"{number:024X}" for number in range(0xA00000, 0xA00000 + MAX_ROWS)]


def array(items: Iterable[bytes], count: int | None = None) -> bytes:
    """Return packed items as an array, which says that it has `count` of them."""
    packed = list(items)
    return b"\xdd" + (len(packed) if count is None else count).to_bytes(4, "big") + b"".join(packed)


def gossip_of(*items: bytes) -> bytes:
    """Return a gossip message of packed items, from `base` on; those left out say nothing."""
    return b"G" + array((pack(BASE), *items))


def crafted_frames(size: int, *, record_bytes: int) -> Iterator[tuple[str, bytes]]:
    """Yield payloads of at most `size` bytes, each with a name."""
    yield from _refused_early(size)
    yield from _full_of_rows(size)
    for name, value in {
        "zeros": b"\x00",
        "empty lists": b"\x90",
        "empty maps": b"\x80",
        "floats": b"\xca\x3f\x80\x00\x00",
        "text of two bytes": b"\xa2\xc3\xa9",
    }.items():
        yield f"records full of {name}", _full_of_data(size, record_bytes, value)
    for name, value in {"not a number": b"\xca\x7f\xc0\x00\x00", "bytes": b"\xc4\x00"}.items():
        payload = _full_of_data(size, record_bytes, b"\x90", last=value)
        yield f"records full of empty lists, {name} at the end", payload


def _refused_early(size: int) -> Iterator[tuple[str, bytes]]:
    none, tail = pack([]), size - 100
    yield "a table that claims 2^32 words", gossip_of(pack(0), array([], 2**32 - 1))
    yield "rows that claim to be 2^32", gossip_of(pack(0), none, none, none, array([], 2**32 - 1))
    yield "nesting to the end", b"G" + b"\x91" * (size - 1)
    yield "rows without end", gossip_of(pack(0), none, none, none, array([b"\x90"] * tail))
    yield (
        "bad text first, lists behind",
        gossip_of(pack(0), none, array([b"\xa1\xff", *[b"\x90"] * (tail - 2)], MAX_ROWS)),
    )
    unknown = b"\xa1x" + array([b"\x90"] * tail)
    yield "a Hello with lists in an unknown field", b"H\x81" + unknown
    yield "the same, and bad text behind", b"H\x82" + unknown + b"\xa4node\xa1\xff"
    yield "Synced with lists in an unknown field", b"S\x81" + unknown
    yield "a Bye of text to the end", b"B\x81\xa6reason\xdb" + tail.to_bytes(4, "big") + b"a" * tail


def _full_of_rows(size: int) -> Iterator[tuple[str, bytes]]:
    none, node = pack([]), pack([NODES[0]])
    room = size - 200
    yield "writes", gossip_of(
        pack(0), node, pack(["a"]), none,
        _rows(room, lambda at: [at, at + 1, 0, 0, None, None, b"\x80"]),
    )  # fmt: skip
    yield "writes with other data each", gossip_of(
        pack(0), node, pack(["a"]), none,
        _rows(room, lambda at: [at, at + 1, 0, 0, None, None, pack({"n": at})]),
    )  # fmt: skip
    yield "writes of other roles and addresses each", _words(room)
    yield "frees", gossip_of(pack(0), node, none, none, none, _rows(room, lambda at: [at, at, 0]))
    yield (
        "frees of shared names",
        gossip_of(pack(0), node, none, none, none, _rows(room, lambda at: [f"name-{at}", at, 0])),
    )
    nodes = NODES[: room // 60]
    marks = _rows(room, lambda at: [at, -BASE, at], len(nodes))
    yield "marks", gossip_of(pack(0), pack(nodes), none, none, none, none, marks)
    for title, named in {"leases": "name-{}", "leases under one name": "name"}.items():
        leases = _rows(room, lambda at, n=named: [at, 0, 5_000, at, n.format(at)], len(nodes))  # type: ignore[misc]
        yield title, gossip_of(pack(0), pack(nodes), none, none, none, none, none, leases)
    few = room // 4
    yield "all kinds of rows", gossip_of(
        pack(0), node, pack(["a"]), none,
        _rows(few, lambda at: [at, at + 1, 0, 0, None, None, b"\x80"]),
        _rows(few, lambda at: [at + MAX_ROWS, at, 0]), array([]),
        _rows(few, lambda at: [0, at, 5_000]),
    )  # fmt: skip


def _rows(room: int, row: Callable[[int], object], most: int = MAX_ROWS) -> bytes:
    """Return as many rows as there is room for and as there may be."""
    rows: list[bytes] = []
    for at in range(most):
        packed = pack(row(at))
        room -= len(packed)
        if room < 0:
            break
        rows.append(packed)
    return array(rows)


def _words(room: int) -> bytes:
    """Return writes that need a role and an address of their own each, all slow to check."""
    count = min(MAX_ROWS, room // 80)
    roles = [f"r@1.{at}.0-a.b.{at}" for at in range(count)]
    addresses = [f"0:{at:x}::ffff:192.0.2.1" for at in range(1, count + 1)]
    rows = _rows(room, lambda at: [at, at + 1, 0, at, at, 1, b"\x80"], count)
    return gossip_of(pack(0), pack([NODES[0]]), pack(roles), pack(addresses), rows)


def _full_of_data(size: int, record_bytes: int, value: bytes, *, last: bytes = b"") -> bytes:
    """Return records as large as may be, whose data holds as many of a value as there is room."""
    largest = min(record_bytes - 100, size - 200)
    many = (largest - 20) // len(value)
    count = max(1, (size - 200) // (largest + 20))
    rows: list[bytes] = []
    for at in range(count):
        values = [value] * many
        if last and at == count - 1:
            values[-1] = last
        data = b"\x82\xa1i" + pack(at) + b"\xa1x" + array(values)
        rows.append(pack([at, at + 1, 0, 0, None, None, data]))
    return gossip_of(pack(0), pack([NODES[0]]), pack(["a"]), pack([]), array(rows))
