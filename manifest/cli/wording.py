"""What is said of services and events, in words: pure, and safe to print.

Ids, roles, data and reasons come from other machines. Nothing of them reaches a terminal that could
move its cursor or reverse its text: what is not printable is shown escaped.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from manifest.codec import JSON
from manifest.events import (
    Accepted,
    Connected,
    Disconnected,
    Displaced,
    Event,
    Freed,
    Registered,
    Synced,
    Updated,
)
from manifest.link import LinkStatus
from manifest.network import Address
from manifest.records import Service

__all__ = [
    "COLUMNS",
    "as_json",
    "at",
    "clock",
    "columns",
    "data_text",
    "describe",
    "peer_text",
    "printable",
    "row",
    "sentence",
    "short",
]

_NODE = re.compile(r"^([0-9A-F]{8})[0-9A-F]{16}(\.[0-9]+)?$")

COLUMNS = ("ROLE", "ADDRESS", "ID", "DATA")


def printable(text: str) -> str:
    r"""Return a text with everything escaped that is not printable.

    >>> print(printable("web\x1b[2J caf\u00e9 \u202e"))
    web\x1b[2J café \u202e
    """
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


def at(service: Service) -> str:
    """Return where a service is: `host:port`, or the part of it that is known, or `-`."""
    if service.address is None:
        return "-" if service.port is None else f":{service.port}"
    host = printable(service.address)
    return host if service.port is None else str(Address(host, service.port))


def data_text(data: Mapping[str, JSON]) -> str:
    """Return data as words that a shell hands to `--data` and `--where` as they are.

    >>> print(data_text({"zone": "eu", "weight": 10, "note": "two words", "up": [1, "a"]}))
    zone=eu weight:=10 'note=two words' 'up:=[1,"a"]'
    """
    return " ".join(_pair(key, value) for key, value in data.items())


def _pair(key: str, value: JSON) -> str:
    # `a:=x` is read as JSON, and so the text x under `a:` is written as JSON, too.
    if isinstance(value, str) and value.isprintable() and not key.endswith(":"):
        text = f"{printable(key)}={value}"
    else:
        value_text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        escaped = "".join(
            each if each.isprintable() else json.dumps(each)[1:-1].replace("\x7f", r"\u007f")
            for each in value_text
        )
        text = f"{printable(key)}:={escaped}"
    return shlex.quote(text)


def short(id: str) -> str:
    """Return an id with the node in it, if there is one, cut to what tells it from others.

    >>> short("2CC25726B4F45C36E7011C13.1"), short("2CC25726B4F45C36E7011C13"), short("db-1")
    ('2CC25726….1', '2CC25726…', 'db-1')
    """
    return _NODE.sub(r"\1…\2", id)


def row(service: Service, *, brief: bool = False) -> tuple[str, str, str, str]:
    """Return a service as it stands in a table, under `COLUMNS`; its id is short if it is brief."""
    id = printable(service.id)
    return (
        printable(service.role),
        at(service),
        short(id) if brief else id,
        data_text(service.data),
    )


def columns(rows: Iterable[Sequence[str]]) -> str:
    """Return rows as aligned columns, the last of them as wide as it likes.

    >>> print(columns([("ROLE", "ADDRESS"), ("web@1.2.3", "-")]))
    ROLE       ADDRESS
    web@1.2.3  -
    """
    table = [tuple(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    )


def clock(milliseconds: int) -> str:
    """Return a time of day, local to this machine, to the millisecond."""
    local = datetime.fromtimestamp(milliseconds / 1000, UTC).astimezone()
    return local.isoformat(sep=" ", timespec="milliseconds")[11:23]


def sentence(service: Service, *, brief: bool = False) -> str:
    """Return a service in one line, its id short if it is brief.

    >>> from manifest.crdt import Stamp
    >>> from manifest.records import Record
    >>> sentence(Service.of("db-1", Stamp(0, "A"), Record("db@1.0.0", "10.0.0.5", 5432)))
    'db@1.0.0 10.0.0.5:5432 db-1'
    """
    return " ".join(each for each in row(service, brief=brief) if each)


def peer_text(status: LinkStatus, *, brief: bool = False) -> str:
    """Return who is at the other end of a link, and where."""
    who = printable(status.peer_name or status.peer or "somebody")
    return f"{short(who) if brief else who} at {status.address}"


def describe(event: Event, *, brief: bool = False) -> tuple[str, str]:
    """Return an event as a word and what it is about, ids in it short if it is brief."""
    match event:
        case Registered(service) | Updated(service):
            rest = sentence(service, brief=brief)
        case Freed(service, reason):
            rest = f"{sentence(service, brief=brief)} ({reason.value})"
        case Connected(link) | Accepted(link) | Synced(link):
            rest = peer_text(link.status, brief=brief)
        case Disconnected(link, why):
            rest = f"{peer_text(link.status, brief=brief)}: {printable(why)}"
        case Displaced(by):
            rest = f"by {by}, a later-born manifest of the same name"
        case _:
            rest = ""
    return type(event).__name__.lower(), rest


def as_json(value: Any) -> str:
    """Return a value as one line of JSON that is safe to print, too."""
    return json.dumps(value, separators=(", ", ": "))
