"""Bytes to gossip: every row checked, and the path of a fault named.

What is checked by type and range stands in the shapes, the rest in `_Unpacking`. A join of 10,000
records runs `_Unpacking.write` that often, so no path is put together unless there is a fault to
name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple, NoReturn, TypeVar

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
    check_data,
    decoder,
)
from .crdt import TOMBSTONE, Delta, Entry, Stamp, VersionVector
from .errors import MalformedMessage
from .messages import Gossip, Lease, Renewal
from .records import (
    MAX_ID_BYTES,
    UNPRINTABLE,
    Record,
    check_address,
    check_id,
    freer_of,
    id_of,
    owner_of,
    parse_role,
)
from .refusals import Refusal

__all__ = ["check_printable", "unpack_gossip"]

R = TypeVar("R")
T = TypeVar("T")

# The same addresses come again and again.
_check_address = lru_cache(maxsize=4096)(check_address)

# The most bytes that a record has besides its data: key, role, and an address of 255 characters.
# Where the limit leaves room for them, the length of the data alone shows that a record keeps it.
_MOST_WORDS = 1 + MAX_ID_BYTES + 255 + 4 * 255


_NO_LEASE = -1
"""What a mark has in place of `remaining` if no lease comes with it: no number that can be sent."""


class _Write(NamedTuple):
    key: str | Count
    time: int
    node: Count
    role: Count
    address: Count | None
    port: Port | None
    data: bytes
    since: int | None = None


class _Free(NamedTuple):
    key: str | Count
    time: int
    node: Count


class _Mark(NamedTuple):
    node: Count
    since: int
    until: int
    remaining: Count = _NO_LEASE
    patience: Count = 0
    born: int | None = None
    name: Name | None = None


class _Lease(NamedTuple):
    node: Count
    time: int
    remaining: Count
    patience: Count
    born: int | None = None
    name: Name | None = None


class _Renewal(NamedTuple):
    node: Count
    time: int
    since: int
    first: Count
    length: Positive


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
    prunes: Rows[Count] = ()
    grafts: Rows[Count] = ()
    renewals: Rows[_Renewal] = ()


_ROWS: dict[str, tuple[str, ...]] = {
    "writes": _Write._fields,
    "frees": _Free._fields,
    "marks": _Mark._fields,
    "leases": _Lease._fields,
    "renewals": _Renewal._fields,
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


_decode_rows = decoder(_Gossip, "gossip")


def unpack_gossip(body: bytes, *, record_bytes: int) -> Gossip:
    """Return the gossip in a payload's body; `record_bytes` limits each record in it.

    `MalformedMessage`, with the path of the fault, for anything else.
    """
    try:
        rows = _decode_rows(body)
    except MalformedMessage as error:
        named = error.at(_named(error.path))
        if error.problem.startswith("Expected `array` of length <= "):
            named.refusal = Refusal.FRAME_ROWS
        raise named from error
    tables = (rows.writes, rows.frees, rows.marks, rows.leases, rows.prunes, rows.grafts)
    count = sum(map(len, tables))
    for row in rows.renewals:
        # It counts as what it stands for, so that no small message grows into a large one.
        count += row.length
    if count > MAX_ROWS:
        raise MalformedMessage(
            "gossip", f"it has at most {MAX_ROWS} rows, got {count}", Refusal.FRAME_ROWS
        )
    return _Unpacking(rows, record_bytes).gossip()


def check_printable(text: str, path: str) -> None:
    """Refuse a text with blanks or control characters in it."""
    if UNPRINTABLE.search(text):
        raise MalformedMessage(path, f"it has no blanks or control characters, got {text!r:.80}")


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
        # The same data is often in many records: it is checked once, and kept once.
        self.checked_data = {EMPTY_DATA: EMPTY_DATA}

    def gossip(self) -> Gossip:
        rows = self.rows
        self.check_words("roles", self.roles, parse_role)
        self.check_words("addresses", self.addresses, _check_address)
        entries = self.each("writes", rows.writes, self.write)
        entries += self.each("frees", rows.frees, self.free)
        since, until, leases = self.marks()
        leases += self.each("leases", rows.leases, self.lease)
        prunes = self.words("prunes", rows.prunes)
        grafts = self.words("grafts", rows.grafts)
        renewals = self.each("renewals", rows.renewals, self.renewal)
        delta = Delta(tuple(entries), VersionVector(since), VersionVector(until), rows.horizon)
        return Gossip(delta, tuple(leases), prunes, grafts, tuple(renewals))

    def each(self, name: str, rows: Sequence[R], unpack: Callable[[R], T]) -> list[T]:
        done: list[T] = []
        if not rows:
            return done  # as most tables of most messages are
        try:
            for row in rows:
                done.append(unpack(row))  # noqa: PERF401  # its length is the place of a fault
        except MalformedMessage as fault:
            raise fault.at(f"gossip.{name}[{len(done)}].{fault.path}") from fault
        return done

    def check_words(self, table: str, words: Iterable[str], check: Callable[[str], object]) -> None:
        for i, word in enumerate(words):
            try:
                check(word)
            except ValueError as error:
                raise MalformedMessage(f"gossip.{table}[{i}]", str(error)) from error

    def words(self, name: str, indices: Sequence[int]) -> tuple[str, ...]:
        if not indices:
            return ()
        for i, index in enumerate(indices):
            if index >= len(self.nodes):
                raise _beyond(f"gossip.{name}[{i}]", index, self.nodes)
        return tuple(self.nodes[index] for index in indices)

    def write(self, row: _Write) -> Entry[str, Record]:
        number, offset, node_at, role_at, address_at, port, data, set_at = row
        try:
            node = self.nodes[node_at]
            role = self.roles[role_at]
            address = None if address_at is None else self.addresses[address_at]
        except IndexError:
            raise self.beyond(row) from None
        key = f"{node}.{number}" if isinstance(number, int) else self.key(number, node, owner_of)
        time = self.base + offset
        if not 0 < time <= MAX_INT:
            raise _no_time("time", time)
        since = 0 if set_at is None else self.since(set_at, time)
        if len(data) > self.ample:
            self.check_size(key, Record(role, address, port, data))
        checked = self.checked_data.get(data)
        if checked is None:
            check_data(data)
            checked = self.checked_data[data] = data
        record = Record(role, address, port, checked, since)
        # What Stamp(...) and Entry(...) do as well, in half of the time.
        return tuple.__new__(Entry, (key, tuple.__new__(Stamp, (time, node)), record))

    def free(self, row: _Free) -> Entry[str, Record]:
        node = self.node(row.node)
        number = row.key
        key = f"{node}.{number}" if isinstance(number, int) else self.key(number, node, freer_of)
        return Entry(key, Stamp(self.time(row.time, "time"), node), TOMBSTONE)

    def marks(self) -> tuple[dict[str, int], dict[str, int], list[Lease]]:
        """Return the intervals, and the leases that come with them.

        Nearly all that is said in a cluster at rest is read here: a row that is right takes no call
        but those that make its lease.
        """
        nodes, base = self.nodes, self.base
        since: dict[str, int] = {}
        until: dict[str, int] = {}
        leases: list[Lease] = []
        try:
            for row in self.rows.marks:
                index, first, last, remaining, patience, birth, name = row
                start, end = base + first, base + last
                node = nodes[index] if index < len(nodes) else ""
                if not node or node in until or not 0 <= start <= end <= MAX_INT or not end:
                    self.refuse_mark(row, until)
                if remaining != _NO_LEASE:
                    plain = birth is None and name is None
                    born = 0 if plain else self.birth(birth, name)
                    # What Lease(...) does as well, in half of the time.
                    fields = (node, end, remaining, born, name, patience)
                    leases.append(tuple.__new__(Lease, fields))
                since[node], until[node] = start, end
        except MalformedMessage as fault:
            raise fault.at(f"gossip.marks[{len(until)}].{fault.path}") from fault
        return since, until, leases

    def refuse_mark(self, row: _Mark, until: Collection[str]) -> NoReturn:
        """Say what is wrong with a mark, `until` being the nodes of those before it."""
        node = self.node(row.node)
        if node in until:
            raise MalformedMessage("node", f"a node is marked once, got {node} again")
        self.time(row.until, "until")
        raise MalformedMessage("since", f"it lies from 0 to until, got {self.base + row.since}")

    def lease(self, row: _Lease) -> Lease:
        index, offset, remaining, patience, birth, name = row
        born = self.birth(birth, name)
        return Lease(self.node(index), self.time(offset, "time"), remaining, born, name, patience)

    def birth(self, birth: int | None, name: str | None) -> int:
        """Return when a node was born of which a lease says so, or 0; check its name as well."""
        if name is not None:
            check_printable(name, "name")
        return 0 if birth is None else self.time(birth, "born")

    def renewal(self, row: _Renewal) -> Renewal:
        index, offset, set_at, first, length = row
        time = self.time(offset, "time")
        if first + length - 1 > MAX_INT:
            raise MalformedMessage("length", f"numbers end at 2^63 - 1, got {length} from {first}")
        return Renewal(self.node(index), time, self.since(set_at, time), first, length)

    # One field at a time

    def since(self, offset: int, time: int) -> int:
        since = self.base + offset
        if not 0 < since < time:
            raise MalformedMessage("since", f"it lies from 1 to before time, {time}, got {since}")
        return since

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

    def key(self, key: str, node: str, writer_of: Callable[[str], str | None]) -> str:
        try:
            check_id(id_of(key) if key else key)
        except ValueError as error:
            raise MalformedMessage("key", str(error)) from error
        owner = writer_of(key)
        if owner is not None and owner != node:
            raise MalformedMessage(
                "key", f"{key} is {owner}'s alone to write, not {node}'s", Refusal.FORGED
            )
        return key

    def check_size(self, key: str, record: Record) -> None:
        size = record.size(key)
        if size > self.record_bytes:
            raise MalformedMessage(
                "data",
                f"a record has at most {self.record_bytes} bytes, got {size}",
                Refusal.RECORD_BYTES,
            )


def _beyond(field: str, index: int, table: Sequence[str]) -> MalformedMessage:
    return MalformedMessage(field, f"it is an index into {len(table)} words, got {index}")


def _no_time(field: str, time: int) -> MalformedMessage:
    return MalformedMessage(field, f"a time is from 1 to 2^63 - 1, got {time}")
