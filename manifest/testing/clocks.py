"""Virtual time, and the clocks of the nodes: they may be off, drift and step, each by itself."""

from __future__ import annotations

import math
from collections.abc import Callable

import attrs
import trio

__all__ = ["EPOCH", "NodeClock", "VirtualClock"]

EPOCH = 1_700_000_000_000
"""What every wall clock says at virtual time zero, in milliseconds since 1970."""


class VirtualClock(trio.abc.Clock):
    """A clock for `trio.run` that stands still while any task can run, and then jumps.

    What `trio.testing.MockClock(autojump_threshold=0)` does as well, at twice the time for each
    jump and each look: it also knows rates and real time. `holds` tells whether somebody waits for
    all tasks to be blocked, who comes before time goes on.
    """

    def __init__(self, holds: Callable[[], bool]) -> None:
        self._now = 0.0
        self._holds = holds

    def start_clock(self) -> None:
        """Begin at 0."""

    def current_time(self) -> float:
        """Return virtual seconds since the run began."""
        return self._now

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Go on to the next deadline: Trio asks when there is nothing to do before it."""
        if self._holds() or deadline == math.inf:
            return math.inf
        self._now = max(self._now, deadline)
        return 0.0


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
