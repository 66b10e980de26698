"""Streams in memory promise what TCP promises: order, backpressure, endings; and nothing more."""

import math
import random
from contextlib import suppress

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, check_half_closeable_stream, wait_all_tasks_blocked

from manifest.testing import Conditions, SimulatedNetwork, StreamEnd

Pair = tuple[StreamEnd, StreamEnd]


async def joined(network: SimulatedNetwork) -> Pair:
    """Return both ends of a stream from a to b."""
    a, b = network.host("a"), network.host("b")
    (listener,) = await b.listen("0.0.0.0", 0)
    near = await a.dial("b", b.bound(listener).port)
    far = await listener.accept()
    assert isinstance(far, StreamEnd)
    return near, far


async def everything(end: StreamEnd) -> bytes:
    """Return all bytes up to the end of file."""
    data = b""
    while more := await end.receive_some():
        data += more
    return data


async def before_reset(end: StreamEnd) -> bytes:
    """Return all bytes up to the reset that follows."""
    data = b""
    while True:  # noqa: ASYNC913 - each turn waits or returns
        try:
            more = await end.receive_some()
        except trio.BrokenResourceError:
            return data
        assert more, "an end of file, and no reset"
        data += more


async def test_a_stream_is_what_trio_wants_of_one() -> None:
    """Trio's own checks of half-closeable streams pass, on streams that are full as well."""

    async def clogged() -> Pair:
        pair = await joined(SimulatedNetwork(conditions=Conditions(capacity=5)))
        for end in pair:
            await end.send_all(b"clogs")
        return pair

    async def roomy() -> Pair:
        return await joined(SimulatedNetwork())

    await check_half_closeable_stream(roomy, clogged)


@settings(max_examples=40)
@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=12),
    st.builds(
        Conditions,
        latency=st.sampled_from([(0.0, 0.0), (0.0, 1.0), (0.5, 0.5)]),
        capacity=st.sampled_from([1, 1.5, 7, math.inf]),
        fragmented=st.sampled_from([0.0, 0.5, 1.0]),
    ),
    st.integers(0, 2**32 - 1),
)
def test_every_byte_arrives_once_and_in_order(
    sent: list[bytes], conditions: Conditions, seed: int
) -> None:
    """Whatever the network is like, and whatever the delays, it is the same bytes."""

    async def main() -> bytes:
        network = SimulatedNetwork(seed, conditions)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(network.deliver)
            near, far = await joined(network)

            async def send() -> None:
                for data in sent:
                    await near.send_all(data)
                await near.aclose()

            nursery.start_soon(send)
            got = await everything(far)
            nursery.cancel_scope.cancel()
        return got

    assert trio.run(main, clock=MockClock(autojump_threshold=0)) == b"".join(sent)


async def test_a_writer_waits_where_the_reader_does_not_read() -> None:
    """No more is taken than there is room for, and the writer goes on once there is room."""
    near, far = await joined(SimulatedNetwork(conditions=Conditions(capacity=4)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(near.send_all, b"0123456789")
        await wait_all_tasks_blocked()
        assert bytes(far.inbound.arrived) == b"0123"
        assert await far.receive_some(3) == b"012"
        await wait_all_tasks_blocked()
        assert bytes(far.inbound.arrived) == b"3456"
        nursery.cancel_scope.cancel()


async def test_a_deaf_host_reads_nothing_until_it_hears() -> None:
    """What is sent to it piles up, an end of file and a reset too; not so its own closing."""
    network = SimulatedNetwork()
    near, far = await joined(network)
    network.host("b").deaf = True
    assert network.host("b").deaf
    await near.send_all(b"psst")
    with trio.move_on_after(0):
        await far.receive_some()
        pytest.fail("it heard")
    async with trio.open_nursery() as nursery:

        async def listen() -> None:
            assert await far.receive_some() == b"psst"

        nursery.start_soon(listen)
        await wait_all_tasks_blocked()
        assert nursery.child_tasks
        network.host("b").deaf = False
    network.host("b").deaf = True
    far.close()
    with pytest.raises(trio.ClosedResourceError):
        await far.receive_some()


async def test_reads_come_in_pieces() -> None:
    """Where reads are fragmented they get a part of what is there, another every time."""
    near, far = await joined(SimulatedNetwork(conditions=Conditions(fragmented=1.0)))
    await near.send_all(bytes(1000))
    pieces = []
    while far.inbound.arrived:
        pieces.append(len(await far.receive_some()))
    assert sum(pieces) == 1000
    assert len(set(pieces)) > 2
    await near.send_all(bytes(1000))
    assert len(await far.receive_some(10)) <= 10


async def test_an_end_of_file_comes_behind_the_last_byte() -> None:
    """The other direction goes on; nothing more is sent in this one."""
    near, far = await joined(SimulatedNetwork())
    await near.send_all(b"that is all")
    await near.send_eof()
    await near.send_eof()
    assert await far.receive_some() == b"that is all"
    assert await far.receive_some() == b""
    with pytest.raises(trio.ClosedResourceError, match="end of file"):
        await near.send_all(b"one more thing")
    await far.send_all(b"thanks")
    assert await near.receive_some() == b"thanks"


async def test_closing_with_something_unread_is_a_reset() -> None:
    """As it is with TCP: it takes with it what the other end has not read either."""
    near, far = await joined(SimulatedNetwork())
    await near.send_all(b"a question")
    await far.send_all(b"lost")
    far.close()
    with pytest.raises(trio.BrokenResourceError):
        await near.receive_some()
    with pytest.raises(trio.BrokenResourceError):
        await near.send_all(b"!")
    with pytest.raises(trio.BrokenResourceError):
        await near.send_eof()


async def test_what_reaches_a_closed_end_is_answered_with_a_reset() -> None:
    """The first write goes nowhere, and the one after it fails."""
    near, far = await joined(SimulatedNetwork())
    await far.aclose()
    assert await near.receive_some() == b""
    await near.send_all(b"hello?")
    with pytest.raises(trio.BrokenResourceError):
        await near.send_all(b"hello?")


async def test_the_answer_of_a_closed_end_takes_its_time(autojump_clock: MockClock) -> None:
    """It is a reset, and travels as all else does."""
    network = SimulatedNetwork(conditions=Conditions(latency=(1.0, 1.0)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(network.deliver)
        near, far = await joined(network)
        await far.aclose()
        began = trio.current_time()
        await near.send_all(b"hello?")
        assert await near.receive_some() == b""
        await trio.sleep(1.5)
        assert await before_reset(near) == b""
        assert trio.current_time() - began < 3
        nursery.cancel_scope.cancel()


async def test_a_reset_loses_what_is_under_way(autojump_clock: MockClock) -> None:
    """Bytes that arrive after it are not there for whoever reads once more."""
    network = SimulatedNetwork(conditions=Conditions(latency=(1.0, 1.0)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(network.deliver)
        near, far = await joined(network)
        await near.send_all(b"late")
        network.cut("a", "b")
        for end in (near, far):
            assert await before_reset(end) == b""
        await trio.sleep(2)
        assert await before_reset(far) == b""
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("after", [1, 3, 10, 11])
@pytest.mark.parametrize("latency", [(0.0, 0.0), (0.1, 0.9)])
async def test_a_cut_lets_exactly_so_many_bytes_through(
    autojump_clock: MockClock, after: int, latency: tuple[float, float]
) -> None:
    """In each direction by itself: exactly as many as were said arrive, then it is broken."""
    for direction in (1, -1):
        network = SimulatedNetwork(conditions=Conditions(latency))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(network.deliver)
            source, target = (await joined(network))[::direction]
            network.cut("a", "b", after=after)
            with suppress(trio.BrokenResourceError):
                await source.send_all(b"01234")
                await source.send_all(b"56789ab")
            assert await before_reset(target) == b"0123456789ab"[:after]
            assert await before_reset(source) == b""
            with pytest.raises(trio.BrokenResourceError):
                await source.send_all(b"more")
            nursery.cancel_scope.cancel()


async def test_a_cut_counts_each_direction_by_itself() -> None:
    """What goes one way does not use up what may go the other way."""
    network = SimulatedNetwork()
    near, far = await joined(network)
    network.cut("b", "a", after=6)
    for end, twin in ((near, far), (far, near)):
        await end.send_all(b"12345")
        assert await twin.receive_some() == b"12345"
    await far.send_all(b"67")
    assert await before_reset(near) == b"6"


async def test_two_tasks_at_once_are_told_so() -> None:
    """One that sends and one that receives is all there may be."""
    near, far = await joined(SimulatedNetwork(conditions=Conditions(capacity=1)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(near.send_all, b"xy")
        nursery.start_soon(near.receive_some)
        await wait_all_tasks_blocked()
        for busy in (near.send_all(b"z"), near.send_eof(), near.wait_send_all_might_not_block()):
            with pytest.raises(trio.BusyResourceError, match="sending"):
                await busy
        with pytest.raises(trio.BusyResourceError, match="receiving"):
            await near.receive_some()
        nursery.cancel_scope.cancel()
    assert repr(far) == "<stream from b to a>"


async def test_closing_wakes_whoever_waits() -> None:
    """Both its reader and its writer hear that they closed it themselves."""
    near, _ = await joined(SimulatedNetwork(conditions=Conditions(capacity=1)))
    closed = 0

    async def fails(wait: trio.abc.Stream, *data: bytes) -> None:
        nonlocal closed
        with pytest.raises(trio.ClosedResourceError):
            await (wait.send_all(*data) if data else wait.receive_some())
        closed += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(fails, near, b"xyz")
        nursery.start_soon(fails, near)
        await wait_all_tasks_blocked()
        near.close()
    assert closed == 2


async def test_nobody_writes_behind_half_a_message() -> None:
    """A send that was interrupted in the middle may not be followed by another one."""
    near, _ = await joined(SimulatedNetwork(conditions=Conditions(capacity=3)))
    with trio.move_on_after(0) as scope:
        await near.send_all(b"nothing of it")
    assert scope.cancelled_caught
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(near.send_all, b"half")
            await wait_all_tasks_blocked()
            scope.cancel()
    with pytest.raises(AssertionError, match="never write to it again"):
        await near.send_all(b"more")


@pytest.mark.parametrize("wrong", [0, -1])
async def test_reads_are_of_a_byte_at_least(wrong: int) -> None:
    """Anything less is a mistake, and is named."""
    near, _ = await joined(SimulatedNetwork())
    with pytest.raises(ValueError, match="max_bytes is 1 or more"):
        await near.receive_some(wrong)


async def test_nobody_is_told_of_a_silent_crash() -> None:
    """The peer waits, and what it sends is lost, until the machine is back and answers."""
    network = SimulatedNetwork()
    near, far = await joined(network)
    network.host("b").crash(silently=True)
    await near.send_all(b"are you there?")
    await near.send_all(b"well?")
    with trio.move_on_after(0) as scope:
        await near.receive_some()
    assert scope.cancelled_caught
    network.host("b").come_back()
    await near.send_all(b"you are!")
    assert await before_reset(near) == b""
    with pytest.raises(trio.BrokenResourceError):
        await far.receive_some()


async def test_a_crash_resets_the_streams_of_its_peers() -> None:
    """And what is left of the killed process finds its own ends broken."""
    network = SimulatedNetwork(conditions=Conditions(capacity=2))
    near, far = await joined(network)
    await far.send_all(b"xx")
    async with trio.open_nursery() as nursery:
        # It is woken, and may then find out.
        nursery.start_soon(far.wait_send_all_might_not_block)
        await wait_all_tasks_blocked()
        network.host("b").crash()
    assert await before_reset(near) == b""
    for fails in (far.receive_some(), far.send_all(b"y"), far.send_eof()):
        with pytest.raises(trio.BrokenResourceError):
            await fails
    await far.aclose()
    await far.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await far.send_eof()


@settings(max_examples=60)
@given(st.lists(st.sampled_from(["block", "unblock", "stall", "flow", "send", "sleep"])))
def test_nothing_overtakes_whatever_holds_it_up(happens: list[str]) -> None:
    """Blocked and stalled in any order, with delays: bytes stay in order, and all arrive."""

    async def main() -> None:
        draw = random.Random(repr(happens))
        network = SimulatedNetwork(0, Conditions(latency=(0.0, draw.choice([0.0, 1.0]))))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(network.deliver)
            near, far = await joined(network)
            sent = 0
            for each in happens:
                match each:
                    case "send":
                        await near.send_all(bytes([sent]))
                        sent += 1
                    case "sleep":
                        await trio.sleep(0.4)
                    case _:
                        getattr(network, each)("a", "b")
            await near.aclose()
            network.heal()
            assert await everything(far) == bytes(range(sent))
            nursery.cancel_scope.cancel()

    trio.run(main, clock=MockClock(autojump_threshold=0))
