"""What a retention costs: renewals on each link, which grow rarer with it, and tombstones.

    python -m benchmarks retention

A pair of nodes is moved by hand through a stretch of one season of renewals, pulse by pulse, and
what it says is counted: as it is, and with all values sent. What is counted are bytes, so it comes
out the same on every machine. Memory is that of tombstones alone, measured on one replica.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from manifest.options import Options

from .commands import command_line
from .drawing import drawable, finish, save, subplots
from .hands import Hand, Pair
from .measuring import machine
from .tables import counted_on, figure, table, write_report

__all__ = ["FREES", "RETENTIONS", "SERVICES", "main", "measure", "plot", "to_markdown"]

SERVICES = (1_000, 10_000, 100_000)
RETENTIONS = (600, 1_800, 3_600, 7_200, 21_600, 86_400)
"""In seconds: ten minutes to a day."""
FREES = (1, 10)
"""Services that are freed in a second, in the whole cluster."""
_PULSES = 40


def measure(services: int, retention: float) -> dict[str, float]:
    """Return the bytes a second that renewals cost a link, without their values and with them.

    Each service is renewed once in half the retention.
    """
    figures = {"without values": _measure(services, retention)}
    with mock.patch("manifest.protocol.holds_value", return_value=False):
        figures["with values"] = _measure(services, retention)
    return figures


def _measure(services: int, retention: float) -> float:
    """Carry some pulses of renewals, and return what the whole season costs, spread over time."""
    options = Options(retention=retention)
    pair = Pair(Hand(options=options), Hand(options=options))
    pair.one.fill(services)
    pair.carry()
    before, carried = pair.entries_sent, 0
    for hand in (pair.one, pair.other):
        hand.now += retention / 2
    pair.beat()
    for _ in range(_PULSES):
        for hand in (pair.one, pair.other):
            hand.now += 1.0
            hand.replica.pulse(1.0)
        carried += pair.carry()
    return carried / (pair.entries_sent - before) * services / (retention / 2)


def measure_tombstone(count: int = 20_000) -> float:
    """Return the bytes of memory that one tombstone takes in a replica."""
    hand = Hand()
    hand.fill(1)
    gc.collect()
    tracemalloc.start()
    for number in range(count):
        hand.replica.free(f"{hand.replica.node}.{number}")
    gc.collect()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return held / count


def to_markdown(report: Mapping[str, Any]) -> str:
    """Return the figures as a table, a row for each retention."""
    sizes = [int(count) for count in report["services"]]
    tombstone = report["tombstone, bytes"]
    headers = [
        "retention",
        *(f"{count:,} services, B/s a link" for count in sizes),
        *(f"tombstones at {_pace(frees)}, MB" for frees in FREES),
    ]
    rows: list[list[str]] = []
    for retention in report["retentions"]:
        row = [_named(retention)]
        for count in sizes:
            cost = report["services"][str(count)][str(retention)]
            row.append(f"{figure(cost['without values'])} ({figure(cost['with values'])})")
        row += [figure(frees * retention * tombstone / 1e6) for frees in FREES]
        rows.append(row)
    return (
        table(headers, rows)
        + f"\n\nIn brackets: with all values sent. A tombstone takes {figure(tombstone)} bytes. "
        + counted_on(report["machine"], quick=report["quick"])
    )


def plot(report: Mapping[str, Any], to: Path) -> None:
    """Draw a report to a PNG. Needs matplotlib, which is in the dependency group `bench`."""
    figure, axes = subplots(1, 2, width=7.5)
    links, tombstones = axes[0]
    retentions = report["retentions"]
    names = [_named(each) for each in retentions]
    for number, (count, costs) in enumerate(report["services"].items()):
        for what, style in (("without values", "-"), ("with values", ":")):
            measured = [costs[str(each)][what] for each in retentions]
            label = f"{int(count):,} services, {what}"
            links.plot(retentions, measured, f"C{number}{style}", marker="o", label=label)
    finish(links, "renewals, B/s a link", "retention", retentions, names)
    links.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    for frees in FREES:
        held = [frees * each * report["tombstone, bytes"] / 1e6 for each in retentions]
        tombstones.plot(retentions, held, marker="o", label=_pace(frees))
    finish(tombstones, "tombstones, MB", "retention", retentions, names)
    save(figure, {"retention": report}, to)


def _pace(frees: int) -> str:
    return f"{frees} free{'s' if frees > 1 else ''} a second"


def _named(retention: float) -> str:
    return f"{retention / 60:g} min" if retention < 3600 else f"{retention / 3600:g} h"


def main(arguments: Sequence[str] | None = None) -> None:
    """Count what each retention costs, print the table and draw it."""
    parser = command_line("retention", __doc__)
    parser.add_argument("--services", type=int, nargs="+", default=SERVICES)
    parser.add_argument("--retentions", type=int, nargs="+", default=RETENTIONS, metavar="SECONDS")
    parser.add_argument("--quick", action="store_true", help="up to 1,000 services")
    parser.add_argument("--directory", type=Path, default=Path("build/benchmarks"))
    given = parser.parse_args(arguments)
    report = {
        "machine": machine("attrs", "msgspec"),
        "quick": given.quick,
        "retentions": list(given.retentions),
        "services": {
            str(count): {str(each): measure(count, each) for each in given.retentions}
            for count in given.services
            if not given.quick or count <= 1_000
        },
        "tombstone, bytes": measure_tombstone(),
    }
    markdown = to_markdown(report)
    write_report(given.directory / "retention.json", report, markdown)
    print(markdown)
    if drawable():
        plot(report, given.directory / "retention.png")
