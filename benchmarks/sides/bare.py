"""The yardstick: a round trip between two processes over TCP, with Trio and nothing else."""

from __future__ import annotations

import time
from functools import partial

import trio

from .talking import HOST, serve_trio


class Node:
    """Echoes what it gets, or asks another node to."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.nursery = nursery
        self.stream: trio.SocketStream | None = None

    async def open(self, peers: list[int]) -> int:
        for peer in peers:
            self.stream = await trio.open_tcp_stream(HOST, peer)
            self.stream.setsockopt(trio.socket.IPPROTO_TCP, trio.socket.TCP_NODELAY, 1)
        listeners: list[trio.SocketListener] = await self.nursery.start(
            partial(trio.serve_tcp, _echo, 0, host=HOST)
        )
        port: int = listeners[0].socket.getsockname()[1]
        return port

    async def round_trips(self, count: int, gap: float) -> list[float]:
        """Return the seconds of each of so many round trips of 100 bytes."""
        assert self.stream is not None
        took: list[float] = []
        for _ in range(count):
            began = time.monotonic()
            await self.stream.send_all(b"x" * 100)
            got = 0
            while got < 100:
                got += len(await self.stream.receive_some(65536))
            took.append(time.monotonic() - began)
            await trio.sleep(gap)
        return took


async def _echo(stream: trio.SocketStream) -> None:
    stream.setsockopt(trio.socket.IPPROTO_TCP, trio.socket.TCP_NODELAY, 1)
    async for data in stream:
        await stream.send_all(data)


async def main() -> None:
    async with trio.open_nursery() as nursery:
        await serve_trio(Node(nursery))
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
