"""Clicks of many machines are added up on one: wrong, refuted by a simulation, and mended.

The wrong version tells the collector how many clicks are new, and says so again where it got no
answer. Where it was the answer that was lost, clicks count twice. The right one tells how many
there ever were: said twice, that is the same.

docs/testing.md leads through it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, ClassVar

import trio
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from manifest.testing import Application, Cluster, Node, Plan, plans, run_plan, simulate

# The protocol. Nothing here knows of simulations: `dial` may well be
# `partial(trio.open_tcp_stream, host, port)`, and `disk` a shelve.


async def receive_line(stream: trio.abc.Stream, buffer: bytearray) -> str:
    """Return the next whole line; `buffer` has what came behind the last one."""
    while b"\n" not in buffer:
        data = await stream.receive_some()
        if not data:
            raise trio.BrokenResourceError("the other side is gone")
        buffer += data
    line, _, rest = buffer.partition(b"\n")
    buffer[:] = rest
    return line.decode()


class Sender:
    """Counts clicks, and tells the collector of them."""

    def __init__(self, name: str, disk: dict[str, Any]) -> None:
        self.name, self.disk = name, disk
        disk.setdefault("clicks", 0)
        disk.setdefault("told", 0)
        self.clicked = trio.Event()

    def click(self) -> None:
        """Count one more."""
        self.disk["clicks"] += 1
        self.clicked.set()

    def message(self) -> str:
        """Say how many clicks are new."""
        return str(self.disk["clicks"] - self.disk["told"])

    async def report(self, dial: Callable[[], Awaitable[trio.abc.Stream]]) -> None:
        """Tell the collector of all clicks, over as many connections as it takes."""
        while True:
            try:
                stream = await dial()
                try:
                    await self._tell(stream)
                finally:
                    await trio.aclose_forcefully(stream)
            except (OSError, trio.BrokenResourceError, trio.TooSlowError):
                await trio.sleep(0.5)

    async def _tell(self, stream: trio.abc.Stream) -> None:
        buffer = bytearray()
        while True:
            if (clicks := self.disk["clicks"]) == self.disk["told"]:
                self.clicked = trio.Event()
                await self.clicked.wait()
                continue
            with trio.fail_after(2):
                await stream.send_all(f"{self.message()}\n".encode())
                await receive_line(stream, buffer)
            self.disk["told"] = clicks


class Collector:
    """Adds up the clicks of all senders."""

    def __init__(self, disk: dict[str, Any]) -> None:
        self.disk = disk

    @property
    def total(self) -> int:
        """How many clicks there were."""
        return int(self.disk.get("total", 0))

    def add(self, message: str) -> None:
        """Take in what a sender says."""
        self.disk["total"] = self.total + int(message)

    async def serve(self, stream: trio.abc.Stream) -> None:
        """Take in what one sender says, and answer it."""
        buffer = bytearray()
        try:
            while True:
                self.add(await receive_line(stream, buffer))
                await stream.send_all(b"ok\n")
        except trio.BrokenResourceError:
            pass


class MendedSender(Sender):
    """Says who it is, and how many clicks it ever counted."""

    def message(self) -> str:
        """Say how many clicks there were, new or not."""
        return f"{self.name} {self.disk['clicks']}"


class MendedCollector(Collector):
    """Keeps the greatest number that each sender has said."""

    @property
    def total(self) -> int:
        """How many clicks there were."""
        return sum(self.disk.values())

    def add(self, message: str) -> None:
        """Take in what a sender says; twice is as good as once."""
        name, clicks = message.split()
        self.disk[name] = max(int(clicks), self.disk.get(name, 0))


# What is simulated: node 0 collects, the others send.


class Naive(Application[Sender | Collector]):
    """What one node does, what can be done to it, and what must hold."""

    sender: ClassVar[type[Sender]] = Sender
    collector: ClassVar[type[Collector]] = Collector

    def __init__(self) -> None:
        self.clicks = 0
        """How many there really were."""

    async def run(self, node: Node[Sender | Collector]) -> None:
        """Run a node until it is killed or leaves."""
        async with trio.open_nursery() as nursery:
            if node.peers:
                sender = node.state = self.sender(node.name, node.disk)
                nursery.start_soon(sender.report, partial(node.dial, node.peers[0]))
            else:
                collector = self.collector(node.disk)
                listener = await node.listen()
                nursery.start_soon(trio.serve_listeners, collector.serve, [listener])
                node.state = collector
            await node.leaving.wait()
            nursery.cancel_scope.cancel()

    def do(self, node: Node[Sender | Collector], operation: object) -> None:
        """Click, if the node is a sender."""
        if isinstance(node.state, Sender):
            node.state.click()
            self.clicks += 1

    def check(self, cluster: Cluster[Sender | Collector]) -> None:
        """No click counts twice."""
        for state in cluster.states:
            if isinstance(state, Collector):
                assert state.total <= self.clicks, f"{self.clicks} clicks, {state.total} counted"

    def check_converged(self, cluster: Cluster[Sender | Collector]) -> None:
        """Every click of a sender that is up has been counted."""
        sent = sum(state.disk["clicks"] for state in cluster.states if isinstance(state, Sender))
        for state in cluster.states:
            if isinstance(state, Collector):
                assert state.total >= sent, f"{sent} clicks, {state.total} counted"


class Mended(Naive):
    """The same, of the version that is right."""

    sender = MendedSender
    collector = MendedCollector


# The same plans in every run; of your own tests you would want new ones each time.
reproducible = settings(
    max_examples=200,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate, Phase.shrink],
)
# Pauses on both sides of the timeout, and first one in which a message and its answer fit.
clicks = plans(st.just("click"), nodes=(2, 3), pauses=[0.1, 0.0, 1.0, 3.0], topologies=["star"])


@reproducible
@given(clicks)
def test_naive(plan: Plan) -> None:
    """Fails."""
    run_plan(Naive, plan)


@reproducible
@given(clicks)
def test_mended(plan: Plan) -> None:
    """Holds."""
    run_plan(Mended, plan)


def main() -> None:
    try:
        test_naive()
    except AssertionError as failure:
        print("The wrong version is refuted:", failure, *failure.__notes__, sep="\n\n")
    else:
        raise SystemExit("the wrong version passed, and should not have")
    test_mended()
    report = simulate(Mended, lambda _: "click", seed=1, seconds=600, nodes=5, topology="star")
    print(f"The right one holds, and for {report.seconds:.0f} simulated seconds: {report}")


if __name__ == "__main__":
    main()
