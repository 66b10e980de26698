"""Records and services: ids, roles, addresses and ports, and how a service behaves as a value."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from manifest.codec import EMPTY_DATA, pack_data
from manifest.crdt import TOMBSTONE, Entry, Stamp, from_milliseconds
from manifest.errors import MalformedMessage
from manifest.records import (
    Record,
    Service,
    check_address,
    check_host,
    check_id,
    check_port,
    freer_of,
    id_of,
    is_persistent,
    is_wildcard,
    key_of,
    owner_of,
    parse_role,
    service_of,
    split_role,
    valid_node_id,
)
from manifest.versions import InvalidVersion, parse_version
from tests.samples import A, B, a_record, a_service

# What must not be in any id, role or address: it would be unseen, or would command a terminal.
UNPRINTABLE = (
    " ", "\t", "\n", "\r", "\x00", "\x1b", "\x7f", "\x85", "\x9b", "\xa0", "\xad", "\u061c",
    "\u1680", "\u180e", "\u2000", "\u2003", "\u200b", "\u200f", "\u2028", "\u2029", "\u202a",
    "\u202e", "\u202f", "\u205f", "\u2060", "\u2066", "\u206f", "\u3000", "\ud800", "\udfff",
    "\ufeff",
)  # fmt: skip
NO_TEXT: tuple[Any, ...] = (None, 5, True, b"web", ["web"], {"web": 1}, ("web",))


# Roles


@pytest.mark.parametrize(
    "role, name, version",
    [
        ("web", "web", None),
        ("web@1.2.3", "web", "1.2.3"),
        ("web@1.2.3-rc.1+build.5", "web", "1.2.3-rc.1+build.5"),
        ("@scope/name", "@scope/name", None),
        ("@scope/name@1.2.3", "@scope/name", "1.2.3"),
        ("@1.2.3", "@1.2.3", None),
        ("größe@0.0.1", "größe", "0.0.1"),
        ("a" * 255, "a" * 255, None),
    ],
)
def test_a_role_is_a_name_and_perhaps_a_version(role: str, name: str, version: str | None) -> None:
    """The version stands behind the first @ that does not begin the role."""
    assert parse_role(role) == (name, version and parse_version(version))
    assert a_service(role=role).name == name
    assert a_service(role=role).version == (version and parse_version(version))


@pytest.mark.parametrize("role", ["", "@", "@@1.2.3"])
def test_a_role_has_a_name(role: str) -> None:
    """A role without a name is refused with how one looks."""
    with pytest.raises(ValueError, match=rf'^a role is "name@version" or "name", .*got {role!r}$'):
        parse_role(role)


@pytest.mark.parametrize("blank", UNPRINTABLE, ids=ascii)
def test_nothing_unprintable_gets_in(blank: str) -> None:
    """Blanks, control characters and lone surrogates are refused in roles, ids and addresses."""
    for check, what in ((parse_role, "a role"), (check_id, "an id"), (check_address, "an address")):
        for text in (blank, f"we{blank}b", f"web{blank}", f"{blank}web"):
            with pytest.raises(ValueError, match=f"^{what} is ") as caught:
                check(text)
            assert type(caught.value) is ValueError
            assert f"got {text!r}" in str(caught.value)


@pytest.mark.parametrize(
    "role", ["web@", "web@1", "web@v1.2.3", "web@^1.2.3", "web@1.2.3@4", "a@b"]
)
def test_a_role_has_a_full_version_or_none(role: str) -> None:
    """A range or part of a version is refused in a role."""
    with pytest.raises(InvalidVersion, match=r"^a version is three numbers"):
        parse_role(role)


@pytest.mark.parametrize("role", ["a" * 256, "ö" * 128])
def test_a_role_is_not_too_long(role: str) -> None:
    """A role has at most 255 bytes."""
    with pytest.raises(ValueError, match=r"^a role has at most 255 bytes, got 256$"):
        parse_role(role)


@pytest.mark.parametrize("role", NO_TEXT, ids=repr)
def test_a_role_is_text(role: Any) -> None:
    """What is no text is a ValueError, also where it cannot be hashed."""
    with pytest.raises(ValueError, match=r'^a role is text such as "web@1\.2\.3" or "web", got '):
        parse_role(role)


def test_a_role_is_split_whatever_stands_behind_it() -> None:
    """Splitting looks at the @ alone, for a query has a range where a role has a version."""
    assert split_role("@scope/web@^1 || 2.x") == ("@scope/web", "@", "^1 || 2.x")
    assert split_role("") == ("", "", "")


# Ids, addresses, ports


@pytest.mark.parametrize("id", ["a", "db-1", f"{A}.1", "größe", "a*", "x" * 255, "ö" * 127])
def test_an_id_is_taken_as_it_is(id: str) -> None:
    """An id is any text that can be seen, of at most 255 bytes."""
    assert check_id(id) == id


@pytest.mark.parametrize("id", [*NO_TEXT, "", "*", "*db"], ids=repr)
def test_what_is_no_id_is_refused(id: Any) -> None:
    """What is empty, no text, or marked as persistent is no id."""
    with pytest.raises(ValueError) as caught:
        check_id(id)
    assert str(caught.value) == (
        "an id is text without blanks or control characters that does not begin with '*', "
        f"got {id!r}"
    )


def test_an_id_is_not_too_long() -> None:
    """An id has at most 255 bytes, whatever its characters."""
    for id in ("x" * 256, "ö" * 128):
        with pytest.raises(ValueError, match=r"^an id has at most 255 bytes, got 256$"):
            check_id(id)


@pytest.mark.parametrize("address", ["h", "10.0.0.1", "::1", "fe80::1%eth0", "größe", "x" * 255])
def test_an_address_is_taken_as_it_is(address: str) -> None:
    """Host names and IP addresses are addresses; nobody looks them up."""
    assert check_address(address) == address


@pytest.mark.parametrize("address", [*NO_TEXT, "", "x" * 256], ids=repr)
def test_what_is_no_address_is_refused(address: Any) -> None:
    """What is empty, too long or no text is no address, and the error says what to do instead."""
    with pytest.raises(ValueError) as caught:
        check_address(address)
    assert str(caught.value) == (
        f"an address is a host name or an IP address, got {address!r:.80}; leave it out, or give "
        "None to have this host's filled in"
    )


@pytest.mark.parametrize(
    "address", ["localhost:80", "10.0.0.1:80", "[::1]", "[::1]:80", "http://h", ":", "a:b:c", "::g"]
)
def test_an_address_has_no_port_in_it(address: str) -> None:
    """A colon is right in an IPv6 address only, and the error says where the port goes."""
    with pytest.raises(ValueError) as caught:
        check_address(address)
    assert str(caught.value) == (
        "an address has a colon only if it is an IPv6 address, without brackets, got "
        f"{address!r}; give the port as port=..."
    )


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "0:0:0:0:0:0:0:0", "::0", "0::"])
def test_an_address_is_one_to_connect_to(address: str) -> None:
    """What stands for every address of a host can be listened on, and not be registered."""
    assert check_host(address) == address
    with pytest.raises(ValueError, match=f"^'{address}' is no address to connect to, "):
        check_address(address)
    assert not any(map(is_wildcard, ["0", "0.example", "::1", "0.0.0.1", "00.0.0.0.0"]))


@pytest.mark.parametrize("port", [1, 80, 65535])
def test_a_port_is_taken_as_it_is(port: int) -> None:
    """Ports go from 1 to 65535."""
    assert check_port(port) == port


@pytest.mark.parametrize(
    "port", [0, -1, 65536, 10**400, True, False, 80.0, "80", b"80", None, [], float("nan")], ids=str
)
def test_what_is_no_port_is_refused(port: Any) -> None:
    """What is out of range, a bool, or no integer is no port."""
    with pytest.raises(ValueError) as caught:
        check_port(port)
    assert str(caught.value) == f"a port is an integer from 1 to 65535, got {port!r:.80}"


@pytest.mark.parametrize("number", ["0", "1", "10", "9" * 19])
def test_a_made_id_belongs_to_its_maker(number: str) -> None:
    """An id of a node's own making is bound to that node."""
    assert owner_of(f"{A}.{number}") == A


@pytest.mark.parametrize(
    "id",
    [
        "primary", A, f"{A}.", f"{A}.x", f"{A}.01", f"{A}.1 ", f"{A}.1\n", f"{A}.{'9' * 20}",
        f"{A}.\uff11", f"{A.lower()}.1", f"{A[1:]}.1", f"{A}A.1", f"**{A}.1", f"{A}.-1", f"{A}.1.1",
        "",
    ],
)  # fmt: skip
def test_any_other_id_is_a_shared_name(id: str) -> None:
    """What only resembles an id of a node's making is anyone's."""
    assert owner_of(id) is freer_of(id) is None


def test_a_persistent_record_is_its_owners_to_write_and_anyones_to_free() -> None:
    """The mark on the key makes an owner-bound id no shared name, but its owner may be gone."""
    leased, kept = (key_of(f"{A}.1", persistent=persistent) for persistent in (False, True))
    assert (owner_of(leased), owner_of(kept)) == (A, A)
    assert (freer_of(leased), freer_of(kept)) == (A, None)


def test_node_ids_are_24_upper_case_hex_digits() -> None:
    """Nothing else passes for a node id."""
    assert valid_node_id("0123456789ABCDEF01234567")
    for text in ("", "0" * 23, "0" * 25, "a" * 24, "G" * 24, "0" * 24 + "\n", "\uff10" * 24):
        assert not valid_node_id(text)


def test_persistence_is_a_mark_on_the_key() -> None:
    """Whether a key is exempt from the horizon, and which id it stands for, can be seen by it."""
    for id in ("db", f"{A}.1"):
        leased, kept = key_of(id, persistent=False), key_of(id, persistent=True)
        assert leased != kept
        assert (is_persistent(leased), is_persistent(kept)) == (False, True)
        assert id_of(leased) == id_of(kept) == id


# Records and services


def test_the_size_of_a_record_is_what_it_holds_in_bytes() -> None:
    """Key, role, address and data count, by their bytes."""
    data = pack_data({"zone": "eu"})
    assert Record("web").size("k") == 1 + 3 + len(EMPTY_DATA)
    assert Record("größe", "ö", 80, data).size("ö") == 2 + 7 + 2 + len(data)


def test_a_service_is_what_its_entry_says() -> None:
    """Owner and timestamp are those of the stamp; a tombstone stands for no service."""
    stamp = Stamp(from_milliseconds(1234) + 7, B)
    service = service_of(Entry("*db", stamp, a_record("db@2.0.0", "::1", 5432, zone="eu")))
    assert service is not None
    said = [service.id, service.role, service.address, service.port, service.owner]
    assert (*said, service.persistent) == ("db", "db@2.0.0", "::1", 5432, B, True)
    assert service.timestamp == 1234
    assert (service.name, service.version) == ("db", parse_version("2.0.0"))
    assert service.data == {"zone": "eu"}
    assert service_of(Entry("*db", stamp, TOMBSTONE)) is None


def test_services_are_equal_whenever_they_were_renewed() -> None:
    """The timestamp alone does not count in comparisons, nor for the hash."""
    service = a_service(milliseconds=1, zone="eu")
    renewed = a_service(milliseconds=2, zone="eu")
    assert service == renewed
    assert hash(service) == hash(renewed)
    assert (service != renewed) is False
    assert service.timestamp != renewed.timestamp
    others = (
        a_service("web-2", zone="eu"), a_service(role="web@1.2.4", zone="eu"), a_service(zone="us"),
        a_service(owner=B, zone="eu"), a_service(persistent=True, zone="eu"), a_service(),
        a_service(address=None, zone="eu"), a_service(port=1, zone="eu"),
    )  # fmt: skip
    assert len({service, renewed, *others}) == 1 + len(others)
    assert all((service != other) is True for other in (*others, "a service", None))


def test_a_service_cannot_be_changed() -> None:
    """No attribute can be set or removed, and none added."""
    service = a_service()
    for name in ("id", "role", "timestamp", "data", "name", "_entry", "other"):
        with pytest.raises(AttributeError):
            setattr(service, name, "x")
    with pytest.raises(AttributeError):
        del service.id
    assert service == a_service()


def test_the_data_of_a_service_is_a_fresh_copy() -> None:
    """Changing what was read changes nothing, however deep."""
    service = a_service(zones=["eu"], nested={"a": [1]})
    data: Any = service.data
    data["zones"].append("us")
    data["nested"]["a"].clear()
    data["more"] = 1
    assert service.data == {"zones": ["eu"], "nested": {"a": [1]}}
    empty = a_service()
    empty.data["more"] = 1
    assert empty.data == {}


def test_a_service_can_be_copied_and_pickled() -> None:
    """A copy that went through pickle, another process say, is the same service, timestamp too."""
    service = a_service(milliseconds=77, zone="eu", list=[1, None, {"a": 1.5}])
    copies = [copy.copy(service), copy.deepcopy(service)]
    copies += [pickle.loads(pickle.dumps(service, each)) for each in range(2, 6)]
    for each in copies:
        assert each == service
        assert (each.timestamp, each.data, repr(each)) == (77, service.data, repr(service))


@pytest.mark.parametrize(
    "service, shown",
    [
        (a_service(), "<Service web-1 web@1.2.3 at 10.0.0.1:8080>"),
        (a_service(port=None), "<Service web-1 web@1.2.3 at 10.0.0.1>"),
        (a_service(address=None), "<Service web-1 web@1.2.3 at :8080>"),
        (a_service(address=None, port=None), "<Service web-1 web@1.2.3>"),
        (a_service(address="::1"), "<Service web-1 web@1.2.3 at [::1]:8080>"),
        (a_service(zone="eu"), "<Service web-1 web@1.2.3 at 10.0.0.1:8080 {'zone': 'eu'}>"),
    ],
)
def test_a_service_reads_well(service: Service, shown: str) -> None:
    """It says id, role, where it is, and its data, and leaves out what there is not."""
    assert repr(service) == shown


def test_a_service_with_much_data_reads_short() -> None:
    """Data is cut after 80 characters."""
    shown = repr(a_service(text="x" * 10_000))
    assert shown.startswith("<Service web-1 web@1.2.3 at 10.0.0.1:8080 {'text': 'xxx")
    assert shown.endswith("xxx...>")
    assert len(shown) < 140
    assert "..." not in repr(a_service(text="x" * 60))


def test_damaged_data_is_reported() -> None:
    """Bytes that are no data cannot come off the wire; should they be there, reading says so."""
    with pytest.raises(MalformedMessage, match=r"^data"):
        _ = Service.of("web", Stamp(1, A), Record("web", data=b"\xc1")).data
