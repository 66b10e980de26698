"""Where the work goes: Python calls, and shares of processor time, by layer of the code.

    python -m benchmarks profile

Two nodes are simulated, so that a heartbeat, a registration and a join pass through everything that
they do in an application, Trio and links included; in place of sockets there is the simulated
network, which puts tasks in a random order as well. Both ends are counted together. Calls are those
of Python functions, and come out alike each time. What C functions take is their callers'. The
profiler makes calls dearer than they are, so that layers of many small calls look dearer as well;
the last row is measured without it.
"""

from __future__ import annotations

import cProfile
import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import CodeType
from typing import Any

import attrs

import manifest
from manifest import Manifest, open_manifest
from manifest.testing import Application, Conditions, Do, Heal, Node, Plan, Step, run_plan

from .commands import check_count, command_line
from .measuring import LEAST_REPETITIONS, Spread, machine
from .sides.talking import HOST, service
from .tables import figure, measured_on, spread, table, write_report

__all__ = ["LAYERS", "WORKS", "Work", "layer_of", "main", "measure", "to_markdown"]

LAYERS = {
    "codec, wire": "bounds codec frames messages packing unpacking wire",
    "crdt": "crdt",
    "replica, leases": "leases options registrations renewals replica timekeeping",
    "protocol": "protocol",
    "connection, exchange": (
        "accepting admission backoff connection environment errors exchange explaining link "
        "listener network opening refusals registry secure session statistics tasks tcp tls"
    ),
    "view, records": "events ordering query ranges records structure subscription versions view",
    "trio": "",
    "simulation": "testing",
    "other": "",
}
"""The modules of manifest, and its packages, that make each layer; the simulation is no part of
what an application runs."""
_LAYER_OF = {module: layer for layer, modules in LAYERS.items() for module in modules.split()}
_HERE = Path(manifest.__file__).parent
_GENERATED = re.compile(r"<attrs generated \w+ (?P<path>[\w.]+)>")
_TRIO = re.compile(r"[/\\](trio|outcome)[/\\]")
_WARM = 12.0
"""Virtual seconds until the link is made and all initial state has gone over it."""


def layer_of(code: CodeType) -> str:
    """Return the layer that a function belongs to.

    >>> layer_of(Manifest.get.__code__), layer_of(figure.__code__)
    ('connection, exchange', 'other')
    """
    generated = _GENERATED.match(code.co_filename)
    if generated is not None:
        package, module, *_ = generated["path"].split(".")
        if package in ("trio", "outcome"):
            return "trio"
        return _LAYER_OF.get(module, "other") if package == "manifest" else "other"
    path = Path(code.co_filename)
    if path.is_relative_to(_HERE):
        return _LAYER_OF.get(path.relative_to(_HERE).parts[0].removesuffix(".py"), "other")
    return "trio" if _TRIO.search(code.co_filename) else "other"


@attrs.frozen
class Work:
    """One piece of work: what is done to a pair of nodes, and how often it is done."""

    what: str
    """One operation, in words, with the count in braces."""
    steps: Callable[[int], Sequence[Step]]
    """What is profiled, given how many operations."""
    count: int
    quick: int
    """How many with --quick."""
    before: Callable[[int], Sequence[Step]] = lambda _: ()
    """What is done before."""
    linked: bool = True
    """Whether the two are linked from the start."""
    shown: bool = True
    """Whether each operation is a service that the other node shows in the end."""


def _beat(count: int) -> Sequence[Step]:
    # Both say so every second.
    return [Step(count / 2, Heal())]


def _register(count: int) -> Sequence[Step]:
    return [Step(0.02, Do(0, ("register", number, 1))) for number in range(count)]


def _fill(count: int) -> Sequence[Step]:
    return [Step(1.0, Do(0, ("register", 0, count)))]


def _join(_: int) -> Sequence[Step]:
    return [Step(0.01, Do(1, ("connect",))), Step(5.0, Heal())]


WORKS = {
    "heartbeat": Work("a heartbeat", _beat, 400, 40, shown=False),
    "registration": Work("a registration", _register, 400, 40),
    "join": Work("a service of a join of {count:,}", _join, 10_000, 500, _fill, linked=False),
}


@attrs.define(eq=False)
class Pair(Application[Manifest]):
    """Two manifests, and what is counted of them between two of their operations."""

    linked: bool
    profile: cProfile.Profile | None
    took: float = 0.0
    services: int = 0

    async def run(self, node: Node[Manifest]) -> None:
        async with open_manifest(environment=node.environment(), heartbeat_interval=1.0) as opened:
            await opened.listen(3100)
            node.state = opened
            if node.index and self.linked:
                opened.connect(3100, "n0")
            await node.leaving.wait()

    def do(self, node: Node[Manifest], operation: object) -> None:
        assert node.state is not None
        match operation:
            case ("register", int(first), int(count)):
                for number in range(first, first + count):
                    name, version, port, data = service(number, 100)
                    node.state.register(f"{name}@{version}", data, port=port, address=HOST)
            case ("connect",):
                node.state.connect(3100, "n0")
            case "begin":
                self.took -= time.process_time()
                if self.profile is not None:
                    self.profile.enable()
            case _:
                if self.profile is not None:
                    self.profile.disable()
                self.took += time.process_time()
                # Each manifest registers itself as well.
                self.services = len(node.state.services()) - 2


def measure(work: Work, count: int) -> tuple[float, dict[str, int], dict[str, float]]:
    """Return the microseconds of an operation without a profiler, and by layer what one has seen.

    That is how many Python calls there were in all, and what share of processor time.
    """
    steps = [
        Step(_WARM, Heal()),
        *work.before(count),
        Step(1.0, Do(1, "begin")),
        *work.steps(count),
        Step(0.01, Do(1, "end")),
    ]
    plan = Plan(2, steps, topology="chain", conditions=Conditions(latency=(0.001, 0.001)))
    took = _play(work, plan, None).took * 1e6 / count
    profile = cProfile.Profile()
    run = _play(work, plan, profile)
    if work.shown and run.services != count:
        raise RuntimeError(f"{run.services} of {count} services have arrived")
    calls = dict.fromkeys(LAYERS, 0)
    seconds = dict.fromkeys(LAYERS, 0.0)
    for entry in profile.getstats():
        if isinstance(entry.code, CodeType):
            layer = layer_of(entry.code)
            calls[layer] += entry.callcount
            within = [each for each in entry.calls or () if isinstance(each.code, str)]
            seconds[layer] += entry.inlinetime + sum(each.inlinetime for each in within)
    whole = sum(seconds.values())
    return took, calls, {layer: spent / whole for layer, spent in seconds.items()}


def _play(work: Work, plan: Plan, profile: cProfile.Profile | None) -> Pair:
    made: list[Pair] = []

    def make() -> Pair:
        made.append(Pair(work.linked, profile))
        return made[-1]

    run_plan(make, plan, max_steps=100_000_000)
    return made[0]


def to_markdown(report: Mapping[str, Any]) -> str:
    """Return a report as a table, with a row for each layer."""
    works: Mapping[str, Mapping[str, Any]] = report["works"]
    headers = ["layer"]
    whole = ["all"]
    alone = ["without the profiler, µs"]
    for name, measured in works.items():
        what = WORKS[name].what.format(count=measured["count"])
        headers += [f"{what}: calls", "share of time, %"]
        whole += [figure(sum(measured["calls"].values()) / measured["count"]), "100"]
        alone += ["", spread(Spread.of(measured["microseconds"]))]
    rows = [
        [
            layer,
            *(
                cell
                for measured in works.values()
                for cell in (
                    figure(measured["calls"][layer] / measured["count"]),
                    figure(100 * Spread.of(measured["shares"][layer]).median),
                )
            ),
        ]
        for layer in LAYERS
    ]
    said = measured_on(report["machine"], repetitions=report["repetitions"], quick=report["quick"])
    return f"{table(headers, [*rows, whole, alone])}\n\nBoth ends together. {said}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Profile, print a table, and write it."""
    parser = command_line("profile", __doc__)
    parser.add_argument("--repetitions", type=int, default=LEAST_REPETITIONS)
    parser.add_argument(
        "--only", action="append", choices=[*WORKS], help="may be repeated; default: all"
    )
    parser.add_argument("--quick", action="store_true", help="less of everything, and once")
    parser.add_argument("--directory", type=Path, default=Path("build/benchmarks"))
    given = parser.parse_args(arguments)
    check_count(parser, "--repetitions", given.repetitions)
    logging.disable()
    repetitions = 1 if given.quick else given.repetitions
    where = machine("attrs", "msgspec", "trio")
    works: dict[str, dict[str, Any]] = {}
    for name in given.only or WORKS:
        count = WORKS[name].quick if given.quick else WORKS[name].count
        runs = [measure(WORKS[name], count) for _ in range(repetitions)]
        works[name] = {
            "count": count,
            "calls": runs[0][1],
            "shares": {layer: [shares[layer] for *_, shares in runs] for layer in LAYERS},
            "microseconds": [took for took, *_ in runs],
        }
    report = {
        "machine": where,
        "repetitions": repetitions,
        "quick": given.quick or repetitions < LEAST_REPETITIONS,
        "works": works,
    }
    markdown = to_markdown(report)
    write_report(given.directory / "profile.json", report, markdown)
    print(markdown)


if __name__ == "__main__":
    main()
