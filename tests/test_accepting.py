"""Accepting where the system has no descriptors left: nothing ends, and no log is flooded."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair

from manifest import open_manifest
from manifest.accepting import accept_for_ever
from manifest.testing import SimulatedNetwork
from manifest.testing.network import SimulatedListener

from .simulated import Puppet, until


class Exhausted(trio.abc.Listener[Any]):
    """A listener for which the system has descriptors only at times."""

    def __init__(self, *results: int | None) -> None:
        self.results = list(results)
        self.closed = False

    async def accept(self) -> Any:
        """Accept a stream, or fail with the next error, or wait for ever at the end."""
        await trio.lowlevel.checkpoint()
        if not self.results:
            await trio.sleep_forever()
        number = self.results.pop(0)
        if number is not None:
            raise OSError(number, os.strerror(number))
        return memory_stream_pair()[0]

    async def aclose(self) -> None:
        """Note that it was closed."""
        self.closed = True
        await trio.lowlevel.checkpoint()


async def accepting(listener: Exhausted, make_room: Callable[[], None]) -> list[float]:
    """Accept for two minutes; return when each stream was served."""
    served: list[float] = []

    async def serve(stream: object) -> None:
        served.append(round(trio.current_time(), 3))
        await trio.lowlevel.checkpoint()

    with trio.move_on_after(120):
        async with trio.open_nursery() as nursery:
            await accept_for_ever(listener, nursery, serve, make_room)
    return served


async def test_without_descriptors_it_tries_again(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Each failure asks for room and waits a little; whoever can be accepted is."""
    asked: list[float] = []
    listener = Exhausted(errno.EMFILE, errno.ENFILE, None, errno.ENOBUFS, errno.ENOMEM, None)
    served = await accepting(listener, lambda: asked.append(round(trio.current_time(), 3)))
    assert (served, asked) == ([0.2, 0.4], [0.0, 0.1, 0.2, 0.3])
    assert listener.closed
    (said,) = caplog.records
    assert (said.name, said.levelno, said.exc_info) == ("manifest", logging.WARNING, None)
    assert "Too many open files" in said.message
    assert "ulimit -n" in said.message


async def test_the_log_repeats_itself_once_a_minute(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Two minutes without a descriptor are two lines, however often it fails or succeeds."""
    results = [errno.EMFILE, errno.EMFILE, None] * 500
    await accepting(Exhausted(*results), lambda: None)
    assert len(caplog.records) == 2


async def test_what_is_no_shortage_comes_out(autojump_clock: MockClock) -> None:
    """Any other error of the system is not swallowed, and the listener is closed."""
    listener = Exhausted(errno.EBADF)
    with pytest.RaisesGroup(pytest.RaisesExc(OSError, match="Bad file")):
        await accepting(listener, lambda: None)
    assert listener.closed


async def test_a_manifest_outlives_a_shortage(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It counts each failure, lets a silent connection go to have a descriptor, and accepts."""
    accept, failures = SimulatedListener.accept, list[int]()

    async def fail(listener: SimulatedListener) -> Any:
        stream = await accept(listener)
        if failures:
            await stream.aclose()
            raise OSError(failures.pop(), "no descriptors")
        return stream

    monkeypatch.setattr(SimulatedListener, "accept", fail)
    network = SimulatedNetwork()
    async with (
        open_manifest(environment=network.host("10.0.0.1").environment()) as a,
        open_manifest(environment=network.host("10.0.0.2").environment()) as b,
    ):
        await a.listen()
        silent = Puppet(await network.host("10.0.0.3").dial("10.0.0.1", 3100))
        await until(lambda: a.links)
        failures += [errno.EMFILE, errno.EMFILE]
        link = b.connect(host="10.0.0.1")
        await link.wait_synced()
        assert a.statistics().refused == {"descriptors": 2, "ungreeted": 1}
        assert await silent.end.receive_some() != b""  # its Hello
        assert await silent.end.receive_some() == b""
