"""A node's clocks, which may be off, drift and step, each by itself."""

from __future__ import annotations

import attrs
import trio

__all__ = ["EPOCH", "NodeClock"]

EPOCH = 1_700_000_000_000
"""What every wall clock says at virtual time zero, in milliseconds since 1970."""


@attrs.define(eq=False)
class NodeClock:
    """The clock of one machine: virtual time, at a rate of its own, and what it is off by."""

    offset: float = 0.0
    """Seconds by which the wall clock is ahead."""
    _rate: float = 1.0
    _since: float = 0.0
    _monotonic_at: float = 0.0

    @property
    def rate(self) -> float:
        """How many seconds it counts in a second: 1.0001 gains 8.6 seconds a day."""
        return self._rate

    @rate.setter
    def rate(self, rate: float) -> None:
        # From now on: what it has counted until now stays counted.
        self._monotonic_at = self.monotonic()
        self._since = trio.current_time()
        self._rate = rate

    def monotonic(self) -> float:
        """Return seconds that never step, though they may drift."""
        return self._monotonic_at + (trio.current_time() - self._since) * self._rate

    def wall(self) -> int:
        """Return milliseconds since 1970, as this machine believes."""
        return EPOCH + int((self.monotonic() + self.offset) * 1000)

    def step(self, seconds: float) -> None:
        """Move the hands of the wall clock."""
        self.offset += seconds
