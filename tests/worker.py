"""A manifest in a process of its own, for tests: JSON commands on stdin, JSON answers on stdout.

Each line in is `[method, arguments]`, each line out is what that method returned. The process ends,
and the manifest leaves gracefully, when stdin does.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import trio

import manifest
from manifest import Environment, Limits, Link, Manifest


class Worker:
    """Answers the commands of a test."""

    def __init__(self, registry: Manifest) -> None:
        self.registry = registry
        self.links: list[Link] = []

    async def listen(self, port: int = 0) -> dict[str, Any]:
        listener = await self.registry.listen(port=port, host="127.0.0.1")
        return {"id": self.registry.id, "port": listener.port}

    async def connect(self, port: int) -> None:
        self.links.append(self.registry.connect(port=port))

    async def synced(self) -> None:
        for link in self.links:
            await link.wait_synced()

    async def register(self, count: int, role: str, roles: int = 1) -> list[str]:
        roles_of = [f"{role}-{i}@1.0.{i % 7}" for i in range(roles)] if roles > 1 else [role]
        return [
            self.registry.register(roles_of[i % roles], {"n": i}, port=1024 + i % 60_000).id
            for i in range(count)
        ]

    async def free(self, id: str) -> None:
        self.registry.free(id=id)

    async def services(self) -> list[dict[str, Any]]:
        return [
            {"id": service.id, "role": service.role, "port": service.port, "data": service.data}
            for service in self.registry.services().values()
            if service.name != "manifest"
        ]

    async def until(self, role: str, count: int) -> float:
        """Wait until exactly `count` services of a role are visible; return the time of that."""
        async with self.registry.events() as events:
            while len(self.registry.get(role)) != count:
                await anext(events)
        return time.time()

    async def status(self) -> list[dict[str, Any]]:
        return [manifest.to_json(link.status) for link in self.links]

    async def until_state(self, state: str) -> list[dict[str, Any]]:
        for link in self.links:
            while link.status.state != state:
                await link.wait_changed()
        return await self.status()

    async def statistics(self) -> dict[str, Any]:
        return dict(manifest.to_json(self.registry.statistics()))


async def main(options: dict[str, Any]) -> None:
    """Open a manifest and answer until there are no more commands."""
    skew = options.pop("wall_ahead", 0.0)
    options["environment"] = Environment(wall=lambda: int((time.time() + skew) * 1000))
    options["limits"] = Limits(**options.pop("limits", {}))
    async with manifest.open_manifest(**options) as registry:
        worker = Worker(registry)
        stdin = trio.lowlevel.FdStream(sys.stdin.fileno())
        buffer = b""
        async for chunk in stdin:
            *lines, buffer = (buffer + chunk).split(b"\n")
            for line in lines:
                method, arguments = json.loads(line)
                answer = await getattr(worker, method)(**arguments)
                print(json.dumps(answer), flush=True)  # noqa: T201  # its way of answering


if __name__ == "__main__":
    trio.run(main, json.loads(sys.argv[1]))
