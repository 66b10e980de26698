"""The world outside, as one value that can be replaced: wall clock, randomness, network.

The one module that reads the system's clock and randomness. Leases and timeouts go by Trio's own
clock, which a test replaces by a `MockClock`. A manifest that is given another environment runs in
a simulation, and from one seed does the same thing every time.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import attrs
import trio

from .network import Network
from .tcp import TcpNetwork

__all__ = ["Environment"]


def _wall() -> int:
    return time.time_ns() // 1_000_000


@attrs.frozen(kw_only=True)
class Environment:
    """Where a manifest gets what it cannot compute."""

    wall: Callable[[], int] = _wall
    """Milliseconds since 1970; read at open, and when a peer disagrees with it."""
    monotonic: Callable[[], float] = trio.current_time
    """Seconds that never step: what stamps go by between readings of the wall clock."""
    random: random.Random = attrs.field(factory=random.SystemRandom)
    """For node ids, the jitter of redialling and the choice among services."""
    network: Network = attrs.field(factory=TcpNetwork)

    def node_id(self) -> str:
        """Return a new node id: 96 random bits in upper-case hex."""
        return f"{self.random.getrandbits(96):024X}"
