"""One node without I/O: its map, clock, leases and view, and what it registered itself.

Everything that changes state goes through here, as plain calls that either happen or raise. Links,
tasks and sockets are elsewhere; two replicas and a pair of link protocols make a cluster in a test.

What this node registered and still holds is remembered in the order of its stamps. It is renewed,
that is written again under a new stamp, once its age passes half the retention, spread over time;
and in the same step as a join that raised the horizon over it, so that nobody sees a gap. A record
that someone else took over or freed is forgotten, never renewed.

docs/protocol.md tells the whole of it. Nothing here may import Trio or read a clock of the system.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection, Iterable, Mapping

import attrs

from .bounds import check_arrival
from .crdt import (
    CausalGap,
    Change,
    Entry,
    HybridClock,
    LWWMap,
    Stamp,
    from_milliseconds,
    to_milliseconds,
)
from .errors import LinkError
from .events import Displaced, Event, FreeReason
from .leases import LeaseTable
from .messages import Gossip, Lease
from .options import Options
from .records import Record, Service, id_of, is_persistent
from .refusals import Refusal
from .renewals import expand, renewed
from .timekeeping import PhysicalClock, WakingClock
from .view import View

__all__ = ["Joined", "Replica"]

_log = logging.getLogger("manifest")

_TOGETHER = 64
"""How many records may be renewed at once in any case: apart, each would take a frame of its own,
and together they take a peer about a millisecond."""


@attrs.frozen
class Joined:
    """What a gossip message did here."""

    first: int
    """Journal position before its entries were placed."""
    last: int
    """Journal position after: those in between came from this message."""
    entries: int
    """How many entries changed something."""
    within: Mapping[str, float]
    """The nodes whose contexts have moved, and within how many seconds other peers are to be told
    of that; of the entries they are to be told at once."""


class Replica:
    """The state of one manifest, and the rules by which it changes."""

    def __init__(
        self,
        node: str,
        options: Options,
        physical: PhysicalClock,
        waking: WakingClock,
        emit: Callable[[Event], None],
    ) -> None:
        self.node = node
        self.options = options
        self.physical = physical
        self.waking = waking
        self.clock = HybridClock(physical.now)
        self.born = self.clock.tick()
        self.map: LWWMap[str, Record] = LWWMap(is_persistent)
        self.leases = LeaseTable(waking.now, longest=options.retention)
        self.view = View(self.map, self.leases.believes, emit)
        self._emit = emit
        self._retention = int(options.retention * 1000)
        self._skew = int(options.max_clock_skew * 1000)
        # What each lease of this node grants: how long, and with how much patience.
        self._granted = int(options.lease * 1000), int(options.patience * 1000)
        # What this node registered and holds, leased keys alone, oldest stamp first.
        self._own: dict[str, Entry[str, Record]] = {}
        # Nodes of whom a renewal came whose value is not here.
        self._doubted: dict[str, None] = {}
        self._left = False
        self._renew_from = self._collect_from = -math.inf
        self._pauses = 0.0
        self.leases.hold_for_ever(Lease(node, 0, 0, self.born, options.name))
        self._settle()
        self.heartbeat()
        # There is nothing to renew yet, but a peer may have to look at its clock because of this.
        self._hold()

    # Local writes

    def write(self, key: str, record: Record) -> Service:
        """Register a record under a key at once, and return the service."""
        if record.since:
            # It may have been made from one that was renewed, and is set here.
            record = record.set_at(0)
        entry = Entry(key, Stamp(self.clock.tick(), self.node), record)
        self._apply(self._put(entry))
        shown = self.view.services.get(id_of(key))
        # It is shown, unless this node is not believed: no stamp is later than that of this write.
        if (
            shown is not None
            and shown.owner == self.node
            and shown.persistent == is_persistent(key)
        ):
            return shown
        return Service.of(key, entry.stamp, record)

    def holds(self, key: str) -> bool:
        """Tell whether what stands under a key is this node's own."""
        entry = self.map.entry(key)
        return entry is not None and not entry.is_tombstone and entry.stamp.node == self.node

    def free(self, key: str) -> None:
        """Write a tombstone for a key at once."""
        self._own.pop(key, None)
        self._apply(self.map.delete(key, Stamp(self.clock.tick(), self.node)))

    def leave(self) -> None:
        """Free what this node registered and end its lease; persistent records stay."""
        for key in list(self._own):
            self.free(key)
        self._left = True
        self.heartbeat()

    def heartbeat(self) -> None:
        """Advance this node's own context: the proof that it is alive."""
        self.map.advance(self.node, self.clock.tick())

    def lease_of(self, node: str, now: float | None = None) -> Lease | None:
        """Return the lease to send along with a node's context, if there is one.

        `now`, in waking time, spares who asks for many of them asking for it again and again.
        """
        if node != self.node:
            return self.leases.remaining(node, now)
        lease, patience = (0, 0) if self._left else self._granted
        name = self.options.name
        born = self.born if name else 0
        return Lease(node, self.map.reflected(node), lease, born, name, patience)

    def anchor(self) -> None:
        """Take the wall clock as it is now for physical time: this machine was what was wrong."""
        moved = self.physical.anchor()
        self._hold()
        _log.warning("clock of %s anchored anew, moved by %.1f s", self.node, moved / 1000)

    # What peers send

    def accept(self, gossip: Gossip) -> Joined:
        """Join what a peer sent, or raise and change nothing.

        `LinkError` where it claims what cannot be, `LinkRefused` where it is too much; `CausalGap`
        and `ConflictingStamp` as `LWWMap.join` raises them, and `CausalGap` for a renewal of what
        this node does not hold.
        """
        latest = _latest(gossip)
        self._check_times(latest, gossip.delta.horizon)
        self._check_not_mine(gossip)
        gossip = self._expand(gossip)
        check_arrival(self.options.limits, self.map, self.leases.nodes, gossip)
        first, horizon = self.map.position, self.map.horizon
        changes = self.map.join(gossip.delta)
        last = self.map.position
        self.clock.observe(latest)
        renewals = self._renew(self._notice(changes))
        patience = self.leases.grant(*gossip.leases)
        # The view reads the map, where the renewals stand by now, so it shows no gap.
        if changes or renewals:
            self._apply((*changes, *renewals))
        turned = self._settle()
        if self.map.horizon > horizon:
            # A peer whose clock is ahead may always be the first to collect.
            self.leases.forget(self.map.horizon)
        self._believe_again(gossip)
        arrived = sum(change.after is not None for change in changes)
        return Joined(first, last, arrived, self._within(first, patience, turned=turned))

    def _within(
        self, first: int, patience: Mapping[str, float], *, turned: bool
    ) -> dict[str, float]:
        """Return the nodes whose contexts have moved, and within what time to tell others."""
        moved = self.map.moved(first)
        if turned:
            # What turns a view does not wait.
            return {move.node: 0.0 for move in moved}
        # Nor do histories that come without a lease.
        return {node: patience.get(node, 0.0) for _, node, _ in moved}

    def digest(self) -> dict[str, int]:
        """Return what to claim to have reflected, in the order in which it moved.

        Not of whom a value turned out to be missing: a peer leaves none out for who claims nothing.
        """
        return {move.node: move.time for move in self.map.moved() if move.node not in self._doubted}

    def _expand(self, gossip: Gossip) -> Gossip:
        try:
            return expand(gossip, self.map)
        except CausalGap:
            # Whatever the reason is, the next link must not fail for it again.
            doubted = (renewal.node for renewal in gossip.renewals)
            nodes = dict.fromkeys((*self._doubted, *doubted))
            self._doubted = {node: None for node in nodes if node in self.map.nodes}
            raise

    def _believe_again(self, gossip: Gossip) -> None:
        since = gossip.delta.since
        for node in list(self._doubted):
            # All of its entries have come, in full, to who claimed to have none.
            if node in gossip.delta.until and not since.get(node, 0):
                del self._doubted[node]

    def _check_times(self, latest: int, horizon: int) -> None:
        """Refuse what lies further ahead than clocks may be apart: all of it, never a part."""
        now = self.physical.now()
        limit = from_milliseconds(now + self._skew + 1)
        if latest >= limit:
            ahead = (to_milliseconds(latest) - now) / 1000
            raise LinkError(
                f"a stamp lies {ahead:.1f} s ahead of this node's clock, and the limit is "
                f"{self._skew / 1000:g} s: compare the clocks of the machines in this cluster",
                Refusal.STAMP,
            )
        # None at all is 0, and fine where clocks have not counted a whole retention since 1970.
        if horizon and horizon >= limit - from_milliseconds(self._retention):
            raise LinkError(
                f"a horizon lies {(now - to_milliseconds(horizon)) / 1000:.1f} s behind this "
                f"node's clock, and retention less the clock limit is "
                f"{(self._retention - self._skew) / 1000:g} s: it would collect what is not due; "
                "compare the clocks of the machines in this cluster",
                Refusal.HORIZON,
            )

    def _check_not_mine(self, gossip: Gossip) -> None:
        """Refuse writes that bear this node's id and that it never made."""
        # After a long absence a join may drop this node's own context, until its next heartbeat.
        mine = max(self.map.reflected(self.node), self.map.horizon)
        claimed = gossip.delta.until.get(self.node, 0)
        for entry in gossip.delta.entries:
            if entry.stamp.node == self.node:
                claimed = max(claimed, entry.stamp.time)
        for renewal in gossip.renewals:
            if renewal.node == self.node:
                claimed = max(claimed, renewal.time)
        if claimed > mine:
            raise LinkError(
                f"it brings writes of this node, {self.node}, that this node never made: another "
                "process uses its id, or forges it",
                Refusal.IDENTITY,
            )

    def _notice(self, changes: Iterable[Change[str, Record]]) -> list[str]:
        """Forget own records that others took; return those that only the horizon took."""
        lapsed: list[str] = []
        for change in changes:
            if change.key not in self._own:
                continue
            if change.after is None:
                lapsed.append(change.key)
            elif change.after.stamp.node != self.node:
                del self._own[change.key]
        return lapsed

    # What time brings

    def pulse(self, budget: float) -> bool:
        """Let time pass: lapse leases, renew, collect. Returns whether anything was written.

        `budget` is the seconds until the next call, over which renewals are spread.
        """
        self.waking.beat()
        if self.waking.paused > self._pauses:
            # Others may have taken over what this node holds: first join, then renew.
            self._pauses = self.waking.paused
            self._hold()
        self._settle()
        now = self.waking.now()
        renewed = now >= self._renew_from and self._renew_due(budget)
        if now >= self._collect_from:
            self._collect()
        return renewed

    def _hold(self) -> None:
        """Only listen for one heartbeat interval, and collect nothing for a lease longer.

        Peers whose clocks were behind as well find that out when they link again, which they do
        within their leases or are not believed any more; and then they listen first, too.
        """
        self._renew_from = self.waking.now() + self.options.heartbeat_interval
        self._collect_from = self._renew_from + self.options.lease

    def _renew_due(self, budget: float) -> bool:
        # Done by five eighths of the retention: a peer's clock may be ahead by a quarter of it, and
        # the last eighth is for the renewal to get there.
        now = to_milliseconds(self.clock.now())
        half, last = now - self._retention // 2, now - self._retention * 5 // 8
        pace = math.ceil(len(self._own) * budget * 8000 / self._retention)
        allowed = max(_TOGETHER, pace)
        due: list[str] = []
        for key, entry in self._own.items():
            written = to_milliseconds(entry.stamp.time)
            if written > last and (written > half or len(due) >= allowed):
                break
            due.append(key)
        self._apply(self._renew(due))
        return bool(due)

    def _renew(self, keys: Collection[str]) -> tuple[Change[str, Record], ...]:
        """Write own entries again, all under one stamp, so that links can tell of them as one."""
        if not keys:
            return ()
        stamp = Stamp(self.clock.tick(), self.node)
        return self._put(*(renewed(self._own[key], stamp, self._retention) for key in keys))

    def _collect(self) -> None:
        # Horizons are told to everyone, so there is one for each hundredth of the retention.
        horizon = from_milliseconds(max(0, to_milliseconds(self.clock.now()) - self._retention))
        if horizon - self.map.horizon >= from_milliseconds(self._retention // 100):
            self._apply(self.map.prune(horizon))
            self.leases.forget(horizon)

    # Bookkeeping

    def _put(self, *entries: Entry[str, Record]) -> tuple[Change[str, Record], ...]:
        own = self._own
        for entry in entries:
            key = entry.key
            if not is_persistent(key):
                own.pop(key, None)
                own[key] = entry
        return self.map.write(*entries)

    def _apply(self, changes: Iterable[Change[str, Record]]) -> None:
        for change in changes:
            self.view.refresh(change.key, change.before, change.after)

    def _settle(self) -> bool:
        """Judge the leases, and tell whether any node is believed or not believed since."""
        turns = self.leases.settle()
        for turn in turns:
            reason = FreeReason.REPLACED if turn.displaced_by else FreeReason.EXPIRED
            self.view.turn(turn.node, reason)
            if turn.node == self.node and turn.displaced_by:
                self._emit(Displaced(turn.displaced_by))
        return bool(turns)


def _latest(gossip: Gossip) -> int:
    """Return the latest time that a message mentions, its horizon apart."""
    delta, leases = gossip.delta, gossip.leases
    times = [*delta.until.values()]
    times += [entry.stamp.time for entry in delta.entries]
    times += [renewal.time for renewal in gossip.renewals]
    for lease in leases:
        times += (lease.time, lease.born)
    return max(times, default=0)
