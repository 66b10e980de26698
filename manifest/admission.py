"""Which of the peers that connect are let in, and which of them has to go: a pure decision.

Whoever connects gets a place for strangers, of which there are few. When they are all taken the
newest stranger gets one all the same, and another loses his: the one that has said nothing for the
longest, among those from the address that most of them are from. So silent connections, however
many, keep nobody out who says Hello; and a single address that opens them takes places from itself.

By its Hello a stranger becomes a guest, and takes one of the places for guests, or is refused in
words where there is none. No guest ever loses its place to another.
"""

from __future__ import annotations

from collections import Counter
from typing import Generic, TypeVar

from .errors import LinkRefused
from .options import Limits
from .refusals import Refusal

__all__ = ["Admission"]

P = TypeVar("P")


class Admission(Generic[P]):
    """The peers that have connected to this manifest, by the address that each is from.

    >>> admission = Admission(Limits(ungreeted_connections=2))
    >>> admission.arrive("x1", "192.0.2.1"), admission.arrive("y1", "192.0.2.2")
    (None, None)
    >>> admission.arrive("x2", "192.0.2.1")
    'x1'
    >>> admission.greet("y1")
    >>> admission.arrive("x3", "192.0.2.1")
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._strangers: dict[P, str] = {}
        self._guests: dict[P, str] = {}
        self._from: Counter[str] = Counter()

    def arrive(self, peer: P, host: str) -> P | None:
        """Take in a stranger, and return the one that has to go for it, if one has to."""
        self._strangers[peer] = host
        full = len(self._strangers) > self._limits.ungreeted_connections
        return self.spare() if full else None

    def spare(self) -> P | None:
        """Take its place from the stranger that can best be spared, and return that one, if any."""
        crowd = Counter(self._strangers.values())
        most = max(crowd.values(), default=0)
        for peer, host in self._strangers.items():
            if crowd[host] == most:
                del self._strangers[peer]
                return peer
        return None

    def greet(self, peer: P) -> None:
        """Make a stranger a guest; `LinkRefused` where there is no place for it."""
        # One that was told to go has no place any more, and may yet say Hello.
        host = self._strangers.get(peer)
        if host is None:
            raise LinkRefused(
                "the place of this connection was needed for another before its Hello came: "
                "connect again, or to another manifest of the cluster, or open this one with "
                "limits=Limits(ungreeted_connections=...)",
                Refusal.UNGREETED,
            )
        limits = self._limits
        if len(self._guests) >= limits.connections:
            raise LinkRefused(
                f"all {limits.connections} places for peers are taken: connect to another "
                "manifest of the cluster, or open this one with limits=Limits(connections=...)",
                Refusal.CONNECTIONS,
            )
        if self._from[host] >= limits.address_connections:
            raise LinkRefused(
                f"all {limits.address_connections} places for peers from {host} are taken: "
                "connect to another manifest of the cluster, or open this one with "
                "limits=Limits(address_connections=...)",
                Refusal.ADDRESS_CONNECTIONS,
            )
        self._guests[peer] = self._strangers.pop(peer)
        self._from[host] += 1

    def leave(self, peer: P) -> None:
        """Take off a peer whose connection has ended, whatever it was."""
        self._strangers.pop(peer, None)
        host = self._guests.pop(peer, None)
        if host is not None:
            self._from[host] -= 1
            if not self._from[host]:
                del self._from[host]
