"""Relays on a virtual clock: heartbeats wait there to share frames, and never for too long.

What is held to account is when heartbeats arrive, not by which settings or calls that comes about.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import permutations
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from manifest import Manifest, open_manifest
from manifest.messages import Gossip
from manifest.options import Options
from manifest.protocol import LinkProtocol
from manifest.replica import Joined, Replica
from manifest.testing import SimulatedNetwork

from .simulated import until

MOMENT = 0.01
"""Seconds by which all relays together may be late, for they count milliseconds."""
QUIET: dict[str, Any] = {"heartbeat_interval": 60.0, "registration_lifetime": 60.0}
"""Options of a relay that itself says too little to take anything along."""


@attrs.define
class Record:
    """What became of every heartbeat since `clear`."""

    fell_due: dict[str, float] = attrs.field(factory=dict)
    """When each node has last said that it is alive."""
    delays: dict[tuple[str, str], list[float]] = attrs.field(factory=dict)
    """Seconds until the heartbeats of a node, named last, were heard of at another, named first."""
    asked: list[str] = attrs.field(factory=list)
    """The nodes whose heartbeats were missed and asked for."""

    def clear(self) -> None:
        """Forget what has been noted, for instance while all began."""
        self.delays.clear()
        self.asked.clear()

    def between(self, hearers: Iterable[Manifest], speakers: Iterable[Manifest]) -> list[float]:
        """Return the delays from some of them to others."""
        heard, said = ({each.id for each in some} for some in (hearers, speakers))
        return [
            delay
            for (hearer, speaker), delays in self.delays.items()
            if hearer in heard and speaker in said
            for delay in delays
        ]


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> Record:
    """Have every heartbeat of every node noted."""
    noted = Record()
    heartbeat, accept, graft = Replica.heartbeat, Replica.accept, LinkProtocol.graft

    def speak(self: Replica) -> None:
        noted.fell_due[self.node] = trio.current_time()
        heartbeat(self)

    def hear(self: Replica, gossip: Gossip) -> Joined:
        joined = accept(self, gossip)
        for node in joined.within:
            delay = trio.current_time() - noted.fell_due[node]
            noted.delays.setdefault((self.node, node), []).append(delay)
        return joined

    def ask(self: LinkProtocol, nodes: Iterable[str]) -> None:
        asked = list(nodes)
        noted.asked += asked
        graft(self, asked)

    monkeypatch.setattr(Replica, "heartbeat", speak)
    monkeypatch.setattr(Replica, "accept", hear)
    monkeypatch.setattr(LinkProtocol, "graft", ask)
    return noted


@asynccontextmanager
async def cluster(
    *dials: Iterable[int], apart: float = 0.0, quiet: int | None = None, **options: Any
) -> AsyncIterator[tuple[SimulatedNetwork, list[Manifest]]]:
    """Run manifests of which each, opened so many seconds after the last one, dials earlier ones.

    They are on hosts "0", "1" and so on; a `quiet` one speaks once a minute.
    """
    network = SimulatedNetwork()
    async with AsyncExitStack() as stack:
        opened: list[Manifest] = []
        for number, peers in enumerate(dials):
            own = QUIET if number == quiet else options
            environment = network.host(f"{number}").environment()
            m = await stack.enter_async_context(open_manifest(environment=environment, **own))
            await m.listen()
            for peer in peers:
                await m.connect(host=f"{peer}").wait_synced()
            opened.append(m)
            await trio.sleep(apart)
        yield network, opened


@pytest.mark.parametrize(
    "interval,lifetime,waits",
    [(5.0, 5.0, 1.0), (1.0, 5.0, 0.2), (30.0, 30.0, 7.0), (10.0, 6.0, 0.49)],
)
async def test_nobody_misses_what_relays_hold_back(
    autojump_clock: MockClock, noted: Record, interval: float, lifetime: float, waits: float
) -> None:
    """Along a chain of eight, heartbeats wait on purpose, and none is ever asked for."""
    options: dict[str, Any] = {
        "heartbeat_interval": interval,
        "registration_lifetime": lifetime,
    }
    # All of them speak at once: so nothing that a relay says itself takes along what waits there.
    chain = ((), *([number] for number in range(7)))
    async with cluster(*chain, **options) as (_, manifests):
        await trio.sleep(4 * interval)
        noted.clear()
        await trio.sleep(20 * interval)
        assert noted.asked == []
        delays = noted.between(manifests[-1:], manifests[:1])
        assert len(delays) == 20
        assert waits < max(delays) < Options(**options).patience + MOMENT


@pytest.mark.parametrize("order", [*permutations(range(3))])
async def test_each_link_has_a_time_of_its_own(
    autojump_clock: MockClock, noted: Record, order: tuple[int, ...]
) -> None:
    """What waits on one link of a relay goes out in time when another link's has gone before."""
    async with cluster((), (), (), order, apart=0.3, quiet=3) as (_, (*leaves, _)):
        await trio.sleep(14)
        noted.clear()
        await trio.sleep(40)
        delays = noted.between(leaves, leaves)
        assert len(delays) == 6 * 8
        assert 0.8 < max(delays) < Options().patience + MOMENT
        assert noted.asked == []


async def test_who_was_heard_by_a_lost_link_is_asked_for_at_once(
    autojump_clock: MockClock, noted: Record
) -> None:
    """Of two ways one is spared; where the other one ends, no heartbeat is late for it."""
    async with cluster((), [0], [0], [1, 2], apart=0.7) as (network, (x, *relays, d)):
        await trio.sleep(30)
        (tree,) = [relay for relay in relays if not spares(d, relay, x)]
        # So that the next one is the first that may be late.
        noted.clear()
        await until(lambda: noted.between([d], [x]))
        noted.clear()
        network.partition("3", f"{1 + relays.index(tree)}")
        network.cut("3", f"{1 + relays.index(tree)}")
        await trio.sleep(11)
        delays = noted.between([d], [x])
        assert len(delays) == 2
        assert max(delays) < Options().patience + MOMENT


def spares(m: Manifest, relay: Manifest, owner: Manifest) -> bool:
    """Tell whether a node is spared an owner's heartbeats on its link to a relay."""
    (link,) = [each for each in m.links if each.status.peer == relay.id]
    assert link._connection is not None
    return owner.id in link._connection.protocol._pruned
