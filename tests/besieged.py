"""A manifest that is attacked, in a process of its own, with an eye on itself.

    python -m tests.besieged '{"heartbeat_interval": 1}'

It says where it listens, as JSON on stdout. For each line on stdin it then says what was the worst
since the last one: how late its event loop and its lookups were, and how much memory it took. It
leaves when stdin ends.
"""

from __future__ import annotations

import json
import math
import resource
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import trio

import manifest
from manifest import Freed, Limits, Manifest, Timeouts

__all__ = ["forget_peak", "memory", "peak", "percentile", "raise_file_limit"]

_STATM = Path("/proc/self/statm")
_EVERY = 0.005
"""Seconds between two lookups."""


def raise_file_limit() -> int:
    """Allow this process as many descriptors as it may have, and return how many."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    most = 2**16 if hard == resource.RLIM_INFINITY else min(hard, 2**16)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return most


def memory() -> int:
    """Return the bytes of this process that are in memory."""
    return int(_STATM.read_text(encoding="ascii").split()[1]) * resource.getpagesize()


def forget_peak() -> int:
    """Begin a new peak of this process's memory; return how much there is now, in bytes."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return memory()


def peak() -> int:
    """Return the most memory that this process has had since then, in bytes."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(1024 * int(line.split()[1]) for line in status.splitlines() if "VmHWM" in line)


def percentile(values: list[float], share: float) -> float:
    """Return the least value that so large a share of all does not exceed.

    >>> percentile([3.0, 1.0, 2.0, 4.0], 0.5), percentile([], 0.99)
    (2.0, nan)
    """
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


class _Watch:
    """What has been seen since the last report."""

    def __init__(self, registry: Manifest) -> None:
        self.registry = registry
        self.lookups: list[float] = []
        self.most_memory = 0
        self.most_links = 0
        self.freed: Counter[str] = Counter()

    async def look(self) -> None:
        """Look something up again and again, as an application would, and note how late it is."""
        while True:
            due = time.perf_counter() + _EVERY
            await trio.sleep(_EVERY)
            self.registry.get("web@^1")
            self.lookups.append(time.perf_counter() - due)
            self.most_memory = max(self.most_memory, memory())
            self.most_links = max(self.most_links, len(self.registry.links))

    async def listen(self) -> None:
        async with self.registry.events() as events:
            async for event in events:
                if isinstance(event, Freed):
                    self.freed[event.reason] += 1

    def report(self) -> dict[str, Any]:
        links = self.registry.statistics().links
        said = {
            "lookups": len(self.lookups),
            "p99": percentile(self.lookups, 0.99),
            "worst": max(self.lookups, default=math.nan),
            "memory": memory(),
            "most_memory": self.most_memory,
            "links": len(links),
            "most_links": self.most_links,
            "peers": {each.status.peer: each.traffic.bytes_sent for each in links},
            "freed": dict(self.freed),
            "services": {id: each.owner for id, each in self.registry.services().items()},
            "refused": str(self.registry.statistics().refused),
        }
        self.lookups.clear()
        self.most_memory = self.most_links = 0
        return said


async def _main(options: dict[str, Any]) -> None:
    options["limits"] = Limits(**options.pop("limits", {}))
    options["timeouts"] = Timeouts(**options.pop("timeouts", {}))
    async with manifest.open_manifest(**options) as registry, trio.open_nursery() as nursery:
        listener = await registry.listen(port=0, host="127.0.0.1")
        watch = _Watch(registry)
        nursery.start_soon(watch.look)
        nursery.start_soon(watch.listen)
        _say({"id": registry.id, "port": listener.port})
        async for _ in trio.lowlevel.FdStream(sys.stdin.fileno()):
            _say(watch.report())
        nursery.cancel_scope.cancel()


def _say(fact: object) -> None:
    sys.stdout.write(json.dumps(fact) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise_file_limit()
    trio.run(_main, json.loads(sys.argv[1]))
