"""Gossip to bytes: many rows in one message, each as dense as it goes.

Node ids, roles and addresses stand once in tables and are referred to by index, times are counted
from a base, and an owner-bound id is its number alone. docs/wire.md has the layout.

A join of 10,000 records runs `GossipPacker.add_entry` that often, so it is written to be fast.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .codec import MAX_INT, MAX_ROWS, pack
from .crdt import Entry
from .messages import Gossip, Lease
from .records import Record

__all__ = ["GossipPacker", "pack_gossip"]


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


def pack_gossip(gossip: Gossip) -> bytes:
    """Return a whole message as a payload. ValueError for more than `MAX_ROWS` rows."""
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
