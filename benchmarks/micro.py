"""What each hot path costs, in processor time, so that a later change is seen.

    python -m benchmarks micro --json before.json
    python -m benchmarks micro --against before.json --limit 1.5

With `--against` it prints how many times as long each takes as it did then; with `--limit` it fails
where that is beyond the limit. Compare only what was measured on one machine.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import trio

from manifest import Manifest, Service, open_manifest
from manifest.crdt import Delta, LWWMap, VersionVector, from_milliseconds
from manifest.events import Registered
from manifest.frames import frame
from manifest.messages import Gossip, Hello, Lease
from manifest.options import Limits
from manifest.query import parse_query
from manifest.records import Record, is_persistent
from manifest.subscription import Subscription
from manifest.wire import PROTOCOL, decode_message, encode_message

from .commands import command_line
from .hands import Hand, Pair, new_node, record
from .measuring import LEAST_REPETITIONS, Spread, machine, timed
from .sides.talking import HOST, service
from .tables import figure, measured_on, spread, table, write_report
from .wire import make_gossip, write_tables

__all__ = ["PATHS", "HotPath", "main", "ratios", "to_markdown", "whats"]

RECORDS = 10_000
EQUAL = 100_000
ROLES = 100
MANY = 1_000
MARKS = 100
CONTEXTS = 1_000
QUICK = 10
"""By what --quick divides all of these."""
_BEAT = 5.0
"""Seconds between two heartbeats."""
MAX_RECORD = Limits().record_bytes

Work = tuple[Callable[[], object], int]
"""What is timed, be it awaited or not, and how many operations that is."""


@attrs.frozen
class HotPath:
    """One path through the code, and what makes it ready for one measurement."""

    name: str
    what: str
    """In words, with the sizes in braces."""
    ready: Callable[[int, Manifest], Work]
    """Given by what to divide the usual sizes, and a manifest with all services."""
    undo: Callable[[Manifest], object] = lambda _: None
    """Takes off that manifest again what others are not to find there."""


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
        # The first lookup of a role sorts.
        call(manifest)

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


def _services_at_port(less: int, manifest: Manifest) -> Work:
    # Apart, for whoever has asked for a port once pays for the index with each registration.
    hand, times = Hand(), 1000 // less
    hand.fill(RECORDS // less)
    select, query = hand.replica.view.select, {"port": record(7).port}
    select(parse_query(query))
    return lambda: [select(parse_query(query)) for _ in range(times)], times


def _after_change(call: Callable[[Manifest, int], object]) -> Callable[[int, Manifest], Work]:
    """Look up each role once, which was looked up before and of which something has changed."""

    def ready(less: int, manifest: Manifest) -> Work:
        for role in range(ROLES):
            call(manifest, role)
            manifest.free(manifest.register(f"role-{role}@1.0.0", port=80, address=HOST))
        return lambda: [call(manifest, role) for role in range(ROLES)], ROLES

    return ready


def _pick_of_many(less: int, manifest: Manifest) -> Work:
    for _ in range(MANY // less):
        manifest.register("crowd@1.0.0", port=80, address=HOST)
    times = 200 // less
    return lambda: [manifest.pick("crowd") for _ in range(times)], times


def _disperse(manifest: Manifest) -> None:
    for each in manifest.get("crowd").values():
        manifest.free(each)


def _event(less: int, manifest: Manifest) -> Work:
    event = Registered(next(iter(manifest.services().values())))
    subscription, times = Subscription({}), 1000 // less

    async def deliver() -> None:
        for _ in range(times):
            subscription.put(event)
            await anext(subscription)

    return deliver, times


def _turn(less: int, manifest: Manifest) -> Work:
    pair = Pair()
    pair.one.fill(MANY // less)
    pair.carry()
    apart = 10 * pair.one.options.lease

    def turn() -> None:
        pair.other.now += apart
        pair.other.replica.pulse(1.0)
        pair.one.now += apart
        pair.one.replica.heartbeat()
        pair.carry()

    return turn, 1


def _prune(less: int, manifest: Manifest) -> Work:
    hand, count = Hand(), RECORDS // less
    hand.fill(count)
    for number in range(count):
        hand.replica.free(f"{hand.replica.node}.{number}")
    hand.now = hand.options.retention * 1.02
    return lambda: hand.replica.pulse(1.0), count


def _relay(less: int, manifest: Manifest) -> Work:
    """A node between two others takes heartbeats of many from one, and has them for the other."""
    relay, times = Hand(), 100
    near, far = Pair(Hand(), relay), Pair(relay, Hand())
    near.carry()
    far.carry()
    frames = [frame(encode_message(each)) for each in _heartbeats(relay, MARKS // less, times)]
    taking, passing = near.ends[1], far.ends[0]

    def pass_on() -> None:
        for data in frames:
            relay.now += _BEAT
            taking.receive_data(data)
            passing.bytes_to_send()

    return pass_on, times


def _heartbeats(hand: Hand, nodes: int, times: int) -> Iterator[Gossip]:
    ids = [new_node() for _ in range(nodes)]
    remaining, patience = (int(s * 1000) for s in (hand.options.lease, hand.options.patience))
    before, time = 0, hand.replica.clock.now()
    for _ in range(times):
        since = dict.fromkeys(ids, before) if before else {}
        delta = Delta[str, Record](
            (), VersionVector(since), VersionVector(dict.fromkeys(ids, time)), 0
        )
        leases = [Lease(each, time, remaining, patience=patience) for each in ids]
        yield Gossip(delta, tuple(leases))
        before, time = time, time + from_milliseconds(int(_BEAT * 1000))


def _hello(less: int, manifest: Manifest) -> Work:
    hand, times = Hand(), 20
    now = hand.replica.clock.now()
    context = {new_node(): now + number for number in range(CONTEXTS // less)}
    hello = Hello(
        protocol=PROTOCOL,
        oldest=PROTOCOL,
        cluster=hand.options.cluster,
        node=hand.replica.node,
        born=hand.replica.born,
        clock=hand.replica.physical.now(),
        retention=int(hand.options.retention * 1000),
        record_bytes=MAX_RECORD,
        frame_bytes=hand.options.limits.frame_bytes,
        lease=int(hand.options.lease * 1000),
        context=context,
    )

    def greet() -> None:
        for _ in range(times):
            decode_message(encode_message(hello), record_bytes=MAX_RECORD)

    return greet, times


PATHS = (
    HotPath("encode", "write a record to a message", _encode),
    HotPath("decode", "read a record from a message, checked", _decode),
    HotPath("join", "join a record into an empty map", _join),
    HotPath("accept", "send a record over a link: encode, decode, join, show", _accept),
    HotPath("join-equal", "delta and join of equal maps of {equal:,}", _join_equal),
    HotPath("link-equal", "a link between equal replicas of {equal:,}, until synced", _link_equal),
    HotPath("hello", "a Hello with {contexts:,} contexts, packed and read", _hello),
    HotPath("heartbeat", "a heartbeat over a link, both ends", _heartbeat),
    HotPath("relay", "a frame of {marks:,} heartbeats, taken and passed on", _relay),
    HotPath("write", "a registration over a link, both ends, {records:,} there", _write),
    HotPath("renew", "renew a record", _renew),
    HotPath("turn", "an owner of {many:,} services lapses and is believed again", _turn),
    HotPath("prune", "forget a tombstone, one of {records:,}", _prune),
    HotPath(
        "get", "get(role): {hits:,} of {records:,}", _repeated(lambda m: m.get("role-7"), 1000)
    ),
    HotPath(
        "get-changed",
        "the same after a change of the role",
        _after_change(lambda m, role: m.get(f"role-{role}")),
    ),
    HotPath("range", "get(range), the same", _repeated(lambda m: m.get("role-7@^1.2"), 1000)),
    HotPath(
        "range-changed",
        "the same after a change of the role",
        _after_change(lambda m, role: m.get(f"role-{role}@^1.2")),
    ),
    HotPath(
        "partial",
        "get of a partial record, the same",
        _repeated(lambda m: m.get({"role": "role-7", "zone": "eu"}), 200),
    ),
    HotPath(
        "data",
        "get by a field of the data without a role: a third of {records:,}",
        _repeated(lambda m: m.get({"zone": "eu"}), 5),
    ),
    HotPath("port", "get by port: one of {records:,}", _services_at_port),
    HotPath("miss", "get of a role that nobody has", _repeated(lambda m: m.get("nobody"), 10_000)),
    HotPath("services", "services(): all {records:,}", _repeated(lambda m: m.services(), 200)),
    HotPath("pick", "pick(role): one of {hits:,}", _repeated(lambda m: m.pick("role-7"), 200)),
    HotPath("pick-many", "pick(role): one of {many:,}", _pick_of_many, _disperse),
    HotPath("event", "an event from where it is told until a task has it", _event),
    HotPath("register", "register a service", _register_more),
    HotPath("free", "free a service", _free),
)


def whats(*, quick: bool) -> dict[str, str]:
    """Return what each path is, with the sizes that it is measured at.

    >>> whats(quick=True)["get"]
    'get(role): 10 of 1,000'
    """
    less = QUICK if quick else 1
    sizes = {
        "records": RECORDS // less,
        "hits": RECORDS // less // ROLES,
        "equal": EQUAL // less,
        "many": MANY // less,
        "marks": MARKS // less,
        "contexts": CONTEXTS // less,
    }
    return {path.name: path.what.format(**sizes) for path in PATHS}


def measure(paths: Sequence[HotPath], repetitions: int, less: int) -> dict[str, list[float]]:
    """Return microseconds of processor time an operation, once a repetition, all paths in turn."""
    measured: dict[str, list[float]] = {path.name: [] for path in paths}

    async def run() -> None:
        async with open_manifest() as manifest:
            _register(manifest, RECORDS // less)
            for _ in range(repetitions):
                for path in paths:
                    work, count = path.ready(less, manifest)
                    took, answer = timed(work)
                    if isinstance(answer, Awaitable):
                        took += await _awaited(answer)
                    path.undo(manifest)
                    measured[path.name].append(took * 1000 / count)

    trio.run(run)
    return measured


async def _awaited(answer: Awaitable[object]) -> float:
    """Return how many milliseconds of processor time it took to await something."""
    began = time.process_time()
    await answer
    return (time.process_time() - began) * 1000


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
    known = whats(quick=report["quick"])
    rows = []
    for name, values in measured.items():
        row = [name, known.get(name, ""), spread(Spread.of(values))]
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
        "microseconds": measure(paths, given.repetitions, QUICK if given.quick else 1),
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
