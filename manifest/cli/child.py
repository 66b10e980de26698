"""A command that is run beside a registration: started, waited for, and passed the signals.

It has a session of its own. So the terminal's Ctrl-C, which goes to everything in the foreground,
reaches it from here alone, and only once its registration is gone. It can be ended by nothing that
it was not sent by whoever runs this: no signal is made up, and none is made worse.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Sequence
from contextlib import closing, suppress

import attrs
import trio

from .statuses import NO_COMMAND, NOT_EXECUTABLE, SIGNALLED, Failure
from .wording import printable

__all__ = ["ENDING", "PASSED_ON", "Child", "free_port", "start_child", "wait_listening"]

_POLL = 0.05
_PATIENCE = 1.0


def _signals(*names: str) -> tuple[signal.Signals, ...]:
    # Not every system has them all.
    return tuple(signal.Signals[name] for name in names if hasattr(signal, name))


ENDING = _signals("SIGINT", "SIGTERM", "SIGQUIT")
"""What tells a program to end: before it is passed on, the registration goes."""
PASSED_ON = _signals("SIGHUP", "SIGUSR1", "SIGUSR2")
"""What a program may take for something else, such as to read its configuration again."""


@attrs.frozen
class Child:
    """A command that runs."""

    process: trio.Process

    def pass_on(self, signum: int) -> None:
        """Send a signal to the command and what it has started, as a terminal would."""
        if self.process.returncode is None:
            with suppress(ProcessLookupError):
                getattr(os, "killpg", os.kill)(self.process.pid, signum)

    async def wait(self) -> int:
        """Wait until it has ended; return its exit status, 128 + n where signal n ended it."""
        status = await self.process.wait()
        return SIGNALLED - status if status < 0 else status


async def start_child(command: Sequence[str], port: int) -> Child:
    """Start a command with its port in $PORT; `Failure` with a shell's status where that fails."""
    environment = {**os.environ, "PORT": str(port)}
    try:
        process = await trio.lowlevel.open_process(
            list(command), env=environment, start_new_session=True
        )
    except FileNotFoundError:
        raise Failure(NO_COMMAND, f"{printable(command[0])}: there is no such command") from None
    except OSError as error:
        raise Failure(
            NOT_EXECUTABLE, f"{printable(command[0])} cannot be run: {error.strerror}"
        ) from None
    return Child(process)


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with closing(socket.socket()) as probe:
        probe.bind(("", 0))
        port: int = probe.getsockname()[1]
        return port


async def wait_listening(port: int, address: str | None) -> None:
    """Wait until something accepts connections at a port, on this host or at an address."""
    while True:
        for host in dict.fromkeys(["localhost", address or "localhost"]):
            with suppress(OSError), trio.move_on_after(_PATIENCE):
                await trio.aclose_forcefully(await trio.open_tcp_stream(host, port))
                return
        await trio.sleep(_POLL)
