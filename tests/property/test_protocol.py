"""What must hold of linked replicas whatever happens: drawn plans on a bench with three of them.

A plan is a list of steps: writes, frees, takeovers and leaves, links that are made, carry some
bytes and are cut at any of them, time that passes, processes that stop or start anew. The clocks
of the three are apart by up to what is allowed, the retention is short, frames are the smallest.
After every step the bench holds each replica to what it has promised; at the end, connected again,
all must be of one mind, and of the right one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st

from manifest.crdt import CausalGap, Entry
from manifest.errors import LinkRefused
from manifest.messages import Bye, Gossip, Hello, Synced
from manifest.records import Record, id_of, is_persistent, key_of, owner_of
from tests.wired import Bench, Site, Wire, check_equal, record, tiny

SITES = 3
RETENTION = 8.0
STEP = 0.5
NAMES = ("a", "b", key_of("c", persistent=True), key_of("a", persistent=True))
"""Two shared names, and two persistent ids, of which one is shared as well."""
PIECES = (1, 5, 60, 300, 700, 1_000_000)
WAITS = (1, 2, 3, 9, 16, 20)
"""In steps of the clock: from a moment to more than the retention."""

Kind = Literal[
    "write", "register", "free", "heartbeat", "wait", "live", "connect", "cut", "send", "deliver",
    "exchange", "torn", "interrupted", "sleep", "wake", "crash", "leave", "return_late",
    "crowd", "overhear", "miss", "renew", "part",
]  # fmt: skip
KINDS: tuple[Kind, ...] = (
    "write", "write", "register", "register", "free", "free", "heartbeat", "wait", "wait", "live",
    "connect", "cut", "send", "send", "deliver", "deliver", "deliver", "exchange", "exchange",
    "torn", "interrupted", "sleep", "wake", "wake", "crash", "leave", "return_late",
)  # fmt: skip

ANYWAY = ("wait", "live", "connect", "cut", "deliver", "wake", "crash")
"""What happens whether or not the process of the site runs."""


@attrs.frozen
class Step:
    """One step of a plan: what happens at site `at`, with site `to` where there are two."""

    kind: Kind
    at: int
    to: int
    name: int
    n: int


@attrs.frozen
class Plan:
    """The clocks of the sites, how much each has to say from the start, and the steps."""

    offsets: tuple[int, ...]
    loads: tuple[int, ...]
    steps: tuple[Step, ...]


def plans(longest: int) -> st.SearchStrategy[Plan]:
    """Draw a plan of at most so many steps."""
    steps = st.builds(
        lambda kind, at, other, name, n: Step(kind, at, (at + other) % SITES, name, n),
        st.sampled_from(KINDS),
        st.integers(0, SITES - 1),
        st.integers(1, SITES - 1),
        st.integers(0, len(NAMES) - 1),
        st.integers(0, 5),
    )
    return st.builds(
        Plan,
        st.sampled_from([(0, 0, 0), (-1000, 0, 1000), (1000, -1000, 0), (2000, 1000, 0)]),
        st.tuples(*[st.sampled_from((0, 2, 30, 60))] * SITES),
        st.lists(steps, min_size=longest // 2, max_size=longest).map(tuple),
    )


class World:
    """A bench with three sites, and what their owners may rely on."""

    def __init__(self, plan: Plan) -> None:
        self.bench = Bench(step=STEP)
        self.bench.now = 100.0
        self.offsets = plan.offsets
        self.sites = [self._open(index) for index in range(SITES)]
        self.living: dict[str, Site] = {}
        """Owner-bound ids that were registered and not freed, by a site that runs."""
        self.holds: dict[tuple[Site, str], None] = {}
        """Shared names of which a site does not know that it lost them."""
        for site, load in zip(self.sites, plan.loads, strict=True):
            for _ in range(load):
                self.living[site.register()] = site
        for step in plan.steps:
            if step.kind in ANYWAY or not self.sites[step.at].asleep:
                getattr(self, f"_{step.kind}")(step)
                self.check()

    def _open(self, index: int) -> Site:
        return self.bench.open(
            self.offsets[index],
            name=f"site-{index}",
            heartbeat_interval=1.0,
            registration_lifetime=1.0,
            retention=RETENTION,
            max_clock_skew=2.0,
            limits=tiny(),
        )

    # Steps at one site

    def _write(self, step: Step) -> None:
        site, key = self.sites[step.at], NAMES[step.name]
        site.register(key, record(n=len(self.bench.log)))
        if not is_persistent(key):
            self.holds[site, key] = None

    def _register(self, step: Step) -> None:
        site = self.sites[step.at]
        mine = [key for key, owner in self.living.items() if owner is site]
        if step.n % 2 and mine:
            site.register(mine[step.n % len(mine)], record(n=len(self.bench.log)))
        else:
            for _ in range(30 if step.n == 4 else 1):
                self.living[site.register()] = site

    def _free(self, step: Step) -> None:
        site, key = self.sites[step.at], NAMES[step.name]
        mine = [key for key, owner in self.living.items() if owner is site]
        if step.n % 2 and mine:
            key = mine[step.n % len(mine)]
            del self.living[key]
        elif not (site.replica.holds(key) or (is_persistent(key) and key in site.replica.map)):
            return
        self.holds.pop((site, key), None)
        site.free(key)
        assert key not in site.replica.map

    def _heartbeat(self, step: Step) -> None:
        self.sites[step.at].heartbeat()

    def _sleep(self, step: Step) -> None:
        self.sites[step.at].asleep = True

    def _wake(self, step: Step) -> None:
        self.sites[step.at].asleep = False

    def _crash(self, step: Step) -> None:
        self.bench.crash(self.sites[step.at])
        self._open_anew(step.at)

    def _leave(self, step: Step) -> None:
        site = self.sites[step.at]
        site.replica.leave()
        site.note()
        for wire in self._wires(step.at):
            while wire.carry():
                pass
        # Those who have heard it show nothing of it any more.
        for other in self.bench.sites:
            if other.replica.map.reflected(site.node) == site.replica.map.reflected(site.node):
                services = other.replica.view.services.values()
                assert not [s for s in services if s.owner == site.node and not s.persistent]
        self.bench.crash(site)
        self._open_anew(step.at)

    def _open_anew(self, index: int) -> None:
        gone = self.sites[index]
        self.living = {key: site for key, site in self.living.items() if site is not gone}
        self.holds = {held: None for held in self.holds if held[0] is not gone}
        self.bench.now += STEP
        self.sites[index] = self._open(index)

    # Steps of time

    def _wait(self, step: Step) -> None:
        self.bench.pass_time(WAITS[step.n] * STEP, quiet=True)

    def _live(self, step: Step) -> None:
        for _ in range(WAITS[step.n]):
            self.bench.pass_time(STEP)
            self.check()

    # Steps between two sites

    def _wires(self, at: int, to: int | None = None) -> list[Wire]:
        ends = {self.sites[at], self.sites[at if to is None else to]}
        return [wire for wire in self.bench.wires if ends <= wire.ends.keys()]

    def _connect(self, step: Step) -> Wire:
        wires = self._wires(step.at, step.to)
        self.bench.cut(*wires[1:])
        return self.bench.connect(self.sites[step.at], self.sites[step.to])

    def _cut(self, step: Step) -> None:
        self.bench.cut(*self._wires(step.at, step.to))

    def _send(self, step: Step) -> None:
        for wire in self._wires(step.at, step.to):
            wire.send(self.sites[step.at])

    def _deliver(self, step: Step) -> None:
        for wire in self._wires(step.at, step.to):
            wire.deliver(self.sites[step.to], PIECES[step.n])

    def _exchange(self, step: Step) -> None:
        if not self._wires(step.at, step.to):
            self._connect(step)
        for wire in self._wires(step.at, step.to):
            while wire.carry():
                pass

    def _torn(self, step: Step) -> None:
        """A new link on which one side sends all it has, and which is cut before it arrives."""
        wire = self._connect(step)
        wire.carry_hellos()
        while wire.send(self.sites[step.at]):
            pass
        wire.deliver(self.sites[step.to], wire.waiting(self.sites[step.to]) * (step.n + 1) // 7)
        self.bench.cut(wire)

    def _interrupted(self, step: Step) -> None:
        """Between two parts, one side writes, and hears what a third has to say."""
        wire = self._connect(step)
        wire.carry_hellos()
        wire.send(self.sites[step.at])
        self._write(step) if step.n % 2 else self._register(attrs.evolve(step, n=1))
        third = SITES - step.at - step.to
        self.sites[third].asleep = False
        self._exchange(Step("exchange", third, step.at, 0, 0))
        wire.send(self.sites[step.at])
        wire.deliver(self.sites[step.to])
        if step.n % 3:
            wire.carry()

    def _return_late(self, step: Step) -> None:
        """A site that nobody reaches for a retention comes back, perhaps after it has slept."""
        site, other, key = self.sites[step.at], self.sites[step.to], NAMES[step.name]
        self._write(step)
        self.bench.cut(*self._wires(step.at))
        site.asleep = bool(step.n % 2)
        other.asleep = False
        self._write(attrs.evolve(step, at=step.to))
        self.bench.pass_time(RETENTION * (1.25 if step.n < 4 else 0.75), quiet=True)
        if step.n:
            self._register(attrs.evolve(step, at=step.to, n=4))
            self._write(attrs.evolve(step, at=step.to))
        slept, site.asleep = site.asleep, False
        taken = slept and other.replica.holds(key)
        self._exchange(step)
        assert not taken or site.replica.map.entry(key) == other.replica.map.entry(key)
        assert not taken or other.replica.holds(key), "a takeover was not respected"

    # What holds at all times

    def check(self) -> None:
        """Fail where a promise is broken."""
        for site in self.bench.sites:
            site.note()
        self.bench.check_honest()
        for key, site in self.living.items():
            assert key in site.replica.view.services, "its owner has lost what it registered"
        for site, key in list(self.holds):
            entry = site.replica.map.entry(key)
            assert entry is not None, "a gap in what it holds"
            if entry.stamp.node != site.node:
                del self.holds[site, key]
            else:
                assert not entry.is_tombstone
        for wire in list(self.bench.wires):
            for end in wire.ends:
                failure = wire.failure(end)
                if isinstance(failure, CausalGap) and wire.delay(end) > RETENTION / 16:
                    # A renewal was under way for so long that the reader has collected what it
                    # renews. The link is made anew, as a manifest does.
                    self.bench.cut(wire)
                    self.bench.connect(*wire.ends)
                    break
                # The Hello was under way for so long that the clocks seem to be apart.
                assert failure is None or (
                    isinstance(failure, LinkRefused) and str(failure).startswith("clocks are")
                ), failure

    # What holds in the end

    def heal(self) -> None:
        """Connect all, let what is dead lapse, and fail unless all agree on what there is."""
        bench = self.bench
        bench.cut(*bench.wires)
        known = [entry for site in self.sites for _, entry in site.replica.map.journal()]
        written = len(bench.log)
        for site in self.sites:
            site.asleep = False
        for at, to in ((0, 1), (1, 2), (2, 0)):
            bench.connect(self.sites[at], self.sites[to])
            bench.settle()
            self.check()
        bench.pass_time(6 * STEP)
        bench.converge()
        self.check()
        assert {wire.failure(site) for wire in bench.wires for site in wire.ends} == {None}
        self._check_outcome([*known, *bench.log[written:]])
        self._check_quiet()

    def _check_outcome(self, entries: list[Entry[str, Record]]) -> None:
        """The last word on each key counts, if whoever said it still runs, or need not."""
        nodes = {site.node for site in self.sites}
        horizon = self.sites[0].replica.map.horizon
        last: dict[str, Entry[str, Record]] = {}
        for entry in entries:
            if entry.key not in last or entry.stamp > last[entry.key].stamp:
                last[entry.key] = entry
        live: dict[str, Entry[str, Record]] = {}
        for key, entry in last.items():
            lasting = is_persistent(key) or (
                entry.stamp.time > horizon and entry.stamp.node in nodes
            )
            rival = live.get(id_of(key))
            if lasting and not entry.is_tombstone and (rival is None or entry.stamp > rival.stamp):
                live[id_of(key)] = entry
        bound = {id for id in live if owner_of(id) is not None}
        assert bound == self.living.keys()
        for site in self.sites:
            services = site.replica.view.services
            assert services.keys() == live.keys()
            for id, service in services.items():
                value = live[id].value
                assert isinstance(value, Record)
                assert service.owner == live[id].stamp.node
                assert service._entry.value.data == value.data

    def _check_quiet(self) -> None:
        sent = [wire.traffic(site).entries_sent for wire in self.bench.wires for site in wire.ends]
        events = [len(site.events) for site in self.sites]
        for site in self.sites:
            site.heartbeat()
            self.bench.settle()
        assert sent == [
            wire.traffic(site).entries_sent for wire in self.bench.wires for site in wire.ends
        ], "a converged link carries entries"
        assert events == [len(site.events) for site in self.sites]

    def outlive(self) -> None:
        """Free everything, wait for the retention, and fail where anything is left of it."""
        for site in self.sites:
            site.replica.leave()
            site.note()
        self.living.clear()
        self.holds.clear()
        self.bench.pass_time(RETENTION + 3.0)
        self.bench.converge()
        for site in self.sites:
            left = [entry for _, entry in site.replica.map.journal()]
            assert all(is_persistent(entry.key) for entry in left)
            nodes = {each.node for each in self.sites} | {entry.stamp.node for entry in left}
            assert site.replica.map.context.keys() <= nodes
            assert site.replica.leases._held.keys() <= nodes
            assert not [s for s in site.replica.view.services.values() if not s.persistent]


@given(plans(24))
def test_linked_replicas_keep_their_promises_and_agree(plan: Plan) -> None:
    """At every step all are honest and no owner loses anything; connected again, all agree."""
    World(plan).heal()


@given(plans(10))
def test_nothing_is_left_of_what_was_freed(plan: Plan) -> None:
    """Once the retention has passed, only persistent records and their writers stay."""
    world = World(plan)
    world.heal()
    world.outlive()


@given(plans(12), st.integers(0, SITES - 1), st.lists(st.integers(1, 2000), min_size=1, max_size=8))
def test_pieces_make_no_difference(plan: Plan, at: int, pieces: list[int]) -> None:
    """However the bytes of a connection are cut into pieces, the same is heard and comes of it."""
    outcomes = []
    for sizes in ([1_000_000], pieces):
        world = World(plan)
        one, other = world.sites[at], world.sites[(at + 1) % SITES]
        one.asleep = other.asleep = False
        world.bench.cut(*world.bench.wires)
        wire = world.bench.connect(one, other)
        while wire.carry(*sizes):
            pass
        world.check()
        outcomes.append(
            [(dict(site.replica.map), site.ids, wire.heard(site)) for site in (one, other)]
        )
    assert outcomes[0] == outcomes[1]


# Every cut


@attrs.frozen
class Talk:
    """What two sites do before and while they are linked."""

    offsets: tuple[int, ...]
    before: tuple[Step, ...]
    steps: tuple[Step, ...]
    """Each is carried both ways before the next one is taken."""


def _at(at: int, kind: Kind, name: int = 0, n: int = 0) -> Step:
    return Step(kind, at, 1 - at, name, n)


@st.composite
def talks(draw: st.DrawFn) -> Talk:
    """Draw a session in which every kind of message and of row occurs, in either direction."""
    one, leaver = draw(st.integers(0, 1)), draw(st.integers(0, 1))
    name = draw(st.integers(0, 1))
    few = st.lists(
        st.builds(
            _at,
            st.integers(0, 1),
            st.sampled_from(("write", "register", "free")),
            st.integers(0, len(NAMES) - 1),
            st.sampled_from((0, 1, 2, 3, 5)),
        ),
        max_size=2,
    )
    return Talk(
        draw(st.sampled_from([(0, 0, 0), (-1000, 0, 1000), (1000, -1000, 0)])),
        (_at(one, "crowd"), _at(one, "write", name), *draw(few)),
        (
            *draw(few),
            _at(1 - one, "write", name),
            _at(1 - one, "free", name),
            # Both hear a third: they spare each other that, until one of them misses it.
            _at(one, "overhear"),
            _at(one, "overhear"),
            _at(one, "register", n=1),
            _at(1 - one, "register", n=1),
            _at(1 - one, "miss"),
            _at(one, "renew"),
            *draw(few),
            _at(leaver, "part"),
        ),
    )


class Session(World):
    """Two sites on one wire, which is cut when one of them has received so many bytes.

    A third site is heard by both, and hears neither: what they lack does not come round by it.
    """

    def __init__(self, talk: Talk, to: int, size: int = 1_000_000) -> None:
        super().__init__(Plan(talk.offsets, (1, 1, 1), ()))
        self.pair, self.third = self.sites[:2], self.sites[2]
        self.end = self.sites[to]
        self.left = size
        for step in talk.before:
            getattr(self, f"_{step.kind}")(step)
        self.wire = self.bench.connect(*self.pair)
        self.overheard = [self.bench.connect(self.third, site) for site in self.pair]
        for wire in self.overheard:
            wire.carry_hellos()
        self._carry()
        for step in talk.steps:
            if self.left:
                getattr(self, f"_{step.kind}")(step)
                self._carry()

    def _carry(self) -> None:
        """Carry what the two have to say, until there is no more, or no more is to arrive."""
        moved = True
        while moved and self.left:
            moved = False
            for site in self.pair:
                while self.wire.send(site):
                    moved = True
            for site in self.pair:
                if site is self.end:
                    size = min(self.left, self.wire.waiting(site))
                    self.left -= size
                    self._arrive(size)
                elif self.left:
                    self.wire.deliver(site)

    def _arrive(self, size: int) -> None:
        self.wire.deliver(self.end, size)

    def _crowd(self, step: Step) -> None:
        """Register more than a frame holds."""
        site = self.sites[step.at]
        for _ in range(5):
            self.living[site.register(value=record(text="x" * 180))] = site

    def _overhear(self, _: Step) -> None:
        self.bench.now += STEP
        self.third.heartbeat()
        for wire in self.overheard:
            while wire.send(self.third):
                pass
            wire.deliver(wire.to(self.third))

    def _miss(self, step: Step) -> None:
        self.wire.protocol(self.sites[step.at]).graft([self.third.node])

    def _renew(self, _: Step) -> None:
        """Let half the retention pass; heartbeats in between have renewals go without values."""
        self.bench.pass_time(RETENTION / 2 - 2 * STEP, quiet=True)
        self._carry()
        self.bench.pass_time(3 * STEP, quiet=True)

    def _part(self, step: Step) -> None:
        site = self.sites[step.at]
        self.living = {key: owner for key, owner in self.living.items() if owner is not site}
        self.holds = {held: None for held in self.holds if held[0] is not site}
        site.replica.leave()
        self._carry()
        self.wire.protocol(site).close("closed", "it leaves")

    def resume(self) -> None:
        """Cut the wire, connect the two anew, and fail unless they come to agree."""
        self.bench.cut(*self.bench.wires)
        wire = self.bench.connect(*self.pair)
        self.bench.settle()
        assert [wire.failure(site) for site in self.pair] == [None, None]
        check_equal(self.pair)
        self.check()

    def kinds(self) -> Iterator[object]:
        """Yield the kinds of messages and of their rows that were said on the wire."""
        for site in self.pair:
            for message in self.wire.said(site):
                yield type(message)
                if isinstance(message, Gossip):
                    rows = attrs.asdict(message, recurse=False)
                    yield from (name for name, held in rows.items() if held and name != "delta")
                    for entry in message.delta.entries:
                        yield type(entry.value)


class Slow(Session):
    """A session that is held to its promises after every byte that one of its ends receives."""

    def __init__(self, talk: Talk, to: int) -> None:
        self.whole = [0]
        """After how many bytes there is something else at that end than after one byte less."""
        super().__init__(talk, to)

    def _arrive(self, size: int) -> None:
        for _ in range(size):
            before = self._kept()
            self.wire.deliver(self.end, 1)
            self.bench.check_honest()
            partial, kept = self.wire.protocol(self.end).partial, self._kept()
            assert not partial or kept == before, "a part of a frame has been applied"
            if not partial:
                self.whole.append(self.wire.ends[self.end].arrived)
                self.check()

    def _kept(self) -> tuple[object, ...]:
        """Return what a cut leaves at that end, or what tells whether it is still the same."""
        site = self.end
        replica = site.replica
        return (
            replica.map.position,
            replica.map.horizon,
            replica.clock.latest,
            {node: (held.lease, held.deadline) for node, held in replica.leases._held.items()},
            tuple(replica._doubted),
            len(site.events),
        )


@given(talks(), st.integers(0, 2**16))
@settings(max_examples=settings().max_examples * 5 // 100)
def test_a_cut_at_any_byte_is_made_good(talk: Talk, within: int) -> None:
    """At every offset in each direction all is honest, and whoever is cut there resumes and agrees.

    A cut leaves what the replicas hold, which changes with the last byte of a frame and at no other
    offset: that is looked at after every byte. So one offset within each frame stands for the rest
    of them, and the session is taken up again there and at the end of each frame.
    """
    for to in (0, 1):
        slow = Slow(talk, to)
        assert {Hello, Synced, Gossip, Bye, Record, "leases", "prunes", "grafts", "renewals"} <= {
            *slow.kinds()
        }
        assert slow.whole[-1] == slow.wire.ends[slow.end].arrived
        for start, stop in zip(slow.whole, slow.whole[1:], strict=False):
            for size in (start + 1 + within % (stop - start - 1), stop):
                session = Session(talk, to, size)
                assert session.wire.ends[session.end].arrived == size
                session.check()
                session.resume()
