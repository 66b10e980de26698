"""JSON views of everything that is shown, and registrations that come as one mapping."""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import Any

import attrs
import pytest

from manifest.events import (
    Accepted,
    Closed,
    Connected,
    Disconnected,
    Displaced,
    Event,
    Freed,
    FreeReason,
    Heartbeat,
    Registered,
    Synced,
    Updated,
)
from manifest.link import LinkState, LinkStatus
from manifest.network import Address
from manifest.protocol import Traffic
from manifest.refusals import Refusal
from manifest.statistics import LinkStatistics, Statistics
from manifest.structure import GivenRole, structure_role, to_json
from tests.samples import A, B, a_link, a_service

SERVICE = a_service(milliseconds=1_234, zone="eu", weights=[1, 2.5, None, True], nested={"a": {}})
SERVICE_JSON = {
    "id": "web-1", "role": "web@1.2.3", "name": "web", "version": "1.2.3", "address": "10.0.0.1",
    "port": 8080, "owner": A, "timestamp": 1234, "persistent": False,
    "data": {"zone": "eu", "weights": [1, 2.5, None, True], "nested": {"a": {}}},
}  # fmt: skip
BARE = a_service("db", "db", owner=B, persistent=True, address=None, port=None)
BARE_JSON: dict[str, Any] = {
    "id": "db", "role": "db", "name": "db", "version": None, "address": None, "port": None,
    "owner": B, "timestamp": 1, "persistent": True, "data": {},
}  # fmt: skip
LINK = a_link(dialled=True)
LINK_JSON = {
    "state": "dialling", "address": "192.0.2.1:3100", "peer": None, "peer_name": None,
    "reason": None, "failures": 0,
}  # fmt: skip
EVENTS: list[tuple[Event, dict[str, Any]]] = [
    (Registered(SERVICE), {"event": "registered", "service": SERVICE_JSON}),
    (Updated(SERVICE, BARE), {"event": "updated", "service": SERVICE_JSON, "before": BARE_JSON}),
    (
        Freed(BARE, FreeReason.EXPIRED),
        {"event": "freed", "service": BARE_JSON, "reason": "expired"},
    ),
    (Connected(LINK), {"event": "connected", "link": LINK_JSON}),
    (Accepted(LINK), {"event": "accepted", "link": LINK_JSON}),
    (Synced(LINK), {"event": "synced", "link": LINK_JSON}),
    (Disconnected(LINK, "why"), {"event": "disconnected", "link": LINK_JSON, "reason": "why"}),
    (Heartbeat(1234), {"event": "heartbeat", "time": 1234}),
    (Displaced(B), {"event": "displaced", "by": B}),
    (Closed(), {"event": "closed"}),
]


def as_json(fact: object) -> Any:
    """Return what `to_json` says, through JSON and back, as plain as it went in."""
    shown = to_json(fact)
    assert json.loads(json.dumps(shown, allow_nan=False)) == shown
    assert_plain(shown)
    return shown


def assert_plain(value: object) -> None:
    """Check that there is nothing in a value but JSON's own types, not even subclasses of them."""
    assert type(value) in (dict, list, str, int, float, bool, type(None))
    if isinstance(value, dict):
        assert all(type(key) is str for key in value)
    for item in (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    ):
        assert_plain(item)


@pytest.mark.parametrize("event, shown", EVENTS, ids=lambda part: type(part).__name__)
def test_an_event_is_its_kind_and_what_it_says(event: Event, shown: dict[str, Any]) -> None:
    """Every event becomes a mapping that begins with the name of its class in lower case."""
    assert as_json(event) == shown
    assert list(as_json(event)) == list(shown)


def test_every_event_is_shown() -> None:
    """No event is missing from the table above."""
    assert {type(event) for event, _ in EVENTS} == set(Event.__args__)


def test_a_service_is_all_that_it_shows_of_itself() -> None:
    """Its JSON has every public field, name and version apart, and data as it was registered."""
    assert as_json(SERVICE) == SERVICE_JSON
    assert as_json(BARE) == BARE_JSON


def test_a_collection_is_shown_item_by_item() -> None:
    """Mappings become dicts and all else that can be iterated becomes a list, events included."""
    services = {"web-1": SERVICE, "db": BARE}
    shown = {"web-1": SERVICE_JSON, "db": BARE_JSON}
    for mapping in (services, MappingProxyType(services)):
        assert as_json(mapping) == shown
    for items in (list(services.values()), tuple(services.values()), services.values()):
        assert as_json(items) == [SERVICE_JSON, BARE_JSON]
    assert as_json(each for each in (SERVICE,)) == as_json({SERVICE}) == [SERVICE_JSON]
    assert as_json([event for event, _ in EVENTS]) == [shown for _, shown in EVENTS]
    assert as_json({"last": Closed()}) == {"last": {"event": "closed"}}
    assert as_json([]) == []


@pytest.mark.parametrize("plain", [None, True, 1, 1.5, "text", "", [1, ["a"]], {"a": {"b": None}}])
def test_what_is_json_already_stays_as_it_is(plain: object) -> None:
    """Plain values come out as they went in."""
    assert as_json(plain) == plain


@pytest.mark.parametrize("state", LinkState)
def test_a_link_is_its_status(state: LinkState) -> None:
    """States are their words; a link is shown as its status is."""
    status = LinkStatus(state, "h:1", peer=A, peer_name="db", reason="why", failures=3)
    assert as_json(status) == {
        "state": state.value, "address": "h:1", "peer": A, "peer_name": "db", "reason": "why",
        "failures": 3,
    }  # fmt: skip
    assert as_json(LINK) == as_json(LINK.status) == LINK_JSON


def test_statistics_are_shown_to_the_last_link() -> None:
    """All of their fields, links and traffic included, in one tree."""
    statistics = Statistics(
        id=A, services=1, entries=2, tombstones=3, nodes=4,
        links=(LinkStatistics(LINK.status, dialled=True, traffic=Traffic(5, 6, 7, 8, 9)),),
        bytes_sent=10, bytes_received=11, subscribers=12, lag=13, merged=14,
        refused={Refusal.CLOCK: 15},
        paused=1.5, displaced_by=None,
    )  # fmt: skip
    shown = as_json(statistics)
    assert list(shown) == [field.name for field in attrs.fields(Statistics)]
    assert shown["links"] == [
        {
            "status": LINK_JSON,
            "dialled": True,
            "traffic": {
                "bytes_sent": 5, "bytes_received": 6, "entries_sent": 7, "entries_received": 8,
                "entries_redundant": 9,
            },
        }
    ]  # fmt: skip
    assert (shown["paused"], shown["displaced_by"]) == (1.5, None)
    assert shown["refused"] == {"clock": 15}
    assert [type(word) for word in shown["refused"]] == [str]


def test_where_a_listener_listens_is_host_and_port() -> None:
    """The addresses of a listener are shown in parts."""
    assert as_json((Address("::1", 80),)) == [{"host": "::1", "port": 80}]


def test_what_nobody_knows_stays_as_it_is() -> None:
    """An object that has no JSON view is handed through, for `json.dumps` to complain about."""
    thing = object()
    assert to_json(thing) is thing


# Inwards


def test_a_mapping_is_a_registration() -> None:
    """What has a name of its own is taken for that, and everything else is data."""
    given = {
        "role": "web@1.2.3", "id": "web-1", "address": "h", "port": 80, "persistent": True,
        "zone": "eu", "weights": (1, 2),
    }  # fmt: skip
    assert structure_role(given) == GivenRole(
        role="web@1.2.3", id="web-1", address="h", port=80, persistent=True, has_address=True,
        data={"zone": "eu", "weights": (1, 2)},
    )  # fmt: skip
    assert structure_role(MappingProxyType({"role": "web"})) == GivenRole(role="web")


def test_an_address_of_none_is_told_from_no_address() -> None:
    """None asks to wait for this host's address; leaving it out does not."""
    assert structure_role({"role": "web", "address": None}).has_address
    assert not structure_role({"role": "web"}).has_address


def test_data_may_be_given_under_its_own_name() -> None:
    """A mapping under "data" is data too, as in a query, and is the one that counts."""
    given = {"role": "web", "zone": "eu", "data": {"zone": "us", "port": 1, "data": {}}}
    assert structure_role(given).data == {"zone": "us", "port": 1, "data": {}}


def test_what_was_given_is_left_alone() -> None:
    """The mapping that was given is not changed, nor does it change the registration later."""
    given: dict[str, Any] = {"role": "web", "zone": "eu", "data": {"a": 1}}
    role = structure_role(given)
    assert given == {"role": "web", "zone": "eu", "data": {"a": 1}}
    given["data"]["a"] = 2
    given["zone"] = "us"
    assert role.data == {"zone": "eu", "a": 1}


@pytest.mark.parametrize(
    "given, faults",
    [
        ({}, '"role" is missing'),
        ({"zone": "eu"}, '"role" is missing'),
        ({"role": None}, '"role": expected str, got None'),
        ({"role": 5}, '"role": expected str, got 5'),
        ({"role": "web", "port": "80"}, "\"port\": expected int, got '80'"),
        ({"role": "web", "port": True}, '"port": expected int, got True'),
        ({"role": "web", "port": 80.0}, '"port": expected int, got 80.0'),
        ({"role": "web", "id": b"web"}, "\"id\": expected str, got b'web'"),
        ({"role": "web", "address": ["h"]}, "\"address\": expected str, got ['h']"),
        ({"role": "web", "persistent": 1}, '"persistent": expected bool, got 1'),
        ({"role": "web", "persistent": None}, '"persistent": expected bool, got None'),
        ({"role": "web", "data": ["a"]}, "\"data\": expected a mapping, got ['a']"),
        ({"role": "web", "data": None}, '"data": expected a mapping, got None'),
        (
            {"data": 1, "port": {}},
            '"data": expected a mapping, got 1; "role" is missing; "port": expected int, got {}',
        ),
    ],
    ids=repr,
)
def test_what_is_wrong_is_named(given: dict[str, Any], faults: str) -> None:
    """Nothing is coerced: one ValueError has each key at fault, what was given and what fits."""
    with pytest.raises(ValueError) as caught:
        structure_role(given)
    assert type(caught.value) is ValueError
    assert str(caught.value) == (
        f'a mapping in place of a role looks like {{"role": "web@1.2.3", "port": 8080}}: {faults}'
    )
