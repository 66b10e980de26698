"""The view is what its definition says, after any history, and its events say how it came about."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from manifest.crdt import TOMBSTONE, Entry, Stamp, from_milliseconds
from manifest.events import Freed, FreeReason
from manifest.records import Record, Service, is_persistent, key_of
from tests.samples import A, B, C, a_record
from tests.viewing import Watched

NODES = (A, B, C)
LAST = 24
# Records come round again, so that a later write may be the renewal of an earlier one.
RECORDS: tuple[Record | None, ...] = (
    a_record("web@1.2.3", port=80),
    a_record("web@1.2.3", port=80, zone="eu"),
    None,
    a_record("web@2.0.0-rc.1", port=None),
    a_record("api", port=80),
)
QUERIES: tuple[Any, ...] = (
    "web", "web@1.2.3", "web@^1 || ^2.0.0-rc.0", "api", "api@*", "none", {"port": 80},
    {"port": None}, {"zone": "eu"}, {"role": "web", "zone": "eu"}, {"id": "x"},
    {"id": "x", "role": "api"}, {"owner": B}, {"persistent": True}, {"version": None}, {},
)  # fmt: skip


def entry_at(id: str, time: int, node: str, *, persistent: bool) -> Entry[str, Record]:
    """Return the entry with a stamp; whoever sees the stamp sees the same entry."""
    record = RECORDS[(time + NODES.index(node)) % len(RECORDS)]
    return Entry(
        key_of(id, persistent=persistent),
        Stamp(from_milliseconds(time), node),
        TOMBSTONE if record is None else record,
    )


entries = st.builds(
    entry_at,
    st.sampled_from("xyz"),
    st.integers(1, LAST),
    st.sampled_from(NODES),
    persistent=st.booleans(),
)
steps = st.one_of(
    # In any order and again: old ones lose, later ones take over, twins meet in one join.
    st.tuples(st.just("join"), st.lists(entries, max_size=4), st.integers(0, LAST // 2)),
    st.tuples(st.just("collect"), st.integers(1, LAST)),
    st.tuples(st.just("turn"), st.sampled_from(NODES), st.sampled_from(list(FreeReason)[1:])),
)


@given(st.lists(steps, max_size=20), st.sets(st.sampled_from(NODES)))
def test_the_view_is_what_its_definition_says(history: list[Any], believed: set[str]) -> None:
    """After every step the view, what was told of it and every lookup equal the naive answer.

    `Watched` compares its model with the view as each event is told, so that Registered and Freed
    alternate, and Updated comes between.
    """
    watched = Watched(*believed)
    for step in history:
        reasons: set[FreeReason] = {FreeReason.REPLACED}
        match step:
            case "join", joined, horizon:
                watched.join(joined, from_milliseconds(horizon))
                reasons |= {FreeReason.FREED, FreeReason.EXPIRED}
            case "collect", horizon:
                watched.collect(horizon)
                reasons.add(FreeReason.EXPIRED)
            case "turn", node, reason:
                watched.turn(node, reason)
                reasons.add(reason)
        expected = watched.visible()
        assert watched.view.services == watched.model == expected
        # Equality leaves the timestamp out.
        for id, service in expected.items():
            assert watched.view.services[id].timestamp == service.timestamp
        for event in watched.told():
            assert not isinstance(event, Freed) or event.reason in reasons
        for query in QUERIES:
            check_lookup(watched, query)
        at_port = {id for id, service in expected.items() if service.port == 80}
        assert {service.id for service in watched.view.at_port(80)} == at_port
        # Nothing is left behind in what a turn of a lease goes through.
        held = defaultdict[str, set[str]](set)
        for _, entry in watched.map.journal():
            if not entry.is_tombstone and not is_persistent(entry.key):
                held[entry.stamp.node].add(entry.key)
        assert {node: set(keys) for node, keys in watched.view._leased.items()} == held


ROLES = (
    "web@1.0.0", "web@1.0.0+build.1", "web@1.2.0-rc.1", "web@1.2.0", "web@1.10.0", "web@2.0.0",
    "web", "api@1.2.0",
)  # fmt: skip
LOOKUPS = ("web", "web@1.x", "web@>=1.2.0-rc.0", "web@2", "web@*", "api@^1")
IDS = "abcdefgh"
roles = st.sampled_from(ROLES)
changes = st.one_of(
    st.tuples(st.just("write"), st.sampled_from(IDS), roles),
    st.tuples(st.just("renew"), st.sampled_from(IDS)),
    st.tuples(st.just("free"), st.sampled_from(IDS)),
    st.tuples(st.just("turn")),
)
lookups = st.lists(st.sampled_from(LOOKUPS), max_size=2)


@given(
    st.lists(roles, min_size=len(IDS), max_size=len(IDS)),
    st.lists(st.tuples(changes, lookups), min_size=10, max_size=40),
)
def test_the_order_is_what_sorting_anew_would_give(first: list[str], history: list[Any]) -> None:
    """Whatever comes, changes and goes between lookups: some often, some once, some never."""
    watched = Watched(A)
    latest = dict(zip(IDS, first, strict=True))
    for time, (id, role) in enumerate(latest.items(), 1):
        watched.write(id, a_record(role), time, A)
    for query in LOOKUPS:
        check_lookup(watched, query)
    for time, (change, asked) in enumerate(history, len(IDS) + 1):
        match change:
            case "write", id, role:
                latest[id] = role
                watched.write(id, a_record(role), time, A)
            case "renew", id:
                watched.write(id, a_record(latest[id]), time, A)
            case "free", id:
                watched.write(id, None, time, A)
            case ("turn",):
                watched.turn(A)
        for query in asked:
            check_lookup(watched, query)
    for query in LOOKUPS:
        check_lookup(watched, query)


def check_lookup(watched: Watched, query: Any) -> None:
    """Compare what a lookup returns with what sorting and filtering everything gives."""
    assert stamped(watched.select(query)) == stamped(watched.found(query))


def stamped(services: list[Service]) -> list[tuple[Service, int]]:
    """Return the services with their timestamps, which equality leaves out."""
    return [(service, service.timestamp) for service in services]


@given(st.lists(entries, max_size=12), st.randoms(use_true_random=False))
def test_the_order_of_joins_does_not_matter(joined: list[Any], random: Any) -> None:
    """Whoever has joined the same shows the same, whatever came first."""
    one, other = Watched(*NODES), Watched(*NODES)
    shuffled = list(joined)
    random.shuffle(shuffled)
    one.join(joined)
    for entry in shuffled:
        other.join([entry])
    assert one.view.services == other.view.services
    for query in QUERIES:
        assert one.select(query) == other.select(query)
