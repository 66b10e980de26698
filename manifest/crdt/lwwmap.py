"""A last-writer-wins map with tombstones, a context and a horizon.

State is (entries, context, horizon): per key the entry with the greatest stamp; per node the time
up to which its writes are *reflected* here; and a time at or under which nothing exists. The join
takes the maximum of each, then drops every entry at or under the horizon, live or tombstone, and
every context item at or under it that no entry left lies within. It is commutative, associative and
idempotent.

Why tombstones can be collected and nothing returns from the dead
    Let f(M, H) keep the entries of M above H. Then f(f(M1, H1) | f(M2, H2), H) = f(M1 | M2, H) for
    H = max(H1, H2): for a key whose overall winner lies above H, the winner survived on its own
    side and wins again; where it lies at or under H, so does everything that it beat. Collection
    commutes with merging, for one reason only: the order that decides winners is the order that
    decides collection, and the horizon is part of the state and joined with it. docs/crdt.md has
    the proof.

The invariant, called honesty
    Every write of node n with time <= context[n] is present, or beaten by a present entry, or at or
    under the horizon. So the context may only move together with the contents: `join` refuses a
    delta whose interval does not begin within this replica's context (the causal delta-merging
    condition of Almeida, Shoker and Baquero, "Delta state replicated data types", 2018).

This package imports the standard library and attrs. It has no clock, no randomness and no I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from heapq import heapify, heappop, heappush
from types import MappingProxyType
from typing import Generic, NamedTuple, TypeAlias, TypeVar, cast

from .entry import TOMBSTONE, Change, Delta, Entry, Tombstone
from .errors import CausalGap, ConflictingStamp
from .journal import Journal
from .stamp import Stamp
from .vector import VersionVector

__all__ = ["LWWMap", "Moved", "Share", "never"]

K = TypeVar("K")
V = TypeVar("V")

_NOTHING: Mapping[str, int] = VersionVector()

_Due: TypeAlias = tuple[int, int, K]
"""When a key was written, the journal position of that, which no other has, and the key."""

_SLACK = 64
"""Superseded items that are tolerated in any case, so that small heaps are not rebuilt often."""


def never(key: object) -> bool:
    """Tell that no key is permanent: the default of `LWWMap`."""
    return False


class Moved(NamedTuple):
    """Where in the journal a node's context last moved, and to what time."""

    position: int
    node: str
    time: int


class Share(NamedTuple):
    """How many entries bear the stamps of one node."""

    live: int
    tombstones: int
    permanent: int
    """Those under permanent keys, among both."""


class LWWMap(Mapping[K, V], Generic[K, V]):
    """A replicated mapping of live keys; deletions leave tombstones until the horizon passes them.

    `permanent` tells which keys are exempt from the horizon, tombstones too. It must be a function
    of the key alone, the same at every replica.

    >>> here, there = LWWMap(), LWWMap()
    >>> _ = here.set("k", "v", Stamp(1, "a"))
    >>> [change.key for change in there.join(here.delta())]
    ['k']
    >>> _ = there.delete("k", Stamp(2, "b"))
    >>> _ = here.join(there.delta(here.context))
    >>> "k" in here, here.tombstones, here == there
    (False, 1, True)
    >>> _ = here.prune(2)
    >>> here.tombstones, here.entry("k")
    (0, None)
    """

    __slots__ = (
        "_answer",
        "_answered",
        "_buried",
        "_context",
        "_due",
        "_earliest",
        "_entries",
        "_held",
        "_horizon",
        "_journal",
        "_lasting",
        "_latest",
        "_moved",
        "_permanent",
        "_position",
        "_tombstones",
    )

    def __init__(self, permanent: Callable[[K], bool] = never) -> None:
        self._permanent = permanent
        self._entries: dict[K, Entry[K, V]] = {}
        self._context: dict[str, int] = {}
        self._horizon = 0
        self._position = 0
        self._journal = Journal(self._entries)
        # Where each node's context last moved, in the order of those positions.
        self._moved: dict[str, Moved] = {}
        # The last answer of `moved`, and what it depends on.
        self._answer: tuple[Moved, ...] = ()
        self._answered = (0, 0, 0)
        # How many entries each node's stamps hold, and the latest time among them (an upper bound).
        self._held: dict[str, int] = {}
        self._latest: dict[str, int] = {}
        # How many of them are tombstones.
        self._buried: dict[str, int] = {}
        # The permanent keys that each node's stamps hold: they keep its context item.
        self._lasting: dict[str, set[K]] = {}
        # What is to be collected when the horizon comes, and per node what lasts: heaps by time, in
        # which an entry stays that has been superseded, until it is met or they are too many. So a
        # horizon costs what it collects, and not the size of the map, however often it is raised.
        self._due: list[_Due[K]] = []
        self._earliest: dict[str, list[_Due[K]]] = {}
        self._tombstones = 0

    # The mapping of live keys

    def __getitem__(self, key: K) -> V:
        value = self._entries[key].value
        if isinstance(value, Tombstone):
            raise KeyError(key)
        return value

    def __contains__(self, key: object) -> bool:
        entry = self._entries.get(cast("K", key))
        return entry is not None and entry.value is not TOMBSTONE

    def __iter__(self) -> Iterator[K]:
        return (key for key, entry in self._entries.items() if entry.value is not TOMBSTONE)

    def __len__(self) -> int:
        return len(self._entries) - self._tombstones

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LWWMap):
            return NotImplemented
        return (
            self._horizon == other._horizon
            and self._context == other._context
            and self._entries == other._entries
        )

    __hash__ = None  # type: ignore[assignment]  # it is mutable

    def __repr__(self) -> str:
        return (
            f"LWWMap({len(self)} live, {self.tombstones} tombstones, "
            f"{len(self._context)} writers, horizon={self._horizon})"
        )

    # Reading the state

    @property
    def context(self) -> VersionVector:
        """How far each node's writes are reflected here: a snapshot, O(nodes)."""
        return VersionVector(self._context)

    def reflected(self, node: str) -> int:
        """Return this node's time in the context, or 0: `context.get(node, 0)`, in O(1)."""
        return self._context.get(node, 0)

    @property
    def latest(self) -> Mapping[str, int]:
        """Up to which time each node may have entries here: an upper bound, not a copy."""
        return MappingProxyType(self._latest)

    @property
    def horizon(self) -> int:
        """The time at or under which nothing exists, permanent keys apart."""
        return self._horizon

    @property
    def tombstones(self) -> int:
        """How many deleted keys are still remembered."""
        return self._tombstones

    @property
    def nodes(self) -> Collection[str]:
        """The nodes that the context names: a view, where `context` is a copy."""
        return self._context.keys()

    @property
    def writers(self) -> Collection[str]:
        """The nodes whose stamps any entries here bear."""
        return self._held.keys()

    def share(self, node: str) -> Share:
        """Return how many of the entries here bear a node's stamps, in O(1)."""
        buried, lasting = self._buried.get(node, 0), self._lasting.get(node, ())
        return Share(self._held.get(node, 0) - buried, buried, len(lasting))

    @property
    def any_permanent(self) -> bool:
        """Whether there is an entry here, if only a tombstone, whose key is permanent, in O(1)."""
        return bool(self._lasting)

    @property
    def position(self) -> int:
        """The journal position of the last change: where a reader of everything stands."""
        return self._position

    def entry(self, key: K) -> Entry[K, V] | None:
        """Return the winning entry of a key, tombstones included, or None."""
        return self._entries.get(key)

    def journal(self, after: int = 0) -> Iterator[tuple[int, Entry[K, V]]]:
        """Yield `(position, entry)` of what was changed here behind a position, oldest first.

        Costs what changed, not the size of the map. The map must not change during the walk.
        """
        return self._journal.after(after)

    def moved(self, after: int = 0) -> tuple[Moved, ...]:
        """Return the contexts that moved behind a journal position, in the order of moving."""
        if self._position == after:
            return ()
        # All links ask for the same stretch one after the other.
        asked = after, self._position, self._horizon
        if self._answered != asked:
            found: list[Moved] = []
            for move in reversed(self._moved.values()):
                if move.position <= after:
                    break
                found.append(move)
            found.reverse()
            self._answered, self._answer = asked, tuple(found)
        return self._answer

    def delta(self, since: Mapping[str, int] = _NOTHING, *, after: int = 0) -> Delta[K, V]:
        """Return what a replica that has reflected `since` lacks: anyone that has may join it.

        `after` narrows it to what changed here behind a journal position, for the one reader that
        has had everything up to there: the delta then costs what changed and not the size of the
        map, and names only the nodes whose context moved.
        """
        # Without a cursor, O(nodes) say that an equal replica lacks nothing, rather than O(map).
        until = self._context
        if after:
            moved = self.moved(after)
            until = {node: time for _, node, time in moved if time > since.get(node, 0)}
        anything = after or any(time > since.get(n, 0) for n, time in self._latest.items())
        return Delta(
            entries=tuple(
                entry
                for _, entry in self._journal.after(after)
                if entry.stamp.time > since.get(entry.stamp.node, 0)
            )
            if anything
            else (),
            since=VersionVector({node: since.get(node, 0) for node in until} if after else since),
            until=VersionVector(until),
            horizon=self._horizon,
        )

    # Local writes

    def set(self, key: K, value: V, stamp: Stamp) -> tuple[Change[K, V], ...]:
        """Write a value. Returns the change, or nothing where a later write already stands.

        The stamp must exceed its node's context, and the horizon unless the key is permanent:
        ValueError otherwise.
        """
        if value is TOMBSTONE:
            raise ValueError("TOMBSTONE is not a value to set: call delete(key, stamp)")
        return self.write(Entry(key, stamp, value))

    def delete(self, key: K, stamp: Stamp) -> tuple[Change[K, V], ...]:
        """Write a tombstone, whether or not the key is known. Otherwise as `set`."""
        return self.write(Entry(key, stamp, TOMBSTONE))

    def advance(self, node: str, time: int) -> None:
        """Move a node's context without a write: a heartbeat. ValueError where it would stay."""
        self._check_advance(Stamp(time, node), exempt=False)
        self._reflect(node, time)

    def write(self, entry: Entry[K, V], *more: Entry[K, V]) -> tuple[Change[K, V], ...]:
        """Write an entry that was made already: `set` or `delete`, by its value.

        Several bear one stamp and different keys: a single write, of all these keys at once. Either
        all are written or, with an error, none.
        """
        entries = (entry, *more)
        if more:
            _check_together(entries)
        for each in entries:
            self._check_advance(each.stamp, exempt=self._permanent(each.key))
        winners = [
            (each, before) for each in entries if _wins(each, before := self._entries.get(each.key))
        ]
        time, node = entry.stamp
        self._reflect(node, time)
        for each, before in winners:
            self._place(each, before)
        self._settle(node)
        return tuple([Change(each.key, before, each) for each, before in winners])

    def _check_advance(self, stamp: Stamp, *, exempt: bool) -> None:
        time, node = stamp
        if type(stamp) is not Stamp or type(time) is not int or type(node) is not str:
            # Here, and not where another replica meets it.
            raise ValueError(
                f"a write bears a Stamp(time, node) of an int and a str, got {stamp!r:.80}"
            )
        if time <= self._context.get(node, 0):
            raise ValueError(
                f"a local write needs a stamp beyond its node's context, got {stamp} where the "
                f"context says {self.reflected(node)}: take the time from HybridClock.tick()"
            )
        if time <= self._horizon and not exempt:
            raise ValueError(
                f"nothing exists at or under the horizon {self._horizon}, got {stamp}: let the "
                "clock observe the horizon, then take a new time"
            )

    # Joining

    def join(self, other: Delta[K, V] | LWWMap[K, V]) -> tuple[Change[K, V], ...]:
        """Merge a delta or a whole map, and return what changed, entries that were dropped last.

        All or nothing: `CausalGap` where a delta's interval begins beyond this replica's context,
        `ConflictingStamp` where one stamp comes with two values.
        """
        delta = other.delta() if isinstance(other, LWWMap) else other
        if type(delta) is not Delta:
            raise ValueError(f"a map joins a Delta or an LWWMap, got {other!r:.80}")
        horizon = max(self._horizon, delta.horizon)
        self._check_connects(delta, horizon)
        staged = self._winners(delta, horizon)

        changes: list[Change[K, V]] = []
        for key, entry in staged.items():
            before = self._entries.get(key)
            self._place(entry, before)
            # What Change(...) does as well, in half of the time.
            changes.append(tuple.__new__(Change, (key, before, entry)))
        context = self._context
        for node, time in delta.until.items():
            if time > context.get(node, 0):
                self._reflect(node, time)
                if time <= self._horizon:
                    self._settle(node)
        changes.extend(self.prune(horizon))
        return tuple(changes)

    def prune(self, horizon: int) -> tuple[Change[K, V], ...]:
        """Raise the horizon and drop what lies at or under it; a lower horizon changes nothing."""
        if horizon <= self._horizon:
            return ()
        self._horizon = horizon
        dropped = self._collect()
        for node in [node for node, time in self._context.items() if time <= horizon]:
            self._settle(node)
        self._journal.trim()
        self._trim_due()
        return tuple(Change(entry.key, entry, None) for entry in dropped)

    def _check_connects(self, delta: Delta[K, V], horizon: int) -> None:
        # Of every node, also where its history is not continued: what the reader is taken to have
        # reflected of it was left out, be it only because it beats what is claimed here.
        context = self._context
        for node, since in delta.since.items():
            if since > context.get(node, 0) and since > horizon:
                raise CausalGap(
                    f"the delta continues the history of {node} from {since}, and this replica has "
                    f"reflected it up to {self.reflected(node)}: ask for a delta since its context"
                )

    def _winners(self, delta: Delta[K, V], horizon: int) -> dict[K, Entry[K, V]]:
        staged: dict[K, Entry[K, V]] = {}
        for entry in delta.entries:
            key, (time, _), _ = entry
            if time <= horizon and not self._permanent(key):
                continue
            if _wins(entry, staged.get(key) or self._entries.get(key)):
                staged[key] = entry
        return staged

    # The bookkeeping behind every change of an entry or of the context

    def _place(self, entry: Entry[K, V], before: Entry[K, V] | None) -> None:
        key, (time, node), value = entry
        if before is not None:
            self._release(before)
        self._entries[key] = entry
        self._held[node] = self._held.get(node, 0) + 1
        if time > self._latest.get(node, 0):
            self._latest[node] = time
        if value is TOMBSTONE:
            self._tombstones += 1
            self._buried[node] = self._buried.get(node, 0) + 1
        self._position += 1
        self._journal.append(self._position, entry)
        if self._permanent(key):
            self._lasting.setdefault(node, set()).add(key)
            heappush(self._earliest.setdefault(node, []), (time, self._position, key))
        else:
            heappush(self._due, (time, self._position, key))
        if before is not None:
            # Where nothing was superseded, nothing more than before is there to be forgotten.
            self._settle(before.stamp.node)
            self._journal.trim()
            self._trim_due()
            self._trim_earliest(before.stamp.node)

    def _release(self, entry: Entry[K, V]) -> None:
        node = entry.stamp.node
        if entry.value is TOMBSTONE:
            self._tombstones -= 1
            self._buried[node] -= 1
            if not self._buried[node]:
                del self._buried[node]
        self._held[node] -= 1
        if not self._held[node]:
            del self._held[node], self._latest[node]
        if node in self._lasting:
            self._lasting[node].discard(entry.key)
            if not self._lasting[node]:
                del self._lasting[node], self._earliest[node]

    def _reflect(self, node: str, time: int) -> None:
        self._context[node] = time
        self._position += 1
        self._moved.pop(node, None)
        # What Moved(...) does as well, in half of the time: each heartbeat comes by here.
        self._moved[node] = tuple.__new__(Moved, (self._position, node, time))

    def _settle(self, node: str) -> None:
        """Drop a node's context at or under the horizon, unless an entry within it is left.

        Such an entry is permanent. One beyond the context came in a part and does not count: in
        another order of joins it would not be here yet.
        """
        time = self._context.get(node, 0)
        if 0 < time <= self._horizon and not self._lasts(node, time):
            del self._context[node], self._moved[node]

    def _lasts(self, node: str, time: int) -> bool:
        """Tell whether a node's stamps hold a permanent key at or under a time."""
        heap = self._earliest.get(node, [])
        while heap and not self._is_current(heap[0], node):
            heappop(heap)
        return bool(heap) and heap[0][0] <= time

    def _collect(self) -> list[Entry[K, V]]:
        dropped: list[Entry[K, V]] = []
        while self._due and self._due[0][0] <= self._horizon:
            time, _, key = heappop(self._due)
            entry = self._entries.get(key)
            if entry is not None and entry.stamp.time == time:
                del self._entries[key]
                self._release(entry)
                dropped.append(entry)
        return dropped

    def _is_current(self, due: _Due[K], node: str) -> bool:
        entry = self._entries.get(due[2])
        return entry is not None and entry.stamp == (due[0], node)

    # Forget what was superseded once it is the majority: O(log n) per change, amortised

    def _trim_due(self) -> None:
        if len(self._due) > 2 * len(self._entries) + _SLACK:
            self._due = [
                (entry.stamp.time, position, entry.key)
                for position, entry in self._journal.after(0)
                if not self._permanent(entry.key)
            ]
            heapify(self._due)

    def _trim_earliest(self, node: str) -> None:
        heap = self._earliest.get(node, [])
        if len(heap) > 2 * len(self._lasting.get(node, ())) + _SLACK:
            self._earliest[node] = [due for due in heap if self._is_current(due, node)]
            heapify(self._earliest[node])


def _check_together(entries: Collection[Entry[K, V]]) -> None:
    """Refuse entries that are not one write: ValueError."""
    stamps = {entry.stamp for entry in entries}
    if len(stamps) > 1:
        raise ValueError(
            f"entries that are written together bear one stamp, got {min(stamps)} and "
            f"{max(stamps)}: write them one after the other"
        )
    if len({entry.key for entry in entries}) < len(entries):
        raise ValueError(
            f"entries that are written together have different keys, got {len(entries)} for "
            f"{len({entry.key for entry in entries})} keys: leave out all but the last of each"
        )


def _wins(entry: Entry[K, V], rival: Entry[K, V] | None) -> bool:
    if rival is None or entry.stamp > rival.stamp:
        return True
    if entry.stamp == rival.stamp and entry.value != rival.value:
        raise ConflictingStamp(
            f"{entry.stamp} was used for two writes of {entry.key!r:.80}: {rival.value!r:.200} and "
            f"{entry.value!r:.200}; every process needs a node id of its own"
        )
    return False
