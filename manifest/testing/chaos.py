"""What may go wrong, drawn step by step: by Hypothesis for plans, from a seed for long simulations.

Both draw through a `Chooser`, so both know the same faults. First choices are the tamest, for that
is what Hypothesis shrinks towards: an operation, on node 0, at once.
"""

# What a protocol declares has no body, and so returns nothing.
# pyright: reportReturnType=false

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Protocol, TypeVar

import attrs
from hypothesis import strategies as st

from .arguments import check_count, check_number
from .network import Conditions
from .plans import (
    TOPOLOGIES,
    Action,
    Block,
    Crash,
    Cut,
    Deafen,
    Do,
    Flow,
    Heal,
    Hear,
    Isolate,
    Leave,
    Pause,
    Plan,
    Restart,
    Resume,
    SetClock,
    SetDrift,
    Split,
    Stall,
    Step,
    Unblock,
    dials,
)

__all__ = [
    "Chooser",
    "Faults",
    "RandomChooser",
    "check_pauses",
    "checked_faults",
    "plans",
    "some_steps",
]

T = TypeVar("T")

PAUSES = (0.0, 0.01, 0.2, 1.0, 3.0)
"""Virtual seconds between two steps, by default."""


@attrs.frozen(kw_only=True)
class Faults:
    """Which faults there are. Those that are left out are all there, but for clocks that are off.

    >>> Faults.none().partitions
    False
    """

    partitions: bool = True
    """Ways between nodes are blocked: one, all of one node's, a half's, or a random subset."""
    cuts: bool = True
    """Streams break, at once or in the middle of what is sent next."""
    stalls: bool = True
    """Streams carry nothing for a time; nodes do not read for a time."""
    crashes: bool = True
    """Nodes are killed, with or without a reset, and started again."""
    leaves: bool = True
    """Nodes end by themselves, and are started again."""
    pauses: bool = True
    """Nodes do not run for a time."""
    clock_offset: float = attrs.field(default=0.0, validator=attrs.validators.ge(0))
    """Seconds by which wall clocks step off the true time, either way."""
    clock_drift: float = attrs.field(default=0.0, validator=attrs.validators.ge(0))
    """By how much clocks run too fast or too slow: 0.001 is a millisecond a second."""

    @classmethod
    def none(cls) -> Faults:
        """Return that nothing goes wrong."""
        return cls(
            partitions=False, cuts=False, stalls=False, crashes=False, leaves=False, pauses=False
        )

    @property
    def kinds(self) -> tuple[str, ...]:
        """The names of the faults that there are."""
        return tuple(field.name for field in attrs.fields(type(self)) if getattr(self, field.name))


class Chooser(Protocol):
    """Where choices come from."""

    def integer(self, lowest: int, highest: int) -> int:
        """Return one of these numbers."""

    def one_of(self, choices: Sequence[T]) -> T:
        """Return one of these."""

    def operation(self) -> Any:
        """Return an operation for some node."""


@attrs.frozen
class _Drawing:
    """Choices that Hypothesis makes, and shrinks."""

    draw: st.DrawFn
    operations: st.SearchStrategy[Any]

    def integer(self, lowest: int, highest: int) -> int:
        return self.draw(st.integers(lowest, highest))

    def one_of(self, choices: Sequence[T]) -> T:
        return self.draw(st.sampled_from(choices))

    def operation(self) -> Any:
        return self.draw(self.operations)


@attrs.frozen
class RandomChooser:
    """Choices from a seed, as many as are wanted."""

    random: Random
    operations: Callable[[Random], Any]

    def integer(self, lowest: int, highest: int) -> int:
        """Return one of these numbers, all equally likely."""
        return self.random.randint(lowest, highest)

    def one_of(self, choices: Sequence[T]) -> T:
        """Return one of these, all equally likely."""
        return self.random.choice(choices)

    def operation(self) -> Any:
        """Return what the user's function makes of the randomness."""
        return self.operations(self.random)


def some_steps(
    choose: Chooser, nodes: int, faults: Faults, pauses: Sequence[float]
) -> tuple[Step, ...]:
    """Return what happens next: mostly an operation, else a fault or its mending."""
    # Two of three are operations, whatever else there is.
    kinds = faults.kinds
    kind = choose.one_of(("operation",) * max(1, 2 * len(kinds)) + kinds)
    actions: Sequence[Action]
    if kind == "operation":
        actions = (Do(choose.integer(0, nodes - 1), choose.operation()),)
    else:
        actions = _KINDS[kind](choose, nodes, faults)
    return tuple(Step(choose.one_of(pauses), action) for action in actions)


def _partitions(choose: Chooser, nodes: int, faults: Faults) -> Sequence[Action]:
    node, other = _pair(choose, nodes)
    match choose.one_of(("heal", "isolate", "block", "unblock", "split", "swizzle")):
        case "isolate":
            return (Isolate(node),)
        case "block":
            return (Block(node, other, both_ways=choose.one_of((False, True))),)
        case "unblock":
            return (Unblock(node, other, both_ways=choose.one_of((False, True))),)
        case "split":
            return (Split(_side(choose, nodes)),)
        case "swizzle":
            return _swizzle(choose, nodes)
        case _:
            return (Heal(),)


def _side(choose: Chooser, nodes: int) -> tuple[int, ...]:
    """Return some of the nodes, neither none nor all of them; one that is alone."""
    # Each bit is a node, so that any set is as likely as any other.
    bits = choose.integer(1, max(1, 2**nodes - 2))
    return tuple(node for node in range(nodes) if bits >> node & 1)


def _swizzle(choose: Chooser, nodes: int) -> Sequence[Action]:
    """Block a few ways one by one, and open them all again one by one, in an order of its own."""
    numbers = range(nodes)
    every = [(one, other) for one in numbers for other in numbers if one != other] or [(0, 0)]
    ways = _in_some_order(choose, every, choose.integer(1, min(nodes, 5, len(every))))
    order = _in_some_order(choose, ways, len(ways))
    return (*(Block(*way) for way in ways), *(Unblock(*way) for way in order))


def _in_some_order(choose: Chooser, all_of_them: Sequence[T], count: int) -> list[T]:
    """Return so many of these, none of them twice."""
    left = [*all_of_them]
    return [left.pop(choose.integer(0, len(left) - 1)) for _ in range(count)]


def _cuts(choose: Chooser, nodes: int, faults: Faults) -> Sequence[Action]:
    after = choose.one_of((0, 1, 3, 4, 5, choose.integer(6, 400)))
    return (Cut(*_pair(choose, nodes), after=after),)


def _stalls(choose: Chooser, nodes: int, faults: Faults) -> Sequence[Action]:
    node, other = _pair(choose, nodes)
    one_way = choose.one_of((False, True))
    flow, stall = Flow(node, other, one_way=one_way), Stall(node, other, one_way=one_way)
    return (choose.one_of((flow, stall, Hear(node), Deafen(node))),)


def _crashes(choose: Chooser, nodes: int, faults: Faults) -> Sequence[Action]:
    node = choose.integer(0, nodes - 1)
    return (choose.one_of((Restart(node), Restart(node), Crash(node), Crash(node, silently=True))),)


def _leaves(choose: Chooser, nodes: int, faults: Faults) -> Sequence[Action]:
    node = choose.integer(0, nodes - 1)
    return (choose.one_of((Restart(node), Leave(node))),)


def _pauses(choose: Chooser, nodes: int, faults: Faults) -> Sequence[Action]:
    node = choose.integer(0, nodes - 1)
    return (choose.one_of((Resume(node), Pause(node))),)


def _clock_offset(choose: Chooser, nodes: int, faults: Faults) -> Sequence[Action]:
    share = choose.integer(-10, 10) / 10
    return (SetClock(choose.integer(0, nodes - 1), share * faults.clock_offset),)


def _clock_drift(choose: Chooser, nodes: int, faults: Faults) -> Sequence[Action]:
    share = choose.integer(-10, 10) / 10
    return (SetDrift(choose.integer(0, nodes - 1), 1 + share * faults.clock_drift),)


_KINDS: dict[str, Callable[[Chooser, int, Faults], Sequence[Action]]] = {
    "partitions": _partitions,
    "cuts": _cuts,
    "stalls": _stalls,
    "crashes": _crashes,
    "leaves": _leaves,
    "pauses": _pauses,
    "clock_offset": _clock_offset,
    "clock_drift": _clock_drift,
}


def _pair(choose: Chooser, nodes: int) -> tuple[int, int]:
    one = choose.integer(0, nodes - 1)
    return one, (one + choose.integer(1, max(1, nodes - 1))) % nodes


def checked_faults(faults: object) -> Faults:
    """Return these faults, or all where none are given. ValueError for anything else."""
    if faults is None:
        return Faults()
    if not isinstance(faults, Faults):
        raise ValueError(f"faults are Faults(...) or Faults.none(), got {faults!r:.80}")
    return faults


def check_pauses(pauses: object) -> None:
    """Refuse what are no virtual seconds between two steps, one at least."""
    if not isinstance(pauses, Sequence) or not pauses:
        raise ValueError(f"pauses are seconds to choose from, such as [0.0, 1.0], got {pauses!r}")
    for pause in pauses:
        check_number("a pause", pause)


def plans(
    operations: st.SearchStrategy[Any],
    *,
    nodes: tuple[int, int] = (2, 5),
    max_steps: int = 30,
    faults: Faults | None = None,
    pauses: Sequence[float] = PAUSES,
    topologies: Sequence[str] = TOPOLOGIES,
    conditions: Sequence[Conditions] | None = None,
) -> st.SearchStrategy[Plan]:
    """Return a strategy of plans, for `run_plan`.

    `operations` makes what `Application.do` is given; `nodes` are the fewest and the most nodes;
    `pauses` the virtual seconds between two steps, of which the first is the tamest; `conditions`
    the networks to choose from, by default one without delay, and one with delays, small buffers
    and reads in pieces. The seed that decides the order of tasks is drawn as well, so interleavings
    are explored and not only data.
    """
    if not isinstance(operations, st.SearchStrategy):
        raise ValueError(
            f"operations is a Hypothesis strategy, such as st.sampled_from([...]), got "
            f"{operations!r}"
        )
    match nodes:
        case (int() as fewest, int() as most) if 1 <= fewest <= most and fewest is not True:
            pass
        case _:
            raise ValueError(f"nodes are the fewest and the most, such as (2, 5), got {nodes!r}")
    check_count("max_steps", max_steps, 0)
    check_pauses(pauses)
    for topology in topologies:
        dials(topology, 1, 0)
    networks = tuple(conditions or (Conditions(), ROUGH))
    wrong = checked_faults(faults)

    @st.composite
    def chunks(draw: st.DrawFn, count: int) -> tuple[Step, ...]:
        return some_steps(_Drawing(draw, operations), count, wrong, pauses)

    def offsets(count: int) -> st.SearchStrategy[tuple[float, ...]]:
        if not wrong.clock_offset:
            return st.just(())
        share = st.integers(-10, 10).map(lambda tenths: tenths / 10 * wrong.clock_offset)
        return st.lists(share, max_size=count).map(tuple)

    @st.composite
    def whole(draw: st.DrawFn) -> Plan:
        count = draw(st.integers(fewest, most))
        # Left to itself, Hypothesis makes short lists, in which little can go wrong.
        least = draw(st.integers(0, max_steps // 2))
        steps = draw(st.lists(chunks(count), min_size=least, max_size=max_steps))
        return Plan(
            nodes=count,
            steps=tuple(step for chunk in steps for step in chunk),
            seed=draw(st.integers(0, 2**32 - 1)),
            topology=draw(st.sampled_from(topologies)),
            conditions=draw(st.sampled_from(networks)),
            offsets=draw(offsets(count)),
        )

    return whole()


ROUGH = Conditions(latency=(0.0, 0.05), capacity=600, fragmented=0.5)
"""A network with delays, buffers that are soon full, and reads in pieces."""
