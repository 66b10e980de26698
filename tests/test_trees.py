"""Trees of heartbeats where something goes wrong: whoever can be reached is not starved.

Each case was found by an attack on links that prune and graft; docs/protocol.md, section 6.
"""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from manifest.crdt import Delta, Entry, Stamp, VersionVector
from manifest.frames import frame
from manifest.messages import Gossip, Lease
from manifest.packing import GossipPacker
from manifest.wire import encode_message
from tests.wired import Bench, Site, Wire, record, ring


@pytest.fixture
def bench() -> Bench:
    """Give a bench."""
    return Bench()


def heartbeat_of(site: Site) -> Gossip:
    """Return what tells that a site is alive, as of now."""
    time = site.replica.map.reflected(site.node)
    lease = site.replica.lease_of(site.node)
    assert lease is not None
    return Gossip(Delta(until=VersionVector({site.node: time})), (lease,))


def tick(bench: Bench, seconds: int) -> None:
    """Let time pass in which nobody speaks."""
    for _ in range(seconds):
        bench.now += 1
        for site in bench.sites:
            site.replica.pulse(1)


def two_ways(bench: Bench, **options: float) -> tuple[list[Site], dict[str, Wire]]:
    """Return sites x, b, c and d, of which x reaches d by way of b and by way of c."""
    x, b, c, d = sites = bench.open_all(4, **options)
    # Their phases are apart, as they are between processes.
    for site, phase in zip(sites, (2, 0, 1, 4), strict=True):
        site.beaten -= phase
    ends = {"xb": (x, b), "xc": (x, c), "bd": (b, d), "cd": (c, d)}
    wires = {name: bench.connect(*pair) for name, pair in ends.items()}
    bench.settle()
    return sites, wires


def spared(bench: Bench) -> tuple[Wire, Site, Site, Site]:
    """Return a wire, its two ends, and who has spoken since the first spares the other that."""
    one, other = bench.open_all(2)
    wire = bench.connect(one, other)
    third = bench.open()
    one.replica.accept(heartbeat_of(third))
    bench.settle()
    wire.protocol(one)._pruned[third.node] = None
    third.heartbeat()
    one.replica.accept(heartbeat_of(third))
    bench.settle()
    assert other.replica.map.reflected(third.node) < third.replica.map.reflected(third.node)
    return wire, one, other, third


def test_who_is_not_believed_is_not_pruned(bench: Bench) -> None:
    """Whose lease has run out is heard of twice, and of that there is nobody to ask later."""
    x, b, c, d = bench.open_all(4)
    key = x.register()
    first = bench.connect(x, c)
    bench.connect(c, b)
    ways = bench.connect(b, d), bench.connect(c, d)
    bench.pass_time(12)
    bench.cut(*ways)
    bench.pass_time(6)
    bench.cut(first)
    bench.pass_time(30)
    again = bench.connect(b, d), bench.connect(c, d)
    for wire in again:
        wire.carry_hellos()
    bench.settle()
    bench.pass_time(12)
    bench.cut(again[0])
    bench.connect(x, c)
    bench.pass_time(60)
    assert key in c.replica.view.services
    assert key in d.replica.view.services


def test_a_late_duplicate_of_what_is_overdue_prunes_nothing(bench: Bench) -> None:
    """A slow relay brings what is old when its way is the only one left."""
    (x, b, c, d), wires = two_ways(bench)
    key = x.register()
    bench.settle()
    bench.pass_time(1)
    tick(bench, 4)
    x.heartbeat()
    wires["xc"].send(x)
    wires["xc"].deliver(c)
    wires["cd"].send(c)  # and that is under way for long
    for wire, site in ((wires["xb"], x), (wires["bd"], b)):
        wire.send(site)
        wire.deliver(wire.to(site))
    bench.cut(wires["xb"])
    tick(bench, 5)
    for site in (c, d, b):
        site.heartbeat()
    tick(bench, 3)
    late = d.replica.leases.overdue()
    assert x.node in late
    bench.ask_for(d, late)
    bench.settle()
    x.heartbeat()
    bench.settle()
    bench.pass_time(30)
    assert key in c.replica.view.services
    assert key in d.replica.view.services


def test_a_prune_that_both_ends_made_is_taken_back_aloud(bench: Bench) -> None:
    """One end has said so, and the other, that had not yet, misses the node."""
    one, other, third = bench.open_all(3)
    wire = bench.connect(one, other)
    one.replica.accept(heartbeat_of(third))
    bench.settle()
    tick(bench, 5)
    third.heartbeat()
    for site in (one, other):
        site.replica.accept(heartbeat_of(third))
    for act in (wire.send, wire.deliver):
        act(one)
        act(other)
    one.heartbeat()
    wire.send(one)
    wire.deliver(other)
    tick(bench, 8)
    bench.ask_for(other, other.replica.leases.overdue())
    bench.settle()
    third.heartbeat()
    one.replica.accept(heartbeat_of(third))
    bench.settle()
    assert other.replica.map.reflected(third.node) == third.replica.map.reflected(third.node)


def test_a_prune_of_what_is_overdue_is_answered_by_a_graft(bench: Bench) -> None:
    """The peer hears it elsewhere, and this side does not any more."""
    one, other, third = bench.open_all(3)
    wire = bench.connect(one, other)
    for site in (one, other):
        site.replica.accept(heartbeat_of(third))
    bench.settle()
    tick(bench, 9)
    assert third.node in one.replica.leases.overdue()
    protocol = wire.protocol(one)
    protocol._shape_tree(Gossip(Delta(), prunes=(third.node, "0" * 24)), {})
    assert protocol._grafts == {third.node: None}
    assert protocol._pruned == {}


def test_both_ends_forget_a_prune_at_once(bench: Bench) -> None:
    """What one end knows of the other goes stale in its own time, and decides nothing here."""
    (x, *_), wires = two_ways(bench, retention=100.0, max_clock_skew=10.0)
    bench.pass_time(300)
    for name in ("bd", "cd"):
        one, other = (x.node in end.protocol._pruned for end in wires[name].ends.values())
        assert one == other


def test_prunes_of_who_is_forgotten_are_forgotten(bench: Bench) -> None:
    """What is kept of a node on a link goes with the node."""
    one, other, third = sites = bench.open_all(3, retention=100.0, max_clock_skew=10.0)
    wires = ring(bench, *sites)
    bench.pass_time(60)
    bench.crash(third)
    wires[0].protocol(one)._pruned[third.node] = None
    bench.pass_time(200)
    assert wires[0].protocol(one)._pruned == {}
    assert other.replica.map.reflected(third.node) == 0


def test_who_is_asked_in_vain_asks_on(bench: Bench) -> None:
    """In a chain the question goes to the end at once, and is not asked twice."""
    sites = bench.open_all(4)
    wires = [bench.connect(one, other) for one, other in pairwise(sites)]
    bench.settle()
    stranger = bench.open()
    for site in sites:
        site.replica.accept(heartbeat_of(stranger))
    bench.settle()
    tick(bench, 8)
    before = [len(wire.said(site, Gossip)) for wire, site in zip(wires, sites, strict=False)]
    for _ in range(2):
        bench.ask_for(sites[0], sites[0].replica.leases.miss([stranger.node, sites[0].node]))
        bench.settle()
        for wire, site, since in zip(wires, sites, before, strict=False):
            grafts = [node for each in wire.said(site, Gossip)[since:] for node in each.grafts]
            assert grafts == [stranger.node]


def test_what_was_asked_for_waits_for_room(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A heartbeat that was missed and does not fit a frame is in the next."""
    wire, one, other, third = spared(bench)
    add_mark, full = GossipPacker.add_mark, iter([True])

    def once_full(
        packer: GossipPacker, node: str, since: int, until: int, lease: Lease | None
    ) -> bool:
        return not next(full, False) and add_mark(packer, node, since, until, lease)

    monkeypatch.setattr(GossipPacker, "add_mark", once_full)
    wire.push(one, encode_message(Gossip(Delta(), grafts=(third.node,))))
    assert not wire.send(one)
    assert wire.send(one)
    wire.deliver(other)
    assert other.replica.map.reflected(third.node) == third.replica.map.reflected(third.node)


def test_what_was_passed_over_is_told_with_a_graft(bench: Bench) -> None:
    """Who asks for heartbeats that it spared the peer sends the peer what it has of them."""
    wire, one, other, third = spared(bench)
    wire.protocol(one).graft((third.node,))
    assert wire.send(one)
    wire.deliver(other)
    assert other.replica.map.reflected(third.node) == third.replica.map.reflected(third.node)


def test_only_who_lacks_a_heartbeat_and_is_not_spared_it_has_it_in_time(bench: Bench) -> None:
    """A link has no deadline for what its peer knows by now, or hears elsewhere."""
    one, other = bench.open_all(2)
    wire = bench.connect(one, other)
    bench.settle()
    third, protocol = bench.open(), wire.protocol(one)
    within = {third.node: 2.0}
    one.replica.accept(heartbeat_of(third))
    assert protocol.may_wait(within, math.inf) == 2.0
    assert protocol.may_wait(within, 1.0) == 1.0
    assert wire.send(one)
    assert protocol.may_wait(within, math.inf) == math.inf
    third.heartbeat()
    one.replica.accept(heartbeat_of(third))
    assert protocol.may_wait(within, math.inf) == 2.0
    wire.push(one, encode_message(Gossip(Delta(), prunes=(third.node,))))
    assert protocol.may_wait(within, math.inf) == math.inf


def test_nobody_is_more_patient_than_half_of_what_is_left(bench: Bench) -> None:
    """Whatever a lease says of patience, it is passed on while it helps."""
    (one,) = bench.open_all(1)
    lease = Lease("A" * 24, 1, 9_000, patience=2**63 - 1)
    # Four fifths of what may be spared, and that is half of what is left.
    assert one.replica.leases.grant(lease) == {lease.node: 3.6}


def test_a_relay_forwards_the_patience_that_it_has_not_spent(bench: Bench) -> None:
    """What it waited is off the patience, to the millisecond, and nothing else is."""
    (one,) = bench.open_all(1)
    lease = Lease("A" * 24, 1, 9_000, patience=2_000)
    one.replica.leases.grant(lease)
    bench.now += 0.5
    assert one.replica.leases.remaining(lease.node) == lease._replace(
        remaining=8_500, patience=1_500
    )
    tick(bench, 2)
    assert one.replica.leases.remaining(lease.node) == lease._replace(remaining=6_500, patience=0)


def pressed(wire: Wire, site: Site) -> bool:
    """Tell whether a site has something for a peer that does not wait."""
    return wire.protocol(site).is_pressed


def test_a_write_hurries_along_the_tree_and_waits_beside_it(bench: Bench) -> None:
    """Where the heartbeats of its writer are pruned it goes with the next message."""
    (x, b, c, d), wires = two_ways(bench)
    bench.pass_time(12)
    key = x.register()
    for name, relay in (("xb", b), ("xc", c)):
        assert pressed(wires[name], x)
        wires[name].send(x)
        wires[name].deliver(relay)
        # Who has just said it need not be told.
        assert not pressed(wires[name], relay)
    ways = {name: pressed(wires[name], relay) for name, relay in (("bd", b), ("cd", c))}
    assert sorted(ways.values()) == [False, True]
    (tree,) = [wires[name] for name, hurries in ways.items() if hurries]
    (spare,) = [wires[name] for name, hurries in ways.items() if not hurries]
    tree.carry()
    assert key in d.replica.view.services
    # It waits at both ends, and the one that speaks first spares the other one.
    relay = spare.to(d)
    assert not pressed(spare, relay)
    d.heartbeat()
    spare.carry()
    assert [len(said.delta.entries) for said in spare.said(d, Gossip)][-1] == 1
    relay.heartbeat()
    spare.carry()
    assert [len(said.delta.entries) for said in spare.said(relay, Gossip)][-1] == 0
    bench.converge()


def test_what_hurries_takes_along_what_waits(bench: Bench) -> None:
    """One message has both, in the order in which they came."""
    (x, b, c, d), wires = two_ways(bench)
    bench.pass_time(12)
    x.register()
    for name, relay in (("xb", b), ("xc", c)):
        wires[name].send(x)
        wires[name].deliver(relay)
    (waits,) = [relay for name, relay in (("bd", b), ("cd", c)) if not pressed(wires[name], relay)]
    wire = wires["bd"] if waits is b else wires["cd"]
    waits.register()
    assert pressed(wire, waits)
    wire.carry()
    assert [len(said.delta.entries) for said in wire.said(waits, Gossip)][-1] == 2
    assert not pressed(wire, waits)
    assert d.replica.map.reflected(x.node) == x.replica.map.reflected(x.node)
    bench.settle()
    bench.converge()


def test_what_does_not_wait_is_not_held_back_by_what_follows(bench: Bench) -> None:
    """A node that is believed from now on and its next heartbeat may arrive in one read."""
    one, other, third = bench.open_all(3)
    wire = bench.connect(one, other)
    wire.carry_hellos()
    payloads: list[bytes] = []
    for _ in range(2):
        third.heartbeat()
        payloads.append(frame(encode_message(heartbeat_of(third))))
    protocol = wire.protocol(one)
    protocol.take_news()
    protocol.receive_data(b"".join(payloads))
    assert protocol.take_news() == (False, {third.node: 0.0})
    assert protocol.take_news() == (False, {})


def test_what_a_peer_sent_in_part_is_no_news_to_it(bench: Bench) -> None:
    """It has not said yet up to where that goes, and has it all the same."""
    one, other, third = bench.open_all(3)
    wire = bench.connect(one, other)
    bench.settle()
    entry = Entry(f"{third.node}.1", Stamp(third.replica.clock.tick(), third.node), record())
    wire.push(one, encode_message(Gossip(Delta((entry,)))))
    assert entry.key in one.replica.map
    assert not pressed(wire, one)


def test_many_stretches_of_what_came_by_are_told_apart(bench: Bench) -> None:
    """What lies between two things that a peer has sent is news to it."""
    one, other = bench.open_all(2)
    wire = bench.connect(one, other)
    bench.settle()
    other.register()
    wire.send(other)
    wire.deliver(one)
    one.replica.write("between", record())
    other.register()
    wire.send(other)
    wire.deliver(one)
    assert pressed(wire, one)
    bench.settle()
    assert not pressed(wire, one)
    bench.converge()
