"""Accepting connections for as long as a listener is open, even where no descriptor is left.

`trio.serve_listeners` would write a traceback to the log ten times a second for as long as that
lasts. Here it is logged once a minute, each failure is counted, and room is made.
"""

from __future__ import annotations

import errno
import logging
import math
from collections.abc import Awaitable, Callable

import trio

from .network import Stream

__all__ = ["accept_for_ever"]

_log = logging.getLogger("manifest")

_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_PAUSE = 0.1
"""Seconds after which to try again."""
_QUIET = 60.0
"""Seconds for which the log does not repeat itself."""


async def accept_for_ever(
    listener: trio.abc.Listener[Stream],
    nursery: trio.Nursery,
    serve: Callable[[Stream], Awaitable[object]],
    make_room: Callable[[], None],
) -> None:
    """Accept connections and serve each in the nursery, until cancelled; then close the listener.

    `make_room` is called each time that the system has no descriptor or no memory for a connection.
    """
    quiet_until = -math.inf
    async with listener:
        while True:
            try:
                stream = await listener.accept()
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    raise
                if trio.current_time() >= quiet_until:
                    quiet_until = trio.current_time() + _QUIET
                    _log.warning(
                        "cannot accept connections, trying again until I can: %s; raise the limit "
                        "of open files (ulimit -n), or lower that of connections",
                        error,
                    )
                make_room()
                await trio.sleep(_PAUSE)
            else:
                nursery.start_soon(_serve, serve, stream)


async def _serve(serve: Callable[[Stream], Awaitable[object]], stream: Stream) -> None:
    try:
        await serve(stream)
    finally:
        await trio.aclose_forcefully(stream)
