"""A peer that greets as it should and then says whatever it likes, on the clock of this machine."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Iterable, Sequence
from typing import Any

from manifest.crdt import TOMBSTONE, Delta, Entry, Stamp, VersionVector, from_milliseconds
from manifest.frames import frame
from manifest.messages import Gossip, Lease
from manifest.options import Options
from manifest.protocol import LinkProtocol
from manifest.records import Record
from manifest.replica import Replica
from manifest.timekeeping import PhysicalClock, WakingClock
from manifest.wire import encode_message

__all__ = ["FORGED", "TEN_YEARS", "Impostor", "now"]

FORGED = "alone to write"
"""What is in the reason for which a write of somebody else's record is refused."""


TEN_YEARS = 315_576_000_000
"""Ten years, in milliseconds."""


def now() -> int:
    """Return the time of this machine, in milliseconds."""
    return time.time_ns() // 1_000_000


class Impostor:
    """A replica of one's own to speak from, and the means to say what it would not."""

    record = Record("web@9.9.9", "192.0.2.66", 666)
    """What it would have others believe."""

    def __init__(self, node: str | None = None, *, ahead: int = 0, **options: Any) -> None:
        self.node = node or f"{secrets.randbits(96):024X}"
        self.ahead = ahead
        physical = PhysicalClock(lambda: now() + ahead, time.monotonic)
        waking = WakingClock(time.monotonic, math.inf)
        self.replica = Replica(self.node, Options(**options), physical, waking, lambda _: None)
        self.protocol = LinkProtocol(self.replica)

    def stamp(self, *, ahead: int = 0, node: str | None = None) -> Stamp:
        """Return a stamp of this moment, or of one that is so many milliseconds away."""
        time = from_milliseconds(now() + ahead) + secrets.randbits(12)
        return Stamp(time, node or self.node)

    def entry(
        self, key: str, value: Any = None, *, ahead: int = 0, node: str | None = None
    ) -> Entry[str, Record]:
        """Return an entry with a stamp of this moment or another."""
        value = self.record if value is None else value
        return Entry(key, self.stamp(ahead=ahead, node=node), value)

    @staticmethod
    def gossip(
        *entries: Entry[str, Record],
        until: dict[str, int] | None = None,
        horizon: int = 0,
        leases: Iterable[Lease] = (),
    ) -> bytes:
        """Return a frame that says these."""
        delta = Delta(entries, VersionVector(), VersionVector(until or {}), horizon)
        return frame(encode_message(Gossip(delta, tuple(leases))))

    def forge(self, number: int, owned: Sequence[str], kept: str) -> bytes:
        """Return an attempt to write or free what is another's: a record, or a persistent one."""
        key, value = owned[number % len(owned)], TOMBSTONE if number % 2 else self.record
        if number % 10 == 0:
            # Anyone may free it; to write it takes its owner.
            key, value = f"*{kept}", self.record
        entry = self.entry(key, value, ahead=(-1_000, 0, 30_000)[number % 3])
        return self.gossip(entry, until={self.node: entry.stamp.time} if number % 5 else {})

    def lies(self, victim: str, ahead: int) -> dict[str, bytes]:
        """Return messages with times that are off by so much: what they are about, and a frame."""
        far, here = from_milliseconds(now() + ahead), from_milliseconds(now())
        taken = self.entry("primary", ahead=ahead)
        lease = Lease(self.node, here, 10_000, far, "one")
        return {
            "a name": self.gossip(taken),
            "a name and its mark": self.gossip(taken, until={self.node: taken.stamp.time}),
            "a free": self.gossip(self.entry("primary", TOMBSTONE, ahead=ahead)),
            "a persistent name": self.gossip(self.entry("*kept", ahead=ahead)),
            "a free of a persistent name": self.gossip(self.entry("*kept", TOMBSTONE, ahead=ahead)),
            "another's mark": self.gossip(until={victim: far}),
            "a horizon": self.gossip(until={self.node: here}, horizon=far),
            "another's lease": self.gossip(leases=[Lease(victim, far, 0)]),
            "another's lease, marked": self.gossip(
                until={victim: far}, leases=[Lease(victim, far, 0)]
            ),
            "the birth of a name": self.gossip(until={self.node: here}, leases=[lease]),
        }
