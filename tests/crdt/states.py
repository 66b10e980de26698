"""Honest states, drawn directly and densely, and what a join of them is by definition.

Random operations rarely line up: a plan of thirty steps seldom puts a horizon, a context and two
stamps on one and the same time. So the laws are tested on states that are drawn as what they are:
a history of writes, and for each replica how much of it that replica has got. `known` says up to
where it has reflected each node, `extra` which writes beyond that reached it in parts, and
`horizon` what it collected. Every state that honest replicas can reach is of this form, and the
times are so few that ties are the rule.

`State` is the definition to test against: three dictionaries' worth of state, and a join that is
written for reading and not for speed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import product
from types import ModuleType
from typing import Any

import attrs
from hypothesis import strategies as st

__all__ = ["History", "State", "View", "Write", "histories", "is_permanent"]

NODES = ("a", "b", "c")
KEYS = ("k", "l", "p")
LATEST = 4
MOST = 10
"""Writes in a history."""


def is_permanent(key: str) -> bool:
    """Tell whether a key is exempt from the horizon, from the key alone."""
    return key.startswith("p")


@attrs.frozen
class Write:
    """One write of the history: a value, or None for a deletion."""

    time: int
    node: str
    key: str
    value: int | None

    def entry(self, crdt: ModuleType) -> Any:
        """Return it as an entry of this CRDT."""
        value = crdt.TOMBSTONE if self.value is None else self.value
        return crdt.Entry(self.key, crdt.Stamp(self.time, self.node), value)


@attrs.frozen
class View:
    """How much of a history one replica has got."""

    known: dict[str, int]
    extra: frozenset[int]
    horizon: int


@attrs.frozen
class State:
    """A state by definition. The values are those of `LWWMap`, so that the two can be compared."""

    entries: dict[str, Any]
    context: dict[str, int]
    horizon: int

    @classmethod
    def of(cls, replica: Any) -> State:
        """Read the state of a map."""
        entries = {entry.key: entry for _, entry in replica.journal()}
        return cls(entries, dict(replica.context), replica.horizon)

    @classmethod
    def normal(cls, entries: Iterable[Any], context: Mapping[str, int], horizon: int) -> State:
        """Return what is left of these: the winner of each key, above the horizon."""
        winners: dict[str, Any] = {}
        for entry in entries:
            if entry.key not in winners or entry.stamp > winners[entry.key].stamp:
                winners[entry.key] = entry
        kept = {
            key: entry
            for key, entry in winners.items()
            if entry.stamp.time > horizon or is_permanent(key)
        }
        items = {
            node: time
            for node, time in context.items()
            if time > horizon or any(covers(node, time, entry) for entry in kept.values())
        }
        return cls(kept, items, horizon)

    def join(self, other: State) -> State:
        """Return the join by definition."""
        nodes = {**self.context, **other.context}
        return State.normal(
            [*self.entries.values(), *other.entries.values()],
            {node: max(self.context.get(node, 0), other.context.get(node, 0)) for node in nodes},
            max(self.horizon, other.horizon),
        )


def covers(node: str, time: int, entry: Any) -> bool:
    """Tell whether an entry was written by this node, up to this time."""
    return bool(entry.stamp.node == node and entry.stamp.time <= time)


@attrs.frozen
class History:
    """Writes with stamps that occur once, and what replicas have got of them."""

    writes: tuple[Write, ...]
    views: tuple[View, ...]

    def state(self, crdt: ModuleType, view: View) -> State:
        """Return the state that a view describes."""
        received = [
            write.entry(crdt)
            for index, write in enumerate(self.writes)
            if index in view.extra or write.time <= view.known.get(write.node, 0)
        ]
        known = {node: time for node, time in view.known.items() if time}
        return State.normal(received, known, view.horizon)

    def maps(self, crdt: ModuleType) -> list[Any]:
        """Return a map for each view, made with as little of the map's own wisdom as can be."""
        return [build(crdt, self.state(crdt, view)) for view in self.views]

    def honest(self, crdt: ModuleType, replica: Any, *views: View) -> bool:
        """Tell whether a replica that joined what these views have got lacks no write of theirs."""
        for write in self.writes:
            entry = write.entry(crdt)
            claims = [replica.context, *(crdt.VersionVector(view.known) for view in views)]
            if any(claim.covers(entry.stamp) for claim in claims):
                present = replica.entry(write.key)
                beaten = present is not None and present.stamp >= entry.stamp
                collected = write.time <= replica.horizon and not is_permanent(write.key)
                if not (beaten or collected):
                    return False
        return True


def build(crdt: ModuleType, state: State) -> Any:
    """Return a map in this state."""
    replica = crdt.LWWMap(is_permanent)
    context = crdt.VersionVector(state.context)
    entries = tuple(state.entries.values())
    replica.join(crdt.Delta(entries, until=context, horizon=state.horizon))
    return replica


def histories() -> st.SearchStrategy[History]:
    """Draw a history of three to ten writes, and what three replicas have got of it.

    Whole writes and whole contexts are drawn from lists of all that there are: a draw for each
    number in them would take three times as long.
    """
    times = range(LATEST + 1)
    writes = [Write(*fields) for fields in product(times[1:], NODES, KEYS, (None, 0, 1))]
    contexts = [dict(zip(NODES, known, strict=True)) for known in product(times, repeat=len(NODES))]
    view = st.builds(
        View,
        st.sampled_from(contexts),
        st.integers(0, 2**MOST - 1).map(_members),
        # Where nothing is collected yet, other things have a chance to go wrong.
        st.sampled_from([0, 0, *times]),
    )
    return st.builds(
        History,
        st.lists(
            st.sampled_from(writes),
            min_size=3,
            max_size=MOST,
            unique_by=lambda write: (write.time, write.node),
        ).map(tuple),
        st.tuples(view, view, view),
    )


def _members(bits: int) -> frozenset[int]:
    return frozenset(index for index in range(MOST) if bits >> index & 1)
