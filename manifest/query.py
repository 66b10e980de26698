"""What is asked for: a name, a version or range of it, or a partial record.

A query is parsed once and then matched against services; a textual one is cached. The view decides
which services to match at all, from the indexes that the query's `name`, `id` and `port` point to.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import attrs
import semver

from .codec import pack_data, unpack_data
from .ranges import Range, parse_range
from .records import Service, parse_role, split_role
from .versions import precedence

__all__ = ["Query", "parse_query"]

# The fields of a service, and what each may be compared with.
_FIELDS: dict[str, tuple[type, ...]] = {
    "id": (str,),
    "role": (str,),
    "name": (str,),
    "version": (str, semver.Version, type(None)),
    "address": (str, type(None)),
    "port": (int, type(None)),
    "owner": (str,),
    "timestamp": (int,),
    "persistent": (bool,),
    "data": (Mapping,),
}


@attrs.frozen
class Query:
    """What a service must be like: all of this at once."""

    name: str | None = None
    ranges: tuple[Range, ...] = ()
    fields: Mapping[str, Any] = attrs.field(factory=dict)
    """Fields of `Service` and what they must equal."""
    data: Mapping[str, Any] = attrs.field(factory=dict)
    """Keys of `Service.data` and what they must equal."""

    def matches(self, service: Service) -> bool:
        """Tell whether a service is what was asked for."""
        if self.name is not None and service.name != self.name:
            return False
        if self.ranges:
            key = precedence(service.version)
            if not all(wanted.covers(key) for wanted in self.ranges):
                return False
        return self.matches_rest(service)

    def matches_rest(self, service: Service) -> bool:
        """Tell the same of a service whose name and version are known to match."""
        for field, value in self.fields.items():
            if getattr(service, field) != value:
                return False
        if self.data:
            data = service.data
            for key, value in self.data.items():
                if key not in data or not _same(data[key], value):
                    return False
        return True


def _same(mine: Any, asked: Any) -> bool:
    """Compare as JSON does, where True is not 1, but 1.0 is."""
    if isinstance(mine, list) and isinstance(asked, list):
        return len(mine) == len(asked) and all(map(_same, mine, asked))
    if isinstance(mine, dict) and isinstance(asked, dict):
        return mine.keys() == asked.keys() and all(_same(mine[key], asked[key]) for key in asked)
    return bool(mine == asked) and isinstance(mine, bool) == isinstance(asked, bool)


def parse_query(query: object) -> Query:
    """Return the query that a text or a mapping stands for. ValueError where it stands for none.

    Build metadata in a version does not count, as in npm. A mapping has fields of `Service`, whose
    `role` and `version` may be ranges; any other key is one of its data, and so is every key in a
    mapping under "data".

    >>> parse_query("web@^1.2").name
    'web'
    >>> query = parse_query({"role": "web", "port": 80, "zone": "eu", "data": {"port": 1}})
    >>> query.name, query.fields, query.data
    ('web', {'port': 80}, {'zone': 'eu', 'port': 1})
    """
    if isinstance(query, str):
        return _parse_text(query)
    if isinstance(query, Mapping):
        return _parse_partial(query)
    raise ValueError(
        'a query is text such as "web" or "web@^1.2", or a mapping such as '
        f'{{"role": "web", "zone": "eu"}}, got {query!r:.80}'
    )


@lru_cache(maxsize=1024)
def _parse_text(text: str) -> Query:
    name, separator, wanted = split_role(text)
    parse_role(name)
    return Query(name, (parse_range(wanted),) if separator else ())


def _parse_partial(partial: Mapping[Any, Any]) -> Query:
    fields = {field: partial[field] for field in _FIELDS if field in partial}
    for field, value in fields.items():
        _check(field, value)
    data = {key: value for key, value in partial.items() if key not in _FIELDS}
    data.update(fields.pop("data", {}))
    query = _parse_text(fields.pop("role")) if "role" in fields else Query()
    name, ranges = query.name, query.ranges
    if name is None and "name" in fields:
        name = fields.pop("name")
    if fields.get("version") is not None:
        ranges = (*ranges, parse_range(str(fields.pop("version"))))
    # Packed and unpacked, so that a tuple matches the list that it was registered as.
    return Query(name, ranges, fields, unpack_data(pack_data(data)))


def _check(field: str, value: object) -> None:
    allowed = _FIELDS[field]
    if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
        names = (kind.__name__ for kind in allowed if kind is not type(None))
        raise ValueError(
            f'"{field}" in a query is of type {" or ".join(names)}'
            f"{', or None' if type(None) in allowed else ''}, got {value!r:.80}"
        )
