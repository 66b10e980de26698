"""How much there is of everything that can leak, and whether it grows.

Memory in use goes up and down: a map's journal lets stale entries be until they are the majority.
What is left at the lowest is what counts, so growth is judged by the least of each window of time
after a warm-up, and by the slope of the straight line that fits those best, by least squares.
"""

from __future__ import annotations

import gc
import resource
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs
import trio

from manifest import Manifest

__all__ = ["BOUNDS", "Growth", "growths", "sample", "slope", "table", "troughs"]

_STATM = Path("/proc/self/statm")
_DESCRIPTORS = Path("/proc/self/fd")
_IN_JOURNALS = ("Entry", "Stamp", "Record")
"""What entries are made of. Stale ones come and go, and would hide what else does."""

BOUNDS: Mapping[str, float] = {
    "memory, KiB": 250.0,
    "Python blocks": 1_000.0,
    "objects": 20.0,
    "tasks": 0.5,
    "descriptors": 0.5,
}
"""By how much each may grow in a minute, in which there are 12,000 registrations.

Entries are not among the objects, but in the memory and the blocks.
"""


def sample(*registries: Manifest) -> dict[str, float]:
    """Return how much there is in this process, and in its manifests, now."""
    return {
        "memory, KiB": _resident() / 1024,
        "Python blocks": sys.getallocatedblocks(),
        "objects": sum(type(each).__name__ not in _IN_JOURNALS for each in gc.get_objects()),
        "tasks": trio.lowlevel.current_statistics().tasks_living,
        "descriptors": len(list(_DESCRIPTORS.iterdir())) if _DESCRIPTORS.exists() else 0,
        "services": sum(each.statistics().services for each in registries),
        "tombstones": sum(each.statistics().tombstones for each in registries),
        "links": sum(len(each.links) for each in registries),
    }


def _resident() -> int:
    """Return the bytes of this process that are in memory; the most there ever were off Linux."""
    if _STATM.exists():
        return int(_STATM.read_text().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Return by how much y grows with x, as least squares has it.

    >>> slope([(0, 5), (1, 7), (2, 9)])
    2.0
    >>> slope([(0, 0), (1, 3), (2, 0)])
    0.0
    """
    if len(points) < 2:
        raise ValueError(f"a slope needs two points or more, got {len(points)}: go on for longer")
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread


def troughs(points: Sequence[tuple[float, float]], window: float) -> list[tuple[float, float]]:
    """Return the least of each window of time, at the middle of it; of complete windows alone.

    >>> troughs([(0, 5), (30, 4), (61, 7), (90, 9), (119, 6), (125, 1)], 60)
    [(30.0, 4), (90.0, 6)]
    """
    begin, end = points[0][0], points[-1][0]
    found: list[tuple[float, float]] = []
    while begin + window <= end:
        found.append((begin + window / 2, min(y for x, y in points if begin <= x < begin + window)))
        begin += window
    return found


@attrs.frozen
class Growth:
    """How something developed after the warm-up."""

    what: str
    first: float
    """The least of the first window."""
    last: float
    """The least of the last window."""
    least: float
    most: float
    per_minute: float
    """Its slope."""
    bound: float | None
    """The steepest slope that is allowed, where there is one."""

    @property
    def too_steep(self) -> bool:
        """Whether it grows by more than it may."""
        return self.bound is not None and self.per_minute > self.bound


def growths(
    samples: Sequence[tuple[float, Mapping[str, float]]],
    window: float,
    bounds: Mapping[str, float] = BOUNDS,
) -> list[Growth]:
    """Return how each thing developed over samples, each taken at a time in seconds.

    ValueError where they do not span two windows, for one trough has no slope.
    """
    found: list[Growth] = []
    for what in samples[0][1]:
        values = [counts[what] for _, counts in samples]
        lowest = troughs([(time, counts[what]) for time, counts in samples], window)
        points = [(time / 60, least) for time, least in lowest]
        found.append(
            Growth(
                what, points[0][1], points[-1][1], min(values), max(values), slope(points),
                bounds.get(what),
            )
        )  # fmt: skip
    return found


def table(title: str, found: Sequence[Growth]) -> str:
    """Return a Markdown table of what grew and what may have."""
    lines = [
        f"| {title} | first trough | last trough | range | slope a minute | bound | |",
        "|---|---|---|---|---|---|---|",
    ]
    for each in found:
        verdict = "" if each.bound is None else "**grows**" if each.too_steep else "flat"
        bound = "" if each.bound is None else f"{each.bound:g}"
        lines.append(
            f"| {each.what} | {each.first:,.0f} | {each.last:,.0f} "
            f"| {each.least:,.0f} to {each.most:,.0f} | {each.per_minute:+,.2f} | {bound} "
            f"| {verdict} |"
        )
    return "\n".join(lines)
