"""Services, nodes and links to try things on, made in one line each."""

from __future__ import annotations

from typing import Any

from manifest.codec import pack_data
from manifest.crdt import Stamp, from_milliseconds
from manifest.link import Link, SupervisedLink
from manifest.network import Address
from manifest.records import Record, Service, key_of

A, B, C = "A" * 24, "B" * 24, "C" * 24
"""Ids of three nodes, in the order in which they break ties."""


def a_record(
    role: str = "web@1.2.3",
    address: str | None = "10.0.0.1",
    port: int | None = 8080,
    **data: Any,
) -> Record:
    """Return a record with this data."""
    return Record(role, address, port, pack_data(data))


def a_service(
    id: str = "web-1",
    role: str = "web@1.2.3",
    *,
    owner: str = A,
    milliseconds: int = 1,
    persistent: bool = False,
    **record: Any,
) -> Service:
    """Return a service as a view would show it; what is not named here goes to `a_record`."""
    stamp = Stamp(from_milliseconds(milliseconds), owner)
    return Service.of(key_of(id, persistent=persistent), stamp, a_record(role, **record))


def a_link(*, dialled: bool) -> Link:
    """Return a link that leads nowhere: no manifest runs it."""
    hub: Any = None
    return SupervisedLink(hub, Address("192.0.2.1", 3100), dialled=dialled)
