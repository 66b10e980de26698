"""Leases: for how long to believe in each node, judged here and by nobody else.

A lease is granted by its owner for a time ahead and shrinks on its way: a relay forwards what is
left of it. It counts only if it belongs to a strictly newer time of the owner's context than the
one held, so neither a relay nor a late duplicate can extend it. Deadlines are kept on the waking
clock.

What it says of patience is for relays: for how long they may hold it back, all of them together, so
that many leases share a frame. Each may take a share of what is left of that, and forwards what it
has not spent; so however many relays there are, a lease never waits for longer than its owner can
spare.

Of two running leases with one name the later-born is believed: that is how a restarted node
displaces its former incarnation at once. Should the later-born lapse first, the other is believed
again.

Nothing here is ever written to the map or sent on as a fact: that a lease has lapsed is a view.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Collection, Iterable

import attrs

from .messages import Lease

__all__ = ["LeaseTable", "Turn"]

_BEARERS = 256
"""How many nodes of one name are rivals for it at a time."""
_SHARE = 4 / 5
"""How much of the patience that is left a relay may spend: with less, those far away need more
frames of their own where their heartbeats take along what waits."""
_OVERDUE = 3
"""Once no more than one in so many parts of a lease is left, the heartbeat after it is overdue."""


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
    queued: float = math.inf
    """At which deadline it stands in the heap, never a later one; infinity where it does not."""
    missed: bool = False
    """Whether `overdue` has named it since its last heartbeat."""

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
        # A heap, in which a node stands at a deadline that it once had: a heartbeat that moves the
        # deadline away costs nothing here, and is found when the earlier one has come.
        self._deadlines: list[tuple[float, str]] = []
        # The nodes of each name whose leases ran at the last `settle`, or came since.
        self._named: dict[str, dict[str, None]] = {}
        self._believed: dict[str, None] = {}
        self._unsettled: dict[str, None] = {}
        # The names whose bearers are to be judged with them.
        self._contested: dict[str, None] = {}
        self._forgotten = 0

    def believes(self, node: str) -> bool:
        """Tell whether a node's services are visible, as of the last `settle`."""
        return node in self._believed

    @property
    def believed(self) -> tuple[str, ...]:
        """The nodes that are believed, as of the last `settle`."""
        return tuple(self._believed)

    @property
    def nodes(self) -> Collection[str]:
        """The nodes whose leases are held, run out or not."""
        return self._held.keys()

    def hold_for_ever(self, lease: Lease) -> None:
        """Enter the lease of the node itself, which never lapses while it runs."""
        self._hold(_Held(lease, math.inf))

    def grant(self, *leases: Lease) -> dict[str, float]:
        """Take leases that were heard of, those that are newer than the ones held.

        Returns the nodes of which they were, and for how many seconds a relay may hold them back.
        """
        now, longest = self._now(), self._longest
        taken: dict[str, float] = {}
        for lease in leases:
            node, time, remaining, *_, patience = lease
            held = self._held.get(node)
            if held is None:
                if time <= self._forgotten:
                    continue
            elif time <= held.lease.time or held.deadline == math.inf:
                continue
            # What was overdue here is so elsewhere as well. Nobody spares more than half of what is
            # left.
            overdue = held is not None and held.missed
            taken[node] = 0.0 if overdue else min(patience, remaining // 2) / 1000 * _SHARE
            deadline = now + min(remaining / 1000, longest)
            if held is not None and self._is_more_of(held.lease, lease):
                held.lease, held.deadline, held.missed = lease, deadline, False
            else:
                held = _Held(lease, deadline)
                self._hold(held)
            if deadline < held.queued:
                self._queue(held)
        return taken

    def remaining(self, node: str, now: float | None = None) -> Lease | None:
        """Return a node's lease with what is left of it, if only 0, or None where none is held.

        That is what a relay forwards. A node that has left is to be known to have left behind it.
        `now` spares who asks for many of them asking for the time again and again.
        """
        held = self._held.get(node)
        if held is None or held.deadline == math.inf:
            return None
        node, time, granted, born, name, patience = held.lease
        left = max(0, int((held.deadline - (self._now() if now is None else now)) * 1000))
        # What it has waited here is off both; and it may have been granted more than is believed.
        rest = max(0, patience + left - granted)
        # What Lease(...) does as well, in half of the time.
        return tuple.__new__(Lease, (node, time, left, born, name, rest))

    def next_deadline(self) -> float:
        """Return the waking time at which the next lease lapses, or infinity."""
        while self._deadlines:
            queued, node = self._deadlines[0]
            held = self._held.get(node)
            if held is None or held.queued != queued:
                heapq.heappop(self._deadlines)
            elif held.deadline > queued:
                held.queued = held.deadline
                heapq.heapreplace(self._deadlines, (held.deadline, node))
            else:
                return queued
        return math.inf

    def overdue(self) -> list[str]:
        """Return the nodes whose leases have come down to a third since the last heartbeat.

        Each is named once per heartbeat, and those that have left are not. O(nodes).
        """
        now = self._now()
        late: list[str] = []
        for node, held in self._held.items():
            granted = min(held.lease.remaining / 1000, self._longest)
            # It may have lapsed since the last look: a short lease has a short third.
            if not held.missed and granted and held.deadline - now < granted / _OVERDUE:
                held.missed = True
                late.append(node)
        return late

    def miss(self, nodes: Iterable[str]) -> list[str]:
        """Return those of these nodes that `overdue` has not named yet, as if it had by now."""
        late: list[str] = []
        for node in nodes:
            held = self._held.get(node)
            if held is not None and not held.missed and held.deadline < math.inf:
                held.missed = True
                late.append(node)
        return late

    def expects(self, node: str) -> bool:
        """Tell whether a node's next heartbeat will be missed: `overdue` has yet to name it."""
        held = self._held.get(node)
        return held is not None and not held.missed and held.deadline > self._now()

    def settle(self) -> list[Turn]:
        """Judge what was granted and what has lapsed since the last call; return what turned."""
        now = self._now()
        while self.next_deadline() <= now:
            node = heapq.heappop(self._deadlines)[1]
            self._held[node].queued = math.inf
            self._unsettle(node)
        if not self._unsettled:
            return []
        # Once for each name: many bearers of one may have been heard of.
        latest = {name: self._latest_of(name, now) for name in self._contested}
        for name in self._contested:
            self._unsettled.update(self._named.get(name, {}))
        turns: list[Turn] = []
        for node in self._unsettled:
            displaced_by = self._displacer(node, latest)
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
        for name in self._contested:
            self._trim(name)
        self._unsettled.clear()
        self._contested.clear()
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
            self._contested[name] = None

    def _is_more_of(self, held: Lease, lease: Lease) -> bool:
        """Tell whether a lease only goes on with one that is believed, and so turns nobody."""
        return lease.node in self._believed and (held.born, held.name) == (lease.born, lease.name)

    def _queue(self, held: _Held) -> None:
        held.queued = held.deadline
        heapq.heappush(self._deadlines, (held.deadline, held.lease.node))
        if len(self._deadlines) > 2 * len(self._held):
            self._deadlines = [
                (held.queued, node) for node, held in self._held.items() if held.queued < math.inf
            ]
            heapq.heapify(self._deadlines)

    def _runs(self, node: str, now: float) -> bool:
        held = self._held.get(node)
        return held is not None and held.deadline > now

    def _latest_of(self, name: str, now: float) -> _Held | None:
        """Return the latest-born of those bearers of a name whose leases run."""
        bearers = [self._held[node] for node in self._named.get(name, ()) if self._runs(node, now)]
        return max(bearers, key=lambda held: held.seniority, default=None)

    def _displacer(self, node: str, latest: dict[str, _Held | None]) -> str | None:
        held = self._held.get(node)
        name = None if held is None else held.lease.name
        rival = None if name is None else latest.get(name)
        if held is None or rival is None or rival.seniority <= held.seniority:
            return None
        return rival.lease.node

    def _trim(self, name: str) -> None:
        """Keep those bearers of a name that were born last, so that judging them costs little.

        An earlier one is heard of again at its next heartbeat, should it outlive them all.
        """
        bearers = self._named.get(name, {})
        if len(bearers) > _BEARERS:
            by_birth = sorted(bearers, key=lambda node: self._held[node].seniority)
            for node in by_birth[:-_BEARERS]:
                self._unname(node)
