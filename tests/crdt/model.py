"""Three replicas, their clocks and the links between them, driven by a drawn list of steps.

Nothing here has I/O or chance of its own: a plan is a list of `Step`s, and running it twice gives
the same states. After every step `World` holds each replica to what the CRDT promises, above all
to **honesty**: every write at or under a context is present, or beaten by a present entry, or at or
under the horizon. Against a log of all writes this can be checked rather than hoped for.

A link here is what a real one comes down to: a cursor and the peer's known context at the sender,
and deltas under way, in parts of which only the last one moves the context. It can be cut at any
point, and a new link starts from the peer's context.

Everything takes the CRDT as an argument (`crdt`, a module), so that the same checks can be run on
copies of it that were broken on purpose.
"""

from __future__ import annotations

from collections import deque
from itertools import product
from types import ModuleType
from typing import Any, Literal

import attrs
from hypothesis import strategies as st

from .states import State, is_permanent

__all__ = ["KEYS", "NODES", "RETENTION", "Kind", "Step", "World", "plans", "split"]

KEYS = ("k0", "k1", "k2", "p0", "p1")
NODES = 3
RETENTION = 8
"""Milliseconds. Waits are drawn so that times fall exactly on the horizon often enough."""
SKEWS = (0, 1, -1)
"""What the clock of each replica is off by, in milliseconds."""

Kind = Literal[
    "write", "free", "beat", "wait", "prune", "restart", "adopt",
    "connect", "cut", "send", "deliver", "exchange", "torn", "return_late",
]  # fmt: skip


@attrs.frozen
class Step:
    """One step of a plan: what happens at replica `at`, with replica `to` where there are two."""

    kind: Kind
    at: int
    to: int
    key: str
    n: int


WEIGHTS: dict[Kind, int] = {
    "write": 3, "free": 1, "beat": 1, "wait": 2, "prune": 1, "restart": 1, "adopt": 1, "connect": 1,
    "cut": 1, "send": 1, "deliver": 1, "exchange": 2, "torn": 2, "return_late": 1,
}  # fmt: skip
"""How often each kind is drawn. The last three are whole sequences that would seldom be drawn."""


def plans(max_size: int = 40) -> st.SearchStrategy[list[Step]]:
    """Draw a list of steps."""
    kinds = [kind for kind, weight in WEIGHTS.items() for _ in range(weight)]
    # One draw for each step, and not one for each of its fields: five times as fast.
    steps = [
        Step(kind, at, (at + other) % NODES, key, n)
        for kind, at, other, key, n in product(kinds, range(NODES), (1, 2), KEYS, range(4))
    ]
    return st.lists(st.sampled_from(steps), min_size=max_size // 4, max_size=max_size)


def split(delta: Any, size: int) -> list[Any]:
    """Return a delta in parts of at most `size` entries; all but the last carry entries alone."""
    nothing = type(delta.since)()
    part = attrs.evolve(delta, since=nothing, until=nothing, horizon=0)
    cuts = range(0, max(len(delta.entries) - size, 0), size)
    return [
        *(attrs.evolve(part, entries=delta.entries[cut : cut + size]) for cut in cuts),
        attrs.evolve(delta, entries=delta.entries[len(cuts) * size :]),
    ]


@attrs.define(eq=False)
class Site:
    """One incarnation of a replica: its map and its clock, and what it answers for."""

    node: str
    map: Any
    clock: Any
    owned: dict[str, object] = attrs.field(factory=dict)
    """Values that it registered under mortal keys and keeps alive."""
    mirror: dict[str, Any] = attrs.field(factory=dict)
    """What the changes it was told of add up to."""
    claimed: dict[str, int] = attrs.field(factory=dict)
    """The greatest context that it ever had: it stays bound to it after it dropped an item."""
    claimed_horizon: int = 0


@attrs.define(eq=False)
class Direction:
    """One direction of a link: what the sender remembers, and what is under way."""

    source: Site
    target: Site
    known: Any
    cursor: int = 0
    under_way: deque[Any] = attrs.field(factory=deque)


class World:
    """Replicas and links under one physical time, held to their promises after every step."""

    def __init__(self, crdt: ModuleType, plan: list[Step] | tuple[Step, ...] = ()) -> None:
        self.crdt = crdt
        self.now = 2 * RETENTION
        self.log: list[Any] = []
        """Every write that was ever made, by anyone."""
        self.born = 0
        self.links: dict[tuple[int, int], Direction] = {}
        self.sites = [self._open(index) for index in range(NODES)]
        for step in plan:
            self.take(step)

    def take(self, step: Step) -> None:
        """Take one step, then check everything that must hold at all times."""
        getattr(self, f"_{step.kind}")(step)
        self.check()

    def fork(self, index: int) -> Any:
        """Return a map with the state of a replica, for a test to change at will."""
        twin = self.crdt.LWWMap(is_permanent)
        twin.join(self.sites[index].map)
        return twin

    # Steps at one replica

    def _write(self, step: Step) -> None:
        site = self.sites[step.at]
        value = f"{site.node}.{len(self.log)}"
        self._put(site, step.key, value)
        if not is_permanent(step.key):
            site.owned[step.key] = value

    def _free(self, step: Step) -> None:
        site = self.sites[step.at]
        stamp = self.crdt.Stamp(site.clock.tick(), site.node)
        self.log.append(self.crdt.Entry(step.key, stamp, self.crdt.TOMBSTONE))
        site.owned.pop(step.key, None)
        self._saw(site, site.map.delete(step.key, stamp))
        assert step.key not in site.map, "a free that has no effect where it was made"

    def _beat(self, step: Step) -> None:
        site = self.sites[step.at]
        site.map.advance(site.node, site.clock.tick())

    def _wait(self, step: Step) -> None:
        self.now += (1, 2, RETENTION // 2, RETENTION)[step.n]

    def _prune(self, step: Step) -> None:
        site = self.sites[step.at]
        back = (RETENTION, RETENTION, RETENTION // 2, 0)[step.n]
        horizon = site.clock.now() - self.crdt.from_milliseconds(back)
        self._saw(site, site.map.prune(horizon))
        site.clock.observe(site.map.horizon)
        self._renew(site)

    def _restart(self, step: Step) -> None:
        for other in range(NODES):
            self._part(step.at, other)
        self.sites[step.at] = self._open(step.at)

    # Steps between two replicas

    def _adopt(self, step: Step) -> None:
        self._receive(self.sites[step.at], self.sites[step.to].map)

    def _connect(self, step: Step) -> None:
        for at, to in ((step.at, step.to), (step.to, step.at)):
            if (at, to) not in self.links:
                source, target = self.sites[at], self.sites[to]
                self.links[at, to] = Direction(source, target, target.map.context)

    def _cut(self, step: Step) -> None:
        self._part(step.at, step.to)

    def _send(self, step: Step) -> None:
        link = self.links.get((step.at, step.to))
        if link is not None:
            self._transmit(link, size=step.n + 1)

    def _deliver(self, step: Step) -> None:
        link = self.links.get((step.at, step.to))
        for _ in range(min(step.n + 1, len(link.under_way)) if link is not None else 0):
            self._arrive(step.at, step.to)

    def _exchange(self, step: Step) -> None:
        self._connect(step)
        for at, to in ((step.at, step.to), (step.to, step.at)):
            self._transmit(self.links[at, to], size=step.n + 1)
            while self.links[at, to].under_way:
                self._arrive(at, to)

    def _torn(self, step: Step) -> None:
        """A new link that is cut after a few parts of one entry each."""
        self._cut(step)
        self._connect(step)
        self._transmit(self.links[step.at, step.to], size=1)
        self._deliver(step)
        self._cut(step)

    def _return_late(self, step: Step) -> None:
        """A replica that nobody reached for a whole retention wrote meanwhile, and comes back."""
        for other in range(NODES):
            self._part(step.at, other)
        self._write(step) if step.n % 2 else self._free(step)
        self.now += RETENTION + step.n // 2
        self._prune(attrs.evolve(step, at=step.to, n=0))
        self._exchange(step)

    # What these steps come down to

    def _open(self, index: int) -> Site:
        self.born += 1
        # Incarnations of different replicas alternate in the order of ids, which decides ties.
        node = f"{'bac'[index]}{self.born}"

        def physical() -> int:
            return self.now + SKEWS[index]

        return Site(node, self.crdt.LWWMap(is_permanent), self.crdt.HybridClock(physical))

    def _put(self, site: Site, key: str, value: object) -> None:
        stamp = self.crdt.Stamp(site.clock.tick(), site.node)
        self.log.append(self.crdt.Entry(key, stamp, value))
        self._saw(site, site.map.set(key, value, stamp))
        assert site.map.get(key) == value, "a write that has no effect where it was made"

    def _transmit(self, link: Direction, size: int) -> None:
        delta = link.source.map.delta(link.known, after=link.cursor)
        for entry in delta.entries:
            assert not link.known.covers(entry.stamp), "an entry was sent that the peer has"
        link.under_way.extend(split(delta, size))
        link.cursor = link.source.map.position
        link.known = link.known.join(delta.until)

    def _arrive(self, at: int, to: int) -> None:
        delta = self.links[at, to].under_way.popleft()
        self._receive(self.sites[to], delta)
        back = self.links[to, at]
        back.known = back.known.join(delta.until)

    def _receive(self, site: Site, other: Any) -> None:
        delta = other.delta() if isinstance(other, self.crdt.LWWMap) else other
        self._saw(site, site.map.join(other))
        times = [entry.stamp.time for entry in delta.entries]
        site.clock.observe(max([delta.horizon, *times, *delta.until.values()]))
        self._renew(site)

    def _renew(self, site: Site) -> None:
        """Stamp anew, in the same step, what is still the site's own and old or already dropped."""
        old = site.clock.now() - self.crdt.from_milliseconds(RETENTION // 2)
        for key, value in list(site.owned.items()):
            entry = site.map.entry(key)
            if entry is not None and entry.stamp.node != site.node:
                del site.owned[key]
            elif entry is None or entry.stamp.time <= old:
                self._put(site, key, value)

    def _part(self, at: int, to: int) -> None:
        self.links.pop((at, to), None)
        self.links.pop((to, at), None)

    def _saw(self, site: Site, changes: tuple[Any, ...]) -> None:
        assert len({change.key for change in changes}) == len(changes), "one change for each key"
        for change in changes:
            assert site.mirror.get(change.key) == change.before
            assert change.before != change.after
            if change.after is None:
                del site.mirror[change.key]
            else:
                site.mirror[change.key] = change.after

    # What holds at all times, and what holds once everything has arrived

    def check(self) -> None:
        """Fail where a replica breaks a promise."""
        for site in self.sites:
            self._check_monotone(site)
            self.check_honest(site.map, site.claimed)
            assert site.map._entries == site.mirror, "changes that do not add up to the state"
            for key, value in site.owned.items():
                entry = site.map.entry(key)
                assert entry is not None, "a gap in what it owns"
                assert (entry.value, entry.stamp.node) == (value, site.node), "not its own any more"

    def check_honest(self, replica: Any, claimed: dict[str, int]) -> None:
        """Fail where a write within a context is neither present, nor beaten, nor collected."""
        for write in self.log:
            if write.stamp.time <= claimed.get(write.stamp.node, 0):
                entry = replica.entry(write.key)
                assert (entry is not None and entry.stamp >= write.stamp) or (
                    write.stamp.time <= replica.horizon and not is_permanent(write.key)
                ), f"the context claims {write}, and it never arrived"

    def _check_monotone(self, site: Site) -> None:
        context, horizon = site.map.context, site.map.horizon
        for node, time in site.claimed.items():
            assert context.get(node, 0) >= time or (node not in context and time <= horizon)
        for node, time in context.items():
            site.claimed[node] = max(time, site.claimed.get(node, 0))
        assert horizon >= site.claimed_horizon
        site.claimed_horizon = horizon

    def quiesce(self) -> None:
        """Connect all with all, exchange until nothing is left to send, and check the outcome."""
        entries = [entry for site in self.sites for _, entry in site.map.journal()]
        written = len(self.log)
        for _ in range(10):
            for at, to in ((0, 1), (1, 2), (2, 0)):
                self.take(Step("exchange", at, to, "", 3))
            first, *others = (site.map for site in self.sites)
            if all(other == first for other in others) and not self._anything_to_send():
                break
        else:
            raise AssertionError("there is no end of exchanging")
        entries += self.log[written:]
        assert State.of(first).entries == State.normal(entries, {}, first.horizon).entries
        for site in self.sites:
            assert all(first[key] == value for key, value in site.owned.items())

    def _anything_to_send(self) -> bool:
        return any(
            link.source.map.delta(link.known, after=link.cursor) for link in self.links.values()
        )

    def outlive(self) -> None:
        """Let everything that anyone wrote pass the horizon, and check what is left."""
        for site in self.sites:
            site.owned.clear()
        self.now += 2 * RETENTION
        for index in range(NODES):
            self.take(Step("prune", index, index, "", 0))
        self.quiesce()
        for site in self.sites:
            held = [entry for _, entry in site.map.journal()]
            assert all(is_permanent(entry.key) for entry in held)
            assert site.map.context.keys() <= {entry.stamp.node for entry in held}
