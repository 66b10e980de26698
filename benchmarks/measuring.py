"""What all benchmarks measure with, and what they say of where it was measured.

A figure is never one measurement: it is the median of several, with the least and the greatest.
Where only this program's own work counts, processor time is taken, so that whatever else the
machine does disturbs little.
"""

from __future__ import annotations

import gc
import importlib.metadata
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs

__all__ = ["LEAST_REPETITIONS", "Spread", "machine", "percentile", "resident", "timed"]

LEAST_REPETITIONS = 5
"""Fewer are for a look, and what is printed says so."""


@attrs.frozen
class Spread:
    """The median of some measurements, the least and the greatest.

    >>> Spread.of([3.0, 1.0, 2.0])
    Spread(median=2.0, least=1.0, greatest=3.0)
    """

    median: float
    least: float
    greatest: float

    @classmethod
    def of(cls, measured: Iterable[float]) -> Spread:
        """Return the spread of measurements. ValueError where there are none."""
        values = [*measured]
        if not values:
            raise ValueError("a spread is that of one measurement or more, got none")
        return cls(statistics.median(values), min(values), max(values))


def percentile(measured: Iterable[float], share: float) -> float:
    """Return the measurement that this share of all does not exceed: the nearest rank.

    >>> percentile(range(1, 101), 0.99), percentile([5.0], 0.5)
    (99, 5.0)
    """
    values = sorted(measured)
    if not values or not 0 < share <= 1:
        raise ValueError(
            f"a percentile is of one measurement or more and a share above 0 up to 1, got "
            f"{len(values)} and {share!r}"
        )
    return values[math.ceil(share * len(values)) - 1]


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Return how many milliseconds of processor time a call took, and what it returned."""
    gc.collect()
    start = time.process_time()
    answer = call()
    return (time.process_time() - start) * 1000, answer


def resident(pid: int) -> int:
    """Return how many bytes of memory a process holds. OSError where it is gone, or no Linux."""
    pages = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def machine(*packages: str) -> dict[str, str]:
    """Return when, where and with what something was measured, and how busy the machine was."""
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text(encoding="utf-8").splitlines() if cpu.exists() else []
    models = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    installed = {each.name for each in importlib.metadata.distributions()}
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "processor": f"{len(models)} x {models[0]}" if models else platform.processor(),
        "load": " ".join(f"{load:.1f}" for load in os.getloadavg()),
        "system": platform.platform(),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in packages if name in installed},
    }
