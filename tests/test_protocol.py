"""Links between replicas, without I/O: what they carry, what they never carry, what they refuse."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import attrs
import pytest
from msgspec.structs import replace

from manifest.codec import pack
from manifest.crdt import Delta, Entry, Stamp, VersionVector, from_milliseconds
from manifest.crdt.journal import Journal
from manifest.errors import CausalGap, ConflictingStamp, LinkError, LinkRefused, MalformedMessage
from manifest.events import Displaced, Freed, Registered
from manifest.frames import HEADER_BYTES
from manifest.messages import Bye, Gossip, Hello, Lease, Synced
from manifest.options import Limits
from manifest.packing import GossipPacker
from manifest.protocol import HELLO_BYTES, LinkProtocol, Traffic
from manifest.records import Record, key_of
from manifest.wire import PROTOCOL, encode_message
from tests.wired import START, Bench, Site, Wire, check_equal, record, ring, tiny

OTHER = "0123456789ABCDEF01234567"
DAY = 86_400_000


@pytest.fixture
def bench() -> Bench:
    """Give a bench."""
    return Bench()


def at(seconds: float) -> int:
    """Return the hybrid time so many seconds after a bench was set up."""
    return from_milliseconds(START + round(seconds * 1000))


def lossless(*sites: Site) -> None:
    """Fail where a site has told of a service that went."""
    for site in sites:
        assert not [event for event in site.events if isinstance(event, Freed)]


# The conversation


def test_both_sides_say_hello_at_once_and_nothing_else_before_they_have_heard_it(
    bench: Bench,
) -> None:
    """A Hello tells who speaks, how it is set up, where it is, and whom it has reflected."""
    one, other = bench.open(name="one", offset=250), bench.open()
    one.register()
    wire = bench.connect(one, other)
    assert wire.send(one)
    assert wire.send(other)
    assert not wire.send(one)
    assert wire.said(one) == [
        Hello(
            protocol=PROTOCOL,
            oldest=PROTOCOL,
            cluster="manifest",
            node=one.node,
            born=one.replica.born,
            clock=START + 250,
            retention=3_600_000,
            record_bytes=16 * 1024,
            frame_bytes=64 * 1024,
            lease=10_000,
            name="one",
            listening="here:3100",
            seen="192.0.2.1",
            context={one.node: one.replica.map.reflected(one.node)},
        )
    ]
    assert not wire.protocol(one).flushed
    wire.deliver(one)
    assert wire.protocol(one).peer == wire.said(other)[0]
    assert wire.protocol(other).peer is None


def test_each_gets_what_it_lacks_and_is_told_when_that_is_all(bench: Bench) -> None:
    """Two registries become one, and Synced is heard once on both sides, whatever comes after."""
    one, other = bench.open_all(2)
    mine, yours = one.register(), other.register()
    wire = bench.connect(one, other)
    assert not wire.protocol(one).synced
    bench.settle()
    assert one.ids == other.ids == sorted([mine, yours])
    for site in (one, other):
        assert wire.protocol(site).synced
        assert isinstance(wire.heard(site)[-1], Synced)
    one.register()
    other.free(yours)
    bench.pass_time(60)
    bench.converge()
    for site in (one, other):
        assert len(wire.heard(site, Synced)) == 1
    assert len(one.ids) == 2


def test_synced_is_said_even_where_there_is_nothing_to_send(bench: Bench) -> None:
    """A peer that has reflected everything gets Synced, and no gossip before it."""
    one, other = bench.open_all(2)
    one.register()
    bench.connect(one, other)
    bench.settle()
    again = bench.connect(one, other)
    bench.settle()
    assert [type(message) for message in again.heard(other)] == [Hello, Synced]
    assert [type(message) for message in again.heard(one)] == [Hello, Synced]
    assert again.protocol(one).flushed


def test_flushed_says_when_everything_has_been_handed_out(bench: Bench) -> None:
    """Not before both Hellos, not between parts, not after a write; after Bye, once that is out."""
    one, other = bench.open_all(2, limits=tiny())
    for _ in range(40):
        one.register()
    wire = bench.connect(one, other)
    protocol = wire.protocol(one)
    assert not protocol.flushed
    wire.send(one)
    wire.send(other)
    wire.deliver(one)
    sends = 0
    while not protocol.flushed:
        assert wire.send(one)
        sends += 1
    assert sends > 1
    assert not wire.send(one)
    one.register()
    assert not protocol.flushed
    protocol.close("closed", "the end")
    assert not protocol.flushed
    assert protocol.parting
    assert wire.send(one)
    assert protocol.flushed
    assert not wire.send(one)
    assert wire.said(one)[-1] == Bye(code="closed", reason="the end")


def test_bye_is_the_last_word_and_is_said_once(bench: Bench) -> None:
    """After it nothing is sent but it, and nothing that arrives is looked at."""
    one, other = bench.open_all(2)
    wire = bench.connect(one, other)
    bench.settle()
    one.register()
    for code in ("closed", "error"):
        wire.protocol(one).close(code, code)
    other.register()
    bench.settle()
    assert wire.heard(other)[-1] == Bye(code="closed", reason="closed")
    assert (one.ids, other.ids) == ([f"{one.node}.1"], [f"{other.node}.1"])
    received = wire.traffic(one).bytes_received
    assert wire.protocol(one).receive_data(b"no frame at all") == []
    assert wire.traffic(one).bytes_received == received + 15


@pytest.mark.parametrize(
    "reason", ["x" * 5000, "ß" * 5000, "\N{TANGERINE}" * 5000, "\udc80" * 9000]
)
def test_a_reason_is_cut_to_what_the_smallest_frame_holds(bench: Bench, reason: str) -> None:
    """However long, and in whatever language, the peer can read how it begins."""
    one, other = bench.open_all(2, limits=tiny())
    wire = bench.connect(one, other)
    bench.settle()
    wire.protocol(one).close("error", reason)
    bench.settle()
    (bye,) = wire.heard(other, Bye)
    assert 600 < len(bye.reason.encode()) <= 700
    assert reason.replace("\udc80", "?").startswith(bye.reason)


def test_traffic_adds_up(bench: Bench) -> None:
    """Bytes and entries are counted on both sides, redundant ones apart; sums are by field."""
    one, other = bench.open_all(2)
    one.register()
    wire = bench.connect(one, other)
    bench.settle()
    sent, received = wire.traffic(one), wire.traffic(other)
    assert (sent.entries_sent, received.entries_received, received.entries_redundant) == (1, 1, 0)
    assert sent.bytes_sent == received.bytes_received > 0
    assert sent.bytes_received == received.bytes_sent > 0
    assert Traffic(1, 2, 3, 4, 5) + Traffic(10, 20, 30, 40, 50) == Traffic(11, 22, 33, 44, 55)
    twice = other.replica.map.entry(f"{one.node}.1")
    assert twice is not None
    wire.push(other, encode_message(Gossip(Delta((twice,)))))
    assert (received.entries_received, received.entries_redundant) == (1, 1)


# Any fragmentation, any cut


def populated(bench: Bench) -> tuple[Site, Site]:
    """Open two sites that lack something of each other, and hold some of it in several versions."""
    one, other = bench.open_all(2, limits=tiny())
    one.register("shared", record(by="one"))
    early = one.register()
    bench.connect(one, other)
    bench.settle()
    bench.cut(*bench.wires)
    bench.now += 1
    one.free(early)
    other.register("shared", record(by="other"))
    for _ in range(5):
        one.register(value=record(text="x" * 150))
    other.register()
    one.register(key_of("kept", persistent=True))
    return one, other


def test_fragments_make_no_difference(bench: Bench) -> None:
    """Byte by byte the same messages arrive as in one piece, and `partial` says if more is due."""
    heard = []
    for size in (2**31, 1, 7):
        bench = Bench()
        one, other = populated(bench)
        wire = bench.connect(one, other)
        bench.settle(size)
        check_equal([one, other])
        assert not wire.protocol(one).partial
        heard.append([wire.heard(one), wire.heard(other)])
    assert heard[0] == heard[1] == heard[2]
    assert len([m for m in heard[0][1] if isinstance(m, Gossip)]) > 1
    one.heartbeat()
    assert wire.send(one)
    wire.deliver(other, 3)
    assert wire.protocol(other).partial


def run_until_cut(offset: int) -> tuple[Bench, int]:
    """Run a session of which `offset` bytes arrive, cut it, and return how many there would be."""
    bench = Bench()
    one, other = populated(bench)
    wire = bench.connect(one, other)
    left = offset
    moved = True
    while moved:
        moved = any([wire.send(one), wire.send(other)])
        for site in (one, other):
            before = wire.traffic(site).bytes_received
            while left and wire.deliver(site, left):
                left -= wire.traffic(site).bytes_received - before
                before = wire.traffic(site).bytes_received
                moved = True
    bench.check_honest()
    bench.cut(wire)
    return bench, offset - left


def test_a_session_may_be_cut_at_every_byte() -> None:
    """Nothing is half applied, nothing is lost, and the next session makes both sides equal."""
    _, total = run_until_cut(1_000_000)
    assert total > 1_500
    for offset in range(total):
        bench, reached = run_until_cut(offset)
        assert reached == offset
        one, other = bench.sites
        bench.connect(one, other)
        bench.settle()
        check_equal([one, other])
        assert len(one.ids) == 8
        assert one.replica.view.services["shared"].owner == other.node
        bench.check_honest()


LIMITS = [
    tiny(),
    Limits(record_bytes=256, frame_bytes=1500),
    Limits(record_bytes=4096, frame_bytes=8192),
    Limits(),
]


@pytest.mark.parametrize("limits", LIMITS, ids=lambda limits: str(limits.frame_bytes))
def test_ten_thousand_services_arrive_at_any_frame_limit(bench: Bench, limits: Limits) -> None:
    """A fresh node holds them all, exactly, and no frame is larger than was agreed."""
    owner, fresh = bench.open_all(2, limits=limits)
    for number in range(10_000):
        owner.replica.write(f"{owner.node}.{number}", record(f"web-{number % 100}@1.0.0"))
    wire = bench.connect(owner, fresh)
    wire.carry()
    largest = 0
    while data := wire.protocol(owner).bytes_to_send():
        largest = max(largest, len(data))
        wire.protocol(fresh).receive_data(data)
    assert largest <= limits.frame_bytes + len(encode_message(Synced())) + HEADER_BYTES
    assert wire.protocol(fresh).synced
    assert list(map(fresh.replica.map.entry, owner.replica.map)) == [
        entry for _, entry in owner.replica.map.journal()
    ]
    assert fresh.replica.map.reflected(owner.node) == owner.replica.map.reflected(owner.node)
    assert fresh.replica.view.services == owner.replica.view.services
    assert len(fresh.ids) == 10_000
    assert wire.traffic(fresh).entries_redundant == 0


@pytest.mark.parametrize("limits", LIMITS[::3], ids=lambda limits: str(limits.frame_bytes))
def test_ten_thousand_services_arrive_through_cuts(bench: Bench, limits: Limits) -> None:
    """Cut at random points and connected anew, it still ends with all of them, exactly."""
    chance = random.Random(7)
    owner, fresh = bench.open_all(2, limits=limits)
    for number in range(10_000):
        owner.replica.write(f"{owner.node}.{number}", record(f"web-{number % 100}@1.0.0"))
    cuts = 0
    while not fresh.replica.map.reflected(owner.node):
        mine, theirs = LinkProtocol(owner.replica), LinkProtocol(fresh.replica)
        mine.receive_data(theirs.bytes_to_send())
        left = chance.randrange(2_000) if cuts < 20 else 10_000_000
        cuts += 1
        while left and (data := mine.bytes_to_send()[:left]):
            left -= len(data)
            theirs.receive_data(data)
        # What a cut session brought is there, and claims nothing.
        assert (cuts > 20) == (fresh.replica.map.reflected(owner.node) > 0)
    assert len(fresh.replica.map) == 10_000
    assert fresh.replica.view.services == owner.replica.view.services
    bench.connect(owner, fresh)
    bench.converge()


# Honesty on the wire


def sizes(wire: Wire, site: Site) -> list[int]:
    """Return how many entries each gossip had that a site sent."""
    return [len(message.delta.entries) for message in wire.said(site, Gossip)]


def test_parts_claim_nothing(bench: Bench) -> None:
    """Context, horizon and leases come with the last part, when all entries are on their way."""
    one, other = bench.open_all(2, limits=tiny(), retention=100.0)
    bench.pass_time(60)
    for _ in range(150):
        one.register()
    assert one.replica.map.horizon
    wire = bench.connect(one, other)
    bench.settle()
    *parts, last = wire.said(one, Gossip)
    assert len(parts) > 3
    assert all(part == Gossip(Delta(part.delta.entries)) for part in parts)
    assert last.delta.horizon == one.replica.map.horizon
    assert dict(last.delta.until) == {one.node: one.replica.map.reflected(one.node)}
    assert [lease.node for lease in last.leases] == [one.node]
    assert sum(sizes(wire, one)) == 150


def test_what_is_written_between_parts_is_not_lost(bench: Bench) -> None:
    """New keys, keys that were sent, and keys that were not, all arrive in their last version."""
    one, other = bench.open_all(2, limits=tiny())
    keys = [one.register() for _ in range(60)]
    wire = bench.connect(one, other)
    wire.carry_hellos()
    wire.send(one)
    sent = [entry.key for entry in wire.said(one, Gossip)[0].delta.entries]
    assert 0 < len(sent) < 60
    one.register(keys[0], record(version="new"))
    one.register(keys[-1], record(version="new"))
    one.free(keys[1])
    late = one.register()
    bench.settle()
    check_equal([one, other])
    assert late in other.ids
    assert keys[1] not in other.ids
    assert other.replica.view.services[keys[0]].data == {"version": "new"}
    assert other.replica.view.services[keys[-1]].data == {"version": "new"}
    bench.check_honest()


def test_what_arrives_from_elsewhere_between_parts_is_not_claimed_early(bench: Bench) -> None:
    """A relay in the middle of its parts learns of new writes and contexts, and stays honest."""
    source, relay, end = bench.open_all(3, limits=tiny())
    for _ in range(60):
        relay.register()
    upstream = bench.connect(source, relay)
    bench.settle()
    downstream = bench.connect(relay, end)
    downstream.carry_hellos()
    downstream.send(relay)
    source.register()
    while upstream.carry():
        pass
    downstream.send(relay)
    downstream.deliver(end)
    bench.check_honest()
    assert end.replica.map.reflected(source.node) == 0
    bench.settle()
    bench.converge()
    bench.check_honest()


def test_nothing_that_arrived_goes_back_between_parts(bench: Bench) -> None:
    """What came in a part whose context is still to come is not sent to where it came from."""
    one, other = bench.open_all(2, limits=tiny())
    for _ in range(60):
        one.register("x" + one.node[0] + str(len(bench.log)))
    third = bench.open(limits=tiny())
    bench.connect(third, one)
    bench.settle()
    bench.cut(*bench.wires)
    third_keys = [third.register() for _ in range(3)]
    # What `other` gets of `one` is not of its making, so that only the stretches keep it back.
    wire = bench.connect(third, other)
    wire.carry_hellos()
    wire.send(third)
    wire.deliver(other)
    other.register()
    wire.send(other)
    assert sizes(wire, other) == [1]
    wire.deliver(third)
    bench.settle()
    assert wire.traffic(third).entries_redundant == 0
    assert wire.traffic(other).entries_sent == 1
    assert set(third_keys) < set(other.ids)


def test_what_arrived_and_was_overwritten_since_is_sent(bench: Bench) -> None:
    """An entry that moved out of the stretch which the peer's message made goes to that peer."""
    one, other, third = bench.open_all(3)
    for key in ("a", "b", "c"):
        one.register(key)
    wire = bench.connect(one, other)
    wire.carry_hellos()
    wire.send(one)
    wire.deliver(other)
    other.register("b", record(by="other"))
    third.replica.clock.observe(other.replica.clock.now())
    third.register("c", record(by="third"))
    bench.connect(third, other).carry()
    wire.send(other)
    wire.deliver(one)
    owners = {id: service.data.get("by") for id, service in other.replica.view.services.items()}
    assert owners == {"a": None, "b": "other", "c": None}
    bench.settle()
    assert one.replica.view.services["b"].data == {"by": "other"}
    assert one.replica.view.services["c"].data == {"by": "third"}
    bench.converge()


def test_stretches_of_several_messages_keep_apart_what_lies_between(bench: Bench) -> None:
    """What the peer sent is skipped, what came between two of its messages is not: to the entry."""
    one, other, third = bench.open_all(3, limits=tiny())
    for _ in range(30):
        one.register()
    third.register()
    third.register()
    wire, side = bench.connect(one, other), bench.connect(third, other)
    wire.carry_hellos()
    side.carry_hellos()
    wire.send(one)
    wire.deliver(other)
    side.send(third)
    side.deliver(other)
    wire.send(one)
    wire.deliver(other)
    between = other.register()
    wire.send(one)
    wire.deliver(other)
    while wire.send(other):
        pass
    sent = [entry.key for message in wire.said(other, Gossip) for entry in message.delta.entries]
    assert sent == [f"{third.node}.1", f"{third.node}.2", between]
    bench.settle()
    bench.converge()


def crowd(site: Site, count: int) -> list[str]:
    """Have a site reflect that many nodes, each with a lease, as if a peer had told it."""
    nodes = [f"{number:024X}" for number in range(1, count + 1)]
    until = VersionVector({node: at(0) + number for number, node in enumerate(nodes)})
    leases = tuple(Lease(node, until[node], 10_000) for node in nodes)
    site.replica.accept(Gossip(Delta(until=until), leases))
    return nodes


@pytest.mark.parametrize("limits", [tiny(), Limits()], ids=["smallest", "default"])
def test_contexts_that_do_not_fit_one_frame_are_continued(bench: Bench, limits: Limits) -> None:
    """Synced waits for the last of them, each frame keeps to the limit, no mark is left out."""
    one, other = bench.open_all(2, limits=limits)
    one.register()
    nodes = crowd(one, 3000)
    wire = bench.connect(one, other)
    bench.settle()
    messages = wire.said(one, Gossip)
    assert len(messages) > 3
    for message in messages:
        assert len(encode_message(message)) <= min(limits.frame_bytes, HELLO_BYTES)
    marks = [node for message in messages for node in message.delta.until]
    assert sorted(marks) == sorted([*nodes, one.node])
    assert isinstance(wire.said(one)[-1], Synced)
    assert len(wire.said(one, Synced)) == 1
    check_equal([one, other])
    assert set(other.replica.leases.believed) == {*nodes, one.node, other.node}


def test_an_entry_between_two_frames_of_contexts_goes_before_its_context(bench: Bench) -> None:
    """While contexts are continued, each further frame begins with the entries that are new."""
    source, relay, end = bench.open_all(3, limits=tiny())
    upstream = bench.connect(source, relay)
    bench.settle()
    crowd(relay, 200)
    downstream = bench.connect(relay, end)
    downstream.carry_hellos()
    for _ in range(3):
        downstream.send(relay)
    for _ in range(30):
        source.register()
    while upstream.carry():
        pass
    while downstream.send(relay):
        downstream.deliver(end)
        bench.check_honest()
    assert len(end.ids) == 30
    bench.settle()
    bench.converge()


def test_a_digest_is_cut_to_what_fits(bench: Bench) -> None:
    """With 3,000 contexts a Hello keeps to its limit, names the latest ones, and loses nothing."""
    words = {"name": "n" * 100, "cluster": "c" * 100}
    one, other = bench.open_all(2, **words)
    one.register()
    wire = bench.connect(one, other)
    bench.settle()
    bench.cut(wire)
    crowd(one, 3000)
    one.heartbeat()
    hello = LinkProtocol(one.replica, seen="s" * 255, listening="l" * 250).bytes_to_send()
    assert HELLO_BYTES * 3 / 4 < len(hello) <= HELLO_BYTES
    wire = bench.connect(one, other)
    bench.settle()
    (said,) = wire.said(one, Hello)
    assert 1500 < len(said.context) < 3000
    assert one.node in said.context
    check_equal([one, other])
    # `one` did not say how far it had reflected `other`, whose mark was old: it is told again.
    assert wire.said(other, Gossip)[0].delta.until[other.node]


def test_a_smaller_limit_of_the_peer_is_kept_to(bench: Bench) -> None:
    """Each side keeps to the smaller of both limits, and both get everything."""
    one = bench.open(limits=Limits(record_bytes=300, frame_bytes=1024))
    other = bench.open(limits=Limits(record_bytes=300, frame_bytes=1_000_000))
    for site in (one, other):
        for _ in range(100):
            site.register()
    wire = bench.connect(one, other)
    bench.settle()
    for site in (one, other):
        assert max(len(encode_message(m)) for m in wire.said(site, Gossip)) <= 1024
    assert len(one.ids) == len(other.ids) == 200


def test_the_largest_record_fits_the_smallest_frame(bench: Bench) -> None:
    """Whatever may be registered can be sent, the longest key, role and address included."""
    one, other = bench.open_all(
        2, limits=Limits(record_bytes=800, frame_bytes=1312), name="n" * 100
    )
    value = record("r" * 255).at("a" * 255)
    value = replace(value, data=pack({"k": "x" * (800 - value.size("k" * 255) - 3)}))
    assert value.size("k" * 255) == 800
    one.register("k" * 255, value)
    one.register(key_of("k" * 255, persistent=True), record())
    bench.connect(one, other)
    bench.settle()
    check_equal([one, other])
    assert len(other.replica.map) == 2


# Chains, rings, and what a converged link carries


def entries_sent(*wires: Wire) -> int:
    """Return how many entries have been sent over these wires, both ways."""
    return sum(wire.traffic(site).entries_sent for wire in wires for site in wire.ends)


def test_a_chain_carries_every_entry_once(bench: Bench) -> None:
    """Registrations and frees reach the far end at once, and nothing comes back."""
    sites = bench.open_all(4)
    wires = [bench.connect(one, other) for one, other in pairwise(sites)]
    bench.settle()
    keys = [site.register() for site in sites]
    bench.settle()
    assert all(site.ids == sorted(keys) for site in sites)
    sites[0].free(keys[0])
    bench.settle()
    assert all(site.reasons(keys[0]) == ["freed"] for site in sites)
    assert entries_sent(*wires) == 3 * 5
    for site in sites:
        site.heartbeat()
    bench.settle()
    for near, (wire, far) in enumerate(zip(wires, sites[1:], strict=True)):
        marks = {node for message in wire.said(far, Gossip) for node in message.delta.until}
        assert marks == {site.node for site in sites[near + 1 :]}, "a mark goes back"
    assert all(wire.traffic(site).entries_redundant == 0 for wire in wires for site in wire.ends)
    bench.converge()


def test_a_ring_sends_no_entry_back_to_its_source(bench: Bench) -> None:
    """Not even where one way round the ring is much faster than the direct one."""
    one, two, three = bench.open_all(3)
    first, second, third = ring(bench, one, two, three)
    bench.settle()
    key = one.register()
    # The direct way from one to three is stuck; three hears of it from two, and then speaks to one.
    for wire in (first, second):
        while wire.carry():
            pass
    assert three.ids == [key]
    third.send(three)
    bench.settle()
    assert third.traffic(three).entries_sent == 0
    assert first.traffic(two).entries_sent == 0
    assert one.replica.map.entry(key) is not None
    bench.converge()


def test_a_converged_ring_carries_no_entries(bench: Bench) -> None:
    """Heartbeats go round for minutes, and entries and redundant entries stay what they were."""
    sites = bench.open_all(3)
    wires = ring(bench, *sites)
    for site in sites:
        for _ in range(20):
            site.register()
    bench.settle()
    bench.converge()
    before = [attrs.evolve(wire.traffic(site)) for wire in wires for site in wire.ends]
    bench.pass_time(300)
    after = [wire.traffic(site) for wire in wires for site in wire.ends]
    for then, now in zip(before, after, strict=True):
        assert (then.entries_sent, then.entries_redundant) == (
            now.entries_sent,
            now.entries_redundant,
        )
        assert now.bytes_sent > then.bytes_sent
    for wire in wires:
        for site in wire.ends:
            assert not wire.protocol(site)._theirs, "stretches pile up"
    lossless(*sites)


def test_a_steady_link_costs_by_the_node(bench: Bench) -> None:
    """With a thousand registrations and default settings: less than 100 bytes a second each way."""
    one, other = bench.open_all(2)
    for _ in range(1000):
        one.register()
    wire = bench.connect(one, other)
    bench.settle()
    before = {site: wire.traffic(site).bytes_sent for site in (one, other)}
    bench.pass_time(300)
    for site in (one, other):
        assert (wire.traffic(site).bytes_sent - before[site]) / 300 < 50
    lossless(one, other)


@pytest.mark.parametrize("count, seconds", [(1_000, 60), (10_000, 600)])
def test_nothing_is_taken_for_gone_that_is_there(count: int, seconds: int) -> None:
    """Many services over a chain, heartbeats alone: not one false Freed at any of the nodes."""
    bench = Bench()
    sites = bench.open_all(3)
    for number in range(count):
        sites[0].replica.write(f"{sites[0].node}.{number}", record(f"web-{number % 100}@1.0.0"))
    for one, other in pairwise(sites):
        bench.connect(one, other)
    bench.settle()
    bench.pass_time(seconds)
    for site in sites:
        assert len(site.ids) == count
        assert len(site.events) == count
    lossless(*sites)


def test_two_links_between_one_pair_both_live(bench: Bench) -> None:
    """What one link has told is no news on the other, yet each speaks in every interval."""
    one, other = bench.open_all(2)
    wires = [bench.connect(one, other) for _ in range(2)]
    one.register()
    bench.settle()
    for _ in range(5):
        before = [len(wire.heard(site)) for wire in wires for site in wire.ends]
        # The whole echo of the first wire comes before the second gets its turn.
        bench.pass_time(5)
        after = [len(wire.heard(site)) for wire in wires for site in wire.ends]
        assert all(now > then for then, now in zip(before, after, strict=True))
    assert entries_sent(*wires) == 2
    bench.converge()


def test_keep_alive_goes_out_without_news_and_once(bench: Bench) -> None:
    """It is a gossip that says nothing but the horizon; the next one waits for the next call."""
    one, other = bench.open_all(2, retention=100.0)
    bench.pass_time(80)
    wire = bench.connect(one, other)
    bench.settle()
    said = len(wire.said(one))
    wire.protocol(one).keep_alive()
    assert wire.protocol(one).flushed
    bench.settle()
    (message,) = wire.said(one)[said:]
    assert message == Gossip(Delta(horizon=one.replica.map.horizon))
    assert len(wire.said(one, Synced)) == 1


def test_keep_alive_waits_for_the_last_of_several_parts(bench: Bench) -> None:
    """Parts tell the peer that this side lives, and what they claim nothing of follows them."""
    one, other = bench.open_all(2, limits=tiny())
    wire = bench.connect(one, other)
    bench.settle()
    for _ in range(30):
        one.register()
    wire.protocol(one).keep_alive()
    bench.settle()
    assert len(wire.said(one, Gossip)) > 2
    check_equal([one, other])


def test_what_a_link_knows_of_the_dead_is_forgotten_at_the_horizon(bench: Bench) -> None:
    """Known contexts do not pile up, and who comes back after that is told of in full."""
    one, other, third = bench.open_all(3, retention=100.0, max_clock_skew=10.0)
    wire, side = bench.connect(one, other), bench.connect(other, third)
    key = third.register()
    bench.settle()
    bench.cut(side)
    bench.pass_time(120)
    known = wire.protocol(other)._known
    assert third.node not in known
    assert third.node not in wire.protocol(one)._known
    assert known.keys() == {one.node, other.node}
    assert not wire.protocol(other)._theirs
    assert one.ids == []
    bench.connect(other, third)
    bench.settle()
    assert one.ids == [key]
    bench.converge()


# Refusals


def refused(wire: Wire, by: Site, error: type[Exception], *words: str, code: str = "error") -> None:
    """Fail unless a site dropped the wire with these words, and has told the peer."""
    failure = wire.failure(by)
    assert type(failure) is error
    (bye,) = wire.said(by, Bye)
    assert bye.code == code
    # Who has refused as well has its own reason, and looks at nothing any more.
    assert wire.heard(wire.to(by), Bye) == ([] if wire.failure(wire.to(by)) else [bye])
    for word in words:
        assert word in str(failure)
        assert word in bye.reason


def hello(site: Site, **changes: object) -> bytes:
    """Return a Hello of somebody who might be a peer of this site, but for some changes."""
    data = LinkProtocol(site.replica).bytes_to_send()
    replica = Bench().open().replica
    mine = {"node": OTHER, "born": replica.born, "context": {}}
    fields = {**_fields(data), **mine, **changes}
    return b"H" + pack(fields)


def _fields(data: bytes) -> dict[str, object]:
    bench = Bench()
    one, other = bench.open_all(2)
    wire = bench.connect(one, other)
    wire.send(one)
    (said,) = wire.said(one, Hello)
    return {**attrs.asdict(said), "listening": None, "seen": None, "name": None}


@pytest.mark.parametrize(
    "theirs, mine, words",
    [
        (
            {"cluster": "blue"},
            {"cluster": "green"},
            ("different clusters", '"blue"', '"green"', "open both with one cluster="),
        ),
        (
            {"retention": 100.0},
            {"retention": 200.0},
            ("retention must be the same in the whole cluster", " 100 s at", " 200 s at"),
        ),
        (
            {"limits": Limits(record_bytes=1024)},
            {"limits": Limits(record_bytes=2048)},
            ("record_bytes must be the same in the whole cluster", "1024", "2048"),
        ),
        (
            {"offset": 0},
            {"offset": 60_001},
            (
                "clocks are 60.0 s apart and may be 60 s",
                "2023-11-14 22:13:20+00:00",
                "2023-11-14 22:14:20+00:00",
                "set both machines' clocks (NTP)",
            ),
        ),
    ],
    ids=["cluster", "retention", "record_bytes", "clock"],
)  # fmt: skip
def test_peers_that_do_not_fit_are_refused_on_both_sides(
    bench: Bench, theirs: dict[str, object], mine: dict[str, object], words: tuple[str, ...]
) -> None:
    """Each says why, in words that name both and what to do, and neither takes anything."""
    one, other = bench.open(**theirs), bench.open(**mine)  # type: ignore[arg-type]  # a table
    one.register()
    other.register()
    wire = bench.connect(one, other)
    bench.settle()
    for site in (one, other):
        refused(wire, site, LinkRefused, one.node, other.node, *words, code="refused")
        assert site.ids == [f"{site.node}.1"]
        assert wire.protocol(site).peer is None
        assert not wire.said(site, Gossip)


def test_clocks_may_be_apart_by_the_limit(bench: Bench) -> None:
    """The limit itself is allowed, and so is all that follows from it."""
    one, other = bench.open(), bench.open(offset=60_000)
    one.register()
    other.register()
    bench.connect(one, other)
    bench.settle()
    bench.pass_time(30)
    bench.converge()
    lossless(one, other)


@pytest.mark.parametrize(
    "versions",
    [{"protocol": PROTOCOL + 2, "oldest": PROTOCOL + 1}, {"protocol": PROTOCOL, "oldest": 2**40}],
)
def test_a_peer_without_a_common_protocol_is_refused(
    bench: Bench, versions: dict[str, object]
) -> None:
    """Both are named, with the versions that they speak, and told to upgrade the older one."""
    one, other = bench.open_all(2)
    wire = bench.connect(one, other)
    wire.push(one, hello(one, **versions))
    wire.carry()
    refused(
        wire, one, LinkRefused, "no common protocol", one.node, OTHER, "upgrade", code="refused"
    )


def test_a_newer_peer_that_still_speaks_this_protocol_is_accepted(bench: Bench) -> None:
    """What counts is that the ranges meet; fields that are not known yet are ignored."""
    one, other = bench.open_all(2)
    wire = bench.connect(one, other)
    wire.push(one, hello(one, protocol=PROTOCOL + 5, oldest=PROTOCOL, colour="mauve"))
    assert wire.failure(one) is None
    assert wire.protocol(one).peer is not None


def test_a_peer_of_an_older_protocol_is_refused(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As soon as this side no longer speaks it."""
    one, other = bench.open_all(2)
    old = hello(one)
    monkeypatch.setattr("manifest.protocol.PROTOCOL", PROTOCOL + 1)
    wire = bench.connect(one, other)
    wire.push(one, old)
    wire.carry()
    refused(wire, one, LinkRefused, "no common protocol", code="refused")


def test_a_manifest_does_not_link_to_itself(bench: Bench) -> None:
    """Whatever address it was reached by, it knows its own id."""
    site = bench.open()
    protocol, twin = LinkProtocol(site.replica), LinkProtocol(site.replica)
    with pytest.raises(LinkRefused, match=f"this address is the manifest itself, {site.node}"):
        protocol.receive_data(twin.bytes_to_send())
    assert protocol.peer is None


def test_a_clock_that_was_set_late_is_mended_by_the_first_peer(bench: Bench) -> None:
    """Started before its clock was set, it takes the wall clock that agrees with the peer."""
    late, right = bench.open(offset=-DAY), bench.open()
    key = late.register()
    late.offset = 0
    wire = bench.connect(late, right)
    bench.settle()
    # The Hello that it had sent by then still bore the old time: the next connection is fine.
    refused(wire, right, LinkRefused, "clocks are 86400.0 s apart", code="refused")
    assert wire.failure(late) is None
    bench.cut(wire)
    bench.connect(late, right)
    bench.pass_time(1)
    assert right.ids == [key]
    bench.pass_time(20)
    bench.converge()
    assert late.reasons(key) == right.reasons(key) == []


def test_a_wall_clock_that_steps_changes_nothing(bench: Bench) -> None:
    """Physical time goes on from where it was, so the peers agree and nothing is anchored."""
    one, other = bench.open_all(2)
    for step in (DAY, -DAY):
        one.offset = step
        bench.connect(one, other)
        one.register()
        bench.pass_time(30)
        bench.converge()
        assert one.replica.physical.now() == other.replica.physical.now()
    lossless(one, other)


def test_a_peer_whose_clock_agrees_with_neither_is_refused(bench: Bench) -> None:
    """A wall clock that is wrong as well is no reason to anchor anew."""
    one, other = bench.open(), bench.open(offset=DAY)
    one.offset = DAY // 2
    before = one.replica.physical.now()
    wire = bench.connect(one, other)
    bench.settle()
    refused(wire, one, LinkRefused, "clocks are 86400.0 s apart", code="refused")
    assert one.replica.physical.now() == before


def test_a_clock_that_was_set_back_says_so(bench: Bench) -> None:
    """Its hybrid time never goes back, so no peer can accept it: somebody has to open it anew."""
    ahead, right = bench.open(offset=DAY), bench.open()
    ahead.register()
    ahead.offset = 0
    for _ in range(2):
        wire = bench.connect(ahead, right)
        bench.settle()
        refused(
            wire, ahead, LinkRefused, f"{ahead.node} was set back while it ran",
            "to 2023-11-14 22:13:20+00:00", "86400.0 s later", right.node,
            f"open {ahead.node} anew", code="refused",
        )  # fmt: skip
        bench.cut(wire)
    assert right.ids == []


@pytest.mark.parametrize("step", [-61_000, -100_000, -2 * DAY])
def test_a_visitor_does_not_split_those_whose_clocks_were_set_back(bench: Bench, step: int) -> None:
    """Clocks that were set back are no reason for manifests that run to fall out with each other.

    Whoever is opened since is refused by all of them alike, until they are opened anew.
    """
    old = bench.open_all(3)
    keys = sorted(site.register() for site in old)
    wires = ring(bench, *old)
    bench.settle()
    for site in old:
        site.offset = step
    visitor = bench.open(offset=step)
    for _ in range(3):
        for site in old:
            wire = bench.connect(visitor, site)
            bench.settle()
            refused(wire, site, LinkRefused, f"open {site.node} anew", code="refused")
            bench.cut(wire)
        bench.pass_time(300)
    assert not any(wire.failure(site) for wire in wires for site in wire.ends)
    check_equal(old)
    assert old[0].ids == keys
    lossless(*old)
    # One after the other is opened anew: it joins those that were before it, and no others.
    new = [visitor]
    for site in old:
        bench.crash(site)
        new.append(bench.open(offset=step))
        new[-1].register()
        bench.connect(new[-2], new[-1])
        bench.pass_time(20)
        assert not any(wire.failure(end) for wire in bench.wires for end in wire.ends)
        check_equal(new)
        lossless(*new)
    assert len(visitor.ids) == 3


def test_a_clock_that_was_set_back_is_never_anchored(bench: Bench) -> None:
    """Nor where it lies within the limit of what it has written: who is behind it is refused."""
    one, other = bench.open_all(2)
    wire = bench.connect(one, other)
    one.offset = other.offset = -50_000
    meeting = bench.connect(bench.open(offset=-70_000), one)
    bench.settle()
    refused(meeting, one, LinkRefused, "50.0 s later", "anew", code="refused")
    bench.cut(meeting)
    near = bench.open(offset=-50_000)
    near.register()
    bench.connect(near, one)
    bench.pass_time(60)
    assert wire.failure(one) is wire.failure(other) is None
    check_equal([one, other, near])
    lossless(one, other, near)


def test_clocks_beyond_all_calendars_are_refused_in_words(bench: Bench) -> None:
    """A time that no calendar holds is told in milliseconds."""
    one, other = bench.open_all(2)
    wire = bench.connect(one, other)
    wire.push(one, hello(one, clock=2**63 - 1))
    wire.carry()
    refused(wire, one, LinkRefused, f"{2**63 - 1} ms", code="refused")


def test_a_link_begins_with_one_hello(bench: Bench) -> None:
    """Gossip or Synced before it, or a second one after it, are not accepted."""
    one, other = bench.open_all(2)
    greeting = hello(one)
    for payloads, words in (
        ([encode_message(Gossip(Delta()))], "got Gossip before it"),
        ([encode_message(Synced())], "got Synced before it"),
        ([greeting, greeting], "got Hello after it"),
    ):
        wire = bench.connect(one, other)
        for payload in payloads:
            wire.push(one, payload)
        wire.carry()
        refused(wire, one, LinkError, "a link begins with one Hello", words)


def test_synced_is_heard_once(bench: Bench) -> None:
    """It is said once in each direction of a connection; again on the next is no repetition."""
    one, other = bench.open_all(2)
    for _ in range(2):
        wire = bench.connect(one, other)
        bench.settle()
        assert len(wire.heard(one, Synced)) == len(wire.heard(other, Synced)) == 1
        wire.push(one, encode_message(Synced()))
        wire.carry()
        refused(wire, one, LinkError, "Synced is said once on a connection, got it again")
        bench.cut(wire)


def test_a_bye_is_heard_at_any_time(bench: Bench) -> None:
    """Before Hello too: who refuses at once says why."""
    one, other = bench.open_all(2)
    wire = bench.connect(one, other)
    bye = Bye(code="refused", reason="no")
    wire.push(one, encode_message(bye))
    assert wire.heard(one) == [bye]
    assert wire.failure(one) is None


def test_before_hello_nothing_larger_than_a_hello_is_taken_in(bench: Bench) -> None:
    """The length alone is enough to be refused; once it is greeted the frame limit counts."""
    site = bench.open()
    for size in (HELLO_BYTES + 1, 2**32 - 1):
        with pytest.raises(MalformedMessage, match=f"1 to {HELLO_BYTES} bytes"):
            LinkProtocol(site.replica).receive_data(size.to_bytes(4, "big"))
    protocol = LinkProtocol(site.replica)
    greeting = hello(site)
    protocol.receive_data(
        len(greeting).to_bytes(4, "big") + greeting + (64 * 1024).to_bytes(4, "big")
    )
    assert protocol.partial
    protocol = LinkProtocol(site.replica)
    data = len(greeting).to_bytes(4, "big") + greeting + (64 * 1024 + 1).to_bytes(4, "big")
    with pytest.raises(MalformedMessage, match=f"1 to {64 * 1024} bytes"):
        protocol.receive_data(data)


def forged(stamp: Stamp, key: str = "k") -> Entry[str, Record]:
    """Return an entry that somebody made up."""
    return Entry(key, stamp, record())


BAD: dict[str, tuple[Callable[[Site], Gossip], type[Exception], str]] = {
    "stamp ahead": (
        lambda _: Gossip(Delta((forged(Stamp(at(60.001), OTHER)),))),
        LinkError,
        "a stamp lies 60.0 s ahead",
    ),
    "context ahead": (
        lambda _: Gossip(Delta(until=VersionVector({OTHER: at(61)}))),
        LinkError,
        "a stamp lies 61.0 s ahead",
    ),
    "lease ahead": (
        lambda _: Gossip(Delta(), (Lease(OTHER, at(61), 1),)),
        LinkError,
        "a stamp lies 61.0 s ahead",
    ),
    "born ahead": (
        lambda _: Gossip(Delta(), (Lease(OTHER, at(1), 1, at(61), "name"),)),
        LinkError,
        "a stamp lies 61.0 s ahead",
    ),
    "horizon ahead": (
        lambda _: Gossip(Delta(horizon=at(-3539))),
        LinkError,
        "a horizon lies 3539.0 s behind",
    ),
    "our own write": (
        lambda site: Gossip(Delta((forged(Stamp(at(1), site.node)),))),
        LinkError,
        "that this node never made",
    ),
    "our own context": (
        lambda site: Gossip(Delta(until=VersionVector({site.node: at(1)}))),
        LinkError,
        "that this node never made",
    ),
    "one stamp, two values": (
        lambda site: Gossip(
            Delta((Entry("k", Stamp(site.replica.born + 2, site.node), record(not_what="it was")),))
        ),
        ConflictingStamp,
        "was used for two writes",
    ),
    "a gap": (
        lambda _: Gossip(
            Delta((), VersionVector({OTHER: at(0.5)}), VersionVector({OTHER: at(0.6)}))
        ),
        CausalGap,
        "continues the history",
    ),
    "somebody else's id": (
        lambda site: Gossip(Delta((forged(Stamp(at(0.5), OTHER), f"{site.node}.1"),))),
        MalformedMessage,
        "alone to write",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_a_message_that_cannot_be_is_refused_whole(bench: Bench, what: str) -> None:
    """Nothing of it is applied, what came before it is, and the peer is told why."""
    make, error, words = BAD[what]
    site, peer = bench.open_all(2)
    site.register("k")
    wire = bench.connect(site, peer)
    bench.settle()
    good = Gossip(Delta((Entry("good", Stamp(at(0), OTHER), record()),)))
    bad = make(site)
    bad = attrs.evolve(
        bad,
        delta=attrs.evolve(
            bad.delta, entries=(Entry("bad", Stamp(at(0), OTHER), record()), *bad.delta.entries)
        ),
        leases=(Lease(OTHER, at(0), 5000), *bad.leases),
    )
    clock = site.replica.clock.now()
    context, horizon = site.replica.map.context, site.replica.map.horizon
    frames = b""
    for message in (good, bad, good):
        payload = encode_message(message)
        frames += len(payload).to_bytes(4, "big") + payload
    wire.ends[site].incoming += frames
    wire.deliver(site)
    wire.carry()
    refused(wire, site, error, words)
    assert sorted(site.replica.map) == ["good", "k"]
    assert (site.replica.map.context, site.replica.map.horizon) == (context, horizon)
    assert site.replica.clock.now() == clock
    assert OTHER not in site.replica.leases.believed
    assert site.replica.view.services["k"].data == {}


def test_a_record_beyond_the_limit_is_refused(bench: Bench) -> None:
    """By the size that the whole cluster agreed on."""
    site, peer = bench.open_all(2, limits=tiny())
    wire = bench.connect(site, peer)
    bench.settle()
    large = Entry("k", Stamp(at(0), OTHER), record(text="x" * 300))
    wire.push(site, encode_message(Gossip(Delta((large,)))))
    wire.carry()
    refused(wire, site, MalformedMessage, "at most 256 bytes")


def test_garbage_is_refused_and_the_peer_told(bench: Bench) -> None:
    """Any bytes that are no message end the link with the place of the fault."""
    site, peer = bench.open_all(2)
    wire = bench.connect(site, peer)
    bench.settle()
    wire.push(site, b"G" + pack([1, "x"]))
    wire.carry()
    refused(wire, site, MalformedMessage, "gossip.horizon")


def test_two_processes_under_one_id_find_out(bench: Bench) -> None:
    """A copy of a process writes under the same id; whoever lags is told by its peers."""
    real, relay = bench.open_all(2)
    wire = bench.connect(real, relay)
    bench.settle()
    copy = Bench(now=bench.now).open()
    assert copy.node == real.node
    bench.pass_time(10)
    own = Wire(copy, relay)
    copy.bench.now = bench.now
    copy.replica.waking.beat()
    while own.carry():
        pass
    refused(own, copy, LinkError, copy.node, "another process uses its id")
    assert wire.failure(real) is None


# Leases over relays


def test_relays_do_not_extend_a_lease(bench: Bench) -> None:
    """However far from the dead owner: gone when its lease is, everywhere in the same second."""
    owner, *relays = bench.open_all(5)
    key = owner.register()
    for one, other in zip([owner, *relays], relays, strict=False):
        bench.connect(one, other)
    bench.pass_time(20)
    bench.crash(owner)
    for _ in range(9):
        bench.pass_time(1)
        assert all(site.ids == [key] for site in relays)
    bench.pass_time(1)
    for site in relays:
        assert site.ids == []
        assert site.reasons(key) == ["expired"]
    bench.converge()


def test_a_late_joiner_believes_no_longer_than_others(bench: Bench) -> None:
    """What is left of the lease is what it gets, however long its own would be."""
    owner, relay = bench.open_all(2)
    key = owner.register()
    bench.connect(owner, relay)
    bench.pass_time(20)
    bench.crash(owner)
    bench.pass_time(7)
    joiner = bench.open()
    bench.connect(relay, joiner)
    bench.settle()
    assert joiner.ids == [key]
    bench.pass_time(2)
    assert joiner.ids == [key]
    bench.pass_time(1)
    assert joiner.ids == relay.ids == []


def test_a_lapsed_lease_is_passed_on_as_what_it_is(bench: Bench) -> None:
    """Who joins after that has the entries, hidden, and believes once the owner is heard again."""
    owner, relay = bench.open_all(2)
    key = owner.register()
    wire = bench.connect(owner, relay)
    bench.pass_time(5)
    bench.cut(wire)
    bench.pass_time(10)
    joiner = bench.open()
    side = bench.connect(relay, joiner)
    bench.settle()
    assert joiner.ids == []
    assert key in joiner.replica.map
    leases = [lease for message in side.said(relay, Gossip) for lease in message.leases]
    assert {lease.node: lease.remaining for lease in leases} == {owner.node: 0, relay.node: 10_000}
    bench.connect(owner, relay)
    bench.pass_time(5)
    assert joiner.ids == relay.ids == [key]
    assert [type(event) for event in joiner.events] == [Registered]
    assert side.traffic(joiner).entries_received == 1


def test_an_old_lease_that_comes_late_extends_nothing(bench: Bench) -> None:
    """A relay that was cut off and still believes does not make others believe again."""
    owner, near, far = bench.open_all(3)
    key = owner.register()
    bench.connect(owner, near)
    side = bench.connect(owner, far)
    bench.pass_time(10)
    # The process of `far` is stopped: by its own clock the lease goes on running.
    far.asleep = True
    bench.cut(side)
    bench.crash(owner)
    bench.pass_time(30)
    assert near.ids == []
    far.asleep = False
    far.replica.pulse(1)
    assert far.ids == [key]
    bench.connect(far, near)
    bench.settle()
    assert near.ids == []
    assert near.reasons(key) == ["expired"]
    bench.pass_time(12)
    assert far.ids == []
    bench.converge()


def test_a_stalled_node_credits_its_stall_before_it_judges_others(bench: Bench) -> None:
    """It takes nobody for dead because it slept itself, and others have lost it for that time."""
    one, other = bench.open_all(2)
    mine, yours = one.register(), other.register()
    bench.connect(one, other)
    bench.pass_time(10)
    one.asleep = True
    bench.pass_time(60)
    assert other.reasons(mine) == ["expired"]
    one.asleep = False
    bench.pass_time(5)
    assert one.reasons(yours) == []
    assert one.ids == other.ids == sorted([mine, yours])


def test_a_graceful_leave_is_seen_at_once_through_relays(bench: Bench) -> None:
    """Its services are freed everywhere without time going by, and persistent ones stay."""
    owner, *relays = bench.open_all(4)
    keys = [owner.register(), owner.register("name")]
    owner.register(key_of("kept", persistent=True))
    for one, other in zip([owner, *relays], relays, strict=False):
        bench.connect(one, other)
    bench.pass_time(10)
    owner.replica.leave()
    owner.note()
    bench.settle()
    for site in relays:
        assert site.ids == ["kept"]
        assert [site.reasons(key) for key in keys] == [["freed"], ["freed"]]
    assert owner.node not in relays[0].replica.leases.believed


def test_a_named_restart_displaces_at_once_through_relays(bench: Bench) -> None:
    """Nobody shows both incarnations, and nobody waits for the lease of the first to lapse."""
    first = bench.open(name="db-1")
    old = first.register()
    relays = bench.open_all(3)
    for one, other in zip([first, *relays], relays, strict=False):
        bench.connect(one, other)
    bench.pass_time(10)
    bench.crash(first)
    bench.now += 0.5
    second = bench.open(name="db-1")
    new = second.register()
    bench.connect(second, relays[0])
    bench.settle()
    for site in relays:
        assert site.ids == [new]
        assert site.reasons(old) == ["replaced"]
    bench.pass_time(30)
    assert [site.reasons(old) for site in relays] == [["replaced"]] * 3


def test_of_two_that_live_under_one_name_the_earlier_learns_who_displaced_it(bench: Bench) -> None:
    """Both go on; the later-born is believed, also by the earlier one."""
    first = bench.open(name="db-1")
    relay = bench.open()
    bench.now += 1
    second = bench.open(name="db-1")
    old, new = first.register(), second.register()
    bench.connect(first, relay)
    bench.connect(relay, second)
    bench.pass_time(60)
    assert first.ids == relay.ids == second.ids == [new]
    displaced = [event for event in first.events if isinstance(event, Displaced)]
    assert displaced == [Displaced(second.node)]
    assert old in relay.replica.map
    bench.crash(second)
    bench.pass_time(11)
    assert first.ids == relay.ids == [old]


# Renewal and collection, between replicas


@pytest.mark.parametrize("offset", [0, 5000, -5000])
def test_renewals_outrun_the_fastest_clock(bench: Bench, offset: int) -> None:
    """With the least retention, and clocks as far apart as may be, nothing flickers anywhere."""
    one, other, far = (bench.open(off, retention=20.0) for off in (0, offset, 0))
    keys = sorted(site.register() for site in (one, other, far) for _ in range(20))
    bench.connect(one, other)
    bench.connect(other, far)
    bench.settle()
    bench.pass_time(300)
    bench.converge()
    for site in (one, other, far):
        assert site.ids == keys
    lossless(one, other, far)


def test_a_return_after_more_than_the_retention_shows_no_gap(bench: Bench) -> None:
    """The owner keeps all its services throughout; the peers see them again at once."""
    owner, peer, third = bench.open_all(3, retention=100.0, max_clock_skew=10.0, limits=tiny())
    keys = sorted(owner.register() for _ in range(50))
    wire = bench.connect(owner, peer)
    bench.connect(peer, third)
    bench.pass_time(10)
    bench.cut(wire)
    owner.asleep = True
    bench.pass_time(200)
    assert peer.replica.map.entry(keys[0]) is None
    owner.asleep = False
    bench.connect(owner, peer)
    bench.settle()
    assert owner.ids == peer.ids == third.ids == keys
    lossless(owner)
    bench.pass_time(10)
    bench.converge()


def test_a_takeover_during_an_absence_is_respected(bench: Bench) -> None:
    """Though the horizon has passed the owner's record, and the takeover comes in the last part."""
    owner, peer = bench.open_all(2, retention=100.0, max_clock_skew=10.0, limits=tiny())
    for name in ("taken", "freed", "kept"):
        owner.register(name)
    wire = bench.connect(owner, peer)
    bench.settle()
    bench.cut(wire)
    owner.asleep = True
    bench.pass_time(150, quiet=True)
    for _ in range(50):
        peer.register()
    peer.register("taken", record(by="peer"))
    peer.register("freed")
    peer.free("freed")
    owner.asleep = False
    bench.connect(owner, peer)
    bench.settle(100)
    for site in (owner, peer):
        assert site.replica.view.services["taken"].owner == peer.node
        assert site.replica.view.services["kept"].owner == owner.node
        assert "freed" not in site.ids
    bench.pass_time(120)
    bench.converge()
    assert peer.replica.view.services["taken"].owner == peer.node


def test_all_tombstones_go_everywhere(bench: Bench) -> None:
    """Once the retention has passed, what was freed has left no trace at any replica."""
    sites = bench.open_all(3, retention=100.0, max_clock_skew=10.0)
    ring(bench, *sites)
    for site in sites:
        for key in [site.register() for _ in range(20)]:
            bench.settle()
            site.free(key)
    bench.crash(sites[2])
    bench.pass_time(120)
    bench.converge()
    for site in sites[:2]:
        assert len(site.replica.map) == site.replica.map.tombstones == 0
        assert set(site.replica.map.context) == {sites[0].node, sites[1].node}


# Both sides of a partition


@pytest.mark.parametrize("length", [20, 400], ids=["short", "longer than the retention"])
def test_both_sides_of_a_partition_write_and_agree_afterwards(length: int) -> None:
    """The last word on each name counts, and nothing that one node alone may write is ever lost."""
    bench = Bench()
    left, right = bench.open_all(2, retention=100.0, max_clock_skew=10.0)
    far_left, far_right = bench.open_all(2, retention=100.0, max_clock_skew=10.0)
    bench.connect(left, far_left)
    bench.connect(right, far_right)
    middle = bench.connect(left, right)
    mine, yours = left.register(), right.register()
    gone = [left.register(), right.register()]
    for name in ("freed", "moved", "contested", "idle"):
        left.register(name, record(by="left"))
    bench.settle()
    bench.cut(middle)
    left.free(gone[0])
    right.free(gone[1])
    left.free("freed")
    right.register("moved", record(by="right"))
    bench.pass_time(length)
    left.register("contested", record(by="left again"))
    right.register("contested", record(by="right"))
    new = [left.register(), right.register()]
    bench.connect(left, right)
    bench.settle()
    bench.pass_time(20)
    bench.converge()
    assert set(left.ids) >= {mine, yours, *new, "contested", "idle", "moved"}
    assert not set(left.ids) & {*gone, "freed"}
    assert left.replica.view.services["idle"].data == {"by": "left"}
    top = {
        name: max((e for e in bench.log if e.key == name), key=lambda entry: entry.stamp)
        for name in ("moved", "contested")
    }
    for name, entry in top.items():
        assert left.replica.view.services[name].owner == entry.stamp.node
    for site in bench.sites:
        assert "freed" not in [e.service.id for e in site.events[-3:] if isinstance(e, Registered)]
    bench.pass_time(150)
    bench.converge()
    assert left.replica.map.tombstones == 0
    assert not set(left.ids) & {*gone, "freed"}


def test_the_last_word_may_be_a_free(bench: Bench) -> None:
    """Who frees a shared name last frees it for all, also for who took it over meanwhile."""
    left, right = bench.open_all(2)
    left.register("primary")
    wire = bench.connect(left, right)
    bench.settle()
    bench.cut(wire)
    right.register("primary")
    bench.now += 1
    left.free("primary")
    bench.connect(left, right)
    bench.settle()
    assert left.ids == right.ids == []
    assert right.reasons("primary") == ["replaced", "freed"]


# What a packer does not know


def test_a_mark_and_lease_that_do_not_fit_come_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither counts as sent, and both are in the next frame."""
    one, other = bench.open_all(2)
    one.register("web")
    wire = bench.connect(one, other)
    wire.carry_hellos()
    add_mark, full = GossipPacker.add_mark, iter([True])

    def once_full(
        packer: GossipPacker, node: str, since: int, until: int, lease: Lease | None
    ) -> bool:
        return not next(full, False) and add_mark(packer, node, since, until, lease)

    monkeypatch.setattr(GossipPacker, "add_mark", once_full)
    wire.send(one)
    wire.send(one)
    first, second = wire.said(one, Gossip)
    assert dict(first.delta.until) == {}
    assert dict(second.delta.until) == dict(one.replica.map.context)
    assert [len(each.delta.entries) for each in (first, second)] == [1, 0]
    assert first.leases == ()
    assert [lease.node for lease in second.leases] == [one.node]
    bench.settle()
    bench.converge()


# Trees


def told(wire: Wire, site: Site, since: int) -> list[str]:
    """Return whose marks a site has sent over a wire, behind so many of its messages."""
    return [node for each in wire.said(site, Gossip)[since:] for node in each.delta.until]


def settled_ring(bench: Bench) -> tuple[list[Site], list[Wire]]:
    """Return three sites in a ring and its wires, once the trees of their heartbeats stand."""
    sites = bench.open_all(3)
    wires = ring(bench, *sites)
    bench.settle()
    for _ in range(5):
        beat(bench)
    return sites, wires


def beat(bench: Bench) -> None:
    """Carry a heartbeat of each site: at once by its own wires, and then by relays, which wait."""
    bench.now += 5
    for site in bench.sites:
        site.heartbeat()
        ends = [wire for wire in bench.wires if site in wire.ends]
        for wire in ends:
            wire.send(site)
        for wire in ends:
            wire.deliver(wire.to(site))
    bench.settle()


def test_a_heartbeat_that_comes_twice_is_spared(bench: Bench) -> None:
    """In a triangle each wire carries the heartbeats of its own two ends, and nothing else."""
    _, wires = settled_ring(bench)
    before = {(wire, site): len(wire.said(site, Gossip)) for wire in wires for site in wire.ends}
    beat(bench)
    for (wire, site), since in before.items():
        assert set(told(wire, site, since)) == {site.node}


def test_writes_cross_every_wire(bench: Bench) -> None:
    """What was pruned for heartbeats carries entries, and the marks that go with them."""
    (one, *_), wires = settled_ring(bench)
    far = next(wire for wire in wires if one not in wire.ends)
    before = {site: len(far.said(site, Gossip)) for site in far.ends}
    one.register("web")
    bench.settle()
    said = [each for site, since in before.items() for each in far.said(site, Gossip)[since:]]
    assert [entry.key for each in said for entry in each.delta.entries] == ["web"]
    assert [dict(each.delta.until).get(one.node) for each in said if each.delta.entries] == [
        one.replica.map.reflected(one.node)
    ]
    check_equal(bench.sites)


def test_a_missed_heartbeat_is_asked_for_where_it_was_spared(bench: Bench) -> None:
    """One way is cut: heartbeats come by the other, before anything lapses."""
    (one, other, _), wires = settled_ring(bench)
    one.register("web")
    bench.settle()
    direct = next(wire for wire in wires if {*wire.ends} == {one, other})
    bench.cut(direct)
    bench.pass_time(60)
    assert other.replica.leases.believes(one.node)
    lossless(*bench.sites)
    grafts = [
        node
        for wire in wires
        for site in wire.ends
        for each in wire.said(site, Gossip)
        for node in each.grafts
    ]
    assert grafts.count(one.node) == 1


def test_what_comes_first_over_a_pruned_wire_grafts_it(bench: Bench) -> None:
    """A way that has become the faster one is taken again, and the slower one is pruned."""
    (one, other, third), wires = settled_ring(bench)
    slow = next(wire for wire in wires if {*wire.ends} == {one, other})
    spared = next(wire for wire in wires if {*wire.ends} == {third, other})
    assert one.node in spared.protocol(other)._pruned
    # By mistake the peer goes on sending them.
    spared.protocol(third)._pruned.clear()
    one.heartbeat()
    for wire in [each for each in (*wires, *wires) if each is not slow]:
        while wire.carry():
            pass
    assert spared.said(other, Gossip)[-1].grafts == (one.node,)
    assert one.node not in spared.protocol(other)._pruned
    bench.settle()
    bench.converge()


def test_of_two_ends_nothing_is_spared_and_of_strangers_nothing_remembered(bench: Bench) -> None:
    """Whatever a peer asks: a link is kept alive by its ends, and nobody fills its memory."""
    one, other = bench.open_all(2)
    wire = bench.connect(one, other)
    bench.settle()
    wire.push(one, encode_message(Gossip(Delta(), prunes=(one.node, OTHER), grafts=(OTHER,))))
    protocol = wire.protocol(one)
    assert (protocol._pruned, protocol._missed) == ({}, {})
    since = len(wire.said(one, Gossip))
    bench.pass_time(10)
    assert set(told(wire, one, since)) == {one.node}


def test_prunes_and_grafts_wait_for_room(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit one frame is in the next."""
    one, other = bench.open_all(2)
    wire = bench.connect(one, other)
    bench.settle()
    protocol = wire.protocol(one)
    for kind, told_of in (("prune", protocol._prunes), ("graft", protocol._grafts)):
        add, full = getattr(GossipPacker, f"add_{kind}"), iter([True])

        def once_full(packer: GossipPacker, node: str, add: Any = add, full: Any = full) -> bool:
            return not next(full, False) and bool(add(packer, node))

        monkeypatch.setattr(GossipPacker, f"add_{kind}", once_full)
        told_of[OTHER] = None
        one.heartbeat()
        since = len(wire.said(one, Gossip))
        bench.settle()
        said = [getattr(each, f"{kind}s") for each in wire.said(one, Gossip)[since:]]
        one.heartbeat()
        bench.settle()
        said = [getattr(each, f"{kind}s") for each in wire.said(one, Gossip)[since:]]
        assert said[0] == ()
        assert (OTHER,) in said
        monkeypatch.undo()


def test_an_equal_peer_is_passed_over_at_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has reflected everything is not compared entry by entry."""
    one, other = bench.open_all(2)
    for number in range(100):
        one.register(f"id-{number}")
    wire = bench.connect(one, other)
    bench.settle()
    bench.cut(wire)
    looked: list[int] = []
    after = Journal.after

    def count(journal: Journal[Any, Any], position: int) -> Iterator[tuple[int, Any]]:
        for item in after(journal, position):
            looked.append(item[0])
            yield item

    monkeypatch.setattr(Journal, "after", count)
    wire = bench.connect(one, other)
    for _ in range(5):
        wire.carry()
    assert wire.heard(one, Synced)
    assert wire.heard(other, Synced)
    # The bench itself looks behind what has arrived.
    assert len(looked) < 10
