"""The hybrid clock: close to physical time, never back, and beyond all that it has seen."""

from __future__ import annotations

import pytest

from manifest.crdt import HybridClock, from_milliseconds


class Hands:
    """Physical time that a test can turn, either way."""

    def __init__(self, milliseconds: int) -> None:
        self.at = milliseconds

    def __call__(self) -> int:
        return self.at


def test_a_tick_is_physical_time_where_that_is_ahead() -> None:
    """With nothing in the way, a tick is the first time of the physical millisecond."""
    hands = Hands(1000)
    clock = HybridClock(hands)
    assert clock.tick() == from_milliseconds(1000)
    hands.at = 1007
    assert clock.tick() == from_milliseconds(1007)


def test_ticks_of_one_millisecond_count_up() -> None:
    """While physical time stands still, ticks differ by one."""
    clock = HybridClock(Hands(5))
    assert [clock.tick() - from_milliseconds(5) for _ in range(3)] == [0, 1, 2]


def test_a_full_counter_carries_into_the_millisecond() -> None:
    """After 65,536 ticks the order is kept: the clock runs ahead of physical time by a little."""
    clock = HybridClock(Hands(5))
    clock.observe(from_milliseconds(6) - 1)
    assert clock.tick() == from_milliseconds(6)


def test_physical_time_that_steps_back_is_ignored() -> None:
    """A wall clock that is set back by a day does not take the hybrid time with it."""
    hands = Hands(86_400_000)
    clock = HybridClock(hands)
    before = clock.tick()
    hands.at = 0
    assert clock.now() == before
    assert clock.tick() == before + 1


def test_what_was_observed_is_exceeded() -> None:
    """A tick exceeds a time seen elsewhere, and an older one changes nothing."""
    clock = HybridClock(Hands(5))
    ahead = from_milliseconds(60_000) + 3
    clock.observe(ahead)
    clock.observe(1)
    assert clock.now() == ahead
    assert clock.tick() == ahead + 1


def test_asking_for_the_time_issues_none() -> None:
    """`now` may be asked any number of times, and the next tick may be equal to it."""
    clock = HybridClock(Hands(5))
    assert clock.now() == clock.now() == from_milliseconds(5)
    assert clock.tick() == from_milliseconds(5)


def test_a_clock_before_the_epoch_still_ticks() -> None:
    """Times stay above zero, which stands for nothing, even where physical time is negative."""
    clock = HybridClock(Hands(-7))
    assert clock.now() == 0
    assert clock.tick() == 1


def test_a_negative_time_is_refused() -> None:
    """A time below zero cannot have come from a clock; the error says what is right and given."""
    clock = HybridClock(Hands(5))
    with pytest.raises(ValueError, match=r"^a hybrid time is zero or more, got -1$"):
        clock.observe(-1)
    clock.observe(0)


def test_the_repr_tells_the_time() -> None:
    """A clock in a log line shows where it stands."""
    assert repr(HybridClock(Hands(1))) == "HybridClock(now=65536)"
