"""A node's clock may be off, drift and step, and what it has counted stays counted."""

import pytest
import trio
from trio.testing import MockClock

from manifest.testing import EPOCH, NodeClock


async def test_a_right_clock_tells_virtual_time(autojump_clock: MockClock) -> None:
    """From the epoch on, in milliseconds; and seconds from zero."""
    clock = NodeClock()
    assert clock.wall() == EPOCH
    await trio.sleep(1.5)
    assert clock.wall() == EPOCH + 1500
    assert clock.monotonic() == 1.5


async def test_a_wall_clock_is_ahead_and_steps(autojump_clock: MockClock) -> None:  # noqa: ASYNC124 - it runs in Trio's time
    """Either way, by seconds; what never steps does not."""
    clock = NodeClock(offset=-2.0)
    assert clock.wall() == EPOCH - 2000
    clock.step(5.0)
    clock.step(-0.5)
    assert clock.offset == 2.5
    assert clock.wall() == EPOCH + 2500
    assert clock.monotonic() == 0


@pytest.mark.parametrize("rate", [0.5, 1.001, 2.0])
async def test_another_rate_counts_from_now_on(autojump_clock: MockClock, rate: float) -> None:
    """At the change nothing jumps, and afterwards it is as fast as was said."""
    clock = NodeClock()
    await trio.sleep(10)
    clock.rate = rate
    assert clock.rate == rate
    assert clock.monotonic() == 10
    assert clock.wall() == EPOCH + 10_000
    await trio.sleep(4)
    assert clock.monotonic() == pytest.approx(10 + 4 * rate)
    clock.rate = 1.0
    await trio.sleep(1)
    assert clock.monotonic() == pytest.approx(11 + 4 * rate)
    assert clock.wall() == pytest.approx(EPOCH + 11_000 + 4000 * rate, abs=1)
