"""TCP: the one module that knows sockets.

Trio sets TCP_NODELAY on every socket stream, at both ends; gossip is small and wants to be on its
way.
"""

from __future__ import annotations

import ipaddress
import socket
from contextlib import closing

import trio

from .network import Address, Stream

__all__ = ["TcpNetwork"]


class TcpNetwork:
    """The network of the operating system."""

    async def dial(self, host: str, port: int) -> Stream:
        """Connect over TCP, trying the host's addresses as RFC 8305 has it. OSError where none answers."""
        return await trio.open_tcp_stream(host, port)

    async def listen(self, host: str, port: int) -> list[trio.abc.Listener[Stream]]:
        """Bind a TCP port on each address of a host; bound when it returns."""
        return list(await trio.open_tcp_listeners(port, host=host))

    def bound(self, listener: trio.abc.Listener[Stream]) -> Address:
        """Return the address and port that a listener is bound to."""
        assert isinstance(listener, trio.SocketListener)
        return _address(listener.socket.getsockname())

    def remote(self, stream: Stream) -> Address:
        """Return the peer's address and port; an unspecified one where the peer has gone already."""
        assert isinstance(stream, trio.SocketStream)
        try:
            return _address(stream.socket.getpeername())
        except OSError:
            return Address("0.0.0.0", 0)  # says "unknown", nothing is bound

    def own_address(self) -> str:
        """Return the address of the interface that faces other hosts, or loopback where none does.

        Connecting a datagram socket sends nothing: it makes the system choose a route.
        """
        # The addresses are reserved for documentation, RFC 5737 and RFC 3849.
        for family, elsewhere in (
            (socket.AF_INET, "192.0.2.1"),
            (socket.AF_INET6, "2001:db8::1"),
        ):
            try:
                with closing(socket.socket(family, socket.SOCK_DGRAM)) as probe:
                    probe.connect((elsewhere, 9))
                    return _address(probe.getsockname()).host
            except OSError:
                continue
        return "127.0.0.1"


def _address(name: tuple[str, int] | tuple[str, int, int, int]) -> Address:
    host, port = name[0], name[1]
    scope = host.partition("%")[1:]
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return Address(str(address.ipv4_mapped), port)
    return Address(str(address) + "".join(scope), port)
