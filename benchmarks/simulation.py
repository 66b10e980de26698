"""How fast clusters of the registry are simulated: virtual seconds in a second of one core.

    python -m benchmarks simulation --repetitions 5

Heartbeats come every second and one write every second, somewhere; all else is as it is by
default. CPU time is counted, so that other programs on the machine disturb little. Prints a
Markdown table with medians and the range.
"""

import logging
import time
from collections.abc import Sequence

from manifest import Manifest, open_manifest
from manifest.testing import Application, Do, Node, Plan, Report, Step, run_plan

from .commands import check_count, command_line
from .measuring import Spread
from .tables import table

CLUSTERS = ((5, "mesh", 200), (20, "dial 3", 60), (100, "dial 3", 60))
"""Nodes, topology, virtual seconds: long enough for the start not to be most of it."""


class Registries(Application[Manifest]):
    """Manifests that register one more service when told to."""

    async def run(self, node: Node[Manifest]) -> None:  # noqa: D102 - as it says above
        async with open_manifest(
            environment=node.environment(), heartbeat_interval=1.0
        ) as manifest:
            await manifest.listen(3100)
            for peer in node.peers:
                manifest.connect(3100, peer)
            node.state = manifest
            await node.leaving.wait()

    def do(self, node: Node[Manifest], operation: object) -> None:  # noqa: D102 - as it says above
        assert node.state is not None
        node.state.register("web@1.0.0", port=80)


def simulate(nodes: int, topology: str, seconds: int) -> tuple[float, Report]:
    """Return virtual seconds per second of CPU time, and what the run was like."""
    steps = [Step(1.0, Do(number % nodes, "write")) for number in range(seconds)]
    began = time.process_time()
    report = run_plan(Registries, Plan(nodes, steps, topology=topology), max_steps=1_000_000)
    return report.seconds / (time.process_time() - began), report


def main(arguments: Sequence[str] | None = None) -> None:
    parser = command_line("simulation", __doc__)
    parser.add_argument("--repetitions", type=int, default=5)
    given = parser.parse_args(arguments)
    check_count(parser, "--repetitions", given.repetitions)
    logging.disable()
    rows = []
    for nodes, topology, seconds in CLUSTERS:
        runs = [simulate(nodes, topology, seconds) for _ in range(given.repetitions)]
        rates = Spread.of(rate for rate, _ in runs)
        report = runs[0][1]
        rows.append(
            (
                topology,
                str(nodes),
                f"{rates.median:.1f}",
                f"{rates.least:.1f} to {rates.greatest:.1f}",
                f"{report.events / report.seconds:,.0f}",
            )
        )
    headers = ["topology", "nodes", "virtual s per s, median", "range", "messages per virtual s"]
    print(table(headers, rows))


if __name__ == "__main__":
    main()
