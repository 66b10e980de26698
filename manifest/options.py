"""What can be set, what it is when nothing is said, and what is a mistake.

Times are seconds here and nowhere else below: the replica and the wire count milliseconds. Every
bad value is a ValueError that says what was given and what is right.
"""

from __future__ import annotations

import math
import re
from typing import Any

import attrs

__all__ = ["Advertised", "Limits", "Options", "Timeouts", "parse_advertise"]

_NAME = re.compile(r"[^\x00-\x20\x7f-\xa0\ud800-\udfff]+")
_MAX_NAME_BYTES = 100


def _seconds(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not math.isfinite(value)
        or not 0.001 <= value <= 1e9
    ):
        raise ValueError(
            f"{attribute.name} is a number of seconds from 0.001 to 1e9, got {value!r:.80}"
        )


def _count(least: int) -> Any:
    def check(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if type(value) is not int or not least <= value < 2**31:
            raise ValueError(
                f"{attribute.name} is an integer from {least} to 2^31 - 1, got {value!r:.80}"
            )

    return check


def _word(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is None and attribute.default is None:
        return
    if (
        type(value) is not str
        or not _NAME.fullmatch(value)
        or len(value.encode()) > _MAX_NAME_BYTES
    ):
        raise ValueError(
            f"{attribute.name} is 1 to {_MAX_NAME_BYTES} bytes of text without blanks or control "
            f"characters, got {value!r:.80}"
        )


@attrs.frozen(kw_only=True)
class Limits:
    """How large things may be, in bytes. A peer that goes beyond them is dropped."""

    record_bytes: int = attrs.field(default=16 * 1024, validator=_count(256))
    """The largest record: id, role, address and data together. The same in the whole cluster."""
    frame_bytes: int = attrs.field(default=1024 * 1024, validator=_count(1024))
    """The largest frame that is accepted; at least `record_bytes` + 512."""

    def __attrs_post_init__(self) -> None:
        if self.frame_bytes < self.record_bytes + 512:
            raise ValueError(
                "frame_bytes must hold a record: at least record_bytes + 512 = "
                f"{self.record_bytes + 512}, got {self.frame_bytes}"
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
    """Return what "host", "host:port", "[v6]:port" or "[v6]" says; ValueError otherwise.

    >>> parse_advertise("example.org:8080")
    Advertised(host='example.org', port=8080)
    >>> parse_advertise("[2001:db8::1]:8080").host, parse_advertise("2001:db8::1").host
    ('2001:db8::1', '2001:db8::1')
    """
    if isinstance(text, str):
        match = re.fullmatch(r"\[([^\[\]\s]+)\](?::(\d{1,5}))?|([^:\s\[\]]+)(?::(\d{1,5}))?", text)
        if match:
            host, port = match[1] or match[3], match[2] or match[4]
            if port is None or 1 <= int(port) <= 65535:
                return Advertised(host, int(port) if port else None)
        elif text.count(":") > 1 and not re.search(r"[\[\]\s]", text):
            return Advertised(text)
    raise ValueError(
        'advertise is "host", "host:port" or "[IPv6 address]:port" with a port from 1 to 65535, '
        f"got {text!r:.80}"
    )


def _to_advertised(value: object) -> Advertised | None:
    return None if value is None else parse_advertise(value)


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
    max_clock_skew: float = attrs.field(validator=_seconds)
    """How far apart the clocks of two manifests may be, in seconds."""
    limits: Limits = attrs.field(factory=Limits, validator=attrs.validators.instance_of(Limits))
    timeouts: Timeouts = attrs.field(
        factory=Timeouts, validator=attrs.validators.instance_of(Timeouts)
    )

    @max_clock_skew.default
    def _default_skew(self) -> float:
        # A retention that is no number is reported by its own validator, which runs later.
        return min(60.0, self.retention / 4) if isinstance(self.retention, int | float) else 60.0

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
