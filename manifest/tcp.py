"""TCP: the one module that knows sockets.

Trio sets TCP_NODELAY on every socket stream, at both ends; gossip is small and wants to be on its
way. Whatever is wrong with a host or a port is an OSError that says so in words.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Iterator
from contextlib import closing

import trio

from .network import Address, Stream

__all__ = ["TcpNetwork"]

_TRIES = 20
"""How often to look for one port that is free on all addresses of a host."""


class TcpNetwork:
    """The network of the operating system."""

    async def dial(self, host: str, port: int) -> Stream:
        """Connect over TCP, trying the host's addresses as RFC 8305 has it.

        OSError where none answers. Cancelled, it leaves nothing open.
        """
        try:
            return await trio.open_tcp_stream(host, port)
        except OSError as error:
            raise OSError("; ".join(dict.fromkeys(_reasons(error)))) from error
        except UnicodeError as error:
            raise OSError(f"{host!r} cannot be a host name: {error}") from error
        except RuntimeError as error:
            # Names are looked up in a thread, and the system may have none left.
            raise OSError(f"{host!r} cannot be looked up: {error}") from error

    async def listen(self, host: str, port: int) -> list[trio.abc.Listener[Stream]]:
        """Bind one TCP port, any free one for 0, on each address of a host.

        OSError where that fails. Cancelled, it leaves nothing bound.
        """
        try:
            found = await trio.socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
        except UnicodeError as error:
            raise OSError(f"{host!r} cannot be a host name: {error}") from error
        hosts = list(dict.fromkeys(str(each[4][0]) for each in found))
        tries = _TRIES if port == 0 and len(hosts) > 1 else 1
        # Each turn binds, which is a checkpoint, and there is an end to them.
        while True:  # noqa: ASYNC913
            try:
                return await _bind(hosts, port)
            except OSError as error:
                # Free on one address and taken on another: try another one.
                tries -= 1
                if tries == 0 or error.errno != errno.EADDRINUSE:
                    error.add_note(f"It was to listen on port {port} of {', '.join(hosts)}.")
                    raise

    def bound(self, listener: trio.abc.Listener[Stream]) -> Address:
        """Return the address and port that a listener is bound to."""
        assert isinstance(listener, trio.SocketListener)
        return _address(listener.socket.getsockname())

    def remote(self, stream: Stream) -> Address:
        """Return the peer's address and port, unspecified ones where the peer has gone already."""
        assert isinstance(stream, trio.SocketStream)
        try:
            return _address(stream.socket.getpeername())
        except OSError:
            return Address("0.0.0.0", 0)  # says "unknown", nothing is bound

    def send_now(self, stream: Stream, data: bytes) -> int:
        """Send what fits into the socket's buffer, and return how many bytes that is."""
        assert isinstance(stream, trio.SocketStream)
        # Trio has no call for this, so its socket is borrowed.
        near = stream.socket
        borrowed = socket.socket(near.family, near.type, near.proto, fileno=near.fileno())
        try:
            # Or else it would wait for as long as `socket.setdefaulttimeout` says.
            borrowed.setblocking(False)
            return borrowed.send(data)
        except OSError:
            # It is full, or broken, which whoever sends on it next will find out.
            return 0
        finally:
            borrowed.detach()

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


async def _bind(hosts: list[str], port: int) -> list[trio.abc.Listener[Stream]]:
    """Bind the same port on each of these addresses, or none."""
    bound: list[trio.SocketListener] = []
    try:
        for host in hosts:
            try:
                bound += await trio.open_tcp_listeners(port, host=host)
            except OSError as error:
                # A name may stand for an IPv6 address where the system has no IPv6.
                if error.errno != errno.EAFNOSUPPORT or (not bound and host == hosts[-1]):
                    raise
            else:
                port = bound[0].socket.getsockname()[1]
    except BaseException:
        for each in bound:
            each.socket.close()
        raise
    return [*bound]


def _reasons(error: BaseException) -> Iterator[str]:
    """Yield what went wrong with each address, without the frame that Trio puts around it."""
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _reasons(each)
    elif isinstance(error, OSError) and isinstance(error.__cause__, BaseExceptionGroup):
        yield from _reasons(error.__cause__)
    else:
        yield getattr(error, "strerror", None) or str(error)


def _address(name: tuple[str, int] | tuple[str, int, int, int]) -> Address:
    host, port = name[0], name[1]
    scope = host.partition("%")[1:]
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return Address(str(address.ipv4_mapped), port)
    return Address(str(address) + "".join(scope), port)
