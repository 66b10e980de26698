"""Values to bytes and back: the one module that knows msgspec and MessagePack.

Every decoder is strict: no type is coerced into another, and whatever is wrong with the bytes comes
out as one kind of error, `MalformedMessage`, with the path of the fault. docs/wire.md has the
measurements behind the choice of format and library.

`pack_data` and `unpack_data` are for what users attach to a service: JSON-like values alone, so
that nothing can enter the registry that would fail at a later replica.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, TypeAlias, TypeVar, cast

import msgspec

from .errors import MalformedMessage

__all__ = [
    "EMPTY_DATA",
    "JSON",
    "MAX_DEPTH",
    "MAX_INT",
    "MAX_ROWS",
    "Count",
    "Digits",
    "Name",
    "Place",
    "Port",
    "Positive",
    "Reason",
    "Rows",
    "Value",
    "check_data",
    "decoder",
    "pack",
    "pack_data",
    "unpack_data",
]

T = TypeVar("T")

JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"
"""What `Service.data` may hold."""

MAX_DEPTH = 16
"""How deep lists and mappings may nest."""

MAX_INT = 2**63 - 1
"""The greatest number outside of data, so that a signed integer of 64 bits holds each of them."""

MAX_ROWS = 2**11
"""How many rows a message may have, and how many words each of its tables.

A small frame is not to grow into a large message, nor to take long: neither end is to block.
"""

EMPTY_DATA = b"\x80"

# What a field may hold is said where the field stands, by its type, and checked by msgspec in C.
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=MAX_INT)]
"""An integer from 0 to 2^63 - 1."""
Positive: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=MAX_INT)]
"""An integer from 1 to 2^63 - 1."""
Port: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=65535)]
# The pattern ends in \Z, for $ would let a line break through.
Digits: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"\A[0-9A-F]{24}\Z")]
"""A node id: 24 upper-case hex digits."""
Name: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
"""Text of 1 to 100 characters."""
Place: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=300)]
"""An address of at most 255 characters, or that and a port."""
Reason: TypeAlias = Annotated[str, msgspec.Meta(max_length=4000)]
"""Text of at most 4000 characters."""
Rows: TypeAlias = Annotated[tuple[T, ...], msgspec.Meta(max_length=MAX_ROWS)]
"""At most `MAX_ROWS` of something."""


class Value(msgspec.Struct, frozen=True, gc=False):
    """What is made in C, and passed over by Python's collector of cycles.

    For what there is as much of as of services, and what cannot be part of a cycle, since it holds
    nothing but immutable values.
    """


_MIN_DATA_INT, _MAX_DATA_INT = -(2**63), 2**64 - 1

pack: Callable[[object], bytes] = msgspec.msgpack.Encoder().encode


# What msgspec raises for bytes that are not what was asked for.
# UnicodeDecodeError: for text that is no UTF-8, before version 0.23.
# TypeError: of a mapping that is the key of another, before version 0.20.
_REFUSALS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, TypeError)


def _is_bad_text(error: Exception) -> bool:
    """Tell whether text was no UTF-8, whichever version of msgspec says so."""
    return isinstance(error, UnicodeDecodeError) or str(error) == "Invalid UTF-8 encoded string"


def decoder(shape: type[T], name: str) -> Callable[[bytes], T]:
    """Return a function that decodes bytes into `shape`; `name` begins the path in its errors.

    >>> decoder(dict[str, list[int]], "scores")(pack({"ann": [1, "2"]}))
    Traceback (most recent call last):
    ...
    manifest.errors.MalformedMessage: scores[...][1]: Expected `int`, got `str`
    """
    decode = msgspec.msgpack.Decoder(shape).decode

    def strictly(payload: bytes) -> T:
        try:
            return decode(payload)
        except _REFUSALS as error:
            if _is_bad_text(error):
                path = name + _path_of_bad_text(payload, levels=4)
                raise MalformedMessage(path, f"text is UTF-8: {error}") from error
            problem, _, place = str(error).partition(" - at `")
            # The place is $.born or $[3][1], or "key` in `$.context", or left out for the whole.
            path = name + place.removesuffix("`").rpartition("$")[2]
            raise MalformedMessage(path, problem) from error

    return strictly


_SEARCHED_BYTES = 16 * 1024


def _path_of_bad_text(packed: bytes | msgspec.Raw, *, levels: int) -> str:
    """Return where in packed bytes the text is that is not UTF-8, for msgspec does not say.

    It looks a few levels down and no further: each of them reads what is left once more. Nor does
    it look through much: whoever sends bad text decides what else there is to be read.
    """
    sought = levels and len(packed) <= _SEARCHED_BYTES
    for step, item in _items(packed) if sought else ():
        try:
            msgspec.msgpack.decode(item)
        except _REFUSALS as error:
            if _is_bad_text(error):
                return step + _path_of_bad_text(item, levels=levels - 1)
    return ""


def _items(packed: bytes | msgspec.Raw) -> Iterable[tuple[str, msgspec.Raw]]:
    try:
        items = _decode_items(packed)
    except _REFUSALS:
        return ()
    if isinstance(items, dict):
        return [(_step(key), item) for key, item in items.items()]
    return [(f"[{at}]", item) for at, item in enumerate(items)]


# Of more items than a message may have anywhere nobody needs to know which it is.
_Few: Any = msgspec.Meta(max_length=MAX_ROWS)
_decode_items = msgspec.msgpack.Decoder(
    Annotated[list[msgspec.Raw], _Few] | Annotated[dict[str, msgspec.Raw], _Few]
).decode


def _step(key: object) -> str:
    """Return a key as it stands in a path: `.zone`, or `['time zone']` where it is no name."""
    short = isinstance(key, str) and len(key) <= 80 and key.isidentifier()
    return f".{key}" if short else f"[{key!r:.80}]"


_decode_data = decoder(dict[str, Any], "data")


def _shallow_type(levels: int) -> Any:
    """Return the type of what data of a few levels may hold, for msgspec to check in C.

    Its size doubles with each level, so that only what is usual is checked in this way.
    """
    finite = Annotated[float, msgspec.Meta(ge=-sys.float_info.max, le=sys.float_info.max)]
    # Subscripted with a variable, which is fine at run time and nothing that a type checker reads.
    a_list, a_dict = cast("Any", list), cast("Any", dict)
    item = scalar = cast("Any", None | bool | int | finite | str)
    for _ in range(levels - 1):
        item = scalar | a_list[item] | a_dict[str, item]
    return a_dict[str, item]


_decode_shallow = msgspec.msgpack.Decoder(_shallow_type(3)).decode

_SEARCHED = 4096
"""In how many bytes of data a fault is looked for, which takes long where there is much."""

_WHAT_DATA_IS = (
    "data is made of None, bool, int, finite numbers, text, lists and mappings from text, "
    f"{MAX_DEPTH} deep at the most"
)

_SCALARS = {type(None), bool, int, float, str}
_CONTAINERS = {list, dict}
_TEXT = {str}


def _is_plain(data: dict[str, Any]) -> bool:
    """Tell whether data is JSON-like and of plain types, one look at all that a container holds.

    What `_plain` asks value by value, in a tenth of the time. That text is valid and integers are
    not too large is not asked: what was decoded is so, and what is not cannot be packed.
    """
    level: list[Any] = [data]
    depth = 0
    while level:
        depth += 1
        deeper: list[Any] = []
        for container in level:
            values = container
            if type(container) is dict:
                if not _TEXT.issuperset(map(type, container)):
                    return False
                values = container.values()
            kinds = {*map(type, values)}
            if not kinds <= _SCALARS:
                if kinds - _SCALARS - _CONTAINERS or depth == MAX_DEPTH:
                    return False
                # What is empty holds nothing to be looked at.
                deeper += [value for value in values if type(value) in _CONTAINERS and value]
            if float in kinds and not all(
                math.isfinite(value) for value in values if type(value) is float
            ):
                return False
        level = deeper
    return True


class _NotPlain(Exception):
    """Some value is not JSON-like. Its path is put together on the way out, and only then."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.path = ""


def pack_data(data: Mapping[str, Any]) -> bytes:
    """Return the packed form of a JSON-like mapping.

    ValueError, naming the place, for what is not JSON-like: keys that are not text, NaN and
    infinities, integers beyond 64 bits, lone surrogates, other types, deep nesting.

    >>> unpack_data(pack_data({"zone": "eu", "weights": (1, 2.5)}))
    {'zone': 'eu', 'weights': [1, 2.5]}
    >>> pack_data({"weights": [1, float("nan")]})
    Traceback (most recent call last):
    ...
    ValueError: data.weights[1]: numbers are finite, got nan
    """
    if type(data) is dict and _is_plain(data):
        try:
            return pack(data)
        except (UnicodeEncodeError, OverflowError):
            pass  # Nearly all data is of plain types; what cannot be packed is named below.
    if not isinstance(data, Mapping):
        raise ValueError(f"data is a mapping from text to JSON-like values, got {data!r:.80}")
    try:
        return pack(_plain(data, 0))
    except _NotPlain as fault:
        raise ValueError(f"data{fault.path}: {fault.problem}") from None


def unpack_data(packed: bytes) -> dict[str, JSON]:
    """Return the mapping that was packed, afresh at each call. `MalformedMessage` on bad bytes."""
    if packed == EMPTY_DATA:
        return {}
    data: dict[str, JSON] = _decode_data(packed)
    try:
        _plain(data, 0)
    except _NotPlain as fault:
        raise MalformedMessage(f"data{fault.path}", fault.problem) from fault
    return data


def check_data(packed: bytes) -> None:
    """Refuse bytes that `unpack_data` would, with `MalformedMessage`, and much faster."""
    try:
        _decode_shallow(packed)
    except _REFUSALS:
        if _is_plain(_decode_data(packed)):
            return
        if len(packed) > _SEARCHED:
            raise MalformedMessage("data", _WHAT_DATA_IS) from None
        # It says what is wrong, and where.
        unpack_data(packed)


def _plain(value: Any, depth: int) -> JSON:
    """Return a copy made of plain types alone, or raise `_NotPlain`."""
    if isinstance(value, str):
        return _text(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return _number(value)
    if not isinstance(value, list | tuple | Mapping):
        raise _NotPlain(
            "data is made of None, bool, int, float, str, lists and mappings, "
            f"got {type(value).__name__} {value!r:.80}"
        )
    if depth == MAX_DEPTH:
        raise _NotPlain(f"lists and mappings nest at most {MAX_DEPTH} deep")
    return _mapping(value, depth + 1) if isinstance(value, Mapping) else _list(value, depth + 1)


def _text(value: str) -> str:
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise _NotPlain(f"text is valid Unicode, got {value!r:.80}") from None
    # Not str(value), which is "Zone.EU" for a member of `class Zone(str, Enum)`.
    return str.__str__(value)


def _number(value: float) -> int | float:
    if isinstance(value, int):
        if not _MIN_DATA_INT <= value <= _MAX_DATA_INT:
            raise _NotPlain(f"integers have at most 64 bits, got one of {value.bit_length()}")
        return int(value)
    if not math.isfinite(value):
        raise _NotPlain(f"numbers are finite, got {value}")
    return float(value)


def _list(value: Sequence[Any], depth: int) -> list[JSON]:
    items: list[JSON] = []
    try:
        for item in value:
            items.append(_plain(item, depth))  # noqa: PERF401  # its length is the place of a fault
    except _NotPlain as fault:
        fault.path = f"[{len(items)}]{fault.path}"
        raise
    return items


def _mapping(value: Mapping[Any, Any], depth: int) -> dict[str, JSON]:
    items: dict[str, JSON] = {}
    key: Any = None
    try:
        for key, item in value.items():
            if not isinstance(key, str):
                raise _NotPlain("the keys of a mapping are text")  # noqa: TRY301  # needs its path
            items[_text(key)] = _plain(item, depth)
    except _NotPlain as fault:
        fault.path = _step(key) + fault.path
        raise
    return items
