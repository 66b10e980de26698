"""What two manifests say to each other, as plain facts.

A link begins with a `Hello` from each side. `Gossip` carries everything that is replicated, and
`Synced` says that what the peer lacked at its Hello has been sent. `Bye` is the last word, with the
reason for a person to read.
"""

from __future__ import annotations

import attrs

from .crdt import Delta
from .records import Record, valid_node_id

__all__ = ["Bye", "Gossip", "Hello", "Lease", "Message", "Synced"]

_MAX_TEXT = 255
_MAX_TIME = 2**63 - 1


def _positive(_: object, attribute: attrs.Attribute[int], value: int) -> None:
    if not 0 < value <= _MAX_TIME:
        raise ValueError(f"{attribute.name} must be 1 to 2^63 - 1, got {value}")


def _short(_: object, attribute: attrs.Attribute[str | None], value: str | None) -> None:
    if value is not None and len(value) > _MAX_TEXT:
        raise ValueError(f"{attribute.name} has at most {_MAX_TEXT} characters, got {len(value)}")


def _node(_: object, attribute: attrs.Attribute[str], value: str) -> None:
    if not valid_node_id(value):
        raise ValueError(f"{attribute.name} must be 24 upper-case hex digits, got {value!r:.80}")


def _context(_: object, attribute: attrs.Attribute[dict[str, int]], value: dict[str, int]) -> None:
    for node, time in value.items():
        if not valid_node_id(node) or not 0 < time <= _MAX_TIME:
            raise ValueError(f"{attribute.name} maps node ids to times, got {node!r:.80}: {time}")


@attrs.frozen(kw_only=True)
class Hello:
    """Who is speaking, what it needs of a peer, and how far it has reflected whom."""

    protocol: int = attrs.field(validator=_positive)
    """The newest version of the protocol that the sender speaks."""
    oldest: int = attrs.field(validator=_positive)
    """The oldest version that it still speaks."""
    cluster: str = attrs.field(validator=_short)
    node: str = attrs.field(validator=_node)
    born: int = attrs.field(validator=_positive)
    """Hybrid time at which the node was opened."""
    clock: int = attrs.field(validator=_positive)
    """Physical time of the sender, in milliseconds since 1970."""
    retention: int = attrs.field(validator=_positive)
    """How long tombstones are kept, in milliseconds: the same in the whole cluster."""
    record_bytes: int = attrs.field(validator=_positive)
    """The largest record: the same in the whole cluster."""
    frame_bytes: int = attrs.field(validator=_positive)
    """The largest frame that the sender accepts."""
    lease: int = attrs.field(validator=_positive)
    """How long the sender may be silent, in milliseconds, before it is taken for dead."""
    name: str | None = attrs.field(default=None, validator=_short)
    listening: str | None = attrs.field(default=None, validator=_short)
    """Where the sender accepts links, as `host:port`."""
    seen: str | None = attrs.field(default=None, validator=_short)
    """The address at which the sender sees the receiver."""
    context: dict[str, int] = attrs.field(factory=dict, validator=_context)
    """The digest: the sender's context, or as much of it as fits; claiming less is always safe."""


@attrs.frozen(kw_only=True)
class Bye:
    """The last message on a link."""

    code: str = attrs.field(validator=_short)
    """`closed`, `refused` or `error`."""
    reason: str
    """Why, in words."""


@attrs.frozen
class Synced:
    """All that the peer lacked at its Hello has been sent."""


@attrs.frozen
class Lease:
    """How long from now to believe in a node, as of a time in its context."""

    node: str
    time: int
    """The node's context time with which the lease was given; a lease counts only if it is newer."""
    remaining: int
    """Milliseconds; 0 for a node that has left."""
    born: int = 0
    """Hybrid time at which the node was opened; sent for named nodes."""
    name: str | None = None


@attrs.frozen
class Gossip:
    """A delta of the map, and leases that ride along."""

    delta: Delta[str, Record]
    leases: tuple[Lease, ...] = ()


Message = Hello | Bye | Synced | Gossip
