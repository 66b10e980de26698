"""Hosts reach each other, unless something comes between them; and each fault is what it says."""

import errno

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from manifest.network import Address
from manifest.testing import Conditions, SimulatedListener, SimulatedNetwork, StreamEnd, Trace

from .test_streams import before_reset, joined


async def nothing(end: StreamEnd) -> None:
    """Hold a stream to having nothing to read, no end of it either."""
    with trio.move_on_after(0.001) as scope:
        await end.receive_some()
    assert scope.cancelled_caught


async def dialled(network: SimulatedNetwork, source: str, target: str) -> bool:
    """Whether a dial comes through at once."""
    (listener,) = await network.host(target).listen("0.0.0.0", 0)
    assert isinstance(listener, SimulatedListener)
    with trio.move_on_after(0.001) as scope:
        await network.host(source).dial(target, listener.address.port)
    return not scope.cancelled_caught


# Conditions


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"latency": (2.0, 1.0)}, "latency is a shortest and a longest time"),
        ({"latency": (0.0, float("inf"))}, r"such as \(0.001, 0.05\), got \(0.0, inf\)"),
        ({"latency": 0.5}, "in seconds, such as .*, got 0.5"),
        ({"capacity": 0.5}, "capacity is 1 byte or more, got 0.5"),
        ({"capacity": float("nan")}, "capacity is 1 byte or more, got nan"),
        ({"fragmented": 1.5}, "fragmented is a share from 0 to 1, got 1.5"),
    ],
)
def test_conditions_that_cannot_be_are_refused(wrong: dict[str, float], said: str) -> None:
    """The message has what was given, and what is right."""
    with pytest.raises(ValueError, match=said):
        Conditions(**wrong)  # type: ignore[arg-type]  # wrong on purpose


@pytest.mark.parametrize("conditions", [Conditions(), Conditions((0.1, 0.2), 600, 0.5)])
def test_conditions_print_as_python(conditions: Conditions) -> None:
    """What they print makes them again, endless buffers too."""
    assert eval(repr(conditions)) == conditions


# Dialling and listening


async def test_a_host_is_reached_by_its_name(autojump_clock: MockClock) -> None:
    """Both sides see where the other one is; a host knows its own streams."""
    network = SimulatedNetwork()
    a, b = network.host("a"), network.host("b")
    listener = await b.listen("0.0.0.0", 80)
    near = await a.dial("b", 80)
    far = await listener[0].accept()
    assert a.remote(near) == Address("b", 80)
    assert b.remote(far).host == "a"
    assert b.bound(listener[0]) == Address("0.0.0.0", 80)
    assert a.ends == [near]
    assert a.own_address() == "a"
    assert repr(a) == "<host a>"
    assert a.dials == [trio.current_time()]


async def test_what_there_is_room_for_is_sent_without_waiting() -> None:
    """No more than that is taken, nothing where the stream is broken, and never out of turn."""
    network = SimulatedNetwork(conditions=Conditions(capacity=4))
    a, b = network.host("a"), network.host("b")
    (listener,) = await b.listen("0.0.0.0", 80)
    near = await a.dial("b", 80)
    far = await listener.accept()
    assert [a.send_now(near, b"hello"), a.send_now(near, b"o")] == [4, 0]
    assert await far.receive_some() == b"hell"
    assert a.send_now(near, b"o") == 1
    network.cut("a", "b")
    assert a.send_now(near, b"!") == 0
    await near.aclose()
    with pytest.raises(AssertionError, match="nothing can be sent on this stream"):
        a.send_now(near, b"!")


@pytest.mark.parametrize(
    "listens, dials",
    [
        ("localhost", "localhost"),
        ("localhost", "127.0.0.1"),
        ("localhost", "::1"),
        ("0.0.0.0", "localhost"),
        ("::", "::1"),
    ],
)
async def test_a_host_reaches_itself(listens: str, dials: str) -> None:
    """By the names of the loopback, as anywhere; nobody else does."""
    network = SimulatedNetwork()
    listeners = await network.host("a").listen(listens, 80)
    assert len(listeners) == (2 if listens == "localhost" else 1)
    end = await network.host("a").dial(dials, 80)
    assert end.other is end.host
    with pytest.raises(ConnectionRefusedError):
        await network.host("b").dial(dials, 80)


async def test_a_port_is_bound_once() -> None:
    """A second time is an error until it was closed; closing it again harms nobody."""
    host = SimulatedNetwork().host("a")
    (first,) = await host.listen("0.0.0.0", 80)
    with pytest.raises(OSError) as raised:
        await host.listen("0.0.0.0", 80)
    assert raised.value.errno == errno.EADDRINUSE
    await first.aclose()
    (second,) = await host.listen("0.0.0.0", 80)
    await first.aclose()
    assert (await host.dial("localhost", 80)).remote == Address("127.0.0.1", 80)
    await second.aclose()


async def test_a_killed_listener_closes_nobody_elses_port() -> None:
    """What is left of a process closes its listener when another one has the port already."""
    network = SimulatedNetwork()
    host = network.host("a")
    (old,) = await host.listen("0.0.0.0", 80)
    host.crash()
    host.come_back()
    await host.listen("0.0.0.0", 80)
    await old.aclose()
    await network.host("b").dial("a", 80)


async def test_a_closed_listener_resets_whoever_waits() -> None:
    """Those that were dialled and not accepted; and who accepts is told that it closed it."""
    network = SimulatedNetwork()
    (listener,) = await network.host("b").listen("0.0.0.0", 80)
    near = await network.host("a").dial("b", 80)
    await listener.aclose()
    assert await before_reset(near) == b""
    with pytest.raises(trio.ClosedResourceError):
        await listener.accept()
    (listener,) = await network.host("b").listen("0.0.0.0", 80)

    async def accept() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await listener.accept()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept)
        await wait_all_tasks_blocked()
        await listener.aclose()


async def test_a_dial_is_refused_or_hangs(autojump_clock: MockClock) -> None:
    """Refused where nobody listens; without an end where the test has it so."""
    network = SimulatedNetwork()
    with pytest.raises(ConnectionRefusedError):
        await network.host("a").dial("b", 80)
    network.host("b").hangs.add(80)
    with trio.move_on_after(1000) as scope:
        await network.host("a").dial("b", 80)
    assert scope.cancelled_caught


async def test_a_dial_takes_its_time_and_crosses_nothing(autojump_clock: MockClock) -> None:
    """A connection takes as long as the network's latency, and waits for the way to be open."""
    network = SimulatedNetwork(conditions=Conditions(latency=(0.5, 1.0)))
    await network.host("b").listen("0.0.0.0", 80)
    await network.host("a").dial("b", 80)
    assert trio.current_time() == 1
    async with trio.open_nursery() as nursery:
        nursery.start_soon(network.host("a").dial, "b", 80)
        await trio.sleep(0.5)
        network.block("b", "a")
        await trio.sleep(10)
        assert nursery.child_tasks
        network.unblock("b", "a")


async def test_each_manifest_of_a_host_has_an_environment_of_its_own(  # noqa: ASYNC124 - it runs in Trio's time
    autojump_clock: MockClock,
) -> None:
    """The same host and clock, other randomness; and that from the network's seed."""
    host = SimulatedNetwork(3).host("a")
    one, other = host.environment(), host.environment()
    again = SimulatedNetwork(3).host("a").environment()
    assert one.network is host
    assert one.wall() == host.clock.wall()
    first = one.random.random()
    assert first != other.random.random()
    assert first == again.random.random()


# Partitions


async def test_a_way_is_blocked_one_way(autojump_clock: MockClock) -> None:
    """The other way is open for what is sent, though no new connection comes about."""
    network = SimulatedNetwork()
    near, far = await joined(network)
    network.block("a", "b")
    network.block("a", "b")
    await near.send_all(b"held ")
    await near.send_all(b"up")
    await far.send_all(b"through")
    assert await near.receive_some() == b"through"
    await nothing(far)
    assert not await dialled(network, "a", "b")
    assert not await dialled(network, "b", "a")
    network.unblock("a", "b")
    network.unblock("a", "b")
    assert await far.receive_some() == b"held up"
    assert await dialled(network, "a", "b")


@pytest.mark.parametrize("one_way", [False, True])
async def test_a_partition_goes_both_ways_or_one(autojump_clock: MockClock, one_way: bool) -> None:
    """Both, unless it is said to be one way."""
    network = SimulatedNetwork()
    near, far = await joined(network)
    network.partition("a", "b", one_way=one_way)
    await near.send_all(b"there")
    await nothing(far)
    await far.send_all(b"back")
    if one_way:
        assert await near.receive_some() == b"back"
    else:
        await nothing(near)


async def test_a_split_parts_a_side_from_the_others(autojump_clock: MockClock) -> None:
    """Within each side everything gets through, and after the healing everywhere."""
    network = SimulatedNetwork()
    names = "abcd"
    for name in names:
        network.host(name)
    network.split(["a", "b"])
    for one in names:
        for other in names:
            together = {one, other} <= {*"ab"} or {one, other} <= {*"cd"}
            assert await dialled(network, one, other) == together
    network.heal()
    assert await dialled(network, "a", "d")


async def test_nobody_is_told_across_a_blocked_way(autojump_clock: MockClock) -> None:
    """An end of file and a reset wait as bytes do."""
    network = SimulatedNetwork()
    near, far = await joined(network)
    network.partition("a", "b")
    await near.aclose()
    await nothing(far)
    network.heal()
    assert await far.receive_some() == b""
    near, far = await joined(network)
    network.partition("a", "b")
    network.host("a").crash()
    await nothing(far)
    network.heal()
    assert await before_reset(far) == b""


# Streams that stall or break


async def test_a_stalled_stream_carries_nothing_and_new_ones_do(autojump_clock: MockClock) -> None:
    """When it flows again, what was sent meanwhile comes first."""
    network = SimulatedNetwork()
    near, far = await joined(network)
    network.stall("b", "a")
    network.stall("a", "b")
    await near.send_all(b"1")
    await far.send_all(b"2")
    await nothing(near)
    await nothing(far)
    other_near, other_far = await joined(network)
    await other_near.send_all(b"new")
    assert await other_far.receive_some() == b"new"
    network.flow("a", "b")
    await near.send_all(b"3")
    assert await far.receive_some() == b"13"
    assert await near.receive_some() == b"2"


async def test_a_stream_may_stall_in_one_direction(autojump_clock: MockClock) -> None:
    """It carries back meanwhile; and what stalled both ways may flow again in one direction."""
    network = SimulatedNetwork()
    near, far = await joined(network)
    network.stall("a", "b", one_way=True)
    await near.send_all(b"1")
    await far.send_all(b"2")
    assert await near.receive_some() == b"2"
    await nothing(far)
    network.flow("b", "a", one_way=True)
    await nothing(far)
    network.stall("b", "a")
    await far.send_all(b"3")
    network.flow("a", "b", one_way=True)
    assert await far.receive_some() == b"1"
    await nothing(near)
    network.heal()
    assert await near.receive_some() == b"3"


async def test_a_stalled_stream_flows_though_its_writer_closed_it() -> None:
    """What it sent is still to arrive, and so is the end of file; healing does that too."""
    network = SimulatedNetwork()
    near, far = await joined(network)
    network.stall("a", "b")
    await near.send_all(b"last words")
    await near.aclose()
    network.heal()
    assert await far.receive_some() == b"last words"
    assert await far.receive_some() == b""


async def test_a_cut_breaks_the_streams_between_two_hosts() -> None:
    """All of theirs, those of no others, and none that are dialled after it."""
    network = SimulatedNetwork()
    streams = [await joined(network) for _ in range(2)]
    await network.host("c").listen("0.0.0.0", 80)
    spared = await network.host("a").dial("c", 80)
    await streams[0][0].send_all(b"lost")
    network.cut("b", "a")
    for near, far in streams:
        assert await before_reset(near) == await before_reset(far) == b""
    await spared.send_all(b"fine")
    near, far = await joined(network)
    await near.send_all(b"fine")
    assert await far.receive_some() == b"fine"


# Machines


async def test_a_killed_process_takes_its_queue_with_it() -> None:
    """What nobody had accepted is reset as well, and dials are refused."""
    network = SimulatedNetwork()
    await network.host("b").listen("0.0.0.0", 80)
    near = await network.host("a").dial("b", 80)
    network.host("b").crash()
    assert await before_reset(near) == b""
    with pytest.raises(ConnectionRefusedError):
        await network.host("a").dial("b", 80)
    with pytest.raises(ConnectionRefusedError):
        await network.host("b").dial("a", 80)
    network.host("b").come_back()
    assert await dialled(network, "a", "b")


# Time and what is counted


async def test_bytes_take_time_within_bounds(autojump_clock: MockClock) -> None:
    """Each arrives between the shortest and the longest latency, and not all at once."""
    network = SimulatedNetwork(5, Conditions(latency=(0.25, 0.75)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(network.deliver)
        near, far = await joined(network)
        taken = []
        for _ in range(20):
            sent = trio.current_time()
            await near.send_all(b"x")
            await far.receive_some()
            taken.append(trio.current_time() - sent)
        nursery.cancel_scope.cancel()
    assert 0.25 <= min(taken) < 0.35
    assert 0.65 < max(taken) <= 0.76


async def test_what_is_transmitted_is_counted_and_traced() -> None:
    """By way, and byte for byte."""
    trace = Trace()
    near, far = await joined(network := SimulatedNetwork(trace=trace))
    await near.send_all(b"abc")
    await near.send_all(b"de")
    await far.send_all(b"f")
    assert network.transmitted == {("a", "b"): 5, ("b", "a"): 1}
    sent = [event for event in trace.record if event.data]
    assert [event.data for event in sent] == [b"abc", b"de", b"f"]
    assert sent[0].what == "a -> b"


async def test_what_becomes_of_streams_is_traced() -> None:
    """Who connects, is refused or accepted, ends, closes or loses which stream."""
    trace = Trace()
    network = SimulatedNetwork(trace=trace)
    a, b = network.host("a"), network.host("b")
    with pytest.raises(OSError, match="refused"):
        await a.dial("b", 80)
    near, far = await joined(network)
    for end in (near, far):
        await end.send_eof()
        await end.send_eof()
        await end.aclose()
        await end.aclose()
    other = await a.dial("b", near.remote.port)
    network.cut("a", "b", after=1)
    await other.send_all(b"xy")
    b.crash()
    assert [event.what for event in trace.record] == [
        "a -> b: refused at port 80",
        "a 49152 -> b 49152: connected",
        "b 49152 -> a 49152: accepted",
        "a 49152 -> b 49152: end of file",
        "a 49152 -> b 49152: closed",
        "b 49152 -> a 49152: end of file",
        "b 49152 -> a 49152: closed",
        "a 49153 -> b 49152: connected",
        "a -> b",
        "a 49153 -> b 49152: cut",
        "b 49152 -> a 49153: lost",
        "a 49153 -> b 49152: reset",
    ]
