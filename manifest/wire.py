"""Messages to payloads and back: version 1 of the wire format.

A payload is one byte that says what it is, then MessagePack. `Hello`, `Bye` and `Synced` are maps,
so that a later version may add fields that this one ignores. `Gossip` is an array that is dense,
because it is what fills the links: node ids, roles and addresses stand once in tables and are
referred to by index, times are counted from a base, and an owner-bound id is its number alone.
docs/wire.md describes every field for a reader who implements it elsewhere.

Everything is checked here, before any of it is joined: a message is valid as a whole or refused as
a whole. What is checked by type and range stands in the shapes, the rest in `_Unpacking`. What is
accepted can be sent on as it is: nothing passes here that a later replica would refuse.

A join of 10,000 records runs `GossipPacker.add_entry` and `_Unpacking.entries` that often, so those
two are written to be fast: no path is put together unless there is a fault to name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

import attrs

from .codec import (
    EMPTY_DATA,
    MAX_INT,
    MAX_ROWS,
    Count,
    Digits,
    Name,
    Port,
    Positive,
    Rows,
    decoder,
    pack,
    unpack_data,
)
from .crdt import TOMBSTONE, Delta, Entry, Stamp, VersionVector
from .errors import MalformedMessage
from .messages import Bye, Gossip, Hello, Lease, Message, Synced
from .records import (
    MAX_ID_BYTES,
    UNPRINTABLE,
    Record,
    check_address,
    check_id,
    id_of,
    owner_of,
    parse_role,
)

__all__ = ["PROTOCOL", "GossipPacker", "decode_message", "encode_message"]

R = TypeVar("R")
T = TypeVar("T")

PROTOCOL = 1
"""The version of the format that this module speaks."""

# The most bytes that a record has besides its data: key, role, and an address of 255 characters.
# Where the limit leaves room for them, the length of the data alone shows that a record keeps it.
_MOST_WORDS = 1 + MAX_ID_BYTES + 255 + 4 * 255


class _Write(NamedTuple):
    key: str | Count
    time: int
    node: Count
    role: Count
    address: Count | None
    port: Port | None
    data: bytes


class _Free(NamedTuple):
    key: str | Count
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
    name: Name | None = None


class _Gossip(NamedTuple):
    base: Positive
    horizon: Count = 0
    nodes: Rows[Digits] = ()
    roles: Rows[str] = ()
    addresses: Rows[str] = ()
    writes: Rows[_Write] = ()
    frees: Rows[_Free] = ()
    marks: Rows[_Mark] = ()
    leases: Rows[_Lease] = ()


_ROWS: dict[str, tuple[str, ...]] = {
    "writes": _Write._fields,
    "frees": _Free._fields,
    "marks": _Mark._fields,
    "leases": _Lease._fields,
}
_INDEX = re.compile(r"\[(\d+)\]")


def _named(path: str) -> str:
    """Put names of fields into a path of numbers.

    >>> _named("gossip[5][3][1]"), _named("gossip[2][7]"), _named("gossip")
    ('gossip.writes[3].time', 'gossip.nodes[7]', 'gossip')
    """
    indices = [int(index) for index in _INDEX.findall(path)]
    if not indices:
        return path
    field = _Gossip._fields[indices[0]]
    text = f"gossip.{field}" + "".join(f"[{index}]" for index in indices[1:2])
    return text + "".join(f".{_ROWS[field][index]}" for index in indices[2:3])


class GossipPacker:
    """Fills one gossip message up to a limit, in bytes of payload, and up to `MAX_ROWS` rows.

    `add_entry`, `add_mark` and `add_lease` say whether what they are given still fits; if not, they
    leave the message as it was. The sum that they keep is an upper bound of the encoded size, for
    which every number counts as much as it could, so that nothing is encoded twice.

    Times are sent as their distance from `base`, a hybrid time near which most of them lie.
    """

    def __init__(self, limit: int, *, base: int) -> None:
        self._limit = limit
        self._base = base
        # The kind, the array, base and horizon, and the headers of seven arrays.
        self._size = 1 + 1 + 9 + 9 + 7 * 5
        self._rows = 0
        self._nodes: dict[str, int] = {}
        self._roles: dict[str, int] = {}
        self._addresses: dict[str, int] = {}
        # Rows are plain tuples here: they are packed alike, and made several times as fast.
        self._writes: list[tuple[Any, ...]] = []
        self._frees: list[tuple[Any, ...]] = []
        self._marks: list[tuple[Any, ...]] = []
        self._leases: list[tuple[Any, ...]] = []

    def __bool__(self) -> bool:
        return bool(self._writes or self._frees or self._marks or self._leases)

    def add_entry(self, entry: Entry[str, Record]) -> bool:
        """Add an entry; False where it does not fit."""
        (time, node), record = entry.stamp, entry.value
        key = _short(entry.key, node)
        cost = 1 + 9 + 9 + 5 if isinstance(key, int) else 1 + 5 + _bytes_of(key) + 9 + 5
        if not isinstance(record, Record):
            if fits := self._take(cost, node):
                self._frees.append((key, time - self._base, self._nodes[node]))
            return fits
        role, address = record.role, record.address
        if fits := self._take(cost + 5 + 5 + 3 + 5 + len(record.data), node, role, address):
            self._writes.append(
                (
                    key,
                    time - self._base,
                    self._nodes[node],
                    self._roles[role],
                    None if address is None else self._addresses[address],
                    record.port,
                    record.data,
                )
            )
        return fits

    def add_mark(self, node: str, since: int, until: int) -> bool:
        """Add a node's interval, from `since` to `until`; False where it does not fit."""
        if fits := self._take(1 + 5 + 9 + 9, node):
            self._marks.append((self._nodes[node], since - self._base, until - self._base))
        return fits

    def add_lease(self, lease: Lease) -> bool:
        """Add a lease; False where it does not fit."""
        name = 0 if lease.name is None else _bytes_of(lease.name)
        if fits := self._take(1 + 5 + 9 + 9 + 9 + 5 + name, lease.node):
            row = (self._nodes[lease.node], lease.time - self._base, lease.remaining)
            born = lease.born - self._base if lease.born else None
            known = born is not None or lease.name is not None
            self._leases.append((*row, born, lease.name) if known else row)
        return fits

    def _take(
        self, cost: int, node: str, role: str | None = None, address: str | None = None
    ) -> bool:
        """Count a row and the words that it refers to, and enter new ones in their tables.

        False where that is too much, and then nothing is counted and entered.
        """
        new: list[tuple[dict[str, int], str]] = []
        if node not in self._nodes:
            new.append((self._nodes, node))
        if role is not None and role not in self._roles:
            new.append((self._roles, role))
        if address is not None and address not in self._addresses:
            new.append((self._addresses, address))
        for _, word in new:
            cost += 5 + _bytes_of(word)
        if self._size + cost > self._limit or self._rows == MAX_ROWS:
            return False
        for table, word in new:
            table[word] = len(table)
        self._size += cost
        self._rows += 1
        return True

    def payload(self, *, horizon: int) -> bytes:
        """Return the message as a payload."""
        rows: list[Any] = [
            self._base,
            horizon,
            tuple(self._nodes),
            tuple(self._roles),
            tuple(self._addresses),
            self._writes,
            self._frees,
            self._marks,
            self._leases,
        ]
        while len(rows) > 1 and not rows[-1]:
            rows.pop()
        return b"G" + pack(rows)


def _short(key: str, node: str) -> str | int:
    """Return the number in an id that is bound to this node, and any other key as it is.

    It does what `owner_of` and `int` would, in a quarter of their time.

    >>> node = "0123456789ABCDEF01234567"
    >>> _short(f"{node}.8", node), _short("primary", node), _short(f"{node}.08", node)
    (8, 'primary', '0123456789ABCDEF01234567.08')
    """
    owner, _, digits = key.partition(".")
    if owner != node or not digits.isdecimal():
        return key
    number = int(digits)
    # Zeros in front, or digits of another script, would not come out as they went in.
    return number if number <= MAX_INT and str(number) == digits else key


def _bytes_of(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _pack_gossip(gossip: Gossip) -> bytes:
    delta = gossip.delta
    packer = GossipPacker(2**62, base=_base_of(gossip))
    fits = [packer.add_entry(entry) for entry in delta.entries]
    for node, until in delta.until.items():
        fits.append(packer.add_mark(node, delta.since.get(node, 0), until))
    fits += [packer.add_lease(lease) for lease in gossip.leases]
    if not all(fits):
        raise ValueError(
            f"one message has at most {MAX_ROWS} rows, got {len(fits)}: send it in parts"
        )
    return packer.payload(horizon=delta.horizon)


def _base_of(gossip: Gossip) -> int:
    times: Iterable[int] = (
        *gossip.delta.until.values(),
        *(entry.stamp.time for entry in gossip.delta.entries),
        *(lease.time for lease in gossip.leases),
    )
    return max(times, default=1)


class _Unpacking:
    """The checks that types and ranges cannot make, and the message that comes out of them.

    Paths of faults begin at the row that is being read; `each` puts its place in front.
    """

    def __init__(self, rows: _Gossip, record_bytes: int) -> None:
        self.rows = rows
        self.base = rows.base
        self.nodes = rows.nodes
        self.roles = rows.roles
        self.addresses = rows.addresses
        self.record_bytes = record_bytes
        self.ample = record_bytes - _MOST_WORDS
        # The same data is often in many records: it is checked once.
        self.checked_data = {EMPTY_DATA}

    def gossip(self) -> Gossip:
        rows = self.rows
        self.check_words("roles", self.roles, parse_role)
        self.check_words("addresses", self.addresses, check_address)
        writes = self.each("writes", rows.writes, self.write)
        frees = self.each("frees", rows.frees, self.free)
        since: dict[str, int] = {}
        until: dict[str, int] = {}
        self.each("marks", rows.marks, lambda row: self.mark(row, since, until))
        leases = self.each("leases", rows.leases, self.lease)
        delta = Delta((*writes, *frees), VersionVector(since), VersionVector(until), rows.horizon)
        return Gossip(delta, tuple(leases))

    def each(self, name: str, rows: Iterable[R], unpack: Callable[[R], T]) -> list[T]:
        done: list[T] = []
        try:
            for row in rows:
                done.append(unpack(row))  # noqa: PERF401  # its length is the place of a fault
        except MalformedMessage as fault:
            path = f"gossip.{name}[{len(done)}].{fault.path}"
            raise MalformedMessage(path, fault.problem) from fault
        return done

    def check_words(self, table: str, words: Iterable[str], check: Callable[[str], object]) -> None:
        for i, word in enumerate(words):
            try:
                check(word)
            except ValueError as error:
                raise MalformedMessage(f"gossip.{table}[{i}]", str(error)) from error

    def write(self, row: _Write) -> Entry[str, Record]:
        number, offset, node_at, role_at, address_at, port, data = row
        try:
            node = self.nodes[node_at]
            role = self.roles[role_at]
            address = None if address_at is None else self.addresses[address_at]
        except IndexError:
            raise self.beyond(row) from None
        key = f"{node}.{number}" if isinstance(number, int) else self.key(number, node)
        time = self.base + offset
        if not 0 < time <= MAX_INT:
            raise _no_time("time", time)
        record = Record(role, address, port, data)
        if len(data) > self.ample:
            self.check_size(key, record)
        if data not in self.checked_data:
            unpack_data(data)
            self.checked_data.add(data)
        # What Stamp(time, node) does as well, in two thirds of the time.
        return Entry(key, tuple.__new__(Stamp, (time, node)), record)

    def free(self, row: _Free) -> Entry[str, Record]:
        node = self.node(row.node)
        key = f"{node}.{row.key}" if isinstance(row.key, int) else self.key(row.key, node)
        return Entry(key, Stamp(self.time(row.time, "time"), node), TOMBSTONE)

    def mark(self, row: _Mark, since: dict[str, int], until: dict[str, int]) -> None:
        node = self.node(row.node)
        if node in until:
            raise MalformedMessage("node", f"a node is marked once, got {node} again")
        until[node] = self.time(row.until, "until")
        since[node] = self.base + row.since
        if not 0 <= since[node] <= until[node]:
            raise MalformedMessage("since", f"it lies from 0 to until, got {since[node]}")

    def lease(self, row: _Lease) -> Lease:
        born = 0 if row.born is None else self.time(row.born, "born")
        if row.name is not None:
            _check_printable(row.name, "name")
        return Lease(
            self.node(row.node), self.time(row.time, "time"), row.remaining, born, row.name
        )

    # One field at a time

    def node(self, index: int) -> str:
        if index >= len(self.nodes):
            raise _beyond("node", index, self.nodes)
        return self.nodes[index]

    def beyond(self, row: _Write) -> MalformedMessage:
        return next(
            _beyond(field, index, table)
            for field, index, table in (
                ("node", row.node, self.nodes),
                ("role", row.role, self.roles),
                ("address", row.address or 0, self.addresses),
            )
            if index >= len(table)
        )

    def time(self, offset: int, field: str) -> int:
        time = self.base + offset
        if not 0 < time <= MAX_INT:
            raise _no_time(field, time)
        return time

    def key(self, key: str, node: str) -> str:
        try:
            check_id(id_of(key) if key else key)
        except ValueError as error:
            raise MalformedMessage("key", str(error)) from error
        owner = owner_of(key)
        if owner is not None and owner != node:
            raise MalformedMessage("key", f"{key} is {owner}'s alone to write, not {node}'s")
        return key

    def check_size(self, key: str, record: Record) -> None:
        size = record.size(key)
        if size > self.record_bytes:
            raise MalformedMessage(
                "data", f"a record has at most {self.record_bytes} bytes, got {size}"
            )


def _beyond(field: str, index: int, table: Sequence[str]) -> MalformedMessage:
    return MalformedMessage(field, f"it is an index into {len(table)} words, got {index}")


def _no_time(field: str, time: int) -> MalformedMessage:
    return MalformedMessage(field, f"a time is from 1 to 2^63 - 1, got {time}")


_KINDS: dict[type[Message], bytes] = {Hello: b"H", Bye: b"B", Synced: b"S"}

_decode_hello = decoder(Hello, "hello")
_decode_bye = decoder(Bye, "bye")
_decode_synced = decoder(Synced, "synced")
_decode_gossip = decoder(_Gossip, "gossip")


def encode_message(message: Message) -> bytes:
    r"""Return a message as a payload. ValueError for gossip of more than `MAX_ROWS` rows.

    >>> encode_message(Bye(code="closed", reason="bye"))
    b'B\x82\xa4code\xa6closed\xa6reason\xa3bye'
    """
    if isinstance(message, Gossip):
        return _pack_gossip(message)
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
        return _Unpacking(_unpack_rows(body), record_bytes).gossip()
    if kind == b"H":
        return _unpack_hello(body)
    if kind == b"B":
        return _unpack_bye(body)
    if kind == b"S":
        return _decode_synced(body)
    raise MalformedMessage("kind", f"a message begins with one of B, G, H, S, got {kind!r}")


def _unpack_rows(body: bytes) -> _Gossip:
    try:
        return _decode_gossip(body)
    except MalformedMessage as error:
        raise MalformedMessage(_named(error.path), error.problem) from error


def _unpack_hello(body: bytes) -> Hello:
    hello = _decode_hello(body)
    for field in ("cluster", "name", "listening"):
        text = getattr(hello, field)
        if text is not None:
            _check_printable(text, f"hello.{field}")
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


def _check_printable(text: str, path: str) -> None:
    if UNPRINTABLE.search(text):
        raise MalformedMessage(path, f"it has no blanks or control characters, got {text!r:.80}")
