"""What load leaves behind once it is over, simulated; tests/leaks.py does the same for an hour."""

import gc
from collections import Counter

import trio

from manifest.testing import Conditions, SimulatedNetwork
from manifest.testing.scheduling import Schedule, run_scheduled

from .churning import Churn
from .leaks import disturb, restart_again_and_again, simulated_ring
from .simulated import Node

OPTIONS = {
    "heartbeat_interval": 1.0,
    "registration_lifetime": 2.0,
    "retention": 10.0,
    "max_clock_skew": 2.0,
}
OURS = ("manifest", "trio", "tests")
IN_THE_JOURNAL = ("Entry", "Stamp", "Record")
"""A map's journal lets a number of stale ones be; tests/crdt/test_journal.py sees to their end."""
SUPERSEDED = ("_due", "_items")
"""Collections of a map in which what was superseded stays until there is twice as much and more.

How many that are depends on the moment; tests/crdt/inspection.py holds them to that bound.
"""


def counted() -> Counter[str]:
    """Return how many objects there are of each kind of this project's and Trio's."""
    gc.collect()
    kinds = Counter(type(each) for each in gc.get_objects())
    return Counter(
        {
            f"{kind.__module__}.{kind.__qualname__}": count
            for kind, count in kinds.items()
            if kind.__module__.startswith(OURS) and kind.__name__ not in IN_THE_JOURNAL
        }
    )


def sizes(value: object, depth: int = 4) -> Counter[str]:
    """Return how many items there are in the collections that an object holds, by their names."""
    found: Counter[str] = Counter()
    for name in _names(value):
        if name in SUPERSEDED:
            continue
        inner = getattr(value, name, None)
        if isinstance(inner, dict | list | set | tuple):
            found[f"{type(value).__name__}.{name}"] += len(inner)
        elif depth and type(inner).__module__.startswith("manifest") and name != "environment":
            # Behind that is the simulated network, which keeps notes of all that was dialled.
            found += sizes(inner, depth - 1)
    return found


def _names(value: object) -> list[str]:
    slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
    return [*getattr(value, "__dict__", ()), *slots]


async def load_and_calm(network: SimulatedNetwork, nodes: list[Node]) -> None:
    """Have load and disturbances for a minute; then free everything, and outwait the retention."""
    churns = [Churn(node.manifest, 5.0, 10, tick=0.2) for node in nodes]
    with trio.move_on_after(60):
        async with trio.open_nursery() as nursery:
            for churn in churns:
                nursery.start_soon(churn.run)
            nursery.start_soon(restart_again_and_again, network, OPTIONS)
            nursery.start_soon(disturb, network, nodes)
    for churn in churns:
        while churn.ids:
            churn.free()
    await trio.sleep(3 * OPTIONS["retention"])


def grown(counts: list[Counter[str]]) -> dict[str, int]:
    """Return what there is more of after the last minute than after the first, by how many.

    A minute restarts a node six times and cuts links, so whatever leaks is ahead by six or more in
    each; a scope more or less at the moment of counting is none.
    """
    return {what: more for what, more in (counts[-1] - counts[0]).items() if more >= 6}


async def load_twice(_: Schedule) -> tuple[list[Counter[str]], list[Counter[str]]]:
    """Return what there is after each of two minutes: objects by kind, and items by collection."""
    network = SimulatedNetwork(1, Conditions(latency=(0.001, 0.005)))
    objects: list[Counter[str]] = []
    items: list[Counter[str]] = []
    async with simulated_ring(network, **OPTIONS) as nodes:
        for _minute in range(2):
            await load_and_calm(network, nodes)
            objects.append(counted())
            items.append(sum((sizes(node.manifest) for node in nodes), Counter()))
    return objects, items


def test_load_leaves_nothing_behind() -> None:
    """After each minute of load and faults there is no more of anything than after the first."""
    objects, items = run_scheduled(load_twice, seed=1)
    assert grown(objects) == {}
    assert grown(items) == {}
