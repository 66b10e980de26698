"""What each hot path costs, in processor time, so that a later change is seen.

    python -m benchmarks micro --json before.json
    python -m benchmarks micro --against before.json --limit 1.5

With `--against` it prints how many times as long each takes as it did then; with `--limit` it fails
where that is beyond the limit. Compare only what was measured on one machine.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import trio

from manifest import Manifest, Service, open_manifest
from manifest.crdt import LWWMap
from manifest.options import Limits
from manifest.records import Record, is_persistent
from manifest.wire import decode_message

from .commands import command_line
from .hands import Hand, Pair
from .measuring import LEAST_REPETITIONS, Spread, machine, timed
from .sides.talking import HOST, service
from .tables import figure, measured_on, spread, table, write_report
from .wire import make_gossip, write_tables

__all__ = ["PATHS", "HotPath", "main", "ratios", "to_markdown"]

RECORDS = 10_000
EQUAL = 100_000
ROLES = 100
MAX_RECORD = Limits().record_bytes

Work = tuple[Callable[[], object], int]
"""What is timed, and how many operations that is."""


@attrs.frozen
class HotPath:
    """One path through the code, and what makes it ready for one measurement."""

    name: str
    what: str
    ready: Callable[[int, Manifest], Work]
    """Given by what to divide the usual sizes, and a manifest with all services."""


def _encode(less: int, manifest: Manifest) -> Work:
    count = RECORDS // less
    gossip = make_gossip(count, 20)
    return lambda: write_tables(gossip), count


def _decode(less: int, manifest: Manifest) -> Work:
    count = RECORDS // less
    payload = write_tables(make_gossip(count, 20))
    return lambda: decode_message(payload, record_bytes=MAX_RECORD), count


def _join(less: int, manifest: Manifest) -> Work:
    count = RECORDS // less
    delta = make_gossip(count, 20).delta
    empty: LWWMap[str, Record] = LWWMap(is_persistent)
    return lambda: empty.join(delta), count


def _accept(less: int, manifest: Manifest) -> Work:
    count = RECORDS // less
    pair = Pair()
    pair.carry()
    pair.one.fill(count)
    return pair.carry, count


def _join_equal(less: int, manifest: Manifest) -> Work:
    one, other = Hand(), Hand()
    one.fill(EQUAL // less)
    here, there = one.replica.map, other.replica.map
    there.join(here.delta())
    return lambda: there.join(here.delta(there.context)), 1


def _link_equal(less: int, manifest: Manifest) -> Work:
    pair = Pair()
    pair.one.fill(EQUAL // less)
    pair.carry()
    pair.link()
    return pair.carry, 1


def _heartbeat(less: int, manifest: Manifest) -> Work:
    pair = Pair()
    pair.one.fill(RECORDS // less)
    pair.carry()
    times = 1000 // less

    def beat() -> None:
        for _ in range(times):
            pair.one.now += 0.001
            pair.one.replica.heartbeat()
            pair.carry()

    return beat, times


def _write(less: int, manifest: Manifest) -> Work:
    pair = Pair()
    pair.one.fill(RECORDS // less)
    pair.carry()
    times = 1000 // less

    def write() -> None:
        for number in range(times):
            pair.one.fill(1, first=RECORDS + number)
            pair.carry()

    return write, times


def _renew(less: int, manifest: Manifest) -> Work:
    count = RECORDS // less
    hand = Hand()
    hand.fill(count)
    # Older than five eighths of the retention, so that all are due at once.
    hand.now = hand.replica.options.retention * 0.7
    return lambda: hand.replica.pulse(1.0), count


def _repeated(call: Callable[[Manifest], object], times: int) -> Callable[[int, Manifest], Work]:
    def ready(less: int, manifest: Manifest) -> Work:
        count = max(1, times // less)

        def repeat() -> None:
            for _ in range(count):
                call(manifest)

        return repeat, count

    return ready


def _register(manifest: Manifest, count: int) -> list[Service]:
    registered = []
    for number in range(count):
        name, version, port, data = service(number, ROLES)
        role = f"{name}@{version}"
        registered.append(manifest.register(role, data, port=port, address=HOST))
    return registered


def _register_more(less: int, manifest: Manifest) -> Work:
    """Register what the next path frees again."""
    count = 1000 // less
    return lambda: _register(manifest, count), count


def _free(less: int, manifest: Manifest) -> Work:
    count = 1000 // less
    latest = [*manifest.services().values()][-count:]

    def free() -> None:
        for each in latest:
            manifest.free(each)

    return free, count


PATHS = (
    HotPath("encode", "write a record to a message", _encode),
    HotPath("decode", "read a record from a message, checked", _decode),
    HotPath("join", "join a record into an empty map", _join),
    HotPath("accept", "send a record over a link: encode, decode, join, show", _accept),
    HotPath("join-equal", "delta and join of equal maps of 100,000", _join_equal),
    HotPath("link-equal", "a link between equal replicas of 100,000, until synced", _link_equal),
    HotPath("heartbeat", "a heartbeat over a link, both ends", _heartbeat),
    HotPath("write", "a registration over a link, both ends, 10,000 there", _write),
    HotPath("renew", "renew a record", _renew),
    HotPath("get", "get(role): 100 of 10,000", _repeated(lambda m: m.get("role-7"), 1000)),
    HotPath("range", "get(range), the same", _repeated(lambda m: m.get("role-7@^1.2"), 1000)),
    HotPath(
        "partial",
        "get of a partial record, the same",
        _repeated(lambda m: m.get({"role": "role-7", "zone": "eu"}), 200),
    ),
    HotPath("miss", "get of a role that nobody has", _repeated(lambda m: m.get("nobody"), 10_000)),
    HotPath("pick", "pick(role): one of 100", _repeated(lambda m: m.pick("role-7"), 200)),
    HotPath("register", "register a service", _register_more),
    HotPath("free", "free a service", _free),
)


def measure(paths: Sequence[HotPath], repetitions: int, less: int) -> dict[str, list[float]]:
    """Return microseconds of processor time an operation, once a repetition, all paths in turn."""
    measured: dict[str, list[float]] = {path.name: [] for path in paths}

    async def run() -> None:
        async with open_manifest() as manifest:
            _register(manifest, RECORDS // less)
            for _ in range(repetitions):
                for path in paths:
                    work, count = path.ready(less, manifest)
                    took, _ = timed(work)
                    measured[path.name].append(took * 1000 / count)

    trio.run(run)
    return measured


def ratios(
    now: Mapping[str, Sequence[float]], then: Mapping[str, Sequence[float]]
) -> dict[str, float]:
    """Return how many times as long each path takes as it did then, by the medians.

    >>> ratios({"get": [3.0], "new": [1.0]}, {"get": [2.0, 1.0, 9.0], "gone": [1.0]})
    {'get': 1.5}
    """
    return {
        name: Spread.of(now[name]).median / Spread.of(then[name]).median
        for name in now
        if name in then
    }


def to_markdown(report: Mapping[str, Any], against: Mapping[str, Any] | None = None) -> str:
    """Return a report as a table, with what it is compared to where there is that."""
    measured = report["microseconds"]
    compared = {} if against is None else ratios(measured, against["microseconds"])
    headers = ["path", "what", "µs each", *([] if against is None else ["times as before"])]
    whats = {path.name: path.what for path in PATHS}
    rows = []
    for name, values in measured.items():
        row = [name, whats.get(name, ""), spread(Spread.of(values))]
        if against is not None:
            row.append(figure(compared[name]) if name in compared else "")
        rows.append(row)
    said = measured_on(report["machine"], repetitions=report["repetitions"], quick=report["quick"])
    return f"{table(headers, rows, words=2)}\n\nProcessor time. {said}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print a table, and write and compare what is asked for."""
    parser = command_line("micro", __doc__)
    parser.add_argument("--repetitions", type=int, default=LEAST_REPETITIONS)
    parser.add_argument(
        "--only", action="append", choices=[path.name for path in PATHS], help="may be repeated"
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of everything")
    parser.add_argument("--directory", type=Path, default=Path("build/benchmarks"))
    parser.add_argument("--json", type=Path, metavar="FILE", help="default: micro.json in there")
    parser.add_argument("--against", type=Path, metavar="FILE", help="an earlier --json")
    parser.add_argument("--limit", type=float, help="fail where one takes more times as long")
    given = parser.parse_args(arguments)
    if given.repetitions < (1 if given.quick else LEAST_REPETITIONS):
        parser.error(f"--repetitions is {LEAST_REPETITIONS} or more, or 1 or more with --quick")
    if given.limit is not None and given.against is None:
        parser.error("--limit is one for what --against compares")
    # Free takes off what register has added.
    only = {*given.only, *(["register"] if "free" in given.only else [])} if given.only else None
    paths = [path for path in PATHS if only is None or path.name in only]
    against = None if given.against is None else json.loads(given.against.read_text("utf-8"))
    if against is not None and against["quick"] != given.quick:
        parser.error("one of the two is --quick and the other is not: they cannot be compared")
    report = {
        "machine": machine("attrs", "msgspec", "semver", "trio"),
        "repetitions": given.repetitions,
        "quick": given.quick,
        "microseconds": measure(paths, given.repetitions, 10 if given.quick else 1),
    }
    to = given.json or given.directory / "micro.json"
    markdown = to_markdown(report, against)
    write_report(to, report, markdown)
    print(markdown)
    if against is not None and given.limit is not None:
        then = ratios(report["microseconds"], against["microseconds"])
        if slower := [name for name, ratio in then.items() if ratio > given.limit]:
            sys.exit(f"more than {given.limit:g} times as long as before: {', '.join(slower)}")


if __name__ == "__main__":
    main()
