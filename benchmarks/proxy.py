"""The node program of the counting proxy: what all sides' links are measured with alike.

It counts the bytes of the streams, and not those of the packets that carry them.
"""

from __future__ import annotations

from functools import partial

import trio

from .sides.talking import HOST, serve_trio

_CHUNK = 64 * 1024


class Node:
    """Forwards connections to one port, and counts what they carry."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.nursery = nursery
        self.carried = 0

    async def open(self, peers: list[int]) -> int:
        """Listen on a port that leads to the given one, and return it."""
        listeners: list[trio.SocketListener] = await self.nursery.start(
            partial(trio.serve_tcp, partial(self._forward, peers[0]), 0, host=HOST)
        )
        port: int = listeners[0].socket.getsockname()[1]
        return port

    def counted(self) -> int:
        """Return how many bytes were forwarded, both ways."""
        return self.carried

    async def _forward(self, target: int, near: trio.SocketStream) -> None:
        async with await trio.open_tcp_stream(HOST, target) as far, trio.open_nursery() as nursery:
            nursery.start_soon(self._pump, near, far, nursery)
            nursery.start_soon(self._pump, far, near, nursery)

    async def _pump(
        self, source: trio.SocketStream, sink: trio.SocketStream, nursery: trio.Nursery
    ) -> None:
        try:
            while data := await source.receive_some(_CHUNK):
                self.carried += len(data)
                await sink.send_all(data)
        except trio.BrokenResourceError:
            pass
        # Nobody here half-closes: where one direction ends, the connection does.
        nursery.cancel_scope.cancel()


async def main() -> None:
    """Do what is asked on standard input."""
    async with trio.open_nursery() as nursery:
        await serve_trio(Node(nursery))
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
