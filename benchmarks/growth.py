"""How cost grows with the number of services and of nodes: tables, and a plot of both.

    python -m benchmarks growth --nodes 2 10 50 --heartbeats 4
    python -m benchmarks growth --nodes             services alone; what there is of nodes is kept
    python -m benchmarks growth --services          nodes alone; what there is of services is kept
    python -m benchmarks growth --replot build/benchmarks/growth.json

Services: one pair of nodes that a benchmark moves by hand, so that every byte and all processor
time is that of the work. Nodes: whole clusters in simulation, which run the real code on virtual
time; what a node costs is the processor time of the whole simulation, divided by their number, and
so contains the simulated network. Each of the two tables says when and where it was measured.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import logging
import math
import random
import sys
import time
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import trio

from manifest import Manifest, open_manifest
from manifest.options import Options
from manifest.query import parse_query
from manifest.testing import Application, Cluster, Conditions, Do, Heal, Node, Plan, Step, run_plan

from .commands import check_count, command_line
from .drawing import drawable, finish, save, subplots
from .hands import Hand, Pair, record
from .measuring import LEAST_REPETITIONS, Spread, machine, timed
from .tables import figure, measured_on, spread, table, write_report

__all__ = ["NODES", "SERVICES", "TOPOLOGIES", "main", "neighbours", "plot", "to_markdown"]

ROOT = Path(__file__).parents[1]
SERVICES = (100, 1_000, 10_000, 100_000)
NODES = (2, 5, 10, 20, 50, 100, 200, 500)
TOPOLOGIES = ("ring", "tree", "mesh 3", "mesh 6")
_ROLES = 100
_INTERVAL = Options().heartbeat_interval
_WARM = 3 * _INTERVAL - 0.1
"""Virtual seconds until links are made, trees grown, and all is quiet: just before all heartbeats
fall due, which is when everything was opened. What is measured is whole intervals from there on."""
_WRITES = 20
"""How many more writes a cluster gets once the first is everywhere."""
_LATENCY = 0.01
"""Virtual seconds that everything takes over a link: a round, as the table counts them."""


# Services


def measure_services(count: int) -> dict[str, float]:
    """Return what things cost where there are so many services; times are processor time."""
    pair = Pair()
    pair.carry()
    gc.collect()
    tracemalloc.start()
    pair.one.fill(count)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    joined, carried = timed(pair.carry)
    figures = {
        "join, ms": joined,
        "join, bytes a service": carried / count,
        "memory, bytes a service": held / count,
        "heartbeats of both, bytes": float(pair.beat()),
    }
    figures |= _write(pair, count)
    pair.link()
    took, carried = timed(pair.carry)
    figures |= {"equal join, ms": took, "equal join, bytes": float(carried)}
    return figures | _lookups(pair.other)


def _write(pair: Pair, count: int, times: int = 200) -> dict[str, float]:
    carried = 0

    def write() -> None:
        nonlocal carried
        for number in range(times):
            pair.one.fill(1, first=count + number)
            carried += pair.carry()

    took, _ = timed(write)
    return {"a write, µs": took * 1000 / times, "a write, bytes": carried / times}


def _lookups(hand: Hand, times: int = 1000) -> dict[str, float]:
    figures: dict[str, float] = {}
    for name, text in (("get(role), µs", "role-7"), ("get(range), µs", "role-7@^1.2")):
        query = parse_query(text)
        select = hand.replica.view.select

        def look(select: Callable[..., object] = select, query: object = query) -> None:
            for _ in range(times):
                select(query)

        # The first one sorts.
        select(query)
        took, _ = timed(look)
        figures[name] = took * 1000 / times
    return figures | {"get(role) after a change, µs": _lookup_after_change(hand)}


def _lookup_after_change(hand: Hand, rounds: int = 11) -> float:
    """Return what a lookup takes where one more service of that role has just been registered.

    The median of some rounds, in each of which all roles are changed and then looked up once.
    """
    replica, first = hand.replica, 10_000_000
    keys = [f"{replica.node}.{first + role}" for role in range(_ROLES)]
    queries = [parse_query(f"role-{role}") for role in range(_ROLES)]
    took: list[float] = []

    def look() -> None:
        for query in queries:
            replica.view.select(query)

    look()
    for _ in range(rounds):
        for role, key in enumerate(keys):
            replica.write(key, record(first + role))
        took.append(timed(look)[0] * 1000 / _ROLES)
        for key in keys:
            replica.free(key)
    return Spread.of(took).median


# Nodes


def neighbours(topology: str, nodes: int, seed: int = 0) -> list[tuple[int, ...]]:
    """Return which others each node dials. ValueError for a topology that there is not.

    Every node of a `mesh 3` has three links or one more, drawn at random; a tree has two branches.

    >>> neighbours("ring", 4), neighbours("tree", 4)
    ([(3,), (0,), (1,), (2,)], [(), (0,), (0,), (1,)])
    """
    match topology.split():
        case ["ring"]:
            # Of two nodes each would dial the other.
            return [((node - 1) % nodes,) if node or nodes > 2 else () for node in range(nodes)]
        case ["tree"]:
            return [((node - 1) // 2,) if node else () for node in range(nodes)]
        case ["mesh", degree] if degree.isdecimal():
            return _mesh(nodes, int(degree), random.Random(f"{seed}/{topology}"))
    raise ValueError(f"a topology here is one of {', '.join(TOPOLOGIES)}, got {topology!r}")


def _mesh(nodes: int, degree: int, draw: random.Random) -> list[tuple[int, ...]]:
    # A ring keeps all of them together; then those with the fewest links get one more each.
    links: list[set[int]] = [set() for _ in range(nodes)]
    dialled: list[list[int]] = [[] for _ in range(nodes)]

    def link(one: int, other: int) -> None:
        links[one].add(other)
        links[other].add(one)
        dialled[one].append(other)

    for node in range(1, nodes):
        link(node, node - 1)
    if nodes > 2:
        link(0, nodes - 1)
    while True:
        lacking = [node for node in range(nodes) if len(links[node]) < min(degree, nodes - 1)]
        if not lacking:
            return [tuple(each) for each in dialled]
        one = draw.choice(lacking)
        others = [node for node in range(nodes) if node != one and node not in links[one]]
        fewest = min(len(links[node]) for node in others)
        link(one, draw.choice([node for node in others if len(links[node]) == fewest]))


@attrs.define(eq=False)
class Registries(Application[Manifest]):
    """Manifests at default settings, linked as a topology says, and what their network carries."""

    dialled: list[tuple[int, ...]]
    steady: float
    """Virtual seconds from which on nothing happens but heartbeats."""
    began: tuple[float, int, float] = (0.0, 0, 0.0)
    ended: tuple[float, int, float] = (0.0, 0, 0.0)
    written: float = 0.0
    spread: float = math.inf
    believed: int = 0
    entries: list[int] = attrs.field(factory=list[int])
    """How many entries all links had carried at each count."""
    counting: bool = False

    async def run(self, node: Node[Manifest]) -> None:
        async with open_manifest(environment=node.environment()) as manifest:
            await manifest.listen(3100)
            for peer in self.dialled[node.index]:
                manifest.connect(3100, f"n{peer}")
            node.state = manifest
            await node.leaving.wait()

    def do(self, node: Node[Manifest], operation: object) -> None:
        assert node.state is not None
        if operation == "count":
            self.counting = True
        elif operation == "another write":
            node.state.register("another@1.0.0", port=80)
        else:
            self.written = trio.current_time()
            node.state.register("written@1.0.0", port=80)

    def check(self, cluster: Cluster[Manifest]) -> None:
        if self.counting:
            self.counting = False
            links = [link for each in cluster.states for link in each.statistics().links]
            self.entries.append(sum(link.traffic.entries_sent for link in links))
        carried = sum(cluster.network.transmitted.values())
        look = trio.current_time(), carried, time.process_time()
        if not self.written:
            if trio.current_time() <= self.steady:
                self.began = look
            self.ended = look
            self.believed = min(each.statistics().nodes for each in cluster.states)
        elif self.spread == math.inf and all(each.get("written") for each in cluster.states):
            self.spread = trio.current_time() - self.written


def measure_nodes(nodes: int, topology: str, heartbeats: int) -> dict[str, float]:
    """Return what a cluster of so many nodes costs, and how soon a write is everywhere.

    The cost is that of so many heartbeats of each node, and of nothing else.
    """
    dialled = neighbours(topology, nodes)
    made: list[Registries] = []

    def make() -> Registries:
        made.append(Registries(dialled, _WARM))
        return made[-1]

    # A look once a round after the write says how many rounds that took.
    look = [Step(_LATENCY, Heal()) for _ in range(20 + 2 * nodes)]
    steps = [
        Step(_WARM, Heal()),
        Step(heartbeats * _INTERVAL, Heal()),
        Step(0.01, Do(0, "write")),
        *look,
    ]
    # Further writes all over the cluster; at the end the last of them gets time for its hops.
    steps.append(Step(0.1, Do(0, "count")))
    writes = [Do(number * nodes // _WRITES, "another write") for number in range(_WRITES)]
    steps += [Step(0.1, write) for write in writes]
    steps.append(Step(0.5 + nodes * _LATENCY, Do(0, "count")))
    conditions = Conditions(latency=(_LATENCY, _LATENCY))
    plan = Plan(nodes, steps, topology="chain", conditions=conditions)
    run_plan(make, plan, max_steps=100_000_000)
    run = made[0]
    virtual = run.ended[0] - run.began[0]
    links = sum(len(each) for each in dialled)
    return {
        "links a node": 2 * links / nodes,
        "B/s a node": (run.ended[1] - run.began[1]) / virtual / nodes,
        "B/s a link": (run.ended[1] - run.began[1]) / virtual / max(links, 1),
        "CPU a node, %": (run.ended[2] - run.began[2]) / virtual / nodes * 100,
        "rounds until a write is everywhere": run.spread / _LATENCY,
        "entries a link for a write": (run.entries[1] - run.entries[0]) / _WRITES / max(links, 1),
        "nodes believed, least": float(run.believed),
    }


# What is said of it

_SERVICE_ROWS = (
    "join, ms",
    "join, bytes a service",
    "memory, bytes a service",
    "heartbeats of both, bytes",
    "a write, µs",
    "a write, bytes",
    "get(role), µs",
    "get(role) after a change, µs",
    "get(range), µs",
    "equal join, ms",
    "equal join, bytes",
)
"""In the order of the table; `get` is of a hundredth of all services."""


def to_markdown(report: Mapping[str, Any]) -> str:
    """Return a report as a table or two, each with when and where it was measured."""
    said: list[str] = []
    if "services" in report:
        said += _services_to_markdown(report["services"])
    if "nodes" in report:
        said += _nodes_to_markdown(report["nodes"])
    return "\n\n".join(said)


def _services_to_markdown(part: Mapping[str, Any]) -> list[str]:
    measured: Mapping[str, Mapping[str, Sequence[float]]] = part["measured"]
    rows = [
        [name, *(spread(Spread.of(each[name])) for each in measured.values())]
        for name in _SERVICE_ROWS
    ]
    return [
        table(["services", *(f"{int(count):,}" for count in measured)], rows),
        measured_on(part["machine"], repetitions=part["repetitions"], quick=part["quick"]),
    ]


def _nodes_to_markdown(part: Mapping[str, Any]) -> list[str]:
    measured: Mapping[str, Mapping[str, Mapping[str, float]]] = part["measured"]
    columns = [*next(each for sizes in measured.values() for each in sizes.values())]
    rows = [
        [topology, f"{int(count):,}", *(figure(each[name]) for name in columns)]
        for topology, sizes in measured.items()
        for count, each in sizes.items()
    ]
    said = measured_on(part["machine"], repetitions=1, quick=part["quick"])
    return [
        table(["topology", "nodes", *columns], rows),
        f"Each cluster is simulated once, at default settings. {said}",
    ]


_SERVICE_PANELS = (
    (("join, ms", "equal join, ms"), "a fresh link, ms of processor time"),
    (("a write, bytes", "heartbeats of both, bytes"), "on a link, bytes"),
    (
        ("a write, µs", "get(role), µs", "get(role) after a change, µs", "get(range), µs"),
        "µs of processor time",
    ),
    (("memory, bytes a service", "join, bytes a service"), "bytes a service"),
)
_NODE_PANELS = ("B/s a link", "B/s a node", "CPU a node, %", "rounds until a write is everywhere")


def plot(report: Mapping[str, Any], to: Path) -> None:
    """Draw a report to a PNG. Needs matplotlib, which is in the dependency group `bench`."""
    parts = [part for part in ("services", "nodes") if part in report]
    figure, axes = subplots(len(parts), 4)
    for part, row in zip(parts, axes, strict=True):
        measured = report[part]["measured"]
        if part == "services":
            for axis, (names, title) in zip(row, _SERVICE_PANELS, strict=True):
                for name in names:
                    medians = [Spread.of(each[name]).median for each in measured.values()]
                    axis.plot([int(count) for count in measured], medians, marker="o", label=name)
                finish(axis, title, part, [int(count) for count in measured])
        else:
            sizes = sorted({int(count) for each in measured.values() for count in each})
            for axis, name in zip(row, _NODE_PANELS, strict=True):
                for topology, each in measured.items():
                    values = [each[count][name] for count in each]
                    axis.plot([int(count) for count in each], values, marker="o", label=topology)
                finish(axis, name, part, sizes)
    save(figure, {part: report[part] for part in parts}, to)


_NONE = "default: {}; no number at all measures none"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure how cost grows, or draw what was measured; print the tables."""
    parser = command_line("growth", __doc__)
    parser.add_argument(
        "--services", type=int, nargs="*", default=SERVICES, help=_NONE.format(SERVICES)
    )
    parser.add_argument("--nodes", type=int, nargs="*", help=_NONE.format(NODES))
    parser.add_argument(
        "--topologies", nargs="+", default=TOPOLOGIES, choices=TOPOLOGIES, metavar="NAME"
    )
    parser.add_argument("--heartbeats", type=int, default=2, help="of each node; default: 2")
    parser.add_argument("--repetitions", type=int, default=LEAST_REPETITIONS, help="of services")
    parser.add_argument("--quick", action="store_true", help="up to 20 nodes and 10,000 services")
    parser.add_argument("--directory", type=Path, default=Path("build/benchmarks"))
    parser.add_argument("--replot", type=Path, metavar="FILE", help="draw an earlier growth.json")
    parser.add_argument("--png", type=Path, help="default: growth.png in the directory")
    given = parser.parse_args(arguments)
    check_count(parser, "--repetitions", given.repetitions)
    check_count(parser, "--heartbeats", given.heartbeats)
    if given.replot is not None:
        report = json.loads(given.replot.read_text("utf-8"))
    else:
        if given.nodes is None:
            given.nodes = [count for count in NODES if not given.quick or count <= 20]
        if given.quick:
            given.services = [count for count in given.services if count <= 10_000]
        if not given.services and not given.nodes:
            parser.error("there is nothing to measure: neither services nor nodes")
        report = _measure(given)
    print(to_markdown(report))
    if drawable():
        plot(report, given.png or given.directory / "growth.png")


def _measure(given: argparse.Namespace) -> dict[str, Any]:
    """Measure the parts that are asked for; what there is of the other part is kept as it is."""
    logging.disable()
    to = given.directory / "growth.json"
    kept = to.exists() and not (given.services and given.nodes)
    report: dict[str, Any] = json.loads(to.read_text("utf-8")) if kept else {}
    if given.services:
        report["services"] = _measure_all_services(given)
        write_report(to, report, to_markdown(report))
    if given.nodes:
        where, clusters = machine("attrs", "msgspec", "trio"), dict[str, dict[str, Any]]()
        report["nodes"] = {"machine": where, "quick": given.quick, "measured": clusters}
        for count, topology in itertools.product(given.nodes, given.topologies):
            began = time.process_time()
            measured = measure_nodes(count, topology, given.heartbeats)
            clusters.setdefault(topology, {})[str(count)] = measured
            took = time.process_time() - began
            print(f"{topology}, {count} nodes: {took:.0f} s", file=sys.stderr, flush=True)
            # The largest take longest: whoever interrupts them keeps the others.
            write_report(to, report, to_markdown(report))
    return report


def _measure_all_services(given: argparse.Namespace) -> dict[str, Any]:
    repetitions = 2 if given.quick else given.repetitions
    where = machine("attrs", "msgspec", "trio")
    services: dict[int, dict[str, list[float]]] = {count: {} for count in given.services}
    for _ in range(repetitions):
        for count in given.services:
            for name, value in measure_services(count).items():
                services[count].setdefault(name, []).append(value)
    return {
        "machine": where,
        "repetitions": repetitions,
        "quick": given.quick or repetitions < LEAST_REPETITIONS,
        # As JSON has it, so that what was just measured and what was read are the same.
        "measured": {str(count): each for count, each in services.items()},
    }


if __name__ == "__main__":
    main()
