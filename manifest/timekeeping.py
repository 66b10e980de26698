"""Physical time that does not jump, and waking time that does not count while we sleep.

`PhysicalClock` is the wall clock at the time of opening plus monotonic time since, so a wall clock
that steps changes nothing by itself. It is anchored anew only where a peer's clock says that it is
this machine that was wrong: suspended, or started before its clock was set.

`WakingClock` is monotonic time less the time in which this process did not run: it was stopped, or
its event loop was blocked. Leases are judged by it, so that a process which slept does not take all
others for dead before it has read what they said meanwhile. It never goes back.
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["PhysicalClock", "WakingClock"]


class PhysicalClock:
    """Milliseconds since 1970, by the wall clock at open and monotonic time since.

    >>> wall, monotonic = [5_000], [10.0]
    >>> clock = PhysicalClock(lambda: wall[0], lambda: monotonic[0])
    >>> wall[0], monotonic[0] = 86_400_000, 11.5
    >>> clock.now()
    6500
    >>> clock.anchor()
    86393500
    >>> clock.now()
    86400000
    """

    __slots__ = ("_monotonic", "_monotonic_at_anchor", "_wall", "_wall_at_anchor")

    def __init__(self, wall: Callable[[], int], monotonic: Callable[[], float]) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._wall_at_anchor = wall()
        self._monotonic_at_anchor = monotonic()

    def now(self) -> int:
        """Return physical time in milliseconds."""
        elapsed = self._monotonic() - self._monotonic_at_anchor
        return self._wall_at_anchor + int(elapsed * 1000)

    def wall(self) -> int:
        """Return what the wall clock says at this moment, in milliseconds."""
        return self._wall()

    def anchor(self) -> int:
        """Take the wall clock as it is now, and return by how many milliseconds it had moved."""
        before = self.now()
        self._wall_at_anchor = self._wall()
        self._monotonic_at_anchor = self._monotonic()
        return self._wall_at_anchor - before


class WakingClock:
    """Monotonic seconds less the pauses in which this process did not run.

    Someone calls `beat` every `interval` seconds while the process runs. A gap of more than two
    intervals is a pause, and does not count. Whoever asks for the time first notices it.

    >>> monotonic = [100.0]
    >>> clock = WakingClock(lambda: monotonic[0], interval=1.0)
    >>> monotonic[0] += 1.5; clock.beat(); clock.now()
    101.5
    >>> monotonic[0] += 30; clock.now(), clock.paused
    (101.5, 30.0)
    """

    __slots__ = ("_beat", "_interval", "_latest", "_monotonic", "paused")

    def __init__(self, monotonic: Callable[[], float], interval: float) -> None:
        self._monotonic = monotonic
        self._interval = interval
        self._beat = self._latest = monotonic()
        self.paused = 0.0
        """How long this process did not run, in seconds, all pauses together."""

    def now(self) -> float:
        """Return the waking time in seconds."""
        time = self._monotonic()
        if time - self._beat > 2 * self._interval:
            self.paused += time - self._beat
            self._beat = time
        # A pause counts from the last beat, and the time may have been asked for since then.
        waking = time - self.paused
        if waking > self._latest:
            self._latest = waking
        return self._latest

    def beat(self) -> None:
        """Say that the process runs."""
        self.now()
        self._beat = self._monotonic()
