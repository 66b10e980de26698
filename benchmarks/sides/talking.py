"""How the program of one node is told what to do: a line of JSON for each call and each answer.

Every side of the comparison has a program like that. What it is told is the same for all of them:

ready                   nothing: it answers as soon as all is loaded
open {peers}            join the cluster by way of these ports; says its own port where it has one
watch {events}          be told what happens from now on
register {first, count, roles, load}    register so many services; says when it began and ended
register_each {count, gap}              one by one; says when each call was made, by port
free_each {gap}         free those again; says when, by port
seen                    when others' services were seen to come and go, by port
wait_for {count}        wait until so many services of others are here; says when that was
join {peers, count}     as `open`, and wait until so many are here; says when it began and ended
get {role, least, times}    look services up; says the seconds of each

All times are those of the monotonic clock, which all processes of a machine share.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import socket
import sys
import time
import traceback
from collections.abc import Callable, Coroutine
from typing import Any

import attrs
import semver
import trio

__all__ = [
    "HOST",
    "REFRESH",
    "TTL",
    "Sightings",
    "document",
    "free_port",
    "in_background",
    "in_range",
    "serve_asyncio",
    "serve_threads",
    "serve_trio",
    "service",
]

HOST = "127.0.0.1"
TTL = 10
"""Seconds after which all sides take a silent owner's services for gone, where they can."""
REFRESH = 5
"""Seconds between two signs of life."""


def service(number: int, roles: int) -> tuple[str, str, int, dict[str, Any]]:
    """Return the name, version, port and data of a service, the same for all sides."""
    zone = ("eu", "us", "ap")[number % 3]
    data = {"zone": zone, "weight": number % 100}
    return f"role-{number % roles}", f"1.{number % 7}.0", 1024 + number % 60_000, data


def document(number: int, roles: int) -> bytes:
    """Return the same service as a value for those that store bytes."""
    name, version, port, data = service(number, roles)
    record = {"role": name, "version": version, "address": HOST, "port": port, "data": data}
    return json.dumps(record, separators=(",", ":")).encode()


def in_range(found: list[dict[str, Any]], wanted: str | None) -> list[dict[str, Any]]:
    """Narrow what was found of a role to versions of at least this one: what a client has to do."""
    if wanted is None:
        return found
    least = semver.Version.parse(wanted)
    return [each for each in found if semver.Version.parse(each["version"]) >= least]


def free_port() -> int:
    """Return a port that nobody has bound at this moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
    return port


@attrs.define
class Sightings:
    """When others' services came and went, as their events arrived."""

    registered: dict[int, float] = attrs.field(factory=dict)
    freed: dict[int, float] = attrs.field(factory=dict)
    arrivals: list[float] = attrs.field(factory=list)

    def came(self, port: int) -> None:
        """Take note of a service that is there now."""
        now = time.monotonic()
        self.registered.setdefault(port, now)
        self.arrivals.append(now)

    def went(self, port: int) -> None:
        """Take note of a service that is gone now."""
        self.freed.setdefault(port, time.monotonic())

    def seen(self) -> dict[str, dict[int, float]]:
        """Return what was noted."""
        return {"registered": self.registered, "freed": self.freed}

    async def wait_for(self, count: int) -> float:
        """Wait until so many have come; return when the last of them did."""
        while len(self.arrivals) < count:  # noqa: ASYNC110 - each has its time already
            await asyncio.sleep(0.01)
        return self.arrivals[count - 1]


def in_background(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Run something for as long as the node runs; where it fails, the node ends, and says why."""

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            traceback.print_exception(error)
            sys.stderr.flush()
            os._exit(1)

    task = asyncio.ensure_future(work)
    task.add_done_callback(ended)
    return task


def _call(node: object, line: bytes | str) -> Any:
    method, arguments = json.loads(line)
    return None if method == "ready" else getattr(node, method)(**arguments)


def _say(answer: object) -> None:
    print(json.dumps(answer), flush=True)


async def serve_trio(node: object) -> None:
    """Do what is asked, until nothing is asked any more."""
    buffer = b""
    async for chunk in trio.lowlevel.FdStream(sys.stdin.fileno()):
        *lines, buffer = (buffer + chunk).split(b"\n")
        for line in lines:
            answer = _call(node, line)
            _say(await answer if inspect.isawaitable(answer) else answer)


def serve_asyncio(make: Callable[[], object]) -> None:
    """Make a node in a loop, and do what is asked, until nothing is asked any more."""

    async def serve() -> None:
        node = make()
        reader = asyncio.StreamReader(limit=2**20)
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            answer = _call(node, line)
            _say(await answer if inspect.isawaitable(answer) else answer)

    asyncio.run(serve())


def serve_threads(node: object) -> None:
    """Do what is asked by plain calls, until nothing is asked any more."""
    for line in sys.stdin:
        _say(_call(node, line))
