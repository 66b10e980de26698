"""The demo's mesh: real processes, and what each of them says of itself.

Nothing is assumed of a process but what it has told on its stdout, so a step of the demo that holds
has been seen to hold.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs
import trio

from .wording import printable

__all__ = ["Gone", "Mesh", "Node", "StepFailed", "open_mesh"]

_LINGERING = 4000


class StepFailed(Exception):
    """Something that the demo was to show does not hold."""


@attrs.frozen
class Gone:
    """That a service has gone, as one process told it."""

    reason: str
    after: float
    """When that was heard of, in Trio's seconds."""


@attrs.define(eq=False)
class Node:
    """One process, as its own words describe it."""

    name: str
    process: trio.Process
    id: str = ""
    port: int = 0
    links: int = 0
    state: str = "starting"
    services: dict[str, dict[str, Any]] = attrs.field(factory=dict)
    """What it shows, by id, kept from its events."""
    gone: dict[str, Gone] = attrs.field(factory=dict)
    """What has gone from there, by id."""
    lapsed: set[str] = attrs.field(factory=set)
    """Ids that have expired there, whether or not they are back."""
    listed: list[dict[str, dict[str, Any]]] = attrs.field(factory=list)
    """Its answers when it was asked for all that it shows."""
    complaints: bytes = b""
    """The last that it wrote to stderr."""

    async def tell(self, do: str, **arguments: Any) -> None:
        """Have it do something."""
        assert self.process.stdin is not None
        line = json.dumps({"do": do, **arguments})
        await self.process.stdin.send_all(f"{line}\n".encode())

    def ids(self, name: str, owner: Node | None = None) -> set[str]:
        """Return the ids of the services of a name that it shows, of one owner or of all."""
        return {
            id
            for id, service in self.services.items()
            if service["name"] == name and (owner is None or service["owner"] == owner.id)
        }

    def note(self, fact: dict[str, Any]) -> None:
        """Take note of a line that it wrote."""
        match fact:
            case {"event": "registered" | "updated", "service": service}:
                self.services[service["id"]] = service
            case {"event": "freed", "service": service, "reason": reason}:
                self.services.pop(service["id"], None)
                self.gone[service["id"]] = Gone(reason, trio.current_time())
                if reason == "expired":
                    self.lapsed.add(service["id"])
            case {"event": "connected" | "accepted"}:
                self.links += 1
            case {"event": "disconnected"}:
                self.links -= 1
            case {"event": "listening", "id": id, "port": port}:
                self.id, self.port, self.state = id, port, "up"
            case {"event": "list", "services": services}:
                self.listed.append(services)


@attrs.define(eq=False)
class Mesh:
    """All processes."""

    nursery: trio.Nursery
    options: tuple[str, ...]
    """The command line's options for each."""
    patience: float
    """How long a step may take, in seconds."""
    nodes: list[Node] = attrs.field(factory=list)
    _changed: trio.Event = attrs.field(factory=trio.Event)

    async def start(self, name: str) -> Node:
        """Start a process, and return it before it has said anything."""
        process: trio.Process = await self.nursery.start(
            partial(
                trio.run_process,
                [sys.executable, "-m", "manifest", "demo-node", "--name", name, *self.options],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                check=False,
                deliver_cancel=_kill,
                # The terminal's Ctrl-C is for the demo alone, which then ends them all.
                start_new_session=True,
            )
        )
        node = Node(name, process)
        self.nodes.append(node)
        self.nursery.start_soon(self._listen_to, node)
        self.nursery.start_soon(_keep_complaints, node)
        return node

    async def until(self, complaints: Callable[[], Iterable[str]]) -> None:
        """Wait until there are no complaints; `StepFailed` with them where that takes too long."""
        with trio.move_on_after(self.patience):
            await trio.lowlevel.checkpoint()
            while not self._holds(complaints):
                await self._changed.wait()
        # Asked anew, for it may be this process that was given no time.
        if not self._holds(complaints):
            raise StepFailed(
                f"after {self.patience:g} s still not so: {'; '.join(list(complaints())[:3])}"
            )

    def _holds(self, complaints: Callable[[], Iterable[str]]) -> bool:
        for node in self.nodes:
            if node.state == "lost":
                said = printable(node.complaints.decode(errors="replace").strip()[-200:])
                raise StepFailed(
                    f"{node.name} has ended with status {node.process.returncode}: {said}"
                )
        return not list(complaints())

    async def _listen_to(self, node: Node) -> None:
        assert node.process.stdout is not None
        rest = b""
        async for data in node.process.stdout:
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                node.note(json.loads(line))
            self._wake()
        await node.process.wait()
        if node.state in ("starting", "up", "cut off"):
            node.state = "lost"
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


@asynccontextmanager
async def open_mesh(options: Iterable[str], patience: float) -> AsyncGenerator[Mesh, None]:
    """Open an empty mesh, for the time of a block; no process of it outlives that."""
    async with trio.open_nursery() as nursery:
        try:
            yield Mesh(nursery, tuple(options), patience)
        finally:
            nursery.cancel_scope.cancel()


async def _keep_complaints(node: Node) -> None:
    assert node.process.stderr is not None
    async for data in node.process.stderr:
        node.complaints = (node.complaints + data)[-_LINGERING:]


async def _kill(process: trio.Process) -> None:
    # They are the demo's own, there is nothing in them to be saved.
    process.kill()
    await process.wait()
