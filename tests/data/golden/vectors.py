"""The messages whose bytes are written down in v1.json, and what those bytes are called.

v1.json is for whoever implements the wire format, here or in another language: each vector has a
frame, header included, and what it says. Times are texts there, since not every reader of JSON has
integers of 64 bits.

A change that makes `tests/test_wire.py` disagree with v1.json is a change of the wire format: nodes
that have it would be cut off from the others. It needs a *new protocol version*, and no less: raise
`manifest.wire.PROTOCOL`, go on reading version 1 for as long as `Hello.oldest` says so, and
write the file of the new version, beside the old one, with

    python -m tests.data.golden.vectors

which does not overwrite a file that is there.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
from msgspec.structs import asdict

from manifest.codec import pack, pack_data, unpack_data
from manifest.crdt import TOMBSTONE, Delta, Entry, Stamp, VersionVector
from manifest.frames import frame
from manifest.messages import Bye, Gossip, Hello, Lease, Message, Renewal, Synced
from manifest.records import Record
from manifest.wire import PROTOCOL, encode_message

HERE = Path(__file__).parent

ANN = "0123456789ABCDEF01234567"
BOB = "89ABCDEF0123456789ABCDEF"
T = 1_767_225_600_000 << 16
"""The first hybrid time of 2026."""
SECOND = 1000 << 16

HELLO = Hello(
    protocol=1,
    oldest=1,
    cluster="manifest",
    node=ANN,
    born=T,
    clock=1_767_225_600_123,
    retention=3_600_000,
    record_bytes=16_384,
    frame_bytes=1_048_576,
    lease=10_000,
)


def gossip(
    *entries: Entry[str, Record],
    marks: dict[str, tuple[int, int]] | None = None,
    horizon: int = 0,
    leases: tuple[Lease, ...] = (),
    prunes: tuple[str, ...] = (),
    grafts: tuple[str, ...] = (),
    renewals: tuple[Renewal, ...] = (),
) -> Gossip:
    """Return a gossip message; `marks` maps nodes to `(since, until)`."""
    marks = marks or {}
    return Gossip(
        Delta(
            entries,
            VersionVector({node: since for node, (since, _) in marks.items()}),
            VersionVector({node: until for node, (_, until) in marks.items()}),
            horizon,
        ),
        leases,
        prunes,
        grafts,
        renewals,
    )


def write(key: str, time: int, node: str, role: str, **fields: Any) -> Entry[str, Record]:
    """Return the entry of a registration."""
    fields["data"] = pack_data(fields.get("data", {}))
    return Entry(key, Stamp(time, node), Record(role, **fields))


def free(key: str, time: int, node: str) -> Entry[str, Record]:
    """Return a tombstone."""
    return Entry(key, Stamp(time, node), TOMBSTONE)


EVERY_TYPE = {
    "none": None,
    "yes": True,
    "no": False,
    "zero": 0,
    "least": -(2**63),
    "greatest": 2**64 - 1,
    "half": 0.5,
    "one": 1.0,
    "minus zero": -0.0,
    "text": "grüße, 世界 🌍",
    "list": [[], [1, [2]]],
    "mapping": {"": {}, "a": {"b": "c"}},
}

SENT: dict[str, tuple[str, Message]] = {
    "hello": ("a node that has no name, does not listen and knows nothing", HELLO),
    "hello-full": (
        "every field: a named node that listens, and has reflected itself and another",
        attrs.evolve(
            HELLO,
            cluster="prüfung",
            name="db-1",
            listening="[2001:db8::1]:3100",
            seen="192.0.2.7",
            context={ANN: T + 5 * SECOND, BOB: T - SECOND},
            horizon=T - 3600 * SECOND,
        ),
    ),
    "bye": ("the last word", Bye(code="closed", reason="the manifest was closed")),
    "synced": ("what the peer lacked at its Hello has been sent", Synced()),
    "keepalive": ("gossip that says nothing but that its sender is there", gossip()),
    "heartbeat": (
        "a node's history goes on, without a write, from one heartbeat to the next",
        gossip(
            marks={ANN: (T, T + 5 * SECOND)},
            horizon=T - 3600 * SECOND,
            leases=(Lease(ANN, T + 5 * SECOND, 10_000, patience=2_500),),
        ),
    ),
    "heartbeat-named": (
        "the same of a named node: its lease says when it was born and how it is called",
        gossip(
            marks={ANN: (T, T + 5 * SECOND)},
            leases=(Lease(ANN, T + 5 * SECOND, 10_000, T, "db-1", 2_500),),
        ),
    ),
    "registration": (
        "one service, and with it the history of its owner up to then",
        gossip(
            write(
                f"{ANN}.1",
                T + 7,
                ANN,
                "web@1.2.3",
                address="192.0.2.7",
                port=8080,
                data={"zone": "eu"},
            ),
            marks={ANN: (T, T + 7)},
            leases=(Lease(ANN, T + 7, 10_000, patience=2_500),),
        ),
    ),
    "part": (
        "part of a delta that is too large for a frame: entries that claim nothing",
        gossip(
            write(f"{ANN}.1", T + 1, ANN, "web@1.2.3", address="192.0.2.7", port=8080),
            write(f"{ANN}.2", T + 2, ANN, "web@1.2.3", address="192.0.2.7", port=8081),
            write(f"{BOB}.2", T - 3, BOB, "web@1.2.3", address="192.0.2.8", port=8080),
            write(f"{BOB}.30", T + 4, BOB, "queue", port=1),
        ),
    ),
    "ipv6": (
        "an IPv6 address and the greatest port; a scoped role and no address at all",
        gossip(
            write(f"{ANN}.4", T, ANN, "web", address="2001:db8::1", port=65535),
            write(f"{ANN}.5", T + 1, ANN, "@scope/web@1.0.0-rc.1+build.5"),
        ),
    ),
    "data": (
        "data of every JSON type",
        gossip(write(f"{ANN}.6", T, ANN, "web@1.2.3", data=EVERY_TYPE)),
    ),
    "tombstone": (
        "a service is freed, and so is a shared name",
        gossip(free(f"{ANN}.1", T + 8, ANN), free("primary", T + 9, ANN)),
    ),
    "shared-name": (
        "a shared name is taken over; of an owner-bound id the number is all that is sent",
        gossip(write("primary", T + 9, BOB, "db@2.0.0"), write(f"{BOB}.0", T, BOB, "db@2.0.0")),
    ),
    "persistent": (
        "a persistent record, and one that was freed: a star stands before the id in the key",
        gossip(
            write("*db", T, ANN, "db@2.0.0", address="db.example", port=5432),
            free("*cache", T + 1, BOB),
        ),
    ),
    "great-number": (
        "the greatest number of an id that is sent as one, and the next, sent as text",
        gossip(
            write(f"{ANN}.{2**63 - 1}", T, ANN, "web"),
            write(f"{ANN}.{2**63}", T + 1, ANN, "web"),
        ),
    ),
    "leave": (
        "a node frees what it has and ends its lease",
        gossip(
            free(f"{ANN}.1", T + 8, ANN),
            marks={ANN: (T + 7, T + 10)},
            leases=(Lease(ANN, T + 10, 0, T, "db-1"),),
        ),
    ),
    "relayed": (
        "a relay sends on what it heard of two nodes, with what is left of their leases",
        gossip(
            write(f"{BOB}.1", T + 2 * SECOND, BOB, "web@1.2.3", address="192.0.2.8", port=80),
            free(f"{ANN}.1", T + SECOND, ANN),
            marks={BOB: (0, T + 2 * SECOND), ANN: (T, T + SECOND)},
            horizon=T - 3600 * SECOND + 1,
            leases=(
                Lease(BOB, T + 2 * SECOND, 8_750, patience=1_250),
                Lease(ANN, T + SECOND, 1, T - 2**40, "db-1"),
            ),
        ),
    ),
    "renewed": (
        "a record that its owner has renewed, for a reader that may lack it: it says since when",
        gossip(write(f"{ANN}.1", T + 9, ANN, "web@1.2.3", port=8080, since=T - 1800 * SECOND)),
    ),
    "renewals": (
        "the same for a reader that holds the values: a thousand of one node, and one of another",
        gossip(
            marks={ANN: (T, T + 9), BOB: (T, T + 5)},
            horizon=T - 3600 * SECOND,
            renewals=(
                Renewal(ANN, T + 9, T - 1800 * SECOND, 1, 1000),
                Renewal(BOB, T + 5, T - 7200 * SECOND, 2**63 - 1),
            ),
        ),
    ),
    "tree": (
        "one node's heartbeats are heard elsewhere, and another's are missed",
        gossip(prunes=(BOB,), grafts=(ANN,)),
    ),
}
"""Messages that this version sends: each is packed into exactly the bytes of its vector."""

UNDERSTOOD: dict[str, tuple[str, Message, bytes]] = {
    "hello-later": (
        "from a later version: fields that this one does not know are ignored",
        attrs.evolve(HELLO, protocol=2),
        b"H"
        + pack(
            {
                "shards": [1, {"of": 4}],
                **attrs.asdict(attrs.evolve(HELLO, protocol=2)),
                "compression": "zstd",
            }
        ),
    ),
    "hello-least": (
        "fields that have nothing to say may be left out",
        HELLO,
        b"H" + pack({key: value for key, value in attrs.asdict(HELLO).items() if value}),
    ),
    "bye-later": (
        "from a later version: one field more",
        Bye(code="refused", reason="too old"),
        b"B" + pack({"code": "refused", "retry_after": 60, "reason": "too old"}),
    ),
    "synced-later": (
        "from a later version: one field more",
        Synced(),
        b"S" + pack({"entries": 10_000}),
    ),
    "long-numbers": (
        "a number need not be in its shortest form, nor an owner-bound id be a number",
        gossip(free(f"{ANN}.1", T, ANN)),
        b"G\x97\xcf" + T.to_bytes(8, "big") + b"\x00\xdc\x00\x01" + pack(ANN) + b"\x90\x90\x90"
        b"\xdd\x00\x00\x00\x01\x93" + pack(f"{ANN}.1") + b"\xd3" + bytes(8) + b"\xcd\x00\x00",
    ),
}  # fmt: skip
"""Messages that this version takes but does not send, with their payloads."""


def describe(message: Message) -> dict[str, Any]:
    """Return what a message says, in words of JSON."""
    if not isinstance(message, Gossip):
        described = {"kind": type(message).__name__.lower(), **attrs.asdict(message)}
        if isinstance(message, Hello):
            described["born"] = str(message.born)
            described["horizon"] = str(message.horizon)
            described["context"] = {node: str(time) for node, time in message.context.items()}
        return described
    delta = message.delta
    return {
        "kind": "gossip",
        "horizon": str(delta.horizon),
        "entries": [
            {
                "key": entry.key,
                "time": str(entry.stamp.time),
                "node": entry.stamp.node,
                "record": {
                    **asdict(entry.value),
                    "data": unpack_data(entry.value.data),
                    "since": str(entry.value.since),
                }
                if isinstance(entry.value, Record)
                else None,
            }
            for entry in delta.entries
        ],
        "marks": [
            {"node": node, "since": str(delta.since.get(node, 0)), "until": str(until)}
            for node, until in delta.until.items()
        ],
        "leases": [
            {**lease._asdict(), "time": str(lease.time), "born": str(lease.born)}
            for lease in message.leases
        ],
        "prunes": list(message.prunes),
        "grafts": list(message.grafts),
        "renewals": [
            {
                **renewal._asdict(),
                "time": str(renewal.time),
                "since": str(renewal.since),
                "first": str(renewal.first),
            }
            for renewal in message.renewals
        ],
    }


def vectors() -> list[dict[str, Any]]:
    """Return all vectors as they stand in the file of this version."""
    sent = [
        (name, about, message, encode_message(message)) for name, (about, message) in SENT.items()
    ]
    taken = [(name, *rest) for name, rest in UNDERSTOOD.items()]
    return [
        {
            "name": name,
            "about": about,
            "sent": name in SENT,
            "message": describe(message),
            "frame": frame(payload).hex(),
        }
        for name, about, message, payload in (*sent, *taken)
    ]


if __name__ == "__main__":
    with (HERE / f"v{PROTOCOL}.json").open("x", encoding="utf-8") as file:
        json.dump(vectors(), file, indent=2, ensure_ascii=False)
        file.write("\n")
