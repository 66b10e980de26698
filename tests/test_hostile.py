"""Peers that mean harm: what they send ends their link, costs little, and is passed on to nobody.

What is refused is counted by reason, so each of these says what it is counted as. How much there
may be of anything is in test_bounds.py, and who is let in at all in test_admission.py.
"""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from manifest import LinkState, open_manifest
from manifest.codec import MAX_DEPTH, MAX_ROWS, check_data, pack, unpack_data
from manifest.crdt import Delta, Entry, Stamp, VersionVector, from_milliseconds
from manifest.errors import (
    CausalGap,
    ConflictingStamp,
    LinkError,
    LinkRefused,
    MalformedMessage,
    ManifestError,
    refusal_of,
)
from manifest.events import Freed
from manifest.frames import FrameReader, frame
from manifest.messages import Gossip, Hello, Lease
from manifest.options import Limits
from manifest.protocol import _STRETCHES, HELLO_BYTES, LinkProtocol
from manifest.records import key_of
from manifest.refusals import Refusal
from manifest.testing import SimulatedNetwork
from manifest.wire import decode_message, encode_message

from .simulated import Puppet, until
from .wired import START, Bench, Site, check_equal, record

A, B, C = "10.0.0.1", "10.0.0.2", "10.0.0.3"
NODE = "0123456789ABCDEF01234567"
T = from_milliseconds(START)
DAY = 86_400_000
HOUR = from_milliseconds(3_600_000)
DECADE = 3653 * DAY

ABSURD: tuple[Any, ...] = (
    -1, 2**31, 2**63 - 1, 2**63, 2**64 - 1, -(2**63), 0.5, float("nan"), float("inf"), None, True,
    "", "x" * 300, "\ufeff", b"", b"\xc1", [], {}, [[]], {"a": 1}, {1: 1}, "\U0001f4a9", "9" * 300,
)  # fmt: skip
"""What no field expects, or nearly so."""

FIELDS: dict[str, Any] = {
    "base": T,
    "horizon": T - HOUR,
    "nodes": [NODE],
    "roles": ["web@1.0.0"],
    "addresses": ["10.0.0.1"],
    "writes": [[1, 0, 0, 0, 0, 80, b"\x80"]],
    "frees": [["k", 0, 0]],
    "marks": [[0, -T, 0]],
    "leases": [[0, 0, 1000, 500, 0, "name"]],
    "prunes": [0],
    "grafts": [0],
    "renewals": [[0, -HOUR, -HOUR - 1, 7, 1]],
}
"""A message with one of everything; what it renews lies at the horizon, and need not be held."""


@pytest.fixture
def bench() -> Bench:
    """Give a bench."""
    return Bench()


def gossip(**fields: Any) -> bytes:
    """Return a payload with these columns, and nothing in the others."""
    empty: dict[str, Any] = {name: [] for name in FIELDS if name not in ("base", "horizon")}
    return b"G" + pack(list({"base": T, "horizon": 0, **empty, **fields}.values()))


def node(number: int) -> str:
    """Return the id of one of many nodes that nobody has heard of."""
    return f"{number:024X}"


def hello_of(site: Site, **changes: object) -> bytes:
    """Return what a site says first, but for some changes."""
    hello = decode_message(LinkProtocol(site.replica).bytes_to_send()[4:], record_bytes=1024)
    return b"H" + pack({**attrs.asdict(hello), **changes})


def greeted(bench: Bench, site: Site | None = None) -> LinkProtocol:
    """Return the protocol of a site that a peer has greeted."""
    protocol = LinkProtocol((site or bench.open()).replica)
    protocol.receive_data(LinkProtocol(bench.open().replica).bytes_to_send())
    return protocol


def outcome(protocol: LinkProtocol, *payloads: bytes) -> Refusal | None:
    """Return how payloads are refused, or None where they are accepted."""
    try:
        protocol.receive_data(b"".join(map(frame, payloads)))
    except ManifestError as error:
        return refusal_of(error)
    return None


# Malformed


@pytest.mark.parametrize("absurd", ABSURD, ids=ascii)
def test_an_absurd_value_raises_nothing_but_refusals(bench: Bench, absurd: Any) -> None:
    """In the place of every value of a message, at every depth, it is refused, or is fine there."""
    assert outcome(greeted(bench), gossip(**FIELDS)) is None

    def planted(value: Any) -> list[Any]:
        """Return a value with the absurd one in place of it, and of each item in it."""
        found = [absurd]
        if isinstance(value, list):
            for index, item in enumerate(value):
                found += [[*value[:index], each, *value[index + 1 :]] for each in planted(item)]
        return found

    for field, value in FIELDS.items():
        for each in planted(value):
            assert outcome(greeted(bench), gossip(**{**FIELDS, field: each})) in {
                None, Refusal.MALFORMED, Refusal.STAMP, Refusal.HORIZON, Refusal.GAP,
                Refusal.FRAME_ROWS,
            }  # fmt: skip


@pytest.mark.parametrize("absurd", ABSURD, ids=ascii)
def test_an_absurd_hello_raises_nothing_but_refusals(bench: Bench, absurd: Any) -> None:
    """Each of its fields can be anything, and so can what is in its digest."""
    site = bench.open()
    peer = bench.open()
    for name in attrs.fields_dict(Hello):
        for value in (absurd, {NODE: absurd}):
            payload = hello_of(peer, **{name: value})
            outcome(LinkProtocol(site.replica), payload)
            outcome(greeted(bench, site), payload)


@pytest.mark.parametrize(
    "text", [b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xc0\x80", b"\xf5\x80\x80\x80", b"\xff"]
)
def test_no_text_is_anything_but_unicode(bench: Bench, text: bytes) -> None:
    """Lone surrogates and what else is no UTF-8 are refused everywhere: they would not go on."""
    mark = "@" * len(text)
    for payload in (
        gossip(**{**FIELDS, "roles": [mark]}),
        gossip(**{**FIELDS, "addresses": [mark]}),
        gossip(**{**FIELDS, "frees": [[mark, 0, 0]]}),
        gossip(**{**FIELDS, "leases": [[0, 0, 1, 1, 0, mark]]}),
        gossip(**{**FIELDS, "writes": [[1, 0, 0, 0, 0, 80, pack({mark: [mark]})]]}),
        b"B" + pack({"code": "x", "reason": mark}),
        b"H" + pack({"cluster": mark}),
    ):
        broken = payload.replace(mark.encode(), text)
        assert broken != payload
        assert outcome(greeted(bench), broken) is Refusal.MALFORMED


@pytest.mark.parametrize("container", [b"\x91", b"\x81\xa1a"])
def test_nesting_has_an_end(container: bytes) -> None:
    """Data nests as deep as it may, and one level more is refused, wherever it is."""
    for levels in (MAX_DEPTH - 1, MAX_DEPTH, 10_000):
        data = b"\x81\xa1a" + container * (levels - 1) + b"\xc0"
        if levels <= MAX_DEPTH:
            check_data(data)
            unpack_data(data)
        else:
            with pytest.raises(MalformedMessage):
                check_data(data)


def complaint(check: Callable[[bytes], object], packed: bytes) -> str | None:
    """Return how a check refuses data, or None where it lets it through."""
    try:
        check(packed)
    except MalformedMessage as fault:
        return str(fault)
    return None


def test_data_is_refused_for_what_it_would_be_refused_for_slowly() -> None:
    """The check in C lets through what the one that names the fault lets through, and no more."""
    for value in (*ABSURD, b"x", {"a": b"x"}, [1, [2, [None, {"b": 2.5}]]]):
        for packed in (pack({"a": value}), pack(value)):
            assert complaint(check_data, packed) == complaint(unpack_data, packed)


REFUSED: dict[str, tuple[Callable[[Site], bytes], Refusal]] = {
    "nothing in a frame": (lambda _: b"", Refusal.FRAME_BYTES),
    "a frame that is too long": (lambda _: bytes(128 * 1024 + 1), Refusal.FRAME_BYTES),
    "too many rows of a kind": (
        lambda _: gossip(nodes=[NODE], frees=[[n, 0, 0] for n in range(MAX_ROWS + 1)]),
        Refusal.FRAME_ROWS,
    ),
    "too many words": (lambda _: gossip(roles=["a"] * (MAX_ROWS + 1)), Refusal.FRAME_ROWS),
    "too many rows altogether": (
        lambda _: gossip(
            nodes=[NODE], frees=[[n, 0, 0] for n in range(MAX_ROWS)], leases=[[0, 0, 0, 0]]
        ),
        Refusal.FRAME_ROWS,
    ),
    "a record that is too large": (
        lambda _: gossip(
            nodes=[NODE], roles=["a"], writes=[[1, 0, 0, 0, None, None, bytes(17_000)]]
        ),
        Refusal.RECORD_BYTES,
    ),
    "the id of another": (
        lambda site: gossip(nodes=[NODE], frees=[[f"{site.node}.1", 0, 0]]),
        Refusal.FORGED,
    ),
    "a second Hello": (
        lambda site: hello_of(site.bench.open()),
        Refusal.PROTOCOL,
    ),
    "a stamp in ten years": (
        lambda _: gossip(base=from_milliseconds(START + DECADE), nodes=[NODE], frees=[[1, 0, 0]]),
        Refusal.STAMP,
    ),
    "a horizon in ten years": (
        lambda _: gossip(horizon=from_milliseconds(START + DECADE)),
        Refusal.HORIZON,
    ),
    "a horizon at this moment": (lambda _: gossip(horizon=T), Refusal.HORIZON),
    "what this node never wrote": (
        lambda site: gossip(nodes=[site.node], frees=[[7, 1000, 0]]),
        Refusal.IDENTITY,
    ),
    "a gap": (lambda _: gossip(nodes=[NODE], marks=[[0, 0, 1]]), Refusal.GAP),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused_is_refused_under_its_name(bench: Bench, what: str) -> None:
    """Nothing of the message is joined, and its word is one that `statistics()` counts under."""
    make, refusal = REFUSED[what]
    site = bench.open()
    protocol = greeted(bench, site)
    position = site.replica.map.position
    assert outcome(protocol, make(site)) is refusal
    assert site.replica.map.position == position


def test_refusals_of_the_map_and_of_hello_have_names_too() -> None:
    """A gap and a conflict, which the map finds, and what a link refuses without saying more."""
    assert refusal_of(CausalGap("")) is Refusal.GAP
    assert refusal_of(ConflictingStamp("")) is Refusal.CONFLICT
    assert refusal_of(LinkRefused("", Refusal.ITSELF)) is Refusal.ITSELF
    assert refusal_of(LinkError("")) is Refusal.PROTOCOL


@pytest.mark.parametrize(
    "options, refusal",
    [
        ({"cluster": "blue"}, Refusal.CLUSTER),
        ({"retention": 3599.0}, Refusal.SETTINGS),
        ({"limits": Limits(record_bytes=1024)}, Refusal.SETTINGS),
        ({"offset": DECADE}, Refusal.CLOCK),
        ({"offset": -DECADE}, Refusal.CLOCK),
    ],
)
def test_a_stranger_is_refused_under_its_name(
    bench: Bench, options: dict[str, Any], refusal: Refusal
) -> None:
    """Another cluster, other settings, a clock that is ten years off: each counts by itself."""
    said = hello_of(bench.open(**options))
    assert outcome(LinkProtocol(bench.open().replica), said) is refusal


def test_a_future_version_is_refused_under_its_name(bench: Bench) -> None:
    """A peer that speaks no version that this side speaks."""
    newer = hello_of(bench.open(), protocol=9, oldest=9)
    assert outcome(LinkProtocol(bench.open().replica), newer) is Refusal.VERSION


def test_a_conflict_is_told_in_few_words(bench: Bench) -> None:
    """However large the two values are, the log gets a line and no more."""
    site = bench.open()
    one, other = [
        Gossip(Delta((Entry("k" * 200, Stamp(T, NODE), record(text=letter * 10_000)),)))
        for letter in "xy"
    ]
    site.replica.accept(one)
    with pytest.raises(ConflictingStamp) as caught:
        site.replica.accept(other)
    assert len(str(caught.value)) < 1000
    assert site.replica.map["k" * 200].data.count(b"x") > 9000


# Liars


def test_who_claims_to_have_everything_gets_nothing(bench: Bench) -> None:
    """A digest beyond what exists costs the liar what it lacks; the next honest link has it all."""
    hub, other = bench.open_all(2)
    bench.connect(hub, other)
    keys = [other.register(), hub.register()]
    bench.settle()
    liar = LinkProtocol(hub.replica)
    claims = dict.fromkeys((hub.node, other.node, NODE), 2**63 - 1)
    assert outcome(liar, hello_of(bench.open(), context=claims)) is None
    liar.bytes_to_send()
    keys.append(hub.register())
    assert liar.bytes_to_send() == frame(b"S\x80")
    bench.settle()
    assert other.ids == sorted(keys)
    assert NODE not in hub.replica.map.nodes
    check_equal([hub, other])
    honest = bench.open()
    bench.connect(hub, honest)
    bench.settle()
    assert honest.ids == sorted(keys)


def test_who_claims_histories_of_nobody_makes_nobody(bench: Bench) -> None:
    """Marks of nodes that do not exist are told on, show nothing, and are forgotten in time."""
    options = {"heartbeat_interval": 1, "registration_lifetime": 1, "retention": 20}
    hub, other, liar = bench.open_all(3, **options)
    bench.connect(hub, other)
    bad = bench.connect(hub, liar)
    bench.settle()
    bad.push(hub, gossip(nodes=[node(n) for n in range(9)], marks=[[n, -T, 0] for n in range(9)]))
    bench.settle()
    assert other.replica.map.reflected(node(8)) == T
    assert hub.ids == other.ids == []
    key = hub.register()
    bench.pass_time(40)
    assert not bad.failure(hub)
    assert hub.replica.map.nodes == other.replica.map.nodes == {each.node for each in bench.sites}
    assert other.ids == [key]
    check_equal([hub, other])


def test_who_claims_to_be_this_node_is_refused(bench: Bench) -> None:
    """Its Hello is taken for this manifest's own, and nobody else notices."""
    site, other = bench.open_all(2)
    good = bench.connect(site, other)
    bench.settle()
    assert outcome(LinkProtocol(site.replica), hello_of(site)) is Refusal.ITSELF
    key = site.register()
    bench.settle()
    assert good.failure(site) is good.failure(other) is None
    assert other.ids == [key]


def test_who_claims_to_be_another_node_gets_less(bench: Bench) -> None:
    """It is not sent what that one wrote, and that is all: the real one's link is as it was."""
    hub, other = bench.open_all(2)
    good = bench.connect(hub, other)
    key = other.register()
    mine = hub.register()
    bench.settle()
    liar = LinkProtocol(hub.replica)
    liar.bytes_to_send()
    assert outcome(liar, hello_of(bench.open(), node=other.node)) is None
    sent, _ = FrameReader(2**20).feed(liar.bytes_to_send())
    told = decode_message(sent, record_bytes=1024)
    assert isinstance(told, Gossip)
    assert [entry.key for entry in told.delta.entries] == [mine]
    other.free(key)
    more = other.register()
    bench.settle()
    assert hub.ids == sorted([more, mine])
    assert good.failure(hub) is good.failure(other) is None


def test_stamps_of_another_decade_change_nothing(bench: Bench) -> None:
    """Neither direction captures a key or makes anything expire, and only the liar is dropped."""
    hub, other = bench.open_all(2)
    good = bench.connect(hub, other)
    key = hub.register("primary")
    other.replica.write(key_of("kept", persistent=True), record())
    bench.settle()
    for offset in (DECADE, -DECADE):
        base = from_milliseconds(START + offset)
        protocol = greeted(bench, hub)
        payload = gossip(
            base=base, nodes=[NODE], frees=[[key, 0, 0], ["*kept", 1, 0]], leases=[[0, 0, 9, 9]]
        )
        assert outcome(protocol, payload) is (Refusal.STAMP if offset > 0 else None)
    bench.pass_time(30)
    assert hub.ids == other.ids == ["kept", "primary"]
    assert not [event for event in hub.events + other.events if isinstance(event, Freed)]
    assert good.failure(hub) is good.failure(other) is None


def test_ids_of_others_cannot_be_written(bench: Bench) -> None:
    """Of 10,000 frees and writes of an owner-bound id under other stamps none is accepted."""
    site, owner = bench.open_all(2)
    bench.connect(site, owner)
    key = owner.register()
    bench.settle()
    for number in range(5000):
        thief, later = node(number), number + 1
        for payload in (
            gossip(nodes=[thief], frees=[[key, later, 0]]),
            gossip(nodes=[thief], roles=["web"], writes=[[key, later, 0, 0, None, None, b"\x80"]]),
        ):
            with pytest.raises(MalformedMessage) as caught:
                decode_message(payload, record_bytes=1024)
            assert caught.value.refusal is Refusal.FORGED
    assert site.ids == owner.ids == [key]


def test_a_session_that_is_played_again_changes_nothing(bench: Bench) -> None:
    """Byte for byte, at once or while it is remembered: what was freed stays free, the left gone.

    Once its clock is too old it is refused at its Hello.
    """
    site, peer = bench.open_all(2)
    wire = bench.connect(site, peer)
    keys = [peer.register("shared"), peer.register(), peer.register()]
    wire.send(peer)
    recorded = bytes(wire.ends[site].incoming)
    wire.deliver(site)
    wire.send(site)
    wire.deliver(peer)
    for _ in range(5):
        while wire.send(peer):
            recorded += bytes(wire.ends[site].incoming)
            wire.deliver(site)
        bench.pass_time(1, quiet=True)
    assert site.ids == sorted(keys)
    peer.free(keys[1])
    site.register("shared")
    bench.settle()
    peer.replica.leave()
    bench.settle()
    assert site.ids == ["shared"]
    before = (site.replica.map.context, dict(site.replica.map), list(site.events))
    for _ in range(3):
        LinkProtocol(site.replica).receive_data(recorded)
        bench.pass_time(10, quiet=True)
        assert (site.replica.map.context[peer.node], site.ids) == (
            before[0][peer.node], ["shared"]
        )  # fmt: skip
        assert (dict(site.replica.map), site.events) == before[1:]
    bench.pass_time(60, quiet=True)
    with pytest.raises(LinkRefused) as caught:
        LinkProtocol(site.replica).receive_data(recorded)
    assert caught.value.refusal is Refusal.CLOCK


# What it may cost


def calls(work: Callable[[], object]) -> int:
    """Return how many calls of Python functions some work takes: the same on every machine."""
    events: list[str] = []
    before = sys.getprofile()
    sys.setprofile(lambda frame, event, argument: events.append(event))
    try:
        work()
    finally:
        sys.setprofile(before)
    return events.count("call")


def filled(make: Callable[[int], bytes]) -> bytes:
    """Return nearly the largest message that is made so and that fits a frame."""
    rows = MAX_ROWS
    while len(payload := make(rows)) > 128 * 1024:
        rows = rows * 15 // 16
    return payload


ALL = range(MAX_ROWS)
COSTLY: dict[str, Callable[[], bytes]] = {
    "tiny records": lambda: gossip(
        nodes=[NODE], roles=["a"], writes=[[n, 0, 0, 0, None, None, b"\x80"] for n in ALL]
    ),
    "roles, addresses and data that are all different": lambda: filled(
        lambda n: gossip(
            nodes=[NODE],
            roles=[f"{k:x}@1.{k}.0-a.{k}.1x" for k in range(n)],
            addresses=[f"2001:db8::{k:x}" for k in range(n)],
            writes=[[k, 0, 0, k, k, 80, pack({"a": k})] for k in range(n)],
        )
    ),
    "long roles": lambda: filled(
        lambda n: gossip(
            nodes=[NODE],
            roles=[f"r{k}@1.0.0-" + "1a." * 78 + "1" for k in range(n)],
            writes=[[k, 0, 0, k, None, 80, b"\x80"] for k in range(n)],
        )
    ),
    "frees of what never was": lambda: gossip(nodes=[NODE], frees=[[n, 0, 0] for n in ALL]),
    "many nodes": lambda: gossip(nodes=[node(n) for n in ALL], marks=[[n, -T, 0] for n in ALL]),
    "many leases": lambda: gossip(nodes=[node(n) for n in ALL], leases=[[n, 0, 9, 9] for n in ALL]),
    "many leases of one name": lambda: gossip(
        nodes=[node(n) for n in ALL], leases=[[n, 0, 9999, 9, n - MAX_ROWS, "db-1"] for n in ALL]
    ),
    "data of nothing but lists": lambda: gossip(
        nodes=[NODE],
        roles=["a"],
        writes=[[n, 0, 0, 0, None, None, pack({"a": [[]] * (16_000 + n)})] for n in range(8)],
    ),
    "an array of nothing": lambda: b"G\xdd" + (100_000).to_bytes(4, "big") + b"\xc0" * 100_000,
    "bad text behind many items": lambda: gossip(roles=["a"] * 2047 + ["@@"]).replace(
        b"@@", b"\xff\xff"
    ),
    "a role of a hundred kilobytes": lambda: gossip(nodes=[NODE], roles=["é" * 60_000]),
    "a digest of thousands": lambda: b"H" + pack({"context": {node(n): 1 for n in range(4000)}}),
}


@pytest.mark.parametrize("what", COSTLY)
def test_no_frame_costs_more_than_its_bytes_and_rows(bench: Bench, what: str) -> None:
    """The worst frames take less than 20 MiB, and no more work than so much for each row."""
    payload = COSTLY[what]()
    assert len(payload) <= 128 * 1024
    site = bench.open()
    protocol = greeted(bench, site)
    tracemalloc.start()
    try:
        outcome(protocol, payload)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20 * 2**20
    assert calls(lambda: outcome(greeted(Bench()), payload)) < 60 * MAX_ROWS


def test_of_the_bearers_of_a_name_the_last_born_are_kept(bench: Bench) -> None:
    """Judging thousands of them would cost their square; it is the latest that counts."""
    site = bench.open()
    protocol = greeted(bench, site)
    for births in (range(first, first + 1000) for first in range(-5000, -1000, 1000)):
        nodes = [node(5000 + birth) for birth in births]
        leases = [[n, 0, 60_000, 9, birth, "db-1"] for n, birth in enumerate(births)]
        assert outcome(protocol, gossip(nodes=nodes, leases=leases)) is None
    assert len(site.replica.leases._named["db-1"]) == 256
    assert list(site.replica.leases.believed) == [site.node, node(3999)]
    # One that was left out is heard of again when it speaks again, as the latest of those left.
    message = Gossip(
        Delta(), tuple(Lease(node(n), T + 1, 0, T - 5000 + n, "db-1") for n in range(1, 4000))
    )
    site.replica.accept(message)
    assert list(site.replica.leases.believed) == [site.node]
    site.replica.accept(Gossip(Delta(), (Lease(node(0), T + 1, 60_000, T - 5000, "db-1"),)))
    assert list(site.replica.leases.believed) == [site.node, node(0)]


def test_a_peer_that_only_talks_makes_one_stretch(bench: Bench) -> None:
    """What is remembered of where its messages lie does not grow with them."""
    site = bench.open()
    protocol = greeted(bench, site)
    for number in range(50):
        assert outcome(protocol, gossip(nodes=[NODE], frees=[[number, number, 0]])) is None
    assert len(protocol._theirs) == 1
    for number in range(50, 50 + 2 * _STRETCHES):
        site.heartbeat()
        assert outcome(protocol, gossip(nodes=[NODE], frees=[[number, number, 0]])) is None
    assert len(protocol._theirs) == _STRETCHES


def test_who_misses_nobody_is_not_remembered(bench: Bench) -> None:
    """What a peer asks for of nodes that nobody has heard of takes no room on its link."""
    site = bench.open()
    protocol = greeted(bench, site)
    for number in range(10):
        nodes = [node(100 * number + n) for n in range(100)]
        message = Gossip(Delta(), (), tuple(nodes), (*nodes, site.node))
        assert outcome(protocol, encode_message(message)) is None
    assert list(protocol._missed) == [site.node]
    assert protocol._pruned == {}


def test_a_horizon_costs_what_it_collects(bench: Bench) -> None:
    """A peer that raises it again and again, each time over one entry, has nobody scan the map."""
    site = bench.open()
    protocol = greeted(bench, site)
    for number in range(20):
        site.replica.write(f"k{number}", record())
    least = from_milliseconds(START - 3_600_000)
    raised = [
        gossip(base=least + number + 1, horizon=least + number, nodes=[NODE], frees=[["x", 0, 0]])
        for number in range(100)
    ]
    few = calls(lambda: outcome(protocol, *raised[:50]))
    for number in range(5000):
        site.replica.write(f"more{number}", record())
    assert calls(lambda: outcome(protocol, *raised[50:])) < 1.5 * few
    assert site.replica.map.horizon == least + 99


async def test_tiny_messages_leave_others_their_turn(autojump_clock: MockClock) -> None:
    """Thousands of them in one read are not taken in at one go, and all of them are taken in."""
    network = SimulatedNetwork()
    async with open_manifest(environment=network.host(A).environment()) as a:
        await a.listen()
        puppet = Puppet(await network.host(B).dial(A, 3100))
        await puppet.greet()
        (link,) = a.links
        before = link.traffic.bytes_received
        flood = frame(b"G\x91\x01") * 8000
        await puppet.end.send_all(flood)
        seen: dict[int, None] = {}
        while link.traffic.bytes_received < before + len(flood):
            seen[link.traffic.bytes_received] = None
            await trio.lowlevel.checkpoint()
        assert len(seen) > 5
        assert a.statistics().refused == {}


async def test_who_is_silent_keeps_nobody_out(autojump_clock: MockClock) -> None:
    """Hundreds of connections that say nothing: they go, and whoever says Hello is let in."""
    network = SimulatedNetwork()
    async with (
        open_manifest(environment=network.host(A).environment()) as a,
        open_manifest(environment=network.host(B).environment()) as b,
    ):
        await a.listen()
        for _ in range(300):
            await network.host(C).dial(A, 3100)
        link = b.connect(host=A)
        for _ in range(300):
            await network.host(C).dial(A, 3100)
        with trio.fail_after(1):
            await link.wait_synced()
        await trio.sleep(0.1)
        assert len(a.links) == 101
        assert a.statistics().refused == {"ungreeted": 500}
        service = a.register("web", port=80)
        with trio.fail_after(0.05):
            assert await b.wait_for("web") == {service.id: service}
        await trio.sleep(15)
        assert len(a.links) == 1
        assert a.statistics().refused == {"ungreeted": 500, "handshake": 100}


async def test_who_finds_no_place_is_told(autojump_clock: MockClock) -> None:
    """It is refused in words, counted, dials on, and is let in as soon as another has left."""
    network = SimulatedNetwork()
    async with (
        open_manifest(environment=network.host(A).environment(), limits=Limits(connections=1)) as a,
        open_manifest(environment=network.host(B).environment()) as b,
        open_manifest(environment=network.host(C).environment()) as c,
    ):
        await a.listen()
        first = b.connect(host=A)
        await first.wait_synced()
        second = c.connect(host=A)
        await until(lambda: second.status.state is LinkState.REFUSED)
        assert second.status.reason is not None
        assert "all 1 places for peers are taken: connect to another" in second.status.reason
        assert set(a.statistics().refused) == {"connections"}
        assert b.statistics().refused == c.statistics().refused == {}
        first.close()
        await until(lambda: second.status.state is LinkState.SYNCED)


async def test_a_lease_for_ever_is_no_leave_to_be_silent(autojump_clock: MockClock) -> None:
    """A peer that says it may be silent for ages is dropped after the retention all the same."""
    network = SimulatedNetwork()
    async with open_manifest(environment=network.host(A).environment()) as a:
        await a.listen()
        puppet = Puppet(await network.host(B).dial(A, 3100))
        (hello,) = FrameReader(HELLO_BYTES).feed(puppet.protocol.bytes_to_send())
        fields = attrs.asdict(decode_message(hello, record_bytes=1024))
        await puppet.end.send_all(frame(b"H" + pack({**fields, "lease": 2**63 - 1})))
        await until(lambda: a.links and a.links[0].status.state is LinkState.CONNECTED)
        with trio.move_on_after(3601):
            while await puppet.end.receive_some():
                pass
        await until(lambda: not a.links, within=10)
        assert a.statistics().refused == {"silence": 1}


def test_before_hello_a_peer_gets_no_more_than_a_hello_takes(bench: Bench) -> None:
    """Its buffer holds one Hello at the most, and no gossip of its is looked at."""
    site = bench.open()
    protocol = LinkProtocol(site.replica)
    with pytest.raises(MalformedMessage) as caught:
        protocol.receive_data((HELLO_BYTES + 1).to_bytes(4, "big"))
    assert caught.value.refusal is Refusal.FRAME_BYTES
    assert outcome(LinkProtocol(site.replica), gossip(**FIELDS)) is Refusal.PROTOCOL
    mark = Gossip(Delta(until=VersionVector({NODE: T})))
    assert outcome(LinkProtocol(site.replica), encode_message(mark)) is Refusal.PROTOCOL
