"""manifest and its peers, given the same work, side by side.

Every repetition has each side play each scene once, one side after the other, and the next
repetition begins with another side: whatever else the machine does falls on all of them alike.
All nodes are processes of their own and talk over loopback TCP. A peer that is not installed is
said to be missing and left out; what a side fails at is said as well.

With --only, the rows of other pieces of work stay as an earlier run in the same directory has left
them, and what is said below the table tells which ones those are, and of when.

Servers come from the system's packages and are started and stopped here; the Python clients are
the dependency group `bench`; seaport runs on Node, and is looked for in the directory that
`--node-peers` names, after `npm install seaport` there.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from . import processes
from .commands import command_line
from .measuring import LEAST_REPETITIONS, Spread, machine
from .processes import Server, Stage, Unable
from .scenes import FULL, MEASURES, QUICK, SCENES, Scene, Sizes, measures
from .tables import figure, measured_on, spread, table, write_report

__all__ = ["SIDES", "Side", "best", "keep", "main", "report", "to_markdown"]

HERE = Path(__file__).parent
OURS = "manifest"
YARDSTICK = "round-trip"
_BOTH = ("pair", "many")
_SERVED = (*_BOTH, "link", "large-link")


@attrs.frozen
class Side:
    """One of those that are compared."""

    name: str
    how: str
    """How it is used, for whoever reads the table."""
    module: str
    """The node program, in benchmarks.sides."""
    scenes: tuple[str, ...]
    package: str | None = None
    """The Python package that it needs."""
    server: Server | None = None
    least_python: tuple[int, int] = (3, 11)

    def missing(self, node_peers: Path | None) -> str | None:
        """Return what this side lacks here, or None."""
        if sys.version_info < self.least_python:
            least, here = (
                ".".join(map(str, each[:2])) for each in (self.least_python, sys.version_info)
            )
            return f"it needs Python {least}, and this is {here}"
        if self.server is not None and self.server.path is None:
            return f"no {self.server.program} here: Debian's package is {self.server.package}"
        if self.package is not None and importlib.util.find_spec(self.package) is None:
            return f"no Python package {self.package} here: it is in the dependency group bench"
        return self._missing_of_node(node_peers) if self.module.endswith(".cjs") else None

    def _missing_of_node(self, node_peers: Path | None) -> str | None:
        if node_peers is None:
            return "say --node-peers DIRECTORY, after `npm install seaport` there"
        if not (node_peers / "node_modules" / self.name / "package.json").exists():
            return f"no {self.name} in {node_peers}/node_modules"
        return None if shutil.which("node") is not None else "no node here"

    def command(self, node_peers: Path | None) -> Sequence[str]:
        """Return what starts a node of it."""
        if self.module.endswith(".cjs"):
            return ("node", str(HERE / "sides" / self.module), str(node_peers))
        return (sys.executable, "-m", f"benchmarks.sides.{self.module}")

    def version(self, node_peers: Path | None) -> str:
        """Return which one was measured, for the record."""
        if self.module.endswith(".cjs"):
            assert node_peers is not None
            package = node_peers / "node_modules" / self.name / "package.json"
            node = subprocess.run(
                ["node", "--version"], capture_output=True, text=True, check=False, timeout=10
            )
            version = json.loads(package.read_text(encoding="utf-8"))["version"]
            return f"{self.name} {version}, node {node.stdout.strip()}"
        found = [] if self.server is None else [self.server.version()]
        if self.package is not None:
            name = _DISTRIBUTIONS.get(self.package, self.package)
            found.append(f"{name} {importlib.metadata.version(name)}")
        return ", ".join(found)


_DISTRIBUTIONS = {"nats": "nats-py", "manifest": "trio-manifest"}

SIDES = (
    Side(
        OURS,
        "`open_manifest`, linked directly",
        "ours",
        tuple(scene for scene in SCENES if scene != "bare"),
        "manifest",
    ),
    Side(
        "seaport",
        "a hub and its clients, in the star that it is made for",
        "seaport.cjs",
        (*_SERVED, "chain"),
    ),
    Side(
        "redis",
        "a key with a TTL of 10 s and a place in its role's set for each service, published in the "
        "same transaction and refreshed every 5 s; redis-py, 100 at a time where many are written",
        "redis_keys",
        _SERVED,
        "redis",
        processes.redis,
    ),
    Side(
        "etcd",
        "put with a lease of 10 s that is kept alive, prefix watch and range read over gRPC; "
        "aetcd, up to 100 requests in flight",
        "etcd_leases",
        _SERVED,
        "aetcd",
        processes.etcd,
    ),
    Side(
        "nats",
        "a JetStream key-value bucket in memory, without TTL, so that nothing expires; nats-py, up "
        "to 100 requests in flight",
        "nats_bucket",
        _SERVED,
        "nats",
        processes.nats,
    ),
    Side(
        "aiocluster",
        "a key of its node for each service, default settings; its gossip goes to the address that "
        "is advertised, past any proxy, so that its links are not counted",
        "scuttlebutt",
        (*_BOTH, "chain"),
        "aiocluster",
        least_python=(3, 13),
    ),
)
BARE = Side("bare", "Trio and nothing else", "bare", ("bare",))
NOT_COMPARED = {
    "zeroconf": "mDNS is multicast at one fixed port, and this stays on loopback and free ports",
    "tallship-manifest": "the npm registry that was asked has no package of that name",
}

Results = dict[str, dict[str, list[float]]]


@attrs.frozen
class Outcome:
    """What was measured so far, by measure and side, and what failed, by side and scene."""

    results: Results = attrs.field(factory=dict)
    failed: dict[str, str] = attrs.field(factory=dict)

    def play(self, side: Side, scene: Scene, sizes: Sizes, node_peers: Path | None) -> None:
        """Have a side play a scene, unless it has failed at it; nobody waits for that twice."""
        where = f"{side.name}: {scene.name}"
        if scene.name not in side.scenes or where in self.failed:
            return
        _say(f"  {where}")
        try:
            with Stage(side.command(node_peers), side.server) as stage:
                for measure, value in scene.play(stage, sizes):
                    self.results.setdefault(measure, {}).setdefault(side.name, []).append(value)
        except Unable as reason:
            self.failed[where] = str(reason)
            _say(f"    failed: {reason}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def best(measured: Mapping[str, Sequence[float]]) -> tuple[str, float] | None:
    """Return the peer with the least median, and that; None where no peer was measured.

    >>> best({"manifest": [1.0], "redis": [3.0, 4.0, 5.0], "etcd": [9.0]})
    ('redis', 4.0)
    """
    medians = {
        name: Spread.of(values).median
        for name, values in measured.items()
        if name not in (OURS, "bare")
    }
    return min(medians.items(), key=lambda each: each[1], default=None)


def report(
    outcome: Outcome, skipped: Mapping[str, str], sides: Sequence[Side], given: argparse.Namespace
) -> dict[str, Any]:
    """Return all there is to say, for JSON, but for where and how often it was measured."""
    sizes = QUICK if given.quick else FULL
    known = measures(sizes)
    return {
        "sizes": attrs.asdict(sizes),
        "measures": {name: attrs.asdict(known[name]) for name in known if name in outcome.results},
        "sides": {
            side.name: {"how": side.how, "version": side.version(given.node_peers)}
            for side in sides
        },
        "results": outcome.results,
        "failed": outcome.failed,
        "skipped": dict(skipped),
    }


def to_markdown(report: Mapping[str, Any]) -> str:
    """Return the table of a report, and below it what has to be known to read it."""
    results, sides = report["results"], [*report["sides"]]
    kept = report.get("kept", ())
    rows = [
        [
            f"{measure['what']}, {measure['unit']}",
            measure["goal"],
            *(
                spread(Spread.of(results[name][side])) if side in results[name] else "-"
                for side in sides
            ),
            _ratio(results[name]),
        ]
        for name, measure in report["measures"].items()
        if name != YARDSTICK
    ]
    lines = [
        table(["work", "goal", *sides, "best peer / manifest"], rows),
        "",
        *_yardstick(results, kept),
        measured_on(report["machine"], repetitions=report["repetitions"], quick=report["quick"]),
        "",
        *(_kept(run, report["measures"]) for run in kept),
        *(_how(name, side) for name, side in report["sides"].items()),
        *(f"- Failed: {where}: {reason}." for where, reason in report["failed"].items()),
        *(f"- Not measured: {name}: {reason}." for name, reason in report["skipped"].items()),
    ]
    return "\n".join(lines)


def keep(
    earlier: Mapping[str, Any], now: Mapping[str, Any], scenes: Iterable[Scene]
) -> dict[str, Any]:
    """Return a report with what an earlier one has of other scenes than were played now."""
    played = [*scenes]
    anew = {name for scene in played for name in scene.measures}
    others = [name for name in earlier["measures"] if name not in anew]
    runs = [
        {**run, "measures": [name for name in run["measures"] if name in others]}
        for run in earlier.get("kept", ())
    ]
    older = {name for run in runs for name in run["measures"]}
    latest = {name: earlier[name] for name in ("machine", "repetitions", "quick")}
    latest["measures"] = [name for name in others if name not in older]
    known = {**earlier["measures"], **now["measures"]}
    failed = {
        where: reason
        for where, reason in earlier["failed"].items()
        if where.rpartition(": ")[2] not in {scene.name for scene in played}
    }
    sides = {**earlier["sides"], **now["sides"]}
    return {
        **now,
        "measures": {
            measure.name: known[measure.name]
            for measure in MEASURES
            if measure.name in others or measure.name in now["measures"]
        },
        "sides": {side.name: sides[side.name] for side in SIDES if side.name in sides},
        "results": {name: earlier["results"][name] for name in others} | now["results"],
        "failed": {**failed, **now["failed"]},
        "kept": [run for run in (latest, *runs) if run["measures"]],
    }


def _kept(run: Mapping[str, Any], measures: Mapping[str, Mapping[str, str]]) -> str:
    rows = "; ".join(measures[name]["what"] for name in run["measures"])
    said = measured_on(run["machine"], repetitions=run["repetitions"], quick=run["quick"])
    return f"- Of an earlier run: {rows}. {said}"


def _yardstick(
    results: Mapping[str, Mapping[str, Sequence[float]]], kept: Iterable[Mapping[str, Any]]
) -> list[str]:
    """Return what a bare round trip takes, and how many of them a registration takes to be seen."""
    if YARDSTICK not in results:
        return []
    bare = Spread.of(results[YARDSTICK]["bare"])
    said = f"The yardstick: a bare Trio round trip of 100 bytes takes {spread(bare)} ms"
    ours = results.get("register-p50", {}).get(OURS)
    # They compare only where one run has measured both.
    if ours is not None and all(
        (YARDSTICK in run["measures"]) == ("register-p50" in run["measures"]) for run in kept
    ):
        said += f"; a registration is seen after {Spread.of(ours).median / bare.median:.1f} of them"
    return [f"{said}.", ""]


def _ratio(measured: Mapping[str, Sequence[float]]) -> str:
    peer = best(measured)
    if peer is None or OURS not in measured:
        return ""
    ours = Spread.of(measured[OURS]).median
    return f"{figure(peer[1] / ours)} ({peer[0]})" if ours else f"({peer[0]})"


def _how(name: str, side: Mapping[str, str]) -> str:
    return f"- **{name}** ({side['version']}): {side['how']}."


def _scenes(only: Sequence[str] | None, parser: argparse.ArgumentParser) -> list[Scene]:
    """Return the scenes that are meant, by their names or those of their measures."""
    if not only:
        return [*SCENES.values()]
    found = {
        scene.name: scene
        for name in only
        for scene in SCENES.values()
        if name in (scene.name, *scene.measures)
    }
    known = {name for scene in SCENES.values() for name in (scene.name, *scene.measures)}
    if unknown := [name for name in only if name not in known]:
        parser.error(f"--only takes {', '.join(SCENES)}, or a measure; got {', '.join(unknown)}")
    return [*found.values()]


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare; write compare.json and compare.md, and print the table."""
    parser = command_line("compare", __doc__)
    parser.add_argument("--repetitions", type=int, help="default: 5, or 1 with --quick")
    parser.add_argument(
        "--only",
        action="append",
        metavar="NAME",
        help="a scene or measure; may be repeated, and keeps other rows",
    )
    parser.add_argument(
        "--side", action="append", choices=[side.name for side in SIDES], help="may be repeated"
    )
    parser.add_argument("--quick", action="store_true", help="less of everything: only for a look")
    parser.add_argument("--directory", type=Path, default=Path("build/benchmarks"))
    parser.add_argument("--node-peers", type=Path, metavar="DIRECTORY")
    given = parser.parse_args(arguments)
    if given.repetitions is None:
        given.repetitions = 1 if given.quick else LEAST_REPETITIONS
    if given.repetitions < (1 if given.quick else LEAST_REPETITIONS):
        parser.error(f"--repetitions is {LEAST_REPETITIONS} or more, or 1 or more with --quick")
    scenes = _scenes(given.only, parser)
    wanted = [side for side in SIDES if not given.side or side.name in given.side]
    skipped = dict(NOT_COMPARED)
    skipped |= {side.name: "left out by --side" for side in SIDES if side not in wanted}
    for side in wanted:
        if reason := side.missing(given.node_peers):
            skipped[side.name] = reason
            _say(f"{side.name} is left out: {reason}")
    sides = [side for side in wanted if side.name not in skipped]
    if not sides:
        parser.error("there is nobody to compare")
    sizes = QUICK if given.quick else FULL
    earlier = given.directory / "compare.json"
    kept = json.loads(earlier.read_text("utf-8")) if given.only and earlier.exists() else None
    outcome = Outcome()
    began = machine("trio", "msgspec", "attrs")
    markdown = ""
    try:
        for repetition in range(given.repetitions):
            _say(f"repetition {repetition + 1} of {given.repetitions}")
            turn = repetition % len(sides)
            for scene in scenes:
                for side in (BARE, *sides[turn:], *sides[:turn]):
                    outcome.play(side, scene, sizes, given.node_peers)
            # Whoever interrupts it keeps what there is, and it says how much that is.
            said = {
                "machine": began,
                "repetitions": repetition + 1,
                "quick": given.quick or repetition + 1 < LEAST_REPETITIONS,
                **report(outcome, skipped, sides, given),
            }
            if kept is not None:
                said = keep(kept, said, scenes)
            markdown = to_markdown(said)
            write_report(given.directory / "compare.json", said, markdown)
    except KeyboardInterrupt:
        if markdown:
            print(markdown)
            _say(f"what the whole repetitions have measured is in {given.directory}")
        raise
    print(markdown)


if __name__ == "__main__":
    main()
