"""Facts to JSON, and a role given as a mapping to its parts: the one module that knows cattrs.

Outwards, services, events, link states and statistics become plain JSON-like values, for the
command line and for whoever logs them. Inwards, a registration may be given as one mapping; nothing
is coerced on the way.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

import attrs
import cattrs

from .events import Event
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
    converter.register_unstructure_hook(Link, lambda link: converter.unstructure(link.status))
    converter.register_unstructure_hook_func(
        lambda kind: isinstance(kind, type) and issubclass(kind, enum.Enum),
        lambda member: member.value,
    )
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


_converter = _make_converter()


def structure_role(given: Mapping[str, Any]) -> GivenRole:
    """Return the parts of a registration that was given as one mapping.

    ValueError that names the key at fault.

    >>> structure_role({"role": "web@1.2.3", "port": 80, "zone": "eu"}).data
    {'zone': 'eu'}
    """
    named = {"role", "id", "address", "port", "persistent"}
    parts: dict[str, Any] = {key: value for key, value in given.items() if key in named}
    data = {key: value for key, value in given.items() if key not in named}
    try:
        role = _converter.structure(parts, GivenRole)
    except cattrs.BaseValidationError as error:
        faults = "; ".join(cattrs.transform_error(error, path="role"))
        raise ValueError(
            f'a mapping in place of a role looks like {{"role": "web@1.2.3", "port": 8080}}: {faults}'
        ) from None
    return attrs.evolve(role, data=data, has_address="address" in parts)


def to_json(fact: Any) -> Any:
    """Return a service, event, status or statistics, or a collection of them, as JSON-like values.

    An event becomes a mapping that begins with its kind.
    """
    if isinstance(fact, Event):
        return {"event": type(fact).__name__.lower(), **_converter.unstructure(fact)}
    return _converter.unstructure(fact)
