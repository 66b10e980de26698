"""Recorded sessions: all that a well-behaved peer said to a fresh one on a link, frame by frame.

They are what `tests/fuzz.py` mutates and `tests/hostile.py` replays. The recordings are made anew
by the code that is tested, so that they are valid in whatever format it speaks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from manifest.errors import ManifestError
from manifest.frames import FrameReader
from manifest.messages import Gossip
from manifest.options import Limits
from manifest.protocol import LinkProtocol
from manifest.records import key_of
from tests.wired import Bench, Site, Wire, record, tiny

__all__ = ["Session", "check_passes_on", "record_sessions", "visitor"]

_FIRST_VISITOR = 1_000
"""Nodes that are opened to hear a session again are not those that it was recorded with."""


@attrs.frozen
class Session:
    """What one side said."""

    name: str
    payloads: tuple[bytes, ...]
    options: dict[str, Any]
    """Of everyone in it."""
    now: float
    """When it was over, on the clock of the bench."""


class _Recorder(Wire):
    """A wire that keeps what was sent to one end."""

    def __init__(self, speaker: Site, hearer: Site) -> None:
        super().__init__(speaker, hearer)
        self.speaker, self.tape = speaker, bytearray()

    def send(self, site: Site) -> bool:
        end = self.ends[self.to(site)]
        before = len(end.incoming)
        moved = super().send(site)
        if site is self.speaker:
            self.tape += end.incoming[before:]
        return moved


_Play = Callable[[Bench, Site, _Recorder], None]


def _record(
    title: str, play: _Play, *, before: Callable[[Bench, Site], None] | None = None, **options: Any
) -> Session:
    options = {"limits": Limits(record_bytes=2048, frame_bytes=4096), **options}
    bench = Bench(now=100.0)
    speaker, hearer = bench.open_all(2, **options)
    if before is not None:
        before(bench, speaker)
    wire = _Recorder(speaker, hearer)
    bench.wires.append(wire)
    play(bench, speaker, wire)
    bench.settle()
    assert wire.failure(hearer) is None
    payloads = tuple(FrameReader(2**31).feed(bytes(wire.tape)))
    return Session(title, payloads, options, bench.now)


def record_sessions() -> list[Session]:
    """Return sessions that have in them, together, whatever is ever said."""
    return [
        _record("registrations", _registrations),
        _record("shared and persistent names", _names),
        _record("a named node that restarts", _restarts, name="db-1"),
        _record("many nodes", _many_nodes),
        _record("leaves", _leaves),
        _record("large data", _large_data),
        _record("parts", _parts, limits=tiny()),
        _record("collection", _names, before=_collection, retention=16.0, heartbeat_interval=2.0,
                registration_lifetime=2.0, max_clock_skew=4.0),
        _record("a farewell", _farewell, name="leaver"),
        _record("renewals", _renewals, before=_ageing, retention=16.0, heartbeat_interval=2.0,
                registration_lifetime=2.0, max_clock_skew=4.0),
    ]  # fmt: skip


def _registrations(bench: Bench, speaker: Site, wire: _Recorder) -> None:
    keys = [speaker.register(value=record(f"web-{n % 3}@1.{n}.0", n=n)) for n in range(12)]
    bench.settle()
    for key in keys[::3]:
        speaker.free(key)
    bench.pass_time(6)
    speaker.register(keys[1], record("web@2.0.0-rc.1", zone="eu"))


def _names(bench: Bench, speaker: Site, wire: _Recorder) -> None:
    third = bench.open(**_alike(speaker))
    bench.connect(speaker, third)
    for site in (third, speaker):
        for name in ("primary", "größe", key_of("db", persistent=True)):
            site.register(name, record("db@1.0.0", by=site.node))
        bench.settle()
    third.free(key_of("db", persistent=True))
    speaker.register(key_of(f"{speaker.node}.99", persistent=True))
    bench.settle()
    speaker.free("primary")
    third.register("primary")


def _restarts(bench: Bench, speaker: Site, wire: _Recorder) -> None:
    for _ in range(3):
        third = bench.open(**{**_alike(speaker), "name": "db-2"})
        link = bench.connect(speaker, third)
        third.register()
        bench.settle()
        bench.cut(link)
        bench.pass_time(2)


def _many_nodes(bench: Bench, speaker: Site, wire: _Recorder) -> None:
    hub = bench.open(**_alike(speaker))
    bench.connect(speaker, hub)
    for number in range(25):
        site = bench.open(**{**_alike(speaker), "name": f"node-{number}"})
        bench.connect(hub, site)
        site.register(value=record("web"))
    bench.pass_time(6)


def _leaves(bench: Bench, speaker: Site, wire: _Recorder) -> None:
    third = bench.open(**_alike(speaker))
    bench.connect(speaker, third)
    for _ in range(5):
        third.register()
    bench.settle()
    third.replica.leave()
    third.note()


def _large_data(bench: Bench, speaker: Site, wire: _Recorder) -> None:
    deep: Any = "end"
    for level in range(14):
        deep = [deep] if level % 2 else {"in": deep}
    speaker.register(value=record(numbers=[2**64 - 1, -(2**63), 0.5, True, None] * 20, deep=deep))
    speaker.register(value=record(text="ü" * 500))
    speaker.register(value=record(many={f"key-{n}": n for n in range(60)}))


def _parts(bench: Bench, speaker: Site, wire: _Recorder) -> None:
    for n in range(60):
        speaker.register(value=record(f"web-{n}@1.0.0", text="x" * (n % 90)))
    bench.settle()
    bench.pass_time(11)


def _collection(bench: Bench, speaker: Site) -> None:
    for n in range(30):
        key = speaker.register()
        if n % 2:
            speaker.free(key)
        bench.pass_time(1)
    speaker.register(key_of("kept", persistent=True))


def _farewell(bench: Bench, speaker: Site, wire: _Recorder) -> None:
    speaker.register()
    bench.settle()
    speaker.replica.leave()
    speaker.note()
    bench.settle()
    wire.protocol(speaker).close("closed", "the manifest was closed")


def _ageing(bench: Bench, speaker: Site) -> None:
    for n in range(12):
        speaker.register(value=record(n=n))
    bench.pass_time(7)


def _renewals(bench: Bench, speaker: Site, wire: _Recorder) -> None:
    bench.settle()
    speaker.register(f"{speaker.node}.5", record(n="anew"))
    speaker.free(f"{speaker.node}.7")
    bench.pass_time(4)
    assert any(message.renewals for message in wire.said(speaker, Gossip))


def _alike(site: Site) -> dict[str, Any]:
    return {**attrs.asdict(site.options, recurse=False), "name": None}


def visitor(session: Session) -> Site:
    """Return a node that was not there when a session was recorded, at the time of its end."""
    bench = Bench(now=session.now)
    for _ in range(_FIRST_VISITOR):
        next(bench._nodes)
    return bench.open(**{**session.options, "name": None})


def check_passes_on(site: Site) -> None:
    """Have a node tell a fresh one all that it holds; AssertionError where that is refused."""
    fresh = site.bench.open(**_alike(site))
    ends = LinkProtocol(site.replica), LinkProtocol(fresh.replica)
    try:
        while said := [end.bytes_to_send() for end in ends]:
            if not any(said):
                break
            try:
                for end, data in zip(reversed(ends), said, strict=True):
                    end.receive_data(data)
            except ManifestError as error:
                raise AssertionError(
                    f"a fresh replica refuses what was accepted: {error}"
                ) from error
        assert fresh.replica.map == site.replica.map, "a fresh replica holds something else"
        fresh.note()
    finally:
        site.bench.sites.remove(fresh)
