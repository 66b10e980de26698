"""What is asked for: a name, a version or range of it, or a partial record.

A query is parsed once and then matched against services; a textual one is cached. The view decides
which services to match at all, from the indexes that the query's `name`, `id` and `owner` point to.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import attrs

from .codec import pack_data, unpack_data
from .records import Service, parse_role, split_role
from .versions import Range, parse_range

__all__ = ["Query", "parse_query"]

_FIELDS = ("id", "role", "name", "version", "address", "port", "owner", "timestamp", "persistent")


@attrs.frozen
class Query:
    """What a service must be like."""

    text: str
    name: str | None = None
    range: Range | None = None
    fields: Mapping[str, Any] = attrs.field(factory=dict)
    """Fields of `Service` and what they must equal."""
    data: Mapping[str, Any] = attrs.field(factory=dict)
    """Keys of `Service.data` and what they must equal."""

    def matches(self, service: Service) -> bool:
        """Tell whether a service is what was asked for."""
        if self.name is not None and service.name != self.name:
            return False
        if self.range is not None and not (service.version and self.range.allows(service.version)):
            return False
        if any(not _same(getattr(service, field), value) for field, value in self.fields.items()):
            return False
        if not self.data:
            return True
        data = service.data
        return all(key in data and _same(data[key], value) for key, value in self.data.items())


def _same(mine: Any, asked: Any) -> bool:
    """Compare without taking True for 1: in JSON they differ."""
    return bool(mine == asked) and isinstance(mine, bool) == isinstance(asked, bool)


def parse_query(query: object) -> Query:
    """Return the query that a text or a mapping stands for. ValueError where it stands for none.

    >>> parse_query("web@^1.2").name
    'web'
    >>> sorted(parse_query({"role": "web", "zone": "eu", "port": 80}).fields)
    ['port']
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
    return Query(text, name, parse_range(wanted) if separator else None)


def _parse_partial(partial: Mapping[Any, Any]) -> Query:
    fields = {key: partial[key] for key in _FIELDS if key in partial}
    query = _parse_text(fields.pop("role")) if isinstance(fields.get("role"), str) else Query("")
    nested = partial.get("data", {})
    if not isinstance(nested, Mapping):
        raise ValueError(f'"data" in a query is a mapping of what to match, got {nested!r:.80}')
    data = {key: value for key, value in partial.items() if key not in (*_FIELDS, "data")}
    data.update(nested)
    name, wanted = query.name, query.range
    if isinstance(fields.get("name"), str) and name is None:
        name = fields.pop("name")
    if isinstance(fields.get("version"), str) and wanted is None:
        wanted = parse_range(fields.pop("version"))
    # Packed and unpacked, so that a tuple matches the list that it was registered as.
    data = unpack_data(pack_data(data))
    return Query(f"{dict(partial)!r:.200}", name, wanted, fields, data)
