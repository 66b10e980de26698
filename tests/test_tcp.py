"""TCP, on real sockets of the loopback interface: binding, dialling, addresses, two manifests."""

import errno
import re
import socket
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from manifest import TLS, LinkRefused, LinkState, open_manifest
from manifest.network import Address
from manifest.tcp import TcpNetwork

from .certificates import THEIRS, member, signed, write

network = TcpNetwork()


def has_ipv6() -> bool:
    """Tell whether this system has an IPv6 loopback address."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this system has no IPv6")


class Resolver(trio.abc.HostnameResolver):
    """Knows one name, which stands for the addresses that a test gives it."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses

    async def getaddrinfo(self, host: Any, port: Any, *_: int, **__: int) -> Any:
        await trio.lowlevel.checkpoint()
        assert host == b"several.test"
        return [
            (
                socket.AF_INET6 if ":" in each else socket.AF_INET,
                socket.SOCK_STREAM,
                6,
                "",
                (each, port, 0, 0) if ":" in each else (each, port),
            )
            for each in self.addresses
        ]

    async def getnameinfo(self, *_: Any) -> Any:
        raise NotImplementedError


@pytest.fixture
def resolver() -> Resolver:
    """Return a resolver for which `several.test` stands for two addresses of this host."""
    return Resolver("127.0.0.1", "127.0.0.2")


async def close(*resources: trio.abc.AsyncResource) -> None:
    """Close each."""
    for each in resources:
        await each.aclose()


@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("::1", marks=needs_ipv6)])
async def test_dialling_a_listener(host: str) -> None:
    """Both ends of a connection know each other's address, send at once, and carry bytes."""
    (listener,) = await network.listen(host, 0)
    bound = network.bound(listener)
    assert bound.host == host
    near = await network.dial(host, bound.port)
    far = await listener.accept()
    assert network.remote(near) == bound
    assert network.remote(far).host == host
    for end in (near, far):
        assert isinstance(end, trio.SocketStream)
        assert end.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    await near.send_all(b"hello")
    assert await far.receive_some() == b"hello"
    await close(near, far, listener)


async def test_a_wildcard_accepts_on_every_address() -> None:
    """What is bound to the wildcard says so, and is reached on any address of the host."""
    (listener,) = await network.listen("0.0.0.0", 0)
    bound = network.bound(listener)
    assert bound.is_wildcard
    for host in ("127.0.0.1", "127.0.0.2"):
        await close(await network.dial(host, bound.port), await listener.accept())
    await close(listener)


async def test_several_addresses_have_one_port(resolver: Resolver) -> None:
    """A name that stands for several addresses is bound on each, at one port, whichever is free."""
    trio.socket.set_custom_hostname_resolver(resolver)
    listeners = await network.listen("several.test", 0)
    addresses = [network.bound(each) for each in listeners]
    assert [each.host for each in addresses] == ["127.0.0.1", "127.0.0.2"]
    assert len({each.port for each in addresses}) == 1
    await close(*listeners)
    again = await network.listen("several.test", addresses[0].port)
    assert [network.bound(each) for each in again] == addresses
    await close(*again)


async def test_a_port_that_is_taken_on_one_address_is_not_taken(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the port found on one address is taken on another, a further one is looked for."""
    trio.socket.set_custom_hostname_resolver(resolver)
    bind = trio.open_tcp_listeners
    asked: list[tuple[str, int]] = []

    async def taken_at_first(port: int, *, host: str) -> Any:
        asked.append((host, port))
        if host == "127.0.0.2" and len(asked) == 2:
            raise OSError(errno.EADDRINUSE, "Address already in use")
        return await bind(port, host=host)

    monkeypatch.setattr(trio, "open_tcp_listeners", taken_at_first)
    listeners = await network.listen("several.test", 0)
    assert [host for host, _ in asked] == ["127.0.0.1", "127.0.0.2"] * 2
    await close(*listeners)


async def test_a_port_in_use(resolver: Resolver) -> None:
    """A port in use is an OSError, and what was bound on other addresses is free again."""
    trio.socket.set_custom_hostname_resolver(resolver)
    (taken,) = await network.listen("127.0.0.2", 0)
    port = network.bound(taken).port
    with pytest.raises(OSError, match="in use") as caught:
        await network.listen("several.test", port)
    assert caught.value.errno == errno.EADDRINUSE
    (note,) = caught.value.__notes__
    assert note.startswith("It was to listen on port ")
    (free,) = await network.listen("127.0.0.1", port)
    await close(taken, free)


async def test_an_address_that_is_not_here() -> None:
    """An address of another host cannot be bound."""
    with pytest.raises(OSError):
        await network.listen("192.0.2.1", 0)


class OldSystem(trio.abc.SocketFactory):
    """Makes sockets as a system without IPv6 does."""

    def socket(self, family: Any = socket.AF_INET, *kind: Any) -> Any:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return trio.socket.from_stdlib_socket(socket.socket(family, *kind))


async def test_a_system_without_ipv6(resolver: Resolver) -> None:
    """An IPv6 address that a name also stands for does no harm where there is no IPv6."""
    trio.socket.set_custom_hostname_resolver(resolver)
    trio.socket.set_custom_socket_factory(OldSystem())
    for addresses in (("::1", "127.0.0.1"), ("127.0.0.1", "::1")):
        resolver.addresses = addresses
        listeners = await network.listen("several.test", 0)
        assert [network.bound(each).host for each in listeners] == ["127.0.0.1"]
        await close(*listeners)
    with pytest.raises(OSError) as caught:
        await network.listen("::1", 0)
    assert caught.value.errno == errno.EAFNOSUPPORT


async def test_cancelled_binding_leaves_nothing(resolver: Resolver) -> None:
    """Cancelled between two addresses, `listen` frees the first one."""
    trio.socket.set_custom_hostname_resolver(resolver)
    (probe,) = await network.listen("127.0.0.1", 0)
    port = network.bound(probe).port
    await close(probe)
    for after in range(8):
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:

                async def cancel(scope: trio.CancelScope = scope, after: int = after) -> None:
                    for _ in range(after):
                        await trio.lowlevel.checkpoint()
                    scope.cancel()

                nursery.start_soon(cancel)
                listeners = await network.listen("several.test", port)
                with trio.CancelScope(shield=True):
                    await close(*listeners)
    (again,) = await network.listen("127.0.0.1", port)
    await close(again)


async def test_nobody_listens_there() -> None:
    """A port where nobody listens is an OSError that says what the system said."""
    (listener,) = await network.listen("127.0.0.1", 0)
    port = network.bound(listener).port
    await close(listener)
    with pytest.raises(OSError, match="Connection refused"):
        await network.dial("127.0.0.1", port)


async def test_every_address_that_failed_is_told(resolver: Resolver) -> None:
    """Where a name stands for several addresses, the reason has what went wrong with each."""
    trio.socket.set_custom_hostname_resolver(resolver)
    with pytest.raises(OSError, match=r"127\.0\.0\.1.*refused; .*127\.0\.0\.2.*refused"):
        await network.dial("several.test", 1)


@pytest.mark.parametrize("host", ["a" * 64, "a..b", "\N{LATIN SMALL LETTER U WITH DIAERESIS}" * 70])
async def test_what_cannot_be_a_host_name(host: str) -> None:
    """A text that no name can be is an OSError like any other host that is not found."""
    with pytest.raises(OSError, match="cannot be a host name"):
        await network.dial(host, 3100)
    with pytest.raises(OSError, match="cannot be a host name"):
        await network.listen(host, 0)


@pytest.mark.parametrize(
    "name, address",
    [
        # An IPv4 peer of an IPv6 socket is an IPv4 peer.
        (("::ffff:192.0.2.7", 5, 0, 0), Address("192.0.2.7", 5)),
        # A link-local address is of use only with the interface that it is on.
        (("FE80::1%eth0", 5, 0, 2), Address("fe80::1%eth0", 5)),
    ],
)
def test_how_an_address_is_told(name: Any, address: Address) -> None:
    """One peer has one address, however its socket spells it."""
    with trio.socket.from_stdlib_socket(socket.socket()) as real:
        stream = trio.SocketStream(real)
        stream.socket = types.SimpleNamespace(getpeername=lambda: name)  # type: ignore[assignment]
        assert network.remote(stream) == address


async def test_a_peer_that_is_gone_has_no_address() -> None:
    """A connection whose other end has vanished is from an unspecified address."""
    near, far = trio.socket.socketpair()
    stream = trio.SocketStream(trio.socket.socket())
    near.close()
    far.close()
    assert network.remote(stream) == Address("0.0.0.0", 0)
    await stream.aclose()


@pytest.fixture
def default_timeout() -> Iterator[None]:
    """Have sockets wait for ten seconds, unless they are told otherwise."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(10)
    yield
    socket.setdefaulttimeout(before)


async def test_what_fits_is_sent_without_waiting(default_timeout: None) -> None:
    """As much as the buffers take is sent at once, and nothing to who is full or gone."""
    (listener,) = await network.listen("127.0.0.1", 0)
    near = await network.dial("127.0.0.1", network.bound(listener).port)
    far = await listener.accept()
    assert network.send_now(near, b"hello") == 5
    assert await far.receive_some() == b"hello"
    much = b"x" * 2**20
    taken = [network.send_now(near, much)]
    begun = time.monotonic()
    while taken[-1]:
        taken.append(network.send_now(near, much))
    assert time.monotonic() - begun < 5
    read = 0
    while read < sum(taken):
        read += len(await far.receive_some())
    # Trio can send on it as before.
    await near.send_all(b"bye")
    assert await far.receive_some() == b"bye"
    await close(far, listener)
    await near.send_all(b"nobody is there, and says so")
    with pytest.raises(trio.BrokenResourceError):
        await near.send_all(b"hello")
    assert network.send_now(near, b"hello") == 0
    await near.aclose()


def test_this_hosts_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """This host's address is that of the way to others: IPv4, else IPv6, else loopback."""

    class Probe:
        reachable: tuple[int, ...] = ()

        def __init__(self, family: int, kind: int) -> None:
            self.family = family

        def connect(self, _: object) -> None:
            if self.family not in self.reachable:
                raise OSError(errno.ENETUNREACH, "Network is unreachable")

        def getsockname(self) -> Any:
            return ("10.0.0.7", 1) if self.family == socket.AF_INET else ("2001:db8::7", 1, 0, 0)

        def close(self) -> None:
            pass

    monkeypatch.setattr(socket, "socket", Probe)
    assert network.own_address() == "127.0.0.1"
    Probe.reachable = (socket.AF_INET6,)
    assert network.own_address() == "2001:db8::7"
    Probe.reachable = (socket.AF_INET6, socket.AF_INET)
    assert network.own_address() == "10.0.0.7"


def test_addresses() -> None:
    """Addresses read as people write them, and tell whom they reach."""
    assert str(Address("10.0.0.1", 3100)) == "10.0.0.1:3100"
    assert str(Address("::1", 3100)) == "[::1]:3100"
    assert [Address(host, 1).is_wildcard for host in ("0.0.0.0", "::", "::1")] == [
        True,
        True,
        False,
    ]
    loopback = [Address(host, 1).is_loopback for host in ("127.0.0.1", "::1", "10.0.0.1")]
    assert loopback == [True, True, False]


@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("::1", marks=needs_ipv6)])
async def test_two_manifests_over_sockets(host: str) -> None:
    """Two manifests find each other's services over real sockets, and leave nothing bound."""
    async with open_manifest() as a, open_manifest() as b:
        listener = await a.listen(port=0, host=host)
        assert (listener.service.address, listener.service.port) == (host, listener.port)
        link = b.connect(port=listener.port, host=host)
        with trio.fail_after(5):
            await link.wait_synced()
            service = b.register("web@1.2.3", {"zone": "eu"}, port=8080)
            assert service.address == host
            assert await a.wait_for("web@^1") == {service.id: service}
            port = listener.port
            listener.close()
            again = await a.listen(port=port, host=host)
            assert again.port == port
    with pytest.raises(OSError):
        await network.dial(host, port)


async def test_a_port_is_free_when_the_manifest_has_closed() -> None:
    """When `aclose` has returned, the port can be bound by anybody else."""
    async with open_manifest() as a, open_manifest() as b:
        listener = await a.listen(port=0, host="127.0.0.1")
        await a.aclose()
        await b.listen(port=listener.port, host="127.0.0.1")


async def test_no_host_of_that_name() -> None:
    """A link to a name that cannot be one waits with a reason, and raises nothing."""
    async with open_manifest() as m:
        link = m.connect(host="a" * 64)
        status = await link.wait_changed()
        while status.state is LinkState.DIALLING:
            status = await link.wait_changed()
        assert status.reason is not None
        assert "cannot be a host name" in status.reason


async def test_two_manifests_under_tls_over_sockets(tmp_path: Path) -> None:
    """Members meet over real sockets, a stranger stays outside, and nothing is left bound."""
    inside = TLS.load(**write(tmp_path, signed("localhost", "127.0.0.1")))
    stranger = member(leaf=signed("127.0.0.1", by=THEIRS))
    async with (
        open_manifest(tls=inside) as a,
        open_manifest(tls=inside) as b,
        open_manifest(tls=stranger) as c,
        open_manifest() as d,
    ):
        listener = await a.listen(port=0, host="127.0.0.1")
        assert a.id != b.id
        with trio.fail_after(10):
            for host in ("127.0.0.1", "localhost"):
                await b.connect(port=listener.port, host=host).wait_synced()
            service = b.register("web", {"large": ["x" * 100] * 100}, port=8080)
            assert service.address == "127.0.0.1"
            assert await a.wait_for("web") == {service.id: service}
            for outside, why in (
                (c, "it is signed by another CA"),
                (d, "the peer said: this manifest speaks TLS alone"),
            ):
                with pytest.raises(LinkRefused, match=why):
                    await outside.connect(port=listener.port).wait_synced()
    with pytest.raises(OSError):
        await network.dial("127.0.0.1", listener.port)


@pytest.mark.parametrize("side", ["client", "server"])
async def test_a_refused_end_learns_why_over_sockets(side: str) -> None:
    """The reason is not lost in the reset of a connection that is closed over unread bytes."""
    good = member("127.0.0.1")
    bad = attrs.evolve(good, **{side: getattr(member(leaf=signed("127.0.0.1", by=THEIRS)), side)})
    dialling, accepting = (bad, good) if side == "client" else (good, bad)
    async with open_manifest(tls=accepting) as a, open_manifest(tls=dialling) as b:
        listener = await a.listen(port=0, host="127.0.0.1")
        link = b.connect(port=listener.port)
        with trio.fail_after(10), pytest.raises(LinkRefused, match="signed by another CA"):
            await link.wait_synced()


async def test_a_port_that_others_can_reach_is_warned_of_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Listening beyond loopback in plain is told in the log, once, with what it exposes."""
    async with open_manifest() as plain, open_manifest(tls=member("localhost")) as secure:
        await plain.listen(port=0, host="127.0.0.1")
        await secure.listen(port=0)
        assert caplog.records == []
        for _ in range(2):
            await plain.listen(port=0)
        (warning,) = caplog.records
        assert warning.levelname == "WARNING"
        assert re.search(r"listening on 0\.0\.0\.0:\d+ without TLS: whoever can", warning.message)


async def test_no_thread_to_look_up_a_name_is_a_failure_of_that_dial(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A machine that has no thread left loses this attempt, and not the manifest."""

    async def none_left(*_: object, **__: object) -> None:
        await trio.lowlevel.checkpoint()
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(trio, "open_tcp_stream", none_left)
    with pytest.raises(OSError, match="cannot be looked up: can't start new thread"):
        await TcpNetwork().dial("somewhere.invalid", 3100)
