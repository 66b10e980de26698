"""Looking into a map: a deep copy of its private fields, and whether they agree with each other.

What a join or a write leaves behind can be right at every public method and wrong in the books
that the next one relies on. So the tests look at those too: `fields` to see that nothing has
changed, and `audit` to see that everything adds up.
"""

from __future__ import annotations

from array import array
from typing import Any

from manifest.crdt.journal import Journal

__all__ = ["audit", "fields"]


def fields(replica: Any) -> dict[str, object]:
    """Return a copy of every private field of a map, its journal's included, order and all."""
    return {name: _copied(getattr(replica, name)) for name in type(replica).__slots__}


def _copied(value: Any) -> object:
    if isinstance(value, dict):
        return [(key, _copied(item)) for key, item in value.items()]
    if isinstance(value, list | array):
        return list(value)
    if type(value).__name__ == Journal.__name__:
        return [_copied(getattr(value, name)) for name in type(value).__slots__]
    return value


def audit(replica: Any) -> None:
    """Fail where the books of a map do not agree with its entries and its context."""
    entries = replica._entries.values()
    by_node: dict[str, list[Any]] = {}
    for entry in entries:
        by_node.setdefault(entry.stamp.node, []).append(entry)
    mortal = [entry.stamp.time for entry in entries if not replica._permanent(entry.key)]

    assert replica._held == {node: len(held) for node, held in by_node.items()}
    assert replica._latest.keys() == by_node.keys()
    assert replica._lasting == {
        node: keys
        for node, held in by_node.items()
        if (keys := {entry.key for entry in held if replica._permanent(entry.key)})
    }
    for node, held in by_node.items():
        assert replica._latest[node] >= max(entry.stamp.time for entry in held)
    assert replica.tombstones == sum(entry.is_tombstone for entry in entries)
    assert not mortal or replica._oldest <= min(mortal)
    assert all(time > replica.horizon for time in mortal)

    assert replica._moved.keys() == replica._context.keys()
    moved = [move.position for move in replica._moved.values()]
    assert moved == sorted(set(moved))
    assert {node: move.time for node, move in replica._moved.items()} == replica._context
    assert all(node == move.node for node, move in replica._moved.items())
    assert all(time > 0 for time in replica._context.values())
    for node, time in replica._context.items():
        within = [entry for entry in by_node.get(node, []) if entry.stamp.time <= time]
        assert time > replica.horizon or within

    walked = list(replica.journal())
    assert [position for position, _ in walked] == sorted({position for position, _ in walked})
    assert sorted(id(entry) for _, entry in walked) == sorted(map(id, entries))
    assert max([*moved, *(at for at, _ in walked)], default=0) <= replica.position
    assert len(replica._journal._items) == len(replica._journal._positions)
    assert len(replica._journal._items) <= 2 * len(entries) + 64
