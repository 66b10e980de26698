"""Simulations go on for as long as one likes, decided by their seed alone."""

import functools
import random
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import trio

from manifest.testing import Cluster, Conditions, Faults, Node, NotDeterministic, simulate

from .test_execution import Counter, Gossip, Probe


def add(draw: random.Random) -> str:
    """Return an operation."""
    return draw.choice(["add", "add more"])


def test_a_seed_is_a_simulation() -> None:
    """The same one is the same, another is another."""
    digests = [simulate(Gossip, add, seed=seed, seconds=60).digest for seed in (1, 1, 2)]
    assert digests[0] == digests[1] != digests[2]


def test_it_lasts_as_long_as_was_said() -> None:
    """With a calm every now and then, in which the application has to converge."""
    calms: list[float] = []

    class Calmed(Gossip):
        def check_converged(self, cluster: Cluster[Counter]) -> None:
            super().check_converged(cluster)
            calms.append(trio.current_time())

    report = simulate(
        Calmed,
        add,
        seed=3,
        seconds=100,
        nodes=3,
        faults=Faults.none(),
        pauses=[0.5, 1.0],
        topology="star",
        conditions=Conditions(),
        calm_every=20,
    )
    assert report.seconds >= 100
    assert 4 <= len(calms) <= 6
    assert all(later - sooner >= 20 for sooner, later in pairwise(calms[:-1]))


def test_a_failure_says_how_to_repeat_it() -> None:
    """By its seed, with the trace's digest to compare; the exception comes out bare."""

    class Fails(Probe):
        def do(self, node: Node[list[str]], operation: Any) -> None:
            if trio.current_time() > 30:
                raise KeyError("at last")

    notes = []
    for _ in range(2):
        with pytest.raises(KeyError, match="at last") as raised:
            simulate(Fails, add, seed=9, seconds=100)
        notes += raised.value.__notes__
    assert notes[0] == notes[1]
    assert "seed=9) failed after" in notes[0]
    assert "in the same way when it was run again" in notes[0]


class Late(Probe):
    """Fails after a while."""

    def do(self, node: Node[list[str]], operation: Any) -> None:
        assert trio.current_time() < 30, f"too late for {node.name}"


class Makers:
    """Where operations come from that are no function of a module."""

    add = functools.partial(random.Random.choice, seq=["add"])


@pytest.mark.parametrize("operations", [add, Makers.add, lambda draw: "add"])
def test_a_failure_has_the_call_to_be_pasted(operations: Callable[[random.Random], Any]) -> None:
    """It imports what it names; and with that it is the same run."""
    given: dict[str, Any] = {
        "nodes": 3,
        "faults": Faults(cuts=False),
        "pauses": (0.5, 2.0),
        "conditions": Conditions(latency=(0.0, 0.1)),
        "calm_every": 40.0,
    }
    with pytest.raises(AssertionError, match="too late") as raised:
        simulate(Late, operations, seed=4, seconds=100.0, **given)
    (note,) = raised.value.__notes__
    code = note[note.index("from manifest.testing") :]
    assert "    seed=4,\n    seconds=100.0,\n    nodes=3,\n" in code
    named = operations is add
    assert ("operations = ...  # " not in code) == named
    with pytest.raises(AssertionError, match="too late") as again:
        exec(code.replace("operations = ...", "pass"), {} if named else {"operations": operations})
    assert again.value.__notes__ == raised.value.__notes__


DIFFER = ["random", "sooner", "later", "once"]


@pytest.mark.parametrize("how", DIFFER)
def test_what_is_not_deterministic_is_named(how: str) -> None:
    """By the first event of the second run that the first did not have; the failure is there."""
    runs: list[Probe] = []

    class Different(Probe):
        def __init__(self) -> None:
            super().__init__()
            runs.append(self)

        def do(self, node: Node[list[str]], operation: Any) -> None:
            if trio.current_time() < 10 or (how == "once" and len(runs) > 1):
                return
            if how == "random":
                node.note(f"drew {len(runs)}")
            if (how, len(runs)) in {("sooner", 1), ("later", 2)}:
                node.note("before the end")
            raise KeyError(how)

    with pytest.raises(NotDeterministic, match="one seed made two runs, which part at") as raised:
        simulate(Different, add, seed=9, seconds=20, nodes=1, faults=Faults.none(), pauses=[1.0])
    assert isinstance(raised.value.__cause__, KeyError)
    one, other = str(raised.value).splitlines()[1:3]
    assert len(runs) == 2
    assert "seed=9) failed after" in raised.value.__notes__[0]
    assert "and went otherwise when it was run again" in raised.value.__notes__[0]
    match how:
        case "random":
            assert one.startswith("  event ")
            assert one.endswith(" of the first run")
            assert other == "  10.000000 s: n0: drew 2"
        case "sooner":
            assert one.startswith("  event ")
            assert other == "  the end of the second run"
        case "later":
            assert one == "  the end of the first run"
            assert other == "  10.000000 s: n0: before the end"
        case _:
            assert one == "  the end of the first run"
            assert other.startswith("  11.000000 s: Do(")


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"operations": "add"}, "operations is a function that makes one of .* got 'add'"),
        ({"seconds": 0}, "seconds is a finite number, 0.001 or more, got 0"),
        ({"seconds": float("inf")}, "seconds is a finite number"),
        ({"calm_every": 0}, "calm_every is a finite number, 0.001 or more, got 0"),
        ({"faults": "none"}, "faults are Faults"),
        ({"pauses": ()}, "pauses are seconds to choose from"),
        ({"seed": "x"}, "seed is an integer, got 'x'"),
        ({"within": None}, "within is a finite number, 0 or more, got None"),
        ({"max_steps": 0}, "max_steps is an integer, 1 or more, got 0"),
    ],
)
def test_what_is_no_simulation_is_refused(wrong: dict[str, Any], said: str) -> None:
    """The message has what was given, and what is right."""
    with pytest.raises(ValueError, match=said):
        simulate(Gossip, **{"operations": add, "seed": 1, "seconds": 1, **wrong})
