"""The node program of NATS: a JetStream key-value bucket in memory, by nats-py.

The bucket has no time to live: what is put stays until it is deleted, so that a process that is
killed leaves its services behind. With one, each key would have to be put again and again.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import time
from typing import Any

from .talking import HOST, Sightings, document, in_background, in_range, serve_asyncio, service

BATCH = 100
"""Requests in flight at most, where many are made at once."""


class Node:
    """A client that does what it is told: see `talking`."""

    def __init__(self) -> None:
        self.sightings = Sightings()
        self.mine: dict[str, int] = {}
        self.library: Any = importlib.import_module("nats")
        self.api: Any = importlib.import_module("nats.js.api")
        self.bucket: Any = None
        self.tasks: list[asyncio.Task[None]] = []

    async def open(self, peers: list[int]) -> None:
        stream = (await self.library.connect(f"nats://{HOST}:{peers[0]}")).jetstream()
        self.bucket = await stream.create_key_value(
            self.api.KeyValueConfig(bucket="services", storage=self.api.StorageType.MEMORY)
        )

    async def watch(self, events: bool) -> None:
        watching = await self.bucket.watchall()
        # The first that comes is None where the bucket is empty.
        self.tasks.append(in_background(self._watch(watching)))

    async def _watch(self, watching: Any) -> None:
        async for entry in watching:
            if entry is None:
                continue
            if entry.operation is None:
                self.sightings.came(json.loads(entry.value)["port"])
            else:
                self.sightings.went(1024 + int(entry.key.rpartition(".")[2]) % 60_000)

    def seen(self) -> dict[str, dict[int, float]]:
        return self.sightings.seen()

    def _key(self, number: int, roles: int) -> str:
        name, _, port, _ = service(number, roles)
        key = f"{name}.{number}"
        self.mine[key] = port
        return key

    async def register(self, first: int, count: int, roles: int, load: bool) -> list[float]:
        began = time.monotonic()
        for start in range(first, first + count, BATCH):
            numbers = range(start, min(start + BATCH, first + count))
            await asyncio.gather(
                *(
                    self.bucket.put(self._key(each, roles), document(each, roles))
                    for each in numbers
                )
            )
        return [began, time.monotonic()]

    async def register_each(self, count: int, gap: float) -> dict[int, float]:
        began: dict[int, float] = {}
        for number in range(count):
            key, value = self._key(number, 100), document(number, 100)
            began[self.mine[key]] = time.monotonic()
            await self.bucket.put(key, value)
            await asyncio.sleep(gap)
        return began

    async def free_each(self, gap: float) -> dict[int, float]:
        began: dict[int, float] = {}
        for key, port in [*self.mine.items()]:
            began[port] = time.monotonic()
            await self.bucket.delete(key)
            del self.mine[key]
            await asyncio.sleep(gap)
        return began

    async def wait_for(self, count: int) -> float:
        return await self.sightings.wait_for(count)

    async def _held(self, keys: str) -> list[dict[str, Any]]:
        watching = await self.bucket.watch(keys, ignore_deletes=True)
        held: list[dict[str, Any]] = []
        async for entry in watching:
            if entry is None:
                break
            held.append(json.loads(entry.value))
        await watching.stop()
        return held

    async def join(self, peers: list[int], count: int) -> list[float]:
        began = time.monotonic()
        await self.open(peers)
        held: dict[str, Any] = {}
        async for entry in await self.bucket.watchall():
            if entry is None:
                break
            held[entry.key] = json.loads(entry.value)
        ended = time.monotonic()
        assert len(held) >= count, f"found {len(held)} of {count}"
        return [began, ended]

    async def get(self, role: str, least: str | None, times: int) -> list[float]:
        took: list[float] = []
        for _ in range(times):
            began = time.perf_counter()
            in_range(await self._held(f"{role}.*"), least)
            took.append(time.perf_counter() - began)
        return took


if __name__ == "__main__":
    serve_asyncio(Node)
