"""What can be set, what it is when nothing is said, and what is a mistake.

Times are seconds here and nowhere else below: the replica and the wire count milliseconds. Every
bad value is a ValueError that says what was given and what is right.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address
from typing import Any

import attrs

from .records import MAX_PORT, UNPRINTABLE, check_host, is_wildcard

__all__ = ["Advertised", "Limits", "Options", "Timeouts", "parse_advertise"]

_LEAST_SECONDS, _MOST_SECONDS = 0.001, 1e9
_MAX_NAME_BYTES = 100
_BESIDE_RECORD = 512
"""What a frame has besides a single record, at the most."""

_HOST_AND_PORT = re.compile(r"(?:\[([^\[\]]*)\]|([^:\[\]]*))(?::([0-9]{1,5}))?")


def _is_seconds(value: object) -> bool:
    # Compared before anything is computed: no float holds 10**400, and NaN compares false.
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and _LEAST_SECONDS <= value <= _MOST_SECONDS
    )


def _seconds(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not _is_seconds(value):
        raise ValueError(
            f"{attribute.name} is a number of seconds from {_LEAST_SECONDS:g} to "
            f"{_MOST_SECONDS:,.0f}, got {value!r:.80}"
        )


def _count(least: int) -> Any:
    def check(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if type(value) is not int or not least <= value < 2**31:
            raise ValueError(
                f"{attribute.name} is an integer from {least} to 2^31 - 1, got {value!r:.80}"
            )

    return check


def _word(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is None and attribute.default is None:
        return
    if (
        type(value) is not str
        or not value
        or UNPRINTABLE.search(value)
        or len(value.encode()) > _MAX_NAME_BYTES
    ):
        raise ValueError(
            f"{attribute.name} is 1 to {_MAX_NAME_BYTES} bytes of text without blanks or control "
            f"characters, got {value!r:.80}"
        )


def _instance_of(kind: type) -> Any:
    def check(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if not isinstance(value, kind):
            raise ValueError(
                f"{attribute.name} is made by manifest.{kind.__name__}(...), got {value!r:.80}"
            )

    return check


def _default_frame(limits: Limits) -> int:
    # What is wrong is reported by its own validator, which runs later.
    right = type(limits.record_bytes) is int
    return max(64 * 1024, limits.record_bytes + _BESIDE_RECORD) if right else 64 * 1024


@attrs.frozen(kw_only=True)
class Limits:
    """How large things may be, in bytes, and how many of them there may be.

    A peer that goes beyond them is dropped, and counted in `Statistics.refused`. What this manifest
    registers is held to them before it is written: that is `LimitReached`, and a ValueError for a
    record that is too large. docs/limits.md has the whole story.
    """

    record_bytes: int = attrs.field(default=16 * 1024, validator=_count(256))
    """The largest record: id, role, address and data together. The same in the whole cluster."""
    frame_bytes: int = attrs.field(
        default=attrs.Factory(_default_frame, takes_self=True), validator=_count(1024)
    )
    """The largest frame that is accepted; at least `record_bytes` + 512.

    64 KiB, or what a record needs where that is more. Nobody sends more than 64 KiB at a time,
    unless a single record takes it.
    """
    owners: int = attrs.field(default=20_000, validator=_count(1))
    """Nodes that are known, this one included: those that wrote or lived within the retention."""
    entries: int = attrs.field(default=5_000_000, validator=_count(1))
    """Records and tombstones, all owners together."""
    owner_records: int = attrs.field(default=250_000, validator=_count(1))
    """Records of one owner."""
    owner_tombstones: int = attrs.field(default=1_000_000, validator=_count(1))
    """Tombstones of one owner; it frees one such number of services within the retention."""
    owner_persistent: int = attrs.field(default=10_000, validator=_count(1))
    """Persistent records of one owner, those that it freed included: they are never collected."""
    connections: int = attrs.field(default=1000, validator=_count(1))
    """Accepted connections whose peers have said Hello."""
    address_connections: int = attrs.field(default=500, validator=_count(1))
    """Those among them that come from one address."""
    ungreeted_connections: int = attrs.field(default=100, validator=_count(1))
    """Accepted connections, beside these, whose peers have not said Hello yet."""

    def __attrs_post_init__(self) -> None:
        if self.frame_bytes < self.record_bytes + _BESIDE_RECORD:
            raise ValueError(
                "frame_bytes must hold a record: at least record_bytes + 512 = "
                f"{self.record_bytes + _BESIDE_RECORD}, got {self.frame_bytes}"
            )


@attrs.frozen(kw_only=True)
class Timeouts:
    """How long to wait for a peer, in seconds."""

    dial: float = attrs.field(default=3.0, validator=_seconds)
    """For a connection to be made."""
    handshake: float = attrs.field(default=10.0, validator=_seconds)
    """From the connection to the peer's Hello."""
    frame: float = attrs.field(default=30.0, validator=_seconds)
    """From the first byte of a frame to its last."""
    send: float = attrs.field(default=10.0, validator=_seconds)
    """For a peer to take what is sent to it."""
    close: float = attrs.field(default=2.0, validator=_seconds)
    """For the farewell to reach the peers when a manifest closes."""
    redial: float = attrs.field(default=1.0, validator=_seconds)
    """The longest pause before a lost peer is dialled again."""
    refused: float = attrs.field(default=15.0, validator=_seconds)
    """The longest pause before a peer that refused, or was refused, is dialled again."""


@attrs.frozen
class Advertised:
    """The address that others are told, and the port if that differs from the one bound."""

    host: str
    port: int | None = None


def parse_advertise(text: object) -> Advertised:
    """Return what "host", "host:port", "[v6]:port" or "v6" says; ValueError otherwise.

    >>> parse_advertise("example.org:8080")
    Advertised(host='example.org', port=8080)
    >>> parse_advertise("[2001:db8::1]:8080").host, parse_advertise("2001:db8::1").host
    ('2001:db8::1', '2001:db8::1')
    """
    try:
        advertised = _advertised(text)
    except ValueError:
        raise ValueError(
            'advertise is "host", "host:port" or "[IPv6 address]:port" with a port from 1 to '
            f"{MAX_PORT}, got {text!r:.80}"
        ) from None
    if is_wildcard(advertised.host):
        raise ValueError(
            f"advertise is what others connect to, and {advertised.host} stands for every address "
            f"of a host; say which of them they can reach, got {text!r:.80}"
        )
    return advertised


def _advertised(text: object) -> Advertised:
    if not isinstance(text, str):
        raise ValueError
    match = _HOST_AND_PORT.fullmatch(text)
    bracketed, plain, port = match.groups() if match else (text, None, None)
    if bracketed is not None:
        IPv6Address(bracketed)
    if port is not None and not 1 <= int(port) <= MAX_PORT:
        raise ValueError
    return Advertised(check_host(bracketed or plain), int(port) if port else None)


def _to_advertised(value: object) -> Advertised | None:
    return None if value is None else parse_advertise(value)


def _default_skew(options: Options) -> float:
    # A retention that is wrong is reported by its own validator, which runs later.
    right = _is_seconds(options.retention)
    return max(_LEAST_SECONDS, min(60.0, options.retention / 4)) if right else 60.0


@attrs.frozen(kw_only=True)
class Options:
    """How one manifest behaves; `open_manifest` takes each of these by name."""

    name: str | None = attrs.field(default=None, validator=_word)
    """A name that survives restarts: a later incarnation displaces an earlier one at once."""
    cluster: str = attrs.field(default="manifest", validator=_word)
    """Manifests of different clusters refuse each other."""
    registration_lifetime: float = attrs.field(default=5.0, validator=_seconds)
    """How long a registration stays valid after a heartbeat fell due, in seconds."""
    heartbeat_interval: float = attrs.field(default=5.0, validator=_seconds)
    """How often this manifest says that it is alive, in seconds."""
    advertise: Advertised | None = attrs.field(default=None, converter=_to_advertised)
    """Host, and port if need be, to tell others instead of what is bound."""
    retention: float = attrs.field(default=3600.0, validator=_seconds)
    """How long tombstones are kept, in seconds. The same in the whole cluster."""
    max_clock_skew: float = attrs.field(
        default=attrs.Factory(_default_skew, takes_self=True), validator=_seconds
    )
    """How far apart the clocks of two manifests may be, in seconds."""
    limits: Limits = attrs.field(factory=Limits, validator=_instance_of(Limits))
    timeouts: Timeouts = attrs.field(factory=Timeouts, validator=_instance_of(Timeouts))

    def __attrs_post_init__(self) -> None:
        if self.retention < 2 * self.lease:
            raise ValueError(
                "retention must be at least twice heartbeat_interval + registration_lifetime, "
                f"{2 * self.lease:g} s, got {self.retention:g} s"
            )
        if self.max_clock_skew > self.retention / 4:
            raise ValueError(
                f"max_clock_skew may be at most a quarter of retention, {self.retention / 4:g} s, "
                f"got {self.max_clock_skew:g} s: renewals must outrun the fastest clock"
            )

    @property
    def lease(self) -> float:
        """How long others believe in this manifest after it last spoke, in seconds."""
        return self.heartbeat_interval + self.registration_lifetime

    @property
    def patience(self) -> float:
        """For how long relays may hold a heartbeat of this manifest back, all of them together.

        Half of what its services stay valid for after a heartbeat fell due, the other half being
        for what nobody waits for on purpose; and no longer than three quarters of what is left
        until others miss it, which they do when two thirds of its lease are over, and ask.
        """
        until_missed = self.lease * 2 / 3 - self.heartbeat_interval
        return max(0.0, min(self.registration_lifetime / 2, until_missed * 3 / 4))
