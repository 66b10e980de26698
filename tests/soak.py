"""Simulations of the registry, one after the other, for as long as there is time.

    python -m tests.soak --minutes 10
    python -m tests.soak --seeds 41:42          the one run that failed
    python -m tests.soak --healing 40           how soon 20 nodes agree once all is mended

Every seed is another cluster: other nodes, topology, network, operations and faults, all of them,
the registry's default heartbeat, and a retention that is short enough to be passed many times. What
must hold is what holds in tests/property. Seeds that fail are written to soak-failures.txt, with
what was wrong and the call that repeats it, and the exit status is 1.

Healing is measured on 20 nodes in a ring, in a mesh, and dialling three each. The greatest time is
printed beside the bound; where it is exceeded the exit status is 1.
"""

from __future__ import annotations

import logging
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from manifest.testing import ROUGH, TOPOLOGIES, Conditions, Faults, Report, run_plan, simulate
from tests.commands import INTERRUPTED, amount, command_line, count, interrupts, seeds
from tests.property.cluster import HEALED_WITHIN, RegistryCluster, healing, some_operation

__all__ = ["heal_seed", "run_seed"]

SECONDS = 2_000.0
"""Virtual seconds of one seed."""
FAILURES = Path("soak-failures.txt")
HEALING = ("ring", "mesh", "dial 3")
"""The topologies in which healing is measured."""
PAUSES = (0.0, 0.1, 1.0, 5.0, 20.0, 60.0, 150.0)
"""Virtual seconds between steps: the last one is longer than the retention."""


class Soaked(RegistryCluster):
    """The registry with the heartbeat that it has by default."""

    def __init__(self) -> None:
        super().__init__(
            heartbeat_interval=5.0, registration_lifetime=5.0, retention=120.0, max_clock_skew=30.0
        )


def run_seed(seed: int) -> Report:
    """Run the simulation of one seed."""
    draw = random.Random(seed)
    return simulate(
        Soaked,
        some_operation,
        seed=seed,
        seconds=SECONDS,
        nodes=draw.randint(2, 5),
        faults=Faults(clock_offset=10.0, clock_drift=0.001),
        pauses=PAUSES,
        topology=draw.choice(TOPOLOGIES),
        conditions=draw.choice([Conditions(), ROUGH]),
        calm_every=400.0,
    )


def heal_seed(seed: int, topology: str) -> float:
    """Return in how many virtual seconds 20 nodes agree after a split has healed."""
    return run_plan(RegistryCluster, healing(seed, topology)).converged


def main(arguments: Sequence[str] | None = None) -> int:
    """Run seeds until the time is over, one at least; return 1 where one failed."""
    parser = command_line("tests.soak", __doc__)
    parser.add_argument(
        "--minutes", type=amount, default=10.0, help="how long to go on; default: %(default)g"
    )
    parser.add_argument(
        "--seeds",
        type=seeds,
        default="0:1000000",
        metavar="A:B",
        help="first and one past the last seed; default: %(default)s",
    )
    parser.add_argument(
        "--healing",
        type=count,
        metavar="N",
        help="measure how soon 20 nodes agree after a split, with N seeds, and nothing else",
    )
    given = parser.parse_args(arguments)
    logging.disable()
    if given.healing:
        return _heal(given.healing)
    ends = time.monotonic() + 60 * given.minutes
    failed: list[int] = []
    virtual, began = 0.0, time.monotonic()
    with interrupts() as interrupted:
        for done, seed in enumerate(given.seeds, start=1):
            try:
                virtual += run_seed(seed).seconds
            except Exception as failure:  # noqa: BLE001 - written down, and the next seed is run
                failed.append(seed)
                write_down(f"seed {seed}", failure)
            passed = time.monotonic() - began
            say(
                f"\r{done} seeds, {virtual:,.0f} virtual s in {passed:,.0f} s "
                f"({virtual / passed:,.0f} a second), failed: {failed or 'none'}"
            )
            if interrupted() or time.monotonic() > ends:
                break
    say("\n")
    if failed:
        say(f"the seeds that failed are in {FAILURES}: {failed}\n")
    if interrupted():
        say("interrupted\n")
        return INTERRUPTED
    return 1 if failed else 0


def _heal(number: int) -> int:
    """Measure healing with so many seeds for each topology; return 1 where it takes too long."""
    times: dict[tuple[str, int], float] = {}
    failed: list[tuple[str, int]] = []
    with interrupts() as interrupted:
        for seed in range(number):
            for topology in HEALING:
                if interrupted():
                    break
                try:
                    times[topology, seed] = heal_seed(seed, topology)
                except Exception as failure:  # noqa: BLE001 - written down, and the next is run
                    failed.append((topology, seed))
                    write_down(f"healing, {topology}, seed {seed}", failure)
                say(f"\r{len(times)} runs, failed: {failed or 'none'}")
    say("\n")
    for topology in HEALING:
        found = [time for (each, _), time in times.items() if each == topology]
        if found:
            say(f"{topology}: {max(found):.2f} s at the most in {len(found)} seeds\n")
    late = {run: round(time, 2) for run, time in times.items() if time > HEALED_WITHIN}
    say(f"the bound is {HEALED_WITHIN:g} s; exceeded: {late or 'never'}\n")
    if interrupted():
        say("interrupted\n")
        return INTERRUPTED
    return 1 if failed or late else 0


def write_down(run: str, failure: Exception) -> None:
    """Add a failure to the file of them, with its notes: they have the call that repeats it."""
    notes = "".join(f"{note}\n" for note in getattr(failure, "__notes__", ()))
    with FAILURES.open("a", encoding="utf-8") as file:
        file.write(f"{run}: {failure!r:.2000}\n{notes}")


def say(text: str) -> None:
    """Write text to stdout at once."""
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
