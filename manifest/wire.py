"""Messages to payloads and back: version 1 of the wire format.

A payload is one byte that says what it is, then MessagePack. `Hello`, `Bye` and `Synced` are maps,
so that a later version may add fields that this one ignores. `Gossip` is an array that is dense,
because it is what fills the links: node ids, roles and addresses stand once in tables and are
referred to by index, times are counted from a base, and an owner-bound id is its number alone.
docs/wire.md describes every field for a reader who implements it elsewhere.

Everything is checked here, before any of it is joined: a message is valid as a whole or refused as
a whole. What is checked by type and range stands in the shapes, the rest in `_Unpacking`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from .codec import Count, decoder, pack, unpack_data
from .crdt import TOMBSTONE, Delta, Entry, Stamp, VersionVector
from .errors import MalformedMessage
from .messages import Bye, Gossip, Hello, Lease, Message, Synced
from .records import (
    MAX_ID_BYTES,
    Record,
    check_address,
    check_id,
    check_port,
    id_of,
    is_persistent,
    owner_of,
    parse_role,
    valid_node_id,
)

__all__ = ["PROTOCOL", "GossipPacker", "decode_message", "encode_message"]

PROTOCOL = 1
"""The version of the format that this module speaks."""

_MAX_TIME = 2**63 - 1


class _Write(NamedTuple):
    key: str | int
    time: int
    node: Count
    role: Count
    address: Count | None
    port: Count | None
    data: bytes


class _Free(NamedTuple):
    key: str | int
    time: int
    node: Count


class _Mark(NamedTuple):
    node: Count
    since: int
    until: int


class _Lease(NamedTuple):
    node: Count
    time: int
    remaining: Count
    born: int | None = None
    name: str | None = None


class _Gossip(NamedTuple):
    base: Count
    horizon: Count = 0
    nodes: list[str] = []
    roles: list[str] = []
    addresses: list[str] = []
    writes: list[_Write] = []
    frees: list[_Free] = []
    marks: list[_Mark] = []
    leases: list[_Lease] = []


_decode_gossip = decoder(_Gossip, "gossip")
_ROWS: dict[str, tuple[str, ...]] = {
    "writes": _Write._fields,
    "frees": _Free._fields,
    "marks": _Mark._fields,
    "leases": _Lease._fields,
}
_INDEX = re.compile(r"\[(\d+)\]")


def _named(path: str) -> str:
    """Put field names into a path that counts: `gossip[5][3][1]` becomes `gossip.writes[3].time`."""
    indices = [int(index) for index in _INDEX.findall(path)]
    if not indices:
        return path
    field = _Gossip._fields[indices[0]]
    text = f"gossip.{field}" + "".join(f"[{index}]" for index in indices[1:2])
    return text + "".join(f".{_ROWS[field][index]}" for index in indices[2:3])


class GossipPacker:
    """Fills one gossip message up to a limit, in bytes of payload.

    `add` says whether an entry, mark or lease still fits. The sum that it keeps is an upper
    bound of the encoded size, so that nothing is encoded twice.
    """

    def __init__(self, limit: int, *, base: int) -> None:
        self._limit = limit
        self._base = base
        self._size = 1 + 1 + 9 + 9 + 7 * 5
        self._nodes: dict[str, int] = {}
        self._roles: dict[str, int] = {}
        self._addresses: dict[str, int] = {}
        self._writes: list[_Write] = []
        self._frees: list[_Free] = []
        self._marks: list[_Mark] = []
        self._leases: list[_Lease] = []

    def __bool__(self) -> bool:
        return bool(self._writes or self._frees or self._marks or self._leases)

    def _grow(self, cost: int, *words: tuple[dict[str, int], str | None]) -> bool:
        """Take in a row of a fixed cost and the words that it refers to, or leave all as it was."""
        new = [(table, word) for table, word in words if word is not None and word not in table]
        cost += sum(5 + len(word.encode()) for _, word in new)
        if self._size + cost > self._limit:
            return False
        for table, word in new:
            table[word] = len(table)
        self._size += cost
        return True

    def add_entry(self, entry: Entry[str, Record]) -> bool:
        """Add an entry; False where it does not fit, and then nothing is added."""
        (time, node), record = entry.stamp, entry.value
        key: str | int = entry.key
        if owner_of(entry.key) == node:
            key = int(entry.key[len(node) + 1 :])
        cost = 1 + (9 if isinstance(key, int) else 5 + len(key.encode())) + 9 + 5
        if not isinstance(record, Record):
            if fits := self._grow(cost, (self._nodes, node)):
                self._frees.append(_Free(key, time - self._base, self._nodes[node]))
            return fits
        cost += 5 + 5 + 3 + 5 + len(record.data)
        fits = self._grow(
            cost,
            (self._nodes, node),
            (self._roles, record.role),
            (self._addresses, record.address),
        )
        if fits:
            self._writes.append(
                _Write(
                    key,
                    time - self._base,
                    self._nodes[node],
                    self._roles[record.role],
                    None if record.address is None else self._addresses[record.address],
                    record.port,
                    record.data,
                )
            )
        return fits

    def add_mark(self, node: str, since: int, until: int) -> bool:
        """Add a node's interval, from `since` to `until`; False where it does not fit."""
        if fits := self._grow(1 + 5 + 9 + 9, (self._nodes, node)):
            self._marks.append(_Mark(self._nodes[node], since - self._base, until - self._base))
        return fits

    def add_lease(self, lease: Lease) -> bool:
        """Add a lease; False where it does not fit."""
        name = len(lease.name.encode()) if lease.name is not None else 0
        if fits := self._grow(1 + 5 + 9 + 9 + 9 + 5 + name, (self._nodes, lease.node)):
            node, time = self._nodes[lease.node], lease.time - self._base
            self._leases.append(
                _Lease(node, time, lease.remaining, lease.born - self._base, lease.name)
                if lease.born
                else _Lease(node, time, lease.remaining)
            )
        return fits

    def payload(self, *, horizon: int) -> bytes:
        """Return the message as a payload."""
        rows: list[Any] = [
            self._base,
            horizon,
            list(self._nodes),
            list(self._roles),
            list(self._addresses),
            self._writes,
            self._frees,
            self._marks,
            [row if row.born is not None else row[:3] for row in self._leases],
        ]
        while not rows[-1]:  # the base is never 0, so this ends
            rows.pop()
        return b"G" + pack(rows)


def _pack_gossip(gossip: Gossip) -> bytes:
    delta = gossip.delta
    packer = GossipPacker(2**62, base=_base_of(gossip))
    for entry in delta.entries:
        packer.add_entry(entry)
    for node, until in delta.until.items():
        packer.add_mark(node, delta.since.get(node, 0), until)
    for lease in gossip.leases:
        packer.add_lease(lease)
    return packer.payload(horizon=delta.horizon)


def _base_of(gossip: Gossip) -> int:
    times: Iterable[int] = (
        *gossip.delta.until.values(),
        *(entry.stamp.time for entry in gossip.delta.entries),
        *(lease.time for lease in gossip.leases),
    )
    return max(times, default=1)


class _Unpacking:
    """The checks that types and ranges cannot make, and the message that comes out of them."""

    def __init__(self, rows: _Gossip, record_bytes: int) -> None:
        self.rows = rows
        self.record_bytes = record_bytes
        self.nodes = [
            node if valid_node_id(node) else self.fault(f"nodes[{i}]", "not a node id")
            for i, node in enumerate(rows.nodes)
        ]
        self.check_words("roles", rows.roles, parse_role)
        self.check_words("addresses", rows.addresses, check_address)

    def fault(self, path: str, problem: object) -> Any:
        raise MalformedMessage(f"gossip.{path}", str(problem))

    def check_words(self, table: str, words: list[str], check: Callable[[str], object]) -> None:
        for i, word in enumerate(words):
            try:
                check(word)
            except ValueError as error:
                self.fault(f"{table}[{i}]", error)

    def word(self, table: list[str], index: int, path: str) -> str:
        try:
            return table[index]
        except IndexError:
            return str(self.fault(path, f"{index} is beyond the table's {len(table)}"))

    def time(self, offset: int, path: str) -> int:
        time = self.rows.base + offset
        if not 0 < time <= _MAX_TIME:
            self.fault(path, f"a time is 1 to 2^63 - 1, got {time}")
        return time

    def key(self, key: str | int, node: str, path: str) -> str:
        if isinstance(key, int):
            text = f"{node}.{key}"
            if owner_of(text) != node:
                self.fault(path, f"a number of an id is 0 or more and below 10^19, got {key}")
            return text
        try:
            check_id(id_of(key) if key else key)
        except ValueError as error:
            self.fault(path, error)
        if len(key.encode()) > MAX_ID_BYTES + is_persistent(key):
            self.fault(path, "too long")
        if owner_of(key) not in (None, node):
            self.fault(path, f"{key} belongs to {owner_of(key)} alone, and is written by {node}")
        return key

    def entry(self, row: _Write, path: str) -> Entry[str, Record]:
        node = self.word(self.nodes, row.node, f"{path}.node")
        key = self.key(row.key, node, f"{path}.key")
        address = None
        if row.address is not None:
            address = self.word(self.rows.addresses, row.address, f"{path}.address")
        record = Record(
            self.word(self.rows.roles, row.role, f"{path}.role"), address, row.port, row.data
        )
        try:
            if row.port is not None:
                check_port(row.port)
            unpack_data(row.data)
        except (ValueError, MalformedMessage) as error:
            self.fault(path, error)
        if record.size(key) > self.record_bytes:
            self.fault(
                path, f"a record has at most {self.record_bytes} bytes, got {record.size(key)}"
            )
        return Entry(key, Stamp(self.time(row.time, f"{path}.time"), node), record)

    def free(self, row: _Free, path: str) -> Entry[str, Record]:
        node = self.word(self.nodes, row.node, f"{path}.node")
        key = self.key(row.key, node, f"{path}.key")
        return Entry(key, Stamp(self.time(row.time, f"{path}.time"), node), TOMBSTONE)

    def lease(self, row: _Lease, path: str) -> Lease:
        if row.remaining > _MAX_TIME or len(row.name or "") > 255:
            self.fault(
                path, "remaining is below 2^63 milliseconds, and a name below 256 characters"
            )
        return Lease(
            self.word(self.nodes, row.node, f"{path}.node"),
            self.time(row.time, f"{path}.time"),
            row.remaining,
            0 if row.born is None else self.time(row.born, f"{path}.born"),
            row.name,
        )

    def gossip(self) -> Gossip:
        rows = self.rows
        if rows.horizon > _MAX_TIME:
            self.fault("horizon", f"a time is at most 2^63 - 1, got {rows.horizon}")
        since: dict[str, int] = {}
        until: dict[str, int] = {}
        for i, mark in enumerate(rows.marks):
            node = self.word(self.nodes, mark.node, f"marks[{i}].node")
            until[node] = self.time(mark.until, f"marks[{i}].until")
            since[node] = rows.base + mark.since
            if not 0 <= since[node] <= until[node]:
                self.fault(f"marks[{i}].since", "it lies from 0 to until")
        writes = [self.entry(row, f"writes[{i}]") for i, row in enumerate(rows.writes)]
        frees = [self.free(row, f"frees[{i}]") for i, row in enumerate(rows.frees)]
        leases = tuple(self.lease(row, f"leases[{i}]") for i, row in enumerate(rows.leases))
        delta = Delta((*writes, *frees), VersionVector(since), VersionVector(until), rows.horizon)
        return Gossip(delta, leases)


_decode_hello = decoder(Hello, "hello")
_decode_bye = decoder(Bye, "bye")
_decode_synced = decoder(Synced, "synced")


def encode_message(message: Message) -> bytes:
    """Return a message as a payload."""
    match message:
        case Hello():
            return b"H" + pack(message)
        case Bye():
            return b"B" + pack(message)
        case Synced():
            return b"S" + pack(message)
        case Gossip():
            return _pack_gossip(message)


def decode_message(payload: bytes, *, record_bytes: int) -> Message:
    """Return the message in a payload. `MalformedMessage` with the path of the fault otherwise."""
    match payload[:1]:
        case b"G":
            try:
                rows = _decode_gossip(payload[1:])
            except MalformedMessage as error:
                raise MalformedMessage(_named(error.path), error.problem) from error
            return _Unpacking(rows, record_bytes).gossip()
        case b"H":
            return _decode_hello(payload[1:])
        case b"B":
            return _decode_bye(payload[1:])
        case b"S":
            return _decode_synced(payload[1:])
    raise MalformedMessage("kind", f"a message begins with one of B, G, H, S, got {payload[:1]!r}")
