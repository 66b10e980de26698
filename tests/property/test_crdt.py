"""What must hold of the CRDT whatever happens: its laws, its deltas, and replicas that use it.

Each property is a function of a subject (the CRDT and the model of links) and of a drawn example.
The subject is the real one in the property's own test, and a copy with a planted bug in
`test_a_planted_bug_is_found`: that is how these tests are themselves tested.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import attrs
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.crdt.inspection import audit, fields
from tests.crdt.model import plans
from tests.crdt.states import History, State, build, histories, is_permanent
from tests.property.crdt_mutants import MUTANTS, REAL, ROOT, Mutant, Subject

Check = Callable[[Subject, Any], None]
"""A property: it fails with an AssertionError, or with an error that the CRDT should not raise."""


class Property(NamedTuple):
    """A check, and the examples that it is tried on."""

    check: Check
    examples: st.SearchStrategy[Any]


PROPERTIES: dict[str, Property] = {}


def holds_for(
    examples: st.SearchStrategy[Any], *, times: int = 1
) -> Callable[[Check], Callable[[], None]]:
    """Make a check the test that it holds for the real CRDT, and keep it for the planted bugs.

    The Hypothesis profile says on how many examples; `times` is for checks that need more.
    """
    tries = settings(max_examples=times * settings().max_examples)

    def decorate(check: Check) -> Callable[[], None]:
        def test(example: Any) -> None:
            check(REAL, example)

        test.__name__ = test.__qualname__ = check.__name__
        test.__doc__ = check.__doc__
        PROPERTIES[check.__name__] = Property(check, examples)
        return tries(given(examples)(test))

    return decorate


def joined(subject: Subject, *replicas: Any) -> Any:
    """Return the join of these in a new map, from left to right."""
    result = subject.crdt.LWWMap(is_permanent)
    for replica in replicas:
        result.join(replica)
    return result


def refuses(error: type[Exception], call: Callable[[], object]) -> bool:
    """Return whether a call raises this error."""
    try:
        call()
    except error:
        return True
    return False


# The laws of the join


@holds_for(histories())
def test_a_join_is_what_the_definition_says(subject: Subject, history: History) -> None:
    """A join gives the state that the definition gives, and its changes lead there."""
    mine, theirs, _ = history.maps(subject.crdt)
    before, expected = State.of(mine), State.of(mine).join(State.of(theirs))
    entries = dict(before.entries)
    for change in mine.join(theirs):
        assert entries.pop(change.key, None) == change.before != change.after
        if change.after is not None:
            entries[change.key] = change.after
    assert State.of(mine) == expected
    assert entries == expected.entries
    assert dict(mine) == {
        key: entry.value for key, entry in entries.items() if not entry.is_tombstone
    }
    audit(mine)


@holds_for(histories())
def test_joins_commute(subject: Subject, history: History) -> None:
    """It does not matter which of two states is joined into which."""
    one, other, _ = history.maps(subject.crdt)
    assert joined(subject, one, other) == joined(subject, other, one)


@holds_for(histories())
def test_joins_associate(subject: Subject, history: History) -> None:
    """It does not matter which two of three states meet first, parts and collections included."""
    one, two, three = history.maps(subject.crdt)
    left = joined(subject, joined(subject, one, two), three)
    assert left == joined(subject, one, joined(subject, two, three))
    assert left == joined(subject, left, one) == joined(subject, two, left)


@holds_for(histories())
def test_a_join_with_what_was_joined_changes_nothing(subject: Subject, history: History) -> None:
    """Joining a state twice, or a map with itself, changes nothing and reports nothing."""
    one, other, _ = history.maps(subject.crdt)
    one.join(other)
    before = State.of(one)
    for again in (other, one, joined(subject, one), one.delta(), other.delta()):
        assert one.join(again) == ()
        assert State.of(one) == before


@holds_for(histories())
def test_a_join_loses_nothing(subject: Subject, history: History) -> None:
    """Horizon and context only grow, and a stamp is only replaced by a greater one or collected."""
    one, other, _ = history.maps(subject.crdt)
    result = joined(subject, one, other)
    for part in (one, other):
        assert result.horizon >= part.horizon
        for node, time in part.context.items():
            assert result.reflected(node) >= time or time <= result.horizon
        for _, entry in part.journal():
            left = result.entry(entry.key)
            if left is None:
                assert entry.stamp.time <= result.horizon
                assert not is_permanent(entry.key)
            else:
                assert left.stamp >= entry.stamp


@holds_for(histories())
def test_a_join_leaves_its_argument_alone(subject: Subject, history: History) -> None:
    """Only the map that joins is changed, and what it does later does not reach the other."""
    one, other, third = history.maps(subject.crdt)
    before = fields(other)
    one.join(other)
    one.join(third)
    one.prune(9)
    assert fields(other) == before


@holds_for(histories())
def test_a_join_of_honest_states_is_honest(subject: Subject, history: History) -> None:
    """What the contexts of two states claim is there after their join, or beaten, or collected."""
    one, other, _ = history.maps(subject.crdt)
    assert history.honest(subject.crdt, joined(subject, one, other), *history.views[:2])


@holds_for(histories())
def test_collection_commutes_with_merging(subject: Subject, history: History) -> None:
    """f(f(M1, H1) | f(M2, H2), H) = f(M1 | M2, H) for H = max(H1, H2), whatever M1 and M2 are."""
    crdt = subject.crdt
    all_entries, uncollected, collected = [], [], []
    for view in history.views[:2]:
        entries = [write.entry(crdt) for i, write in enumerate(history.writes) if i in view.extra]
        all_entries += entries
        uncollected.append(joined(subject, crdt.Delta(entries)))
        collected.append(joined(subject, crdt.Delta(entries)))
        collected[-1].prune(view.horizon)
        at_once = subject.crdt.LWWMap(is_permanent)
        changes = at_once.join(crdt.Delta(entries, horizon=view.horizon))
        assert at_once == collected[-1]
        assert len({change.key for change in changes}) == len(changes)
    horizon = max(view.horizon for view in history.views[:2])
    late = joined(subject, *uncollected)
    late.prune(horizon)
    assert joined(subject, *collected) == late
    assert State.of(late) == State.normal(all_entries, {}, horizon)


@holds_for(st.tuples(histories(), st.integers(0, 9)))
def test_one_stamp_with_two_values_is_refused(
    subject: Subject, example: tuple[History, int]
) -> None:
    """Two writes under one stamp are an error in both directions, and never a pick by arrival."""
    history, pick = example
    crdt = subject.crdt
    one = history.maps(crdt)[0]
    held = [entry.stamp for _, entry in one.journal()]
    if not held:
        return
    stamps = [write.entry(crdt).stamp for write in history.writes]
    index = stamps.index(held[pick % len(held)])
    forged = list(history.writes)
    forged[index] = attrs.evolve(forged[index], value=2)
    view = attrs.evolve(history.views[1], extra=history.views[1].extra | {index})
    two = build(crdt, attrs.evolve(history, writes=tuple(forged)).state(crdt, view))

    entry, rival = one.entry(forged[index].key), two.entry(forged[index].key)
    alive = entry.stamp.time > max(one.horizon, two.horizon) or is_permanent(entry.key)
    if alive and rival is not None and rival.stamp == entry.stamp:
        for mine, theirs in ((one, two), (two, one)):
            before = fields(mine)
            assert refuses(crdt.ConflictingStamp, partial(mine.join, theirs))
            assert fields(mine) == before
    else:
        assert joined(subject, one, two) == joined(subject, two, one)


# Deltas


@holds_for(st.tuples(histories(), st.randoms(use_true_random=False)))
def test_parts_may_come_in_any_order_and_twice(
    subject: Subject, example: tuple[History, Any]
) -> None:
    """Parts in any order and number give one state, where only the last one moves the context."""
    history, random = example
    one, other, _ = history.maps(subject.crdt)
    delta = other.delta(one.context)
    *parts, last = subject.model.split(delta, random.randint(1, 3))
    assert [entry for part in [*parts, last] for entry in part.entries] == list(delta.entries)
    late = joined(subject, one, other)

    parts += random.choices(parts, k=2) if parts else []
    random.shuffle(parts)
    for part in parts:
        one.join(part)
        assert history.honest(subject.crdt, one, history.views[0])
    one.join(last)
    assert one == late
    audit(one)


@holds_for(histories())
def test_a_delta_does_what_the_whole_map_does(subject: Subject, history: History) -> None:
    """Joining what lies beyond any vector that one has reflected is as good as joining all."""
    one, other, _ = history.maps(subject.crdt)
    reader, _, third = history.views
    # A vector that the reader has outgrown, in items that it may have dropped since.
    since = {node: min(time, third.known[node]) for node, time in reader.known.items()}
    expected = joined(subject, one, other)
    one.join(other.delta(since))
    assert one == expected
    assert history.honest(subject.crdt, one, *history.views[:2])


@holds_for(histories())
def test_a_delta_carries_what_its_reader_lacks_and_no_more(
    subject: Subject, history: History
) -> None:
    """A delta has the entries that are not covered, and leads from one context to the other."""
    one, other, _ = history.maps(subject.crdt)
    since = one.context
    delta = other.delta(since)
    held = [entry for _, entry in other.journal()]
    assert list(delta.entries) == [entry for entry in held if not since.covers(entry.stamp)]
    assert delta.since == since
    assert delta.until == other.context
    assert delta.horizon == other.horizon


@holds_for(histories())
def test_a_cursor_narrows_a_delta_to_what_changed(subject: Subject, history: History) -> None:
    """For a reader of everything up to a position, what changed behind it is all that it lacks."""
    one, other, third = history.maps(subject.crdt)
    reader = joined(subject, one, third)
    cursor, known = one.position, one.context
    changed = {change.key for change in one.join(other) if change.after is not None}
    delta = one.delta(known, after=cursor)
    assert {entry.key for entry in delta.entries} <= changed
    expected = joined(subject, reader, one)
    reader.join(delta)
    assert reader == expected
    assert not one.delta(one.context, after=one.position)


@holds_for(histories())
def test_a_delta_that_leaves_a_gap_is_refused_whole(subject: Subject, history: History) -> None:
    """A delta that starts beyond the context and the horizon changes nothing, and can be mended."""
    mine, theirs, _ = history.maps(subject.crdt)
    since = history.views[2].known
    delta = theirs.delta(since)
    horizon = max(mine.horizon, theirs.horizon)
    before = fields(mine)
    if any(time > max(mine.reflected(node), horizon) for node, time in since.items()):
        assert refuses(subject.crdt.CausalGap, partial(mine.join, delta))
        assert fields(mine) == before
    else:
        assert not refuses(subject.crdt.CausalGap, partial(joined(subject, mine).join, delta))
    mine.join(theirs.delta(mine.context))
    assert history.honest(subject.crdt, mine, *history.views[:2])


@holds_for(st.tuples(histories(), st.lists(st.integers(0, 9), max_size=4)))
def test_pruning_keeps_what_it_should(subject: Subject, example: tuple[History, list[int]]) -> None:
    """Raising the horizon in any steps drops what lies at or under it, and nothing else."""
    history, horizons = example
    replica = history.maps(subject.crdt)[0]
    state = State.of(replica)
    for horizon in horizons:
        replica.prune(horizon)
    highest = max([state.horizon, *horizons])
    assert State.of(replica) == State.normal(state.entries.values(), state.context, highest)
    assert replica == build(subject.crdt, State.of(replica))
    audit(replica)


# Clocks


@holds_for(st.lists(st.tuples(st.booleans(), st.integers(0, 3), st.integers(0, 9))))
def test_a_clock_exceeds_all_that_it_has_seen(
    subject: Subject, example: list[tuple[bool, int, int]]
) -> None:
    """Whatever physical time does, a tick exceeds all ticks and all times observed before it."""
    hand = 0
    clock = subject.crdt.HybridClock(lambda: hand)
    greatest = 0
    for observes, hand, ahead in example:
        if observes:
            seen = subject.crdt.from_milliseconds(hand) + ahead
            clock.observe(seen)
            greatest = max(greatest, seen)
        else:
            bound = max(greatest + 1, subject.crdt.from_milliseconds(hand))
            assert clock.now() in (bound, bound - 1)
            time = clock.tick()
            assert time == bound
            greatest = time
        assert clock.now() >= greatest


# Replicas, links, clocks, collection and renewal, all together


@holds_for(plans(), times=5)
def test_replicas_keep_their_promises_and_agree(subject: Subject, example: Any) -> None:
    """At every step all are honest and lose nothing they own; connected again, all agree."""
    world = subject.model.World(subject.crdt, example)
    world.quiesce()
    for site in world.sites:
        audit(site.map)


@holds_for(plans(12))
def test_a_map_is_as_large_as_what_is_alive(subject: Subject, example: Any) -> None:
    """Once all has passed the horizon, only permanent keys and their writers are left."""
    world = subject.model.World(subject.crdt, example)
    world.outlive()
    for site in world.sites:
        audit(site.map)


# The tests of these tests


def examples_to_fail(name: str, subject: Subject, *, limit: int = 2_000) -> int | None:
    """Return how many examples it took until a property failed, or None where it never did."""
    tried = 0
    check, examples = PROPERTIES[name]

    @settings(
        max_examples=limit,
        phases=[Phase.generate],
        derandomize=True,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
    )
    @given(examples)
    def attempt(example: Any) -> None:
        nonlocal tried
        if not failed:
            tried += 1
        try:
            check(subject, example)
        except Exception:
            failed.append(example)
            raise

    failed: list[Any] = []
    # Anything else, a NameError say, would be a mistake in the mutant rather than a bug it plants.
    with suppress(AssertionError, KeyError, ValueError, subject.crdt.ManifestError):
        attempt()
    return tried if failed else None


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_planted_bug_is_found(mutant: Mutant) -> None:
    """Each property that should notice a planted bug does so within a few thousand examples."""
    with mutant.planted() as subject:
        missed = [name for name in mutant.killers if not examples_to_fail(name, subject)]
    assert not missed


@pytest.mark.parametrize("path", sorted({mutant.path for mutant in MUTANTS}))
def test_a_copy_without_a_bug_passes(path: str) -> None:
    """It is the planted bug that fails a property, and not the planting."""
    text = (ROOT / path).read_text(encoding="utf-8")
    with Mutant("no change", path, text, text, ()).planted() as subject:
        assert subject != REAL
        failed = [name for name in PROPERTIES if examples_to_fail(name, subject, limit=5)]
    assert not failed


def test_every_property_is_seen_to_fail() -> None:
    """No property is kept that no planted bug has ever failed."""
    assert {name for mutant in MUTANTS for name in mutant.killers} == PROPERTIES.keys()
    assert all(mutant.killers for mutant in MUTANTS)


def test_a_mutant_that_does_not_apply_says_so() -> None:
    """Text that is gone, or there twice, is an error and not a mutant that changes nothing."""
    for old in ("no such text", "return"):
        mutant = Mutant("lost", MUTANTS[0].path, old, "", ())
        with pytest.raises(LookupError, match="'lost' replaces a text"), mutant.planted():
            pass
