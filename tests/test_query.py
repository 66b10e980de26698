"""Queries: what each form matches and what it does not, and what is refused as a query."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest

from manifest.codec import pack_data
from manifest.crdt import Stamp
from manifest.query import Query, parse_query
from manifest.ranges import InvalidRange
from manifest.records import Record, Service
from manifest.versions import parse_version
from tests.samples import A, B, a_service

MIXED = a_service(
    "db-1", "db@1.4.0+build.7", port=5432, zone="eu", weights=[1, 2.5], spare=False, n=1,
    nested={"deep": [True, None, {"x": 1}]}, port_range=[1, 9],
)  # fmt: skip


def matches(query: object, service: Service = MIXED) -> bool:
    """Return whether a query matches, both as a whole and once name and version are known to."""
    parsed = parse_query(query)
    found = parsed.matches(service)
    assert not found or parsed.matches_rest(service)
    return found


@pytest.mark.parametrize(
    "query, role",
    [
        ("web", "web"),
        ("web", "web@1.2.3"),
        ("web@1.2.3", "web@1.2.3"),
        ("web@1.2.3", "web@1.2.3+build.9"),
        ("web@1.2.3+build.1", "web@1.2.3+build.9"),
        ("web@1.2.3+build.1", "web@1.2.3"),
        ("web@^1.2", "web@1.9.0"),
        ("web@>=1 <2 || 3.x", "web@3.4.5"),
        ("web@^1.2.3-rc.1", "web@1.2.3-rc.2"),
        ("web@*", "web@0.0.1"),
        ("@scope/web", "@scope/web@1.2.3"),
        ("@scope/web@1.x", "@scope/web@1.2.3"),
    ],
)
def test_a_text_matches_by_name_and_version(query: str, role: str) -> None:
    """A name alone takes any version and none; build metadata never counts."""
    assert matches(query, a_service(role=role))


@pytest.mark.parametrize(
    "query, role",
    [
        ("web", "webs"),
        ("web", "@scope/web"),
        ("web@1.2.3", "web"),
        ("web@*", "web"),
        ("web@1.2.3", "web@1.2.4"),
        ("web@1.2.3", "web@1.2.3-rc.1"),
        ("web@^1.2", "web@2.0.0"),
        ("web@^1.2", "web@1.3.0-rc.1"),
        ("web@*", "web@1.0.0-rc.1"),
        ("@scope/web", "web"),
        ("@scope/web@1.x", "@scope/web@2.0.0"),
    ],
)
def test_a_text_matches_nothing_else(query: str, role: str) -> None:
    """No other version matches, no pre-release unless one is named, and without one no range."""
    assert not matches(query, a_service(role=role))


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"role": "db"}, {"role": "db@1.4.0"}, {"role": "db@^1"},
        {"name": "db"}, {"version": "1.4.0"}, {"version": "^1.2"},
        {"version": parse_version("1.4.0")}, {"version": parse_version("1.4.0+build.8")},
        {"role": "db@1.x", "name": "db", "version": "1.4.x"},
        {"id": "db-1"}, {"port": 5432}, {"address": "10.0.0.1"}, {"owner": A}, {"timestamp": 1},
        {"persistent": False},
        {"zone": "eu"}, {"zone": "eu", "spare": False, "role": "db", "port": 5432},
        {"data": {}}, {"data": {"zone": "eu"}}, {"n": 1, "data": {"zone": "eu"}},
        {"n": 1.0}, {"weights": [1, 2.5]}, {"weights": (1, 2.5)}, {"weights": (1.0, 2.5)},
        {"nested": {"deep": (True, None, {"x": 1})}},
        MappingProxyType({"zone": "eu"}),
    ],
    ids=repr,
)  # fmt: skip
def test_a_partial_record_matches_what_has_all_of_it(query: Mapping[str, Any]) -> None:
    """Fields and data are compared by value; a tuple is the list that JSON makes of it."""
    assert matches(query)


@pytest.mark.parametrize(
    "query",
    [
        {"role": "web"}, {"role": "db@2.x"}, {"name": "web"}, {"version": "^2"}, {"version": None},
        {"version": parse_version("1.4.1")},
        {"role": "db@^1", "name": "web"}, {"role": "db@^1", "version": "2.x"},
        {"role": "db@2.x", "version": "1.4.0"},
        {"id": "db-2"}, {"port": 5433}, {"port": None}, {"address": None}, {"address": "10.0.0.2"},
        {"owner": B}, {"timestamp": 2}, {"persistent": True},
        {"zone": "us"}, {"zone": None}, {"zone": "eu", "port": 1}, {"missing": None},
        {"n": True}, {"spare": 0}, {"spare": None}, {"n": "1"}, {"n": 2},
        {"weights": [1]}, {"weights": [1, 2.5, 3]}, {"weights": [2.5, 1]}, {"weights": [True, 2.5]},
        {"weights": {"0": 1}}, {"weights": 1},
        {"nested": {"deep": [1, None, {"x": 1}]}}, {"nested": {"deep": [True, None, {"x": True}]}},
        {"nested": {"deep": [True, None, {"x": 1, "y": 1}]}}, {"nested": {}}, {"nested": []},
        {"data": {"port": 5432}}, {"data": {"data": {}}},
    ],
    ids=repr,
)  # fmt: skip
def test_a_partial_record_matches_nothing_that_differs(query: Mapping[str, Any]) -> None:
    """Every field and key must be there and equal, and True is not 1, however deep."""
    assert not matches(query)


def test_nothing_is_a_value_to_ask_for() -> None:
    """None finds services without a version, an address or a port."""
    bare = a_service(role="db", address=None, port=None)
    assert matches({"version": None, "address": None, "port": None}, bare)
    assert not matches({"version": None}, a_service(role="db@1.0.0"))


def test_a_service_matches_its_own_description() -> None:
    """A mapping of all that a service shows of itself is a query that finds it."""
    for service in (MIXED, a_service(role="bare"), a_service(persistent=True, port=None)):
        fields = (
            "id", "role", "name", "version", "address", "port", "owner", "timestamp", "persistent",
            "data",
        )  # fmt: skip
        assert matches({field: getattr(service, field) for field in fields}, service)


def test_data_that_is_named_like_a_field_is_asked_for_under_data() -> None:
    """A key under "data" is always one of the data."""
    record = Record("db", None, 80, pack_data({"port": 1, "name": "x", "data": [1]}))
    service = Service.of("db-1", Stamp(1, A), record)
    assert matches({"data": {"port": 1, "name": "x", "data": [1]}}, service)
    assert matches({"port": 80, "name": "db", "data": {"port": 1}}, service)
    assert not matches({"port": 1}, service)
    assert not matches({"data": {"port": 80}}, service)


@pytest.mark.parametrize(
    "query", [None, 5, True, b"web", ["web"], ("web",), {"web"}, object], ids=repr
)
def test_what_is_neither_text_nor_mapping_is_no_query(query: Any) -> None:
    """Anything else is a ValueError that shows both forms."""
    with pytest.raises(ValueError) as caught:
        parse_query(query)
    assert str(caught.value) == (
        'a query is text such as "web" or "web@^1.2", or a mapping such as '
        f'{{"role": "web", "zone": "eu"}}, got {query!r:.80}'
    )


@pytest.mark.parametrize(
    "query", ["", "@", "@@1.2.3", "we b", "web\n", "\ud800", "x" * 256], ids=ascii
)
def test_what_names_no_role_is_no_query(query: str) -> None:
    """A name in a query is what it is in a role, or a ValueError says so; the same in a mapping."""
    for form in (query, {"role": query}):
        with pytest.raises(ValueError, match=r"^a role (is|has)"):
            parse_query(form)


@pytest.mark.parametrize("wanted", ["latest", ">=1, <2", "1.2.3.4", "^", "x" * 300])
def test_what_is_no_range_is_no_query(wanted: str) -> None:
    """A range that npm would not take is an InvalidRange, wherever it stands."""
    for query in (f"web@{wanted}", {"role": f"web@{wanted}"}, {"version": wanted}):
        with pytest.raises(InvalidRange, match=r"^a version range "):
            parse_query(query)


@pytest.mark.parametrize(
    "query, problem",
    [
        ({"id": 5}, '"id" in a query is of type str, got 5'),
        ({"id": []}, '"id" in a query is of type str, got []'),
        ({"role": ["web"]}, "\"role\" in a query is of type str, got ['web']"),
        ({"role": None}, '"role" in a query is of type str, got None'),
        ({"name": b"web"}, "\"name\" in a query is of type str, got b'web'"),
        ({"version": 1.2}, '"version" in a query is of type str or Version, or None, got 1.2'),
        ({"address": 5}, '"address" in a query is of type str, or None, got 5'),
        ({"port": "80"}, "\"port\" in a query is of type int, or None, got '80'"),
        ({"port": True}, '"port" in a query is of type int, or None, got True'),
        ({"port": {}}, '"port" in a query is of type int, or None, got {}'),
        ({"port": 80.0}, '"port" in a query is of type int, or None, got 80.0'),
        ({"owner": {1}}, '"owner" in a query is of type str, got {1}'),
        ({"timestamp": "now"}, "\"timestamp\" in a query is of type int, got 'now'"),
        ({"timestamp": True}, '"timestamp" in a query is of type int, got True'),
        ({"persistent": 1}, '"persistent" in a query is of type bool, got 1'),
        ({"data": ["zone"]}, "\"data\" in a query is of type Mapping, got ['zone']"),
        ({"data": None}, '"data" in a query is of type Mapping, got None'),
    ],
    ids=repr,
)
def test_a_field_of_the_wrong_type_is_refused(query: Mapping[str, Any], problem: str) -> None:
    """What could never match is a ValueError with the field, what was given and what is right."""
    with pytest.raises(ValueError) as caught:
        parse_query(query)
    assert type(caught.value) is ValueError
    assert str(caught.value) == problem


@pytest.mark.parametrize(
    "query, place",
    [
        ({5: "x"}, "data[5]"),
        ({None: "x"}, "data[None]"),
        ({"x": math.nan}, "data.x"),
        ({"x": [1, math.inf]}, "data.x[1]"),
        ({"x": 10**400}, "data.x"),
        ({"x": b"bytes"}, "data.x"),
        ({"x": {1, 2}}, "data.x"),
        ({"x": 1j}, "data.x"),
        ({"x": "\ud800"}, "data.x"),
        ({"data": {"x": {"y": ...}}}, "data.x.y"),
    ],
    ids=repr,
)
def test_data_that_no_service_can_have_is_refused(query: Mapping[Any, Any], place: str) -> None:
    """What is not JSON-like is a ValueError that names its place."""
    with pytest.raises(ValueError, match=rf"^{place.replace('[', chr(92) + '[')}: ") as caught:
        parse_query(query)
    assert type(caught.value) is ValueError


def test_a_query_that_holds_itself_is_refused() -> None:
    """An endless query is a ValueError, not an endless search."""
    endless: dict[str, Any] = {}
    endless["x"] = endless
    with pytest.raises(ValueError, match="nest at most"):
        parse_query(endless)


def test_a_textual_query_is_parsed_once() -> None:
    """The same text gives the same query, and what is malformed is refused every time."""
    assert parse_query("web@^1.2") is parse_query("web@^1.2")
    for _ in range(2):
        with pytest.raises(InvalidRange):
            parse_query("web@latest")


def test_a_later_change_of_what_was_asked_changes_nothing() -> None:
    """A query keeps copies: `wait_for` must not wait for something else in the end."""
    tags = ["a"]
    asked: dict[str, Any] = {"role": "web", "tags": tags}
    query = parse_query(asked)
    tags.append("b")
    asked["zone"] = "eu"
    assert query == Query("web", data={"tags": ["a"]})
