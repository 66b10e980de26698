"""The pieces of work that all sides are given: scenes, each of which measures one thing or more.

A scene is played by one side on a fresh stage, once for each repetition. It yields its figures one
by one, each with the name of its measure, so that a side that fails half way has been measured so
far.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping

import attrs

from .measuring import percentile, resident
from .processes import PATIENCE, NodeProcess, Stage, Unable

__all__ = ["FULL", "MEASURES", "QUICK", "SCENES", "Measure", "Scene", "Sizes", "measures"]

ROLES = 100
COLD = 5
"""Registrations that find nothing warm: they are made first, and are not what is asked about."""
MS, US = 1e3, 1e6


@attrs.frozen
class Sizes:
    """How much of everything there is."""

    samples: int
    """Registrations that are made one by one, the cold ones included."""
    gap: float
    """Seconds between two of them."""
    services: int
    lookups: int
    few: int
    """Services on a steady link."""
    large: int
    """The same, and of two maps that are equal."""
    window: float
    """Seconds for which a steady link is watched."""


FULL = Sizes(1_000 + COLD, 0.005, 10_000, 200, 1_000, 100_000, 15.0)
QUICK = Sizes(50 + COLD, 0.005, 1_000, 20, 100, 10_000, 10.0)


@attrs.frozen
class Measure:
    """One figure of a scene, of which less is always better."""

    name: str
    what: str
    """In words, with the sizes in braces."""
    unit: str
    goal: str = ""


MEASURES = (
    Measure("round-trip", "the yardstick: a bare Trio round trip of 100 bytes, p50", "ms"),
    Measure("register-p50", "register → seen on the other node, p50", "ms", "0.3"),
    Measure("register-p99", "register → seen on the other node, p99", "ms", "1.2"),
    Measure("free-p50", "free → gone on the other node, p50", "ms", "0.3"),
    Measure("two-hops-p50", "register → seen two hops away, p50", "ms", "0.55"),
    Measure("two-hops-p99", "register → seen two hops away, p99", "ms"),
    Measure(
        "bulk", "{services:,} registrations on one node until all are on the other", "s", "0.2"
    ),
    Measure("get", "get(role), {hits:,} of {services:,} services", "µs", "20"),
    Measure("range", "get(role, range), the same", "µs", "40"),
    Measure("miss", "get of a role that nobody has", "µs", "1"),
    Measure("join", "a fresh node joins {services:,} services", "ms", "90"),
    Measure("memory", "memory for {services:,} services, over the empty process", "MB", "8"),
    Measure("link-few", "steady link, {few:,} services", "B/s", "60"),
    Measure("link-many", "steady link, {large:,} services", "B/s", "60"),
    Measure("equal-time", "join of an equal map of {large:,} entries", "ms", "1"),
    Measure("equal-bytes", "the same, on the wire", "B", "1,000"),
)


def measures(sizes: Sizes) -> dict[str, Measure]:
    """Return the measures by name, with the sizes filled in."""
    given = attrs.asdict(sizes) | {"hits": sizes.services // ROLES}
    return {
        measure.name: attrs.evolve(measure, what=measure.what.format(**given))
        for measure in MEASURES
    }


Figures = Iterator[tuple[str, float]]


@attrs.frozen
class Scene:
    """One piece of work."""

    name: str
    play: Callable[[Stage, Sizes], Figures]
    measures: tuple[str, ...]


def _open(stage: Stage, node: NodeProcess, peer: int | None, *, proxied: bool = False) -> int:
    """Have a node join by way of the server, where there is one, or else of a peer.

    Returns the port at which the next one joins.
    """
    port = peer if stage.server_port is None else stage.server_port
    if port is not None and proxied:
        port = stage.proxied(port)
    own = node.call("open", peers=[] if port is None else [port])
    if stage.server_port is not None:
        return stage.server_port
    return port or 0 if own is None else int(own)


def _pair(stage: Stage, *, proxied: bool = False) -> tuple[NodeProcess, NodeProcess, int]:
    """Return a node, another that knows it, and the port at which a third can join."""
    one, other = stage.node(), stage.node()
    port = _open(stage, one, None, proxied=proxied)
    _open(stage, other, port, proxied=proxied)
    return one, other, port


def _delays(began: Mapping[str, float], seen: Mapping[str, float]) -> list[float]:
    missing = began.keys() - seen.keys()
    if missing:
        raise Unable(f"{len(missing)} of {len(began)} were not seen on the other node")
    return [(seen[port] - began[port]) * MS for port in began]


def _seen(node: NodeProcess, kind: str, count: int) -> dict[str, float]:
    """Return when services were seen to come or go; waits for those that are late."""
    deadline = time.monotonic() + 10
    while True:
        seen: dict[str, float] = node.call("seen")[kind]
        if len(seen) >= count or time.monotonic() > deadline:
            return seen
        time.sleep(0.2)


def _register_each(one: NodeProcess, other: NodeProcess, sizes: Sizes) -> list[float]:
    other.call("watch", events=True)
    began = one.call("register_each", count=sizes.samples, gap=sizes.gap)
    return _delays(began, _seen(other, "registered", sizes.samples))[COLD:]


def play_bare(stage: Stage, sizes: Sizes) -> Figures:
    """Round trips with nothing but Trio between them."""
    _, other, _ = _pair(stage)
    took = other.call("round_trips", count=sizes.samples, gap=sizes.gap)
    yield "round-trip", percentile(took, 0.5) * MS


def play_pair(stage: Stage, sizes: Sizes) -> Figures:
    """Services that are registered on one node, and freed again, as seen on the other."""
    one, other, _ = _pair(stage)
    took = _register_each(one, other, sizes)
    yield "register-p50", percentile(took, 0.5)
    yield "register-p99", percentile(took, 0.99)
    began = one.call("free_each", gap=sizes.gap)
    yield "free-p50", percentile(_delays(began, _seen(other, "freed", sizes.samples)), 0.5)


def play_chain(stage: Stage, sizes: Sizes) -> Figures:
    """The same with a node in between, to which both are linked."""
    middle, one, other = stage.node(), stage.node(), stage.node()
    port = _open(stage, middle, None)
    _open(stage, one, port)
    _open(stage, other, port)
    took = _register_each(one, other, sizes)
    yield "two-hops-p50", percentile(took, 0.5)
    yield "two-hops-p99", percentile(took, 0.99)


def play_many(stage: Stage, sizes: Sizes) -> Figures:
    """Many services: registered at once, looked up on the other node, fetched by a third."""
    one, other, port = _pair(stage)
    other.call("watch", events=False)
    # Where a server holds everything, its memory is what it costs; else that of any node.
    holder = stage.server_pid or other.process.pid
    empty = resident(holder)
    other.ask("wait_for", count=sizes.services)
    began, _ = one.call("register", first=0, count=sizes.services, roles=ROLES, load=False)
    yield "bulk", other.answer() - began
    yield "memory", (resident(holder) - empty) / 1e6
    for name, role, least in (
        ("get", "role-7", None),
        ("range", "role-7", "1.2.0"),
        ("miss", "nothing", None),
    ):
        took = other.call("get", role=role, least=least, times=sizes.lookups)
        yield name, percentile(took, 0.5) * US
    third = stage.node()
    third.ask("join", peers=[port], count=sizes.services)
    began, ended = third.answer()
    yield "join", (ended - began) * MS


def _link(stage: Stage, sizes: Sizes, services: int) -> float:
    """Return what a second costs on all connections of the two nodes, both ways, in bytes."""
    one, other, _ = _pair(stage, proxied=True)
    other.call("watch", events=False)
    other.ask("wait_for", count=services)
    one.call("register", first=0, count=services, roles=ROLES, load=True)
    other.answer(4 * PATIENCE)
    # Whatever the registrations still cause is no steady state.
    time.sleep(1)
    before, began = stage.counted(), time.monotonic()
    time.sleep(sizes.window)
    return (stage.counted() - before) / (time.monotonic() - began)


def play_link(stage: Stage, sizes: Sizes) -> Figures:
    """What a link carries on which nothing happens, with few services."""
    yield "link-few", _link(stage, sizes, sizes.few)


def play_large_link(stage: Stage, sizes: Sizes) -> Figures:
    """The same with many."""
    yield "link-many", _link(stage, sizes, sizes.large)


def play_equal(stage: Stage, sizes: Sizes) -> Figures:
    """Two nodes that hold the same, and are linked anew."""
    one, other, port = _pair(stage)
    other.ask("wait_for", count=sizes.large)
    one.call("register", first=0, count=sizes.large, roles=ROLES, load=True)
    other.answer()
    took, carried = other.call("join_again", port=port)
    yield "equal-time", took * MS
    yield "equal-bytes", carried


SCENES = {
    scene.name: scene
    for scene in (
        Scene("bare", play_bare, ("round-trip",)),
        Scene("pair", play_pair, ("register-p50", "register-p99", "free-p50")),
        Scene("chain", play_chain, ("two-hops-p50", "two-hops-p99")),
        Scene("many", play_many, ("bulk", "get", "range", "miss", "join", "memory")),
        Scene("link", play_link, ("link-few",)),
        Scene("large-link", play_large_link, ("link-many",)),
        Scene("equal", play_equal, ("equal-time", "equal-bytes")),
    )
}
