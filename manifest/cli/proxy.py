"""A TCP proxy that can stop forwarding: the cut in the demo's network.

While it is cut nothing is closed and nothing is refused. What is sent is swallowed until the cut is
mended and connections hang half-made, as when a cable is pulled or a firewall drops packets.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial

import trio

__all__ = ["Proxy"]

_CHUNK = 64 * 1024


class Proxy:
    """One listening port on loopback, forwarded to another."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._mended = trio.Event()
        self._mended.set()

    def cut(self) -> None:
        """Forward nothing from now on, in both directions."""
        self._mended = trio.Event()

    def mend(self) -> None:
        """Forward again, at first what has waited."""
        self._mended.set()

    async def serve(self, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen and forward until cancelled; what it starts with is its port."""
        async with trio.open_nursery() as nursery:
            listeners: list[trio.SocketListener] = await nursery.start(
                partial(trio.serve_tcp, self._forward, 0, host="127.0.0.1")
            )
            task_status.started(listeners[0].socket.getsockname()[1])

    async def _forward(self, near: trio.SocketStream) -> None:
        # Where the target has ended, whoever connected finds out as if there were no proxy.
        async with near:
            await self._mended.wait()
            with suppress(OSError):
                far = await trio.open_tcp_stream("127.0.0.1", self._target)
                async with far, trio.open_nursery() as nursery:
                    nursery.start_soon(self._pump, near, far)
                    nursery.start_soon(self._pump, far, near)

    async def _pump(self, source: trio.SocketStream, sink: trio.SocketStream) -> None:
        try:
            while data := await source.receive_some(_CHUNK):
                await self._mended.wait()
                await sink.send_all(data)
            await self._mended.wait()
            await sink.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            # One end is gone for good, and the other is to see that too.
            await trio.aclose_forcefully(source)
            await trio.aclose_forcefully(sink)
