"""Planted bugs: copies of the CRDT, each with one mistake that somebody has made somewhere.

A property test counts only once a planted bug has been seen to fail it. Each `Mutant` replaces one
piece of source text, in memory, and names the properties that must notice. The text has to occur
exactly once: a refactoring that would turn a mutant into no change at all fails loudly instead.

Two of the mistakes lie not in a map but in how it is used: what a part of a delta carries, and when
an owner renews. Those are planted in the model of the links, which a real link has to be like.
"""

from __future__ import annotations

import importlib.util
import itertools
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import attrs

import manifest.crdt
import tests.crdt.model

__all__ = ["MUTANTS", "REAL", "ROOT", "Mutant", "Subject"]

ROOT = Path(__file__).parents[2]
CRDT = "manifest/crdt"
MODEL = "tests/crdt/model.py"

_numbers = itertools.count()


@attrs.frozen
class Subject:
    """What a property is held against: the CRDT, and the model that drives it."""

    crdt: ModuleType
    model: ModuleType


REAL = Subject(manifest.crdt, tests.crdt.model)


@attrs.frozen
class Mutant:
    """One mistake: what it is, where it is planted, and which properties must fail for it."""

    name: str
    path: str
    old: str
    new: str
    killers: tuple[str, ...]

    @contextmanager
    def planted(self) -> Iterator[Subject]:
        """Give a subject with the mistake in it, loaded beside the real one."""
        text = (ROOT / self.path).read_text(encoding="utf-8")
        if text.count(self.old) != 1:
            raise LookupError(
                f"the mutant {self.name!r} replaces a text that occurs {text.count(self.old)} "
                f"times in {self.path}, and has to occur once: plant it anew"
            )
        code = compile(text.replace(self.old, self.new), f"<{self.name}>", "exec")
        package = f"_mutant_{next(_numbers)}"
        try:
            if self.path == MODEL:
                module = _module(package, tests.crdt.model.__package__)
                exec(code, module.__dict__)
                yield Subject(manifest.crdt, module)
            else:
                yield Subject(_copy(package, Path(self.path).stem, code), tests.crdt.model)
        finally:
            for name in [name for name in sys.modules if f"{name}.".startswith(f"{package}.")]:
                del sys.modules[name]


def _module(name: str, package: str | None) -> ModuleType:
    module = ModuleType(name)
    module.__package__ = package
    sys.modules[name] = module
    return module


def _copy(package: str, stem: str, code: object) -> ModuleType:
    """Return a second copy of the CRDT, of which one module runs this code."""
    spec = importlib.util.spec_from_file_location(
        package, ROOT / CRDT / "__init__.py", submodule_search_locations=[str(ROOT / CRDT)]
    )
    assert spec is not None
    assert spec.loader is not None
    copy = importlib.util.module_from_spec(spec)
    sys.modules[package] = copy
    exec(code, _module(f"{package}.{stem}", package).__dict__)  # type: ignore[arg-type]
    spec.loader.exec_module(copy)
    return copy


def _lwwmap(name: str, old: str, new: str, *killers: str) -> Mutant:
    return Mutant(name, f"{CRDT}/lwwmap.py", old, new, killers)


MUTANTS = (
    # What is collected
    _lwwmap(
        "tombstones are collected earlier than live entries",
        "        dropped: list[Entry[K, V]] = []\n",
        "        dropped = [entry for entry in self._entries.values() if entry.is_tombstone]\n"
        "        dropped = [entry for entry in dropped if not self._permanent(entry.key)]\n"
        "        for entry in dropped:\n"
        "            del self._entries[entry.key]\n"
        "            self._release(entry)\n",
        "test_collection_commutes_with_merging",
        "test_replicas_keep_their_promises_and_agree",
    ),
    _lwwmap(
        "pruning spares what is alive, so that it comes back where its tombstone is gone",
        "            if entry is not None and entry.stamp.time == time:\n",
        "            if entry is not None and entry.is_tombstone and entry.stamp.time == time:\n",
        "test_collection_commutes_with_merging",
        "test_pruning_keeps_what_it_should",
    ),
    _lwwmap(
        "what arrives from under the horizon is let in",
        "            if time <= horizon and not self._permanent(key):\n",
        "            if False:\n",
        "test_collection_commutes_with_merging",
        "test_replicas_keep_their_promises_and_agree",
    ),
    _lwwmap(
        "what arrives exactly on the horizon is let in",
        "            if time <= horizon and not self._permanent(key):\n",
        "            if time < horizon and not self._permanent(key):\n",
        "test_collection_commutes_with_merging",
        "test_a_join_is_what_the_definition_says",
    ),
    _lwwmap(
        "arrivals are held against the old horizon",
        "        staged = self._winners(delta, horizon)\n",
        "        staged = self._winners(delta, self._horizon)\n",
        "test_collection_commutes_with_merging",
    ),
    _lwwmap(
        "the horizon is not joined",
        "        changes.extend(self.prune(horizon))\n",
        "        changes.extend(self.prune(self._horizon))\n",
        "test_collection_commutes_with_merging",
        "test_a_join_of_honest_states_is_honest",
        "test_replicas_keep_their_promises_and_agree",
    ),
    _lwwmap(
        "a delta travels without its horizon",
        "            horizon=self._horizon,\n",
        "            horizon=0,\n",
        "test_replicas_keep_their_promises_and_agree",
        "test_a_join_loses_nothing",
    ),
    _lwwmap(
        "the oldest entry is forgotten, so that nothing seems due",
        "            heappush(self._due, (time, self._position, key))\n",
        "            self._due = self._due or [(time, self._position, key)]\n",
        "test_pruning_keeps_what_it_should",
        "test_joins_commute",
    ),
    _lwwmap(
        "permanent keys are collected",
        "        else:\n            heappush(self._due,",
        "        if True:\n            heappush(self._due,",
        "test_pruning_keeps_what_it_should",
        "test_a_join_loses_nothing",
    ),
    _lwwmap(
        "permanent keys are refused when they arrive late",
        "            if time <= horizon and not self._permanent(key):\n",
        "            if time <= horizon:\n",
        "test_a_join_of_honest_states_is_honest",
        "test_a_join_is_what_the_definition_says",
    ),
    _lwwmap(
        "permanence depends on the value: tombstones of permanent keys are collected",
        "        if self._permanent(key):\n            self._lasting",
        "        if self._permanent(key) and not entry.is_tombstone:\n            self._lasting",
        "test_pruning_keeps_what_it_should",
        "test_replicas_keep_their_promises_and_agree",
    ),
    # Which write wins
    _lwwmap(
        "a remove beats a set of the same time, whoever wrote them",
        "    if rival is None or entry.stamp > rival.stamp:\n",
        "    if rival is None or (entry.stamp.time, entry.is_tombstone, entry.stamp) > (\n"
        "        rival.stamp.time, rival.is_tombstone, rival.stamp\n    ):\n",
        "test_collection_commutes_with_merging",
    ),
    _lwwmap(
        "of two writes of one time, the one that arrives later wins",
        "    if rival is None or entry.stamp > rival.stamp:\n",
        "    if rival is None or (\n"
        "        entry.stamp.time >= rival.stamp.time and entry.stamp != rival.stamp\n    ):\n",
        "test_joins_commute",
        "test_joins_associate",
        "test_a_join_loses_nothing",
    ),
    _lwwmap(
        "of two writes under one stamp, the one that was there first wins",
        "    if entry.stamp == rival.stamp and entry.value != rival.value:\n",
        "    if False:\n",
        "test_one_stamp_with_two_values_is_refused",
    ),
    _lwwmap(
        "an arrival is compared with what is held and not with its like in the same delta",
        "            if _wins(entry, staged.get(key) or self._entries.get(key)):\n",
        "            if _wins(entry, self._entries.get(key)):\n",
        "test_collection_commutes_with_merging",
    ),
    _lwwmap(
        "half of a refused delta has been joined",
        "                staged[key] = entry\n",
        "                self._place(entry, self._entries.get(key))\n",
        "test_one_stamp_with_two_values_is_refused",
    ),
    _lwwmap(
        "a write beats itself",
        "    if rival is None or entry.stamp > rival.stamp:\n",
        "    if rival is None or entry.stamp >= rival.stamp:\n",
        "test_a_join_with_what_was_joined_changes_nothing",
    ),
    _lwwmap(
        "a join collects in the map that is joined, too",
        "        delta = other.delta() if isinstance(other, LWWMap) else other\n",
        "        delta = other.delta() if isinstance(other, LWWMap) else other\n"
        "        if isinstance(other, LWWMap):\n            other.prune(self._horizon)\n",
        "test_a_join_leaves_its_argument_alone",
    ),
    # What the context says
    _lwwmap(
        "the causal condition is not checked",
        "        self._check_connects(delta, horizon)\n",
        "",
        "test_a_delta_that_leaves_a_gap_is_refused_whole",
    ),
    _lwwmap(
        "a delta claims to start from nothing",
        "VersionVector({node: since.get(node, 0) for node in until} if after else since)",
        "VersionVector()",
        "test_a_delta_that_leaves_a_gap_is_refused_whole",
        "test_a_delta_carries_what_its_reader_lacks_and_no_more",
    ),
    _lwwmap(
        "the horizon does not excuse a gap under it",
        "            if since > context.get(node, 0) and since > horizon:\n",
        "            if since > context.get(node, 0):\n",
        "test_a_delta_that_leaves_a_gap_is_refused_whole",
        "test_a_cursor_narrows_a_delta_to_what_changed",
    ),
    _lwwmap(
        "an entry moves the context by itself",
        "        self._journal.append(self._position, entry)\n",
        "        self._journal.append(self._position, entry)\n"
        "        if time > self.reflected(node):\n            self._reflect(node, time)\n",
        "test_parts_may_come_in_any_order_and_twice",
        "test_collection_commutes_with_merging",
    ),
    _lwwmap(
        "the context of a delta replaces the context that was there",
        "            if time > context.get(node, 0):\n",
        "            if time != context.get(node, 0):\n",
        "test_a_join_loses_nothing",
    ),
    _lwwmap(
        "contexts are never dropped",
        "        if 0 < time <= self._horizon and not self._lasts(node, time):\n",
        "        if False:\n",
        "test_a_map_is_as_large_as_what_is_alive",
        "test_pruning_keeps_what_it_should",
    ),
    _lwwmap(
        "contexts are dropped while permanent entries within them remain",
        "        if 0 < time <= self._horizon and not self._lasts(node, time):\n",
        "        if 0 < time <= self._horizon:\n",
        "test_pruning_keeps_what_it_should",
        "test_a_join_is_what_the_definition_says",
    ),
    _lwwmap(
        "an entry beyond a context keeps it alive",
        "        return bool(heap) and heap[0][0] <= time\n",
        "        return bool(heap)\n",
        "test_joins_associate",
        "test_a_join_is_what_the_definition_says",
    ),
    _lwwmap(
        "the context of a writer that was superseded is not looked at again",
        "            self._settle(before.stamp.node)\n",
        "            pass\n",
        "test_joins_commute",
        "test_replicas_keep_their_promises_and_agree",
    ),
    # What a delta carries
    _lwwmap(
        "a delta carries again what its reader's context just covers",
        "                if entry.stamp.time > since.get(entry.stamp.node, 0)\n",
        "                if entry.stamp.time >= since.get(entry.stamp.node, 0)\n",
        "test_a_delta_carries_what_its_reader_lacks_and_no_more",
        "test_replicas_keep_their_promises_and_agree",
    ),
    _lwwmap(
        "a delta stops short of the last write",
        "                if entry.stamp.time > since.get(entry.stamp.node, 0)\n",
        "                if entry.stamp.time > since.get(entry.stamp.node, 0) + 1\n",
        "test_a_delta_does_what_the_whole_map_does",
        "test_a_delta_carries_what_its_reader_lacks_and_no_more",
    ),
    _lwwmap(
        "a delta has no entries where no context has moved, though parts have come",
        "anything = after or any(time > since.get(n, 0) for n, time in self._latest.items())\n",
        "anything = bool(until)\n",
        "test_joins_associate",
        "test_parts_may_come_in_any_order_and_twice",
    ),
    _lwwmap(
        "contexts that moved before others are taken for old",
        "        self._moved.pop(node, None)\n",
        "",
        "test_a_cursor_narrows_a_delta_to_what_changed",
        "test_replicas_keep_their_promises_and_agree",
    ),
    Mutant(
        "a vector does not cover the very write that it ends with",
        f"{CRDT}/vector.py",
        "        return stamp.time <= self._times.get(stamp.node, 0)\n",
        "        return stamp.time < self._times.get(stamp.node, 0)\n",
        ("test_a_delta_carries_what_its_reader_lacks_and_no_more",),
    ),
    Mutant(
        "a cursor skips one change",
        f"{CRDT}/journal.py",
        "bisect_right(self._positions, position)",
        "bisect_right(self._positions, position) + (position > 0)",
        (
            "test_a_cursor_narrows_a_delta_to_what_changed",
            "test_replicas_keep_their_promises_and_agree",
        ),
    ),
    Mutant(
        "a cursor gives the last change again",
        f"{CRDT}/journal.py",
        "bisect_right(self._positions, position)",
        "max(bisect_right(self._positions, position) - 1, 0)",
        ("test_a_cursor_narrows_a_delta_to_what_changed",),
    ),
    Mutant(
        "a walk yields entries that were superseded",
        f"{CRDT}/journal.py",
        "            if self._current.get(entry.key) is entry:\n",
        "            if entry.key in self._current:\n",
        (
            "test_a_join_is_what_the_definition_says",
            "test_replicas_keep_their_promises_and_agree",
        ),
    ),
    # How clocks and links are used
    Mutant(
        "a clock does not observe",
        f"{CRDT}/clock.py",
        "        self._last = max(self._last, time)\n",
        "",
        (
            "test_a_clock_exceeds_all_that_it_has_seen",
            "test_replicas_keep_their_promises_and_agree",
        ),
    ),
    Mutant(
        "a clock follows physical time back",
        f"{CRDT}/clock.py",
        "        self._last = last = now if now > self._last else self._last + 1\n",
        "        self._last = last = max(1, now)\n",
        (
            "test_a_clock_exceeds_all_that_it_has_seen",
            "test_replicas_keep_their_promises_and_agree",
        ),
    ),
    Mutant(
        "the first part of a delta carries the context",
        MODEL,
        "    part = attrs.evolve(delta, since=nothing, until=nothing, horizon=0)\n",
        "    part = delta\n",
        (
            "test_parts_may_come_in_any_order_and_twice",
            "test_replicas_keep_their_promises_and_agree",
        ),
    ),
    Mutant(
        "an owner does not renew what the horizon took",
        MODEL,
        "            elif entry is None or entry.stamp.time <= old:\n",
        "            elif entry is not None and entry.stamp.time <= old:\n",
        (
            "test_replicas_keep_their_promises_and_agree",
            "test_a_map_is_as_large_as_what_is_alive",
        ),
    ),
    Mutant(
        "an owner renews what somebody else has freed or taken over",
        MODEL,
        "            if entry is not None and entry.stamp.node != site.node:\n",
        "            if False:\n",
        ("test_replicas_keep_their_promises_and_agree",),
    ),
)
