"""Clocks: what steps of the wall clock and pauses of the process do to them, and what not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifest.crdt import HybridClock, from_milliseconds
from manifest.timekeeping import PhysicalClock, WakingClock

DAY = 86_400_000


class Machine:
    """What the operating system says: a wall clock that anyone may set, and one that only runs."""

    def __init__(self) -> None:
        self.wall = 1_000_000_000
        self.monotonic = 500.0

    def run(self, seconds: float) -> None:
        self.wall += int(seconds * 1_000)
        self.monotonic += seconds

    def physical(self) -> PhysicalClock:
        return PhysicalClock(lambda: self.wall, lambda: self.monotonic)

    def waking(self, interval: float = 1.0) -> WakingClock:
        return WakingClock(lambda: self.monotonic, interval)


@pytest.fixture
def machine() -> Machine:
    """A machine whose clocks the test moves."""
    return Machine()


# Physical time


@pytest.mark.parametrize("step", [DAY, -DAY, 1, -1, -1_000_000_000])
def test_a_wall_clock_that_steps_changes_nothing(machine: Machine, step: int) -> None:
    """After the clock was opened, only monotonic time moves it."""
    clock = machine.physical()
    machine.run(1.5)
    machine.wall += step
    assert clock.now() == 1_000_001_500
    assert clock.wall() == 1_000_001_500 + step
    machine.run(60)
    assert clock.now() == 1_000_061_500


def test_anchoring_takes_the_wall_clock_as_it_is(machine: Machine) -> None:
    """It says by how much physical time has moved, forwards or back, and goes on from there."""
    clock = machine.physical()
    machine.run(2)
    assert clock.anchor() == 0
    machine.wall += DAY
    assert clock.anchor() == DAY
    assert clock.now() == clock.wall() == 1_000_002_000 + DAY
    machine.wall -= 2 * DAY
    machine.run(1)
    assert clock.now() == 1_000_003_000 + DAY
    assert clock.anchor() == -2 * DAY
    assert clock.now() == 1_000_003_000 - DAY
    machine.run(1)
    assert clock.now() == 1_000_004_000 - DAY


def test_physical_time_counts_whole_milliseconds(machine: Machine) -> None:
    """Parts of a millisecond are not lost on the way, they count once they are whole."""
    clock = machine.physical()
    for _ in range(10):
        machine.monotonic += 0.00025
    assert clock.now() == 1_000_000_002


def test_the_hybrid_time_never_goes_back(machine: Machine) -> None:
    """Physical time that is anchored to an earlier one leaves stamps in order."""
    physical = machine.physical()
    clock = HybridClock(physical.now)
    first = clock.tick()
    assert first == from_milliseconds(1_000_000_000)
    machine.wall -= DAY
    physical.anchor()
    assert clock.tick() == first + 1


# Waking time


def test_waking_time_runs_with_the_process(machine: Machine) -> None:
    """With a beat every now and then, waking time is monotonic time."""
    clock = machine.waking()
    for _ in range(100):
        machine.run(1.9)
        clock.beat()
    assert clock.now() == machine.monotonic
    assert clock.paused == 0


def test_two_intervals_without_a_beat_are_no_pause_yet(machine: Machine) -> None:
    """Only a gap of more than two intervals counts, and then the whole of it."""
    clock = machine.waking()
    machine.run(2)
    assert (clock.now(), clock.paused) == (502, 0)
    clock = machine.waking()
    machine.run(2.25)
    assert (clock.now(), clock.paused) == (502, 2.25)


@pytest.mark.parametrize("first", ["now", "beat"])
def test_whoever_asks_first_finds_the_pause(machine: Machine, first: str) -> None:
    """A reader that wakes before the beat does not take the pause for time that has passed."""
    clock = machine.waking()
    machine.run(0.5)
    clock.beat()
    machine.run(3_600)
    getattr(clock, first)()
    assert clock.paused == 3_600
    assert clock.now() == 500.5
    machine.run(1)
    assert clock.now() == 501.5


def test_each_pause_counts_once(machine: Machine) -> None:
    """However often anyone asks, and also where the next pause follows before a beat."""
    clock = machine.waking()
    for n in range(1, 4):
        machine.run(10)
        for _ in range(3):
            assert (clock.now(), clock.paused) == (500, 10 * n)
    clock.beat()
    machine.run(1)
    assert clock.now() == 501


def test_waking_time_does_not_go_back_at_a_pause(machine: Machine) -> None:
    """A pause counts from the last beat; what was asked for since then stays true."""
    clock = machine.waking()
    machine.run(1.5)
    assert clock.now() == 501.5
    machine.run(30)
    assert clock.now() == 501.5
    assert clock.paused == 31.5
    machine.run(1)
    assert clock.now() == 501.5
    machine.run(1)
    assert clock.now() == 502


def test_a_loop_that_only_asks_does_not_wake(machine: Machine) -> None:
    """While the loop is blocked, asking for the time over and over does not make it pass."""
    clock = machine.waking()
    for _ in range(100):
        machine.run(0.5)
        clock.now()
    assert clock.now() <= 502


def test_a_wall_clock_that_steps_is_no_pause(machine: Machine) -> None:
    """Waking time does not know the wall clock."""
    clock = machine.waking()
    machine.wall += DAY
    machine.run(1)
    assert (clock.now(), clock.paused) == (501, 0)


@given(
    st.lists(
        st.tuples(st.sampled_from(["beat", "now"]), st.floats(0, 10)), min_size=1, max_size=50
    ),
    st.sampled_from([0.25, 1.0]),
)
def test_waking_time_is_monotonic_and_never_fast(
    steps: list[tuple[str, float]], interval: float
) -> None:
    """It stands still or runs as real time does, and passes in full what beats leave no gap in."""
    machine = Machine()
    clock = machine.waking(interval)
    before, real, steady = clock.now(), machine.monotonic, True
    since_beat = 0.0
    for ask, seconds in steps:
        machine.monotonic += seconds
        since_beat += seconds
        steady = steady and since_beat <= 2 * interval
        if ask == "beat":
            clock.beat()
            since_beat = 0.0
        now = clock.now()
        assert before <= now <= before + (machine.monotonic - real) + 1e-9
        before, real = now, machine.monotonic
    if steady:
        assert now == machine.monotonic
