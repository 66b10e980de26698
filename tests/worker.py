"""A manifest in a process of its own, for tests: JSON commands on stdin, JSON answers on stdout.

Each line in is `[method, arguments]`, each line out is what that method returned. The process ends,
and the manifest leaves gracefully, when stdin does.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from typing import Any

import trio

import manifest
from manifest import Environment, Freed, Limits, Link, Manifest, Registered, Timeouts

from .churning import Churn
from .memory import sample


class Worker:
    """Answers the commands of a test."""

    def __init__(self, registry: Manifest, nursery: trio.Nursery) -> None:
        self.registry = registry
        self.nursery = nursery
        self.links: list[Link] = []
        self.churning = trio.CancelScope()
        self.did: list[tuple[float, str, bool]] = []
        self.saw: list[tuple[float, str, bool, str]] = []

    async def listen(self, port: int = 0, host: str = "127.0.0.1") -> dict[str, Any]:
        listener = await self.registry.listen(port=port, host=host)
        return {"id": self.registry.id, "port": listener.port}

    async def connect(self, port: int, host: str = "127.0.0.1") -> None:
        self.links.append(self.registry.connect(port=port, host=host))

    async def connect_anew(self) -> None:
        """Close each link that was made, and make it again."""
        for index, link in enumerate(self.links):
            host, _, port = link.status.address.rpartition(":")
            link.close()
            self.links[index] = self.registry.connect(port=int(port), host=host)

    async def synced(self) -> None:
        for link in self.links:
            await link.wait_synced()

    async def register(
        self, count: int, role: str, roles: int = 1, data: dict[str, Any] | None = None
    ) -> list[str]:
        roles_of = [f"{role}-{i}@1.0.{i % 7}" for i in range(roles)] if roles > 1 else [role]
        return [
            self.registry.register(roles_of[i % roles], data or {"n": i}, port=1024 + i % 60_000).id
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

    # Constant load, and what was done and seen under it

    async def watch(self) -> None:
        """Note from now on which services come into view and go, and when."""
        await self.nursery.start(self._watch)

    async def _watch(self, task_status: trio.TaskStatus[None]) -> None:
        async with self.registry.events() as events:
            task_status.started()
            async for event in events:
                match event:
                    case Registered(service):
                        self.saw.append((time.monotonic(), service.id, True, ""))
                    case Freed(service, reason):
                        self.saw.append((time.monotonic(), service.id, False, reason))

    async def churn(self, rate: float, held: int, *, noted: bool = True) -> None:
        """Begin to register and free `rate` services a second, holding so many."""
        churn = Churn(self.registry, rate, held)
        if noted:
            churn.note = self._note
        self.churning = trio.CancelScope()
        self.nursery.start_soon(self._churn, churn, self.churning)

    async def _churn(self, churn: Churn, scope: trio.CancelScope) -> None:
        with scope:
            await churn.run()

    def _note(self, id: str, *, held: bool) -> None:
        self.did.append((time.monotonic(), id, held))

    async def calm(self) -> None:
        """Register and free no more."""
        self.churning.cancel()

    async def history(self) -> dict[str, Any]:
        """Return what was done and what was seen; times are of the monotonic clock."""
        return {"did": self.did, "saw": self.saw}

    async def sample(self) -> dict[str, float]:
        """Return how much of everything there is in this process, after collecting garbage."""
        gc.collect()
        return sample(self.registry)


async def main(options: dict[str, Any]) -> None:
    """Open a manifest and answer until there are no more commands."""
    skew = options.pop("wall_ahead", 0.0)
    options["environment"] = Environment(wall=lambda: int((time.time() + skew) * 1000))
    options["limits"] = Limits(**options.pop("limits", {}))
    options["timeouts"] = Timeouts(**options.pop("timeouts", {}))
    async with manifest.open_manifest(**options) as registry, trio.open_nursery() as nursery:
        worker = Worker(registry, nursery)
        stdin = trio.lowlevel.FdStream(sys.stdin.fileno())
        buffer = b""
        async for chunk in stdin:
            *lines, buffer = (buffer + chunk).split(b"\n")
            for line in lines:
                method, arguments = json.loads(line)
                answer = await getattr(worker, method)(**arguments)
                print(json.dumps(answer), flush=True)  # noqa: T201  # its way of answering
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, json.loads(sys.argv[1]))
