"""What a manifest asks of a network: dial, listen, and who is at the other end.

The registry is given a `Network` and never opens a socket itself. `manifest.tcp` is the real one; a
simulation brings its own.
"""

# What a protocol declares has no body, and so returns nothing.
# pyright: reportReturnType=false

from __future__ import annotations

from typing import Protocol, runtime_checkable

import attrs
import trio

__all__ = ["Address", "Network", "PromptNetwork", "Stream"]

Stream = trio.abc.HalfCloseableStream
"""What a link runs over: ordered bytes in both directions, each of which can end by itself."""


@attrs.frozen
class Address:
    """A host and a port, with IPv4 addresses never written as IPv6 ones."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_wildcard(self) -> bool:
        """Whether it stands for every address of the host."""
        return self.host in ("0.0.0.0", "::")

    @property
    def is_loopback(self) -> bool:
        """Whether it can be reached from this host alone."""
        return self.host == "::1" or self.host.startswith("127.")


class Network(Protocol):
    """The way to other manifests."""

    async def dial(self, host: str, port: int) -> Stream:
        """Connect to a listener. OSError where that fails."""

    async def listen(self, host: str, port: int) -> list[trio.abc.Listener[Stream]]:
        """Bind a port, any free one for 0, on each address of a host. OSError where that fails."""

    def bound(self, listener: trio.abc.Listener[Stream]) -> Address:
        """Return where a listener listens."""

    def remote(self, stream: Stream) -> Address:
        """Return where a stream's other end is, as seen from here."""

    def own_address(self) -> str:
        """Return the address under which this host is likely reached by others."""


@runtime_checkable
class PromptNetwork(Protocol):
    """What a `Network` may offer besides: a way to send from where nobody can wait."""

    def send_now(self, stream: Stream, data: bytes) -> int:
        """Send what the system takes at once, and return how many bytes that is; never raises.

        For a stream on which no task is sending. What is left over, `send_all` can send.
        """
