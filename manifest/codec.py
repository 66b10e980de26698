"""Values to bytes and back: the one module that knows msgspec and MessagePack.

Every decoder is strict: no type is coerced into another, and whatever is wrong with the bytes comes
out as one kind of error, `MalformedMessage`, with the path of the fault. docs/wire.md has the
measurements behind the choice of format and library.

`pack_data` and `unpack_data` are for what users attach to a service: JSON-like values alone, so that
nothing can enter the registry that would fail at a later replica.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeAlias, TypeVar

import msgspec

from .errors import MalformedMessage

__all__ = [
    "EMPTY_DATA",
    "JSON",
    "MAX_DEPTH",
    "Count",
    "decoder",
    "pack",
    "pack_data",
    "unpack_data",
]

T = TypeVar("T")

JSON: TypeAlias = "None | bool | int | float | str | list[JSON] | dict[str, JSON]"
"""What `Service.data` may hold."""

Count = Annotated[int, msgspec.Meta(ge=0)]
"""An integer of zero or more, where a decoder meets it."""

MAX_DEPTH = 16
"""How deep lists and mappings may nest."""

EMPTY_DATA = b"\x80"

_MIN_INT, _MAX_INT = -(2**63), 2**64 - 1

pack: Callable[[object], bytes] = msgspec.msgpack.Encoder().encode


def decoder(shape: type[T], name: str) -> Callable[[bytes], T]:
    """Return a function that decodes bytes into `shape`; `name` begins the path in its errors."""
    decode = msgspec.msgpack.Decoder(shape).decode

    def strictly(payload: bytes) -> T:
        try:
            return decode(payload)
        except msgspec.ValidationError as error:
            problem, _, path = str(error).partition(" - at `")
            path = path.removesuffix("`").removeprefix("$") if path.startswith("$") else ""
            raise MalformedMessage(name + path, problem) from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise MalformedMessage(name, str(error)) from error

    return strictly


_decode_data = decoder(dict[str, Any], "data")


def pack_data(data: Mapping[str, Any]) -> bytes:
    """Return the packed form of a JSON-like mapping.

    ValueError, naming the place, for what is not JSON-like: keys that are not text, NaN and
    infinities, integers beyond 64 bits, lone surrogates, other types, deep nesting.

    >>> unpack_data(pack_data({"zone": "eu", "weights": (1, 2.5)}))
    {'zone': 'eu', 'weights': [1, 2.5]}
    """
    if not data:
        return EMPTY_DATA
    return pack(_plain(data, "data", 0))


def unpack_data(packed: bytes) -> dict[str, JSON]:
    """Return the mapping that was packed, afresh at each call. `MalformedMessage` on bad bytes."""
    if packed == EMPTY_DATA:
        return {}
    data: dict[str, JSON] = _decode_data(packed)
    try:
        _plain(data, "data", 0)
    except ValueError as error:
        path, _, problem = str(error).partition(": ")
        raise MalformedMessage(path, problem) from error
    return data


def _plain(value: Any, path: str, depth: int) -> JSON:
    """Return a copy made of plain types alone, or say where and why there is none."""
    match value:
        case None | bool():
            return value
        case int():
            if not _MIN_INT <= value <= _MAX_INT:
                raise ValueError(f"{path}: integers have at most 64 bits, got {value:.3e}")
            return int(value)
        case float():
            if not math.isfinite(value):
                raise ValueError(f"{path}: numbers are finite, got {value}")
            return float(value)
        case str():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise ValueError(f"{path}: text is valid Unicode, got {value!r}") from None
            return str(value)
    if depth == MAX_DEPTH:
        raise ValueError(f"{path}: lists and mappings nest at most {MAX_DEPTH} deep")
    match value:
        case list() | tuple():
            return [_plain(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(value)]
        case Mapping():
            return {
                _key(key, path): _plain(item, f"{path}.{key}", depth + 1)
                for key, item in value.items()
            }
    raise ValueError(
        f"{path}: data is made of None, bool, int, float, str, lists and mappings, "
        f"got {type(value).__name__} {value!r:.80}"
    )


def _key(key: Any, path: str) -> str:
    if not isinstance(key, str):
        raise ValueError(f"{path}: the keys of a mapping are text, got {key!r:.80}")
    _plain(key, f"{path}.{key!r:.80}", 0)
    return str(key)
