"""Leases: for how long to believe in each node, judged here and by nobody else.

A lease is granted by its owner for a time ahead and shrinks on its way: a relay forwards what is
left of it. It counts only if it belongs to a strictly newer time of the owner's context than the
one held, so neither a relay nor a late duplicate can extend it. Deadlines are kept on the waking
clock.

Of two running leases with one name the later-born is believed: that is how a restarted node
displaces its former incarnation at once. Should the later-born lapse first, the other is believed
again.

Nothing here is ever written to the map or sent on as a fact: that a lease has lapsed is a view.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable

import attrs

from .messages import Lease

__all__ = ["LeaseTable", "Turn"]


@attrs.frozen
class Turn:
    """A node is believed from now on, or not any more."""

    node: str
    believed: bool
    displaced_by: str | None = None
    """Id of the later-born node of the same name, where that is why."""


@attrs.define(eq=False)
class _Held:
    lease: Lease
    deadline: float

    @property
    def seniority(self) -> tuple[int, str]:
        """What decides between two nodes of one name; ids break the tie of two births."""
        return (self.lease.born, self.lease.node)


class LeaseTable:
    """Every lease heard of, and which nodes are believed on the strength of them.

    `now` is the waking time in seconds. `longest` caps what any lease may ask for, in seconds.
    """

    def __init__(self, now: Callable[[], float], *, longest: float) -> None:
        self._now = now
        self._longest = longest
        self._held: dict[str, _Held] = {}
        # A heap. What a later lease has replaced stays in it until it is met or they are too many.
        self._deadlines: list[tuple[float, str]] = []
        # The nodes of each name whose leases ran at the last `settle`, or came since.
        self._named: dict[str, dict[str, None]] = {}
        self._believed: dict[str, None] = {}
        self._unsettled: dict[str, None] = {}
        self._forgotten = 0

    def believes(self, node: str) -> bool:
        """Tell whether a node's services are visible, as of the last `settle`."""
        return node in self._believed

    @property
    def believed(self) -> tuple[str, ...]:
        """The nodes that are believed, as of the last `settle`."""
        return tuple(self._believed)

    def hold_for_ever(self, lease: Lease) -> None:
        """Enter the lease of the node itself, which never lapses while it runs."""
        self._hold(_Held(lease, math.inf))

    def grant(self, lease: Lease) -> None:
        """Take a lease that was heard of, if it is newer than the one held."""
        held = self._held.get(lease.node)
        newest = self._forgotten if held is None else held.lease.time
        if lease.time <= newest or (held is not None and held.deadline == math.inf):
            return
        deadline = self._now() + min(lease.remaining / 1000, self._longest)
        self._hold(_Held(lease, deadline))
        heapq.heappush(self._deadlines, (deadline, lease.node))
        if len(self._deadlines) > 2 * len(self._held):
            self._deadlines = [
                (held.deadline, node)
                for node, held in self._held.items()
                if held.deadline < math.inf
            ]
            heapq.heapify(self._deadlines)

    def remaining(self, node: str) -> Lease | None:
        """Return a node's lease with what is left of it, if only 0, or None where none is held.

        That is what a relay forwards. A node that has left is to be known to have left behind it.
        """
        held = self._held.get(node)
        if held is None or held.deadline == math.inf:
            return None
        left = max(0.0, held.deadline - self._now())
        return attrs.evolve(held.lease, remaining=int(left * 1000))

    def next_deadline(self) -> float:
        """Return the waking time at which the next lease lapses, or infinity."""
        while self._deadlines and not self._is_current(*self._deadlines[0]):
            heapq.heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else math.inf

    def settle(self) -> list[Turn]:
        """Judge what was granted and what has lapsed since the last call; return what turned."""
        now = self._now()
        while self.next_deadline() <= now:
            self._unsettle(heapq.heappop(self._deadlines)[1])
        turns: list[Turn] = []
        for node in self._unsettled:
            displaced_by = self._displacer(node, now)
            believed = self._runs(node, now) and displaced_by is None
            if believed and node not in self._believed:
                self._believed[node] = None
                turns.append(Turn(node, believed=True))
            elif not believed and node in self._believed:
                del self._believed[node]
                turns.append(Turn(node, believed=False, displaced_by=displaced_by))
        for node in self._unsettled:
            if not self._runs(node, now):
                self._unname(node)
        self._unsettled.clear()
        return turns

    def forget(self, horizon: int) -> None:
        """Drop lapsed leases whose time lies at or under the horizon, and take none such again."""
        self._forgotten = max(self._forgotten, horizon)
        now = self._now()
        for node, held in list(self._held.items()):
            judged = node not in self._unsettled and node not in self._believed
            if judged and held.deadline <= now and held.lease.time <= horizon:
                self._drop(node)

    def _hold(self, held: _Held) -> None:
        node, name = held.lease.node, held.lease.name
        if node in self._held:
            self._unsettle(node)
            self._drop(node)
        self._held[node] = held
        if name is not None:
            self._named.setdefault(name, {})[node] = None
        self._unsettle(node)

    def _drop(self, node: str) -> None:
        self._unname(node)
        del self._held[node]

    def _unname(self, node: str) -> None:
        """Take a node out of the rivals for its name, so that a name costs no more than it has."""
        name = self._held[node].lease.name
        if name is not None and node in self._named.get(name, ()):
            del self._named[name][node]
            if not self._named[name]:
                del self._named[name]

    def _unsettle(self, node: str) -> None:
        self._unsettled[node] = None
        name = self._held[node].lease.name
        if name is not None:
            self._unsettled.update(self._named.get(name, {}))

    def _is_current(self, deadline: float, node: str) -> bool:
        held = self._held.get(node)
        return held is not None and held.deadline == deadline

    def _runs(self, node: str, now: float) -> bool:
        held = self._held.get(node)
        return held is not None and held.deadline > now

    def _displacer(self, node: str, now: float) -> str | None:
        held = self._held.get(node)
        if held is None or held.lease.name is None:
            return None
        rivals = [
            self._held[rival]
            for rival in self._named.get(held.lease.name, ())
            if self._runs(rival, now)
        ]
        latest = max(rivals, key=lambda rival: rival.seniority, default=held)
        return latest.lease.node if latest.seniority > held.seniority else None
