"""What must hold of any message, and of any bytes that a peer might send.

Nothing but `MalformedMessage` comes out of bytes that are wrong. What is accepted can be sent on as
it is, in any frame that there may be, and fails nowhere later: no message poisons the registry.
"""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import attrs
import msgspec
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from manifest.codec import MAX_DEPTH, MAX_INT, pack, pack_data, unpack_data
from manifest.crdt import TOMBSTONE, Delta, Entry, Stamp, VersionVector
from manifest.errors import MalformedMessage
from manifest.frames import HEADER_BYTES, FrameReader, frame
from manifest.messages import Bye, Gossip, Hello, Lease, Message, Renewal, Synced
from manifest.options import Limits
from manifest.packing import GossipPacker
from manifest.records import (
    Record,
    check_address,
    check_id,
    check_port,
    freer_of,
    id_of,
    owner_of,
    parse_role,
    valid_node_id,
)
from manifest.wire import decode_message, encode_message
from tests.data.golden.vectors import SENT, UNDERSTOOD

RECORD_BYTES = 2048
# The smallest frames that there may be: for records of this size, and for any.
LEAST_FRAME = Limits(record_bytes=RECORD_BYTES, frame_bytes=RECORD_BYTES + 512).frame_bytes
LEAST_OF_ALL = Limits(record_bytes=256, frame_bytes=1024).record_bytes + 512
MANY = settings(max_examples=3 * settings().max_examples)

TIMES = st.one_of(
    st.integers(1, MAX_INT),
    st.integers(2**56, 2**56 + 300),
    st.sampled_from([1, 127, 128, 2**16, 2**32, MAX_INT]),
)
NODES = st.one_of(
    st.sampled_from(["0" * 24, "F" * 24, "0123456789ABCDEF01234567"]),
    st.integers(0, 2**96 - 1).map("{:024X}".format),
)
WORDS = st.text(
    st.characters(codec="utf-8", exclude_categories=["C", "Z"], exclude_characters="@.*"),
    min_size=1,
    max_size=50,
)
TEXTS = st.one_of(WORDS, st.sampled_from(["a", "é" * 40, "\N{GRINNING FACE}" * 50, "x" * 50]))
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(codec="utf-8"), max_size=10),
)
KEYS = st.sampled_from(["", "a", "b c", "grüße"])
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=5,
)
DATA = st.dictionaries(KEYS, VALUES, max_size=3)
# A colon is right in IPv6 addresses alone, and what stands for every address is none.
ADDRESSES = TEXTS.filter(lambda text: ":" not in text) | st.ip_addresses().map(str).filter(
    lambda text: text not in ("0.0.0.0", "::")
)
RECORDS = st.builds(
    Record,
    st.one_of(TEXTS, TEXTS.map("{}@1.2.3".format), TEXTS.map("@{}@1.0.0-rc.1+b".format)),
    st.none() | ADDRESSES | st.sampled_from(["192.0.2.7", "2001:db8::1"]),
    st.none() | st.integers(1, 65535),
    st.sampled_from([b"\x80", pack_data({"zone": "eu"}), pack_data({"x": ["é" * 300, None]})]),
)
NUMBERS = st.one_of(
    st.integers(0, 300), st.sampled_from([MAX_INT, MAX_INT + 1, 10**18, 10**19 - 1])
)


@st.composite
def entries(draw: st.DrawFn) -> Entry[str, Record]:
    """Any entry that a peer may write: of its own, of a shared name, persistent; or a tombstone."""
    stamp = Stamp(draw(TIMES), draw(NODES))
    value = draw(st.one_of(RECORDS, st.just(TOMBSTONE)))
    if isinstance(value, Record) and stamp.time > 1 and draw(st.booleans()):
        value = value.set_at(draw(st.integers(1, stamp.time - 1)))
    # Whoever wrote a persistent record, anyone may free it.
    writers = NODES if value is TOMBSTONE else st.just(stamp.node)
    key = draw(
        st.one_of(
            NUMBERS.map(f"{stamp.node}.{{}}".format),
            TEXTS,
            TEXTS.map("*{}".format),
            NODES.map("{}.".format),
            st.tuples(writers, NUMBERS).map("*{0[0]}.{0[1]}".format),
        )
    )
    return Entry(key, stamp, value)


MARKS = st.tuples(TIMES, TIMES, st.booleans()).map(
    lambda drawn: (0 if drawn[2] else min(drawn[:2]), max(drawn[:2]))
)
LEASES = st.builds(
    Lease,
    NODES,
    TIMES,
    st.integers(0, MAX_INT),
    st.just(0) | TIMES,
    st.none() | TEXTS,
    st.integers(0, MAX_INT),
)
RENEWALS = st.tuples(TIMES, TIMES).flatmap(
    lambda drawn: st.builds(
        Renewal,
        NODES,
        st.just(max(2, *drawn)),
        st.just(min(drawn[0], drawn[1], max(1, max(drawn) - 1))),
        st.integers(0, MAX_INT - 600),
        st.sampled_from([1, 2, 600]),
    )
)


@st.composite
def gossips(draw: st.DrawFn) -> Gossip:
    """Any gossip, with writes before tombstones, as they stand in a message."""
    marks = draw(st.dictionaries(NODES, MARKS, max_size=4))
    drawn = draw(st.lists(entries(), max_size=6))
    delta = Delta(
        tuple(sorted(drawn, key=lambda entry: entry.is_tombstone)),
        VersionVector({node: since for node, (since, _) in marks.items()}),
        VersionVector({node: until for node, (_, until) in marks.items()}),
        draw(st.just(0) | TIMES),
    )
    some_nodes = st.lists(NODES, max_size=2).map(tuple)
    # Mostly heartbeats: the lease of a node that is marked, given at the time of the mark.
    beats = st.sampled_from(sorted(marks)) if marks else st.nothing()
    shared = st.builds(
        lambda lease, node: lease._replace(node=node, time=marks[node][1]), LEASES, beats
    )
    leases = tuple(draw(st.lists(shared | LEASES, max_size=3)))
    renewals = tuple(draw(st.lists(RENEWALS, max_size=3)))
    return Gossip(delta, leases, draw(some_nodes), draw(some_nodes), renewals)


POSITIVE = st.integers(1, MAX_INT)
HELLOS = st.builds(
    Hello,
    protocol=POSITIVE,
    oldest=POSITIVE,
    cluster=TEXTS,
    node=NODES,
    born=POSITIVE,
    clock=POSITIVE,
    retention=POSITIVE,
    record_bytes=POSITIVE,
    frame_bytes=POSITIVE,
    lease=POSITIVE,
    name=st.none() | TEXTS,
    listening=st.none() | TEXTS,
    seen=st.none() | ADDRESSES,
    context=st.dictionaries(NODES, POSITIVE, max_size=5),
)
BYES = st.builds(Bye, code=TEXTS, reason=st.text(max_size=200))
MESSAGES: st.SearchStrategy[Message] = st.one_of(gossips(), HELLOS, BYES, st.just(Synced()))

GOLDEN = [
    *(encode_message(message) for _, message in SENT.values()),
    *(payload for _, _, payload in UNDERSTOOD.values()),
]
PAYLOADS = st.one_of(st.sampled_from(GOLDEN), MESSAGES.map(encode_message))


def decode(payload: bytes) -> Message:
    """Return the message in a payload."""
    return decode_message(payload, record_bytes=RECORD_BYTES)


def arranged(message: Message) -> Message:
    """Return a message with its leases in one order: those in the rows of marks arrive first."""
    if not isinstance(message, Gossip):
        return message
    return attrs.evolve(message, leases=tuple(sorted(message.leases, key=repr)))


def check_sound(message: Message) -> None:
    """Check that nothing about an accepted message would fail anywhere later."""
    payload = encode_message(message)
    assert arranged(decode(payload)) == arranged(message)
    assert encode_message(decode(payload)) == payload
    if isinstance(message, Gossip):
        for entry in message.delta.entries:
            check_entry(entry)
        for node, until in message.delta.until.items():
            assert valid_node_id(node)
            assert 0 <= message.delta.since.get(node, 0) <= until <= MAX_INT
            assert until > 0
        assert set(message.delta.since) <= set(message.delta.until)
        assert 0 <= message.delta.horizon <= MAX_INT
        for lease in message.leases:
            assert valid_node_id(lease.node)
            assert 0 < lease.time <= MAX_INT
            assert 0 <= lease.born <= MAX_INT
            assert 0 <= lease.remaining <= MAX_INT
            assert GossipPacker(LEAST_OF_ALL - HEADER_BYTES, base=1).add_lease(lease)


def check_entry(entry: Entry[str, Record]) -> None:
    """Check that any replica may hold an entry, and send it on in the smallest of its frames."""
    time, node = entry.stamp
    assert 0 < time <= MAX_INT
    assert valid_node_id(node)
    assert check_id(id_of(entry.key))
    assert (freer_of if entry.is_tombstone else owner_of)(entry.key) in (None, node)
    assert GossipPacker(LEAST_FRAME - HEADER_BYTES, base=1).add_entry(entry)
    if isinstance(entry.value, Record):
        record = entry.value
        assert parse_role(record.role)
        assert record.address is None or check_address(record.address)
        assert record.port is None or check_port(record.port)
        assert record.size(entry.key) <= RECORD_BYTES
        data = unpack_data(record.data)
        assert json.loads(json.dumps(data, allow_nan=False)) == data
        assert depth_of(data) <= MAX_DEPTH
        assert unpack_data(pack_data(data)) == data


def depth_of(value: Any) -> int:
    """Return how deep lists and mappings nest in a value."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return isinstance(value, list | dict) + max(map(depth_of, inside), default=0)


def check_answer(payload: bytes) -> None:
    """Check that bytes are refused as malformed, with a path, or are a sound message."""
    try:
        message = decode(payload)
    except MalformedMessage as error:
        event("refused")
        check_refusal(payload, error)
    else:
        event("accepted")
        check_sound(message)


def check_refusal(payload: bytes, error: MalformedMessage) -> None:
    """Check that an error names a place in the message, in words that can be logged and sent."""
    kinds = {b"G": "gossip", b"H": "hello", b"B": "bye", b"S": "synced"}
    assert error.path.startswith(kinds.get(payload[:1], "kind"))
    assert str(error) == f"{error.path}: {error.problem}"
    assert str(error).isprintable()


@given(MESSAGES)
def test_every_message_arrives_as_it_was_sent(message: Message) -> None:
    """What is encoded is decoded to the same message, and encoded to the same bytes again."""
    check_sound(message)


@given(st.lists(PAYLOADS, min_size=1, max_size=4), st.data())
def test_payloads_arrive_however_the_stream_is_cut(
    payloads: list[bytes], data: st.DataObject
) -> None:
    """Any fragmentation of the frames gives the payloads, and no other."""
    stream = b"".join(map(frame, payloads))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=8)))
    reader = FrameReader(max(map(len, payloads)))
    found: list[bytes] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        assert reader.partial == (sum(len(p) + HEADER_BYTES for p in found) < start)
        found.extend(reader.feed(stream[start:end]))
    assert found == payloads
    assert not reader.partial


@MANY
@given(st.binary(max_size=100), st.sampled_from([b"", b"G", b"H", b"B", b"S"]))
@example(b"\x91" * 100_000, b"G")
@example(b"\x81\xa1a" * 100_000, b"H")
def test_any_bytes_are_a_message_or_malformed(body: bytes, kind: bytes) -> None:
    """Nothing but `MalformedMessage` comes out of bytes that were never a message."""
    check_answer(kind + body)


def flipped(payload: bytes, at: int, what: bytes) -> bytes:
    """Put other bytes in place of some."""
    return payload[:at] + what + payload[at + len(what) :]


def inserted(payload: bytes, at: int, what: bytes) -> bytes:
    """Put bytes between others."""
    return payload[:at] + what + payload[at:]


def removed(payload: bytes, at: int, what: bytes) -> bytes:
    """Leave some bytes out."""
    return payload[:at] + payload[at + len(what) :]


CHANGES: list[Callable[[bytes, int, bytes], bytes]] = [flipped, inserted, removed]
# First bytes of every MessagePack type, and what is likely to be wrong behind them.
BYTES = st.one_of(
    st.binary(min_size=1, max_size=3),
    st.sampled_from(
        [
            b"\xc0", b"\xc1", b"\xc4\x01", b"\xc7\x00\xff", b"\xca", b"\xcb\x7f\xf8", b"\xcf",
            b"\xd3", b"\xd6\xff", b"\xd9\x01", b"\xdb\xff", b"\xdd\xff", b"\xdf\xff", b"\x80",
        ]
    ),
)  # fmt: skip


@MANY
@given(
    PAYLOADS,
    st.lists(
        st.tuples(st.sampled_from(CHANGES), st.integers(0, 2**16), BYTES), min_size=1, max_size=2
    ),
)
def test_a_message_with_wrong_bytes_is_a_message_or_malformed(
    payload: bytes, changes: list[tuple[Callable[[bytes, int, bytes], bytes], int, bytes]]
) -> None:
    """The same of messages in which bytes were changed, left out or put in."""
    for change, at, what in changes:
        payload = change(payload, at % (len(payload) + 1), what)
    check_answer(payload)


WRONG: st.SearchStrategy[Any] = st.one_of(
    LEAVES,
    TIMES,
    NODES,
    TEXTS,
    st.integers(-3, 3),
    st.sampled_from(
        [
            -(2**63), 2**63, 2**64 - 1, float("nan"), float("inf"), "", "*", "a b", "\n", "\x1b[2J",
            "\u2028", "a" * 256, "a" * 3000, b"", b"\x80", b"\x81\xa1a\xc4\x01b", b"\xff" * 3000,
            [], {}, {1: 1}, [[]], [{}], [0, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0, 0, 0, b"\x80"],
            msgspec.msgpack.Ext(5, b"x"), "0" * 24 + ".1", "F" * 24 + ".1",
            pack({"a": float("nan")}), pack({"a": {1: 1}}),
        ]
    ),
)  # fmt: skip


@attrs.frozen
class Just:
    """This value, and not what stands elsewhere in the message."""

    value: Any


PLACES = st.integers(0, 2**16)


@MANY
@given(PAYLOADS, st.lists(st.tuples(PLACES, PLACES | WRONG.map(Just)), min_size=1, max_size=2))
def test_a_message_with_wrong_values_is_a_message_or_malformed(
    payload: bytes, changes: list[tuple[int, int | Just]]
) -> None:
    """The same of well-formed messages in which something else stands somewhere."""
    whole = [msgspec.msgpack.decode(payload[1:])]
    for at, what in changes:
        places = list(places_in(whole))
        container, index = places[at % len(places)]
        if isinstance(what, Just):
            container[index] = copy.deepcopy(what.value)  # samples are shared by all examples
        else:
            other, there = places[what % len(places)]
            container[index] = copy.deepcopy(other[there])
    check_answer(payload[:1] + pack(whole[0]))


def places_in(container: Any) -> Iterator[tuple[Any, Any]]:
    """Yield where the values stand in nested lists and mappings, as container and index."""
    for index in list(container) if isinstance(container, dict) else range(len(container)):
        yield container, index
        if isinstance(container[index], list | dict):
            yield from places_in(container[index])


BASE = 2**56
INDICES = st.sampled_from([1, 1, 2])
OFFSETS = st.sampled_from([1 - BASE, -BASE, MAX_INT - BASE, MAX_INT - BASE + 1])
OWNERS = ["0" * 24, "F" * 24]
HOSTILE_KEYS = st.sampled_from(
    [0, MAX_INT, "b", "*b", f"{OWNERS[0]}.1", f"{OWNERS[1]}.1", f"*{OWNERS[0]}.1", "a b"]
)
HOSTILE_DATA = st.sampled_from(
    [
        *(pack({"a": "x" * length}) for length in (1_000, 1_500, 2_000)),
        *(b"\x81\xa1a" + b"\x91" * (MAX_DEPTH - 2 + more) + b"\x90" for more in (0, 1)),
        pack({"a": float("nan")}),
    ]
)
COLUMNS: dict[str, list[tuple[Any, st.SearchStrategy[Any]]]] = {
    "writes": [
        (1, HOSTILE_KEYS),
        (0, OFFSETS),
        (0, INDICES),
        (0, INDICES),
        (0, st.none() | INDICES),
        (80, st.sampled_from([None, 0, 1, 65535, 65536])),
        (b"\x80", HOSTILE_DATA),
        (-5, st.none() | OFFSETS),
    ],
    "frees": [(1, HOSTILE_KEYS), (0, OFFSETS), (0, INDICES)],
    "marks": [
        (0, INDICES),
        (-1, OFFSETS),
        (0, OFFSETS),
        (1, st.sampled_from([0, MAX_INT, 2**63])),
        (1, st.sampled_from([0, MAX_INT, 2**63])),
        (-5, st.none() | OFFSETS),
        ("db-1", st.sampled_from([None, "a b", "\N{GRINNING FACE}" * 100, "a" * 200])),
    ],
    "leases": [
        (0, INDICES),
        (0, OFFSETS),
        (1, st.sampled_from([0, MAX_INT, 2**63])),
        (1, st.sampled_from([0, MAX_INT, 2**63])),
        (-5, st.none() | OFFSETS),
        ("db-1", st.sampled_from([None, "a b", "\N{GRINNING FACE}" * 100, "a" * 200])),
    ],
    "renewals": [
        (0, INDICES),
        (0, OFFSETS),
        (-5, OFFSETS),
        (1, st.sampled_from([0, MAX_INT, 2**63])),
        (1, st.sampled_from([0, 2, 2048, MAX_INT])),
    ],
}


@st.composite
def rows(draw: st.DrawFn, kind: str) -> list[list[Any]]:
    """Up to two rows, in each of which up to two columns are on the edge of what is allowed."""
    drawn: list[list[Any]] = []
    for _ in range(draw(st.sampled_from([1, 0, 2]))):
        row = [good for good, _ in COLUMNS[kind]]
        for at in draw(st.sets(st.integers(0, len(row) - 1), max_size=2)):
            row[at] = draw(COLUMNS[kind][at][1])
        drawn.append(row)
    return drawn


@MANY
@given(
    st.tuples(
        st.just(BASE),
        st.sampled_from([0, BASE, MAX_INT]),
        st.sampled_from([OWNERS, OWNERS[:1], OWNERS[::-1]]),
        st.sampled_from([["web", "db@1.0.0"], ["é" * 127]]),
        st.sampled_from([["192.0.2.7", "::1"], ["é" * 255]]),
        *(rows(kind) for kind in ("writes", "frees", "marks", "leases")),
        *(st.just([]), st.just([]), rows("renewals")),
    )
)
def test_rows_on_the_edge_are_a_message_or_malformed(message: tuple[Any, ...]) -> None:
    """The same of gossip whose columns have the right types and are close to what is allowed."""
    check_answer(b"G" + pack(message))


LAST = Stamp(MAX_INT, OWNERS[1])
COSTLIEST = st.sampled_from(
    [
        Entry(f"{OWNERS[1]}.{MAX_INT}", LAST, TOMBSTONE),
        Entry(f"{OWNERS[1]}.{MAX_INT}", LAST, Record("web", "é" * 50, 65535)),
        Entry(f"{OWNERS[1]}.{MAX_INT}", LAST, Record("web", since=1)),
        Lease(OWNERS[1], MAX_INT, MAX_INT, MAX_INT, "\N{GRINNING FACE}" * 8, MAX_INT),
        Renewal(OWNERS[1], MAX_INT, 1, MAX_INT, 1),
        (OWNERS[1], (MAX_INT, MAX_INT), None, False),
        (
            OWNERS[1],
            (MAX_INT, MAX_INT),
            Lease(OWNERS[1], MAX_INT, MAX_INT, 1, "\N{GRINNING FACE}" * 8, MAX_INT),
            True,
        ),
    ]
)
ITEMS = st.one_of(
    COSTLIEST,
    entries(),
    LEASES,
    RENEWALS,
    st.tuples(NODES, MARKS, st.none() | LEASES, st.booleans()),
    NODES,
)
Item: TypeAlias = (
    Entry[str, Record] | Lease | str | Renewal | tuple[str, tuple[int, int], Lease | None, bool]
)
# Many alike, so that what is counted too little for one of them adds up.
REPEATED = st.builds(lambda item, times: [item] * times, ITEMS, st.sampled_from([1, 1, 20]))


@MANY
@given(st.integers(55, 900), TIMES, st.just(0) | TIMES, st.lists(REPEATED, max_size=6))
def test_a_packer_never_exceeds_its_limit(
    limit: int, base: int, horizon: int, items: list[list[Item]]
) -> None:
    """The payload is within the limit, and says exactly what was said to fit, whatever that was."""
    packer = GossipPacker(limit, base=base)
    writes: list[Entry[str, Record]] = []
    frees: list[Entry[str, Record]] = []
    leases: list[Lease] = []
    prunes: list[str] = []
    renewals: list[Renewal] = []
    since: dict[str, int] = {}
    until: dict[str, int] = {}
    for item in itertools.chain.from_iterable(items):
        before = packer.payload(horizon=horizon)
        match item:
            case Entry():
                fits = packer.add_entry(item)
                (frees if item.is_tombstone else writes).extend([item] * fits)
            case Lease():
                fits = packer.add_lease(item)
                leases.extend([item] * fits)
            case str():
                fits = packer.add_prune(item)
                prunes.extend([item] * fits)
            case Renewal():
                fits = packer.add_renewals(item)
                renewals.extend([item] * fits)
            case (node, (first, last), lease, at_once):
                if node in until:
                    continue
                # A lease is of the node whose mark it comes with, and mostly of the time marked.
                lease = lease and lease._replace(node=node, time=last if at_once else lease.time)
                fits = packer.add_mark(node, first, last, lease)
                if fits:
                    since[node], until[node] = first, last
                    leases.extend([lease] if lease else [])
        assert fits or packer.payload(horizon=horizon) == before
    payload = packer.payload(horizon=horizon)
    assert len(payload) <= limit
    assert bool(packer) == bool(writes or frees or leases or until or prunes or renewals)
    delta = Delta((*writes, *frees), VersionVector(since), VersionVector(until), horizon)
    said = Gossip(delta, tuple(leases), tuple(prunes), renewals=tuple(renewals))
    assert arranged(decode(payload)) == arranged(said)


@given(st.lists(entries(), min_size=1, max_size=12))
def test_a_packer_wastes_little(given_entries: list[Entry[str, Record]]) -> None:
    """What the sum of a packer takes for granted is under 40 bytes an entry and 90 in all."""
    payload = encode_message(Gossip(Delta(tuple(given_entries))))
    packer = GossipPacker(len(payload) + 90 + 40 * len(given_entries), base=1)
    assert all(packer.add_entry(entry) for entry in given_entries)


@given(DATA)
def test_data_is_packed_once_and_for_all(data: dict[str, Any]) -> None:
    """Data comes back equal, of the same types, and packed again it is the same bytes."""
    packed = pack_data(data)
    assert repr(unpack_data(packed)) == repr(data)
    assert pack_data(unpack_data(packed)) == packed
