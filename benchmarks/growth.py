"""How cost grows with the number of services and of nodes: tables, and a plot of both.

    python -m benchmarks growth --nodes 2 10 50 --seconds 10
    python -m benchmarks growth --replot build/benchmarks/growth.json

Services: one pair of nodes that a benchmark moves by hand, so that every byte and all processor
time is that of the work. Nodes: whole clusters in simulation, which run the real code on virtual
time; what a node costs is the processor time of the whole simulation, divided by their number, and
so contains the simulated network.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import importlib.util
import itertools
import json
import logging
import math
import random
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import trio

from manifest import Manifest, open_manifest
from manifest.query import parse_query
from manifest.testing import Application, Cluster, Conditions, Do, Heal, Node, Plan, Step, run_plan

from .commands import command_line
from .hands import Hand, Pair
from .measuring import LEAST_REPETITIONS, Spread, machine, timed
from .tables import figure, measured_on, table

__all__ = ["NODES", "SERVICES", "TOPOLOGIES", "main", "neighbours", "plot", "to_markdown"]

ROOT = Path(__file__).parents[1]
SERVICES = (100, 1_000, 10_000, 100_000)
NODES = (2, 5, 10, 20, 50, 100, 200, 500)
TOPOLOGIES = ("ring", "tree", "mesh 3", "mesh 6")
_ROLES = 100
_WARM = 12.0
"""Virtual seconds until all links are made and all initial state has gone round."""
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
    figures |= _lookups(pair.other)
    pair.link()
    took, carried = timed(pair.carry)
    return figures | {"equal join, ms": took, "equal join, bytes": float(carried)}


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

        took, _ = timed(look)
        figures[name] = took * 1000 / times
    return figures


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

    async def run(self, node: Node[Manifest]) -> None:
        async with open_manifest(environment=node.environment()) as manifest:
            await manifest.listen(3100)
            for peer in self.dialled[node.index]:
                manifest.connect(3100, f"n{peer}")
            node.state = manifest
            await node.leaving.wait()

    def do(self, node: Node[Manifest], operation: object) -> None:
        assert node.state is not None
        self.written = trio.current_time()
        node.state.register("written@1.0.0", port=80)

    def check(self, cluster: Cluster[Manifest]) -> None:
        carried = sum(cluster.network.transmitted.values())
        look = trio.current_time(), carried, time.process_time()
        if not self.written:
            if trio.current_time() <= self.steady:
                self.began = look
            self.ended = look
            self.believed = min(each.statistics().nodes for each in cluster.states)
        elif self.spread == math.inf and all(each.get("written") for each in cluster.states):
            self.spread = trio.current_time() - self.written


def measure_nodes(nodes: int, topology: str, seconds: float) -> dict[str, float]:
    """Return what a cluster of so many nodes costs, and how soon a write is everywhere."""
    dialled = neighbours(topology, nodes)
    made: list[Registries] = []

    def make() -> Registries:
        made.append(Registries(dialled, _WARM))
        return made[-1]

    # A look once a round after the write says how many rounds that took.
    look = [Step(_LATENCY, Heal()) for _ in range(20 + 2 * nodes)]
    steps = [Step(_WARM, Heal()), Step(seconds, Heal()), Step(0.01, Do(0, "write")), *look]
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
    "get(range), µs",
    "equal join, ms",
    "equal join, bytes",
)
"""In the order of the table; `get` is of a hundredth of all services."""


def to_markdown(report: Mapping[str, Any]) -> str:
    """Return a report as two tables."""
    services: Mapping[str, Mapping[str, Sequence[float]]] = report["services"]
    nodes: Mapping[str, Mapping[str, Mapping[str, float]]] = report["nodes"]
    first = table(
        ["services", *(f"{int(count):,}" for count in services)],
        [
            [name, *(figure(Spread.of(measured[name]).median) for measured in services.values())]
            for name in _SERVICE_ROWS
        ],
    )
    columns = [*next(iter(next(iter(nodes.values())).values()))] if nodes else []
    second = table(
        ["topology", "nodes", *columns],
        [
            [topology, f"{int(count):,}", *(figure(measured[name]) for name in columns)]
            for topology, sizes in nodes.items()
            for count, measured in sizes.items()
        ],
    )
    said = measured_on(report["machine"], repetitions=report["repetitions"], quick=report["quick"])
    return f"{first}\n\n{second}\n\nClusters are simulated once, at default settings. {said}"


def plot(report: Mapping[str, Any], to: Path) -> None:
    """Draw a report to a PNG. Needs matplotlib, which is in the dependency group `bench`."""
    importlib.import_module("matplotlib").use("Agg")
    figure, axes = importlib.import_module("matplotlib.pyplot").subplots(
        2, 3, figsize=(15, 8.5), layout="constrained"
    )
    services = report["services"]
    for axis, names, title in (
        (axes[0][0], ("join, ms", "equal join, ms"), "a fresh link, ms of processor time"),
        (axes[0][1], ("a write, bytes", "heartbeats of both, bytes"), "on a link, bytes"),
        (axes[0][2], ("a write, µs", "get(role), µs", "get(range), µs"), "µs of processor time"),
    ):
        for name in names:
            medians = [Spread.of(measured[name]).median for measured in services.values()]
            axis.plot([int(count) for count in services], medians, marker="o", label=name)
        _finish(axis, title, "services", services)
    for axis, name in zip(
        axes[1], ("B/s a link", "CPU a node, %", "rounds until a write is everywhere"), strict=True
    ):
        for topology, sizes in report["nodes"].items():
            measured = [each[name] for each in sizes.values()]
            axis.plot([int(count) for count in sizes], measured, marker="o", label=topology)
        sizes = {count for each in report["nodes"].values() for count in each}
        _finish(axis, name, "nodes", sorted(sizes, key=int))
    where = f"{report['machine']['date']}, {report['machine']['processor']}"
    figure.suptitle(f"manifest, {where}{', a quick run: no result' if report['quick'] else ''}")
    # Without the date of its making, so that equal figures make equal files.
    figure.savefig(to, dpi=80, metadata={"Software": None})


def _finish(axis: Any, title: str, below: str, sizes: Iterable[str]) -> None:
    axis.set(title=title, xlabel=below, xscale="log", yscale="log")
    ticks = [int(size) for size in sizes]
    axis.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axis.set_xticks([], minor=True)
    # At least a decade, so that what is constant looks so.
    least, greatest = axis.get_ylim()
    axis.set_ylim(min(least, greatest / 30), greatest * 1.5)
    axis.yaxis.set_major_formatter("{x:g}")
    axis.grid(visible=True, which="major", alpha=0.3)
    axis.legend()


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure how cost grows, or draw what was measured; print the tables."""
    parser = command_line("growth", __doc__)
    parser.add_argument("--services", type=int, nargs="*", default=SERVICES)
    parser.add_argument("--nodes", type=int, nargs="*", help=f"default: {NODES}")
    parser.add_argument(
        "--topologies", nargs="+", default=TOPOLOGIES, choices=TOPOLOGIES, metavar="NAME"
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="virtual; default: 10")
    parser.add_argument("--repetitions", type=int, default=LEAST_REPETITIONS, help="of services")
    parser.add_argument("--quick", action="store_true", help="up to 20 nodes and 10,000 services")
    parser.add_argument("--directory", type=Path, default=Path("build/benchmarks"))
    parser.add_argument("--replot", type=Path, metavar="FILE", help="draw an earlier growth.json")
    parser.add_argument("--png", type=Path, help="default: growth.png in the directory")
    given = parser.parse_args(arguments)
    if given.repetitions < 1:
        parser.error(f"--repetitions is 1 or more, got {given.repetitions}")
    given.directory.mkdir(parents=True, exist_ok=True)
    if given.replot is not None:
        report = json.loads(given.replot.read_text("utf-8"))
    else:
        report = _measure(given)
    print(to_markdown(report))
    if importlib.util.find_spec("matplotlib") is None:
        print("no matplotlib here, so nothing is drawn: it is in the group bench", file=sys.stderr)
    else:
        plot(report, given.png or given.directory / "growth.png")


def _measure(given: argparse.Namespace) -> dict[str, Any]:
    logging.disable()
    repetitions = 2 if given.quick else given.repetitions
    sizes = [count for count in given.services if not given.quick or count <= 10_000]
    nodes = given.nodes or [count for count in NODES if not given.quick or count <= 20]
    where = machine("attrs", "msgspec", "trio")
    services: dict[int, dict[str, list[float]]] = {count: {} for count in sizes}
    for _ in range(repetitions):
        for count in sizes:
            for name, value in measure_services(count).items():
                services[count].setdefault(name, []).append(value)
    clusters: dict[str, dict[str, dict[str, float]]] = {name: {} for name in given.topologies}
    report = {
        "machine": where,
        "repetitions": repetitions,
        "quick": given.quick,
        # As JSON has it, so that what was just measured and what was read are the same.
        "services": {str(count): each for count, each in services.items()},
        "nodes": clusters,
    }
    for count, topology in itertools.product(nodes, given.topologies):
        began = time.process_time()
        clusters[topology][str(count)] = measure_nodes(count, topology, given.seconds)
        took = time.process_time() - began
        print(f"{topology}, {count} nodes: {took:.0f} s", file=sys.stderr, flush=True)
        # The largest take longest: whoever interrupts them keeps the others.
        (given.directory / "growth.json").write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    return report


if __name__ == "__main__":
    main()
