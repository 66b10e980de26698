"""Subscriptions: one reader, in order, nothing lost, and an end that can be told."""

import pytest
import trio
from trio.testing import MockClock

from manifest import Closed, Event, Heartbeat, Registered, Service, Subscription
from manifest.crdt import Stamp
from manifest.records import Record


def service(id: str = "web") -> Service:
    """Return a service."""
    return Service.of(id, Stamp(1, "F" * 24), Record("web", None, 80))


async def test_events_come_in_their_order(autojump_clock: MockClock) -> None:
    """Events are read in the order in which they were put, each once, and counted until then."""
    subscription = Subscription({})
    events: list[Event] = [
        Registered(service("a")),
        Heartbeat(1),
        Registered(service("b")),
        Closed(),
    ]
    for event in events:
        subscription.put(event)
    assert len(subscription) == 4
    assert [event async for event in subscription] == events
    assert len(subscription) == 0
    with pytest.raises(StopAsyncIteration):
        await anext(subscription)


async def test_a_reader_waits_for_the_next_event(autojump_clock: MockClock) -> None:
    """A reader of an empty subscription wakes when something happens."""
    subscription = Subscription({})
    async with trio.open_nursery() as nursery:

        async def put() -> None:
            await trio.sleep(1)
            subscription.put(Heartbeat(1))

        nursery.start_soon(put)
        assert await anext(subscription) == Heartbeat(1)
        assert trio.current_time() == 1


async def test_a_cancelled_reader_loses_nothing(autojump_clock: MockClock) -> None:
    """An event that arrives as its reader is cancelled is the next reader's."""
    subscription = Subscription({})
    with trio.CancelScope() as scope:
        subscription.put(Heartbeat(1))
        scope.cancel()
        await anext(subscription)
    assert scope.cancelled_caught
    assert await anext(subscription) == Heartbeat(1)


async def test_one_task_reads(autojump_clock: MockClock) -> None:
    """A second task on one subscription is told to have its own, and the first reads on."""
    subscription = Subscription({})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(anext, subscription)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError, match="give each its own"):
            await anext(subscription)
        subscription.put(Heartbeat(1))


async def test_reading_outside_of_the_block(autojump_clock: MockClock) -> None:
    """Who reads when the block has been left is told so, also who was reading already."""
    subscription = Subscription({})

    async def read() -> None:
        with pytest.raises(trio.ClosedResourceError, match="subscribe anew"):
            await anext(subscription)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        subscription.close()
    await read()


async def test_every_read_is_a_checkpoint(autojump_clock: MockClock) -> None:
    """Reading lets other tasks run, whether or not an event waits, and at the end too."""
    subscription = Subscription({})
    subscription.put(Heartbeat(1))
    subscription.put(Closed())
    with trio.testing.assert_checkpoints():
        await anext(subscription)
    with trio.testing.assert_checkpoints():
        await anext(subscription)
    with trio.testing.assert_checkpoints(), pytest.raises(StopAsyncIteration):
        await anext(subscription)


def test_the_snapshot_cannot_be_changed() -> None:
    """The snapshot is what was visible when it was made, whatever becomes of its source."""
    source = {"web": service()}
    subscription = Subscription(source)
    source.clear()
    assert subscription.snapshot == {"web": service()}
    with pytest.raises(TypeError):
        subscription.snapshot["x"] = service()  # type: ignore[index]  # that is what is tested


async def test_what_was_merged_is_counted(autojump_clock: MockClock) -> None:
    """Events that a reader did not read in time are merged, and counted."""
    subscription = Subscription({})
    for time in range(5):
        subscription.put(Heartbeat(time))
    assert (len(subscription), subscription.merged) == (1, 4)
    assert await anext(subscription) == Heartbeat(4)
