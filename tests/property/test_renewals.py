"""What must hold of renewals without values: that nobody could tell them from renewals with values.

A plan is carried out on a bench of three sites, in a chain or a ring, whose retention is so short
that everything is renewed again and again, and whose clocks are as far apart as they may be. Sites
are away, asleep or restarted for any part of the retention, and values change in between. Bytes are
carried until there are none left, so that a link has no reason to fail, and none may.

Every entry anywhere is held against the log of what its owner wrote. Then the same plan is carried
out with all values sent, and every replica must have been in the same state after every step.
"""

from __future__ import annotations

from typing import Any, Literal
from unittest import mock

import attrs
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from manifest.crdt import CausalGap, Entry, Stamp
from manifest.messages import Gossip
from manifest.records import Record
from tests.wired import Bench, Site, Wire, record

SITES = 3
PARTS = 16
"""The retention, in steps of the clock and in seconds."""
NAMES = ("a", "b")

Kind = Literal["register", "anew", "free", "take", "live", "away", "nap", "cut", "mend", "crash"]
KINDS: tuple[Kind, ...] = (
    "register", "register", "anew", "free", "take", "live", "live", "live", "away", "away", "nap",
    "cut", "mend", "mend", "crash",
)  # fmt: skip


@attrs.frozen
class Step:
    """What happens at a site, or on the link from it to the next one, for how long or how often."""

    kind: Kind
    at: int
    n: int


@attrs.frozen
class Plan:
    """How the sites are linked, what their clocks are off by, in seconds, and the steps."""

    ring: bool
    offsets: tuple[int, ...]
    steps: tuple[Step, ...]


PLANS = st.builds(
    Plan,
    st.booleans(),
    st.sampled_from([(0, 0, 0), (2, 0, -2), (0, 4, 2), (4, 0, 4), (0, 0, 4)]),
    st.lists(
        st.builds(Step, st.sampled_from(KINDS), st.integers(0, SITES - 1), st.integers(0, 15)),
        min_size=4,
        max_size=14,
    ).map(tuple),
)


class World:
    """The bench, the links that are up, and what was written."""

    def __init__(self, plan: Plan) -> None:
        self.bench = Bench(step=1.0, now=100.0)
        self.plan = plan
        self.sites = [self._open(at) for at in range(SITES)]
        self.links: dict[int, Wire] = {}
        self.gone: list[Wire] = []
        self.mine: dict[str, Site] = {}
        self.written: dict[tuple[Stamp, str], Entry[str, Record]] = {}
        self.states: list[Any] = []
        for at, site in enumerate(self.sites):
            for _ in range(1 + 2 * at):
                self.mine[site.register()] = site
            self._mend(at)
        for step in plan.steps:
            getattr(self, f"_{step.kind}")(step.at, step.n)
            self.check()

    def _open(self, at: int) -> Site:
        return self.bench.open(
            1000 * self.plan.offsets[at],
            heartbeat_interval=1.0,
            registration_lifetime=1.0,
            retention=float(PARTS),
            max_clock_skew=4.0,
        )

    # Steps

    def _register(self, at: int, n: int) -> None:
        for _ in range(1 + n % 4):
            self.mine[self.sites[at].register()] = self.sites[at]
        self.bench.settle()

    def _anew(self, at: int, n: int) -> None:
        """Give a record another value, made from the one that it had, as an application may."""
        mine = [key for key, site in self.mine.items() if site is self.sites[at]]
        if mine:
            key = mine[n % len(mine)]
            value = self.sites[at].replica.map[key]
            self.sites[at].register(key, replace(value, port=1 + len(self.bench.log)))
        self.bench.settle()

    def _free(self, at: int, n: int) -> None:
        mine = [key for key, site in self.mine.items() if site is self.sites[at]]
        if mine:
            del self.mine[mine[n % len(mine)]]
            self.sites[at].free(mine[n % len(mine)])
        self.bench.settle()

    def _take(self, at: int, n: int) -> None:
        self.sites[at].register(NAMES[n % 2], record(n=len(self.bench.log)))
        self.bench.settle()

    def _live(self, at: int, n: int) -> None:
        self._pass(n)

    def _pass(self, steps: int) -> None:
        for _ in range(steps):
            self.bench.pass_time(1.0)
            self.check()

    def _away(self, at: int, n: int) -> None:
        """A site is reached by nobody for a part of the retention, and comes back."""
        cut = self._isolate(at)
        self._pass(n)
        self._anew(at, n)
        self._back(cut)

    def _nap(self, at: int, n: int) -> None:
        """A process does not run for about as long as its records are good for."""
        cut = self._isolate(at)
        self.sites[at].asleep = True
        self._pass(8 + n // 2)
        self.sites[at].asleep = False
        self._back(cut)
        self._pass(3)

    def _isolate(self, at: int) -> list[int]:
        cut = [link for link in (at, (at - 1) % SITES) if link in self.links]
        for link in cut:
            self._cut(link)
        return cut

    def _back(self, cut: list[int]) -> None:
        for link in cut:
            self._mend(link)
        self.bench.settle()

    def _cut(self, at: int, n: int = 0) -> None:
        if at in self.links:
            self.gone.append(self.links[at])
            self.bench.cut(self.links.pop(at))

    def _mend(self, at: int, n: int = 0) -> None:
        if at not in self.links and (self.plan.ring or at < SITES - 1):
            self.links[at] = self.bench.connect(self.sites[at], self.sites[(at + 1) % SITES])
        self.bench.settle()

    def _crash(self, at: int, n: int) -> None:
        old, cut = self.sites[at], self._isolate(at)
        self.bench.crash(old)
        self.mine = {key: site for key, site in self.mine.items() if site is not old}
        self.sites[at] = self._open(at)
        self._back(cut)

    # What holds

    def check(self) -> None:
        """Fail where a link fails, a claim is false, or a replica has what was never written."""
        for site in self.bench.sites:
            site.note()
        self.bench.check_honest()
        for wire in self.bench.wires:
            for site in wire.ends:
                assert wire.failure(site) is None, wire.failure(site)
        for entry in self.bench.log[len(self.written) :]:
            self.written[entry.stamp, entry.key] = entry
        for site in self.sites:
            for _, entry in site.replica.map.journal():
                assert entry == self.written[entry.stamp, entry.key], "nobody wrote that"
        for key, site in self.mine.items():
            assert site.asleep or key in site.replica.view.services, "an owner has lost its own"
        self.states.append(
            [
                (
                    {entry.key: entry for _, entry in site.replica.map.journal()},
                    site.replica.map.context,
                    site.replica.map.horizon,
                    dict(site.replica.view.services),
                )
                for site in self.sites
            ]
        )

    def finish(self) -> None:
        """Link all, and hold them to one state."""
        for at in range(SITES):
            self._mend(at)
        self._pass(4)
        self.bench.converge()
        self.check()
        self.gone += self.bench.wires

    @property
    def without_values(self) -> int:
        """How many entries were sent without their values."""
        return sum(
            renewal.length
            for wire in self.gone
            for site in wire.ends
            for message in wire.said(site, Gossip)
            for renewal in message.renewals
        )


@given(PLANS)
def test_renewals_without_values_make_no_difference(plan: Plan) -> None:
    """No link fails, nobody holds what was not written, and with all values sent it is the same."""
    world = World(plan)
    world.finish()
    with mock.patch("manifest.protocol.holds_value", return_value=False):
        full = World(plan)
        full.finish()
    assert full.without_values == 0
    assert world.states == full.states


@given(st.booleans(), st.integers(0, 11), st.integers(1, 40))
def test_nearly_all_renewals_go_without_values(ring: bool, offset: int, count: int) -> None:
    """Once all are linked, whatever is renewed is told to everybody without its value."""
    world = World(Plan(ring, (offset % 5, 0, 0), ()))
    for _ in range(count):
        world.mine[world.sites[0].register()] = world.sites[0]
    world._pass(40)
    world.finish()
    renewed = sum(
        isinstance(entry.value, Record) and entry.value.since > 0 for entry in world.bench.log
    )
    assert renewed >= 2 * count
    assert world.without_values >= renewed * (SITES - 1)


@given(PLANS, st.integers(0, SITES - 1), st.integers(1, 40))
def test_a_gap_is_closed_by_the_next_link(plan: Plan, at: int, late: int) -> None:
    """Who slept, with bytes on their way to it, may lack a value; the link after brings it."""
    world = World(attrs.evolve(plan, ring=False))
    for link in range(SITES - 1):
        world._mend(link)
    sleeper = world.sites[at]
    sleeper.asleep = True
    world.bench.pass_time(late)
    sleeper.asleep = False
    world.bench.settle()
    for link, wire in list(world.links.items()):
        failures = {wire.failure(site) for site in wire.ends} - {None}
        if failures:
            assert {type(failure) for failure in failures} == {CausalGap}, failures
            world._cut(link)
            world._mend(link)
    world.finish()
