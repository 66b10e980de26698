"""Links: what they do when peers are down, come back, refuse, are silent, slow or break rules."""

import logging
import math
from itertools import pairwise

import pytest
import trio
from trio.testing import MockClock

import manifest
from manifest import Link, LinkState, Manifest, open_manifest
from manifest.errors import LinkError, LinkRefused
from manifest.frames import frame
from manifest.link import SupervisedLink
from manifest.messages import Bye, Gossip, Hello, Synced
from manifest.refusals import Refusal
from manifest.testing import Conditions, SimulatedNetwork, StreamEnd
from manifest.wire import encode_message

from .simulated import Puppet, pausable, running, until

A, B, C = "10.0.0.1", "10.0.0.2", "10.0.0.3"


def reason_of(link: Link) -> str:
    """Return the reason in a link's status."""
    assert link.status.reason is not None
    return link.status.reason


async def state_of(link: Link, state: LinkState, within: float = 60.0) -> float:
    """Wait until a link is in a state; return how long that took."""
    return await until(lambda: link.status.state is state, within=within)


async def hears_bye(puppet: Puppet) -> Bye | None:
    """Return the Bye that ends a stream, read to its end, or None where it ends without one."""
    last = None
    while True:
        data = await puppet.end.receive_some()
        if not data:
            return last
        for message in puppet.protocol.receive_data(data):
            last = message if isinstance(message, Bye) else last


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return which manifests logged warnings, once for each."""
    warnings = [each.message for each in caplog.records if each.levelno == logging.WARNING]
    return sorted(text.partition(":")[0] for text in warnings)


async def kinds_of(events: manifest.Subscription, into: list[type]) -> None:
    """Note what kind of event comes, one by one, registrations and heartbeats apart."""
    async for event in events:
        if not isinstance(event, manifest.Registered | manifest.Heartbeat):
            into.append(type(event))  # noqa: PERF401 - read while it goes on


# Nobody there


async def test_nobody_there_is_a_status_and_no_exception(autojump_clock: MockClock) -> None:
    """A link to nobody says why it waits and how often it failed; nothing is raised."""
    network = SimulatedNetwork()
    async with open_manifest(environment=network.host(A).environment()) as m:
        link = m.connect(host=B)
        assert repr(link) == "<Link to 10.0.0.2:3100 dialling>"
        await trio.sleep(10)
        assert link.status.reason == "could not connect: [Errno 111] Connection refused"
        assert link.status.failures > 5
        assert repr(link) == "<Link to 10.0.0.2:3100 waiting>"
        assert (link.status.peer, link.traffic.bytes_sent) == (None, 0)


async def test_a_peer_that_comes_up_later_is_found(autojump_clock: MockClock) -> None:
    """A peer that starts long after the link was made is linked within the longest pause."""
    network = SimulatedNetwork()
    async with open_manifest(environment=network.host(A).environment()) as m:
        link = m.connect(host=B)
        await trio.sleep(1000)
        async with open_manifest(environment=network.host(B).environment()) as late:
            await late.listen()
            assert await state_of(link, LinkState.SYNCED) <= 1.02
            assert (link.status.peer, link.status.failures) == (late.id, 0)
            assert link.status.reason is None


async def test_pauses_grow_to_their_cap_with_full_jitter(autojump_clock: MockClock) -> None:
    """The pauses between dials grow, stay under `redial`, and differ from manifest to manifest."""
    network = SimulatedNetwork()
    hosts = [network.host(A), network.host(B)]
    timeouts = manifest.Timeouts(redial=4.0)
    for host in hosts:
        async with open_manifest(environment=host.environment(), timeouts=timeouts) as m:
            m.connect(host=C)
            await trio.sleep(400)
    pauses = [[later - earlier for earlier, later in pairwise(host.dials)] for host in hosts]
    assert pauses[0][:5] != pauses[1][:5]
    for each in pauses:
        assert 0.0099 < min(each) <= max(each) <= 4.0
        assert max(each[:3]) <= 0.4
        assert 1.5 < sum(each[10:]) / len(each[10:]) < 2.5


async def test_a_dial_that_hangs_is_given_up(autojump_clock: MockClock) -> None:
    """A dial without an answer is given up after `timeouts.dial`, and tried again."""
    network = SimulatedNetwork()
    network.host(B).hangs.add(3100)
    async with open_manifest(environment=network.host(A).environment()) as m:
        link = m.connect(host=B)
        assert 2.9 < await state_of(link, LinkState.WAITING) < 3.1
        assert link.status.reason == "no answer within 3 s"
        network.host(B).hangs.clear()
        async with open_manifest(environment=network.host(B).environment()) as there:
            await there.listen()
            await link.wait_synced()


# Back again


async def test_the_clients_of_a_restarted_hub_are_back_within_two_seconds(
    autojump_clock: MockClock,
) -> None:
    """A hub is killed and restarted: all clients are back, and the freed and the dead stay away."""
    network = SimulatedNetwork()
    clients: list[Manifest] = []
    async with trio.open_nursery() as nursery:

        async def client(host: str) -> None:
            environment = network.host(host).environment()
            async with open_manifest(environment=environment) as m:
                clients.append(m)
                m.connect(host=A)
                await trio.sleep_forever()

        for number in range(5):
            nursery.start_soon(client, f"10.0.1.{number}")
        async with running(network.host(A)) as hub:
            await hub.manifest.listen()
            await until(lambda: all(m.links and m.links[0].status.peer for m in clients))
            services = [m.register("web", port=80) for m in clients]
            hub.manifest.register("of-the-hub", port=81)
            await until(lambda: len(clients[0].get("of-the-hub")) == 1)
            await hub.kill()
        clients[0].free(services[0])
        await trio.sleep(12)
        network.host(A).come_back()
        async with running(network.host(A)) as hub:
            await hub.manifest.listen()
            back = await until(
                lambda: all(m.links[0].status.state is LinkState.SYNCED for m in clients)
            )
            assert back < 2
            await until(lambda: all(len(m.get("web")) == 4 for m in (*clients, hub.manifest)))
            assert not any(m.get("of-the-hub") for m in (*clients, hub.manifest))
            nursery.cancel_scope.cancel()


async def test_traffic_counts_all_connections_of_a_link(autojump_clock: MockClock) -> None:
    """What passed over a link, and over all links, does not start anew with each connection."""
    network = SimulatedNetwork()
    async with (
        open_manifest(environment=network.host(A).environment()) as a,
        open_manifest(environment=network.host(B).environment()) as b,
    ):
        await a.listen()
        link = b.connect(host=A)
        await link.wait_synced()
        before, total = link.traffic, a.statistics()
        network.cut(A, B)
        await state_of(link, LinkState.WAITING)
        await link.wait_synced()
        assert link.traffic.bytes_sent > before.bytes_sent
        assert a.statistics().bytes_sent > total.bytes_sent
        assert b.statistics().bytes_received == a.statistics().bytes_sent


# Refused


async def test_another_cluster_is_refused_on_both_sides(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Both sides of a refused link say why in words, and the dialling one tries less often."""
    network = SimulatedNetwork()
    async with (
        open_manifest(environment=network.host(A).environment()) as a,
        open_manifest(environment=network.host(B).environment(), cluster="other") as b,
        a.events() as events,
    ):
        await a.listen()
        link = b.connect(host=A)
        await state_of(link, LinkState.REFUSED)
        assert "different clusters" in reason_of(link)
        for part in (a.id, '"manifest"', b.id, '"other"'):
            assert part in reason_of(link)
        await trio.sleep(200)
        dials = network.host(B).dials
        assert link.status.state is LinkState.REFUSED
        assert len(dials) < 60
        assert max(later - earlier for earlier, later in pairwise(dials)) > 5
        assert a.statistics().refused == {"cluster": len(dials)} == b.statistics().refused
        # Nobody was ever met, so nobody connected and nobody was lost.
        kinds = {type(await anext(events)) for _ in range(len(events))}
        assert kinds == {manifest.Registered, manifest.Heartbeat}
    assert warned(caplog) == sorted([a.id, b.id])


async def test_clocks_too_far_apart_are_refused_on_both_sides(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A clock that is off by more than the limit is refused with a message to act on."""
    network = SimulatedNetwork()
    network.host(B).clock.step(61)
    async with (
        open_manifest(environment=network.host(A).environment()) as a,
        open_manifest(environment=network.host(B).environment()) as b,
    ):
        await a.listen()
        link = b.connect(host=A)
        await state_of(link, LinkState.REFUSED)
        for part in ("clocks are 61.0 s apart", "may be 60 s", a.id, b.id, "2023-11-14 22:13:20"):
            assert part in reason_of(link)
        assert "2023-11-14 22:14:21" in reason_of(link)
        assert "set both machines' clocks" in reason_of(link)
        await trio.sleep(300)
        assert not a.links
    # Once on each side, though the time of day is another one at each attempt.
    assert warned(caplog) == sorted([a.id, b.id])


async def test_a_clock_just_within_the_limit_is_accepted(autojump_clock: MockClock) -> None:
    """Clocks that are a minute apart, less a second, are near enough."""
    network = SimulatedNetwork()
    network.host(B).clock.step(-59)
    async with (
        open_manifest(environment=network.host(A).environment()) as a,
        open_manifest(environment=network.host(B).environment()) as b,
    ):
        await a.listen()
        await b.connect(host=A).wait_synced()


async def test_oneself_is_refused(autojump_clock: MockClock) -> None:
    """A manifest that is told to connect to itself says so in the link's status."""
    network = SimulatedNetwork()
    async with open_manifest(environment=network.host(A).environment()) as m:
        await m.listen()
        link = m.connect()
        await state_of(link, LinkState.REFUSED)
        assert reason_of(link).endswith(f"this address is the manifest itself, {m.id}")


async def test_a_refusal_of_one_side_alone_reaches_the_other(autojump_clock: MockClock) -> None:
    """Where one side alone objects, the other is told why, has met it and has lost it again."""
    network = SimulatedNetwork()
    network.host(B).clock.step(30)
    async with (
        open_manifest(environment=network.host(A).environment(), max_clock_skew=10) as strict,
        open_manifest(environment=network.host(B).environment()) as lenient,
        lenient.events() as events,
    ):
        await strict.listen()
        link = lenient.connect(host=A)
        await state_of(link, LinkState.REFUSED)
        assert reason_of(link).startswith("the peer said: clocks are 30.0 s apart")
        assert isinstance(await anext(events), manifest.Connected)
        lost = await anext(events)
        assert isinstance(lost, manifest.Disconnected)
        assert lost.reason == reason_of(link)


@pytest.mark.parametrize("capacity", [math.inf, 1000])
async def test_last_words_are_not_lost_in_a_reset(
    autojump_clock: MockClock, capacity: float
) -> None:
    """A refused peer that goes on sending still reads the whole Bye, and then the end."""
    network = SimulatedNetwork(conditions=Conditions(capacity=capacity))
    network.host(A).clock.step(120)
    async with open_manifest(environment=network.host(A).environment()) as a:
        await a.listen()
        puppet = Puppet(await network.host(B).dial(A, 3100), max_clock_skew=900)
        await puppet.say()
        with trio.move_on_after(0.5):
            await puppet.end.send_all(bytes(100_000))
        puppet.end.cut_short = False
        bye = await hears_bye(puppet)
        assert bye is not None
        assert bye.code == "refused"
        assert "clocks are 120.0 s apart" in bye.reason


async def test_last_words_are_read_when_nothing_can_be_written(autojump_clock: MockClock) -> None:
    """A side that can send no more still reads why the other one hung up."""
    network = SimulatedNetwork()
    async with open_manifest(environment=network.host(A).environment()) as a:
        await a.listen()
        puppet = Puppet(await network.host(B).dial(A, 3100))
        await puppet.greet()
        (link,) = a.links
        puppet.end.inbound.broken = True
        a.register("web", port=80)
        await trio.sleep(0.5)
        puppet.protocol.close("closed", "it was nice")
        await puppet.say()
        assert await state_of(link, LinkState.CLOSED) < 0.1
        assert reason_of(link) == "the peer said: it was nice"


async def test_a_side_that_can_write_no_more_ends_by_itself(autojump_clock: MockClock) -> None:
    """Where nothing can be sent and nothing arrives, the link ends after a second."""
    network = SimulatedNetwork()
    async with open_manifest(environment=network.host(A).environment()) as a:
        await a.listen()
        puppet = Puppet(await network.host(B).dial(A, 3100))
        await puppet.greet()
        (link,) = a.links
        puppet.end.inbound.broken = True
        a.register("web", port=80)
        assert 0.9 < await state_of(link, LinkState.CLOSED) < 1.1


async def test_who_is_forgotten_leaves_no_way_behind(autojump_clock: MockClock) -> None:
    """What is remembered of connections is bounded by the nodes that there are."""
    network = SimulatedNetwork()
    async with (
        open_manifest(environment=network.host(A).environment()) as a,
        open_manifest(environment=network.host(B).environment()) as b,
    ):
        await a.listen()
        await b.connect(host=A).wait_synced()
        await trio.sleep(0.1)
        (way,) = a._hub._ways.values()
        a._hub._ways.update({f"{number:024X}": way for number in range(9)})
        b.register("web", port=80)
        await trio.sleep(0.1)
        assert a._hub._ways == {b.id: way}


# Closing and waiting, in each state


async def test_closing_a_link_that_dials(autojump_clock: MockClock) -> None:
    """A link that is closed while it dials, or waits to, dials no more and wakes its waiters."""
    network = SimulatedNetwork()
    network.host(B).hangs.add(3100)
    async with open_manifest(environment=network.host(A).environment()) as m:
        for host, state in ((B, LinkState.DIALLING), (C, LinkState.WAITING)):
            link = m.connect(host=host)
            await trio.sleep(2)
            await state_of(link, state)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(expect_closed, link)
                await trio.sleep(0.1)
                link.close()
            await trio.sleep(0.1)
            assert m.links == ()
            assert link.status.state is LinkState.CLOSED
            assert link.status.reason == "closed by this side"
            dials = len(network.host(A).dials)
            link.close()
            await trio.sleep(10)
            assert len(network.host(A).dials) == dials


async def expect_closed(link: Link) -> None:
    """Wait for a link that does not come to be synced."""
    with pytest.raises(LinkError, match=r"the link to .* is closed: closed by this side"):
        await link.wait_synced()


async def test_closing_a_link_before_the_peer_has_spoken(autojump_clock: MockClock) -> None:
    """A link that has been connected to a mute peer closes at once."""
    network = SimulatedNetwork()
    (listener,) = await network.host(B).listen(B, 3100)
    async with open_manifest(environment=network.host(A).environment()) as m:
        link = m.connect(host=B)
        await listener.accept()
        link.close()
        await trio.testing.wait_all_tasks_blocked()
        assert not network.host(A).ends
        await expect_closed(link)


@pytest.mark.parametrize("synced", [False, True])
async def test_closing_a_link_tells_the_peer(autojump_clock: MockClock, synced: bool) -> None:
    """A link that is connected or synced says Bye when it is closed, and is not dialled again."""
    network = SimulatedNetwork()
    (listener,) = await network.host(B).listen(B, 3100)
    async with open_manifest(environment=network.host(A).environment()) as m, m.events() as events:
        link = m.connect(host=B)
        end = await listener.accept()
        puppet = Puppet(end)  # type: ignore[arg-type]  # what this listener accepts
        await puppet.greet()
        if synced:
            await puppet.say()
            await link.wait_synced()
        else:
            await state_of(link, LinkState.CONNECTED)
        link.close()
        bye = await hears_bye(puppet)
        assert bye == Bye(code="closed", reason="the link was closed")
        await puppet.end.aclose()
        await trio.sleep(5)
        assert not network.host(A).ends
        assert len(network.host(A).dials) == 1
        kinds = [type(await anext(events)) for _ in range(len(events))]
        assert kinds.count(manifest.Connected) == kinds.count(manifest.Disconnected) == 1


async def test_closing_a_refused_link(autojump_clock: MockClock) -> None:
    """A refused link that is closed is not dialled again."""
    network = SimulatedNetwork()
    async with open_manifest(environment=network.host(A).environment()) as m:
        await m.listen()
        link = m.connect(host=A)
        await state_of(link, LinkState.REFUSED)
        link.close()
        await trio.sleep(60)
        await expect_closed(link)
        assert m.links == ()


async def test_closing_a_link_that_was_accepted(autojump_clock: MockClock) -> None:
    """A link that was accepted ends when it is closed; the peer dials again and has a new one."""
    network = SimulatedNetwork()
    async with (
        open_manifest(environment=network.host(A).environment()) as a,
        open_manifest(environment=network.host(B).environment()) as b,
        b.events() as events,
        trio.open_nursery() as nursery,
    ):
        kinds: list[type] = []
        nursery.start_soon(kinds_of, events, kinds)
        await a.listen()
        mine = b.connect(host=A)
        await mine.wait_synced()
        (theirs,) = a.links
        assert not theirs.dialled
        assert repr(theirs).startswith("<Link from 10.0.0.2:")
        theirs.close()
        await state_of(mine, LinkState.WAITING)
        assert mine.status.reason == "the peer said: the link was closed"
        await mine.wait_synced()
        assert theirs not in a.links
        assert len(a.links) == 1
        await trio.testing.wait_all_tasks_blocked()
        connected = [manifest.Connected, manifest.Synced]
        assert kinds == [*connected, manifest.Disconnected, *connected]
        nursery.cancel_scope.cancel()


async def test_waiting_for_a_synced_link_returns(autojump_clock: MockClock) -> None:
    """`wait_synced` waits out all that comes before, and returns at once when there is nothing."""
    network = SimulatedNetwork()
    async with (
        open_manifest(environment=network.host(A).environment()) as a,
        open_manifest(environment=network.host(B).environment()) as b,
    ):
        link = b.connect(host=A)
        a.register("web", port=80)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.wait_synced)
            await trio.sleep(5)
            await a.listen()
        assert b.get("web")
        now = trio.current_time()
        await link.wait_synced()
        assert trio.current_time() == now


async def test_waiting_for_a_refused_link_raises(autojump_clock: MockClock) -> None:
    """`wait_synced` on a link that is or becomes refused says why, and the link dials on."""
    network = SimulatedNetwork()
    async with (
        open_manifest(environment=network.host(A).environment(), cluster="blue") as a,
        open_manifest(environment=network.host(B).environment(), cluster="red") as b,
    ):
        await a.listen()
        link = b.connect(host=A)
        refused = rf"^the link to {A}:3100 is refused: different clusters: .*\"blue\""
        for _ in range(2):
            with trio.fail_after(1), pytest.raises(LinkRefused, match=refused):
                await link.wait_synced()
        assert link.status.state is LinkState.REFUSED
        dials = len(network.host(B).dials)
        # While it dials again it may be mended: what counts is how that ends.
        assert (await link.wait_changed()).state is LinkState.DIALLING
        with trio.fail_after(1), pytest.raises(LinkRefused, match=refused):
            await link.wait_synced()
        assert len(network.host(B).dials) > dials
        await a.aclose()
        async with open_manifest(environment=network.host(A).environment(), cluster="red") as anew:
            await anew.listen()
            await state_of(link, LinkState.SYNCED)
            await link.wait_synced()


async def test_a_refusal_is_not_missed_by_who_wakes_late(autojump_clock: MockClock) -> None:
    """A link that dials again by the time that a waiting task runs was refused all the same."""
    network = SimulatedNetwork()
    async with open_manifest(environment=network.host(A).environment()) as m:
        link = m.connect(host=B)
        async with trio.open_nursery() as nursery:

            async def wait() -> None:
                with pytest.raises(LinkRefused, match=r"is refused: not wanted$"):
                    await link.wait_synced()

            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            assert isinstance(link, SupervisedLink)
            link._lost(LinkRefused("not wanted"))
            link._become(LinkState.DIALLING)


async def test_waiting_for_a_link_ends_with_the_manifest(autojump_clock: MockClock) -> None:
    """Who waits for a link is told when the manifest closes, whatever the link was doing."""
    network = SimulatedNetwork()
    async with trio.open_nursery() as nursery:

        async def wait(link: Link) -> None:
            with pytest.raises(LinkError, match="is closed: the manifest was closed"):
                await link.wait_synced()

        async with open_manifest(environment=network.host(A).environment()) as m:
            # It waits on when the manifest has closed, which is the point.
            nursery.start_soon(wait, m.connect(host=B))  # noqa: ASYNC111
            await trio.sleep(1)


async def test_waiting_for_a_link_ends_with_a_manifest_that_is_cut_short(
    autojump_clock: MockClock,
) -> None:
    """Who waits for a link is told, too, when the manifest closes without a goodbye to its peer."""
    network = SimulatedNetwork()
    (listener,) = await network.host(B).listen(B, 3100)
    async with trio.open_nursery() as nursery:

        async def wait(link: Link) -> None:
            with pytest.raises(LinkError, match="is closed: the manifest was closed"):
                await link.wait_synced()

        async with open_manifest(environment=network.host(A).environment()) as m:
            link = m.connect(host=B)
            # It waits on when the manifest has closed, which is the point.
            nursery.start_soon(wait, link)  # noqa: ASYNC111
            end = await listener.accept()
            puppet = Puppet(end)  # type: ignore[arg-type]  # what this listener accepts
            await puppet.greet()
            await state_of(link, LinkState.CONNECTED)
            with trio.CancelScope() as scope:
                scope.cancel()
                await m.aclose()


async def test_every_change_of_a_status_can_be_waited_for(autojump_clock: MockClock) -> None:
    """`wait_changed` wakes at each change, and returns at once when none can follow."""
    network = SimulatedNetwork()
    async with (
        open_manifest(environment=network.host(A).environment()) as a,
        open_manifest(environment=network.host(B).environment()) as b,
    ):
        await a.listen()
        link = b.connect(host=A)
        states = [link.status.state]
        while states[-1] is not LinkState.SYNCED:
            states.append((await link.wait_changed()).state)
        # The peer's Hello and its Synced may come so close to each other that they are one change.
        assert set(states) - {LinkState.CONNECTED} == {LinkState.DIALLING, LinkState.SYNCED}
        link.close()
        assert (await link.wait_changed()).state is LinkState.CLOSED


# More than one way


async def test_two_links_between_one_pair_are_harmless(autojump_clock: MockClock) -> None:
    """Two manifests that dialled each other share one registry, and either link is enough."""
    network = SimulatedNetwork()
    async with (
        open_manifest(environment=network.host(A).environment()) as a,
        open_manifest(environment=network.host(B).environment()) as b,
    ):
        await a.listen()
        await b.listen()
        there, back = a.connect(host=B), b.connect(host=A)
        await there.wait_synced()
        await back.wait_synced()
        service = a.register("web", port=80)
        assert await b.wait_for("web") == {service.id: service}
        there.close()
        a.free(service)
        assert await until(lambda: not b.get("web")) < 0.1
        assert a.statistics().services == b.statistics().services == 2


async def test_a_ring_sends_no_entry_back_to_its_source(autojump_clock: MockClock) -> None:
    """In a ring of three each entry reaches each node, and none goes back over where it came."""
    network = SimulatedNetwork()
    async with (
        open_manifest(environment=network.host(A).environment()) as a,
        open_manifest(environment=network.host(B).environment()) as b,
        open_manifest(environment=network.host(C).environment()) as c,
    ):
        ring = (a, b, c)
        for m in ring:
            await m.listen()
        links = [a.connect(host=B), b.connect(host=C), c.connect(host=A)]
        for link in links:
            await link.wait_synced()
        await trio.sleep(1)
        before = [m.statistics() for m in ring]
        service = a.register("web", port=80)
        await until(lambda: b.get("web") and c.get("web"))
        await trio.sleep(30)
        sent = [
            sum(each.traffic.entries_sent for each in m.statistics().links)
            - sum(each.traffic.entries_sent for each in earlier.links)
            for m, earlier in zip(ring, before, strict=True)
        ]
        # One from its source to each; b and c may each tell the other before they know better.
        assert sent[0] == 2
        assert sum(sent[1:]) <= 2
        a.free(service)
        assert await until(lambda: not (b.get("web") or c.get("web"))) < 0.1


# Silent, slow and broken


@pytest.mark.parametrize("one_way", [False, True])
async def test_a_silent_peer_is_dropped_after_its_lease(
    autojump_clock: MockClock, one_way: bool
) -> None:
    """A half-open link is dropped once the peer's lease has passed in silence, and not before."""
    network = SimulatedNetwork()
    async with (
        open_manifest(environment=network.host(A).environment()) as a,
        open_manifest(environment=network.host(B).environment(), heartbeat_interval=2) as b,
    ):
        await a.listen()
        await b.connect(host=A).wait_synced()
        (link,) = a.links
        await trio.sleep(20)
        network.partition(B, A, one_way=one_way)
        gone = await state_of(link, LinkState.CLOSED)
        assert 5 <= gone <= 7.1
        assert link.status.reason == "the peer has been silent for longer than its lease"
        assert a.statistics().refused == {"silence": 1}
        network.heal()
        await until(lambda: a.links and a.links[0].status.state is LinkState.SYNCED, within=4.5)


async def test_a_peer_that_never_reads_is_dropped(autojump_clock: MockClock) -> None:
    """A peer that takes nothing is dropped after `timeouts.send`, and costs little until then."""
    network = SimulatedNetwork(conditions=Conditions(capacity=10_000))
    async with open_manifest(environment=network.host(A).environment()) as a:
        await a.listen()
        puppet = Puppet(await network.host(B).dial(A, 3100), heartbeat_interval=100)
        await puppet.greet()
        (link,) = a.links
        for number in range(1000):
            a.register(f"web-{number}", {"fill": "x" * 100}, port=80)
            await trio.sleep(0.008)
        await trio.sleep(1)
        assert link._connection is not None
        assert len(puppet.end.inbound.arrived) == 10_000
        assert link._connection.traffic.bytes_sent < 10_000 + 64 * 1024
        assert 0 < await state_of(link, LinkState.CLOSED) < 3
        assert reason_of(link) == "the peer did not take what was sent to it within 10 s"
        assert a.statistics().refused == {"send": 1}
        assert not network.host(A).ends


async def test_a_slow_reader_is_not_dropped(autojump_clock: MockClock) -> None:
    """A peer that takes a little every now and then gets everything, in fewer and larger parts."""
    network = SimulatedNetwork(conditions=Conditions(capacity=2000))
    async with open_manifest(environment=network.host(A).environment()) as a:
        await a.listen()
        puppet = Puppet(await network.host(B).dial(A, 3100), heartbeat_interval=100)
        await puppet.greet()
        for number in range(300):
            a.register(f"web-{number}", {"fill": "x" * 100}, port=80)
        with trio.move_on_after(60):
            await trio.lowlevel.checkpoint()
            while len(puppet.replica.map) < 301:
                await trio.sleep(0.5)
                await puppet.hear()
        assert len(puppet.replica.map) == 301


async def test_what_is_on_its_way_is_not_flushed_yet(autojump_clock: MockClock) -> None:
    """Everything is flushed when the stream has taken it, not when it has been handed out."""
    network = SimulatedNetwork(conditions=Conditions(capacity=1000))
    async with open_manifest(environment=network.host(A).environment()) as a:
        await a.listen()
        puppet = Puppet(await network.host(B).dial(A, 3100), heartbeat_interval=100)
        await puppet.greet()
        (link,) = a.links
        assert link._connection is not None
        await link._connection.wait_flushed()
        a.register("web", {"fill": "x" * 3000}, port=80)
        await trio.sleep(0.1)
        with trio.move_on_after(1) as scope:
            await link._connection.wait_flushed()
        assert scope.cancelled_caught
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link._connection.wait_flushed)
            nursery.start_soon(link._connection.wait_flushed)
            while len(puppet.replica.map) < 2:
                await puppet.hear()


@pytest.mark.parametrize("trickle", [False, True])
async def test_a_handshake_has_an_absolute_deadline(
    autojump_clock: MockClock, trickle: bool
) -> None:
    """A peer without a Hello is dropped after `timeouts.handshake`, however busy it looks."""
    network = SimulatedNetwork()
    async with open_manifest(environment=network.host(A).environment()) as a, a.events() as events:
        await a.listen()
        puppet = Puppet(await network.host(B).dial(A, 3100))
        await trio.testing.wait_all_tasks_blocked()
        (link,) = a.links
        for byte in puppet.protocol.bytes_to_send()[: 30 if trickle else 0]:
            await puppet.end.send_all(bytes([byte]))
            await trio.sleep(0.3)
        assert link._connection is not None
        await trio.sleep_until(10.1)
        assert reason_of(link) == "no Hello from the peer within 10 s"
        assert a.statistics().refused == {"handshake": 1}
        assert [type(await anext(events)) for _ in range(len(events))] == [
            manifest.Registered, manifest.Heartbeat
        ]  # fmt: skip


async def test_a_frame_has_an_absolute_deadline(autojump_clock: MockClock) -> None:
    """A frame that does not become complete is given up, and nothing of it is applied."""
    network = SimulatedNetwork()
    async with open_manifest(environment=network.host(A).environment()) as a:
        await a.listen()
        puppet = Puppet(await network.host(B).dial(A, 3100))
        await puppet.greet()
        (link,) = a.links
        unfinished = frame(bytes(1000))
        for byte in unfinished[:58]:
            await puppet.end.send_all(bytes([byte]))
            await trio.sleep(0.5)
        assert link._connection is not None
        await trio.sleep_until(30.1)
        assert reason_of(link) == "a frame was not complete within 30 s"
        assert a.statistics().refused == {"frame": 1}
        assert len(a.services()) == 1


async def test_back_to_back_frames_are_no_slow_frame(autojump_clock: MockClock) -> None:
    """A stream that ends in mid-frame at every read goes on for as long as frames complete."""
    network = SimulatedNetwork()
    async with open_manifest(environment=network.host(A).environment()) as a:
        await a.listen()
        puppet = Puppet(await network.host(B).dial(A, 3100))
        await puppet.greet()
        (link,) = a.links
        rest = b""
        for _ in range(100):
            puppet.replica.heartbeat()
            data = rest + puppet.protocol.bytes_to_send()
            await puppet.end.send_all(data[:-3])
            rest = data[-3:]
            await trio.sleep(1)
        assert link.status.state in {LinkState.CONNECTED, LinkState.SYNCED}


async def test_a_pause_of_this_process_is_not_held_against_a_frame(
    autojump_clock: MockClock,
) -> None:
    """A frame that a pause of the reader cut in two is read on afterwards, and joined."""
    network = SimulatedNetwork()
    with pausable():
        async with running(network.host(A)) as a:
            await a.manifest.listen()
            puppet = Puppet(await network.host(B).dial(A, 3100))
            await puppet.greet()
            (link,) = a.manifest.links
            puppet.replica.heartbeat()
            data = puppet.protocol.bytes_to_send()
            await puppet.end.send_all(data[:-3])
            await trio.sleep(5)
            a.host.pause()
            await trio.sleep(100)
            a.host.resume()
            await trio.sleep(4)
            assert link.status.state is not LinkState.CLOSED
            await puppet.end.send_all(data[-3:])
            await state_of(link, LinkState.SYNCED)


async def test_a_pause_of_this_process_is_not_held_against_a_reader(
    autojump_clock: MockClock,
) -> None:
    """A send that a pause of the writer interrupted goes on afterwards."""
    network = SimulatedNetwork(conditions=Conditions(capacity=1000))
    with pausable():
        async with running(network.host(A)) as a:
            await a.manifest.listen()
            puppet = Puppet(await network.host(B).dial(A, 3100), heartbeat_interval=100)
            await puppet.greet()
            (link,) = a.manifest.links
            a.manifest.register("web", {"fill": "x" * 10_000}, port=80)
            await trio.sleep(5)
            a.host.pause()
            await trio.sleep(100)
            a.host.resume()
            await trio.sleep(3)
            assert link.status.state is not LinkState.CLOSED
            with trio.fail_after(1):
                await trio.lowlevel.checkpoint()
                while not puppet.replica.map:
                    await puppet.hear()


async def test_a_peer_that_breaks_a_rule_is_told_which(autojump_clock: MockClock) -> None:
    """A malformed message ends the link with its reason on both sides, and counts as refused."""
    network = SimulatedNetwork()
    async with open_manifest(environment=network.host(A).environment()) as a:
        await a.listen()
        puppet = Puppet(await network.host(B).dial(A, 3100))
        await puppet.greet()
        (link,) = a.links
        await puppet.end.send_all(frame(b"?nonsense"))
        bye = await hears_bye(puppet)
        assert bye is not None
        assert (bye.code, "a message begins with one of" in bye.reason) == ("error", True)
        await puppet.end.aclose()
        await state_of(link, LinkState.CLOSED)
        assert reason_of(link) == bye.reason
        assert a.statistics().refused == {"malformed": 1}


async def test_who_is_refused_and_then_fails_is_counted_once(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream that its TLS refuses too, while the Bye is under way, ends one connection."""
    network = SimulatedNetwork()
    host = network.host(A)
    receive_some, raised = StreamEnd.receive_some, 0

    async def fail_behind_the_refusal(end: StreamEnd, max_bytes: int | None = None) -> bytes:
        nonlocal raised
        if end.host is host and a.statistics().refused:
            raised += 1
            await trio.lowlevel.checkpoint()
            refusal = LinkRefused("the certificate has expired", Refusal.TLS)
            raise trio.BrokenResourceError from refusal
        return await receive_some(end, max_bytes)

    monkeypatch.setattr(StreamEnd, "receive_some", fail_behind_the_refusal)
    async with open_manifest(environment=host.environment()) as a:
        await a.listen()
        puppet = Puppet(await network.host(B).dial(A, 3100), cluster="blue")
        await puppet.say()
        await until(lambda: not host.ends)
        assert a.statistics().refused == {"cluster": 1}
        assert raised == 1


async def test_what_came_before_the_fault_goes_on_to_others(autojump_clock: MockClock) -> None:
    """Good gossip in front of a bad message is joined and passed on at once, not by the way."""
    network = SimulatedNetwork()
    async with (
        open_manifest(environment=network.host(A).environment()) as a,
        open_manifest(environment=network.host(C).environment()) as c,
    ):
        await a.listen()
        await c.connect(host=A).wait_synced()
        async with a.events() as events:
            puppet = Puppet(await network.host(B).dial(A, 3100))
            hello = puppet.protocol.bytes_to_send()
            while puppet.protocol.peer is None:
                await puppet.hear()
            gossip = puppet.protocol.bytes_to_send()
            await trio.sleep(4.9 - trio.current_time() % 5)
            await puppet.end.send_all(hello + gossip + frame(b"?"))
            assert await until(lambda: c.statistics().nodes == 3) < 0.1
            await trio.sleep(2)
            kinds = {type(await anext(events)) for _ in range(len(events))}
            # It was never announced, so it is not lost either.
            assert manifest.Disconnected not in kinds


async def test_a_peer_that_ends_without_a_word(autojump_clock: MockClock) -> None:
    """The end of a stream without a Bye is a reason of its own."""
    network = SimulatedNetwork()
    async with open_manifest(environment=network.host(A).environment()) as a:
        await a.listen()
        puppet = Puppet(await network.host(B).dial(A, 3100))
        await puppet.greet()
        (link,) = a.links
        await puppet.end.aclose()
        await state_of(link, LinkState.CLOSED)
        assert reason_of(link) in {
            "the peer hung up without a word", "the connection broke: connection reset by peer"
        }  # fmt: skip


async def test_a_peer_that_does_not_hang_up_is_hung_up_on(autojump_clock: MockClock) -> None:
    """After Bye the peer has a second; then the stream is closed whatever it does."""
    network = SimulatedNetwork()
    async with open_manifest(environment=network.host(A).environment()) as a:
        await a.listen()
        puppet = Puppet(await network.host(B).dial(A, 3100))
        await puppet.greet()
        (link,) = a.links
        link.close()
        took = await until(lambda: not network.host(A).ends)
        assert 0.9 < took < 1.1
        assert reason_of(link) == "closed by this side"


async def test_messages_after_a_close_change_no_status(autojump_clock: MockClock) -> None:
    """A peer's Hello and Synced that arrive when the link is closed do not open it again."""
    network = SimulatedNetwork()
    (listener,) = await network.host(B).listen(B, 3100)
    async with open_manifest(environment=network.host(A).environment()) as m, m.events() as events:
        link = m.connect(host=B)
        await listener.accept()
        assert link._connection is not None
        hello = Hello(
            protocol=1, oldest=1, cluster="manifest", node="F" * 24, born=1, clock=1,
            retention=1, record_bytes=1, frame_bytes=1, lease=1,
        )  # fmt: skip
        link.close()
        assert isinstance(link, SupervisedLink)
        link.met(hello)
        link.has_synced()
        assert link.status.state is LinkState.CLOSED
        assert len(events) == 0


# The log


async def test_the_log_says_each_reason_once(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A thousand failures for one reason are one line in the log, and a new reason is another."""
    caplog.set_level(logging.INFO, "manifest")
    network = SimulatedNetwork()
    async with open_manifest(environment=network.host(A).environment()) as m:
        m.connect(host=B)
        await trio.sleep(600)
        network.host(B).hangs.add(3100)
        await trio.sleep(600)
        reasons = [record.message.split(": ", 2)[2] for record in caplog.records]
        assert reasons == [
            "could not connect: [Errno 111] Connection refused", "no answer within 3 s"
        ]  # fmt: skip


async def test_the_log_says_a_reason_again_after_the_link_was_well(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A link that was synced in between is news when it is lost for the same reason."""
    caplog.set_level(logging.INFO, "manifest")
    network = SimulatedNetwork()
    async with (
        open_manifest(environment=network.host(A).environment()) as a,
        open_manifest(environment=network.host(B).environment()) as b,
    ):
        await a.listen()
        link = b.connect(host=A)
        for _ in range(3):
            await link.wait_synced()
            network.cut(A, B)
            await state_of(link, LinkState.WAITING)
        said = [each for each in caplog.messages if each.startswith(b.id)]
        assert len(said) == 3


async def test_what_the_log_remembers_is_bounded(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many strangers, each gone without a word, only the latest are remembered."""
    monkeypatch.setattr("manifest.link._REMEMBERED", 10)
    network = SimulatedNetwork()
    async with open_manifest(environment=network.host(A).environment()) as a:
        await a.listen()
        for number in range(15):
            end = await network.host(f"stranger-{number}").dial(A, 3100)
            await end.aclose()
        await trio.sleep(1)
        assert list(a._hub.said) == [f"from stranger-{number}" for number in range(5, 15)]


async def test_a_zone_is_nobody_elses_business(autojump_clock: MockClock) -> None:
    """A peer is told at which address it is seen, without this host's name for an interface."""
    network = SimulatedNetwork()
    async with open_manifest(environment=network.host(A).environment()) as a:
        await a.listen()
        puppet = Puppet(await network.host("fe80::7%eth0").dial(A, 3100))
        await puppet.greet()
        assert puppet.protocol.peer is not None
        assert puppet.protocol.peer.seen == "fe80::7"


async def test_who_synced_hears_all_there_was(autojump_clock: MockClock) -> None:
    """Synced comes behind everything that the peer held at the handshake."""
    network = SimulatedNetwork(conditions=Conditions(capacity=500))
    async with open_manifest(environment=network.host(A).environment()) as a:
        await a.listen()
        for number in range(50):
            a.register(f"web-{number}", port=80)
        puppet = Puppet(await network.host(B).dial(A, 3100))
        await puppet.say()
        heard: list[object] = []
        while not any(isinstance(each, Synced) for each in heard):
            heard += await puppet.hear()
        assert sum(len(each.delta.entries) for each in heard if isinstance(each, Gossip)) == 51
        assert encode_message(Synced())  # the mark itself carries nothing


# Much at once


def register_many(m: Manifest, count: int = 2000) -> None:
    """Register services one by one, without a checkpoint in between."""
    for _ in range(count):
        m.register("web", port=80)


@pytest.mark.parametrize("capacity, least", [(math.inf, 20_000), (5_000, 5_000)])
async def test_many_registrations_go_out_while_they_are_made(
    autojump_clock: MockClock, capacity: float, least: int
) -> None:
    """The peer has been sent the first before the last are made, and gets each of them once."""
    network = SimulatedNetwork(conditions=Conditions(capacity=capacity))
    async with (
        open_manifest(environment=network.host(A).environment()) as a,
        open_manifest(environment=network.host(B).environment()) as b,
    ):
        await a.listen()
        link = b.connect(host=A)
        await link.wait_synced()
        before = network.transmitted[A, B]
        register_many(a)
        assert network.transmitted[A, B] - before >= least
        await until(lambda: a.services() == b.services())
        assert len(b.services()) == 2001
        assert (link.traffic.entries_received, link.traffic.entries_redundant) == (2001, 0)


async def test_a_few_registrations_are_left_to_the_writer(autojump_clock: MockClock) -> None:
    """Nothing goes out from where they are made: they share a frame at the next checkpoint."""
    network = SimulatedNetwork()
    async with open_manifest(environment=network.host(A).environment()) as a:
        await a.listen()
        puppet = Puppet(await network.host(B).dial(A, 3100))
        await puppet.greet()
        await trio.sleep(1)
        before = network.transmitted[A, B]
        register_many(a, 500)
        assert network.transmitted[A, B] == before


async def test_nothing_is_sent_ahead_of_what_is_being_sent(autojump_clock: MockClock) -> None:
    """Behind what a peer does not take yet the rest waits, and behind the last word comes none."""
    network = SimulatedNetwork(conditions=Conditions(capacity=5_000))
    async with open_manifest(environment=network.host(A).environment()) as a:
        await a.listen()
        puppet = Puppet(await network.host(B).dial(A, 3100))
        await puppet.greet()
        await trio.sleep(1)
        register_many(a)
        await trio.sleep(1)
        # By now the writer waits for the peer to read.
        register_many(a)
        (link,) = a.links
        link.close()
        register_many(a)
        assert await hears_bye(puppet)
        assert len(puppet.replica.map) == 1 + 512
        register_many(a)
        await until(lambda: not a.links)


async def test_all_that_was_registered_arrives_before_the_farewell(
    autojump_clock: MockClock,
) -> None:
    """A manifest that closes at once is heard to its end, and what it sent ahead goes first."""
    network = SimulatedNetwork(conditions=Conditions(capacity=5_000))
    async with open_manifest(environment=network.host(B).environment()) as b:
        await b.listen()
        async with open_manifest(environment=network.host(A).environment()) as a:
            await a.connect(host=B).wait_synced()
            register_many(a)
        assert [each.role for each in b.services().values()] == [f"manifest@{manifest.__version__}"]
        assert b.statistics().tombstones >= 1000
