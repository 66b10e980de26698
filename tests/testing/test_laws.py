"""check_laws finds each broken law, by its name and with a small example, and passes what is right.

For each law there is a CRDT with a bug planted that breaks this law and no other.
"""

import copy
import operator
from collections.abc import Callable
from typing import Any

import attrs
import hypothesis
import pytest
from hypothesis import strategies as st

import manifest.crdt
from manifest.crdt import ConflictingStamp, Delta, Entry, LWWMap, Stamp
from manifest.testing.laws import LAWS, LawBroken, check_laws
from tests.crdt.states import histories

Set = set[int]
SETS: st.SearchStrategy[Set] = st.sets(st.integers(0, 3))
REPRODUCIBLE = hypothesis.settings(max_examples=50, derandomize=True, database=None, deadline=None)


class Conflict(Exception):
    """Two states that a join refuses to bring together."""


def right() -> dict[str, Any]:
    """Return the arguments for a grow-only set with all that there is to check, and no bug."""
    return {
        "states": SETS,
        "join": Set.union,
        "delta": operator.sub,
        "join_delta": Set.union,
        "encode": sorted,
        "decode": set,
        "refusals": Conflict,
        "tie": operator.eq,
        "settings": REPRODUCIBLE,
    }


# What is right


def test_a_right_crdt_keeps_every_law() -> None:
    """Nothing is found where there is nothing, and what held is said law by law."""
    held = check_laws(**right())
    assert held.laws == tuple(LAWS)
    assert held.examples == 50 * (len(LAWS) - 1)
    assert 0 < held.ties <= held.examples
    assert held.refused == 0
    assert str(held).startswith(f"held on {held.examples} examples, {held.ties} of them with a tie")
    assert "0 joins refused" in str(held)


def test_only_what_was_given_is_checked() -> None:
    """Laws about refusals, deltas, codecs and ties are left out where there are none."""
    held = check_laws(join=Set.union, states=SETS, settings=REPRODUCIBLE)
    assert held.laws == tuple(law for law in LAWS if law not in OPTIONAL)
    assert held.ties == held.refused == 0
    assert "tie" not in str(held)
    assert "refused" not in str(held)


OPTIONAL = ("refusal", "delta", "codec", "ties")


def test_a_join_may_work_in_place() -> None:
    """With in_place, what counts is what became of the first argument, and not what is returned."""
    held = check_laws(**right() | {"join": Set.update, "join_delta": Set.update, "in_place": True})
    assert held.laws == tuple(LAWS)


def test_the_map_of_this_project_keeps_every_law() -> None:
    """LWWMap joins and makes deltas as a CRDT has to, as histories of three replicas show."""
    held = check_laws(
        join=LWWMap[str, int].join,
        in_place=True,
        replicas=histories().map(lambda history: history.maps(manifest.crdt)),
        delta=lambda state, reader: state.delta(reader.context),
        join_delta=LWWMap[str, int].join,
    )
    assert {"commutativity", "associativity", "isolation", "delta"} <= set(held.laws)


def agreed(one: dict[str, int], other: dict[str, int]) -> dict[str, int]:
    """Return the union of two mappings, unless they say different things of one key."""
    if any(one[key] != other[key] for key in one.keys() & other.keys()):
        raise Conflict
    return one | other


def test_a_refused_delta_is_no_broken_law() -> None:
    """Where the whole state is refused, its delta may be refused as well, or lack the conflict."""
    deltas: list[Callable[[dict[str, int], dict[str, int]], dict[str, int]]] = [
        lambda state, reader: state,
        lambda state, reader: {key: state[key] for key in state.keys() - reader.keys()},
    ]
    for delta in deltas:
        held = check_laws(
            join=agreed,
            states=st.dictionaries(st.sampled_from("kl"), st.integers(0, 1)),
            refusals=Conflict,
            delta=delta,
            join_delta=agreed,
            settings=REPRODUCIBLE,
        )
        assert 0 < held.refused < 50


def conflicting_maps() -> st.SearchStrategy[LWWMap[str, int]]:
    """Draw maps of entries whose stamps are so few that one stamp comes with several values."""
    entries = st.builds(
        Entry[str, int],
        st.sampled_from("kl"),
        st.builds(Stamp, st.integers(1, 3), st.just("a")),
        st.integers(0, 1),
    )

    def build(drawn: list[Entry[str, int]]) -> LWWMap[str, int]:
        replica = LWWMap[str, int]()
        replica.join(Delta(tuple(drawn)))
        return replica

    return st.lists(entries, max_size=3, unique_by=lambda entry: entry.key).map(build)


def conflict(one: LWWMap[str, int], other: LWWMap[str, int]) -> bool:
    """Tell whether two maps have one stamp with two values."""
    pairs = [(entry, other.entry(entry.key)) for _, entry in one.journal()]
    return any(rival and entry.stamp == rival.stamp and entry != rival for entry, rival in pairs)


def test_the_map_of_this_project_refuses_conflicts_from_both_sides() -> None:
    """A stamp with two values is refused whoever joins, and the map that refuses is left alone."""
    held = check_laws(
        join=LWWMap[str, int].join,
        in_place=True,
        states=conflicting_maps(),
        refusals=(ConflictingStamp,),
        tie=conflict,
        show=lambda replica: str([entry for _, entry in replica.journal()]),
    )
    assert {"refusal", "ties"} <= set(held.laws)
    assert held.refused > 0


# What is wrong: one bug for each law, and no other law breaks


@attrs.define(eq=False)
class Box:
    """A state whose class has no __eq__."""

    items: Set

    def join(self, other: "Box") -> "Box":
        """Return the union."""
        return Box(self.items | other.items)


def follows(one: int, other: int) -> int:
    """Return the later of two serial numbers of a circle of three."""
    return one if (one - other) % 3 in (0, 1) else other


def refusing_old(one: Set, other: Set) -> Set:
    """Join, but take a state that has nothing new, or only news, for an error."""
    if one < other or other < one:
        raise Conflict
    return one | other


def refusing_on_one_side(one: Set, other: Set) -> Set:
    """Join, but let one side see a conflict that the other does not."""
    if 1 in one and 2 in other and not {1, 2} <= one & other and 1 not in other and 2 not in one:
        raise Conflict
    return one | other


def refusing_late(one: Set, other: Set) -> None:
    """Join in place, and find out on the way that there is a conflict between 1 and 2."""
    for item in sorted(other):
        one.add(item)
        if {1, 2} <= one:
            raise Conflict


def refusing_others(one: Set, other: Set) -> Set:
    """Join a state with itself alone."""
    if one != other:
        raise Conflict
    return one


def draining(one: Set, other: Set) -> Set:
    """Join, and use up the argument."""
    result = one | other
    other.clear()
    return result


@attrs.define
class Shelf:
    """A state of several sets, by name."""

    sets: dict[str, Set]

    def join(self, other: "Shelf") -> None:
        """Join in place, and take over the other's sets where there are none of our own."""
        for name, items in other.sets.items():
            self.sets.setdefault(name, items).update(items)

    def join_copies(self, other: "Shelf") -> None:
        """Join in place, as it is right."""
        self.join(copy.deepcopy(other))


SHELVES = st.builds(Shelf, st.dictionaries(st.sampled_from("kl"), SETS))


def using_up(one: Set, delta: Set) -> Set:
    """Join a delta, item by item, until there is nothing left of it."""
    result = set(one)
    while delta:
        result.add(delta.pop())
    return result


def popping(state: Set) -> list[int]:
    """Encode a state by taking it apart."""
    return [state.pop() for _ in range(len(state))]


def reading_on(state: Set, reader: Set) -> Set:
    """Make a delta, and mark in the reader that it has had it."""
    made = state - reader
    reader |= made
    return made


@attrs.frozen
class Counted:
    """A state with a part that its equality does not see."""

    items: frozenset[int]
    weight: int = attrs.field(default=0, eq=False)

    def join(self, other: "Counted") -> "Counted":
        """Join; the hidden part, where it is there, adds an item to the result."""
        items = self.items | other.items
        return Counted(items | {9} if self.weight or other.weight else items)


def bigger(one: Set, other: Set) -> Set:
    """Choose between two of the same size by who comes first."""
    return one if len(one) >= len(other) else other


WRONG: dict[str, tuple[str, dict[str, Any]]] = {
    "a class without __eq__": (
        "equality",
        {"join": Box.join, "states": st.builds(Box, SETS)},
    ),
    "an equality that asks for less": (
        "equality",
        {"join": Set.union, "states": SETS, "equal": Set.issubset},
    ),
    "an in-place join that passes for a pure one": (
        "closure",
        {"join": Set.update, "states": SETS},
    ),
    "a join of another type": (
        "closure",
        {"join": lambda one, other: sorted(one | other), "states": SETS},
    ),
    "a delta that takes the place of the state": (
        "closure",
        right() | {"join_delta": lambda one, made: frozenset(made)},
    ),
    "the first of two": ("commutativity", {"join": lambda one, other: one, "states": SETS}),
    "the bigger of two": ("commutativity", {"join": bigger, "states": SETS}),
    "serial numbers that wrap": (
        "associativity",
        {"join": follows, "states": st.integers(0, 2)},
    ),
    "a join that loses everything": (
        "idempotence",
        {"join": lambda one, other: set[int](), "states": SETS},
    ),
    "a join that refuses what it knows": (
        "monotonicity",
        {"join": refusing_old, "states": SETS, "refusals": Conflict},
    ),
    "a join that uses up its argument": ("isolation", right() | {"join": draining}),
    "a join that changes its receiver": (
        "isolation",
        {"join": operator.ior, "states": SETS},
    ),
    "a join that shares parts": (
        "isolation",
        {"join": Shelf.join, "states": SHELVES, "in_place": True},
    ),
    "a delta that moves its reader": ("isolation", right() | {"delta": reading_on}),
    "a delta that drains its origin": (
        "isolation",
        right() | {"delta": lambda state, reader: {state.pop() for _ in range(len(state))}},
    ),
    "a delta that is used up": ("isolation", right() | {"join_delta": using_up}),
    "a delta that shares parts with its origin": (
        "isolation",
        {
            "join": Shelf.join_copies,
            "states": SHELVES,
            "in_place": True,
            "delta": lambda state, reader: Shelf(dict(state.sets)),
            "join_delta": Shelf.join_copies,
        },
    ),
    "a delta that shares parts with its reader": (
        "isolation",
        {
            "join": Shelf.join_copies,
            "states": SHELVES,
            "in_place": True,
            "delta": lambda state, reader: copy.deepcopy(state),
            "join_delta": Shelf.join,
        },
    ),
    "a codec that takes the state apart": ("isolation", right() | {"encode": popping}),
    "a conflict that one side sees": (
        "refusal",
        {"join": refusing_on_one_side, "states": SETS, "refusals": Conflict},
    ),
    "a refusal that leaves a trace": (
        "refusal",
        {
            "join": refusing_late,
            "states": st.sets(st.sampled_from([0, 1])) | st.sets(st.sampled_from([0, 2])),
            "refusals": Conflict,
            "in_place": True,
        },
    ),
    "everything is refused": (
        "refusal",
        {
            "join": refusing_others,
            "replicas": st.just([{0}, {1}, {2}]),
            "refusals": (KeyError, Conflict),
        },
    ),
    "a delta that lacks an entry": (
        "delta",
        right() | {"delta": lambda state, reader: state - reader - {3}},
    ),
    "a delta that overwrites what its reader has joined meanwhile": (
        "delta",
        right() | {"delta": Set.union, "join_delta": lambda one, made: set(made)},
    ),
    "a delta that may come once only": (
        "delta",
        {
            "join": max,
            "states": st.integers(0, 9),
            "delta": lambda state, reader: max(state - reader, 0),
            "join_delta": operator.add,
        },
    ),
    "a codec that loses an item": ("codec", right() | {"decode": lambda items: set(items[:3])}),
    "a codec of another type": ("codec", right() | {"decode": frozenset}),
    "a codec that is wrong where equality does not look": (
        "codec",
        {
            "join": Counted.join,
            "states": st.builds(Counted, st.frozensets(st.integers(0, 3))),
            "encode": lambda state: state.items,
            "decode": lambda items: Counted(items, weight=1),
        },
    ),
    "a strategy without ties": ("ties", right() | {"tie": lambda one, other: False}),
}


@pytest.mark.parametrize("law, wrong", WRONG.values(), ids=WRONG)
def test_a_planted_bug_breaks_its_law_and_no_other(law: str, wrong: dict[str, Any]) -> None:
    """The broken law is named, in the message and in `laws`, and the other laws are not."""
    with pytest.raises(LawBroken, match=f"^{law}: ") as caught:
        check_laws(**{"settings": REPRODUCIBLE} | wrong)
    assert caught.value.laws == (law,)


def test_every_law_has_a_bug_that_breaks_it() -> None:
    """No law is listed that was not seen to fail."""
    assert {law for law, _ in WRONG.values()} == set(LAWS)


def test_all_broken_laws_are_told() -> None:
    """A sum breaks two laws, and both come with their states."""
    with pytest.raises(LawBroken) as caught:
        check_laws(join=operator.add, states=st.integers(0, 9), settings=REPRODUCIBLE)
    assert caught.value.laws == ("idempotence", "monotonicity")
    assert str(caught.value) == (
        "idempotence: join(a, a) = a\n\n"
        "    a = 1\n\n"
        "    join(a, a) = 2\n"
        "    a = 1\n\n"
        "monotonicity: a <= join(a, b), which is to say join(a, join(a, b)) = join(a, b)\n\n"
        "    a = 1\n"
        "    b = 0\n\n"
        "    join(a, join(a, b)) = 2\n"
        "    join(a, b) = 1"
    )


def test_what_is_broken_is_told_before_what_it_led_to() -> None:
    """An error that comes up once a law is broken is the cause of LawBroken, and not in its way."""

    def join(one: str, other: str) -> str:
        if len(one + other) > 2:
            raise Conflict
        return one + other

    with pytest.raises(LawBroken) as caught:
        check_laws(join=join, replicas=st.just("abc"), settings=REPRODUCIBLE)
    assert caught.value.laws == ("commutativity",)
    assert isinstance(caught.value.__cause__, Conflict)


# A tie that goes both ways, as it is found, and as it is missed

Register = tuple[int, str]
"""A timestamp and a value."""


def later(one: Register, other: Register) -> Register:
    """Return the register that was written later; of two at one time, the first: a bug."""
    return other if other[0] > one[0] else one


def at_one_time(one: Register, other: Register) -> bool:
    """Tell whether two values were written at one time."""
    return one[0] == other[0] and one[1] != other[1]


def test_a_tie_that_goes_both_ways_is_found_and_shrunk() -> None:
    """The smallest tie is shown with what either order makes of it."""
    registers = st.tuples(st.integers(1, 3), st.sampled_from("xy"))
    with pytest.raises(LawBroken) as caught:
        check_laws(join=later, states=registers, tie=at_one_time, settings=REPRODUCIBLE)
    assert str(caught.value) == (
        "commutativity: join(a, b) = join(b, a)\n\n"
        "    a = (1, 'x')\n"
        "    b = (1, 'y')\n\n"
        "    join(a, b) = (1, 'x')\n"
        "    join(b, a) = (1, 'y')"
    )


def test_examples_that_miss_every_tie_are_no_proof() -> None:
    """The same bug is not found where times are never equal, and that is what the failure says."""
    times = st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9))
    apart = times.map(lambda t: [(t[0], "x"), (t[0] + t[1], "y"), (t[0] + t[1] + t[2], "z")])
    check_laws(join=later, replicas=apart, settings=REPRODUCIBLE)
    with pytest.raises(LawBroken, match=r"ties: not one tie in \d{3,} examples"):
        check_laws(join=later, replicas=apart, tie=at_one_time, settings=REPRODUCIBLE)


# States of one system

Stamped = tuple[tuple[int, str], int]
"""A stamp that names one write, and what was written."""


def latest(one: Stamped, other: Stamped) -> Stamped:
    """Return the write with the greater stamp. Right, as no two writes have one stamp."""
    return one if one[0] >= other[0] else other


def test_states_of_one_system_keep_a_law_that_others_would_break() -> None:
    """What is right among replicas of one system is found wrong on states that could not meet."""
    stamps = st.tuples(st.integers(1, 3), st.sampled_from("ab"))
    systems = st.lists(
        st.tuples(stamps, st.integers(0, 3)), min_size=3, unique_by=lambda write: write[0]
    )
    check_laws(join=latest, replicas=systems, settings=REPRODUCIBLE)
    with pytest.raises(LawBroken, match=r"^commutativity: "):
        check_laws(join=latest, states=st.tuples(stamps, st.integers(0, 3)), settings=REPRODUCIBLE)


# How it fits in


def test_three_are_picked_of_a_larger_group() -> None:
    """Each member of a group comes to be each of the three."""
    seen: set[tuple[int, int]] = set()

    def join(one: int, other: int) -> int:
        seen.add((one, other))
        return max(one, other)

    check_laws(join=join, replicas=st.just([0, 1, 2, 3]), settings=REPRODUCIBLE)
    assert seen == {(one, other) for one in range(4) for other in range(4)}


def test_the_settings_say_how_many_examples() -> None:
    """Each law is tried on as many examples as the settings say, or else the loaded profile."""
    three = hypothesis.settings(REPRODUCIBLE, max_examples=3)
    held = check_laws(join=max, states=st.integers(), settings=three)
    assert held.examples == 3 * len(held.laws)
    held = check_laws(join=max, states=st.integers())
    assert held.examples == hypothesis.settings().max_examples * len(held.laws)


def test_other_errors_come_out_with_a_note() -> None:
    """An exception that is no refusal comes as it is, with the call and what to do about it."""
    with pytest.raises(Conflict) as caught:
        check_laws(join=refusing_old, states=SETS, settings=REPRODUCIBLE)
    assert any("join(a, b)" in note and "refusals=" in note for note in caught.value.__notes__)


def test_states_are_copied_and_shown_as_the_caller_says() -> None:
    """`copy` stands in for a deep copy, and `show` for repr."""
    with pytest.raises(LawBroken, match="    a = <>\n    b = <0>\n"):
        check_laws(
            join=lambda one, other: one,
            states=SETS,
            copy=set,
            show=lambda state: f"<{','.join(map(str, sorted(state)))}>",
            settings=REPRODUCIBLE,
        )


def test_a_counterexample_is_kept_for_the_next_run() -> None:
    """What was found is found again at once, and each law finds its own."""
    database = hypothesis.database.InMemoryExampleDatabase()
    remembering = hypothesis.settings(max_examples=50, deadline=None, database=database)
    trying_nothing_new = hypothesis.settings(remembering, max_examples=1)
    held = check_laws(join=operator.add, states=st.integers(0, 9), settings=trying_nothing_new)
    assert held.examples == len(held.laws)
    for profile in (remembering, trying_nothing_new):
        with pytest.raises(LawBroken) as caught:
            check_laws(join=operator.add, states=st.integers(0, 9), settings=profile)
        assert caught.value.laws == ("idempotence", "monotonicity")


BAD: list[tuple[dict[str, Any], str]] = [
    ({"join": None}, "join is a function, got None"),
    ({"equal": 3}, "equal is a function, got 3"),
    ({"copy": "deep"}, "copy is a function, got 'deep'"),
    ({"show": None}, "show is a function, got None"),
    ({"tie": True}, "tie is a function, got True"),
    ({"delta": 0}, "delta is a function, got 0"),
    ({"delta": operator.sub}, "delta was given without join_delta"),
    ({"join_delta": operator.or_}, "join_delta was given without delta"),
    ({"encode": sorted}, "encode was given without decode"),
    ({"decode": set}, "decode was given without encode"),
    ({"states": None}, "give either states=, a strategy for one state, or replicas="),
    ({"replicas": st.just([1, 2, 3])}, "give either states="),
    ({"states": [{1}, {2}]}, r"states is a strategy of Hypothesis, got \[.1., .2.\]"),
    ({"states": None, "replicas": 3}, "replicas is a strategy of Hypothesis, got 3"),
    ({"states": None, "replicas": st.just([{1}, {2}])}, "three or more states of one system, drew"),
    ({"states": None, "replicas": st.just(3)}, "three or more states of one system, drew 3"),
    ({"refusals": Conflict()}, "refusals are exception types"),
    ({"refusals": KeyboardInterrupt}, "refusals are exception types"),
    ({"refusals": (Conflict, "x")}, "refusals are exception types"),
    ({"settings": 100}, r"settings are hypothesis.settings\(...\) or None, got 100"),
]


@pytest.mark.parametrize("arguments, message", BAD)
def test_wrong_arguments_say_what_is_right(arguments: dict[str, Any], message: str) -> None:
    """Each is a ValueError that says what was given and what should have been."""
    check: Callable[..., object] = check_laws
    with pytest.raises(ValueError, match=message):
        check(**{"join": Set.union, "states": SETS} | arguments)


def test_a_pure_join_that_is_said_to_work_in_place_is_hinted_at() -> None:
    """That it is ignored is told, and neither of joins that do work in place nor of pure ones."""
    given: list[tuple[dict[str, Any], bool]] = [
        ({"join": Set.union, "in_place": True}, True),
        ({"join": Set.difference_update, "in_place": True}, False),
        ({"join": Set.__isub__, "in_place": True}, False),
        ({"join": Set.difference}, False),
    ]
    for arguments, hinted in given:
        with pytest.raises(LawBroken) as caught:
            check_laws(states=SETS, **arguments)
        assert ("If it returns the join, leave in_place out." in str(caught.value)) is hinted


def test_a_join_that_depends_on_something_else_is_named() -> None:
    """States that break a law once and then do not are no counterexample, and no success."""
    calls = 0

    def join(one: Set, other: Set) -> Set:
        nonlocal calls
        calls += 1
        return set() if calls == 60 else one | other

    with pytest.raises(LawBroken, match="held for the very same states when they were tried again"):
        check_laws(join=join, states=st.sets(st.integers(0, 99), min_size=3), settings=REPRODUCIBLE)


def test_what_else_is_flaky_is_no_law() -> None:
    """A crash that does not come again comes out as Hypothesis tells of it."""
    calls = 0

    def join(one: Set, other: Set) -> Set:
        nonlocal calls
        calls += 1
        if calls == 60:
            raise LookupError("once")
        return one | other

    with pytest.raises(hypothesis.errors.FlakyFailure, match="unreliable"):
        check_laws(join=join, states=st.sets(st.integers(0, 99), min_size=3), settings=REPRODUCIBLE)
