"""Simulations go on for as long as one likes, decided by their seed alone."""

import random
from itertools import pairwise
from typing import Any

import pytest
import trio

from manifest.testing import Cluster, Conditions, Faults, Node, simulate

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
