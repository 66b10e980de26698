"""Nodes on simulated hosts, and peers of which a test decides every byte."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import attrs
import trio

from manifest import Manifest, open_manifest
from manifest.messages import Message
from manifest.options import Options
from manifest.protocol import LinkProtocol
from manifest.replica import Replica
from manifest.testing import Host, NodeClock, StreamEnd
from manifest.testing.pausing import Gatekeeper, enter
from manifest.timekeeping import PhysicalClock, WakingClock

__all__ = ["CancelAt", "Node", "Puppet", "pausable", "running", "until"]


class CancelAt(trio.abc.Instrument):
    """Cancels a scope before the step of that number, of whichever task."""

    def __init__(self, step: int, scope: trio.CancelScope) -> None:
        self.step = step
        self.scope = scope
        self.steps = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """Count it."""
        self.steps += 1
        if self.steps == self.step:
            self.scope.cancel()


@contextmanager
def pausable() -> Iterator[None]:
    """Have `Host.pause` work for the nodes that are started within the block."""
    keeper = Gatekeeper()
    trio.lowlevel.add_instrument(keeper)
    try:
        yield
    finally:
        trio.lowlevel.remove_instrument(keeper)


@asynccontextmanager
async def running(host: Host, **options: Any) -> AsyncIterator[Node]:
    """Run a manifest in a task of its own, so that it can be paused, cancelled and killed."""
    async with trio.open_nursery() as nursery:
        node: Node = await nursery.start(_run_node, host, options)
        try:
            yield node
        finally:
            host.resume()
            node.leave()


async def _run_node(
    host: Host, options: dict[str, Any], *, task_status: trio.TaskStatus[Node]
) -> None:
    enter(host.gate)
    with trio.CancelScope() as scope:
        async with open_manifest(environment=host.environment(), **options) as manifest:
            node = Node(host, manifest, scope)
            task_status.started(node)
            await node.leaving.wait()
    node.gone.set()


@attrs.define(eq=False)
class Node:
    """A manifest that runs on a host."""

    host: Host
    manifest: Manifest
    scope: trio.CancelScope
    leaving: trio.Event = attrs.field(factory=trio.Event)
    gone: trio.Event = attrs.field(factory=trio.Event)

    def leave(self) -> None:
        """Close the manifest, in its own task."""
        self.leaving.set()

    async def kill(self, *, silently: bool = False) -> None:
        """End it as SIGKILL does, or as a power cut does: it says nothing more to anyone."""
        self.host.crash(silently=silently)
        self.scope.cancel()
        await self.gone.wait()


class Puppet:
    """A peer of which a test decides every byte, and whether it reads."""

    def __init__(self, end: StreamEnd, **options: Any) -> None:
        self.end = end
        self.replica = Replica(
            "F" * 24,
            Options(**options),
            PhysicalClock(NodeClock().wall, trio.current_time),
            WakingClock(trio.current_time, math.inf),
            lambda _: None,
        )
        self.protocol = LinkProtocol(self.replica)

    async def say(self) -> None:
        """Send what a well-behaved peer would send now."""
        await self.end.send_all(self.protocol.bytes_to_send())

    async def hear(self) -> list[Message]:
        """Read what has arrived, as a well-behaved peer would; nothing at the end."""
        return self.protocol.receive_data(await self.end.receive_some())

    async def greet(self) -> None:
        """Exchange Hellos."""
        await self.say()
        while self.protocol.peer is None:
            await self.hear()


async def until(holds: Callable[[], object], *, within: float = 60.0) -> float:
    """Wait until something holds, in virtual time; return how many seconds that took."""
    begun = trio.current_time()
    with trio.fail_after(within):
        await trio.lowlevel.checkpoint()
        while not holds():  # noqa: ASYNC110 - anything at all may be waited for
            await trio.sleep(0.01)
    return trio.current_time() - begun
