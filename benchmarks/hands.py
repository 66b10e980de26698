"""Replicas and links that a benchmark moves by hand: the real code without tasks, sockets or time.

What a pair says to each other goes from hand to hand, so that its bytes and its processor time can
be counted exactly.
"""

from __future__ import annotations

import itertools
import math
import time

import attrs

from manifest.codec import pack_data
from manifest.options import Options
from manifest.protocol import LinkProtocol
from manifest.records import Record
from manifest.replica import Replica
from manifest.timekeeping import PhysicalClock, WakingClock

from .sides.talking import HOST, service

__all__ = ["Hand", "Pair", "new_node", "record"]

_NUMBERS = itertools.count(1)


def record(number: int, roles: int = 100) -> Record:
    """Return the record of a service, the same as those that all sides register."""
    name, version, port, data = service(number, roles)
    return Record(f"{name}@{version}", HOST, port, pack_data(data))


def new_node() -> str:
    """Return the id of a node that there was not yet."""
    return f"{next(_NUMBERS) * 0x9E3779B97F4A7C15F39CC060 % 2**96:024X}"


@attrs.define(eq=False)
class Hand:
    """A node whose time only a benchmark moves."""

    now: float = 0.0
    options: Options = attrs.field(factory=Options)
    replica: Replica = attrs.field(init=False)
    events: int = 0

    def __attrs_post_init__(self) -> None:
        began = time.time()
        self.replica = Replica(
            new_node(),
            self.options,
            PhysicalClock(lambda: int((began + self.now) * 1000), lambda: self.now),
            WakingClock(lambda: self.now, math.inf),
            self._emit,
        )

    def _emit(self, event: object) -> None:
        self.events += 1

    def fill(self, count: int, first: int = 0) -> None:
        """Register so many services."""
        node = self.replica.node
        for number in range(first, first + count):
            self.replica.write(f"{node}.{number}", record(number))


@attrs.define(eq=False)
class Pair:
    """Two nodes and the link between them."""

    one: Hand = attrs.field(factory=Hand)
    other: Hand = attrs.field(factory=Hand)
    carried: int = 0
    ends: tuple[LinkProtocol, LinkProtocol] = attrs.field(init=False)
    """What `one` and `other` have of the link."""

    def __attrs_post_init__(self) -> None:
        self.link()

    def link(self) -> None:
        """Make the link anew: nothing was said on it yet."""
        self.ends = LinkProtocol(self.one.replica), LinkProtocol(self.other.replica)

    @property
    def entries_sent(self) -> int:
        """How many entries have crossed the link since it was made."""
        return sum(end.traffic.entries_sent for end in self.ends)

    def carry(self) -> int:
        """Take to and fro what there is to say until there is no more; return the bytes."""
        here, there = self.ends
        carried = 0
        while data := here.bytes_to_send() or b"":
            carried += len(data)
            there.receive_data(data)
        while data := there.bytes_to_send() or b"":
            carried += len(data)
            here.receive_data(data)
        if carried:
            carried += self.carry()
        return carried

    def beat(self) -> int:
        """Have both nodes say that they are alive; return the bytes."""
        for hand in (self.one, self.other):
            hand.now += 5.0
            hand.replica.heartbeat()
        return self.carry()
