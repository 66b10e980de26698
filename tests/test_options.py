"""What can be set: defaults, what is refused and in which words, and what depends on what."""

from __future__ import annotations

import math
import re
from typing import Any

import attrs
import pytest

from manifest.options import Advertised, Limits, Options, Timeouts, parse_advertise

DURATIONS = ("registration_lifetime", "heartbeat_interval", "retention", "max_clock_skew")
NO_SECONDS: tuple[Any, ...] = (
    None, "5", b"5", [], True, False, 1j, math.nan, math.inf, -math.inf, 0, 0.0, -1, 0.0009,
    1e9 + 1, 10**400, -(10**400),
)  # fmt: skip
NO_WORDS: tuple[Any, ...] = (
    "", " ", "a b", "a\tb", "a\n", "\x00", "\x1b[31m", "\x7f", "\x9b", "a\xa0b", "a\u2003b",
    "a\u2028", "\u202eab", "\u200b", "\ufeff", "\ud800", "x" * 101, "ö" * 51, 5, True, b"a", ["a"],
)  # fmt: skip
COUNTED = (
    "owners", "entries", "owner_records", "owner_tombstones", "owner_persistent", "connections",
    "address_connections", "ungreeted_connections",
)  # fmt: skip
NO_COUNTS: tuple[Any, ...] = (
    None, True, 0, -1, 1.0, 2048.0, math.nan, "2048", 2**31, 10**400, []
)  # fmt: skip


def test_what_is_not_said_is_as_documented() -> None:
    """The defaults are those of the documentation."""
    options = Options()
    assert (options.name, options.cluster, options.advertise) == (None, "manifest", None)
    assert (options.heartbeat_interval, options.registration_lifetime, options.lease) == (5, 5, 10)
    assert (options.retention, options.max_clock_skew) == (3600, 60)
    assert options.limits == Limits()
    assert options.timeouts == Timeouts()


@pytest.mark.parametrize("option", DURATIONS)
@pytest.mark.parametrize("value", NO_SECONDS, ids=repr)
def test_what_is_no_time_is_refused(option: str, value: Any) -> None:
    """A time that is no finite number in reason is a ValueError with its name, bounds and value."""
    with pytest.raises(ValueError) as caught:
        Options(**{option: value})
    assert type(caught.value) is ValueError
    assert str(caught.value) == (
        f"{option} is a number of seconds from 0.001 to 1,000,000,000, got {value!r:.80}"
    )


@pytest.mark.parametrize("timeout", attrs.fields_dict(Timeouts))
@pytest.mark.parametrize("value", NO_SECONDS, ids=repr)
def test_what_is_no_timeout_is_refused(timeout: str, value: Any) -> None:
    """Every timeout is checked as every other time is."""
    with pytest.raises(ValueError, match=rf"^{timeout} is a number of seconds from"):
        Timeouts(**{timeout: value})


@pytest.mark.parametrize("option", ["name", "cluster"])
@pytest.mark.parametrize("value", NO_WORDS, ids=ascii)
def test_what_is_no_word_is_refused(option: str, value: Any) -> None:
    """A name is text without blanks, of at most 100 bytes, or a ValueError says so."""
    with pytest.raises(ValueError) as caught:
        Options(**{option: value})
    assert str(caught.value) == (
        f"{option} is 1 to 100 bytes of text without blanks or control characters, "
        f"got {value!r:.80}"
    )


@pytest.mark.parametrize("word", ["a", "db-1", "größe", "x" * 100, "ö" * 50, "日本", "a/b:c@d"])
def test_a_word_is_taken_as_it_is(word: str) -> None:
    """Whatever can be seen makes a name, up to 100 bytes."""
    assert (Options(name=word).name, Options(cluster=word).cluster) == (word, word)


def test_a_name_may_be_missing_and_a_cluster_may_not() -> None:
    """None means no name; a cluster always has one."""
    assert Options(name=None).name is None
    with pytest.raises(ValueError, match=r"^cluster is .*, got None$"):
        Options(cluster=None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "limit, least, value",
    [
        *(("record_bytes", 256, value) for value in (*NO_COUNTS, 255)),
        *(("frame_bytes", 1024, value) for value in (*NO_COUNTS, 1023)),
        *((limit, 1, value) for limit in COUNTED for value in NO_COUNTS),
    ],
    ids=repr,
)
def test_what_is_no_limit_is_refused(limit: str, least: int, value: Any) -> None:
    """A limit is an integer from its least value up, or a ValueError says so."""
    with pytest.raises(ValueError) as caught:
        Limits(**{limit: value})
    assert str(caught.value) == (
        f"{limit} is an integer from {least} to 2^31 - 1, got {value!r:.80}"
    )


def test_a_frame_must_hold_a_record() -> None:
    """A frame has 512 bytes more than a record at least, and the error says how many that are."""
    assert Limits(record_bytes=1024, frame_bytes=1536).frame_bytes == 1536
    with pytest.raises(
        ValueError, match=r"^frame_bytes must .* record_bytes \+ 512 = 1536, got 1535"
    ):
        Limits(record_bytes=1024, frame_bytes=1535)
    with pytest.raises(ValueError, match=r"= 1049088, got 1048576$"):
        Limits(record_bytes=2**20, frame_bytes=2**20)
    assert Limits(record_bytes=2**20).frame_bytes == 2**20 + 512
    assert Limits().frame_bytes == Limits(record_bytes=256).frame_bytes == 64 * 1024


def test_the_least_and_the_most_are_taken() -> None:
    """The bounds that errors name are allowed themselves."""
    Limits(record_bytes=256, frame_bytes=1024)
    Limits(frame_bytes=2**31 - 1)
    Timeouts(dial=0.001, close=1_000_000_000)
    least = Options(
        heartbeat_interval=0.001, registration_lifetime=0.001, retention=0.004, max_clock_skew=0.001
    )
    assert least.lease == 0.002
    assert Options(retention=1e9).retention == 1e9


def test_retention_is_at_least_two_leases() -> None:
    """Tombstones outlive a lease twice over, and the error says how long that is."""
    assert Options(heartbeat_interval=10, registration_lifetime=20, retention=60).lease == 30
    expected = (
        r"^retention must be at least twice heartbeat_interval \+ registration_lifetime, 60 s, "
        r"got 59\.9 s$"
    )
    with pytest.raises(ValueError, match=expected):
        Options(heartbeat_interval=10, registration_lifetime=20, retention=59.9)


def test_clocks_differ_by_a_quarter_of_retention_at_most() -> None:
    """Renewals at half the retention must outrun the fastest clock, and the error says so."""
    assert Options(retention=100, max_clock_skew=25).max_clock_skew == 25
    with pytest.raises(ValueError, match=r"^max_clock_skew .* retention, 25 s, got 25\.1 s: renew"):
        Options(retention=100, max_clock_skew=25.1)


@pytest.mark.parametrize(
    "retention, skew", [(3600, 60), (241, 60), (240, 60), (200, 50), (20, 5), (1e9, 60)]
)
def test_the_default_skew_follows_retention(retention: float, skew: float) -> None:
    """The skew that nobody chose is a minute, or a quarter of the retention where that is less."""
    assert Options(retention=retention).max_clock_skew == skew


def test_a_retention_that_is_too_small_is_what_is_reported() -> None:
    """The error names the option that was given, not the one that follows from it."""
    with pytest.raises(ValueError, match=r"^retention must be at least twice"):
        Options(retention=0.001)


@pytest.mark.parametrize("option, kind", [("limits", "Limits"), ("timeouts", "Timeouts")])
@pytest.mark.parametrize("value", [None, {}, 5, Options], ids=repr)
def test_groups_of_options_have_their_own_type(option: str, kind: str, value: Any) -> None:
    """Limits and timeouts are made by their classes; anything else is a ValueError that says so."""
    with pytest.raises(
        ValueError,
        match=rf"^{option} is made by manifest\.{kind}\(\.\.\.\), got {re.escape(repr(value))}",
    ):
        Options(**{option: value})


@pytest.mark.parametrize(
    "text, host, port",
    [
        ("example.org", "example.org", None),
        ("example.org:1", "example.org", 1),
        ("example.org:65535", "example.org", 65535),
        ("192.0.2.1:080", "192.0.2.1", 80),
        ("[2001:db8::1]", "2001:db8::1", None),
        ("[2001:db8::1]:3100", "2001:db8::1", 3100),
        ("2001:db8::1", "2001:db8::1", None),
        ("::1", "::1", None),
        ("fe80::1%eth0", "fe80::1%eth0", None),
        ("[fe80::1%eth0]:80", "fe80::1%eth0", 80),
        ("größe.example:80", "größe.example", 80),
    ],
)
def test_what_is_advertised_is_a_host_and_perhaps_a_port(
    text: str, host: str, port: int | None
) -> None:
    """Host names and addresses of both families are read, with a port or without one."""
    assert parse_advertise(text) == Advertised(host, port)
    assert Options(advertise=text).advertise == Advertised(host, port)


@pytest.mark.parametrize(
    "value",
    [
        "", ":", ":80", "host:", "host:0", "host:65536", "host:99999", "host:100000", "host:-1",
        "host:8o", "host:\uff18\uff10", "host: 80", "host:80:90", "a:b:c", "[host]:80", "[]:80",
        "[::1", "::1]", "[::1]80", "[::1]:", "[::1]:0", "[[::1]]", "ho st", "host\n", "\x00",
        "\x1b[2J", "ho\u202est", "\ud800", "http://host", "x" * 256, b"host", 80, True, ["host"],
        ("host", 80),
    ],
    ids=ascii,
)  # fmt: skip
def test_what_cannot_be_advertised_is_refused(value: Any) -> None:
    """What is no host with a port in range is a ValueError: it would be told to every peer."""
    for take in (parse_advertise, lambda given: Options(advertise=given)):
        with pytest.raises(ValueError) as caught:
            take(value)
        assert type(caught.value) is ValueError
        assert str(caught.value) == (
            'advertise is "host", "host:port" or "[IPv6 address]:port" with a port from 1 to '
            f"65535, got {value!r:.80}"
        )


@pytest.mark.parametrize("host", ["0.0.0.0", "0.0.0.0:3100", "::", "[::]:3100"])
def test_what_stands_for_every_address_is_not_advertised(host: str) -> None:
    """What others connect to is one address, and not the one that is listened on for all."""
    with pytest.raises(ValueError, match=r"^advertise is what others connect to, and "):
        parse_advertise(host)


def test_options_are_values() -> None:
    """Options with the same settings are equal, and none can be changed afterwards."""
    assert Options(name="a") == Options(name="a") != Options(name="b")
    values = {
        Options(): "name",
        Limits(): "frame_bytes",
        Timeouts(): "dial",
        Advertised("h"): "host",
    }
    for value, attribute in values.items():
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(value, attribute, None)
