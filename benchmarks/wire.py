"""What a join of 10,000 records costs on the wire, by format and library.

    python -m benchmarks wire --repetitions 15 --json wire.json

Each candidate writes the same records and reads them back, turn by turn, so that whatever else the
machine does falls on all of them alike. All of them read straight into the classes that are joined.
Those that say "checked" also hold every value to the rules, as whoever reads from a network must;
the others take whatever has the right type.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import msgspec
from cattrs.preconf.json import make_converter as make_json
from cattrs.preconf.msgspec import make_converter as make_msgspec

from manifest.codec import pack_data, unpack_data
from manifest.crdt import Delta, Entry, Stamp, VersionVector
from manifest.messages import Gossip
from manifest.options import Limits
from manifest.packing import GossipPacker
from manifest.records import (
    Record,
    check_address,
    check_id,
    check_port,
    owner_of,
    parse_role,
    valid_node_id,
)
from manifest.wire import decode_message

from .commands import command_line
from .measuring import Spread, machine, timed
from .tables import spread, table

RECORD_BYTES = Limits().record_bytes
MAX_TIME = 2**63 - 1


@attrs.frozen
class Written:
    """An entry that is no tombstone."""

    key: str
    time: int
    node: str
    record: Record


@attrs.frozen
class Plain:
    """A delta as libraries take it without being told more than its classes."""

    entries: list[Written]
    since: dict[str, int]
    until: dict[str, int]
    horizon: int


@attrs.frozen
class Candidate:
    """A way to write the message to bytes and to read it back."""

    name: str
    write: Callable[[], bytes]
    read: Callable[[bytes], Any]
    expected: Any


@attrs.define
class Result:
    """What was measured of one candidate; times are in milliseconds."""

    name: str
    size: int = 0
    write: list[float] = attrs.field(factory=list)
    read: list[float] = attrs.field(factory=list)


def make_gossip(records: int, owners: int) -> Gossip:
    """Return a message with the registry of a cluster: 100 roles, 7 versions, 3 kinds of data."""
    nodes = [f"{0x9E3779B97F4A7C15F39CC060 * (i + 1) % 2**96:024X}" for i in range(owners)]
    start = 1_767_225_600_000 << 16
    data = [pack_data({"zone": zone, "weight": i}) for i, zone in enumerate(("eu", "us", "ap"))]
    entries = tuple(
        Entry(
            f"{nodes[i % owners]}.{i // owners}",
            Stamp(start + (i << 16) // 20, nodes[i % owners]),
            Record(
                f"service-{i % 100}@1.{i % 7}.0",
                f"10.0.{i % owners % 250}.{i % 250}",
                1024 + i % 60_000,
                data[i % 3],
            ),
        )
        for i in range(records)
    )
    until = dict.fromkeys(nodes, start + (records << 16) // 20)
    return Gossip(Delta(entries, VersionVector(), VersionVector(until), start - (3_600_000 << 16)))


def make_plain(gossip: Gossip) -> Plain:
    """Return the same message as plain objects."""
    delta = gossip.delta
    written = [
        Written(entry.key, *entry.stamp, entry.value)
        for entry in delta.entries
        if isinstance(entry.value, Record)
    ]
    return Plain(written, dict(delta.since), dict(delta.until), delta.horizon)


def write_tables(gossip: Gossip) -> bytes:
    """Write the message as a link does."""
    packer = GossipPacker(2**40, base=max(gossip.delta.until.values()))
    for entry in gossip.delta.entries:
        packer.add_entry(entry)
    for node, until in gossip.delta.until.items():
        packer.add_mark(node, 0, until)
    return packer.payload(horizon=gossip.delta.horizon)


def checked(plain: Plain) -> Plain:
    """Hold a delta to the rules, and return it."""
    for entry in plain.entries:
        key, node, record = entry.key, entry.node, entry.record
        check_id(key)
        parse_role(record.role)
        if record.address is not None:
            check_address(record.address)
        if record.port is not None:
            check_port(record.port)
        unpack_data(record.data)
        if not (
            valid_node_id(node)
            and owner_of(key) in (None, node)
            and 0 < entry.time <= MAX_TIME
            and record.size(key) <= RECORD_BYTES
        ):
            raise ValueError(f"{key} of {node}")
    return plain


def candidates(gossip: Gossip) -> tuple[list[Candidate], list[str]]:
    """Return what is measured, and what cannot be for lack of a package."""
    plain = make_plain(gossip)
    by_json, by_msgspec = make_json(), make_msgspec()
    to_json, to_msgpack = msgspec.json.Encoder(), msgspec.msgpack.Encoder()
    from_json = msgspec.json.Decoder(Plain).decode
    from_msgpack = msgspec.msgpack.Decoder(Plain).decode
    missing: list[str] = []
    found = [
        Candidate(
            "json, cattrs",
            lambda: by_json.dumps(plain).encode(),
            lambda data: by_json.loads(data, Plain),
            plain,
        ),
        Candidate(
            "msgspec JSON, cattrs",
            lambda: by_msgspec.dumps(plain),
            lambda data: by_msgspec.loads(data, Plain),
            plain,
        ),
        Candidate("msgspec JSON", lambda: to_json.encode(plain), from_json, plain),
        Candidate("msgspec MessagePack", lambda: to_msgpack.encode(plain), from_msgpack, plain),
        Candidate(
            "msgspec MessagePack, checked",
            lambda: to_msgpack.encode(plain),
            lambda data: checked(from_msgpack(data)),
            plain,
        ),
        Candidate(
            "tables in msgspec MessagePack, checked (ours)",
            lambda: write_tables(gossip),
            lambda data: decode_message(data, record_bytes=RECORD_BYTES),
            gossip,
        ),
    ]
    try:
        from cattrs.preconf.msgpack import make_converter as make_msgpack  # noqa: PLC0415
    except ImportError:
        missing.append("MessagePack, cattrs: needs the package msgpack")
    else:
        by_msgpack = make_msgpack()
        found.insert(
            1,
            Candidate(
                "MessagePack, cattrs",
                lambda: by_msgpack.dumps(plain),
                lambda data: by_msgpack.loads(data, Plain),
                plain,
            ),
        )
    return found, missing


def measure(found: list[Candidate], repetitions: int) -> list[Result]:
    """Measure all candidates, turn by turn, after one round that checks them and does not count."""
    results = [Result(candidate.name) for candidate in found]
    for repetition in range(repetitions + 1):
        for candidate, result in zip(found, results, strict=True):
            writing, data = timed(candidate.write)
            reading, message = timed(partial(candidate.read, data))
            if repetition:
                result.write.append(writing)
                result.read.append(reading)
            elif message != candidate.expected:
                raise SystemExit(f"{candidate.name} does not read what it wrote")
            result.size = len(data)
    return results


def to_markdown(results: list[Result], records: int) -> str:
    """Return the results as a table."""
    headers = ["candidate", "write, ms", "read, ms", "records read a second", "bytes a record"]
    rows = [
        (
            result.name,
            spread(Spread.of(result.write)),
            spread(Spread.of(result.read)),
            f"{records / statistics.median(result.read) * 1000:,.0f}",
            f"{result.size / records:.1f}",
        )
        for result in results
    ]
    return table(headers, rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print a Markdown table; the rest goes where it is asked to go."""
    parser = command_line("wire", __doc__)
    parser.add_argument("--records", type=int, default=10_000, help="records (default: 10000)")
    parser.add_argument("--owners", type=int, default=20, help="nodes that own them (default: 20)")
    parser.add_argument(
        "--repetitions", type=int, default=9, help="how often each is measured (default: 9)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to this file")
    given = parser.parse_args(arguments)
    if min(given.records, given.owners) < 1 or given.repetitions < 5:
        parser.error("records and owners are 1 or more, repetitions 5 or more")
    found, missing = candidates(make_gossip(given.records, given.owners))
    results = measure(found, given.repetitions)
    where = machine("attrs", "cattrs", "msgspec", "msgpack", "semver")
    print(to_markdown(results, given.records))
    print()
    print(
        f"{given.records} records of {given.owners} owners; processor time, median (least to "
        f"greatest) of {given.repetitions} rounds.",
        "; ".join(f"{name} {value}" for name, value in where.items()),
    )
    for reason in missing:
        print(f"Not measured: {reason}.")
    if given.json:
        report = {
            "machine": where,
            "records": given.records,
            "owners": given.owners,
            "results": [attrs.asdict(result) for result in results],
            "missing": missing,
        }
        given.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
