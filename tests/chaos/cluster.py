"""Clusters of real processes that a fault is done to: on hosts of their own, or on this one."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import attrs

from tests.processes import Process, worker

from .history import History
from .namespaces import Cable, Host, Lab

__all__ = ["HEARTBEAT", "LEASE", "LIFETIME", "Cluster", "Place", "chain", "member", "ring"]

HEARTBEAT, LIFETIME = 1.0, 4.0
LEASE = HEARTBEAT + LIFETIME
RATE, HELD = 20.0, 20
"""The load of each process: registrations a second, as many frees, and what it holds."""


@attrs.frozen
class Place:
    """Where the processes of a fault run, and where what they say on stderr goes."""

    directory: Path
    lab: Lab | None


@attrs.define(eq=False)
class Cluster:
    """Processes under load, of which each has a link to the next."""

    members: list[Process]
    hosts: list[Host]
    cables: list[Cable]
    place: Place

    async def load(self) -> None:
        """Have all of them register and free."""
        for each in self.members:
            await each.ask("watch")
            await each.ask("churn", rate=RATE, held=HELD)

    async def histories(self, *, but: Sequence[Process] = ()) -> list[History]:
        """Return what all of them did and saw."""
        return [
            History.of(each.id, await each.ask("history"))
            for each in self.members
            if each not in but
        ]

    def said(self) -> str:
        """Return what the processes said on stderr."""
        return "".join(path.read_text() for path in sorted(self.place.directory.iterdir()))


@asynccontextmanager
async def member(
    place: Place, number: int, host: Host | None = None, **options: Any
) -> AsyncIterator[Process]:
    """Run one process: listening on this machine, or on a host at port 3100."""
    options = {"heartbeat_interval": HEARTBEAT, "registration_lifetime": LIFETIME, **options}
    path = place.directory / f"{number}.txt"
    where: dict[str, Any] = {}
    if host is not None:
        where = {"within": host.within, "listen": 3100, "host": "0.0.0.0"}
    with path.open("ab") as stderr:
        async with worker(stderr=stderr, **where, **options) as process:
            yield process


@asynccontextmanager
async def ring(
    place: Place, count: int = 5, *, bad: tuple[float, float] | None = None, **options: Any
) -> AsyncIterator[Cluster]:
    """Run a ring: on hosts joined by cables where there is a lab, else on loopback.

    `bad` cables have a delay in seconds and lose a share of the packets.
    """
    async with _joined(place, count, closed=True, bad=bad, **options) as cluster:
        yield cluster


@asynccontextmanager
async def chain(place: Place, count: int = 2, **options: Any) -> AsyncIterator[Cluster]:
    """Run a chain, as `ring` does a ring."""
    async with _joined(place, count, closed=False, bad=None, **options) as cluster:
        yield cluster


@asynccontextmanager
async def _joined(
    place: Place, count: int, *, closed: bool, bad: tuple[float, float] | None, **options: Any
) -> AsyncIterator[Cluster]:
    lab = place.lab
    pairs = [(index, (index + 1) % count) for index in range(count if closed else count - 1)]
    async with AsyncExitStack() as stack:
        hosts = [lab.host(f"{os.urandom(2).hex()}") for _ in range(count)] if lab else []
        cables: list[Cable] = []
        if lab:
            for one, other in pairs:
                ends = hosts[one], hosts[other]
                cables.append(
                    lab.bad_cable(*ends, delay=bad[0], loss=bad[1]) if bad else lab.cable(*ends)
                )
        members = [
            await stack.enter_async_context(
                member(place, index, hosts[index] if hosts else None, **options)
            )
            for index in range(count)
        ]
        for number, (one, other) in enumerate(pairs):
            host = cables[number].addresses[1] if cables else "127.0.0.1"
            await members[one].ask("connect", port=members[other].port, host=host)
        for each in members:
            await each.ask("synced")
            await each.ask("until", role="manifest", count=count)
        yield Cluster(members, hosts, cables, place)
