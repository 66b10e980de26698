"""The view: what is visible and why not, in which order it is found, and what finding it costs."""

from __future__ import annotations

from typing import Any

import pytest

from manifest.crdt import Entry, Stamp
from manifest.events import Event, Freed, FreeReason, Registered, Updated
from manifest.query import parse_query
from manifest.ranges import Range
from manifest.records import Service, precedence_of
from manifest.versions import RELEASE
from tests.samples import A, B, C, a_record, a_service
from tests.viewing import Watched


def kinds(events: list[Event]) -> list[str]:
    """Return the kinds of events, and the reason of those that have one."""
    return [
        f"Freed {event.reason}" if isinstance(event, Freed) else type(event).__name__
        for event in events
    ]


# What is visible


def test_a_service_of_a_believed_owner_is_visible() -> None:
    """It is shown as registered, updated and freed, with an event each."""
    watched = Watched(A)
    watched.write("web-1", a_record(zone="eu"), 1, A)
    service = a_service(zone="eu")
    assert watched.view.services == {"web-1": service}
    watched.write("web-1", a_record(zone="us"), 2, A)
    changed = a_service(zone="us")
    assert watched.view.services == {"web-1": changed}
    watched.write("web-1", None, 3, A)
    assert watched.view.services == {}
    assert watched.told() == [
        Registered(service),
        Updated(changed, service),
        Freed(changed, FreeReason.FREED),
    ]


def test_a_service_comes_and_goes_with_its_owners_lease() -> None:
    """It is hidden while its owner is not believed, and comes back as it is by then."""
    watched = Watched()
    watched.write("web-1", a_record(zone="eu"), 1, A)
    watched.write("gone", a_record(), 2, A)
    watched.write("gone", None, 3, A)
    assert watched.view.services == {} == watched.model
    watched.turn(A)
    watched.turn(A)
    watched.write("web-1", a_record(zone="us"), 4, A)
    watched.turn(A)
    eu, us = a_service(zone="eu"), a_service(zone="us")
    assert watched.told() == [Registered(eu), Freed(eu, FreeReason.EXPIRED), Registered(us)]


def test_a_persistent_service_needs_no_lease() -> None:
    """It is shown whoever wrote it, and only a free takes it away."""
    watched = Watched(A)
    watched.write("db", a_record(), 1, A, persistent=True)
    watched.turn(A)
    watched.collect(5)
    assert watched.view.services == {"db": a_service("db", persistent=True)}
    watched.write("db", None, 6, B, persistent=True)
    assert kinds(watched.told()) == ["Registered", "Freed freed"]


def test_a_renewal_is_no_event() -> None:
    """The same under a new stamp is told to nobody, and shows its new timestamp in every lookup."""
    watched = Watched(A)
    watched.write("web-1", a_record(), 1, A)
    watched.write("web-2", a_record(port=None), 1_000, A)
    assert [service.id for service in watched.select("web")] == ["web-1", "web-2"]
    watched.told()
    watched.write("web-1", a_record(), 2_000, A)
    watched.write("web-2", a_record(port=None), 3_000, A)
    assert watched.told() == []
    assert [each.timestamp for each in watched.view.services.values()] == [2_000, 3_000]
    assert [each.timestamp for each in watched.select("web")] == [2_000, 3_000]
    assert [each.timestamp for each in watched.select({"port": 8080})] == [2_000]
    assert [each.timestamp for each in watched.select({"id": "web-2"})] == [3_000]
    watched.turn(A)
    assert [event.service.timestamp for event in watched.told() if isinstance(event, Freed)] == [
        2_000,
        3_000,
    ]


# Why a service goes


def test_a_takeover_replaces() -> None:
    """A shared name that is taken over is freed of its former owner first, with that reason."""
    watched = Watched(A, B)
    watched.write("primary", a_record(zone="a"), 1, A)
    watched.write("primary", a_record(zone="b"), 2, B)
    mine, theirs = a_service("primary", zone="a"), a_service("primary", owner=B, zone="b")
    assert watched.told() == [
        Registered(mine),
        Freed(mine, FreeReason.REPLACED),
        Registered(theirs),
    ]


def test_a_takeover_by_who_is_not_believed_replaces_too() -> None:
    """What was overwritten is gone, whether or not its successor can be seen."""
    watched = Watched(A)
    watched.write("primary", a_record(), 1, A)
    watched.write("primary", a_record(), 2, B)
    watched.turn(B)
    assert kinds(watched.told()) == ["Registered", "Freed replaced", "Registered"]


def test_a_displaced_owner_is_replaced() -> None:
    """The reason that comes with the turn is the one that is told."""
    watched = Watched(A)
    watched.write("web-1", a_record(), 1, A)
    watched.turn(A, FreeReason.REPLACED)
    assert kinds(watched.told()) == ["Registered", "Freed replaced"]


def test_what_the_horizon_passes_has_expired() -> None:
    """A service that was collected while it was shown has expired."""
    watched = Watched(A)
    watched.write("web-1", a_record(), 1, A)
    watched.collect(2)
    assert kinds(watched.told()) == ["Registered", "Freed expired"]


# One id, leased and persistent


def test_of_twins_the_later_written_is_shown() -> None:
    """Where a leased and a persistent record bear one id, each write shows its own."""
    watched = Watched(A)
    watched.write("db", a_record(n=1), 1, A)
    watched.write("db", a_record(n=2), 2, A, persistent=True)
    assert watched.view.services["db"].data == {"n": 2}
    watched.write("db", a_record(n=3), 3, A)
    assert watched.view.services["db"].data == {"n": 3}
    watched.write("db", a_record(n=4), 4, A)
    assert kinds(watched.told()) == [
        "Registered", "Freed replaced", "Registered", "Freed replaced", "Registered", "Updated"
    ]  # fmt: skip


def test_of_twins_with_one_stamp_the_leased_is_shown_everywhere() -> None:
    """No sound node uses a stamp twice; should one do so, every manifest still shows the same."""
    twins = [Entry(key, Stamp(5, A), a_record(n=n)) for n, key in enumerate(("db", "*db"))]
    for joined in (twins, twins[::-1]):
        watched = Watched(A)
        for entry in joined:
            watched.join([entry])
        assert watched.view.services["db"].data == {"n": 0}
        assert watched.visible() == watched.view.services


def test_a_twin_comes_forth_when_the_other_goes() -> None:
    """The reason is why the one that was shown went, and then its twin is shown."""
    for reason in FreeReason:
        watched = Watched(A)
        watched.write("db", a_record(n=1), 1, B, persistent=True)
        watched.write("db", a_record(n=2), 2, A)
        watched.told()
        if reason is FreeReason.FREED:
            watched.write("db", None, 3, A)
        else:
            watched.turn(A, reason)
        kept = a_service("db", owner=B, persistent=True, n=1)
        assert watched.told() == [Freed(a_service("db", n=2), reason), Registered(kept)]


def test_a_twin_that_is_hidden_by_a_returning_owner_is_replaced() -> None:
    """The persistent one did not expire: a record that was written later is believed again."""
    watched = Watched()
    watched.write("db", a_record(n=1), 1, B, persistent=True)
    watched.write("db", a_record(n=2), 2, A)
    watched.told()
    watched.turn(A)
    kept = a_service("db", owner=B, persistent=True, n=1)
    assert watched.told() == [Freed(kept, FreeReason.REPLACED), Registered(a_service("db", n=2))]


def test_a_hidden_twin_changes_unseen() -> None:
    """What happens to the earlier-written of two is no event, until it is the later-written."""
    watched = Watched(A, B)
    watched.write("db", a_record(n=1), 5, A)
    watched.told()
    watched.write("db", a_record(n=2), 4, B, persistent=True)
    watched.turn(B)
    assert watched.told() == []
    watched.write("db", None, 6, B, persistent=True)
    assert watched.told() == []


def test_twins_that_go_at_once_leave_one_free() -> None:
    """When both end in one join, what was shown is freed once, for its own reason."""
    watched = Watched(A)
    watched.write("db", a_record(n=1), 1, A)
    watched.write("db", a_record(n=2), 2, A, persistent=True)
    watched.told()
    other = Watched()
    other.write("db", None, 3, B, persistent=True)
    watched.join(other.map.delta().entries, horizon=2 << 16)
    assert watched.told() == [Freed(a_service("db", persistent=True, n=2), FreeReason.FREED)]


# Lookup


def test_the_newest_version_comes_first_then_the_order_of_ids() -> None:
    """Versions descend by precedence, equal ones are in the order of ids, and none comes last."""
    watched = Watched(A)
    roles = {
        "c": "web@1.10.0", "a": "web@1.9.0", "f": "web", "b": "web@1.10.0+build.1", "e": "web",
        "d": "web@2.0.0-rc.1", "x": "api@9.0.0",
    }  # fmt: skip
    for time, (id, role) in enumerate(roles.items(), 1):
        watched.write(id, a_record(role), time, A)
    assert [each.id for each in watched.select("web")] == ["d", "b", "c", "a", "e", "f"]
    assert [each.id for each in watched.select("web@1.x")] == ["b", "c", "a"]
    assert [each.id for each in watched.select("web@1.10.0")] == ["b", "c"]
    assert [each.id for each in watched.select({"address": "10.0.0.1"})] == [
        "x", "d", "b", "c", "a", "e", "f"
    ]  # fmt: skip
    assert watched.select("nothing") == watched.select("nothing@1.x") == []


def test_the_order_holds_while_services_come_and_go() -> None:
    """What was sorted before is sorted anew once a service comes, goes, or changes its version."""
    watched = Watched(A)
    for time, id in enumerate("ba", 1):
        watched.write(id, a_record("web@1.0.0"), time, A)
    assert [each.id for each in watched.select("web")] == ["a", "b"]
    watched.write("c", a_record("web@2.0.0"), 3, A)
    assert [each.id for each in watched.select("web")] == ["c", "a", "b"]
    watched.write("b", a_record("web@3.0.0"), 4, A)
    assert [each.id for each in watched.select("web")] == ["b", "c", "a"]
    watched.write("a", a_record("api@3.0.0"), 5, A)
    assert [each.id for each in watched.select("web")] == ["b", "c"]
    assert [each.id for each in watched.select("api")] == ["a"]
    watched.write("c", None, 6, A)
    assert [each.id for each in watched.select("web@*")] == ["b"]
    watched.write("b", a_record("web@3.0.0", zone="eu"), 7, A)
    assert [each.data for each in watched.select("web")] == [{"zone": "eu"}]


def test_what_is_found_is_the_callers() -> None:
    """Changing the result of a lookup changes no later one."""
    watched = Watched(A)
    watched.write("a", a_record(), 1, A)
    for query in ("web", "web@1.x", "web@2.x", "none", {"id": "a"}):
        parsed = parse_query(query)
        watched.view.select(parsed)["more"] = a_service("more")
        assert "more" not in watched.view.select(parsed)
    assert list(watched.view.services) == ["a"]


def test_services_are_found_at_their_port() -> None:
    """The index of ports follows what comes, goes and moves; no port, no place in it."""
    watched = Watched(A, B)
    watched.write("a", a_record(port=80), 1, A)
    watched.write("b", a_record(port=80), 2, B)
    watched.write("c", a_record(port=None), 3, A)
    assert [each.id for each in watched.view.at_port(80)] == ["a", "b"]
    watched.write("a", a_record(port=81), 4, A)
    watched.write("c", a_record(port=80), 5, A)
    assert [each.id for each in watched.view.at_port(80)] == ["b", "c"]
    assert [each.id for each in watched.view.at_port(81)] == ["a"]
    watched.write("c", a_record(port=None), 6, A)
    watched.turn(B)
    assert list(watched.view.at_port(80)) == []
    assert [each.id for each in watched.select({"port": None})] == ["c"]


@pytest.mark.parametrize(
    "query, expected",
    [
        ("role-7", "role-7"),
        ("role-7@1.0.x", "role-7"),
        ("role-7@1.0.1", "role-7"),
        ({"role": "role-7"}, "role-7"),
        ({"role": "role-7@^1", "zone": "eu"}, "role-7"),
        ({"name": "role-7", "port": 1}, "role-7"),
        ("role-7@2.x", "role-7"),
        ("nothing", ""),
        ("nothing@1.x", ""),
        ({"name": "nothing", "zone": "eu"}, ""),
    ],
    ids=repr,
)
def test_a_lookup_by_name_never_walks_the_registry(
    query: object, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks at services of that name alone, first time and later, after any change of others."""
    looked_at: set[str] = set()

    class Observed(Service, frozen=True):
        def __getattribute__(self, name: str) -> Any:
            looked_at.add(object.__getattribute__(self, "_entry").value.role)
            return object.__getattribute__(self, name)

    def observed(entry: Any) -> Service | None:
        if entry.is_tombstone:
            return None
        return Observed.of(entry.key, entry.stamp, entry.value)

    monkeypatch.setattr("manifest.view.service_of", observed)
    watched = Watched(A)
    for i in range(300):
        watched.write(f"{i}", a_record(f"role-{i % 30}@1.0.{i % 3}", port=1, zone="eu"), i + 1, A)
    for _ in range(2):
        looked_at.clear()
        watched.view.select(parse_query(query))
        assert {role.partition("@")[0] for role in looked_at} <= {expected}
    # Nor does what happens under another name make it look further.
    watched.write("8", a_record("role-8@9.0.0"), 1_000, A)
    looked_at.clear()
    watched.view.select(parse_query(query))
    assert {role.partition("@")[0] for role in looked_at} <= {expected}


def test_a_lookup_by_id_or_port_looks_at_what_has_it() -> None:
    """An id points to one service, and a port to those that have it; both must match the rest."""
    watched = Watched(A)
    for time, (id, role) in enumerate({"a": "web@1.0.0", "b": "web@2.0.0", "c": "api"}.items(), 1):
        watched.write(id, a_record(role, port=80 + (id == "c")), time, A)
    assert [each.id for each in watched.select({"id": "a"})] == ["a"]
    assert watched.select({"id": "none"}) == []
    assert [each.id for each in watched.select({"id": "a", "role": "web@1.x"})] == ["a"]
    assert watched.select({"id": "a", "role": "web@2.x"}) == []
    assert watched.select({"id": "a", "role": "api"}) == []
    assert [each.id for each in watched.select({"port": 80})] == ["b", "a"]
    assert [each.id for each in watched.select({"port": 80, "version": "1.x"})] == ["a"]
    assert watched.select({"port": 99}) == []


def test_other_owners_are_left_alone() -> None:
    """The turn of one node's lease concerns what that node holds now, and nobody else's."""
    watched = Watched(A, B, C)
    for time, (id, node) in enumerate({"a": A, "b": B, "c": C, "shared": A}.items(), 1):
        watched.write(id, a_record(), time, node)
    watched.write("shared", a_record(), 10, B)
    watched.turn(A)
    assert set(watched.view.services) == {"b", "c", "shared"}
    watched.turn(B)
    assert set(watched.view.services) == {"c"}
    watched.turn(A)
    assert set(watched.view.services) == {"a", "c"}


def test_a_range_is_right_while_services_come_change_and_go() -> None:
    """What lies within a range is remembered, and is what it should be at every moment."""
    watched = Watched(A)
    ranges = [f"web@{'>=' * (number % 2)}1.{number}.0" for number in range(40)]

    def check() -> None:
        for _ in range(2):
            for query in ("web@^1.2", "web@<1.3", *ranges):
                assert watched.select(query) == watched.found(query)

    watched.write("web-1", a_record("web@1.2.0"), 1, A)
    watched.write("web-2", a_record("web@1.9.0"), 1_000, A)
    check()
    watched.write("web-2", a_record("web@1.9.0"), 2_000, A)
    check()
    assert [each.timestamp for each in watched.select("web@^1.9")] == [2_000]
    watched.write("web-3", a_record("web@1.2.5"), 3_000, A)
    check()
    watched.write("web-1", a_record("web@2.0.0"), 4_000, A)
    check()
    watched.write("web-2", None, 5_000, A)
    check()
    watched.turn(A)
    check()


def test_a_renewal_is_seen_in_the_ranges_that_hold_it_and_in_no_other() -> None:
    """A service that lies outside of a range that was asked for does not come into it."""
    watched = Watched(A)
    watched.write("web-1", a_record("web@1.0.0"), 1, A)
    watched.write("web-2", a_record("web@2.0.0"), 1_000, A)
    assert [each.id for each in watched.select("web@^1")] == ["web-1"]
    assert [each.id for each in watched.select("web@^2")] == ["web-2"]
    watched.write("web-2", a_record("web@2.0.0"), 2_000, A)
    assert [each.id for each in watched.select("web@^1")] == ["web-1"]
    assert [each.timestamp for each in watched.select("web@^2")] == [2_000]


# What an order costs


def kept(watched: Watched) -> dict[str, int]:
    """Return of how many lookups the order is kept, by name."""
    return {name: len(orders._orders) for name, orders in watched.view._orders.items()}


def test_a_service_finds_its_place_by_its_version_and_then_by_its_id() -> None:
    """It comes to lie before, between, after and among the others, and leaves no gap."""
    watched = Watched(A)
    time = 0
    ids_and_roles = [
        ("d", "web@1.5.0"), ("c", "web@2.0.0"), ("h", "web"), ("f", "web@1.7.0"),
        ("e", "web@1.5.0"), ("b", "web@1.5.0"), ("g", "web@1.5.0+build"), ("a", "web"),
        ("c2", "web@2.0.0-rc.1"),
    ]  # fmt: skip
    for id, role in ids_and_roles:
        watched.write(id, a_record(role), time := time + 1, A)
        for query in ("web", "web@*", "web@^1.5", "web@2"):
            assert watched.select(query) == watched.found(query)
    assert [each.id for each in watched.select("web")] == [
        "c", "c2", "f", "b", "d", "e", "g", "a", "h"
    ]  # fmt: skip
    for id, _ in ids_and_roles:
        watched.write(id, None, time := time + 1, A)
        for query in ("web", "web@*", "web@^1.5", "web@2"):
            assert watched.select(query) == watched.found(query)


def test_a_change_looks_at_the_version_of_what_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither it nor the lookup after it asks for the version of another, or for a range of it."""
    asked: list[str] = []
    covered: list[Any] = []

    def observed(role: str) -> Any:
        asked.append(role)
        return precedence_of(role)

    def covers(wanted: Range, version: Any) -> bool:
        covered.append(version)
        return real_covers(wanted, version)

    real_covers = Range.covers
    monkeypatch.setattr("manifest.ordering.precedence_of", observed)
    monkeypatch.setattr(Range, "covers", covers)
    watched = Watched(A)
    for i in range(50):
        watched.write(f"{i}", a_record(f"web@1.{i}.0"), i + 1, A)
    assert asked == []
    for _ in range(2):
        for query in ("web", "web@^1.7", "web@2"):
            watched.view.select(parse_query(query))
    assert len(asked) == 150
    assert len(covered) == 100
    asked.clear()
    covered.clear()
    watched.write("50", a_record("web@1.50.0"), 51, A)
    for query in ("web", "web@^1.7", "web@2"):
        watched.view.select(parse_query(query))
    assert asked == ["web@1.50.0"]
    assert covered == [(1, 50, 0, RELEASE)] * 2


def test_an_order_that_nobody_reads_is_dropped() -> None:
    """It is kept up for as many changes as the name has services; each that is read counts anew."""
    watched = Watched(A)
    time = 0
    for i in range(4):
        watched.write(f"{i}", a_record(), time := time + 1, A)
    assert kept(watched) == {}
    watched.select("web")
    watched.select("web@2")
    assert kept(watched) == {"web": 2}
    for _ in range(2):
        watched.write("more", a_record(), time := time + 1, A)
        watched.write("more", None, time := time + 1, A)
    # A renewal changes no order.
    watched.write("0", a_record(), time := time + 1, A)
    assert kept(watched) == {"web": 2}
    watched.select("web")
    watched.write("more", a_record(), time := time + 1, A)
    assert kept(watched) == {"web": 1}
    for _ in range(3):
        watched.write("more", None, time := time + 1, A)
        watched.write("more", a_record(), time := time + 1, A)
    assert kept(watched) == {"web": 0}
    assert watched.select("web") == watched.found("web")
    assert watched.select("web@2") == watched.found("web@2")


def test_no_order_is_kept_of_a_name_that_nobody_bears() -> None:
    """Asking for what is not there leaves nothing behind, nor does the last one to go."""
    watched = Watched(A)
    assert watched.select("web") == watched.select("web@1.x") == []
    assert kept(watched) == {}
    watched.write("a", a_record(), 1, A)
    watched.select("web")
    watched.select("web@1.x")
    assert kept(watched) == {"web": 2}
    watched.write("a", None, 2, A)
    assert kept(watched) == {}
    watched.write("b", a_record(), 3, A)
    assert [each.id for each in watched.select("web")] == ["b"]


def test_of_many_ranges_the_first_is_forgotten() -> None:
    """Sixteen are kept, and beside them the order of all that bears the name."""
    watched = Watched(A)
    watched.write("a", a_record(), 1, A)
    watched.select("web")
    for number in range(20):
        watched.select(f"web@>={number}")
    orders = watched.view._orders["web"]._orders
    assert [[each.text for each in ranges] for ranges in orders] == [
        [], *([f">={number}"] for number in range(4, 20))
    ]  # fmt: skip
    for number in range(4):
        watched.select(f"web@>={number}")
    assert kept(watched) == {"web": 17}
