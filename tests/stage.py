"""A stage for attacks: one manifest that is attacked, and two honest peers linked through it alone.

The attacked one runs in a process of its own (`tests/besieged.py`), so that what it costs can be
told from what the attack costs. The honest ones run in the process of the test, and so on one
clock: what one of them registers is timed until the other sees it.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from subprocess import PIPE
from typing import Any

import attrs
import trio

import manifest
from manifest import Disconnected, Freed, Manifest, Registered
from manifest.frames import FrameReader
from manifest.messages import Bye
from manifest.options import Limits
from manifest.protocol import LinkProtocol
from manifest.wire import decode_message
from tests.impostor import Impostor

__all__ = ["HOST", "Child", "Stage", "child", "stage", "until"]

HOST = "127.0.0.1"
WITHIN = 60.0
"""Seconds that anything may take before it is given up."""
_ANSWER = 0.5
"""Seconds in which whoever is attacked may answer."""


class Child:
    """A process that says a line of JSON for each line that it is sent."""

    def __init__(self, process: trio.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.process = process
        self._in, self._out = process.stdin, process.stdout
        self._rest = b""

    async def hear(self) -> Any:
        """Return the next line that it says."""
        with trio.fail_after(WITHIN):  # noqa: ASYNC912 - a line may be there
            while b"\n" not in self._rest:
                data = await self._out.receive_some(65536)
                assert data, "the process has ended"
                self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return json.loads(line)

    async def ask(self) -> Any:
        """Have it say a line."""
        await self._in.send_all(b"\n")
        return await self.hear()

    async def end(self) -> None:
        """Let it leave, and see that it has gone."""
        with trio.CancelScope(shield=True):
            await self._in.aclose()
            with trio.move_on_after(5):
                await self.process.wait()
            if self.process.returncode is None:
                self.process.kill()
                await self.process.wait()
            await self._out.aclose()


@asynccontextmanager
async def child(module: str, **given: Any) -> AsyncIterator[Child]:
    """Run a module of the tests in a process of its own, for the time of a block."""
    command = [sys.executable, "-m", module, json.dumps(given)]
    spawned = Child(await trio.lowlevel.open_process(command, stdin=PIPE, stdout=PIPE))
    try:
        yield spawned
    finally:
        await spawned.end()  # noqa: ASYNC102 - shielded in there


@attrs.define(eq=False)
class Stage:
    """Who is on it, and what the honest have seen."""

    attacked: Child
    id: str
    """Of the attacked one."""
    port: int
    one: Manifest
    other: Manifest
    came: dict[str, float] = attrs.field(factory=dict)
    """When services were seen by the other."""
    gone: dict[str, str] = attrs.field(factory=dict)
    """Services that the other saw go, and why."""
    lost: list[str] = attrs.field(factory=list)
    """Why links of the honest broke."""

    async def watch(self, task_status: trio.TaskStatus[None]) -> None:
        """Note what the honest see, until cancelled."""
        async with (
            self.one.events() as ones,
            self.other.events() as others,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(self._note_links, ones)
            task_status.started()
            async for event in others:
                if isinstance(event, Registered):
                    self.came[event.service.id] = time.perf_counter()
                elif isinstance(event, Freed):
                    self.gone[event.service.id] = event.reason
                elif isinstance(event, Disconnected):
                    self.lost.append(event.reason)

    async def _note_links(self, events: AsyncIterator[manifest.Event]) -> None:
        async for event in events:
            if isinstance(event, Disconnected):
                self.lost.append(event.reason)

    async def propagate(self, count: int, every: float = 0.02, **data: Any) -> list[float]:
        """Register at the one, every so many seconds; return how long each took to the other.

        What has not come five seconds after the last was registered took for ever.
        """
        sent: dict[str, float] = {}
        for number in range(count):
            service = self.one.register("web@1.2.3", {"n": number, **data}, port=80)
            sent[service.id] = time.perf_counter()
            await trio.sleep(every)
        with trio.move_on_after(5):  # noqa: ASYNC912 - all may have come
            while not sent.keys() <= self.came.keys():  # noqa: ASYNC110 - however it comes
                await trio.sleep(0.01)
        for id in sent:
            self.one.free(id=id)
        return [self.came.get(id, math.inf) - began for id, began in sent.items()]

    async def views(self) -> list[dict[str, str]]:
        """Return who owns what, as each of the three sees it, once they have had time to agree."""
        await self.propagate(5)
        report = await self.attacked.ask()
        honest = [
            {id: each.owner for id, each in peer.services().items()}
            for peer in (self.one, self.other)
        ]
        return [report["services"], *honest]

    async def attack(self, impostor: Impostor, *frames: bytes) -> str | None:
        """Say Hello and then these: see `play`."""
        return await self.play(impostor.protocol.bytes_to_send() + b"".join(frames))

    async def play(self, tape: bytes) -> str | None:
        """Send bytes on a new connection; return the reason of the Bye that answers them.

        An empty one where it was hung up without; None where nothing of the kind comes in time.
        """
        reader = FrameReader(2**31)
        async with await trio.open_tcp_stream(HOST, self.port) as stream:
            with trio.move_on_after(_ANSWER):  # noqa: ASYNC912 - it sends at once
                try:
                    await stream.send_all(tape)
                    while data := await stream.receive_some():
                        for payload in reader.feed(data):
                            message = decode_message(payload, record_bytes=Limits().record_bytes)
                            if isinstance(message, Bye):
                                return message.reason
                except trio.BrokenResourceError:
                    pass
                return ""
        return None

    async def converse(self, impostor: Impostor) -> bytes:
        """Behave on a new connection, until nobody has more to say; return what was said."""
        protocol, tape = LinkProtocol(impostor.replica), b""
        async with await trio.open_tcp_stream(HOST, self.port) as stream:
            with trio.move_on_after(_ANSWER):
                while True:
                    while data := protocol.bytes_to_send():
                        tape += data
                        await stream.send_all(data)
                    protocol.receive_data(bytes(await stream.receive_some()))
        return tape


@asynccontextmanager
async def stage(**options: Any) -> AsyncIterator[Stage]:
    """Set the stage for the time of a block; timings are what they are by default."""
    async with AsyncExitStack() as stack:
        attacked = await stack.enter_async_context(child("tests.besieged", **options))
        said = await attacked.hear()
        one = await stack.enter_async_context(manifest.open_manifest(name="one"))
        other = await stack.enter_async_context(manifest.open_manifest(name="other"))
        async with trio.open_nursery() as nursery:
            scene = Stage(attacked, said["id"], said["port"], one, other)
            await nursery.start(scene.watch)
            for each in (one, other):
                await each.connect(scene.port).wait_synced()
            yield scene
            nursery.cancel_scope.cancel()


async def until(holds: Callable[[], object]) -> None:
    """Wait until something holds."""
    with trio.fail_after(WITHIN):  # noqa: ASYNC912 - it may hold at once
        while not holds():  # noqa: ASYNC110 - anything at all may be waited for
            await trio.sleep(0.01)
