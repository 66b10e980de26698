"""A port that is bound, as the application holds it."""

from __future__ import annotations

from collections.abc import Callable

import trio

from .network import Address
from .records import Service

__all__ = ["Listener"]


class Listener:
    """A port on which peers are accepted, until it or the manifest is closed."""

    def __init__(
        self,
        addresses: tuple[Address, ...],
        shown: Address,
        service: Service,
        close: Callable[[Listener], None],
    ) -> None:
        self._close = close
        self._unbound = trio.Event()
        self.addresses: tuple[Address, ...] = addresses
        """What is bound; each has `host` and `port` and reads `host:port`."""
        self.shown = shown
        """Where others are told to connect: the first of `addresses`, or what is advertised."""
        self.service = service
        """What this manifest registered for it, `manifest@<version>`."""

    @property
    def port(self) -> int:
        """The port that is bound, also where any free one was asked for."""
        return self.addresses[0].port

    @trio.lowlevel.enable_ki_protection
    def close(self) -> None:
        """Accept no more peers and free the registration. Links that were accepted go on.

        Does not block and may be repeated. The port is free once other tasks have had their turn;
        `Manifest.listen` waits for that.
        """
        self._close(self)

    def __repr__(self) -> str:
        return f"<Listener on {', '.join(map(str, self.addresses))}>"
