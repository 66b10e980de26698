"""What the command line takes for a peer, a number of seconds and a pair."""

from __future__ import annotations

import click
import pytest

from manifest.cli.arguments import (
    checked,
    checked_data,
    each_checked,
    parse_pair,
    parse_peer,
    parse_seconds,
)


@pytest.mark.parametrize(
    "text, host, port",
    [
        ("127.0.0.1:80", "127.0.0.1", 80),
        ("db.example", "db.example", 3100),
        (":4000", "127.0.0.1", 4000),
        ("[::1]", "::1", 3100),
        ("[fe80::1%eth0]:65535", "fe80::1%eth0", 65535),
    ],
)
def test_a_peer_is_host_and_port(text: str, host: str, port: int) -> None:
    """The port may be left out, the host too, and IPv6 addresses stand in brackets."""
    address = parse_peer(text)
    assert (address.host, address.port) == (host, port)


@pytest.mark.parametrize(
    "text",
    ["", "a:0", "a:65536", "a:b", "a b", "a:1:2", "[::1", "[web]:1", "[]:1", "http://a", ":", "a:"],
)
def test_what_is_no_peer_is_refused(text: str) -> None:
    """Anything else is refused with an example of what is right."""
    with pytest.raises(ValueError, match=r"is not HOST:PORT, such as db\.example:3100"):
        parse_peer(text)


def test_a_bare_ipv6_address_is_shown_in_brackets() -> None:
    """An IPv6 address without brackets could mean two things: the error shows how to write it."""
    with pytest.raises(ValueError, match=r"IPv6 goes in brackets, \[::1\]:3100"):
        parse_peer("::1")


@pytest.mark.parametrize("text", ["0", "-1", "inf", "nan", "soon", ""])
def test_what_is_no_time_is_refused(text: str) -> None:
    """Seconds are positive and finite."""
    with pytest.raises(ValueError, match="is not a number of seconds above 0"):
        parse_seconds(text)


def test_a_pair_is_text_or_json() -> None:
    """`=` takes text as it is, `:=` takes JSON, and only the first `=` counts."""
    assert parse_pair("a=b=c") == ("a", "b=c")
    assert parse_pair("a=") == ("a", "")
    assert parse_pair("a=10") == ("a", "10")
    assert parse_pair('a:=[1, {"b": null}]') == ("a", [1, {"b": None}])


@pytest.mark.parametrize("text", ["", "a", "=b", ":=1"])
def test_what_is_no_pair_is_refused(text: str) -> None:
    """A pair has a key."""
    with pytest.raises(ValueError, match=r"is not KEY=TEXT or KEY:=JSON"):
        parse_pair(text)


@pytest.mark.parametrize("text", ["a:=eu", "a:=", "a:=" + "[" * 100_000])
def test_what_is_no_json_is_refused(text: str) -> None:
    """JSON that cannot be read is refused with both ways of writing a pair."""
    with pytest.raises(ValueError, match=r"is not JSON; a:=JSON takes .* a=TEXT takes text"):
        parse_pair(text)


def test_click_is_told_which_parameter_is_wrong() -> None:
    """What click calls back turns errors into its own, and leaves what was not given alone."""
    command = click.Command("x", params=[option := click.Option(["--x"])])
    context = click.Context(command)
    assert checked(parse_seconds)(context, option, None) is None
    assert checked(parse_seconds)(context, option, "2") == 2
    assert each_checked(parse_peer)(context, option, []) == ()
    assert checked_data(context, option, ["a=1", "b=2"]) == {"a": "1", "b": "2"}
    for wrong in (
        lambda: checked(parse_seconds)(context, option, "x"),
        lambda: each_checked(parse_peer)(context, option, ["a", "::"]),
        lambda: checked_data(context, option, ["a=1", "a=2"]),
    ):
        with pytest.raises(click.BadParameter) as caught:
            wrong()
        assert caught.value.param is option
