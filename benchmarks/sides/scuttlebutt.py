"""The node program of aiocluster, at its default settings: each service is a key of its node."""

from __future__ import annotations

import asyncio
import importlib
import json
import time
from typing import Any

from .talking import HOST, Sightings, document, free_port, in_range, serve_asyncio, service


class Node:
    """A cluster member that does what it is told: see `talking`."""

    def __init__(self) -> None:
        self.sightings = Sightings()
        self.mine: dict[str, int] = {}
        self.library: Any = importlib.import_module("aiocluster")
        self.cluster: Any = None

    async def open(self, peers: list[int]) -> int:
        port = free_port()
        node = self.library.NodeId(f"n{port}", gossip_advertise_addr=(HOST, port))
        seeds = [(HOST, peer) for peer in peers]
        self.cluster = self.library.Cluster(self.library.Config(node_id=node, seed_nodes=seeds))
        await self.cluster.start()
        return port

    async def watch(self, events: bool) -> None:
        self.cluster.on_key_change(self._changed)

    async def _changed(self, node: Any, key: str, before: Any, after: Any) -> None:
        port = 1024 + int(key.rpartition("/")[2]) % 60_000
        (self.sightings.went if after.is_deleted() else self.sightings.came)(port)

    def seen(self) -> dict[str, dict[int, float]]:
        return self.sightings.seen()

    def _set(self, number: int, roles: int) -> int:
        name, _, port, _ = service(number, roles)
        key = f"{name}/{number}"
        self.cluster.set(key, document(number, roles).decode())
        self.mine[key] = port
        return port

    async def register(self, first: int, count: int, roles: int, load: bool) -> list[float]:
        began = time.monotonic()
        for number in range(first, first + count):
            self._set(number, roles)
        return [began, time.monotonic()]

    async def register_each(self, count: int, gap: float) -> dict[int, float]:
        began: dict[int, float] = {}
        for number in range(count):
            now = time.monotonic()
            began[self._set(number, 100)] = now
            await asyncio.sleep(gap)
        return began

    async def free_each(self, gap: float) -> dict[int, float]:
        began: dict[int, float] = {}
        for key, port in self.mine.items():
            began[port] = time.monotonic()
            self.cluster.delete(key)
            await asyncio.sleep(gap)
        self.mine.clear()
        return began

    async def wait_for(self, count: int) -> float:
        return await self.sightings.wait_for(count)

    def _held(self) -> list[Any]:
        states = self.cluster.snapshot().node_states.values()
        return [
            (key, each)
            for state in states
            for key, each in state.key_values.items()
            if not each.is_deleted()
        ]

    async def join(self, peers: list[int], count: int) -> list[float]:
        began = time.monotonic()
        await self.open(peers)
        while len(self._held()) < count:  # noqa: ASYNC110 - it has no event for that
            await asyncio.sleep(0.01)
        return [began, time.monotonic()]

    async def get(self, role: str, least: str | None, times: int) -> list[float]:
        took: list[float] = []
        for _ in range(times):
            began = time.perf_counter()
            found = [
                json.loads(each.value) for key, each in self._held() if key.startswith(f"{role}/")
            ]
            in_range(found, least)
            took.append(time.perf_counter() - began)
        return took


if __name__ == "__main__":
    serve_asyncio(Node)
