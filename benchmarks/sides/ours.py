"""The node program of manifest: its public API, as an application uses it."""

from __future__ import annotations

import time

import trio

from manifest import Freed, Link, Manifest, Registered, Service, open_manifest

from .talking import HOST, Sightings, serve_trio, service


class Node:
    """A manifest that does what it is told: see `talking`."""

    def __init__(self, nursery: trio.Nursery, manifest: Manifest) -> None:
        self.nursery = nursery
        self.manifest = manifest
        self.links: list[Link] = []
        self.each: list[Service] = []
        self.sightings = Sightings()

    async def open(self, peers: list[int]) -> int:
        listener = await self.manifest.listen(port=0, host=HOST)
        for peer in peers:
            await self._link(peer)
        return listener.port

    async def _link(self, port: int) -> None:
        link = self.manifest.connect(port=port)
        self.links.append(link)
        await link.wait_synced()

    async def watch(self, events: bool) -> None:
        if events:
            await self.nursery.start(self._watch)

    async def _watch(self, task_status: trio.TaskStatus[None]) -> None:
        async with self.manifest.events() as events:
            task_status.started()
            async for event in events:
                match event:
                    case Registered(seen) if seen.port is not None:
                        self.sightings.came(seen.port)
                    case Freed(seen) if seen.port is not None:
                        self.sightings.went(seen.port)

    def seen(self) -> dict[str, dict[int, float]]:
        return self.sightings.seen()

    def register(self, first: int, count: int, roles: int, load: bool) -> list[float]:
        began = time.monotonic()
        for number in range(first, first + count):
            name, version, port, data = service(number, roles)
            self.manifest.register(f"{name}@{version}", data, port=port)
        return [began, time.monotonic()]

    async def register_each(self, count: int, gap: float) -> dict[int, float]:
        began: dict[int, float] = {}
        for number in range(count):
            name, version, port, data = service(number, 100)
            began[port] = time.monotonic()
            self.each.append(self.manifest.register(f"{name}@{version}", data, port=port))
            await trio.sleep(gap)
        return began

    async def free_each(self, gap: float) -> dict[int, float]:
        began: dict[int, float] = {}
        for registered in self.each:
            assert registered.port is not None
            began[registered.port] = time.monotonic()
            self.manifest.free(registered)
            await trio.sleep(gap)
        return began

    async def wait_for(self, count: int) -> float:
        # Those of others are all but one: each listening manifest registers itself as well.
        while self.manifest.statistics().services < count + 2:  # noqa: ASYNC110 - as is measured
            await trio.sleep(0.001)
        return time.monotonic()

    async def join(self, peers: list[int], count: int) -> list[float]:
        began = time.monotonic()
        for peer in peers:
            await self._link(peer)
        ended = time.monotonic()
        have = self.manifest.statistics().services
        assert have >= count, f"synced with {have} of {count}"
        return [began, ended]

    def get(self, role: str, least: str | None, times: int) -> list[float]:
        query = role if least is None else f"{role}@>={least}"
        took: list[float] = []
        for _ in range(times):
            began = time.perf_counter()
            self.manifest.get(query)
            took.append(time.perf_counter() - began)
        return took

    async def join_again(self, port: int) -> list[float]:
        """End all links, make one anew; return the seconds that takes and the bytes it carries."""
        for link in self.links:
            link.close()
        await trio.sleep(0.5)
        began = time.monotonic()
        await self._link(port)
        took = time.monotonic() - began
        # What the peer has yet to hear from here counts as well.
        await trio.sleep(0.2)
        traffic = self.links[-1].traffic
        return [took, traffic.bytes_sent + traffic.bytes_received]

    def counted(self) -> int:
        """Return how many bytes all links have carried, by the manifest's own count."""
        statistics = self.manifest.statistics()
        return statistics.bytes_sent + statistics.bytes_received


async def main() -> None:
    async with trio.open_nursery() as nursery:
        async with open_manifest() as manifest:
            await serve_trio(Node(nursery, manifest))
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
