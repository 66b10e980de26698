"""When to dial a lost peer again: exponential pauses, capped, with full jitter.

Full jitter (a uniform draw from zero to the capped exponential) spreads the clients of a hub that
comes back best of the usual schemes; see Brooker, "Exponential Backoff And Jitter" (2015).
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["pause"]

_FIRST = 0.05


def pause(attempt: int, cap: float, draw: Callable[[], float]) -> float:
    """Return how long to wait, in seconds, after this many failures in a row.

    `draw` returns a number from 0 up to 1. The pause is never quite zero, so that a peer that
    accepts and closes at once cannot keep anyone spinning.

    >>> pause(1, 1.0, lambda: 0.0), pause(40, 1.0, lambda: 0.999)
    (0.01, 0.999)
    """
    return max(0.01, min(cap, _FIRST * 2.0 ** min(attempt, 32)) * draw())
