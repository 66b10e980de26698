"""Renewals without values: when an owner may renew so, who is told so, and what comes of it."""

from __future__ import annotations

import itertools

import attrs
import pytest
from msgspec.structs import replace

from manifest.codec import MAX_ROWS
from manifest.crdt import TOMBSTONE, CausalGap, Delta, Entry, LWWMap, Stamp, VersionVector
from manifest.crdt import from_milliseconds as hybrid
from manifest.errors import LinkError, ManifestError, refusal_of
from manifest.messages import Gossip, Hello, Renewal
from manifest.packing import GossipPacker
from manifest.records import Record, key_of
from manifest.refusals import Refusal
from manifest.renewals import expand, holds_value, renewed
from manifest.wire import decode_message, encode_message
from tests.wired import START, Bench, Site, Wire, check_equal, record

NODE, OTHER = "0123456789ABCDEF01234567", "F" * 24
T = hybrid(START)
RETENTION = 16_000
SIXTEENTH = hybrid(1000)


def entry(number: int = 1, time: int = T, since: int = 0, node: str = NODE) -> Entry[str, Record]:
    """Return an entry under an owner-bound id."""
    return Entry(f"{node}.{number}", Stamp(time, node), Record("web", since=since))


@pytest.fixture
def bench() -> Bench:
    """Give a bench on which a step is a sixteenth of the retention of its sites."""
    return Bench(now=100.0)


def pair(bench: Bench) -> tuple[Site, Site, Wire]:
    """Return two linked sites."""
    one, other = (open_site(bench) for _ in range(2))
    wire = bench.connect(one, other)
    bench.settle()
    return one, other, wire


def open_site(bench: Bench) -> Site:
    """Open a site whose retention is sixteen seconds."""
    return bench.open(
        retention=16.0, heartbeat_interval=2.0, registration_lifetime=2.0, max_clock_skew=4.0
    )


# The owner's rule


def test_a_renewal_says_since_when_its_value_stands() -> None:
    """From the first one on, and all that follow share one record."""
    first = renewed(entry(), Stamp(T + 8 * SIXTEENTH, NODE), RETENTION)
    second = renewed(first, Stamp(T + 16 * SIXTEENTH, NODE), RETENTION)
    assert first == entry(time=T + 8 * SIXTEENTH, since=T)
    assert second == entry(time=T + 16 * SIXTEENTH, since=T)
    assert second.value is first.value


@pytest.mark.parametrize("since", [0, T - 5])
def test_what_a_peer_may_have_collected_is_written_in_full(since: int) -> None:
    """At 11 sixteenths of the retention the value counts as set anew, and a moment before not."""
    old, late = entry(since=since), T + 11 * SIXTEENTH
    assert renewed(old, Stamp(late - 1, NODE), RETENTION) == entry(time=late - 1, since=since or T)
    assert renewed(old, Stamp(late, NODE), RETENTION) == entry(time=late)


def test_what_anybody_may_write_is_renewed_in_full() -> None:
    """A shared name has more writers than one, and what they wrote in between counts."""
    old = Entry("primary", Stamp(T, NODE), record())
    assert renewed(old, Stamp(T + 1, NODE), RETENTION).value is old.value


def test_a_value_that_is_set_anew_is_not_a_renewal(bench: Bench) -> None:
    """Whatever it was made from: also the record that a renewal left behind."""
    site = open_site(bench)
    key = site.register()
    bench.pass_time(9)
    old = site.replica.map[key]
    assert old.since
    site.register(key, replace(old, port=9))
    assert site.replica.map[key] == replace(old, port=9, since=0)


def test_what_falls_due_at_once_bears_one_stamp(bench: Bench) -> None:
    """The renewals of one pulse are one write: two of them, where two pulses share the work."""
    site = open_site(bench)
    for _ in range(100):
        site.register()
    bench.pass_time(10)
    values = [entry for _, entry in site.replica.map.journal()]
    assert all(isinstance(each.value, Record) and each.value.since for each in values)
    assert len({each.stamp for each in values}) == 2


# The sender's rule


@pytest.mark.parametrize(
    "since, known, collected, held",
    [
        (T, T, T - 12 * SIXTEENTH, True),
        (T, T + 5, T + 5 - 12 * SIXTEENTH, True),
        (T, T - 1, 0, False),
        (T, T, T - 12 * SIXTEENTH + 1, False),
        (0, T, 0, False),
        (T, 0, 0, False),
    ],
)
def test_who_has_reflected_and_kept_a_value_need_not_be_told_it(
    since: int, known: int, collected: int, held: bool
) -> None:
    """It has reflected the write that set it, and collected nothing of the chain since."""
    assert holds_value(entry(time=T + 9, since=since), known, collected, RETENTION) is held


def test_a_free_is_no_renewal() -> None:
    """It has no value, and is told as it is."""
    assert not holds_value(Entry("k", Stamp(T, NODE), TOMBSTONE), T, 0, RETENTION)


def packed(*entries: Entry[str, Record], limit: int = 4096) -> Gossip:
    """Return what a packer makes of entries whose values are held."""
    packer = GossipPacker(limit, base=T)
    assert all(packer.add_entry(each, held=True) for each in entries)
    message = decode_message(packer.payload(horizon=0), record_bytes=1024)
    assert isinstance(message, Gossip)
    return message


def test_numbers_that_follow_each_other_are_one_row() -> None:
    """Under one stamp, and with the latest of the times since when the values stand."""
    message = packed(
        *(entry(number, T + 9, since) for number, since in ((1, T), (2, T + 3), (3, T - 7))),
        entry(5, T + 9, T),
        entry(6, T + 10, T),
        entry(7, T + 10, T, node=OTHER),
    )
    assert message.renewals == (
        Renewal(NODE, T + 9, T + 3, 1, 3),
        Renewal(NODE, T + 9, T, 5),
        Renewal(NODE, T + 10, T, 6),
        Renewal(OTHER, T + 10, T, 7),
    )
    assert message.delta.entries == ()
    assert message.count == 6


def test_what_has_no_number_or_no_renewal_behind_it_goes_in_full() -> None:
    """Shared names, persistent records and what was just set, whatever the reader holds."""
    entries = (
        Entry("primary", Stamp(T, NODE), Record("web", since=T - 1)),
        Entry(key_of(f"{NODE}.1", persistent=True), Stamp(T, NODE), Record("web", since=T - 1)),
        entry(2),
    )
    assert packed(*entries) == Gossip(Delta(entries))


def test_a_row_ends_where_a_message_is_full() -> None:
    """Each entry counts, though it costs no bytes; what does not fit leaves the row as it was."""
    packer = GossipPacker(4096, base=T)
    for number in range(MAX_ROWS):
        assert packer.add_entry(entry(number, T + 9, T), held=True)
    assert not packer.add_entry(entry(MAX_ROWS, T + 9, T), held=True)
    message = decode_message(packer.payload(horizon=0), record_bytes=1024)
    assert message == Gossip(Delta(), renewals=(Renewal(NODE, T + 9, T, 0, MAX_ROWS),))
    assert not GossipPacker(100, base=T).add_entry(entry(1, T + 9, T), held=True)


# The receiver's rule


def a_map(*entries: Entry[str, Record], until: int = T) -> LWWMap[str, Record]:
    """Return a map that has reflected what `NODE` wrote until then."""
    here: LWWMap[str, Record] = LWWMap()
    here.join(Delta(entries, until=VersionVector({NODE: until})))
    return here


def test_a_renewal_becomes_the_entry_that_it_stands_for() -> None:
    """The value is the map's, and says since when it stands; records are shared from then on."""
    here = a_map(entry(1, T - 5), entry(2, T, T - 9))
    done = expand(Gossip(Delta(horizon=3), renewals=(Renewal(NODE, T + 9, T, 1, 2),)), here)
    assert done == Gossip(Delta((entry(1, T + 9, T - 5), entry(2, T + 9, T - 9)), horizon=3))
    assert done.delta.entries[1].value is here[f"{NODE}.2"]


def test_what_needs_no_value_is_left_out() -> None:
    """Where the map has the same or better, and where the joined horizon has passed."""
    here = a_map(
        entry(1, T + 9, T), entry(2, T + 10), Entry(f"{NODE}.3", Stamp(T + 10, NODE), TOMBSTONE)
    )
    assert expand(Gossip(Delta(), renewals=(Renewal(NODE, T + 9, T, 1, 3),)), here) == Gossip(
        Delta()
    )
    late = Gossip(Delta(horizon=T), renewals=(Renewal(NODE, T, T - 1, 7, 900),))
    assert expand(late, here) == Gossip(Delta(horizon=T))
    here.prune(T)
    assert expand(attrs.evolve(late, delta=Delta()), here) == Gossip(Delta())


GAPS = {
    "nothing": a_map(),
    "a tombstone": a_map(Entry(f"{NODE}.1", Stamp(T, NODE), TOMBSTONE)),
    "a record of another node": a_map(Entry(f"{NODE}.1", Stamp(T, OTHER), Record("web"))),
    "a value that may be older": a_map(entry(1, T - 5), until=T - 2),
    "a value that was set later": a_map(entry(1, T + 5)),
}


@pytest.mark.parametrize("here", GAPS.values(), ids=GAPS)
def test_a_renewal_of_what_is_not_there_is_a_gap(here: LWWMap[str, Record]) -> None:
    """It says what is there instead, and that a new link will bring it."""
    with pytest.raises(CausalGap, match=r"01234567\.1 comes renewed .* lacks it.*link anew"):
        expand(Gossip(Delta(), renewals=(Renewal(NODE, T + 9, T, 1),)), here)


# Replicas


def test_what_a_renewal_claims_is_judged_like_an_entry(bench: Bench) -> None:
    """A time too far ahead and this node's own id are refused before anything is looked up."""
    site = open_site(bench)
    now = site.replica.clock.now()
    with pytest.raises(LinkError, match=r"a stamp lies 4\.1 s ahead"):
        site.replica.accept(Gossip(Delta(), renewals=(Renewal(OTHER, now + hybrid(4100), 1, 1),)))
    with pytest.raises(LinkError, match="that this node never made"):
        site.replica.accept(Gossip(Delta(), renewals=(Renewal(site.node, now + 5, 1, 1),)))


def test_a_freed_id_is_not_revived(bench: Bench) -> None:
    """A renewal brings no value of its own, so there is nothing to bring back."""
    one, other, wire = pair(bench)
    key = one.register()
    one.free(key)
    bench.settle()
    time = one.replica.map.reflected(one.node)
    wire.push(
        other, encode_message(Gossip(Delta(), renewals=(Renewal(one.node, time + 1, time, 1),)))
    )
    failure = wire.failure(other)
    assert isinstance(failure, CausalGap)
    assert refusal_of(failure) is Refusal.GAP
    assert other.ids == []


def test_who_lacked_a_value_is_sent_all_in_full_by_the_next_link(bench: Bench) -> None:
    """A forged write in an owner's name breaks a link once, and is gone after the next one."""
    one, other, wire = pair(bench)
    keys = [one.register() for _ in range(3)]
    bench.pass_time(7)
    bench.cut(wire)
    forged = Entry(keys[1], Stamp(other.replica.clock.now(), one.node), record("evil"))
    other.replica.accept(Gossip(Delta((forged,))))
    bench.pass_time(3, quiet=True)
    wire = bench.connect(one, other)
    bench.settle()
    assert isinstance(wire.failure(other), ManifestError)
    other.replica.accept(Gossip(Delta()))
    assert one.node not in other.replica.digest()
    bench.cut(wire)
    wire = bench.connect(one, other)
    bench.settle()
    (hello,) = wire.said(other, Hello)
    assert one.node not in hello.context
    assert wire.failure(other) is None
    check_equal([one, other])
    bench.pass_time(8)
    assert any(message.renewals for message in wire.heard(other, Gossip))
    assert one.node in other.replica.digest()


def test_who_is_gone_is_not_doubted(bench: Bench) -> None:
    """What is remembered of missing values goes with the node, so it cannot grow."""
    site = open_site(bench)
    for number in range(3):
        node = f"{number:024X}"
        with pytest.raises(CausalGap):
            site.replica.accept(Gossip(Delta(), renewals=(Renewal(node, 9, 8, 1),)))
    assert site.replica._doubted == {}


# Links


def test_renewals_cost_a_link_next_to_nothing(bench: Bench) -> None:
    """Ten thousand services renewed within two seconds: under 2 kB, and both sides are equal."""
    one, other, wire = pair(bench)
    for _ in range(10_000):
        one.register()
    bench.pass_time(7)
    before, entries = wire.traffic(one).bytes_sent, wire.traffic(one).entries_sent
    bench.pass_time(4)
    assert wire.traffic(one).entries_sent - entries == 10_000
    assert wire.traffic(other).entries_redundant == 0
    assert wire.traffic(one).bytes_sent - before < 2_000
    check_equal([one, other])
    assert not [event for event in other.events if type(event).__name__ == "Updated"]


def test_a_relay_passes_renewals_on_without_values(bench: Bench) -> None:
    """Along a chain; who joins later is told the records, and since when their values stand."""
    sites = [open_site(bench) for _ in range(4)]
    wires = [bench.connect(one, other) for one, other in itertools.pairwise(sites[:3])]
    for _ in range(20):
        sites[0].register()
    bench.pass_time(11)
    renewals = [
        [row for message in wire.heard(wire.to(sites[at]), Gossip) for row in message.renewals]
        for at, wire in enumerate(wires)
    ]
    assert sum(row.length for row in renewals[0]) == 20
    assert renewals[1] == renewals[0]
    late = bench.connect(sites[2], sites[3])
    bench.converge()
    assert late.said(sites[2], Gossip)[0].renewals == ()
    assert all(value.since for value in sites[3].replica.map.values())


def test_who_may_have_collected_a_value_is_told_it(bench: Bench) -> None:
    """A horizon counts whoever told it, the peer in its Hello or this side itself."""
    one, other, wire = pair(bench)
    one.register()
    bench.pass_time(4)
    bench.cut(wire)
    bench.pass_time(5, quiet=True)
    wire = bench.connect(one, other)
    bench.settle()
    assert [len(message.delta.entries) for message in wire.said(one, Gossip)][:1] == [1]
    bench.converge()
    horizon = one.replica.map.horizon
    assert horizon == other.replica.map.horizon > 0
    assert [wire.protocol(site)._collected for site in (one, other)] == [horizon, horizon]
