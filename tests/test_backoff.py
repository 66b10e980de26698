"""Backoff: how long pauses are, at least, at most, and on average."""

from __future__ import annotations

import random

import pytest

from manifest.backoff import pause


@pytest.mark.parametrize(
    "attempt, ceiling", [(0, 0.05), (1, 0.1), (2, 0.2), (3, 0.4), (4, 0.8), (5, 1.0), (6, 1.0)]
)
def test_pauses_double_up_to_the_cap(attempt: int, ceiling: float) -> None:
    """The longest pause doubles with every failure in a row, and ends at the cap."""
    assert pause(attempt, 1.0, lambda: 1.0) == pytest.approx(ceiling)
    assert pause(attempt, 1.0, lambda: 0.5) == pytest.approx(ceiling / 2)


@pytest.mark.parametrize("attempt", [0, 1, 50, 10_000])
def test_no_pause_is_nothing(attempt: int) -> None:
    """A peer that accepts and closes at once cannot keep anyone spinning."""
    assert pause(attempt, 1.0, lambda: 0.0) == 0.01


@pytest.mark.parametrize("attempt", [33, 1_100, 10**9])
def test_however_many_failures_there_were_the_cap_holds(attempt: int) -> None:
    """No number of failures overflows."""
    assert pause(attempt, 15.0, lambda: 1.0) == 15.0


def test_the_jitter_is_full() -> None:
    """Pauses are spread evenly from nothing to the ceiling, so that clients do not come at once."""
    draw = random.Random(5).random
    pauses = sorted(pause(20, 1.0, draw) for _ in range(10_000))
    for quantile in (0.1, 0.5, 0.9):
        assert pauses[int(10_000 * quantile)] == pytest.approx(quantile, abs=0.02)


def test_each_pause_draws_once() -> None:
    """One draw a pause, so that a simulation that replays draws replays pauses."""
    draws = iter([0.25, 0.75])
    assert [pause(5, 1.0, lambda: next(draws)) for _ in range(2)] == [0.25, 0.75]
