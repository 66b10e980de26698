"""Facts to JSON, and a role given as a mapping to its parts: the one module that knows cattrs.

Outwards, services, events, link states and statistics become plain JSON-like values, for the
command line and for whoever logs them. Inwards, a registration may be given as one mapping; nothing
is coerced on the way.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import Any

import attrs
import cattrs

from .events import Accepted, Connected, Disconnected, Event, Synced
from .link import Link
from .records import Service

__all__ = ["GivenRole", "structure_role", "to_json"]


@attrs.frozen(kw_only=True)
class GivenRole:
    """A registration that was given as one mapping; what it does not name is data."""

    role: str
    id: str | None = None
    address: str | None = None
    port: int | None = None
    persistent: bool = False
    data: dict[str, Any] = attrs.field(factory=dict)
    has_address: bool = False
    """Whether an address was named, be it None."""


_NAMED = ("role", "id", "address", "port", "persistent", "data")


def _strictly(expected: type) -> Any:
    def structure(value: object, _: object) -> object:
        if type(value) is not expected:
            raise ValueError(f"expected {expected.__name__}, got {value!r:.80}")
        return value

    return structure


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=True)
    for kind in (str, int, bool):
        converter.register_structure_hook(kind, _strictly(kind))
    converter.register_unstructure_hook(Service, _service_to_json)
    converter.register_unstructure_hook(Link, _status_to_json)
    # By its class, for the hook of `str` comes before those that a predicate chooses.
    converter.register_unstructure_hook(enum.StrEnum, _text_of)
    # Their module cannot import Link, and cattrs must know what the name in it stands for.
    for event in (Connected, Accepted, Synced, Disconnected):
        attrs.resolve_types(event, globals())
    return converter


def _service_to_json(service: Service) -> dict[str, Any]:
    return {
        "id": service.id,
        "role": service.role,
        "name": service.name,
        "version": None if service.version is None else str(service.version),
        "address": service.address,
        "port": service.port,
        "owner": service.owner,
        "timestamp": service.timestamp,
        "persistent": service.persistent,
        "data": service.data,
    }


def _status_to_json(link: Link) -> Any:
    return _converter.unstructure(link.status)


def _text_of(member: enum.StrEnum) -> str:
    return member.value


_converter = _make_converter()


def structure_role(given: Mapping[str, Any]) -> GivenRole:
    """Return the parts of a registration that was given as one mapping.

    What is not named is data, and so is what a mapping under "data" holds. ValueError that names
    the keys at fault.

    >>> structure_role({"role": "web@1.2.3", "port": 80, "zone": "eu"}).data
    {'zone': 'eu'}
    >>> structure_role({"role": "web@1.2.3", "port": "80"})
    Traceback (most recent call last):
    ...
    ValueError: a mapping in place of a role looks like ...: "port": expected int, got '80'
    """
    parts = {key: given[key] for key in _NAMED if key in given}
    data = {key: value for key, value in given.items() if key not in _NAMED}
    nested = parts.pop("data", {})
    role: GivenRole | None = None
    faults: list[str] = []
    if not isinstance(nested, Mapping):
        faults.append(f'"data": expected a mapping, got {nested!r:.80}')
    try:
        role = _converter.structure(parts, GivenRole)
    except cattrs.ClassValidationError as error:
        for fault, note in error.group_exceptions()[0]:
            missing = isinstance(fault, KeyError)
            faults.append(f'"{note.name}" is missing' if missing else f'"{note.name}": {fault}')
    if role is None or faults:
        raise ValueError(
            'a mapping in place of a role looks like {"role": "web@1.2.3", "port": 8080}: '
            + "; ".join(faults)
        )
    return attrs.evolve(role, data={**data, **nested}, has_address="address" in parts)


def to_json(fact: Any) -> Any:
    """Return a service, event, link, status or statistics, or a collection of them, as JSON values.

    An event becomes a mapping that begins with its kind, the name of its class in lower case:
    `{"event": "freed", "service": {...}, "reason": "expired"}`. A link becomes its status. Any
    iterable becomes a list, and a mapping a dict.
    """
    if isinstance(fact, Event):
        return {"event": type(fact).__name__.lower(), **_converter.unstructure(fact)}
    if isinstance(fact, Mapping):
        return {key: to_json(value) for key, value in fact.items()}
    if isinstance(fact, Iterable) and not isinstance(fact, str):
        return [to_json(each) for each in fact]
    return _converter.unstructure(fact)
