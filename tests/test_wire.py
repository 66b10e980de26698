"""The wire format: the exact bytes of every message, and the refusal of everything else.

The bytes themselves are in tests/data/golden/v1.json. If one of those tests fails, the wire format
has changed, and the file says what that takes.
"""

import json
from collections.abc import Callable
from typing import Any

import attrs
import pytest

from manifest.codec import MAX_DEPTH, MAX_INT, MAX_ROWS, pack, pack_data
from manifest.crdt import Delta, Entry, Stamp
from manifest.errors import MalformedMessage
from manifest.frames import HEADER_BYTES, FrameReader, frame
from manifest.messages import Bye, Gossip, Hello, Lease, Message, Renewal, Synced
from manifest.options import Limits
from manifest.packing import GossipPacker
from manifest.records import MAX_ID_BYTES, Record, check_address, check_id, key_of, parse_role
from manifest.unpacking import _MOST_WORDS, _Gossip, _named
from manifest.wire import PROTOCOL, decode_message, encode_message
from tests.data.golden import vectors
from tests.data.golden.vectors import ANN, BOB, HELLO, SENT, UNDERSTOOD, T, free, gossip, write

RECORD_BYTES = Limits().record_bytes

VECTORS: dict[str, dict[str, Any]] = {
    vector["name"]: vector
    for vector in json.loads((vectors.HERE / f"v{PROTOCOL}.json").read_text(encoding="utf-8"))
}


def decode(payload: bytes, record_bytes: int = RECORD_BYTES) -> Message:
    """Return the message in a payload."""
    return decode_message(payload, record_bytes=record_bytes)


def payload_of(name: str) -> bytes:
    """Return the payload of a vector."""
    (payload,) = FrameReader(2**20).feed(bytes.fromhex(VECTORS[name]["frame"]))
    return payload


def refusal(payload: bytes, record_bytes: int = RECORD_BYTES) -> MalformedMessage:
    """Return the error that a payload is refused with."""
    with pytest.raises(MalformedMessage) as info:
        decode(payload, record_bytes)
    return info.value


# Golden vectors


def test_every_vector_is_written_down() -> None:
    """The file holds a vector for each message that is tried here, and no other."""
    assert list(VECTORS) == [*SENT, *UNDERSTOOD]


@pytest.mark.parametrize("name", SENT)
def test_a_message_is_sent_as_exactly_these_bytes(name: str) -> None:
    """What is sent is what version 1 sends, byte by byte, header included."""
    _, message = SENT[name]
    assert frame(encode_message(message)).hex() == VECTORS[name]["frame"]


@pytest.mark.parametrize("name", VECTORS)
def test_these_bytes_are_read_as_exactly_this_message(name: str) -> None:
    """What version 1 sent is read as what it said, and the file says so in words of JSON."""
    message = (SENT.get(name) or UNDERSTOOD[name])[1]
    assert decode(payload_of(name)) == message
    assert vectors.describe(message) == VECTORS[name]["message"]


@pytest.mark.parametrize("name", UNDERSTOOD)
def test_what_a_later_version_adds_is_ignored(name: str) -> None:
    """Unknown fields of Hello, Bye and Synced change nothing, and are not sent on."""
    message = decode(payload_of(name))
    assert decode(encode_message(message)) == message
    assert encode_message(message) != payload_of(name)


@pytest.mark.parametrize("name", VECTORS)
def test_a_message_that_was_cut_short_is_refused(name: str) -> None:
    """No beginning of a message is a message, wherever it was cut."""
    payload = payload_of(name)
    for end in range(len(payload)):
        refusal(payload[:end])


@pytest.mark.parametrize("name", VECTORS)
def test_bytes_behind_a_message_are_refused(name: str) -> None:
    """A payload is one message and nothing more."""
    for rest in (b"\x00", b"\xc0", payload_of(name)):
        assert "trailing" in refusal(payload_of(name) + rest).problem


def test_the_worked_example_is_a_vector() -> None:
    """The frame that docs/wire.md takes apart byte by byte is one of these, in full."""
    page = (vectors.HERE.parents[2] / "docs/wire.md").read_text(encoding="utf-8")
    _, _, rest = page.partition("## A frame, byte by byte")
    block = rest.split("```")[1].removeprefix("text\n")
    dump = "".join(line.strip().partition("  ")[0] for line in block.splitlines())
    assert dump.replace(" ", "") == VECTORS["registration"]["frame"]


# What a peer can send that is wrong


@pytest.mark.parametrize("payload", [b"", b"A\x80", b"g\x91\x01", b"\x00", b"\xffS\x80"])
def test_an_unknown_kind_is_refused(payload: bytes) -> None:
    """The first byte says which message it is, and there are four."""
    assert refusal(payload).path == "kind"


HELLO_FIELDS: dict[str, Any] = {
    **VECTORS["hello"]["message"],
    "born": T,
    "context": {ANN: T, BOB: 1},
    "horizon": T,
}
del HELLO_FIELDS["kind"]


def hello(**changes: Any) -> bytes:
    """Return the payload of a Hello with some fields changed."""
    return b"H" + pack({**HELLO_FIELDS, **changes})


@pytest.mark.parametrize(
    "field",
    ["protocol", "oldest", "born", "clock", "retention", "record_bytes", "frame_bytes", "lease"],
)
@pytest.mark.parametrize("value", [0, -1, 2**63, 2**64 - 1, "1", 1.0, True, None, [], {}, b"1"])
def test_a_number_of_hello_that_is_none_is_refused(field: str, value: object) -> None:
    """Numbers are integers from 1 to 2^63 - 1."""
    assert refusal(hello(**{field: value})).path == f"hello.{field}"


@pytest.mark.parametrize("field", ["cluster", "name", "listening", "seen"])
@pytest.mark.parametrize(
    "value", ["", " ", "a b", "a\n", "\x1b[2J", "\x85", "\u2028", "\u202e", "x" * 301, 5, b"x", []]
)
def test_a_word_of_hello_that_is_none_is_refused(field: str, value: object) -> None:
    """Words are short, not empty, and without blanks and control characters."""
    assert refusal(hello(**{field: value})).path == f"hello.{field}"


@pytest.mark.parametrize("seen", ["10.0.0.1:80", "[::1]", "0.0.0.0", "::"])
def test_an_address_that_could_not_be_registered_is_not_seen_either(seen: str) -> None:
    """What a peer says of this host's address is held to the same as what can be registered."""
    assert refusal(hello(seen=seen)).path == "hello.seen"


@pytest.mark.parametrize(
    "field, most", [("cluster", 100), ("name", 100), ("listening", 300), ("seen", 255)]
)
def test_a_word_of_hello_has_a_greatest_length(field: str, most: int) -> None:
    """As many characters as are allowed are allowed, and one more is not."""
    assert isinstance(decode(hello(**{field: "é" * most})), Hello)
    assert refusal(hello(**{field: "é" * (most + 1)})).path == f"hello.{field}"


@pytest.mark.parametrize("node", ["", ANN[:-1], ANN + "0", ANN.lower(), ANN + "\n", "G" * 24, 7])
def test_a_node_of_hello_that_is_none_is_refused(node: object) -> None:
    """A node id has 24 upper-case hex digits, as the sender's own and in its context."""
    assert refusal(hello(node=node)).path == "hello.node"
    assert refusal(hello(context={node: 1})).path == "hello.context"


@pytest.mark.parametrize("time", [0, -1, 2**63, 2**64 - 1, "1", 1.0, None])
def test_a_time_of_the_digest_that_is_none_is_refused(time: object) -> None:
    """The context maps node ids to times."""
    assert refusal(hello(context={ANN: time})).path == "hello.context[...]"


@pytest.mark.parametrize("field", sorted(HELLO_FIELDS))
def test_what_hello_must_say_it_must_say(field: str) -> None:
    """Five fields may be left out, each other is asked for by its name."""
    fields = {key: value for key, value in HELLO_FIELDS.items() if key != field}
    if field in ("name", "listening", "seen", "context", "horizon"):
        assert isinstance(decode(b"H" + pack(fields)), Hello)
    else:
        error = refusal(b"H" + pack(fields))
        assert (error.path, field in error.problem) == ("hello", True)


@pytest.mark.parametrize(
    "payload, path",
    [
        (b"H\x90", "hello"),
        (b"H" + pack(HELLO_FIELDS | {5: 5}), "hello"),
        (hello().replace(b"manifest", b"manifes\xff"), "hello.cluster"),
        (hello(name="ann").replace(b"ann", b"\xed\xa0\x80"), "hello.name"),
        (b"H\x81\xa1x" + b"\x91" * 100_000, "hello"),
        (b"H\xde\xff\xff", "hello"),
        (b"B\x80", "bye"),
        (b"B" + pack({"code": "closed"}), "bye"),
        (b"B" + pack({"code": 5, "reason": ""}), "bye.code"),
        (b"B" + pack({"code": "", "reason": ""}), "bye.code"),
        (b"B" + pack({"code": "x" * 101, "reason": ""}), "bye.code"),
        (b"B" + pack({"code": "closed", "reason": None}), "bye.reason"),
        (b"B" + pack({"code": "closed", "reason": "x" * 4001}), "bye.reason"),
        (b"B\x82\xa4code\xa1x\xa6reason\xa1\xff", "bye.reason"),
        (b"S\x90", "synced"),
        (b"S\xc0", "synced"),
        (b"S\x01", "synced"),
        (b"S\x81\x01\x01", "synced"),
    ],
)
def test_a_wrong_hello_bye_or_synced_is_refused_by_its_path(payload: bytes, path: str) -> None:
    """The error names the field at fault."""
    assert refusal(payload).path == path


def test_the_wording_of_a_bye_is_made_harmless() -> None:
    """A reason is never refused for its wording, and its control characters do not arrive."""
    bye = decode(b"B" + pack({"code": "err\nor", "reason": "a\x1b[2Jb\r\n\u202ec"}))
    assert bye == Bye(code="err or", reason="a [2Jb   c")
    assert decode(encode_message(bye)) == bye


ROWS: dict[str, Any] = {
    "base": T,
    "horizon": 0,
    "nodes": [ANN, BOB],
    "roles": ["web@1.2.3", "db"],
    "addresses": ["192.0.2.7"],
    "writes": [],
    "frees": [],
    "marks": [],
    "leases": [],
    "prunes": [],
    "grafts": [],
    "renewals": [],
}
WRITE = {
    "key": 1, "time": 0, "node": 0, "role": 0, "address": 0, "port": 80, "data": b"\x80",
    "since": -5,
}  # fmt: skip
FREE = {"key": 1, "time": 0, "node": 0}
MARK = {
    "node": 0, "since": -1, "until": 0, "remaining": 1, "patience": 1, "born": -5, "name": "db-1",
}  # fmt: skip
LEASE = {"node": 0, "time": 0, "remaining": 1, "patience": 1, "born": -5, "name": "db-1"}
RENEWAL = {"node": 0, "time": 0, "since": -5, "first": 1, "length": 1}
ROW: dict[str, dict[str, Any]] = {
    "writes": WRITE, "frees": FREE, "marks": MARK, "leases": LEASE, "renewals": RENEWAL,
}  # fmt: skip


def rows(**changes: Any) -> bytes:
    """Return the payload of a gossip message with some fields changed."""
    return b"G" + pack(list({**ROWS, **changes}.values()))


def row(field: str, **changes: Any) -> bytes:
    """Return the payload of a gossip message whose third row of this kind has fields changed."""
    good = list(ROW[field].values())
    others = [good, good] if field != "marks" else [[1, -1, 0], [2, -1, 0]]
    bad = list({**ROW[field], **changes}.values())
    return rows(nodes=[ANN, BOB, "F" * 24], **{field: [*others, bad]})


def test_the_rows_that_the_tests_change_are_good() -> None:
    """As they stand they are accepted, so that what is refused is refused for its change."""
    assert isinstance(decode(rows()), Gossip)
    for field in ROW:
        assert isinstance(decode(row(field)), Gossip)


BAD_NUMBERS: tuple[Any, ...] = (-1, 2**63, 2**64 - 1, "1", 1.0, True, b"1", [], {})
BAD_KEYS: tuple[Any, ...] = (
    -1, 2**63, 2**64 - 1, None, 1.0, True, b"x", [], "", "*", "**", "**a", "a b", "a\n", "\0",
    "\x1b[2J", "\x7f", "\x85", "\u2028", "\u202e", "a" * 256, "é" * 128, "*" + "a" * 256,
    f"{BOB}.1", f"{BOB}.0", "0" * 24 + ".7",
)  # fmt: skip
BAD_NODES: tuple[Any, ...] = ("", ANN[1:], ANN + "0", ANN.lower(), ANN + "\n", "G" * 24, 7, None)
BAD_ADDRESSES: tuple[Any, ...] = (
    "", "a b", "a\n", "\u2029", "a" * 256, "h:80", "[::1]", "0.0.0.0", "::", 1, None,
)  # fmt: skip
BAD_NAMES: tuple[Any, ...] = ("", "a b", "\n", "a" * 101, 5, b"x", [])
BAD_BYTES: tuple[Any, ...] = (None, "\x80", 1, [], {}, [128])
NO_ROWS: tuple[Any, ...] = (None, {}, 5, "")
BAD_TIMES: tuple[Any, ...] = (
    -T,
    -(2**63),
    MAX_INT - T + 1,
    2**63 - 1,
    2**64 - 1,
    None,
    "1",
    1.0,
    False,
    [],
)


@pytest.mark.parametrize(
    "field, column, value",
    [
        *((field, "key", value) for field in ("writes", "frees") for value in BAD_KEYS),
        *(
            (field, column, value)
            for field, column in (
                ("writes", "time"), ("frees", "time"), ("marks", "until"), ("leases", "time"),
                ("renewals", "time"),
            )
            for value in BAD_TIMES
        ),
        *(
            (field, "born", value)
            for field in ("marks", "leases")
            for value in BAD_TIMES
            if value is not None
        ),
        *(("marks", "since", value) for value in (-T - 1, 1, -(2**63), 2**63, None, "1", 1.0)),
        *(
            (field, "node", value)
            for field in ROW
            for value in (3, MAX_INT, None, *BAD_NUMBERS)
        ),
        *(("writes", "role", value) for value in (2, MAX_INT, None, *BAD_NUMBERS)),
        *(("writes", "address", value) for value in (1, MAX_INT, *BAD_NUMBERS)),
        *(("writes", "port", value) for value in (0, 65536, *BAD_NUMBERS)),
        *(("writes", "data", value) for value in BAD_BYTES),
        *(
            (field, column, value)
            for field in ("marks", "leases")
            for column, values in (
                ("remaining", (None, *BAD_NUMBERS)), ("patience", (None, *BAD_NUMBERS)),
                ("name", BAD_NAMES),
            )
            for value in values
        ),
        *(
            (field, "since", value)
            for field in ("writes", "renewals")
            for value in (-T, -T - 1, 0, 1, -(2**63), 2**63, "1", 1.0)
        ),
        ("renewals", "since", None),
        *(("renewals", "first", value) for value in (None, *BAD_NUMBERS)),
        *(("renewals", "length", value) for value in (0, None, *BAD_NUMBERS)),
    ],
)  # fmt: skip
def test_a_wrong_column_is_refused_by_its_path(field: str, column: str, value: object) -> None:
    """The error names the row and the column: `gossip.writes[2].time`."""
    assert refusal(row(field, **{column: value})).path == f"gossip.{field}[2].{column}"


@pytest.mark.parametrize(
    "changes, path",
    [
        *(({"base": value}, "gossip.base") for value in (0, None, *BAD_NUMBERS)),
        *(({"horizon": value}, "gossip.horizon") for value in (None, *BAD_NUMBERS)),
        *(({"nodes": [ANN, value]}, "gossip.nodes[1]") for value in BAD_NODES),
        *(
            ({"roles": ["a", value]}, "gossip.roles[1]")
            for value in ("", "@", "a b", "a@", "a@1", "a@^1.2.3", "a@01.0.0", "a" * 256, "a\0", 1)
        ),
        *(({"addresses": ["a", value]}, "gossip.addresses[1]") for value in BAD_ADDRESSES),
        *(({field: value}, f"gossip.{field}") for field in ROW for value in NO_ROWS),
        *(({field: [value]}, f"gossip.{field}[0]") for field in ROW for value in NO_ROWS),
        *(({field: [[]]}, f"gossip.{field}[0]") for field in ROW),
        *(
            ({field: [[*ROW[field].values(), 1]]}, f"gossip.{field}[0]")
            for field in ("writes", "frees", "marks", "leases", "renewals")
        ),
        (
            {"renewals": [[0, 0, -5, MAX_INT, 1], [0, 0, -5, MAX_INT, 2]]},
            "gossip.renewals[1].length",
        ),
        ({"renewals": [[0, 0, -5, 0, MAX_ROWS], [0, 0, -5, 0, 1]]}, "gossip"),
        ({"renewals": [[0, 0, -5, 0, MAX_INT]]}, "gossip"),
        ({"marks": [[0, -1, 0], [1, -1, 0], [0, -1, 0]]}, "gossip.marks[2].node"),
        ({"nodes": [ANN, ANN], "marks": [[0, -1, 0], [1, -1, 0]]}, "gossip.marks[1].node"),
        *(
            ({field: [0, value]}, f"gossip.{field}[1]")
            for field in ("prunes", "grafts")
            for value in (2, MAX_INT, None, *BAD_NUMBERS)
        ),
        ({"more": 1}, "gossip"),
    ],
)
def test_a_wrong_table_is_refused_by_its_path(changes: dict[str, Any], path: str) -> None:
    """The error names the table and the place in it."""
    assert refusal(rows(**changes)).path == path


@pytest.mark.parametrize(
    "data, path",
    [
        (b"", "data"),
        (b"\x80\x80", "data"),
        (b"\x90", "data"),
        (b"\x81\x01\x01", "data"),
        (b"\x81\xa1a\xcb\x7f\xf8\0\0\0\0\0\0", "data.a"),
        (b"\x81\xa1a\x92\x01\xcb\xff\xf0\0\0\0\0\0\0", "data.a[1]"),
        (b"\x81\xa1a\xc7\x01\x05x", "data.a"),
        (b"\x81\xa1a\xd6\xff\0\0\0\0", "data.a"),
        (b"\x81\xa1a\xc4\x01b", "data.a"),
        (b"\x81\xa1a\x81\x01\x01", "data.a[1]"),
        (b"\x81\xa1a\x81\x80\x01", "data"),
        (b"\x81\xa1a\xa3\xed\xa0\x80", "data.a"),
        (b"\x81\xa1a" + b"\x91" * 14_000 + b"\x90", "data"),
        (b"\x81\xa1a" + b"\x91" * (MAX_DEPTH - 1) + b"\x90", "data.a" + "[0]" * 15),
    ],
)
def test_wrong_data_is_refused_by_its_path(data: bytes, path: str) -> None:
    """The path goes on into the data, and data that is good elsewhere does not vouch for it."""
    good = list({**WRITE, "data": pack_data({"a": [1.5]})}.values())
    bad = list({**WRITE, "data": data}.values())
    assert refusal(rows(writes=[good, bad, good])).path == f"gossip.writes[1].{path}"


@pytest.mark.parametrize(
    "payload, path",
    [
        (b"G", "gossip"),
        (b"G\x90", "gossip"),
        (b"G\x80", "gossip"),
        (b"G\xc0", "gossip"),
        (b"G\xdd\xff\xff\xff\xff", "gossip"),
        (b"G\x96\x01\x00\x90\x90\x90\xdd\xff\xff\xff\xff", "gossip.writes"),
        (b"G\x96\x01\x00\x90\x90\x90\xdd\x00\x00\x08\x00", "gossip"),
        (b"G\x96\x01\x00\x90\x90\x90\xdd\x00\x00\x08\x01", "gossip.writes"),
        (b"G" + b"\x91" * 100_000, "gossip.base"),
        (b"G\x93\x01\x00" + b"\x91" * 100_000, "gossip.nodes[0]"),
        (rows(nodes=[ANN, "B" * 24]).replace(b"B" * 24, b"\xff" * 24), "gossip.nodes[1]"),
        (row("writes", key="xyz").replace(b"xyz", b"x\xffz"), "gossip.writes[2].key"),
        (row("frees", key="xyz").replace(b"xyz", b"\xed\xa0\x80"), "gossip.frees[2].key"),
        (row("leases", name="xyz").replace(b"xyz", b"\xf8xz"), "gossip.leases[2].name"),
    ],
)
def test_wrong_bytes_of_gossip_are_refused_by_their_path(payload: bytes, path: str) -> None:
    """Bad UTF-8 is found where it stands; what has no shape at all is refused at the top."""
    assert refusal(payload).path == path


def test_an_id_that_is_bound_to_another_is_refused_in_words() -> None:
    """The error says whose it is and who wrote it."""
    problem = refusal(row("writes", key=f"{BOB}.1", node=0)).problem
    assert problem == f"{BOB}.1 is {BOB}'s alone to write, not {ANN}'s"


def test_a_persistent_record_is_written_by_its_owner_and_freed_by_anyone() -> None:
    """It outlives its owner, so others must be able to free it, but never to write it."""
    key = f"*{BOB}.1"
    problem = refusal(row("writes", key=key, node=0)).problem
    assert problem == f"{key} is {BOB}'s alone to write, not {ANN}'s"
    for payload in (row("writes", key=key, node=1), row("frees", key=key, node=0)):
        message = decode(payload)
        assert isinstance(message, Gossip)
        (entry,) = (each for each in message.delta.entries if each.key == key)
        assert (entry.is_tombstone, entry.stamp.node) in ((False, BOB), (True, ANN))


@pytest.mark.parametrize("key", ["*db", f"*{BOB}.01", f"{BOB}.01", f"{BOB}.", f"{BOB}.1.2", BOB])
@pytest.mark.parametrize("writer", [ANN, BOB])
def test_what_only_looks_bound_may_be_written_by_anyone(key: str, writer: str) -> None:
    """Whatever is not exactly a node id, a dot and a number is shared, marked or not."""
    for message in (gossip(write(key, T, writer, "web")), gossip(free(key, T, writer))):
        assert decode(encode_message(message)) == message


def test_a_record_may_be_as_large_as_the_limit() -> None:
    """Key, role, address and data together are counted, in bytes, wherever most of them lie."""
    for key, role, address, data in (
        ("k", "r", None, b"\x81\xa1a\xda\x01\x00" + b"x" * 256),
        (f"{ANN}.1", "é" * 127, "é" * 255, b"\x80"),
        ("*" + "é" * 127, "r", "a" * 255, pack_data({"é": "é"})),
    ):
        record = Record(role, address, None, data)
        payload = encode_message(gossip(Entry(key, Stamp(T, ANN), record)))
        size = record.size(key)
        assert isinstance(decode(payload, size), Gossip)
        error = refusal(payload, size - 1)
        assert error.path == "gossip.writes[0].data"
        assert error.problem == f"a record has at most {size - 1} bytes, got {size}"


def test_the_size_is_judged_before_the_data_is_read() -> None:
    """What is too large is not unpacked: among large mappings are some that take very long."""
    data = b"\xc1" * (RECORD_BYTES + 1)
    assert "a record has at most" in refusal(row("writes", data=data)).problem


def test_words_are_never_larger_than_is_taken_for_granted() -> None:
    """The shortcut that spares most records the sum of their sizes holds for the largest words."""
    key = key_of(check_id("é" * (MAX_ID_BYTES // 2) + "x"), persistent=True)
    role, address = "é" * 127 + "x", "\N{GRINNING FACE}" * 255
    assert parse_role(role)
    assert check_address(address)
    assert Record(role, address, None, b"").size(key) == _MOST_WORDS
    for check, word in ((check_id, key[1:]), (parse_role, role), (check_address, address)):
        with pytest.raises(ValueError):
            check(word + "x")


def test_columns_are_named() -> None:
    """Paths of numbers become paths of names, for each column of each row."""
    assert [_named(f"gossip[{i}]") for i in range(12)] == [f"gossip.{f}" for f in _Gossip._fields]
    assert _named("gossip[5][3][0]") == "gossip.writes[3].key"
    assert _named("gossip[8][0][5]") == "gossip.leases[0].name"
    assert _named("gossip[9][4]") == "gossip.prunes[4]"


# What is accepted


def test_a_renewal_counts_as_what_it_stands_for() -> None:
    """A message may renew as many entries as it may carry, in however few rows, and no more."""
    most = gossip(renewals=(Renewal(ANN, T, T - 5, 7, MAX_ROWS - 1), Renewal(BOB, T, 1, 0)))
    assert decode(encode_message(most)) == most
    with pytest.raises(ValueError, match=f"at most {MAX_ROWS} rows, got {MAX_ROWS + 1}"):
        encode_message(attrs.evolve(most, renewals=(*most.renewals, Renewal(BOB, T, 1, 1))))


def test_synced_is_one_byte_and_an_empty_map() -> None:
    """Synced has no fields yet."""
    assert encode_message(Synced()) == b"S\x80"
    assert decode(b"S\x80") == Synced()


def test_an_owner_bound_id_may_come_as_text() -> None:
    """Number and text stand for the same key, and it is sent on as a number."""
    number, text = rows(frees=[[1, 0, 0]]), rows(frees=[[f"{ANN}.1", 0, 0]])
    assert decode(number) == decode(text)
    assert encode_message(decode(text)) == encode_message(decode(number))


def test_a_name_without_a_birth_is_not_lost() -> None:
    """Each part of a lease is sent on as it came, also where a part is missing."""
    for born, name in ((0, None), (0, "db-1"), (T, None), (T, "db-1")):
        message = gossip(leases=(Lease(ANN, T, 5, born, name, 7),))
        assert decode(encode_message(message)) == message


def test_times_may_lie_as_far_apart_as_there_are_times() -> None:
    """A distance from the base fits 64 bits, whatever the base is."""
    for base in (1, MAX_INT):
        packer = GossipPacker(1024, base=base)
        assert packer.add_entry(free("a", 1, ANN))
        assert packer.add_entry(free("b", MAX_INT, ANN))
        assert packer.add_mark(ANN, 0, MAX_INT)
        assert packer.add_lease(Lease(ANN, 1, MAX_INT, MAX_INT, None, MAX_INT))
        message = decode(packer.payload(horizon=MAX_INT))
        assert message == gossip(
            free("a", 1, ANN),
            free("b", MAX_INT, ANN),
            marks={ANN: (0, MAX_INT)},
            horizon=MAX_INT,
            leases=(Lease(ANN, 1, MAX_INT, MAX_INT, None, MAX_INT),),
        )


def test_a_delta_that_begins_with_nothing_has_no_since() -> None:
    """A mark from 0 on is one whose receiver need not have reflected anything."""
    message = decode(rows(marks=[[0, -T, 0]]))
    assert message == gossip(marks={ANN: (0, T)})


# Packing


def test_a_packer_is_true_once_it_holds_something() -> None:
    """An empty message is told from one that says something, whatever it says."""
    assert not GossipPacker(1024, base=T)
    packers = [GossipPacker(1024, base=T) for _ in range(6)]
    assert packers[0].add_entry(free("a", T, ANN))
    assert packers[1].add_entry(write("a", T, ANN, "web"))
    assert packers[2].add_mark(ANN, 0, T)
    assert packers[3].add_lease(Lease(ANN, T, 1))
    assert packers[4].add_prune(ANN)
    assert packers[5].add_graft(ANN)
    assert all(packers)


def test_what_does_not_fit_leaves_the_message_as_it_was() -> None:
    """Not even its words stay in the tables, and smaller things may still fit."""
    packer = GossipPacker(200, base=T)
    assert packer.add_entry(free(f"{ANN}.1", T, ANN))
    before = packer.payload(horizon=0)
    large = write("a" * 100, T, BOB, "web", address="192.0.2.7")
    assert not packer.add_entry(large)
    assert not packer.add_entry(free("a" * 200, T, BOB))
    assert not packer.add_lease(Lease(BOB, T, 1, T, "x" * 100))
    assert packer.payload(horizon=0) == before
    assert packer.add_mark(ANN, 0, T)
    for add in ("add_mark", "add_prune", "add_graft"):
        assert not getattr(GossipPacker(70, base=T), add)(*(ANN, 0, T)[: 3 if "mark" in add else 1])


@pytest.mark.parametrize("time", [T, T - 1])
def test_a_mark_and_its_lease_fit_together_or_not_at_all(time: int) -> None:
    """Where there is room for the mark alone, neither counts as packed, in one row or in two."""
    packer = GossipPacker(150, base=T)
    before = packer.payload(horizon=0)
    lease = Lease(ANN, time, 1, T, "x" * 50)
    assert not packer.add_mark(ANN, 0, T, lease)
    assert packer.payload(horizon=0) == before
    packer = GossipPacker(250, base=T)
    assert packer.add_mark(ANN, 0, T, lease)
    assert decode(packer.payload(horizon=0)) == gossip(marks={ANN: (0, T)}, leases=(lease,))


@pytest.mark.parametrize("time, fits", [(T, True), (T - 1, False)])
def test_a_lease_of_another_time_than_its_mark_takes_a_row_of_its_own(
    time: int, fits: bool
) -> None:
    """In the last row that a message may have there is room for the two where they share it."""
    packer = GossipPacker(2**62, base=T)
    assert all(packer.add_entry(free(f"{ANN}.{i}", T, ANN)) for i in range(MAX_ROWS - 1))
    assert packer.add_mark(ANN, 0, T, Lease(ANN, time, 1)) == fits


def greatest(i: int) -> dict[str, Callable[[GossipPacker], bool]]:
    """Return ways to add rows whose columns take as many bytes as they can."""
    id, far = f"{ANN}.{MAX_INT - i}", MAX_INT - i
    lease = Lease(ANN, far, MAX_INT, MAX_INT, "\N{GRINNING FACE}" * 10, MAX_INT)
    role, address = f"{i}" + "é" * 100, f"{i}" + "é" * 50
    return {
        "free": lambda packer: packer.add_entry(free(id, far, ANN)),
        "shared": lambda packer: packer.add_entry(free(f"é{i}", far, ANN)),
        "write": lambda packer: packer.add_entry(write(id, far, ANN, "web", port=65535)),
        "words": lambda packer: packer.add_entry(write(id, far, ANN, role, address=address)),
        "mark": lambda packer: packer.add_mark(ANN, MAX_INT, far),
        "nodes": lambda packer: packer.add_mark(f"{i:024X}", MAX_INT, far),
        "lease": lambda packer: packer.add_lease(lease),
        "both": lambda packer: packer.add_mark(f"{i:024X}", MAX_INT, far, lease),
        "prune": lambda packer: packer.add_prune(f"{i:024X}"),
        "graft": lambda packer: packer.add_graft(f"{i:024X}"),
    }


@pytest.mark.parametrize("kind", greatest(0))
@pytest.mark.parametrize("limit", [1_000, 10_000])
def test_a_full_packer_keeps_its_limit(kind: str, limit: int) -> None:
    """However many rows of the costliest kind there are, the payload is not beyond the limit."""
    packer = GossipPacker(limit, base=1)
    rows_in_it = next(i for i in range(1_000) if not greatest(i)[kind](packer))
    assert rows_in_it > 1
    assert limit * 0.6 < len(packer.payload(horizon=MAX_INT)) <= limit


def test_a_thousand_records_cost_what_is_new_in_each() -> None:
    """A record of an owner that shares its role and address takes some 20 bytes."""
    records = [
        write(f"{ANN}.{i}", T + i, ANN, "web@1.2.3", address="192.0.2.7", port=1 + i)
        for i in range(1000)
    ]
    assert len(encode_message(gossip(*records))) < 20_000


def test_the_smallest_frame_holds_the_largest_of_everything() -> None:
    """Whatever may be sent fits the smallest frame by itself, so that a link always gets on."""
    limits = Limits(record_bytes=256, frame_bytes=1024)
    limit = limits.record_bytes + 512 - HEADER_BYTES
    name = "\N{GRINNING FACE}" * 100
    assert isinstance(decode(rows(leases=[[0, 0, 1, 0, 0, name]])), Gossip)
    assert GossipPacker(limit, base=T).add_mark(ANN, 0, T, Lease(ANN, T, 1, T, name))
    assert GossipPacker(limit, base=T).add_entry(free("*" + "é" * 127, T, ANN))
    assert GossipPacker(limit, base=T).add_mark(ANN, 0, T)
    data = b"\xc4" * (limits.record_bytes - 3)
    assert GossipPacker(limit, base=T).add_entry(
        Entry("k", Stamp(T, ANN), Record("r", "a", 65535, data))
    )


def test_a_message_has_a_greatest_number_of_rows() -> None:
    """As many rows as are allowed are packed and read, and one more is not."""
    packer = GossipPacker(2**40, base=T)
    entries = [free(f"{ANN}.{i}", T, ANN) for i in range(MAX_ROWS)]
    assert all(packer.add_entry(entry) for entry in entries)
    assert not packer.add_mark(ANN, 0, T)
    assert decode(packer.payload(horizon=0)) == gossip(*entries)
    assert encode_message(gossip(*entries)) == packer.payload(horizon=0)
    with pytest.raises(ValueError, match="2048 rows, got 2049: send it in parts"):
        encode_message(gossip(*entries, marks={ANN: (0, T)}))
    for field in ROW:
        assert refusal(rows(**{field: [[]] * (MAX_ROWS + 1)})).path == f"gossip.{field}"
    for field in ("nodes", "roles", "addresses"):
        assert refusal(rows(**{field: [""] * (MAX_ROWS + 1)})).path == f"gossip.{field}"


def test_gossip_need_not_come_from_a_packer() -> None:
    """`encode_message` finds a base by itself, and packs whatever a message holds."""
    assert encode_message(Gossip(Delta())) == b"G\x91\x01"
    assert encode_message(Gossip(Delta(horizon=5))) == b"G\x92\x01\x05"
    assert decode(b"G\x91\x01") == Gossip(Delta())
    assert decode(encode_message(HELLO)) == HELLO
