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
from .messages import Gossip, Lease, Renewal
from .records import Record

__all__ = ["GossipPacker", "pack_gossip"]

_MARK = 1 + 5 + 9 + 9
"""The most bytes of a mark without a lease."""


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
        # The kind, the array, base and horizon, and the headers of ten arrays.
        self._size = 1 + 1 + 9 + 9 + 10 * 5
        self._rows = 0
        self._nodes: dict[str, int] = {}
        self._roles: dict[str, int] = {}
        self._addresses: dict[str, int] = {}
        # Rows are plain tuples here: they are packed alike, and made several times as fast.
        self._writes: list[tuple[Any, ...]] = []
        self._frees: list[tuple[Any, ...]] = []
        self._marks: list[tuple[Any, ...]] = []
        self._leases: list[tuple[Any, ...]] = []
        self._prunes: list[int] = []
        self._grafts: list[int] = []
        self._renewals: list[list[int]] = []

    def __bool__(self) -> bool:
        return self._rows > 0

    def add_entry(self, entry: Entry[str, Record], *, held: bool = False) -> bool:
        """Add an entry; False where it does not fit.

        `held` says that the reader holds the value, should the entry be a renewal of it: then it
        goes without, if its id is bound to its owner.
        """
        (time, node), record = entry.stamp, entry.value
        key = _short(entry.key, node)
        cost = 1 + 9 + 9 + 5 if isinstance(key, int) else 1 + 5 + _bytes_of(key) + 9 + 5
        if not isinstance(record, Record):
            if fits := self._take_node(cost, node):
                self._frees.append((key, time - self._base, self._nodes[node]))
            return fits
        if held and record.since and isinstance(key, int):
            return self._fold(Renewal(node, time, record.since, key))
        role, address, since = record.role, record.address, record.since
        cost += 9 if since else 0
        if fits := self._take(cost + 5 + 5 + 3 + 5 + len(record.data), node, role, address):
            row = (
                key,
                time - self._base,
                self._nodes[node],
                self._roles[role],
                None if address is None else self._addresses[address],
                record.port,
                record.data,
            )
            self._writes.append((*row, since - self._base) if since else row)
        return fits

    def _fold(self, renewal: Renewal) -> bool:
        """Let the last row go on with this renewal, or begin one; False where it does not fit."""
        node, time, since, number, _ = renewal
        if not self._renewals or node not in self._nodes:
            return self.add_renewals(renewal)
        last = self._renewals[-1]
        stands = (self._nodes[node], time - self._base, number)
        if (last[0], last[1], last[3] + last[4]) != stands:
            return self.add_renewals(renewal)
        # It costs no bytes, but it counts: a small message must not grow into a large one.
        if fits := self._take_node(0, node):
            last[2] = max(last[2], since - self._base)
            last[4] += 1
        return fits

    def add_renewals(self, renewal: Renewal) -> bool:
        """Add what was renewed at once, each entry of it as a row; False where it does not fit."""
        node, time, since, first, length = renewal
        if fits := self._take_node(1 + 5 + 9 + 9 + 9 + 5, node, length):
            base = self._base
            self._renewals.append([self._nodes[node], time - base, since - base, first, length])
        return fits

    def add_mark(self, node: str, since: int, until: int, lease: Lease | None = None) -> bool:
        """Add a node's interval, from `since` to `until`, and its lease; False unless both fit."""
        # A heartbeat, which is most of what there is, has its lease in the same row.
        together = lease is not None and lease.time == until
        cost, rows = _MARK, 1
        if lease is not None:
            cost += _cost_of_tail(lease) if together else _cost_of(lease)
            rows += not together
        if fits := self._take_node(cost, node, rows):
            row = (self._nodes[node], since - self._base, until - self._base)
            if lease is None:
                self._marks.append(row)
            elif together:
                self._marks.append((*row, *self._tail(lease)))
            else:
                self._marks.append(row)
                self._append(lease)
        return fits

    def add_lease(self, lease: Lease) -> bool:
        """Add a lease; False where it does not fit."""
        if fits := self._take_node(_cost_of(lease), lease.node):
            self._append(lease)
        return fits

    def _append(self, lease: Lease) -> None:
        time = lease.time - self._base
        self._leases.append((self._nodes[lease.node], time, *self._tail(lease)))

    def _tail(self, lease: Lease) -> tuple[object, ...]:
        """Return the columns that a lease has in a row of its own and in that of a mark alike."""
        _, _, remaining, born, name, patience = lease
        if born or name is not None:
            return remaining, patience, born - self._base if born else None, name
        return remaining, patience

    def add_prune(self, node: str) -> bool:
        """Add a node whose heartbeats are to be spared; False where it does not fit."""
        if fits := self._take_node(5, node):
            self._prunes.append(self._nodes[node])
        return fits

    def add_graft(self, node: str) -> bool:
        """Add a node whose heartbeats are missed; False where it does not fit."""
        if fits := self._take_node(5, node):
            self._grafts.append(self._nodes[node])
        return fits

    def _take(self, cost: int, node: str, role: str, address: str | None) -> bool:
        """Count a row and the words that it refers to, and enter new ones in their tables.

        False where that is too much, and then nothing is counted and entered.
        """
        new_role = None if role in self._roles else role
        new_address = None if address in self._addresses else address
        if new_role is not None:
            cost += 5 + _bytes_of(new_role)
        if new_address is not None:
            cost += 5 + _bytes_of(new_address)
        if not self._take_node(cost, node):
            return False
        if new_role is not None:
            self._roles[new_role] = len(self._roles)
        if new_address is not None:
            self._addresses[new_address] = len(self._addresses)
        return True

    def _take_node(self, cost: int, node: str, rows: int = 1) -> bool:
        """Count rows that refer to one node and to no other words."""
        new = node not in self._nodes
        if new:
            cost += 5 + _bytes_of(node)
        if self._size + cost > self._limit or self._rows + rows > MAX_ROWS:
            return False
        if new:
            self._nodes[node] = len(self._nodes)
        self._size += cost
        self._rows += rows
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
            self._prunes,
            self._grafts,
            self._renewals,
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


def _cost_of(lease: Lease) -> int:
    return 1 + 5 + 9 + _cost_of_tail(lease)


def _cost_of_tail(lease: Lease) -> int:
    if lease.born or lease.name is not None:
        return 9 + 9 + 9 + 5 + _bytes_of(lease.name or "")
    return 9 + 9


def _bytes_of(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def pack_gossip(gossip: Gossip) -> bytes:
    """Return a whole message as a payload. ValueError for more than `MAX_ROWS` rows."""
    delta = gossip.delta
    packer = GossipPacker(2**62, base=_base_of(gossip))
    fits = [packer.add_entry(entry) for entry in delta.entries]
    # A lease of the time that is marked shares the mark's row, and the others have their own.
    marked = [lease for lease in gossip.leases if delta.until.get(lease.node) == lease.time]
    # The first of several, so that what is read is written alike.
    shared = {lease.node: lease for lease in reversed(marked)}
    for node, until in delta.until.items():
        fits.append(packer.add_mark(node, delta.since.get(node, 0), until, shared.get(node)))
    others = (lease for lease in gossip.leases if shared.get(lease.node) is not lease)
    fits += [packer.add_lease(lease) for lease in others]
    fits += [packer.add_prune(node) for node in gossip.prunes]
    fits += [packer.add_graft(node) for node in gossip.grafts]
    fits += [packer.add_renewals(renewal) for renewal in gossip.renewals]
    if not all(fits):
        rows = len(fits) - len(gossip.renewals) + sum(each.length for each in gossip.renewals)
        raise ValueError(f"one message has at most {MAX_ROWS} rows, got {rows}: send it in parts")
    return packer.payload(horizon=delta.horizon)


def _base_of(gossip: Gossip) -> int:
    times: Iterable[int] = (
        *gossip.delta.until.values(),
        *(entry.stamp.time for entry in gossip.delta.entries),
        *(lease.time for lease in gossip.leases),
        *(renewal.time for renewal in gossip.renewals),
    )
    return max(times, default=1)
