"""Worker processes as a test sees them: started, asked, killed, and gone at the end in every case.

What they answer is in tests/worker.py.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import PIPE
from typing import IO, Any

import trio

__all__ = ["HEARTBEAT", "LIFETIME", "Process", "worker"]

ROOT = Path(__file__).parents[1]
HEARTBEAT, LIFETIME = 0.5, 0.5
PATIENCE = 30.0
"""Seconds that an answer may take on the busiest machine."""


class Process:
    """A worker process and the conversation with it."""

    def __init__(self, process: trio.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.process = process
        self._stdin = process.stdin
        self._stdout = process.stdout
        self._buffer = bytearray()
        self.id = ""
        self.port = 0

    async def ask(self, method: str, **arguments: Any) -> Any:
        with trio.fail_after(PATIENCE):
            await self._stdin.send_all(json.dumps([method, arguments]).encode() + b"\n")
            while not self._buffer.endswith(b"\n"):
                chunk = await self._stdout.receive_some(65536)
                assert chunk, f"the worker ended while it was asked to {method}"
                self._buffer += chunk
        line = bytes(self._buffer)
        self._buffer.clear()
        return json.loads(line)

    async def kill(self) -> float:
        self.process.send_signal(signal.SIGKILL)
        killed = time.time()
        await self.process.wait()
        return killed

    async def leave(self) -> float:
        left = time.time()
        await self._stdin.aclose()
        with trio.fail_after(10):
            assert await self.process.wait() == 0
        return left


@asynccontextmanager
async def worker(
    *,
    listen: int | None = 0,
    host: str = "127.0.0.1",
    within: Sequence[str] = (),
    stderr: IO[bytes] | None = None,
    **options: Any,
) -> AsyncIterator[Process]:
    """Run a worker, listening on a port unless `listen` is None, for the time of a block.

    `within` is a command that runs the command that follows it, elsewhere. Ctrl-C does not reach
    the worker, which ends with the block or when its stdin does.
    """
    options = {"heartbeat_interval": HEARTBEAT, "registration_lifetime": LIFETIME, **options}
    process = await trio.lowlevel.open_process(
        [*within, sys.executable, "-m", "tests.worker", json.dumps(options)],
        stdin=PIPE,
        stdout=PIPE,
        stderr=stderr,
        cwd=ROOT,
        start_new_session=True,
    )
    spawned = Process(process)
    try:
        if listen is not None:
            answer = await spawned.ask("listen", port=listen, host=host)
            spawned.id, spawned.port = answer["id"], answer["port"]
        yield spawned
    finally:
        with trio.CancelScope(shield=True):
            if process.returncode is None:
                process.kill()
                await process.wait()
            await spawned._stdin.aclose()
            await spawned._stdout.aclose()
