"""Text from the command line to values: peers, seconds, KEY=VALUE pairs.

The parsers are pure and raise ValueErrors that say what was given and what is right; `checked`
makes of one what click calls back, which names the argument at fault as well.
"""

from __future__ import annotations

import ipaddress
import json
import math
import re
from collections.abc import Callable, Sequence
from typing import TypeVar

import click

from manifest.codec import JSON
from manifest.network import Address
from manifest.records import check_host, is_wildcard

__all__ = [
    "PORT",
    "checked",
    "checked_data",
    "each_checked",
    "parse_address",
    "parse_host",
    "parse_pair",
    "parse_peer",
    "parse_seconds",
]

PORT = 3100
"""Where a manifest listens unless it is told otherwise."""

T = TypeVar("T")

_PEER = re.compile(r"(?:\[([^\[\]\s]+)\]|([^:\[\]\s]*))(?::([0-9]{1,5}))?")


def parse_peer(text: str) -> Address:
    """Return the address that HOST:PORT stands for; ValueError otherwise.

    >>> str(parse_peer("db.example:4000")), str(parse_peer("db.example")), str(parse_peer(":4000"))
    ('db.example:4000', 'db.example:3100', '127.0.0.1:4000')
    >>> str(parse_peer("[2001:db8::1]:4000")), str(parse_peer("[::1]"))
    ('[2001:db8::1]:4000', '[::1]:3100')
    """
    match = _PEER.fullmatch(text)
    if match and text:
        bracketed, plain, digits = match.groups()
        port = PORT if digits is None else int(digits)
        host = bracketed or plain or "127.0.0.1"
        if 1 <= port <= 65535 and _is_host(host) and (bracketed is None or _is_ipv6(bracketed)):
            return Address(host, port)
    hint = f"; IPv6 goes in brackets, [{text}]:{PORT}" if _is_ipv6(text) else ""
    raise ValueError(
        f"{text!r:.80} is not HOST:PORT, such as db.example:{PORT}, 10.0.0.5 or [::1]:{PORT}, "
        f"with a port from 1 to 65535{hint}"
    )


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _is_host(text: str) -> bool:
    try:
        check_host(text)
    except ValueError:
        return False
    return True


def parse_host(text: str) -> str:
    """Return a host to listen on; ValueError otherwise.

    >>> parse_host("0.0.0.0"), parse_host("::1")
    ('0.0.0.0', '::1')
    """
    if not _is_host(text):
        raise ValueError(
            f"{text!r:.80} is not a host name or an IP address, such as localhost, 10.0.0.5 or "
            "::1; the port goes into --port"
        )
    return text


def parse_address(text: str) -> str:
    """Return the address of a service, which others connect to; ValueError otherwise.

    >>> parse_address("db.example"), parse_address("2001:db8::1")
    ('db.example', '2001:db8::1')
    """
    host = parse_host(text)
    if is_wildcard(host):
        raise ValueError(
            f"{host} is no address to connect to, it stands for every address of a host; leave "
            "--address out to have this host's"
        )
    return host


def parse_seconds(text: str) -> float:
    """Return a positive, finite number of seconds; ValueError otherwise.

    >>> parse_seconds("2.5")
    2.5
    """
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise ValueError(f"{text!r:.80} is not a number of seconds above 0, such as 2.5")
    return seconds


def parse_pair(text: str) -> tuple[str, JSON]:
    """Return key and value of KEY=TEXT or KEY:=JSON; ValueError otherwise.

    >>> parse_pair("zone=eu"), parse_pair("weight:=10"), parse_pair("version=1.0")
    (('zone', 'eu'), ('weight', 10), ('version', '1.0'))
    """
    key, equals, value = text.partition("=")
    raw = key.endswith(":")
    key = key.removesuffix(":")
    if not equals or not key:
        raise ValueError(
            f"{text!r:.80} is not KEY=TEXT or KEY:=JSON, such as zone=eu or weight:=10"
        )
    if not raw:
        return key, value
    try:
        return key, json.loads(value)
    except (ValueError, RecursionError):
        raise ValueError(
            f"{value!r:.80} is not JSON; {key}:=JSON takes 10, true or [1, 2], and {key}=TEXT "
            "takes text as it is"
        ) from None


def checked(parse: Callable[[str], T]) -> Callable[..., T | None]:
    """Return what click calls with an option's text, or with None where there is none."""

    def convert(context: click.Context, parameter: click.Parameter, text: str | None) -> T | None:
        if text is None:
            return None
        try:
            return parse(text)
        except ValueError as error:
            raise click.BadParameter(str(error), context, parameter) from None

    return convert


def each_checked(parse: Callable[[str], T]) -> Callable[..., tuple[T, ...]]:
    """Return what click calls with all the texts of an option that may be repeated."""

    def convert(
        context: click.Context, parameter: click.Parameter, texts: Sequence[str]
    ) -> tuple[T, ...]:
        try:
            return tuple(parse(text) for text in texts)
        except ValueError as error:
            raise click.BadParameter(str(error), context, parameter) from None

    return convert


def checked_data(
    context: click.Context, parameter: click.Parameter, texts: Sequence[str]
) -> dict[str, JSON]:
    """Return the mapping that KEY=VALUE pairs make up, as click calls for it."""
    pairs = each_checked(parse_pair)(context, parameter, texts)
    data = dict(pairs)
    if len(data) < len(pairs):
        raise click.BadParameter("each key can be given once", context, parameter)
    return data
