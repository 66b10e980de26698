"""A hybrid logical clock: close to physical time, and never behind what it has seen.

Kulkarni, Demirbas, Madappa, Avva and Leone, "Logical Physical Clocks" (2014), with millisecond and
counter packed into one integer: a counter that overflows carries into the millisecond, which keeps
the order and needs no case of its own.

The clock holds no physical time itself. It asks the callable that it was given, so that a test can
turn the hands, and so that nothing in this package reads a wall clock behind its reader's back.
"""

from __future__ import annotations

from collections.abc import Callable

from .stamp import from_milliseconds

__all__ = ["HybridClock"]


class HybridClock:
    """A source of hybrid times that strictly increase and exceed every time observed.

    `physical` returns milliseconds. It may stand still or step back; the clock does not.

    >>> hands = [1000]
    >>> clock = HybridClock(lambda: hands[0])
    >>> first = clock.tick()
    >>> hands[0] = 400
    >>> clock.tick() - first
    1
    >>> clock.observe(first + 50)
    >>> clock.tick() - first
    51
    """

    __slots__ = ("_last", "_physical")

    def __init__(self, physical: Callable[[], int]) -> None:
        self._physical = physical
        self._last = 0

    def __repr__(self) -> str:
        return f"HybridClock(now={self.now()})"

    def now(self) -> int:
        """Return the hybrid time without issuing it: at least every time issued or observed."""
        return max(self._last, from_milliseconds(self._physical()))

    @property
    def latest(self) -> int:
        """The greatest time issued or observed so far, or 0."""
        return self._last

    def tick(self) -> int:
        """Return a time that exceeds every time issued or observed so far, for a new write."""
        now = from_milliseconds(self._physical())
        self._last = last = now if now > self._last else self._last + 1
        return last

    def observe(self, time: int) -> None:
        """Take note of a time seen elsewhere: every later tick exceeds it.

        How far ahead of physical time it may lie is the caller's to judge, before this call.
        """
        if time < 0:
            raise ValueError(f"a hybrid time is zero or more, got {time!r}")
        self._last = max(self._last, time)
