"""Whether growth is told from ups and downs."""

import math

import pytest

from .memory import growths, slope, table, troughs


def sawtooth(per_minute: float) -> list[tuple[float, dict[str, float]]]:
    """Return ten minutes of samples that go up and down by 1,000, and grow in the long run."""
    return [
        (float(time), {"objects": 1000 * (time % 48) / 48 + per_minute * time / 60, "services": 7})
        for time in range(0, 600, 5)
    ]


def test_ups_and_downs_are_no_growth_and_growth_among_them_is() -> None:
    """A sawtooth ten times the bound is flat; one that creeps up by more than the bound is not."""
    flat = growths(sawtooth(0), window=60, bounds={"objects": 100})[0]
    assert not flat.too_steep
    steep = growths(sawtooth(130), window=60, bounds={"objects": 100})[0]
    assert steep.too_steep
    assert steep.per_minute == pytest.approx(130, abs=30)


def test_a_slope_needs_two_windows() -> None:
    """One point has no slope, and the error says what to do."""
    with pytest.raises(ValueError, match="go on for longer"):
        growths(sawtooth(0), window=400)
    assert slope([(0, 1), (2, 5), (4, 9)]) == 2.0


def test_incomplete_windows_are_left_out() -> None:
    """The last few samples do not make a window of their own, for it may lack its trough."""
    assert troughs([(0, 3), (9, 2), (10, 5), (19, 4), (20, 1)], 10) == [(5, 2), (15, 4)]
    assert not math.isnan(slope(troughs([(0, 1), (5, 1), (10, 1), (20, 1)], 10)))


def test_the_table_says_what_grows() -> None:
    """What has a bound is flat or grows; what has none is there to be looked at."""
    text = table("trial", growths(sawtooth(130), window=60, bounds={"objects": 100}))
    assert text.splitlines()[2].endswith("| 100 | **grows** |")
    assert text.splitlines()[3] == "| services | 7 | 7 | 7 to 7 | +0.00 |  |  |"
