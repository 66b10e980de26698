"""Whether memory, tasks and descriptors stay as they are under constant load, for long.

    python -m tests.leaks                       an hour simulated, then ten minutes for real
    python -m tests.leaks --only simulated --seconds 600
    python -m tests.leaks --only real --minutes 3

Both parts register 200 services a second, free as many, break links, restart a node under its name
again and again, and have strangers knock. The retention is short, 30 s, for tombstones are kept for
so long by design: after a few of those as many are collected as are made. What is there is counted
after a warm-up of ten minutes (simulated) or two (real); the slope is that of least squares over
the least of every five minutes (simulated) or of every minute (real), and a slope over its bound
makes the exit status 1. Shorter runs have shorter warm-ups and windows.
"""

from __future__ import annotations

import gc
import itertools
import logging
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import trio

from manifest.testing import Conditions, SimulatedNetwork
from manifest.testing.scheduling import run_scheduled

from .churning import Churn
from .commands import INTERRUPTED, amount, command_line, interrupts
from .memory import Growth, growths, sample, table
from .processes import Process, worker
from .simulated import Node, running

__all__ = ["disturb", "main", "restart_again_and_again", "simulated_ring"]

RATE = 200.0
"""Registrations a second in the whole cluster, and as many frees."""
NODES = 3
HELD = 100
"""Services that each node holds."""
OPTIONS: dict[str, Any] = {
    "heartbeat_interval": 1.0,
    "registration_lifetime": 4.0,
    "retention": 30.0,
    "max_clock_skew": 5.0,
}
LEAST_SECONDS = 120.0
"""What is simulated is sampled every 10 s, and a twelfth of the time has to contain a sample."""
LEAST_MINUTES = 1.0
"""Real processes are sampled every 3 s or so, and a tenth of the time has to contain a sample."""
HOSTS = ("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4")

Samples = list[tuple[float, dict[str, float]]]
Stop = Callable[[], bool]
"""Whether to go on no longer."""


# Simulated


@asynccontextmanager
async def simulated_ring(network: SimulatedNetwork, **options: Any) -> AsyncIterator[list[Node]]:
    """Run nodes on simulated hosts, each with a link to the next, for the time of a block."""
    async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
        nursery.start_soon(network.deliver)
        nodes = [
            await stack.enter_async_context(running(network.host(host), **options))
            for host in HOSTS[:NODES]
        ]
        for node, after in zip(nodes, [*nodes[1:], nodes[0]], strict=True):
            await node.manifest.listen()
            node.manifest.connect(host=after.host.name)
        yield nodes
        nursery.cancel_scope.cancel()


async def churn_for(seconds: float, stop: Stop) -> Samples:
    """Return samples of a simulated cluster under load, after a sixth of the time to warm up."""
    network = SimulatedNetwork(1, Conditions(latency=(0.001, 0.005)))
    samples: Samples = []
    async with simulated_ring(network, **OPTIONS) as nodes, trio.open_nursery() as nursery:
        for node in nodes:
            nursery.start_soon(Churn(node.manifest, RATE / NODES, HELD, tick=0.5).run)
        nursery.start_soon(restart_again_and_again, network, OPTIONS)
        nursery.start_soon(disturb, network, nodes)
        for turn in range(1, int(seconds // 10) + 1):
            # Just then the node that is restarted is down.
            await trio.sleep_until(10 * turn - 1)
            if stop():
                break
            if 10 * turn > seconds / 6:
                gc.collect()
                samples.append((trio.current_time(), sample(*(n.manifest for n in nodes))))
        nursery.cancel_scope.cancel()
    return samples


async def restart_again_and_again(network: SimulatedNetwork, options: dict[str, Any]) -> None:
    """Have one host run a node of one name for the first 7 s of every 10 s; kill every other."""
    host = network.host(HOSTS[NODES])
    begun = trio.current_time()
    for turn in itertools.count():
        await trio.sleep_until(begun + 10 * turn)
        async with running(host, name="db-1", **options) as node:
            node.manifest.connect(host=HOSTS[0])
            node.manifest.register("db@1.0.0", port=5432)
            node.manifest.register("primary", id="primary", port=5432)
            await trio.sleep_until(begun + 10 * turn + 7)
            if turn % 2:
                await node.kill()


async def disturb(network: SimulatedNetwork, nodes: Sequence[Node]) -> None:
    """Cut links, knock and say nothing or nonsense, dial nobody, subscribe and wait and give up."""
    first, second, third = (node.manifest for node in nodes)
    stranger = network.host("10.0.0.9")
    turn = 0
    while True:
        turn += 1
        await trio.sleep(4)
        if turn % 4 == 0:
            network.cut(HOSTS[0], HOSTS[1])
        stream = await stranger.dial(HOSTS[turn % NODES], 3100)
        await stream.send_all([b"", b"\0\0\0\1x", b"GET / HTTP/1.1\r\n\r\n"][turn % 3])
        await trio.sleep(0.1)
        await trio.aclose_forcefully(stream)
        nobody = second.connect(port=3100, host="10.0.0.8")
        async with third.events() as events:
            with trio.move_on_after(0.2):
                await anext(events)
                await first.wait_for("nobody-has-this")
        if first.get("churn-1"):
            first.pick("churn-1")
        nobody.close()
        listener = await third.listen(0)
        await trio.sleep(0.1)
        listener.close()


# Real


async def churn_really(seconds: float, stop: Stop) -> dict[str, Samples]:
    """Return samples of real processes under load, after a fifth of the time to warm up."""
    samples: dict[str, Samples] = {}
    async with AsyncExitStack() as stack:
        members = [await stack.enter_async_context(worker(**OPTIONS)) for _ in range(NODES)]
        for member, after in zip(members, [*members[1:], members[0]], strict=True):
            await member.ask("connect", port=after.port)
        for member in members:
            await member.ask("synced")
            await member.ask("churn", rate=RATE / NODES, held=HELD, noted=False)
        begun = time.monotonic()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_knock, members)
            nursery.start_soon(_restart_a_process, members[0].port)
            for turn in itertools.count():
                await trio.sleep(3)
                passed = time.monotonic() - begun
                if passed >= seconds or stop():
                    break
                await members[turn % NODES].ask("connect_anew")
                for number, member in enumerate(members, start=1):
                    counted = await member.ask("sample")
                    if passed >= seconds / 5:
                        samples.setdefault(f"process {number}", []).append((passed, counted))
            nursery.cancel_scope.cancel()
    return samples


async def _knock(members: Sequence[Process]) -> None:
    """Connect every second and say nothing or nonsense."""
    turn = 0
    while True:
        turn += 1
        await trio.sleep(1)
        stream = await trio.open_tcp_stream("127.0.0.1", members[turn % NODES].port)
        async with stream:
            if turn % 2:
                await stream.send_all(b"GET / HTTP/1.1\r\n\r\n")
            await trio.sleep(0.1)


async def _restart_a_process(port: int) -> None:
    """Run a process under one name for 7 s, kill it, and do so again."""
    while True:
        async with worker(listen=None, name="db-1", **OPTIONS) as member:
            await member.ask("connect", port=port)
            await member.ask("register", count=3, role="db")
            await trio.sleep(7)
        await trio.sleep(3)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run both parts, print what grew, and return 1 where that was too much."""
    parser = command_line("tests.leaks", __doc__)
    parser.add_argument(
        "--only", choices=PARTS, help="one part alone; default: one after the other"
    )
    parser.add_argument(
        "--seconds",
        type=amount,
        default=3600.0,
        help=f"virtual, simulated, {LEAST_SECONDS:g} or more; default: %(default)g",
    )
    parser.add_argument(
        "--minutes",
        type=amount,
        default=10.0,
        help=f"between real processes, {LEAST_MINUTES:g} or more; default: %(default)g",
    )
    given = parser.parse_args(arguments)
    if given.seconds < LEAST_SECONDS:
        parser.error(f"--seconds is {LEAST_SECONDS:g} or more, got {given.seconds:g}")
    if given.minutes < LEAST_MINUTES:
        parser.error(f"--minutes is {LEAST_MINUTES:g} or more, got {given.minutes:g}")
    logging.disable()
    lasting = {"simulated": given.seconds, "real": 60 * given.minutes}
    found: list[Growth] = []
    judged: list[str] = []
    with interrupts() as stop:
        for kind in [given.only] if given.only else PARTS:
            found += _report(kind, lasting[kind], stop)
            if stop():
                break
            judged.append(kind)
    grown = [each.what for each in found if each.too_steep]
    if judged:
        say(f"too steep: {', '.join(grown) or 'nothing'}\n")
    if stop():
        say(f"interrupted; judged at its end was: {', '.join(judged) or 'nothing'}\n")
        return INTERRUPTED
    return 1 if grown else 0


def _simulate(seconds: float, stop: Stop) -> dict[str, Samples]:
    return {"all": run_scheduled(lambda _: churn_for(seconds, stop), seed=1, max_steps=1_000_000)}


def _really(seconds: float, stop: Stop) -> dict[str, Samples]:
    return trio.run(churn_really, seconds, stop)


PARTS: Mapping[str, Callable[[float, Stop], Mapping[str, Samples]]] = {
    "simulated": _simulate,
    "real": _really,
}


def _report(kind: str, seconds: float, stop: Stop) -> list[Growth]:
    began = time.monotonic()
    measured = PARTS[kind](seconds, stop)
    found: list[Growth] = []
    if stop():
        return found
    window = seconds / 12 if kind == "simulated" else seconds / 10
    for whose, samples in measured.items():
        developed = growths(samples, window)
        found += developed
        title = (
            f"{kind}, {whose}: {len(samples)} samples in {samples[-1][0] - samples[0][0]:,.0f} s"
        )
        say(f"{table(title, developed)}\n\n")
    say(
        f"{kind}: {RATE:g} registrations and frees a second, {NODES} nodes and one restarted "
        f"again and again, retention {OPTIONS['retention']:g} s; "
        f"took {time.monotonic() - began:,.0f} s\n\n"
    )
    return found


def say(text: str) -> None:
    """Write text to stdout at once."""
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
