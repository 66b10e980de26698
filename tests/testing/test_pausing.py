"""Tasks behind a gate that is shut do not run, and then they do, as after a SIGSTOP."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.lowlevel
from trio.testing import MockClock

from manifest.testing.pausing import Gate, Gatekeeper, enter


class Node:
    """Tasks behind a gate, and what they did when."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.did: list[tuple[float, str]] = []
        self.scope = trio.CancelScope()

    def note(self, what: str) -> None:
        """Take note of something, and of the time."""
        self.did.append((trio.current_time(), what))

    async def run(self, *, task_status: trio.TaskStatus[trio.Nursery]) -> None:
        """Keep a nursery behind the gate."""
        enter(self.gate)
        async with trio.open_nursery() as nursery:
            task_status.started(nursery)
            await trio.sleep_forever()

    async def tick(self, name: str, every: float) -> None:
        """Take note of the time, over and over."""
        while True:
            await trio.sleep(every)
            self.note(name)


@asynccontextmanager
async def behind(node: Node) -> AsyncIterator[tuple[trio.Nursery, trio.Nursery]]:
    """Start a node; a nursery before its gate, and one whose tasks are behind it."""
    trio.lowlevel.add_instrument(Gatekeeper())
    async with trio.open_nursery() as nursery:
        try:
            inner: trio.Nursery = await nursery.start(node.run)
            yield nursery, inner
        finally:
            # What is held does not even hear that it is cancelled.
            node.gate.open()
        nursery.cancel_scope.cancel()


async def test_paused_tasks_do_not_run(autojump_clock: MockClock) -> None:
    """Nor do those that they have spawned; all others do, and they go on where they were."""
    node, other = Node(), Node()

    async def above() -> None:
        async with trio.open_nursery() as nursery:  # noqa: ASYNC112 - a task of its own
            nursery.start_soon(node.tick, "below", 1)

    async with behind(node) as (nursery, inner):
        inner.start_soon(above)
        nursery.start_soon(other.tick, "other", 1)
        await trio.sleep(2.5)
        node.gate.shut = True
        await trio.sleep(4)
        assert node.did == [(1, "below"), (2, "below")]
        assert len(other.did) == 6
        node.gate.open()
        await trio.sleep(1.9)
    assert node.did[2:] == [(6.5, "below"), (7.5, "below")]


async def test_held_tasks_go_on_in_their_order(autojump_clock: MockClock) -> None:
    """The order in which they would have run; shut again at once, they are held once more."""
    node = Node()

    async def wait(seconds: float) -> None:
        await trio.sleep(seconds)
        node.note(f"{seconds:g}")

    async with behind(node) as (_, inner):
        for seconds in (3, 1, 2):
            inner.start_soon(wait, seconds)
        await trio.sleep(0.5)
        node.gate.shut = True
        await trio.sleep(10)
        node.gate.open()
        node.gate.shut = True
        await trio.sleep(10)
        assert node.did == []
        node.gate.open()
        await trio.lowlevel.checkpoint()
        await trio.sleep(1)
    assert sorted(node.did) == [(20.5, "1"), (20.5, "2"), (20.5, "3")]


async def test_deadlines_pass_meanwhile(autojump_clock: MockClock) -> None:
    """Whoever slept past a deadline finds it passed, as soon as it runs."""
    node = Node()

    async def hurry() -> None:
        with trio.move_on_after(1) as scope:
            await trio.sleep(100)
        assert scope.cancelled_caught
        node.note("too late")

    async with behind(node) as (_, inner):
        inner.start_soon(hurry)
        await trio.sleep(0.5)
        node.gate.shut = True
        await trio.sleep(20)
        assert node.did == []
        node.gate.open()
        await trio.sleep(0.1)
    assert node.did == [(20.5, "too late")]


async def test_what_was_cancelled_hears_of_it_when_it_runs(autojump_clock: MockClock) -> None:
    """A stopped process cleans up when it goes on, and not before; a held one as well."""
    node = Node()

    async def tidy() -> None:
        try:
            await node.tick("tick", 1)
        finally:
            node.note("tidied up")

    async with behind(node) as (_, inner):
        inner.start_soon(tidy)
        inner.start_soon(tidy)
        await trio.sleep(0.5)
        node.gate.shut = True
        await trio.sleep(2)
        inner.cancel_scope.cancel()
        await trio.sleep(2)
        assert node.did == []
        node.gate.open()
        await trio.sleep(1)
    assert node.did == [(4.5, "tidied up")] * 2


async def test_a_task_may_be_spawned_behind_a_shut_gate(autojump_clock: MockClock) -> None:
    """It begins when the gate opens; what it raises and returns comes through."""
    node = Node()

    async def fail() -> None:  # noqa: ASYNC124 - it runs in Trio's time
        node.note("begun")
        raise KeyError("its own")

    with pytest.RaisesGroup(KeyError, flatten_subgroups=True):
        async with behind(node) as (_, inner):
            node.gate.shut = True
            inner.start_soon(fail)
            await trio.sleep(3)
            assert node.did == []
            node.gate.open()
    assert node.did == [(3, "begun")]


async def test_tasks_of_no_node_have_no_gate(autojump_clock: MockClock) -> None:
    """The keeper leaves them as they are."""
    trio.lowlevel.add_instrument(Gatekeeper())
    node = Node()
    with trio.move_on_after(1.5):
        async with trio.open_nursery() as nursery:  # noqa: ASYNC112 - a task of its own
            nursery.start_soon(node.tick, "free", 1)
    assert node.did == [(1, "free")]
