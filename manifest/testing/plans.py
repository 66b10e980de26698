"""Plans: what is done on which node, what goes wrong meanwhile, and in which order things happen.

A plan is plain data: it prints as the Python that makes it. It holds a seed for everything that is
random in a run, the order of tasks included, so a plan and an application make one run, always.
"""

from __future__ import annotations

import math
import random
from typing import Any

import attrs

from .arguments import check_count, is_number_from, is_whole, to_numbers_of_nodes
from .network import Conditions

__all__ = [
    "TOPOLOGIES",
    "Action",
    "Block",
    "Calm",
    "Crash",
    "Cut",
    "Deafen",
    "Do",
    "Flow",
    "Heal",
    "Hear",
    "Isolate",
    "Leave",
    "Pause",
    "Plan",
    "Restart",
    "Resume",
    "SetClock",
    "SetDrift",
    "Split",
    "Stall",
    "Step",
    "Unblock",
    "dials",
]

TOPOLOGIES = ("chain", "star", "ring", "mesh")
"""Who dials whom: each its predecessor, all the first one, a circle, each all before it."""


@attrs.frozen
class Action:
    """Something that happens in a run; each kind is a class of its own."""

    @property
    def touches(self) -> tuple[int, ...]:
        """The numbers of the nodes that it names."""
        named: list[int] = []
        for field in attrs.fields(type(self)):
            value = getattr(self, field.name)
            if field.metadata.get("node"):
                named += value if isinstance(value, tuple) else (value,)
        return tuple(named)


_NODE = {"node": True}
"""Marks the fields of an action that number nodes."""


@attrs.frozen
class Do(Action):
    """An operation on a node; passed over where that node is down, paused or not ready."""

    node: int = attrs.field(metadata=_NODE)
    operation: Any = attrs.field()


@attrs.frozen
class Block(Action):
    """Nothing gets through from one node to another: a partition one way, or `both_ways`."""

    source: int = attrs.field(metadata=_NODE)
    target: int = attrs.field(metadata=_NODE)
    both_ways: bool = False


@attrs.frozen
class Unblock(Action):
    """What was blocked gets through again, first what was sent meanwhile."""

    source: int = attrs.field(metadata=_NODE)
    target: int = attrs.field(metadata=_NODE)
    both_ways: bool = False


@attrs.frozen
class Isolate(Action):
    """Nothing gets through between a node and all others."""

    node: int = attrs.field(metadata=_NODE)


@attrs.frozen
class Split(Action):
    """Nothing gets through between these nodes and the others."""

    nodes: tuple[int, ...] = attrs.field(metadata=_NODE, converter=to_numbers_of_nodes)


@attrs.frozen
class Heal(Action):
    """Everything gets through again, everywhere; streams that stalled flow."""


@attrs.frozen
class Cut(Action):
    """All streams between two nodes break: at once, or each when so many more bytes were sent."""

    one: int = attrs.field(metadata=_NODE)
    other: int = attrs.field(metadata=_NODE)
    after: int = 0


@attrs.frozen
class Stall(Action):
    """The streams between two nodes carry nothing any more; new ones do.

    Where it is `one_way`, they carry nothing from one to the other, and still carry back.
    """

    one: int = attrs.field(metadata=_NODE)
    other: int = attrs.field(metadata=_NODE)
    one_way: bool = False


@attrs.frozen
class Flow(Action):
    """The streams between two nodes carry again, first what was sent meanwhile.

    Where it is `one_way`, they carry again from one to the other.
    """

    one: int = attrs.field(metadata=_NODE)
    other: int = attrs.field(metadata=_NODE)
    one_way: bool = False


@attrs.frozen
class Deafen(Action):
    """A node reads nothing any more, so what is sent to it piles up."""

    node: int = attrs.field(metadata=_NODE)


@attrs.frozen
class Hear(Action):
    """A node reads again."""

    node: int = attrs.field(metadata=_NODE)


@attrs.frozen
class Crash(Action):
    """A node is killed: its system resets its streams, or nobody is told where `silently`."""

    node: int = attrs.field(metadata=_NODE)
    silently: bool = False


@attrs.frozen
class Restart(Action):
    """A node that is down is started again, as a new incarnation."""

    node: int = attrs.field(metadata=_NODE)


@attrs.frozen
class Leave(Action):
    """A node is told to end by itself."""

    node: int = attrs.field(metadata=_NODE)


@attrs.frozen
class Pause(Action):
    """A node's tasks do not run, as under SIGSTOP."""

    node: int = attrs.field(metadata=_NODE)


@attrs.frozen
class Resume(Action):
    """The tasks of a node that was paused run again."""

    node: int = attrs.field(metadata=_NODE)


@attrs.frozen
class SetClock(Action):
    """A node's wall clock steps, to be ahead of the true time by so many seconds."""

    node: int = attrs.field(metadata=_NODE)
    offset: float = attrs.field(validator=is_number_from(-math.inf))


@attrs.frozen
class SetDrift(Action):
    """A node's clock runs at this rate from now on: 1.001 gains a millisecond every second."""

    node: int = attrs.field(metadata=_NODE)
    rate: float = attrs.field(validator=is_number_from(0))


@attrs.frozen
class Calm(Action):
    """Everything is mended, and the run goes on once the application has converged."""


def _check_steps(plan: Plan, attribute: attrs.Attribute[Any], steps: tuple[Step, ...]) -> None:
    for step in steps:
        if not isinstance(step, Step):
            raise ValueError(f"steps are Step(seconds after the one before, action), got {step!r}")
        if any(type(node) is not int or not 0 <= node < plan.nodes for node in step.action.touches):
            raise ValueError(
                f"a plan of {plan.nodes} nodes numbers them from 0 to {plan.nodes - 1}, got {step}"
            )


def _check_nodes(plan: Plan, attribute: attrs.Attribute[int], nodes: object) -> None:
    check_count("nodes", nodes)


def _check_action(step: Step, attribute: attrs.Attribute[Action], action: object) -> None:
    if not isinstance(action, Action):
        raise ValueError(f"an action is one such as Do(0, ...) or Heal(), got {action!r:.80}")


def _check_topology(plan: Plan, attribute: attrs.Attribute[str], topology: str) -> None:
    dials(topology, 1, 0)


@attrs.frozen
class Step:
    """An action, so many virtual seconds after the one before it."""

    after: float = attrs.field(validator=is_number_from(0))
    action: Action = attrs.field(validator=_check_action)


@attrs.frozen
class Plan:
    """A run, but for the application: nodes, network, seed, and what happens."""

    nodes: int = attrs.field(validator=_check_nodes)
    steps: tuple[Step, ...] = attrs.field(
        default=(), converter=tuple["Step", ...], validator=_check_steps
    )
    seed: int = attrs.field(default=0, validator=is_whole)
    """Decides the order of tasks, the network's delays, and the randomness of nodes."""
    topology: str = attrs.field(default="chain", validator=_check_topology)
    """Who dials whom: one of `TOPOLOGIES`, or "dial 3": each dials three others."""
    conditions: Conditions = attrs.field(factory=Conditions)
    offsets: tuple[float, ...] = attrs.field(default=(), converter=tuple[float, ...])
    """Seconds by which the nodes' wall clocks are ahead from the start; 0 for those left out."""


def dials(topology: str, nodes: int, seed: int) -> list[tuple[int, ...]]:
    """Return which others each node dials. ValueError for a topology that there is not.

    >>> dials("ring", 4, 0)
    [(3,), (0,), (1,), (2,)]
    >>> dials("star", 4, 0)
    [(), (0,), (0,), (0,)]
    """
    match topology.split():
        case ["chain"]:
            return [(node - 1,) if node else () for node in range(nodes)]
        case ["star"]:
            return [(0,) if node else () for node in range(nodes)]
        case ["ring"]:
            return [((node - 1) % nodes,) if nodes > 1 else () for node in range(nodes)]
        case ["mesh"]:
            return [tuple(range(node)) for node in range(nodes)]
        case ["dial", degree] if degree.isdecimal():
            draw = random.Random(f"{seed}/topology")
            return [_some(draw, nodes, node, int(degree)) for node in range(nodes)]
        case _:
            raise ValueError(
                f'a topology is one of {", ".join(TOPOLOGIES)}, or "dial 3", got {topology!r}'
            )


def _some(draw: random.Random, nodes: int, node: int, degree: int) -> tuple[int, ...]:
    # Its predecessor first, so that everyone is reached.
    others = [each for each in range(nodes) if each not in (node, node - 1)]
    first = [node - 1] if node else []
    wanted = max(0, min(degree - len(first), len(others)))
    return (*first, *draw.sample(others, wanted))
