"""What two manifests say to each other, as plain facts.

A link begins with a `Hello` from each side. `Gossip` carries everything that is replicated, and
`Synced` says that what the peer lacked at its Hello has been sent. `Bye` is the last word, with the
reason for a person to read.

The types of the fields of `Hello` and `Bye` are what a decoder holds a peer to. Gossip has a denser
form on the wire, which is described and checked in wire.py.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import attrs

from .codec import Count, Digits, Name, Place, Positive, Reason
from .crdt import Delta
from .records import Record

__all__ = ["Bye", "Gossip", "Hello", "Lease", "Message", "Renewal", "Synced", "one_line"]

# What ends a line, moves a cursor or turns the direction of text; and lone surrogates.
_UNRULY = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def one_line(text: str) -> str:
    r"""Return a text with a blank for each character that could upset a log or a terminal.

    >>> one_line("no\x1b[2Jway\n")
    'no [2Jway '
    """
    return _UNRULY.sub(" ", text)


@attrs.frozen(kw_only=True)
class Hello:
    """Who is speaking, what it needs of a peer, and how far it has reflected whom."""

    protocol: Positive
    """The newest version of the protocol that the sender speaks."""
    oldest: Positive
    """The oldest version that it still speaks."""
    cluster: Name
    node: Digits
    born: Positive
    """Hybrid time at which the node was opened."""
    clock: Positive
    """Physical time of the sender, in milliseconds since 1970."""
    retention: Positive
    """How long tombstones are kept, in milliseconds: the same in the whole cluster."""
    record_bytes: Positive
    """The largest record: the same in the whole cluster."""
    frame_bytes: Positive
    """The largest frame that the sender accepts."""
    lease: Positive
    """How long the sender may be silent, in milliseconds, before it is taken for dead."""
    name: Name | None = None
    listening: Place | None = None
    """Where the sender accepts links, as `host:port`."""
    seen: Place | None = None
    """The address at which the sender sees the receiver."""
    context: dict[Digits, Positive] = attrs.field(factory=dict)
    """The digest: the sender's context, or as much of it as fits; claiming less is always safe."""
    horizon: Count = 0
    """Up to where the sender has collected."""


@attrs.frozen(kw_only=True)
class Bye:
    """The last message on a link."""

    code: Name = attrs.field(converter=one_line)
    """`closed`, `refused` or `error`."""
    reason: Reason = attrs.field(converter=one_line)
    """Why, in words."""


@attrs.frozen
class Synced:
    """All that the peer lacked at its Hello has been sent."""


class Lease(NamedTuple):
    """How long from now to believe in a node, as of a time in its context.

    A named tuple, for each heartbeat of each node makes one at every node that it passes.
    """

    node: str
    time: int
    """The node's context time with which it was given: of two leases the newer one counts."""
    remaining: int
    """Milliseconds; 0 for a node that has left."""
    born: int = 0
    """Hybrid time at which the node was opened; sent for named nodes."""
    name: str | None = None
    patience: int = 0
    """Milliseconds for which relays may hold it back, all of them together, to share frames."""


class Renewal(NamedTuple):
    """Entries whose owner only renewed them: the stamp and the keys, for who holds the values.

    The keys are `<node>.<first>` and the numbers that follow, `length` of them in all.
    """

    node: str
    time: int
    """The time of the stamp that all of them bear."""
    since: int
    """When that of their values was set which was set last: before `time`."""
    first: int
    length: int = 1


@attrs.frozen
class Gossip:
    """A delta of the map, leases that ride along, and whose heartbeats to send where."""

    delta: Delta[str, Record]
    leases: tuple[Lease, ...] = ()
    prunes: tuple[str, ...] = ()
    """Nodes whose heartbeats the sender hears from elsewhere: spare it them."""
    grafts: tuple[str, ...] = ()
    """Nodes whose heartbeats the sender misses: send it them again."""
    renewals: tuple[Renewal, ...] = ()
    """More entries of the delta, without their values."""

    @property
    def count(self) -> int:
        """How many entries it brings, of both kinds."""
        return len(self.delta.entries) + sum(renewal.length for renewal in self.renewals)


Message = Hello | Bye | Synced | Gossip
