"""How a command runs: one `trio.run`, signals that let it leave gracefully, an exit status.

SIGINT and SIGTERM cancel what the command does; the manifests in it say goodbye, which takes two
seconds at the most, and further signals meanwhile change nothing. Commands that last until they are
told to end have then succeeded; commands that were asked something have not. Where the output goes
to a pipe that nobody reads any more, they end in the same way and quietly.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from stat import S_ISFIFO
from typing import TextIO

import trio

from .statuses import FOUND, PIPE_CLOSED, SIGNALLED

__all__ = ["run_asking", "run_bare", "run_lasting"]

Body = Callable[[], Awaitable[int]]


def run_asking(body: Body) -> int:
    """Run what answers a question; return its status, or 128 + n where signal n ended it."""
    return run_bare(partial(_until_signalled, body, lambda signum: SIGNALLED + signum))


def run_lasting(body: Callable[[], Awaitable[None]]) -> int:
    """Run what lasts until a signal ends it, which is success."""

    async def last() -> int:
        await body()
        return FOUND

    return run_bare(partial(_until_signalled, last, lambda signum: FOUND))


def run_bare(body: Body) -> int:
    """Run what handles signals itself; a lone error comes out without the groups around it."""
    try:
        return trio.run(body)
    except Exception as error:  # noqa: BLE001 - raised again below
        failure = error
    while isinstance(failure, ExceptionGroup) and len(failure.exceptions) == 1:
        failure = failure.exceptions[0]
    if isinstance(failure, BrokenPipeError):
        return PIPE_CLOSED
    raise failure


async def _until_signalled(body: Body, status_of: Callable[[int], int]) -> int:
    status = FOUND
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            scope = trio.CancelScope()

            def end(with_status: int) -> None:
                nonlocal status
                status = with_status
                scope.cancel()

            async def obey() -> None:
                async for signum in signals:
                    end(status_of(signum))

            nursery.start_soon(obey)
            nursery.start_soon(_until_unread, sys.stdout, lambda: end(PIPE_CLOSED))
            with scope:
                status = await body()
            nursery.cancel_scope.cancel()
    return status


async def _until_unread(stream: TextIO | None, end: Callable[[], None]) -> None:
    """End it once nobody reads the pipe that its output goes to, not only at the next line."""
    if stream is None or not (os.name == "posix" and S_ISFIFO(os.fstat(stream.fileno()).st_mode)):
        await trio.lowlevel.checkpoint()
        return
    # Nothing can be read at a pipe's end for writing, but that there is no other end.
    await trio.lowlevel.wait_readable(stream)
    end()
