"""One node by itself: what it writes, renews, collects, refuses and believes."""

from __future__ import annotations

import gc
import logging
import math
from collections import Counter

import attrs
import pytest

from manifest.crdt import (
    TOMBSTONE,
    Delta,
    Entry,
    Stamp,
    VersionVector,
    from_milliseconds,
    to_milliseconds,
)
from manifest.errors import CausalGap, ConflictingStamp, LinkError
from manifest.events import Displaced
from manifest.messages import Gossip, Lease
from manifest.options import Options
from manifest.records import Record, key_of
from tests.wired import START, Bench, Site, check_equal, record

OTHER = "0123456789ABCDEF01234567"
THIRD = "FEDCBA987654321001234567"


def at(seconds: float) -> int:
    """Return the hybrid time so many seconds after a bench was set up."""
    return from_milliseconds(START + round(seconds * 1000))


def write(
    key: str, seconds: float, node: str = OTHER, value: Record | None = None
) -> Entry[str, Record]:
    """Return somebody's write."""
    return Entry(key, Stamp(at(seconds), node), value or record())


def free(key: str, seconds: float, node: str = OTHER) -> Entry[str, Record]:
    """Return somebody's free."""
    return Entry(key, Stamp(at(seconds), node), TOMBSTONE)


def gossip(
    *entries: Entry[str, Record],
    until: float | None = None,
    lease: float | None = None,
    horizon: int = 0,
    node: str = OTHER,
) -> Gossip:
    """Return what one node says of itself: entries, its context, its lease, in seconds."""
    mark = {} if until is None else {node: at(until)}
    leases = () if lease is None else (Lease(node, at(until or 0), round(lease * 1000)),)
    return Gossip(Delta(entries, VersionVector(), VersionVector(mark), horizon), leases)


def everything_of(site: Site) -> Gossip:
    """Return all that a site holds, as one message."""
    nodes = site.replica.map.context
    leases = [lease for node in nodes if (lease := site.replica.lease_of(node)) is not None]
    return Gossip(site.replica.map.delta(), tuple(leases))


def exchange(one: Site, other: Site) -> None:
    """Have two sites take all from each other, the first one first."""
    one.replica.accept(everything_of(other))
    one.note()
    other.replica.accept(everything_of(one))
    other.note()


@pytest.fixture
def bench() -> Bench:
    """Give a bench."""
    return Bench()


@pytest.fixture
def site(bench: Bench) -> Site:
    """Give a site whose retention is 100 seconds."""
    return bench.open(retention=100.0, max_clock_skew=10.0)


# Writing


def test_what_is_written_is_visible_at_once(site: Site) -> None:
    """A write returns the service, and the view shows it when the call returns."""
    service = site.replica.write("db", record(zone="eu"))
    assert site.replica.view.services == {"db": service}
    assert (service.id, service.owner, service.data) == ("db", site.node, {"zone": "eu"})
    assert service.timestamp == START
    assert site.replica.holds("db")


def test_what_is_freed_is_gone_at_once(site: Site) -> None:
    """A free takes the service from the view, and the reason says that it was freed."""
    site.register("db")
    site.free("db")
    assert site.ids == []
    assert site.reasons("db") == ["freed"]
    assert not site.replica.holds("db")


def test_a_node_holds_what_it_wrote_last_alone(site: Site) -> None:
    """Unknown keys, and keys that another node took over, are not held."""
    site.register("db")
    assert not site.replica.holds("web")
    site.replica.accept(gossip(write("db", 1), until=1, lease=9))
    assert not site.replica.holds("db")


def test_leaving_frees_what_was_registered_and_ends_the_lease(site: Site) -> None:
    """Leased records are freed, persistent ones stay, and what belongs to others is left alone."""
    site.register("db")
    site.register()
    site.register(key_of("config", persistent=True))
    site.replica.accept(gossip(write("web", 1), until=1, lease=9))
    site.replica.leave()
    assert site.ids == ["config", "web"]
    lease = site.replica.lease_of(site.node)
    assert lease is not None
    assert lease.remaining == 0
    assert lease.time == site.replica.map.reflected(site.node)


def test_the_own_lease_is_full_whenever_it_is_asked_for(bench: Bench, site: Site) -> None:
    """Heartbeat interval and lifetime together, in milliseconds, as of the latest heartbeat."""
    for _ in range(2):
        lease = site.replica.lease_of(site.node)
        time = site.replica.map.reflected(site.node)
        assert lease == Lease(site.node, time, 10_000, patience=1_250)
        bench.pass_time(7)


def test_a_lease_says_when_a_named_node_was_born(bench: Bench) -> None:
    """Birth and name travel with the lease of a node that has a name."""
    site = bench.open(name="db-1")
    bench.pass_time(6)
    lease = site.replica.lease_of(site.node)
    assert lease is not None
    assert (lease.born, lease.name) == (site.replica.born, "db-1")
    assert site.replica.born < lease.time


def test_a_heartbeat_moves_the_context_and_writes_nothing(site: Site) -> None:
    """Only the node's own context moves."""
    site.register("db")
    before = list(site.replica.map.journal())
    time = site.replica.map.reflected(site.node)
    site.heartbeat()
    assert site.replica.map.reflected(site.node) > time
    assert list(site.replica.map.journal()) == before


# Joining


def test_a_join_says_what_it_did(site: Site) -> None:
    """The stretch of the journal that it made, and how many of the entries were news."""
    first = site.replica.map.position
    message = gossip(write("a", 1), write("b", 1), until=1)
    joined = site.replica.accept(message)
    assert (joined.first, joined.last, joined.entries) == (first, site.replica.map.position, 2)
    again = site.replica.accept(message)
    assert again.first == again.last
    assert again.entries == 0


def test_the_clock_observes_what_is_joined(site: Site) -> None:
    """A write after a join beats everything in it, entries of parts included."""
    for message, key in (
        (gossip(write("a", 9)), "a"),
        (gossip(write("b", 9.5), until=9.9), "b"),
        (Gossip(Delta(), (Lease(OTHER, at(9.95), 1000),)), "c"),
    ):
        site.replica.accept(message)
        times = [entry.stamp.time for _, entry in site.replica.map.journal()]
        times += [*message.delta.until.values(), *(lease.time for lease in message.leases)]
        site.register(key)
        entry = site.replica.map.entry(key)
        assert entry is not None
        assert entry.stamp.time > max(times)
        assert entry.stamp.node == site.node


def test_services_of_a_new_node_appear_with_its_lease(site: Site) -> None:
    """Entries come first, in parts, and stay hidden until their owner is believed."""
    site.replica.accept(gossip(write("a", 1)))
    assert site.ids == []
    site.replica.accept(gossip(write("b", 1), until=1, lease=9))
    assert site.ids == ["a", "b"]


def test_services_vanish_when_the_lease_lapses_and_return_with_the_next(
    bench: Bench, site: Site
) -> None:
    """Nothing is written when they vanish, and nothing has to be sent again when they return."""
    site.replica.accept(gossip(write("a", 1), until=1, lease=9))
    position = site.replica.map.position
    bench.pass_time(9)
    assert site.ids == []
    assert site.reasons("a") == ["expired"]
    own = site.replica.map.reflected(site.node)
    assert [mark.node for mark in site.replica.map.moved(position)] == [site.node]
    assert site.replica.lease_of(OTHER) == Lease(OTHER, at(1), 0)
    site.replica.accept(gossip(until=8, lease=9))
    assert site.ids == ["a"]
    assert site.replica.map.reflected(site.node) == own


def test_a_relay_passes_on_what_is_left_of_a_lease(bench: Bench, site: Site) -> None:
    """Never more than what the owner granted less the time since."""
    site.replica.accept(gossip(until=1, lease=9))
    bench.pass_time(4)
    assert site.replica.lease_of(OTHER) == Lease(OTHER, at(1), 5000)


def test_a_later_born_node_of_the_same_name_displaces_this_one(bench: Bench) -> None:
    """It learns by whom, and its services are hidden: here as everywhere else."""
    site = bench.open(name="db-1")
    site.register("db")
    later = Lease(OTHER, at(1), 9000, born=at(0.5), name="db-1")
    site.replica.accept(Gossip(Delta(until=VersionVector({OTHER: at(1)})), (later,)))
    assert site.ids == []
    assert site.reasons("db") == ["replaced"]
    assert Displaced(OTHER) in site.events
    bench.pass_time(9)
    assert site.ids == ["db"]


def test_who_is_displaced_is_told_what_it_has_written(bench: Bench) -> None:
    """Nobody is shown it, and the writer has it all the same."""
    one = bench.open(name="db")
    later = Lease(OTHER, at(1), 9000, born=at(0.5), name="db")
    one.replica.accept(Gossip(Delta(until=VersionVector({OTHER: at(1)})), (later,)))
    service = one.replica.write(f"{one.node}.1", record("web@1.0.0"))
    assert (service.role, service.owner) == ("web@1.0.0", one.node)
    assert service.id not in one.replica.view.services
    kept = one.replica.write(f"*{one.node}.1", record("web@2.0.0"))
    assert one.replica.view.services == {kept.id: kept}


def test_somebody_elses_displacement_is_no_event_of_ours(bench: Bench) -> None:
    """Displaced tells of the node itself only; of others their services are replaced."""
    site = bench.open(name="web-1")
    for node, born in ((OTHER, 0.1), (THIRD, 0.2)):
        lease = Lease(node, at(1), 9000, born=at(born), name="db-1")
        site.replica.accept(
            Gossip(
                Delta((write(f"{node}.1", 1, node),), until=VersionVector({node: at(1)})), (lease,)
            )
        )
    assert site.ids == [f"{THIRD}.1"]
    assert site.reasons(f"{OTHER}.1") == ["replaced"]
    assert not any(isinstance(event, Displaced) for event in site.events)


# Refusals: all of a message, and nothing has happened


def refuses(site: Site, message: Gossip, error: type[Exception], match: str) -> None:
    """Fail unless a site refuses a message and is afterwards as it was before."""
    replica = site.replica
    before = list(replica.map.journal()), replica.map.context, replica.map.horizon, site.ids
    clock, believed = replica.clock.now(), replica.leases.believed
    with pytest.raises(error, match=match):
        replica.accept(message)
    assert before == (
        list(replica.map.journal()), replica.map.context, replica.map.horizon, site.ids
    )  # fmt: skip
    assert (clock, believed) == (replica.clock.now(), replica.leases.believed)


AHEAD = (
    r"a stamp lies 10\.0 s ahead of this node's clock, and the limit is 10 s: compare the clocks"
)


@pytest.mark.parametrize(
    "ahead",
    [
        lambda time: gossip(write("a", 1), write("b", time)),
        lambda time: gossip(write("a", 1), free("b", time)),
        lambda time: gossip(write("a", 1), until=time),
        lambda time: Gossip(Delta((write("a", 1),)), (Lease(OTHER, at(time), 10),)),
        lambda time: Gossip(Delta((write("a", 1),)), (Lease(OTHER, at(1), 10, at(time), "n"),)),
    ],
    ids=["write", "free", "context", "lease", "birth"],
)
def test_what_lies_too_far_ahead_is_refused_whole(site: Site, ahead) -> None:  # type: ignore[no-untyped-def]  # a table of lambdas
    """One time beyond the limit, wherever it stands, and nothing of the message is applied."""
    refuses(site, ahead(10.001), LinkError, AHEAD)
    site.replica.accept(ahead(10))


def test_a_horizon_too_far_ahead_is_refused(bench: Bench, site: Site) -> None:
    """A horizon may be ahead of this node's own by as much as its clock may be."""
    site.register("a")
    bench.pass_time(30)
    limit = at(30) - from_milliseconds(90_000)
    refuses(
        site,
        gossip(write("b", 1), horizon=limit + from_milliseconds(1)),
        LinkError,
        r"a horizon lies 90\.0 s behind this node's clock, and retention less the clock limit is "
        r"90 s: it would collect what is not due",
    )
    site.replica.accept(gossip(horizon=limit))
    assert site.replica.map.horizon == limit
    assert site.ids == ["a"]


def test_clocks_that_start_at_1970_link_all_the_same(bench: Bench) -> None:
    """Where no retention has passed since the epoch there is no horizon, and none is refused."""
    one, other = (bench.open(offset=5000 - START) for _ in range(2))
    one.register("a")
    exchange(other, one)
    assert other.ids == ["a"]
    refuses(other, gossip(horizon=1), LinkError, "a horizon lies")


@pytest.mark.parametrize(
    "claim",
    [
        lambda site, time: gossip(write("a", 1), Entry("b", Stamp(time, site.node), record())),
        lambda site, time: Gossip(Delta(until=VersionVector({site.node: time}))),
    ],
    ids=["entry", "context"],
)
def test_writes_of_this_node_that_it_never_made_are_refused(site: Site, claim) -> None:  # type: ignore[no-untyped-def]  # a table of lambdas
    """Who forges this node's id, or runs under it as well, is told so."""
    mine = site.replica.map.reflected(site.node)
    refuses(site, claim(site, mine + 1), LinkError, f"writes of this node, {site.node}, that this")
    site.replica.accept(claim(site, mine))


def test_its_own_writes_come_back_after_an_absence_and_are_no_forgery(bench: Bench) -> None:
    """A join may drop the node's own context; what it wrote before is still what it wrote."""
    site, peer = (bench.open(retention=100.0, max_clock_skew=10.0) for _ in range(2))
    exchange(site, peer)
    own = site.replica.map.reflected(site.node)
    site.asleep = True
    bench.pass_time(150, quiet=True)
    site.replica.accept(gossip(horizon=at(50)))
    assert site.replica.map.reflected(site.node) == 0
    site.replica.accept(gossip(until=own / 2**16 / 1000 - START / 1000, node=site.node))
    refuses(site, gossip(until=50.1, node=site.node), LinkError, "never made")


def test_two_values_under_one_stamp_are_refused(site: Site) -> None:
    """A stamp that was used twice is never decided by who came first."""
    site.replica.accept(gossip(write("a", 1), until=1))
    twin = write("a", 1, value=record(zone="us"))
    refuses(site, gossip(write("b", 2), twin, until=2), ConflictingStamp, "two writes of 'a'")


def test_a_gap_in_the_history_is_refused(site: Site) -> None:
    """An interval that begins beyond this node's context is not joined."""
    delta = Delta((write("a", 3),), VersionVector({OTHER: at(2)}), VersionVector({OTHER: at(3)}))
    refuses(site, Gossip(delta), CausalGap, "continues the history")


# Renewal


def stamps(site: Site) -> dict[str, int]:
    """Return when each entry was written, in milliseconds since the bench was set up."""
    return {
        entry.key: to_milliseconds(entry.stamp.time) - START
        for _, entry in site.replica.map.journal()
    }


def test_renewals_are_spread_and_come_in_time(bench: Bench) -> None:
    """Many records written at once are renewed a part at a time, from half the retention on."""
    site = bench.open(retention=200.0)
    keys = [site.register() for _ in range(2000)]
    written = stamps(site)
    most = 0
    for _ in range(300):
        bench.pass_time(1)
        renewed = stamps(site)
        ages = [renewed[key] - written[key] for key in keys if renewed[key] != written[key]]
        assert all(100_000 <= age <= 126_000 for age in ages)
        most = max(most, len(ages))
        written = renewed
        assert len(site.ids) == 2000
    assert most == math.ceil(2000 / 25)
    assert site.reasons(keys[0]) == []


def test_few_records_are_renewed_together(bench: Bench) -> None:
    """One by one each would take a frame on every link; up to 64 are renewed at once for that."""
    site = bench.open(retention=200.0)
    keys = [site.register() for _ in range(100)]
    bench.pass_time(103)
    written = stamps(site)
    assert sorted(Counter(written[key] for key in keys).values()) == [36, 64]


def test_a_renewal_changes_the_stamp_alone(bench: Bench, site: Site) -> None:
    """No event tells of it, and the service is what it was."""
    site.register("db", record(zone="eu"))
    events = list(site.events)
    before = site.replica.view.services["db"]
    bench.pass_time(60)
    after = site.replica.view.services["db"]
    assert after == before
    assert after.timestamp == before.timestamp + 50_000
    assert site.events == events


def test_pulse_says_whether_it_wrote(bench: Bench, site: Site) -> None:
    """Only a renewal is a write; lapses and collection are not."""
    site.register("db")
    site.replica.accept(gossip(write("a", 1), until=1, lease=9))
    wrote = []
    for _ in range(130):
        bench.now += 1
        wrote.append(site.replica.pulse(1))
    assert wrote.count(True) == 2
    assert site.replica.map.horizon > 0


def test_what_somebody_took_over_or_freed_is_not_renewed(bench: Bench, site: Site) -> None:
    """The winner stays what it is, and goes when its time has come."""
    for key in ("taken", "freed", "kept"):
        site.register(key)
    site.replica.accept(gossip(write("taken", 1), free("freed", 1), until=1, lease=9))
    bench.pass_time(99)
    winner = site.replica.map.entry("taken")
    assert winner is not None
    assert winner.stamp.node == OTHER
    assert site.replica.map.tombstones == 1
    bench.pass_time(4)
    assert [key for key in ("taken", "freed", "kept") if site.replica.map.entry(key)] == ["kept"]
    site.replica.accept(gossip(until=104, horizon=at(10)))
    assert site.ids == ["kept"]


def test_what_is_registered_anew_is_renewed_again(bench: Bench, site: Site) -> None:
    """A record that was taken over and taken back is this node's own once more."""
    site.register("db")
    site.replica.accept(gossip(write("db", 1), until=1, lease=9))
    site.register("db", record(zone="us"))
    bench.pass_time(250)
    assert site.ids == ["db"]
    assert site.reasons("db") == ["replaced", "replaced"]


def test_a_forged_write_of_its_own_id_does_not_outlast_a_renewal(bench: Bench, site: Site) -> None:
    """Whoever writes under this node's id, at a time that it has passed, is overruled by it."""
    site.register("db", record(zone="eu"))
    bench.pass_time(10)
    site.replica.accept(gossip(write("db", 5, site.node, record(zone="us"))))
    assert site.replica.view.services["db"].data == {"zone": "us"}
    bench.pass_time(50)
    assert site.replica.view.services["db"].data == {"zone": "eu"}


def test_persistent_records_are_not_renewed_and_stay(bench: Bench, site: Site) -> None:
    """They are exempt from the horizon, their tombstones too."""
    kept, gone = (key_of(id, persistent=True) for id in ("kept", "gone"))
    site.register(kept)
    site.register(gone)
    site.free(gone)
    bench.pass_time(250)
    assert site.ids == ["kept"]
    assert stamps(site) == {kept: 0, gone: 0}
    assert site.replica.map.tombstones == 1


def test_a_join_that_raises_the_horizon_renews_in_the_same_step(bench: Bench) -> None:
    """After an absence beyond the retention nobody sees a gap, not even for one event."""
    site = bench.open(retention=100.0, max_clock_skew=10.0)
    key = site.register()
    events = list(site.events)
    site.asleep = True
    bench.pass_time(150, quiet=True)
    site.replica.accept(gossip(until=149, lease=9, horizon=at(50)))
    site.note()
    assert site.ids == [key]
    assert site.events == events
    assert stamps(site) == {key: 150_000}
    site.asleep = False
    bench.pass_time(100)
    assert site.events == events


def test_a_join_that_raises_the_horizon_respects_a_takeover_that_it_brings(bench: Bench) -> None:
    """What somebody else took over meanwhile is theirs, and what they freed stays free."""
    site = bench.open(retention=100.0, max_clock_skew=10.0)
    for key in ("taken", "freed", "kept"):
        site.register(key)
    site.asleep = True
    bench.pass_time(150, quiet=True)
    site.replica.accept(
        gossip(write("taken", 140), free("freed", 140), until=149, lease=9, horizon=at(50))
    )
    site.asleep = False
    bench.pass_time(5)
    owners = {id: service.owner for id, service in site.replica.view.services.items()}
    assert owners == {"taken": OTHER, "kept": site.node}
    assert (site.reasons("taken"), site.reasons("freed")) == (["replaced"], ["freed"])


def test_after_a_pause_it_joins_before_it_renews(bench: Bench) -> None:
    """For one heartbeat interval it only listens to peers; then it renews its own."""
    site = bench.open(retention=100.0, max_clock_skew=10.0)
    for key in ("taken", "kept"):
        site.register(key)
    site.asleep = True
    bench.pass_time(90, quiet=True)
    site.asleep = False
    bench.pass_time(4)
    assert stamps(site) == {"taken": 0, "kept": 0}
    assert site.replica.map.horizon < at(0)
    site.replica.accept(gossip(write("taken", 80), until=93, lease=9))
    bench.pass_time(2)
    assert stamps(site) == {"taken": 80_000, "kept": 96_000}
    assert site.ids == ["kept", "taken"]


def test_a_clock_that_was_set_late_collects_nothing_before_it_has_joined(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """Anchoring anew is logged, moves physical time, and is followed by a wait like a pause.

    It is renewed as soon as its peers can have spoken, and collected once they can have renewed.
    """
    site = bench.open(offset=-86_400_000, retention=100.0, max_clock_skew=10.0)
    key = site.register()
    site.offset = 0
    with caplog.at_level(logging.WARNING, logger="manifest"):
        site.replica.anchor()
    assert f"clock of {site.node} anchored anew, moved by 86400.0 s" in caplog.text
    assert site.replica.physical.now() == START
    entry = site.replica.map.entry(key)
    bench.pass_time(4)
    assert site.replica.map.entry(key) == entry
    bench.pass_time(2)
    assert site.replica.map.entry(key) != entry
    bench.pass_time(8)
    assert site.replica.map.horizon < at(-1000)
    bench.pass_time(2)
    assert site.replica.map.horizon >= at(-86)
    assert site.ids == [key]
    assert site.reasons(key) == []


# Collection


def test_the_map_is_collected_every_hundredth_of_the_retention(bench: Bench, site: Site) -> None:
    """The horizon follows the clock at the distance of the retention, in steps of a second here."""
    horizons = []
    # At first it waits, for it may be the one by whom others notice that their clocks are wrong.
    bench.pass_time(14)
    assert site.replica.map.horizon == 0
    bench.pass_time(1)
    for _ in range(300):
        bench.now += 0.25
        site.replica.pulse(0.25)
        horizons.append(to_milliseconds(site.replica.map.horizon) - START + 100_000)
    assert sorted(set(horizons)) == list(range(15_000, 91_000, 1000))


def test_every_tombstone_goes_in_the_end(bench: Bench, site: Site) -> None:
    """Once the retention has passed, nothing is left of what was freed, nor of who is gone."""
    for number in range(50):
        site.register(f"n{number}")
        site.free(f"n{number}")
    site.replica.accept(gossip(*(free(f"m{n}", 1) for n in range(50)), until=1, lease=0))
    assert site.replica.map.tombstones == 100
    bench.pass_time(103)
    assert site.replica.map.tombstones == 0
    assert list(site.replica.map.journal()) == []
    assert list(site.replica.map.context) == [site.node]
    assert site.replica.leases.believed == (site.node,)
    assert site.replica.leases._held.keys() == {site.node}


def test_a_node_whose_clock_is_behind_forgets_the_dead_as_well(bench: Bench, site: Site) -> None:
    """Where a peer is always the first to collect, leases go with the horizon that it brings."""
    site.replica.accept(gossip(until=1, lease=9))
    for now in range(5, 125, 5):
        bench.pass_time(5)
        site.replica.accept(gossip(until=now, node=THIRD, lease=9, horizon=at(now - 92)))
    assert site.replica.leases._held.keys() == {site.node, THIRD}
    assert site.replica.map.horizon == at(28)


def test_a_partition_for_longer_than_the_retention_brings_nothing_back(bench: Bench) -> None:
    """What either side freed stays free, what either side still holds is there, and both agree."""
    one, other = bench.open_all(2, retention=100.0, max_clock_skew=10.0)
    mine, yours = one.register(), other.register()
    gone = one.register(), other.register()
    exchange(one, other)
    assert one.ids == other.ids == sorted([mine, yours, *gone])
    one.free(gone[0])
    other.free(gone[1])
    bench.pass_time(300, quiet=True)
    assert (one.ids, other.ids) == ([mine], [yours])
    exchange(one, other)
    exchange(one, other)
    check_equal([one, other])
    assert one.ids == sorted([mine, yours])


def test_no_options_are_shared_between_replicas(bench: Bench) -> None:
    """Each replica goes by the options that it was given."""
    site = bench.open(heartbeat_interval=2.0, registration_lifetime=1.0)
    assert site.replica.options == attrs.evolve(
        Options(), heartbeat_interval=2.0, registration_lifetime=1.0
    )
    lease = site.replica.lease_of(site.node)
    assert lease is not None
    assert lease.remaining == 3000


def test_the_collector_of_cycles_passes_over_what_has_arrived(bench: Bench) -> None:
    """Services and records are none of its business: they are many, and part of no cycle."""
    one, other = bench.open_all(2)
    bench.connect(one, other)
    key = one.register()
    bench.settle()
    assert not gc.is_tracked(other.replica.view.services[key])
    assert not gc.is_tracked(other.replica.map[key])
