"""The node program of etcd: put with a lease, watch a prefix, read a range, by its gRPC API.

The client is aetcd. One lease for each process, kept alive as etcd's own clients do it.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import time
from typing import Any

from .talking import HOST, TTL, Sightings, document, in_background, in_range, serve_asyncio, service

BATCH = 100
"""Requests in flight at most, where many are made at once; etcd takes 128 to a transaction."""


class Node:
    """A client that does what it is told: see `talking`."""

    def __init__(self) -> None:
        self.sightings = Sightings()
        self.mine: dict[bytes, int] = {}
        self.library: Any = importlib.import_module("aetcd")
        self.client: Any = None
        self.lease: Any = None
        self.tasks: list[asyncio.Task[None]] = []

    async def open(self, peers: list[int]) -> None:
        await self._connect(peers)
        self.lease = await self.client.lease(TTL)
        self.tasks.append(in_background(self._keep_alive()))

    async def _connect(self, peers: list[int]) -> None:
        self.client = self.library.Client(host=HOST, port=peers[0])
        await self.client.connect()

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(TTL / 3)
            await self.lease.refresh()

    async def watch(self, events: bool) -> None:
        watching = await self.client.watch_prefix(b"svc/")
        self.tasks.append(in_background(self._watch(watching)))
        # It has no way to tell that the server has taken note of it.
        await asyncio.sleep(0.2)

    async def _watch(self, watching: Any) -> None:
        async for event in watching:
            if event.kind == "PUT":
                self.sightings.came(json.loads(event.kv.value)["port"])
            else:
                self.sightings.went(1024 + int(event.kv.key.rpartition(b"/")[2]) % 60_000)

    def seen(self) -> dict[str, dict[int, float]]:
        return self.sightings.seen()

    def _key(self, number: int, roles: int) -> bytes:
        name, _, port, _ = service(number, roles)
        key = f"svc/{name}/{number}".encode()
        self.mine[key] = port
        return key

    async def register(self, first: int, count: int, roles: int, load: bool) -> list[float]:
        began = time.monotonic()
        for start in range(first, first + count, BATCH):
            numbers = range(start, min(start + BATCH, first + count))
            puts = [(self._key(number, roles), document(number, roles)) for number in numbers]
            if load:
                put = self.client.transactions.put
                success = [put(key, value, self.lease) for key, value in puts]
                await self.client.transaction(compare=[], success=success, failure=[])
            else:
                await asyncio.gather(
                    *(self.client.put(key, value, lease=self.lease) for key, value in puts)
                )
        return [began, time.monotonic()]

    async def register_each(self, count: int, gap: float) -> dict[int, float]:
        began: dict[int, float] = {}
        for number in range(count):
            key, value = self._key(number, 100), document(number, 100)
            began[self.mine[key]] = time.monotonic()
            await self.client.put(key, value, lease=self.lease)
            await asyncio.sleep(gap)
        return began

    async def free_each(self, gap: float) -> dict[int, float]:
        began: dict[int, float] = {}
        for key, port in [*self.mine.items()]:
            began[port] = time.monotonic()
            await self.client.delete(key)
            del self.mine[key]
            await asyncio.sleep(gap)
        return began

    async def wait_for(self, count: int) -> float:
        return await self.sightings.wait_for(count)

    async def join(self, peers: list[int], count: int) -> list[float]:
        began = time.monotonic()
        await self._connect(peers)
        found = await self.client.get_prefix(b"svc/")
        held = {each.key: json.loads(each.value) for each in found}
        # The watch goes on from the revision of what was read, so that nothing is missed.
        revision = found.header.revision + 1
        watching = await self.client.watch_prefix(b"svc/", start_revision=revision)
        self.tasks.append(in_background(self._watch(watching)))
        ended = time.monotonic()
        assert len(held) >= count, f"found {len(held)} of {count}"
        return [began, ended]

    async def get(self, role: str, least: str | None, times: int) -> list[float]:
        took: list[float] = []
        for _ in range(times):
            began = time.perf_counter()
            found = await self.client.get_prefix(f"svc/{role}/".encode())
            in_range([json.loads(each.value) for each in found], least)
            took.append(time.perf_counter() - began)
        return took


if __name__ == "__main__":
    serve_asyncio(Node)
