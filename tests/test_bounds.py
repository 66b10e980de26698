"""How much a registry holds: what an owner is told, and what a peer is refused for."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from trio.testing import MockClock

from manifest import LimitReached, open_manifest
from manifest.crdt import TOMBSTONE, Delta, Entry, Stamp, VersionVector, from_milliseconds
from manifest.errors import LinkRefused
from manifest.messages import Gossip, Lease
from manifest.options import Limits
from manifest.records import Record, key_of
from manifest.refusals import Refusal
from manifest.testing import SimulatedNetwork

from .wired import START, Bench, Site, check_equal, record

OTHER = "0123456789ABCDEF01234567"


@pytest.fixture
def bench() -> Bench:
    """Give a bench."""
    return Bench()


def at(milliseconds: int) -> int:
    """Return the hybrid time so long after a bench was set up."""
    return from_milliseconds(START + milliseconds)


def node(number: int) -> str:
    """Return the id of one of many nodes that nobody has heard of."""
    return f"{0xABC0000000 + number:024X}"


def put(key: str, milliseconds: int = 0, owner: str = OTHER) -> Entry[str, Record]:
    """Return an entry that registers something."""
    return Entry(key, Stamp(at(milliseconds), owner), record())


def free(key: str, milliseconds: int = 0, owner: str = OTHER) -> Entry[str, Record]:
    """Return an entry that frees something."""
    return Entry(key, Stamp(at(milliseconds), owner), TOMBSTONE)


def take(site: Site, entries: Iterable[Entry[str, Record]]) -> None:
    """Have a site accept entries."""
    site.replica.accept(Gossip(Delta(tuple(entries))))


def refused(site: Site, gossip: Gossip) -> tuple[Refusal, str]:
    """Return how a message is refused, of which nothing is joined."""
    position = site.replica.map.position
    with pytest.raises(LinkRefused) as caught:
        site.replica.accept(gossip)
    assert site.replica.map.position == position
    return caught.value.refusal, str(caught.value)


def of(*entries: Entry[str, Record]) -> Gossip:
    """Return a message with these entries."""
    return Gossip(Delta(entries))


# What an owner is told


async def test_an_owner_has_so_many_records_and_no_more(autojump_clock: MockClock) -> None:
    """One too many is `LimitReached`, which says what to do; updates and others' frees go on."""
    environment = SimulatedNetwork().host("10.0.0.1").environment()
    async with open_manifest(environment=environment, limits=Limits(owner_records=2)) as m:
        one = m.register("web", port=1)
        m.register("web", port=2, id="two")
        with pytest.raises(LimitReached, match=r"has 2 services, and owner_records is 2: free"):
            m.register("web", port=3)
        m.register("web", port=4, id=one.id)
        m.register("web", port=5, id="two")
        assert sorted(service.port or 0 for service in m.services().values()) == [4, 5]
        m.free(one)
        m.register("web", port=6)


async def test_what_waits_for_an_address_counts_as_well(autojump_clock: MockClock) -> None:
    """It will be registered without being asked again, so it is held to the limit now."""
    environment = SimulatedNetwork().host("10.0.0.1").environment()
    async with open_manifest(environment=environment, limits=Limits(owner_records=2)) as m:
        waits = m.register("web", port=1, address=None)
        m.register("web", port=2, address="10.0.0.1")
        for address in (None, "10.0.0.1"):
            with pytest.raises(LimitReached, match="has 2 services"):
                m.register("web", port=3, address=address)
        m.register("web", port=4, address=None, id=waits.id)
        m.free(id=waits.id)
        m.register("web", port=5, address="10.0.0.1")


async def test_an_owner_has_so_many_tombstones_and_no_more(autojump_clock: MockClock) -> None:
    """Too many are `LimitReached` at the next registration; freeing itself always goes."""
    environment = SimulatedNetwork().host("10.0.0.1").environment()
    async with open_manifest(environment=environment, limits=Limits(owner_tombstones=2)) as m:
        services = [m.register("web", port=1 + number) for number in range(4)]
        for service in services[:3]:
            m.free(service)
        with pytest.raises(LimitReached, match=r"has freed 3 .*, and owner_tombstones is 2: reg"):
            m.register("web", port=9)
        m.register("web", port=10, id=services[3].id)
        assert m.free(services[3]) is not None


def test_tombstones_that_were_collected_make_room(bench: Bench) -> None:
    """A tombstone counts for as long as it is kept."""
    site = bench.open(heartbeat_interval=1, registration_lifetime=1, retention=20)
    for _ in range(10):
        site.free(site.register())
    assert site.replica.map.share(site.node) == (0, 10, 0)
    bench.pass_time(30)
    assert site.replica.map.share(site.node) == (0, 0, 0)


async def test_an_owner_has_so_many_persistent_records(autojump_clock: MockClock) -> None:
    """They and their tombstones are kept for ever, so freeing one makes no room, its id does."""
    environment = SimulatedNetwork().host("10.0.0.1").environment()
    async with open_manifest(environment=environment, limits=Limits(owner_persistent=2)) as m:
        m.register("db", port=1, id="one", persistent=True)
        m.register("db", port=2, id="two", persistent=True)
        m.free(id="two")
        with pytest.raises(LimitReached, match=r"written 2 persistent services, .* owner_persist"):
            m.register("db", port=3, id="three", persistent=True)
        m.register("db", port=4)
        m.register("db", port=1, id="one", persistent=True)


async def test_a_registry_has_so_many_entries_and_no_more(autojump_clock: MockClock) -> None:
    """All owners' records and tombstones together; what is there already can be written anew."""
    environment = SimulatedNetwork().host("10.0.0.1").environment()
    async with open_manifest(environment=environment, limits=Limits(entries=2)) as m:
        m.free(m.register("web", port=1))
        m.register("web", port=2, id="two")
        with pytest.raises(
            LimitReached, match=r"has 2 entries, .* ids .* used before, free .*entries="
        ):
            m.register("web", port=3)
        m.register("web", port=4, id="two")


# What a peer is refused for


@pytest.mark.parametrize("how", ["entries", "marks", "leases"])
def test_a_peer_brings_so_many_owners_and_no_more(bench: Bench, how: str) -> None:
    """Nodes count whether they wrote, are marked, or have leases; known ones count once."""
    site = bench.open(limits=Limits(owners=5))

    def bring(*numbers: int) -> Gossip:
        nodes = [node(number) for number in numbers]
        if how == "entries":
            return of(*[put(f"k-{each}", owner=each) for each in nodes])
        if how == "marks":
            return Gossip(Delta(until=VersionVector(dict.fromkeys(nodes, at(0)))))
        return Gossip(Delta(), tuple(Lease(each, at(0), 1000) for each in nodes))

    # This node itself is one of them, but for entries: it has written none.
    own = how != "entries"
    site.replica.accept(bring(*range(5 - own)))
    refusal, words = refused(site, bring(0, 7))
    assert refusal is Refusal.OWNERS
    assert "brings 1 nodes beside the 5 that are known, and owners is 5" in words
    site.replica.accept(bring(*range(5 - own)))


def test_nodes_under_the_horizon_are_no_owners(bench: Bench) -> None:
    """Marks and leases of the long dead, from a peer that collects later, are not counted."""
    site = bench.open(limits=Limits(owners=1))
    dead = {node(number): at(-3_700_000) for number in range(10)}
    site.replica.accept(
        Gossip(
            Delta(until=VersionVector(dead), horizon=at(-3_700_000)),
            tuple(Lease(each, time, 1000) for each, time in dead.items()),
        )
    )
    assert site.replica.map.nodes == {site.node}


def test_a_peer_may_bring_twice_what_an_owner_may_have(bench: Bench) -> None:
    """A record may overtake the free of another: that is room enough, and more is too much."""
    site = bench.open(limits=Limits(owner_records=2))
    take(site, [put(f"k{number}") for number in range(4)])
    refusal, words = refused(site, of(put("k4")))
    assert refusal is Refusal.OWNER_RECORDS
    assert f"{OTHER} would have 5, and a peer's may have twice owner_records, 4" in words
    take(site, [put("theirs", owner=node(1))])
    # What it writes anew, and what takes the place of what it frees, is not one more.
    take(site, [put("k0", 1), put("k4"), free("k1", 1)])
    assert site.replica.map.share(OTHER) == (4, 1, 0)
    # Nor is what has been beaten, or lies under the horizon.
    site.replica.map.prune(at(-1))
    take(site, [put("k0", -1), put("k5", -5), put("k0", 1)])
    assert site.replica.map.share(OTHER) == (4, 1, 0)


def test_a_peer_may_bring_so_many_tombstones(bench: Bench) -> None:
    """Twice what an owner may have, whether or not there was anything to free."""
    site = bench.open(limits=Limits(owner_tombstones=1))
    take(site, [put("k0"), free("k1"), free("k2")])
    assert refused(site, of(free("k3")))[0] is Refusal.OWNER_TOMBSTONES
    assert refused(site, of(free("k0", 1)))[0] is Refusal.OWNER_TOMBSTONES
    take(site, [put("k1", 1), free("k0", 1)])
    assert site.replica.map.share(OTHER) == (1, 2, 0)


def test_a_peer_may_bring_so_many_persistent_records(bench: Bench) -> None:
    """They are never collected, so there are fewer of them, tombstones included."""
    site = bench.open(limits=Limits(owner_persistent=1))
    keys = [key_of(f"k{number}", persistent=True) for number in range(3)]
    take(site, [put(keys[0]), free(keys[1]), put("k")])
    assert refused(site, of(put(keys[2])))[0] is Refusal.OWNER_PERSISTENT
    take(site, [free(keys[0], 1), put("k2")])
    # Old stamps are no way around it: the horizon does not count for these.
    assert refused(site, of(put(keys[2], -9_000_000)))[0] is Refusal.OWNER_PERSISTENT


def test_a_peer_may_bring_so_many_entries(bench: Bench) -> None:
    """All owners together; what is there already does not count again."""
    site = bench.open(limits=Limits(entries=3))
    take(site, [put("k0"), free("k1"), put("k2", owner=node(1))])
    refusal, words = refused(site, of(put("k3", owner=node(2))))
    assert refusal is Refusal.ENTRIES
    assert "there would be 4 entries, tombstones included, and entries is 3" in words
    take(site, [put("k0", 1), put("k1", 1), put("k2", 1)])


def test_what_is_too_much_is_passed_on_to_nobody(bench: Bench) -> None:
    """The first that it is sent to drops the link; its other links do not hear of it."""
    hub, other, liar = bench.open_all(3, limits=Limits(owners=4))
    good = bench.connect(hub, other)
    bad = bench.connect(hub, liar)
    bench.settle()
    for number in range(9):
        liar.replica.map.advance(node(number), at(0))
    liar.heartbeat()
    bench.settle()
    failure = bad.failure(hub)
    assert isinstance(failure, LinkRefused)
    assert failure.refusal is Refusal.OWNERS
    hub.register()
    bench.settle()
    assert good.failure(hub) is good.failure(other) is None
    check_equal([hub, other])
    assert other.replica.map.nodes == {hub.node, other.node, liar.node}


def test_an_owner_within_its_limits_is_refused_nowhere(bench: Bench) -> None:
    """Whoever frees and registers at its limit, cut off or not, is within those of its peers."""
    limits = Limits(owner_records=20, owner_tombstones=40, record_bytes=256, frame_bytes=1024)
    one, two, three = bench.open_all(3, limits=limits)
    wires = [bench.connect(one, two), bench.connect(two, three)]
    keys = [one.register() for _ in range(20)]
    bench.settle()
    bench.cut(wires[0])
    for key in keys:
        one.free(key)
    for _ in range(20):
        one.register()
    wires[0] = bench.connect(one, two)
    bench.settle(100)
    assert not any(wire.failure(site) for wire in wires for site in wire.ends)
    check_equal([one, two, three])
