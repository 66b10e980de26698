"""The main job between real processes over real sockets, held to the clock."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
import trio

import manifest
from manifest import Limits, LinkState

from .processes import HEARTBEAT, LIFETIME, Process, worker

pytestmark = pytest.mark.xdist_group("processes")


@asynccontextmanager
async def ring(count: int, **options: Any) -> AsyncIterator[list[Process]]:
    """Run workers of which each has dialled the next, for the time of a block."""
    async with AsyncExitStack() as stack:
        members = [await stack.enter_async_context(worker(**options)) for _ in range(count)]
        for index, member in enumerate(members):
            await member.ask("connect", port=members[(index + 1) % count].port)
        for member in members:
            await member.ask("synced")
            await member.ask("until", role="manifest", count=count)
        yield members


async def test_a_ring_shows_a_registration_to_all_and_sends_no_entry_back() -> None:
    """In a ring of three, both others see a registration, and its source never gets it back."""
    async with ring(3) as (first, second, third):
        [id] = await first.ask("register", count=1, role="web@1.2.3")
        for other in (second, third):
            await other.ask("until", role="web@^1", count=1)
            assert [service["id"] for service in await other.ask("services")] == [id]
        await first.ask("register", count=500, role="more")
        for other in (second, third):
            await other.ask("until", role="more", count=500)
        links = (await first.ask("statistics"))["links"]
        assert len(links) == 2
        # What the others sent to the source is their own `manifest@...` and nothing besides.
        assert sum(link["traffic"]["entries_received"] for link in links) == 2
        assert sum(link["traffic"]["entries_redundant"] for link in links) <= 2


async def test_a_free_is_seen_at_once() -> None:
    """A freed service is gone elsewhere long before its owner's lease could lapse."""
    async with ring(3, heartbeat_interval=5.0, registration_lifetime=5.0) as (first, *others):
        [id] = await first.ask("register", count=1, role="web")
        for other in others:
            await other.ask("until", role="web", count=1)
        freed = time.time()
        await first.ask("free", id=id)
        for other in others:
            assert await other.ask("until", role="web", count=0) - freed < 1


async def test_the_services_of_a_killed_owner_lapse_in_time_and_not_before() -> None:
    """After kill -9 they stay for the lifetime, and are gone within heartbeat, lifetime and 1 s."""
    async with ring(3) as (first, *others):
        await first.ask("register", count=5, role="web")
        for other in others:
            await other.ask("until", role="web", count=5)
        killed = await first.kill()
        for other in others:
            gone = await other.ask("until", role="web", count=0) - killed
            assert LIFETIME - 0.1 < gone < HEARTBEAT + LIFETIME + 1


async def test_an_owner_that_closes_takes_its_services_along_at_once() -> None:
    """A graceful leave is seen at once, however long the lease."""
    async with ring(3, heartbeat_interval=5.0, registration_lifetime=5.0) as (first, *others):
        await first.ask("register", count=5, role="web")
        for other in others:
            await other.ask("until", role="web", count=5)
        left = await first.leave()
        for other in others:
            assert await other.ask("until", role="web", count=0) - left < 2
            assert await other.ask("until", role="manifest", count=2) - left < 2


async def test_a_fresh_node_holds_ten_thousand_services_exactly() -> None:
    """A process that connects to one with 10,000 services of 100 roles holds all, as they are."""
    async with worker() as old, worker() as new:
        ids = await old.ask("register", count=10_000, role="role", roles=100)
        await new.ask("connect", port=old.port)
        await new.ask("synced")
        services = await new.ask("services")
        assert {service["id"] for service in services} == set(ids)
        assert sorted(services, key=_by_id) == sorted(await old.ask("services"), key=_by_id)


def _by_id(service: dict[str, Any]) -> str:
    return str(service["id"])


@pytest.mark.parametrize("frame_bytes", [1024, 1500, 4096, 65536])
async def test_none_is_lost_at_any_frame_limit(frame_bytes: int) -> None:
    """At the smallest frame limit and above, with the link cut on the way, all 10,000 arrive."""
    limits = Limits(frame_bytes=frame_bytes, record_bytes=256)
    async with (
        manifest.open_manifest(limits=limits) as old,
        manifest.open_manifest(limits=limits) as new,
    ):
        listener = await old.listen(port=0, host="127.0.0.1")
        for n in range(10_000):
            old.register(f"role-{n % 100}@1.0.{n % 7}", {"n": n}, port=1024 + n)
        async with trio.open_nursery() as nursery:
            cuts = [frame_bytes // 3, 10_000, 60_001, 123_457]
            port = await nursery.start(_cutting_proxy, listener.port, cuts)
            link = new.connect(port=port)
            with trio.fail_after(30):
                await link.wait_synced()
            assert not cuts, "the link was cut as often as it was to be"
            nursery.cancel_scope.cancel()
        assert new.services() == old.services()
        assert len(new.services()) == 10_001


async def _cutting_proxy(
    target: int, cuts: list[int], task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED
) -> None:
    """Forward connections to a port; cut each of the first ones after so many bytes from there."""

    async def forward(source: trio.SocketStream, sink: trio.SocketStream, left: float) -> None:
        try:
            while left > 0 and (data := await source.receive_some(16384)):
                await sink.send_all(data[: int(min(left, len(data)))])
                left -= len(data)
        except trio.BrokenResourceError:
            pass

    async def serve(client: trio.SocketStream) -> None:
        left = cuts.pop(0) if cuts else float("inf")
        async with (
            client,
            await trio.open_tcp_stream("127.0.0.1", target) as server,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(forward, client, server, float("inf"))
            await forward(server, client, left)
            nursery.cancel_scope.cancel()

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    task_status.started(listeners[0].socket.getsockname()[1])
    await trio.serve_listeners(serve, listeners)


async def test_the_clients_of_a_restarted_hub_are_back_within_two_seconds() -> None:
    """A killed hub comes back; so do its clients, and neither the freed nor the dead return."""
    async with AsyncExitStack() as stack:
        hub = await stack.enter_async_context(worker())
        spokes = [await stack.enter_async_context(worker(listen=None)) for _ in range(4)]
        for spoke in spokes:
            await spoke.ask("connect", port=hub.port)
            await spoke.ask("synced")
            await spoke.ask("register", count=1, role="web")
        [freed] = await spokes[0].ask("register", count=1, role="freed")
        for spoke in spokes:
            await spoke.ask("until", role="web", count=4)
            await spoke.ask("until", role="freed", count=1)
        await hub.kill()
        await spokes[0].ask("free", id=freed)
        await spokes[3].kill()
        # Long enough for the redialling to have backed off, and for the dead one's lease to lapse.
        await spokes[1].ask("until", role="web", count=1)
        hub = await stack.enter_async_context(worker(listen=hub.port))
        back = time.time()
        for spoke in spokes[:3]:
            await spoke.ask("until_state", state=LinkState.SYNCED)
            assert await spoke.ask("until", role="web", count=3) - back < 2
            await spoke.ask("until", role="freed", count=0)
        assert await hub.ask("until", role="web", count=3) - back < 2
        assert {service["role"] for service in await hub.ask("services")} == {"web"}


async def test_a_peer_whose_clock_is_off_is_refused_on_both_sides() -> None:
    """Each side says which two clocks disagree and what to do about it."""
    async with worker() as right, worker(wall_ahead=3600.0) as wrong:
        await wrong.ask("connect", port=right.port)
        [status] = await wrong.ask("until_state", state=LinkState.REFUSED)
        assert "clocks are 3600" in status["reason"]
        assert right.id in status["reason"]
        assert wrong.id in status["reason"]
        assert "NTP" in status["reason"]
        assert (await right.ask("statistics"))["refused"]["clock"] >= 1
        assert (await wrong.ask("statistics"))["refused"]["clock"] >= 1
        assert await right.ask("services") == []
