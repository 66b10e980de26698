"""A plan is plain data: checked when it is made, and printed as the Python that makes it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import manifest.testing
from manifest.testing import (
    ROUGH,
    TOPOLOGIES,
    Action,
    Conditions,
    Cut,
    Do,
    Faults,
    Plan,
    SetClock,
    SetDrift,
    Split,
    Step,
    plans,
)
from manifest.testing.plans import dials

NAMES = {name: getattr(manifest.testing, name) for name in manifest.testing.__all__}
EVERYTHING = Faults(clock_offset=2.0, clock_drift=0.001)


@given(plans(st.sampled_from(["add", ("take", 3)]), faults=EVERYTHING))
def test_a_plan_prints_as_the_python_that_makes_it(plan: Plan) -> None:
    """With nothing but the names of this package."""
    assert eval(repr(plan), dict(NAMES)) == plan


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"nodes": 0}, "nodes is an integer, 1 or more, got 0"),
        ({"nodes": 1.5}, "nodes is an integer, 1 or more, got 1.5"),
        ({"seed": "x"}, "seed is an integer, got 'x'"),
        ({"steps": [Step(0, Do(0.5, "x"))]}, "from 0 to 1, got .*node=0.5"),  # type: ignore[arg-type]
        ({"steps": [Step(0, Do(2, "x"))]}, "2 nodes numbers them from 0 to 1, got .*node=2"),
        ({"steps": [Step(0, Cut(0, -1))]}, "from 0 to 1, got .*other=-1"),
        ({"steps": [Step(0, Split((0, 5)))]}, "from 0 to 1, got .*5"),
        ({"steps": [Do(0, "x")]}, r"steps are Step\(.*, got Do"),
        ({"topology": "tree"}, "one of chain, star, ring, mesh, or \"dial 3\", got 'tree'"),
        ({"topology": "dial many"}, "got 'dial many'"),
    ],
)
def test_plans_that_cannot_be_are_refused(wrong: dict[str, Any], said: str) -> None:
    """The message has what was given, and what is right."""
    with pytest.raises(ValueError, match=said):
        Plan(**{"nodes": 2, **wrong})


@pytest.mark.parametrize(
    "after, action, said",
    [
        (-1, SetClock(0, 1.0), "after is a finite number, 0 or more, got -1"),
        ("1", SetClock(0, 1.0), "after is a finite number, 0 or more, got '1'"),
        (10**400, SetClock(0, 1.0), "after is a finite number, 0 or more, got 1000"),
        (float("nan"), SetClock(0, 1.0), "after is a finite number, 0 or more, got nan"),
        (0, "crash", r"an action is one such as Do\(0, ...\) or Heal\(\), got 'crash'"),
    ],
)
def test_steps_that_cannot_be_are_refused(after: float, action: Any, said: str) -> None:
    """Time does not go back, and an action is an action."""
    with pytest.raises(ValueError, match=said):
        Step(after, action)


def test_actions_that_cannot_be_are_refused() -> None:
    """Clocks do not run backwards, and one node is not several."""
    one: Any = 1
    with pytest.raises(ValueError, match="rate is a finite number, 0 or more, got -5"):
        SetDrift(0, -5.0)
    with pytest.raises(ValueError, match="offset is a finite number, got -inf"):
        SetClock(0, float("-inf"))
    with pytest.raises(ValueError, match=r"nodes are several, such as \(0, 1\), got 1"):
        Split(one)


def test_one_side_of_a_split_may_be_any_collection() -> None:
    """It is a tuple in the plan, in an order that is the same in every run."""
    sides: list[Any] = [[2, 0], {2, 0}, frozenset({0, 2}), iter((2, 0))]
    assert [Split(side).nodes for side in sides] == [(2, 0), (0, 2), (0, 2), (2, 0)]


def test_an_action_knows_which_nodes_it_touches() -> None:
    """Numbers that are no nodes do not count."""
    assert Cut(1, 2, after=7).touches == (1, 2)
    assert Split((0, 3)).touches == (0, 3)
    assert SetClock(4, 9.0).touches == (4,)
    assert Action().touches == ()


@pytest.mark.parametrize(
    "topology, expected",
    [
        ("chain", [(), (0,), (1,), (2,)]),
        ("star", [(), (0,), (0,), (0,)]),
        ("ring", [(3,), (0,), (1,), (2,)]),
        ("mesh", [(), (0,), (0, 1), (0, 1, 2)]),
    ],
)
def test_topologies(topology: str, expected: list[tuple[int, ...]]) -> None:
    """Who dials whom; alone, nobody dials anybody."""
    assert dials(topology, 4, 0) == expected
    assert dials(topology, 1, 0) == [()]


@given(st.integers(1, 12), st.integers(0, 5), st.integers(0, 99))
def test_nodes_dial_so_many_others(nodes: int, degree: int, seed: int) -> None:
    """Each so many, itself never, nobody twice, and everyone is reached."""
    dialled = dials(f"dial {degree}", nodes, seed)
    assert dialled == dials(f"dial {degree}", nodes, seed)
    for node, others in enumerate(dialled):
        assert len(others) == len({*others})
        assert node not in others
        assert len(others) == min(max(degree, node > 0), nodes - 1)
        assert not node or others[0] == node - 1


def test_what_is_left_out_is_tame() -> None:
    """A chain, no delays, right clocks, nothing that happens."""
    assert Plan(3) == Plan(3, (), 0, TOPOLOGIES[0], Conditions(), ())
    assert Plan(3).conditions != ROUGH
