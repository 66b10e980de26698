"""What is said of services and events."""

from __future__ import annotations

import shlex

import pytest

from manifest.cli.arguments import parse_pair
from manifest.cli.wording import at, clock, columns, data_text, describe, printable, row, short
from manifest.codec import JSON
from manifest.crdt import Stamp
from manifest.events import Closed, Displaced, Freed, FreeReason, Registered, Updated
from manifest.records import Record, Service

NODE = "0123456789ABCDEF01234567"


def a_service(address: str | None = None, port: int | None = None) -> Service:
    """Return a service at an address and a port."""
    return Service.of(f"{NODE}.1", Stamp(0, NODE), Record("web@1.0.0", address, port))


@pytest.mark.parametrize(
    "address, port, text",
    [
        ("10.0.0.5", 80, "10.0.0.5:80"),
        ("2001:db8::5", 80, "[2001:db8::5]:80"),
        ("db.example", None, "db.example"),
        (None, 80, ":80"),
        (None, None, "-"),
    ],
)
def test_where_a_service_is(address: str | None, port: int | None, text: str) -> None:
    """An address is shown as far as it is known, IPv6 in brackets."""
    assert at(a_service(address, port)) == text


def test_nothing_from_elsewhere_steers_the_terminal() -> None:
    """What is not printable is escaped, wherever it comes from; what is printable is left alone."""
    assert printable("\x1b]0;x\x07\u202e\u200b\n café") == r"\x1b]0;x\x07\u202e\u200b\n café"
    assert data_text({"a\x1b": "b\x1b\x7f"}) == r"""'a\x1b:="b\u001b\u007f"'"""
    assert data_text({"a": ["\x9b", "\u202e", "é"]}) == r"""'a:=["\u009b","\u202e","é"]'"""


def test_data_reads_as_it_was_given_where_it_can() -> None:
    """Text stands as it is and all else as JSON, quoted for a shell where it has to be."""
    data: dict[str, JSON] = {
        "a": "x",
        "b": "",
        "c": 'say "x"',
        "d": True,
        "e": None,
        "f": {"g": 1.5},
        "h": "é",
    }
    assert data_text(data) == ("""a=x b= 'c=say "x"' d:=true e:=null 'f:={"g":1.5}' 'h=é'""")


@pytest.mark.parametrize(
    "value",
    [
        "x", "", "10", "true", "a=b", ":=1", "it's", 'say "x"', "$HOME `id` \\", "é \x1b\x7f\u202e",
        "\U000e0001", 10, -1.5, True, None, [], {}, ["a", {"b": "\x9b"}], 2**64 - 1,
    ],
    ids=ascii,
)  # fmt: skip
@pytest.mark.parametrize("key", ["zone", "a b", "a:", "a:b", "$x"])
def test_data_can_be_given_as_it_is_shown(key: str, value: JSON) -> None:
    """What is shown can be pasted behind --data or --where, and means the same."""
    (word,) = shlex.split(data_text({key: value}))
    assert parse_pair(word) == (key, value)
    assert type(parse_pair(word)[1]) is type(value)


def test_ids_are_short_where_it_is_brief() -> None:
    """The node in an id is cut for people at a terminal, an id that a user chose never is."""
    service = a_service("h", 1)
    assert row(service) == ("web@1.0.0", "h:1", f"{NODE}.1", "")
    assert row(service, brief=True) == ("web@1.0.0", "h:1", "01234567….1", "")
    assert short(f"{NODE}x") == f"{NODE}x"
    assert describe(Freed(service, FreeReason.EXPIRED), brief=True) == (
        "freed",
        "web@1.0.0 h:1 01234567….1 (expired)",
    )


def test_each_event_has_its_word() -> None:
    """An event is told by its name and what it is about."""
    service, before = a_service("h", 1), a_service("h", 2)
    assert describe(Registered(service)) == ("registered", f"web@1.0.0 h:1 {NODE}.1")
    assert describe(Updated(service, before)) == ("updated", f"web@1.0.0 h:1 {NODE}.1")
    assert describe(Displaced(NODE))[1].startswith(f"by {NODE}")
    assert describe(Closed()) == ("closed", "")


def test_columns_are_aligned() -> None:
    """Each column is as wide as its widest cell, and no line ends in blanks."""
    assert columns([("A", "B"), ("aa", "")]) == "A   B\naa"


def test_a_time_of_day_has_milliseconds() -> None:
    """Times of events are those of this machine's zone, to the millisecond."""
    assert clock(1_700_000_000_123).endswith(":20.123")
