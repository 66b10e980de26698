"""The codec: strict decoders whose errors have a path, and data that is JSON-like and no more."""

import enum
import math
from collections import OrderedDict
from types import MappingProxyType
from typing import Any, NamedTuple

import attrs
import msgspec
import pytest

from manifest.codec import (
    EMPTY_DATA,
    MAX_DEPTH,
    Count,
    _is_bad_text,
    check_data,
    decoder,
    pack,
    pack_data,
    unpack_data,
)
from manifest.errors import MalformedMessage


class Row(NamedTuple):
    size: Count
    word: str = ""


@attrs.frozen
class Page:
    title: str
    rows: list[Row] = attrs.field(factory=list)
    notes: dict[str, int] = attrs.field(factory=dict)


decode = decoder(Page, "page")


def nested(depth: int) -> dict[str, Any]:
    """Return data that nests this deep."""
    inner: Any = []
    for _ in range(depth - 2):
        inner = [inner]
    return {"a": inner}


def refusal(payload: bytes) -> MalformedMessage:
    """Return the error that a page is refused with."""
    with pytest.raises(MalformedMessage) as info:
        decode(payload)
    assert str(info.value) == f"{info.value.path}: {info.value.problem}"
    return info.value


def test_what_is_packed_is_decoded() -> None:
    """A decoder returns what was packed, in the shape that it was made for."""
    page = Page("t", [Row(1, "a"), Row(2)], {"n": 3})
    assert decode(pack(page)) == page


@pytest.mark.parametrize(
    "value, path, problem",
    [
        ([], "page", "Expected `object`, got `array`"),
        ({}, "page", "missing required field `title`"),
        ({"title": 5}, "page.title", "Expected `str`, got `int`"),
        ({"title": None}, "page.title", "Expected `str`, got `None`"),
        ({"title": b"t"}, "page.title", "Expected `str`, got `bytes`"),
        ({"title": "t", "rows": {}}, "page.rows", "Expected `array`"),
        ({"title": "t", "rows": [[1], [-1]]}, "page.rows[1][0]", "Expected `int` >= 0"),
        ({"title": "t", "rows": [[2**63]]}, "page.rows[0][0]", "<= 9223372036854775807"),
        ({"title": "t", "rows": [[2**64 - 1]]}, "page.rows[0][0]", "<= 9223372036854775807"),
        ({"title": "t", "rows": [["1"]]}, "page.rows[0][0]", "Expected `int`, got `str`"),
        ({"title": "t", "rows": [[True]]}, "page.rows[0][0]", "Expected `int`, got `bool`"),
        ({"title": "t", "rows": [[1.0]]}, "page.rows[0][0]", "Expected `int`, got `float`"),
        ({"title": "t", "rows": [[]]}, "page.rows[0]", "of length 1 to 2, got 0"),
        ({"title": "t", "rows": [[1, "", 3]]}, "page.rows[0]", "of length 1 to 2, got 3"),
        ({"title": "t", "notes": {"n": "x"}}, "page.notes[...]", "Expected `int`"),
        ({"title": "t", "notes": {1: 1}}, "page.notes", "Expected `str`, got `int`"),
    ],
)
def test_a_wrong_value_is_refused_by_its_path(value: object, path: str, problem: str) -> None:
    """Nothing is coerced, and the error says where and what is wrong."""
    error = refusal(pack(value))
    assert error.path == path
    assert problem in error.problem


@pytest.mark.parametrize(
    "payload, path",
    [
        (b"\x81\xa5title\xa1\xff", "page.title"),
        (b"\x81\xa5title\xa3\xed\xa0\x80", "page.title"),
        (b"\x82\xa5title\xa1t\xa4rows\x92\x91\x01\x92\x02\xa2\xc3\x28", "page.rows[1][1]"),
        (b"\x82\xa5title\xa1t\xa5notes\x81\xa1\xff\x01", "page.notes"),
        # What lies in front of the bad text may be something that only a shape can read.
        (b"\x83\xa3ext\xc7\x01\x05x\xa3key\x81\x80\x01\xa5title\xa1\xff", "page.title"),
        (b"\x82\xa4time\xd7\xff" + b"\xff" * 8 + b"\xa5title\xa1\xff", "page.title"),
    ],
)
def test_text_that_is_not_utf8_is_refused_by_its_path(payload: bytes, path: str) -> None:
    """Lone surrogates and other bad UTF-8 are found where they stand, though msgspec tells not."""
    error = refusal(payload)
    assert error.path == path
    assert error.problem.startswith("text is UTF-8")


def test_the_search_for_bad_text_looks_a_few_levels_down_only() -> None:
    """The path ends where going on would cost more than it tells."""
    bad = b"\x91" * 500 + b"\xa1\xff"
    with pytest.raises(MalformedMessage, match=r"^data\.a\[0\]\[0\]\[0\]: text is UTF-8"):
        unpack_data(b"\x81\xa1a" + bad)


@pytest.mark.parametrize(
    "error, bad",
    [
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), True),
        (msgspec.DecodeError("Invalid UTF-8 encoded string"), True),
        (msgspec.DecodeError("Input data was truncated"), False),
    ],
)
def test_bad_text_is_known_whichever_msgspec_found_it(error: Exception, bad: bool) -> None:
    """Until 0.22 Python's own exception came through, since 0.23 it is one of msgspec's."""
    assert _is_bad_text(error) is bad


def test_an_unknown_field_in_front_of_bad_text_may_nest_without_end() -> None:
    """The search for bad text gives up on what it cannot read, and nothing else is raised."""
    payload = b"\x82\xa1a" + b"\x91" * 100_000 + b"\x01\xa5title\xa1\xff"
    assert refusal(payload).path == "page"


@pytest.mark.parametrize(
    "payload, problem",
    [
        (b"", "truncated"),
        (b"\x81", "truncated"),
        (b"\xc1", "malformed"),
        (pack(Page("t")) + b"\x00", "trailing"),
        (b"\xdf\xff\xff\xff\xff", "truncated"),
        (b"\x82\xa5title\xa1t\xa4rows\xdd\xff\xff\xff\xff", "truncated"),
        (b"\x81\xa5title\xdb\xff\xff\xff\xff", "truncated"),
        (b"\x82\xa5title\xa1t\xa1x" + b"\x91" * 100_000, "recursion"),
        (b"\x82\xa5title\xa1t\xa1x" + b"\x81\xa1a" * 100_000, "recursion"),
    ],
)
def test_what_is_no_messagepack_is_refused(payload: bytes, problem: str) -> None:
    """Truncated, trailing, overlong and endlessly nested bytes are refused at the top."""
    error = refusal(payload)
    assert error.path == "page"
    assert problem in error.problem


def test_the_cause_is_kept() -> None:
    """Who debugs a peer sees what msgspec said."""
    assert refusal(b"").__cause__ is not None


# Data


class Zone(str, enum.Enum):  # noqa: UP042  # str() of a StrEnum is its value
    EU = "eu"


class Level(enum.IntEnum):
    HIGH = 3


class Half(float):
    pass


@pytest.mark.parametrize(
    "data, plain",
    [
        ({}, {}),
        (MappingProxyType({}), {}),
        ({"a": None, "b": True, "c": False}, {"a": None, "b": True, "c": False}),
        ({"a": [0, -(2**63), 2**64 - 1]}, {"a": [0, -(2**63), 2**64 - 1]}),
        ({"a": [0.5, 1.0, 1e308]}, {"a": [0.5, 1.0, 1e308]}),
        ({"": "", "grüße": "世界"}, {"": "", "grüße": "世界"}),
        ({"a": (1, (2,))}, {"a": [1, [2]]}),
        (OrderedDict(a=MappingProxyType({"b": 1})), {"a": {"b": 1}}),
        ({Zone.EU: Zone.EU}, {"eu": "eu"}),
        ({"a": Level.HIGH, "b": Half(0.5)}, {"a": 3, "b": 0.5}),
    ],
)
def test_data_comes_back_as_plain_values(data: dict[str, Any], plain: dict[str, Any]) -> None:
    """Mappings, tuples, enums and subclasses of plain types come back as the plain types."""
    packed = pack_data(data)
    back = unpack_data(packed)
    assert repr(back) == repr(plain)
    assert pack_data(back) == packed


def test_data_is_fresh_at_each_call() -> None:
    """What one caller does to its copy is not seen by another."""
    for packed in (EMPTY_DATA, pack_data({"a": []})):
        unpack_data(packed)["b"] = 1
        assert "b" not in unpack_data(packed)


@pytest.mark.parametrize(
    "data, problem",
    [
        ({"a": float("nan")}, r"data\.a: numbers are finite, got nan"),
        ({"a": [1, math.inf]}, r"data\.a\[1\]: numbers are finite, got inf"),
        ({"a": {"b c": -math.inf}}, r"data\.a\['b c'\]: numbers are finite, got -inf"),
        ({"a": 2**64}, r"data\.a: integers have at most 64 bits, got one of 65"),
        ({"a": -(2**63) - 1}, r"data\.a: integers have at most 64 bits"),
        ({"a": 10**5000}, r"data\.a: integers have at most 64 bits"),
        ({"a": "\ud800"}, r"data\.a: text is valid Unicode, got '\\ud800'"),
        ({"\ud800": 1}, r"data\['\\ud800'\]: text is valid Unicode"),
        ({1: 1}, r"data\[1\]: the keys of a mapping are text"),
        ({"a": [{None: 1}]}, r"data\.a\[0\]\[None\]: the keys of a mapping are text"),
        ({"a": b"x"}, r"data\.a: data is made of .*, got bytes b'x'"),
        ({"a": [set()]}, r"data\.a\[0\]: data is made of .*, got set"),
        (nested(MAX_DEPTH + 1), r"data\.a(\[0\]){15}: lists and mappings nest at most 16 deep"),
        ([], "data is a mapping"),
        ([("a", 1)], "data is a mapping"),
        ("a", "data is a mapping"),
        (None, "data is a mapping"),
    ],
)
def test_what_is_not_json_like_is_refused_by_its_place(data: Any, problem: str) -> None:
    """A ValueError says where in the data the fault is, what was given and what is right."""
    with pytest.raises(ValueError, match=f"^{problem}"):
        pack_data(data)


def test_data_that_contains_itself_is_refused() -> None:
    """A cycle ends at the greatest depth."""
    cycle: list[Any] = []
    cycle.append(cycle)
    with pytest.raises(ValueError, match="nest at most"):
        pack_data({"a": cycle})


def test_data_may_nest_as_deep_as_is_said() -> None:
    """The greatest depth itself is allowed, on both sides."""
    deepest = nested(MAX_DEPTH)
    assert unpack_data(pack_data(deepest)) == deepest
    with pytest.raises(MalformedMessage, match="nest at most"):
        unpack_data(pack(nested(MAX_DEPTH + 1)))


@pytest.mark.parametrize(
    "packed, path",
    [
        (b"", "data"),
        (b"\xc0", "data"),
        (b"\x90", "data"),
        (EMPTY_DATA * 2, "data"),
        (b"\x81\xa1a", "data"),
        (b"\x81\x01\x01", "data"),
        (b"\x81\xa1a\x81\x01\x01", "data.a[1]"),
        (b"\x81\xa1a\x81\xcb\x7f\xf8\0\0\0\0\0\0\x01", "data.a[nan]"),
        (b"\x81\xa1a\x81\xc4\x01b\x01", "data.a[b'b']"),
        (b"\x81\xa1a\xcb\x7f\xf8\0\0\0\0\0\0", "data.a"),
        (b"\x81\xa1a\xca\x7f\x80\0\0", "data.a"),
        (b"\x81\xa1a\xc4\x01b", "data.a"),
        (b"\x81\xa1a\x91\xc7\x01\x05x", "data.a[0]"),
        (b"\x81\xa1a\xd6\xff\0\0\0\0", "data.a"),
        (b"\x81\xa1a\xd7\xff\xff\xff\xff\xff\xff\xff\xff\xff", "data[...]"),
        (b"\x81\xa1a\x81\x80\x01", "data"),
        (b"\x81\xa1a\x81\x91\x80\x01", "data"),
        (b"\x81\xa1a\x81\xc7\x01\x05x\x01", "data"),
        (b"\x81\xa1a\xa1\xff", "data.a"),
        (b"\x81\xa1a" + b"\x91" * 100_000, "data"),
        (b"\x81\xa1a" + b"\x91" * 100 + b"\x90", "data.a" + "[0]" * 15),
    ],
)
def test_packed_data_that_is_not_json_like_is_refused(packed: bytes, path: str) -> None:
    """Extensions, timestamps, bytes, NaN, keys that are not text and the like are malformed."""
    with pytest.raises(MalformedMessage) as info:
        unpack_data(packed)
    assert info.value.path == path


def test_a_key_that_comes_twice_counts_as_it_came_last() -> None:
    """Every replica reads such data alike."""
    assert unpack_data(b"\x82\xa1a\x01\xa1a\x02") == {"a": 2}


def test_bad_text_is_not_searched_for_in_much() -> None:
    """The place of bad text is left out where finding it would cost more than the refusal."""
    decode = decoder(dict[str, str], "words")
    filler = b"\xa1a\xdb" + (20_000).to_bytes(4, "big") + b"x" * 20_000
    for packed, path in (
        (b"\x81\xa1b\xa1\xff", "words.b"),
        (b"\x82" + filler + b"\xa1b\xa1\xff", "words"),
    ):
        with pytest.raises(MalformedMessage, match="text is UTF-8") as info:
            decode(packed)
        assert info.value.path == path


def test_a_path_names_no_key_at_length() -> None:
    """A key of thousands of letters does not fill the log of whoever refuses what it stands for."""
    with pytest.raises(MalformedMessage) as info:
        unpack_data(pack({"k" * 5_000: float("nan")}))
    assert len(str(info.value)) < 150


def test_in_large_data_a_fault_is_said_and_not_searched_for() -> None:
    """What no data may hold is refused in any size; its place is named where that is quick."""
    for size, path in ((10, "data.a[10]"), (5000, "data")):
        packed = pack({"a": [0] * size + [math.nan]})
        with pytest.raises(MalformedMessage, match="finite") as refused:
            check_data(packed)
        assert refused.value.path == path
    check_data(pack({"a": [[[[[0]]]]] * 5000}))
