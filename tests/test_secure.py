"""Manifests under TLS on simulated hosts: who gets in, who is told what, and what a cut leaves."""

from __future__ import annotations

import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from manifest import TLS, Link, LinkState, Manifest, Refusal, Timeouts, open_manifest
from manifest.errors import LinkError, LinkRefused
from manifest.network import Stream
from manifest.secure import SecureNetwork, SecureStream
from manifest.session import Session
from manifest.testing import Conditions, SimulatedNetwork, StreamEnd, Trace

from .certificates import THEIRS, context, expired, member, signed, write
from .simulated import until

A, B, C = "10.0.0.1", "10.0.0.2", "10.0.0.3"
GOOD = member(A, B, C)


def on(
    network: SimulatedNetwork, host: str, tls: TLS | None = GOOD, **options: Any
) -> AbstractAsyncContextManager[Manifest]:
    """Return a manifest on a host, to be entered."""
    return open_manifest(environment=network.host(host).environment(), tls=tls, **options)


def reason_of(link: Link) -> str:
    """Return the reason in a link's status."""
    assert link.status.reason is not None
    return link.status.reason


# Who gets in


@pytest.mark.parametrize(
    "conditions",
    [Conditions(), Conditions(latency=(0.001, 0.05), capacity=1000, fragmented=0.7)],
)
async def test_members_link_and_nothing_is_readable_under_way(
    conditions: Conditions, autojump_clock: MockClock
) -> None:
    """Registrations pass both ways under TLS, also in pieces, and none of it can be read."""
    trace = Trace(keep=True)
    network = SimulatedNetwork(7, conditions, trace=trace)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(network.deliver)
        async with on(network, A) as a, on(network, B, name="secret-name") as b:
            await a.listen(host=A)
            link = b.connect(host=A)
            await link.wait_synced()
            there = a.register("secret-role@1.2.3", {"note": "secret data" * 500})
            assert await b.wait_for("secret-role@^1") == {there.id: there}
            here = b.register("secret-other")
            assert await a.wait_for("secret-other") == {here.id: here}
            assert [each.status.peer_name for each in a.links] == ["secret-name"]
            b_id = b.id
            await b.aclose()
            assert reason_of(link) == "the manifest was closed"
            await until(lambda: not a.links)
            assert b_id not in a.services()
        nursery.cancel_scope.cancel()
    assert sum(network.transmitted.values()) > 5_000
    assert not any(b"secret" in each.data for each in trace.record)


def bare(leaf_names: tuple[str, ...] = (A, B)) -> TLS:
    """Return what shows no certificate to those that it dials."""
    server = context(ssl.PROTOCOL_TLS_SERVER, signed(*leaf_names))
    return TLS(server=server, client=context(ssl.PROTOCOL_TLS_CLIENT, None))


PLAIN = "the peer does not speak TLS, and this manifest does"
SPEAKS = "the peer speaks TLS, and this manifest does not"
TOLD = "the peer said: this manifest speaks TLS alone, and what came does not"


@pytest.mark.parametrize(
    "listening, dialling, accepted, dialled",
    [
        (
            GOOD, member(leaf=signed(A, B, by=THEIRS)),
            "the peer's certificate is signed by another CA", "the peer refused this side's cert",
        ),
        (
            member(leaf=signed(A, B, by=THEIRS)), GOOD,
            "the peer refused this side's certificate: it", "the peer's certificate is signed by",
        ),
        (GOOD, bare(), "the peer presented no certificate", "the peer wants a certificate and th"),
        (
            GOOD, member(leaf=expired(A, B)),
            "the peer's certificate has expired", "the peer refused this side's certificate: it h",
        ),
        (member(B), GOOD, "the peer refused this side's", f"the peer's certificate is not for {A}"),
        (
            member(A, "x.internal", peer_name="x.internal"), GOOD,
            f"the peer's certificate is for {A}, {B}, {C}, and not for x.internal",
            "the peer said: your certificate",
        ),
        (GOOD, None, PLAIN, TOLD),
        (None, GOOD, SPEAKS, PLAIN),
    ],
)  # fmt: skip
async def test_who_does_not_belong_is_refused_with_a_reason_at_both_ends(
    *,
    listening: TLS | None,
    dialling: TLS | None,
    accepted: str,
    dialled: str,
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """No entry passes, both logs and the link's status say why, and it is dialled less often."""
    network = SimulatedNetwork(1, Conditions(latency=(0.001, 0.01)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(network.deliver)
        async with on(network, A, listening) as a, on(network, B, dialling) as b:
            await a.listen(host=A)
            a.register("inside")
            b.register("outside")
            link = b.connect(host=A)
            with pytest.raises(LinkRefused, match=f"is refused: {dialled}"):
                await link.wait_synced()
            assert link.status.state is LinkState.REFUSED
            assert reason_of(link).startswith(dialled)
            await trio.sleep(120)
            assert (a.get("outside"), b.get("inside")) == ({}, {})
            assert link.status.peer is None
            # As for every refusal, pauses of up to 15 s.
            assert 5 < len(network.host(B).dials) < 40
            refused = a.statistics().refused.get(Refusal.TLS, 0)
            assert refused == pytest.approx(len(network.host(B).dials), abs=1)
            said = {
                each.message.partition(":")[0]: each.message
                for each in caplog.records
                if each.levelno == logging.WARNING
            }
            assert said[a.id].startswith(f"{a.id}: link from {B}: {accepted}")
            assert said[b.id].startswith(f"{b.id}: link to {A}:3100: {dialled}")
        nursery.cancel_scope.cancel()


async def test_certificates_are_replaced_while_it_runs(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    """New connections use new files, one CA gives way to another, and links that are up stay up."""
    files = write(tmp_path / "a", signed(A, B))
    tls_a, tls_b = TLS.load(**files), TLS.load(**write(tmp_path / "b", signed(A, B)))
    network = SimulatedNetwork()
    later = member(leaf=signed(A, B, C, by=THEIRS), trusted=THEIRS)
    async with on(network, A, tls_a) as a, on(network, B, tls_b) as b, on(network, C, later) as c:
        await a.listen(host=A)
        link = b.connect(host=A)
        await link.wait_synced()
        with pytest.raises(LinkRefused):
            await c.connect(host=A).wait_synced()
        write(tmp_path / "a", signed(A, B, by=THEIRS), trusted=THEIRS)
        (refused,) = c.links
        await until(lambda: refused.status.state is LinkState.SYNCED)
        assert link.status.state is LinkState.SYNCED
        service = b.register("web")
        assert await a.wait_for("web") == {service.id: service}
        network.cut(A, B)
        await until(lambda: link.status.state is LinkState.REFUSED)
        assert "signed by another CA" in reason_of(link)
        write(tmp_path / "b", signed(A, B, by=THEIRS), trusted=THEIRS)
        await until(lambda: link.status.state is LinkState.SYNCED)


# Silence, cuts and closes


async def test_a_handshake_that_never_ends_holds_up_nobody(autojump_clock: MockClock) -> None:
    """Peers that are silent are dropped after `timeouts.handshake`; others get in meanwhile."""
    network = SimulatedNetwork()
    async with on(network, A, timeouts=Timeouts(handshake=4.0)) as a, on(network, B) as b:
        await a.listen(host=A)
        silent = [await network.host(C).dial(A, 3100) for _ in range(50)]
        half = Session(GOOD, A)
        half.start()
        await silent[0].send_all(half.bytes_to_send()[:100])
        begun = trio.current_time()
        await b.connect(host=A).wait_synced()
        assert trio.current_time() == begun
        assert len(a.links) == 51
        for each in silent:
            await read_to_end(each)
        assert trio.current_time() - begun == pytest.approx(4.0, abs=0.1)
        await until(lambda: len(a.links) == 1)


async def test_a_listener_that_never_answers_is_given_up(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever dials a port that accepts and says nothing is told after `timeouts.handshake`."""
    network = SimulatedNetwork()
    (listener,) = await network.host(A).listen(A, 3100)
    async with on(network, B) as b:
        link = b.connect(host=A)
        silent = await listener.accept()
        assert await until(lambda: link.status.state is LinkState.WAITING) == pytest.approx(10, 0.1)
        assert reason_of(link) == "no Hello from the peer within 10 s"
        await silent.aclose()
    await listener.aclose()


async def test_a_peer_that_hangs_up_in_the_handshake(autojump_clock: MockClock) -> None:
    """A peer that goes in the middle of the handshake is not refused, and is dialled again soon."""
    network = SimulatedNetwork()
    (listener,) = await network.host(A).listen(A, 3100)
    async with on(network, B) as b:
        link = b.connect(host=A)
        for hang_up in (close_in_order, reset):
            peer = await listener.accept()
            assert isinstance(peer, StreamEnd)
            await peer.receive_some()
            await hang_up(peer)
            await until(lambda: link.status.state is LinkState.WAITING)
            assert "in the TLS handshake" in reason_of(link)
        assert b.statistics().refused == {}
    await listener.aclose()


async def close_in_order(peer: StreamEnd) -> None:
    """Close a stream as a process that ends does."""
    await peer.aclose()


async def reset(peer: StreamEnd) -> None:
    """Break a stream."""
    peer.reset()
    await trio.lowlevel.checkpoint()


async def test_a_cut_at_any_byte_applies_nothing_by_halves(autojump_clock: MockClock) -> None:
    """Wherever a link is cut, in the handshake or behind it, the redial finds both sides whole."""
    network = SimulatedNetwork()
    async with on(network, A) as a, on(network, B) as b:
        await a.listen(host=A)
        for number in range(20):
            a.register(f"a{number}", {"n": number})
        # Some 3,000 bytes each way, so that the cuts fall into every message, and beyond them all.
        for after in range(1, 4_500, 61):
            link = b.connect(host=A)
            await until(lambda: bool(network.ends))
            network.cut(A, B, after=after)
            mine = b.register("b", {"after": after})
            await until(lambda link=link: link.status.state is LinkState.SYNCED)  # type: ignore[misc]
            await until(lambda mine=mine: a.services().get(mine.id) == mine)  # type: ignore[misc]
            await until(lambda: a.services() == b.services())
            b.free(mine)
            link.close()
            await until(lambda: not network.ends)
        assert a.statistics().refused == b.statistics().refused == {}


async def test_a_killed_peer_is_gone_without_a_word(autojump_clock: MockClock) -> None:
    """A process that is killed says nothing more; the link tells of it as it does without TLS."""
    network = SimulatedNetwork()
    async with on(network, A) as a:
        await a.listen(host=A)
        with trio.CancelScope() as killed:
            async with on(network, B) as b:
                await b.connect(host=A).wait_synced()
                (link,) = a.links
                network.host(B).crash()
                await until(lambda: not a.links)
                assert "connection reset by peer" in reason_of(link) or link.status.reason
                killed.cancel()


# Streams


@asynccontextmanager
async def streams(
    conditions: Conditions | None = None, tls: TLS = GOOD
) -> AsyncIterator[tuple[Stream, Stream]]:
    """Dial a secure listener, and give both ends of the stream for the time of a block."""
    network = SimulatedNetwork(3, conditions)
    near, far = (SecureNetwork(network.host(name), tls) for name in (A, B))
    (listener,) = await far.listen(B, 0)
    bound = far.bound(listener)
    assert (bound.host, far.own_address(), near.own_address()) == (B, B, A)
    dialled = await near.dial(B, bound.port)
    accepted = await listener.accept()
    assert near.remote(dialled) == bound
    assert far.remote(accepted).host == A
    async with trio.open_nursery() as nursery:
        nursery.start_soon(network.deliver)
        yield dialled, accepted
        nursery.cancel_scope.cancel()
    await dialled.aclose()
    await accepted.aclose()
    await listener.aclose()


async def read_to_end(stream: Stream) -> bytes:
    """Return all that arrives until the end."""
    found = b""
    while data := await stream.receive_some():
        found += data
    return found


async def say(stream: Stream, *texts: bytes) -> None:
    """Send texts, and that no more comes."""
    for text in texts:
        await stream.send_all(text)
    await stream.send_eof()


async def test_a_stream_ends_in_each_direction_by_itself(autojump_clock: MockClock) -> None:
    """Bytes and ends pass both ways at once, in small pieces, through little room."""
    conditions = Conditions(latency=(0.001, 0.01), capacity=100, fragmented=0.9)
    tls = member(A, B, tickets=4)
    async with streams(conditions, tls) as (near, far), trio.open_nursery() as nursery:
        nursery.start_soon(say, near, b"short")
        nursery.start_soon(say, far, b"", b"x" * 50_000, b"y" * 50_000)
        assert await read_to_end(far) == b"short"
        assert await read_to_end(near) == b"x" * 50_000 + b"y" * 50_000
        await near.wait_send_all_might_not_block()


async def test_a_receive_that_is_cancelled_loses_nothing(autojump_clock: MockClock) -> None:
    """A reader that gives up again and again, from before the handshake on, misses no byte."""
    conditions = Conditions(latency=(0.001, 0.01), capacity=50, fragmented=0.5)
    async with streams(conditions) as (near, far), trio.open_nursery() as nursery:
        nursery.start_soon(say, near, b"".join(b"%06d" % number for number in range(500)))
        nursery.start_soon(say, far)
        found = b""
        cancelled = 0
        while len(found) < 3_000:
            with trio.move_on_after(0.004) as scope:
                found += await far.receive_some(1000)
            cancelled += scope.cancelled_caught
        assert found == b"".join(b"%06d" % number for number in range(500))
        assert cancelled > 20


@pytest.mark.parametrize("shaken", [False, True])
async def test_a_send_that_was_cancelled_is_never_continued(
    shaken: bool, autojump_clock: MockClock
) -> None:
    """After a send that was cut short, in the handshake or later, there is only the close."""
    async with streams(Conditions(capacity=200)) as (near, far), trio.open_nursery() as nursery:
        if shaken:
            nursery.start_soon(far.send_all, b"hello")
            await near.send_all(b"hello")
        assert isinstance(near, SecureStream)
        with trio.move_on_after(1) as scope:
            await near.send_all(b"x" * 1000)
        assert scope.cancelled_caught
        end = near.transport
        assert isinstance(end, StreamEnd)
        sent = end.outbound.unread
        for again in (partial(near.send_all, b"more"), near.send_eof):
            with pytest.raises(trio.BrokenResourceError):
                await again()
        assert end.outbound.unread == sent
        if not shaken:
            with pytest.raises(trio.BrokenResourceError):
                await near.receive_some()


async def test_a_close_is_forceful(autojump_clock: MockClock) -> None:
    """Closing a stream sends nothing, not even that it ends; the other end sees a bare end."""
    async with streams() as (near, far), trio.open_nursery() as nursery:
        nursery.start_soon(near.send_all, b"hello")
        await far.send_all(b"hello")
        assert await far.receive_some() == b"hello"
        assert await near.receive_some() == b"hello"
        assert isinstance(far, SecureStream)
        await trio.aclose_forcefully(near)
        assert await far.transport.receive_some() == b""
        assert await far.receive_some() == b""
        with pytest.raises(trio.ClosedResourceError):
            await near.send_all(b"more")


async def test_whoever_sends_after_a_fault_is_told_of_it(autojump_clock: MockClock) -> None:
    """A record that was tampered with breaks the stream for the reader and for the writer."""
    async with streams() as (near, far), trio.open_nursery() as nursery:
        nursery.start_soon(near.send_all, b"hello")
        await far.send_all(b"hello")
        assert await far.receive_some() == b"hello"
        assert isinstance(near, SecureStream)
        await near.transport.send_all(b"\x17\x03\x03\x00\x15" + b"x" * 0x15)
        for use in (far.receive_some, partial(far.send_all, b"more")):
            with pytest.raises(trio.BrokenResourceError) as caught:
                await use()
            assert isinstance(caught.value.__cause__, LinkError)


async def test_a_refused_peer_that_never_hangs_up_is_left_after_a_second(
    autojump_clock: MockClock,
) -> None:
    """What a refused peer goes on sending is read and thrown away, for a second and no longer."""
    network = SimulatedNetwork()
    far = SecureNetwork(network.host(B), GOOD)
    (listener,) = await far.listen(B, 3100)
    flood = await network.host(A).dial(B, 3100)
    accepted = await listener.accept()
    async with trio.open_nursery() as nursery:

        async def send_for_ever() -> None:
            while True:
                await flood.send_all(b"\x00" * 100)
                await trio.sleep(0.01)

        nursery.start_soon(send_for_ever)
        begun = trio.current_time()
        with pytest.raises(trio.BrokenResourceError) as caught:
            await accepted.send_all(b"hello")
        assert isinstance(caught.value.__cause__, LinkRefused)
        assert trio.current_time() - begun == pytest.approx(1.0)
        with pytest.raises(trio.BrokenResourceError) as caught:
            await accepted.send_all(b"hello")
        assert isinstance(caught.value.__cause__, LinkRefused)
        nursery.cancel_scope.cancel()
    for each in (flood, accepted, listener):
        await each.aclose()


async def test_a_host_that_can_be_in_no_certificate_is_not_dialled() -> None:
    """Such a host is an OSError like any other that is not found, and nothing is connected."""
    network = SimulatedNetwork()
    near = SecureNetwork(network.host(A), GOOD)
    with pytest.raises(OSError, match=r"'a\.\.b' cannot be a name in a certificate"):
        await near.dial("a..b", 3100)
    assert network.host(A).dials == []
