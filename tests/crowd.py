"""Thousands of peers that mean no good, in a process of their own, so that they cost nobody else.

    python -m tests.crowd '{"port": 3100, "silent": 2000, "slow": 200}'

Silent ones connect and say nothing. Slow ones say a valid Hello, a byte a second. They come at 500
a second until all were there once, which "there" on stdout says; then those who were thrown out
come back, a hundred a second. It leaves when stdin ends.
"""

from __future__ import annotations

import json
import socket
import sys
from contextlib import closing

import trio

from tests.besieged import raise_file_limit
from tests.impostor import Impostor

_HOST = "127.0.0.1"
_COME, _COME_BACK = 500, 100
"""How many do a second."""


class _Crowd:
    """All of them."""

    def __init__(self, port: int, count: int) -> None:
        self.port = port
        self.count = count
        self.arrived = 0
        self.gate = trio.Lock()

    async def come(self) -> trio.socket.SocketType:
        """Connect, when it is this one's turn."""
        while True:
            async with self.gate:
                await trio.sleep(1 / (_COME if self.arrived < self.count else _COME_BACK))
            made = trio.socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            try:
                await made.connect((_HOST, self.port))
            except OSError:
                made.close()
                continue
            self.arrived += 1
            return made

    async def silent(self) -> None:
        while True:
            with closing(await self.come()) as made:
                await _until_thrown_out(made)

    async def slow(self) -> None:
        words = Impostor().protocol.bytes_to_send()
        while True:
            with closing(await self.come()) as made:
                try:
                    for byte in words:
                        await made.send(bytes([byte]))
                        with trio.move_on_after(1):
                            await _until_thrown_out(made)
                            break
                except OSError:
                    pass


async def _until_thrown_out(made: trio.socket.SocketType) -> None:
    try:
        while await made.recv(65536):
            pass
    except OSError:
        pass


async def _main(port: int, silent: int, slow: int) -> None:
    crowd = _Crowd(port, silent + slow)
    async with trio.open_nursery() as nursery:
        for _ in range(slow):
            nursery.start_soon(crowd.slow)
        for _ in range(silent):
            nursery.start_soon(crowd.silent)
        while crowd.arrived < crowd.count:  # noqa: ASYNC110 - one look does for thousands
            await trio.sleep(0.05)
        sys.stdout.write(json.dumps("there") + "\n")
        sys.stdout.flush()
        async for _ in trio.lowlevel.FdStream(sys.stdin.fileno()):
            sys.stdout.write(json.dumps(crowd.arrived) + "\n")
            sys.stdout.flush()
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    raise_file_limit()
    _given = json.loads(sys.argv[1])
    trio.run(_main, _given["port"], _given["silent"], _given["slow"])
