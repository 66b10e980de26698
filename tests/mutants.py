"""Planted bugs: the real code with one mistake that somebody has made somewhere, and who notices.

    python -m tests.mutants                   all of them, as a table
    python -m tests.mutants lease renewal     those whose names contain one of these words

Each mutant replaces pieces of source text, which have to occur exactly once, in a copy of the
project; the property tests that it names must fail there, with the examples of the profile `ci`,
within a minute. The table says which test noticed, after how many seconds, and how large the case
was that Hypothesis shrank it to: steps of a plan, or lines.

A mutant that survives means that the tests must get better.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import attrs

from tests.commands import INTERRUPTED, command_line

__all__ = ["MUTANTS", "ROOT", "Mutant"]

ROOT = Path(__file__).parents[1]
SECONDS = 60
_CASE = r"(?:Falsifying example|Failing test case): \w+\((.*?)\n(?:E +)?\)"
SHRINKING = 25
"""Seconds for which a case is shrunk; Hypothesis by itself takes up to five minutes."""


@attrs.frozen
class Edit:
    """A piece of text in a file of the project, and what stands there in the mutant."""

    path: str
    old: str
    new: str

    def planted(self, root: Path) -> str:
        """Return the file as it is changed. LookupError where the text does not occur once."""
        text = (root / self.path).read_text(encoding="utf-8")
        if text.count(self.old) != 1:
            raise LookupError(
                f"a mutant replaces a text that occurs {text.count(self.old)} times in "
                f"{self.path}, and has to occur once: plant it anew\n{self.old}"
            )
        return text.replace(self.old, self.new)


@attrs.frozen
class Mutant:
    """One mistake, and the property tests that must fail for it: one of them is enough."""

    name: str
    edits: tuple[Edit, ...]
    killers: tuple[str, ...]


CANCELLING = "tests/property/test_cancelling.py::"
CRDT = "tests/property/test_crdt.py::"
LINKS = "tests/property/test_protocol.py::"
CLUSTERS = "tests/property/test_clusters.py::"
RELAYING = "tests/test_relaying.py::"
RENEWALS = "tests/property/test_renewals.py::"
VIEW = "tests/property/test_view.py::"

EXCHANGE = "manifest/exchange.py"
LWWMAP = "manifest/crdt/lwwmap.py"
LEASES = "manifest/leases.py"
ORDERING = "manifest/ordering.py"
PROTOCOL = "manifest/protocol.py"
RENEWING = "manifest/renewals.py"
REPLICA = "manifest/replica.py"
SHOWN = "manifest/view.py"


def _of(name: str, path: str, old: str, new: str, *killers: str) -> Mutant:
    return Mutant(name, (Edit(path, old, new),), killers)


MUTANTS = (
    # What a delta claims
    _of(
        "context on a truncated delta",
        PROTOCOL,
        "        if not self._pack_entries(packer):\n",
        "        if self._pack_entries(packer) is None:\n",
        CLUSTERS + "test_parts_are_cut_anywhere",
    ),
    _of(
        "context on a first part",
        PROTOCOL,
        "            return frame(packer.payload(horizon=0))\n",
        "            self._pack_marks(packer)\n"
        "            return frame(packer.payload(horizon=0))\n",
        LINKS + "test_linked_replicas_keep_their_promises_and_agree",
        CLUSTERS + "test_parts_are_cut_anywhere",
    ),
    _of(
        "what a Hello claims taken for received",
        PROTOCOL,
        "                self._known = dict(message.context)\n",
        "                self._known = dict(message.context)\n"
        "                for node, time in message.context.items():\n"
        "                    self._replica.map.advance(node, time)\n",
        LINKS + "test_a_cut_at_any_byte_is_made_good",
    ),
    _of(
        "causal condition not checked",
        LWWMAP,
        "            if since > context.get(node, 0) and since > horizon:\n",
        "            if since < 0:\n",
        CRDT + "test_a_delta_that_leaves_a_gap_is_refused_whole",
    ),
    _of(
        "journal cursor advanced before the send",
        PROTOCOL,
        "            if not arrived_here and not self._is_covered(entry):\n",
        "            self._cursor = position\n"
        "            if not arrived_here and not self._is_covered(entry):\n",
        LINKS + "test_linked_replicas_keep_their_promises_and_agree",
        CLUSTERS + "test_parts_are_cut_anywhere",
    ),
    _of(
        "back-propagation filter that swallows a newer stamp",
        PROTOCOL,
        "            self._theirs.append((first, joined.last))\n",
        "            self._theirs.append((first, joined.last + 1))\n",
        LINKS + "test_linked_replicas_keep_their_promises_and_agree",
        CLUSTERS + "test_clusters_converge",
    ),
    _of(
        "entries sent back to where they came from",
        PROTOCOL,
        "            if not arrived_here and not self._is_covered(entry):\n",
        "            if arrived_here or not self._is_covered(entry):\n",
        CLUSTERS + "test_no_entry_goes_back",
    ),
    # The horizon
    _of(
        "horizon missing from the delta",
        PROTOCOL,
        "        data = frame(packer.payload(horizon=replica.map.horizon))\n",
        "        data = frame(packer.payload(horizon=0))\n",
        LINKS + "test_linked_replicas_keep_their_promises_and_agree",
        CLUSTERS + "test_clusters_outlive_the_retention",
    ),
    _of(
        "tombstones collected earlier than live entries",
        LWWMAP,
        "        dropped: list[Entry[K, V]] = []\n",
        "        dropped = [entry for entry in self._entries.values() if entry.is_tombstone]\n"
        "        dropped = [entry for entry in dropped if not self._permanent(entry.key)]\n"
        "        for entry in dropped:\n"
        "            del self._entries[entry.key]\n"
        "            self._release(entry)\n",
        CRDT + "test_collection_commutes_with_merging",
        CRDT + "test_replicas_keep_their_promises_and_agree",
    ),
    Mutant(
        "collection by receipt time",
        (
            Edit(
                LWWMAP,
                "            heappush(self._due, (time, self._position, key))\n",
                "            received = self._receipts[key]\n"
                "            heappush(self._due, (received, self._position, key))\n",
            ),
            Edit(
                LWWMAP,
                "            if entry is not None and entry.stamp.time == time:\n",
                "            if entry is not None and self._receipts[key] == time:\n",
            ),
            Edit(
                LWWMAP,
                "        self._entries[key] = entry\n",
                "        self._entries[key] = entry\n"
                "        times = [time, *self._latest.values(), *self._context.values()]\n"
                "        self._receipts[key] = max(times)\n",
            ),
            Edit(
                LWWMAP,
                "        self._position = 0\n",
                "        self._position = 0\n        self._receipts: dict[object, int] = {}\n",
            ),
            Edit(LWWMAP, '        "_position",\n', '        "_position",\n        "_receipts",\n'),
        ),
        (
            CRDT + "test_a_join_is_what_the_definition_says",
            CRDT + "test_pruning_keeps_what_it_should",
            CRDT + "test_joins_commute",
        ),
    ),
    _of(
        "tombstone timer restarted on relay",
        "manifest/packing.py",
        "                self._frees.append((key, time - self._base, self._nodes[node]))\n",
        "                self._frees.append((key, 0, self._nodes[node]))\n",
        LINKS + "test_linked_replicas_keep_their_promises_and_agree",
        CLUSTERS + "test_clusters_converge",
    ),
    _of(
        "context pruned while entries remain",
        LWWMAP,
        "        if 0 < time <= self._horizon and not self._lasts(node, time):\n",
        "        lasts = node in self._lasting and not self._lasts(node, time)\n"
        "        if 0 < time <= self._horizon and not lasts:\n",
        CRDT + "test_replicas_keep_their_promises_and_agree",
        CRDT + "test_pruning_keeps_what_it_should",
        CRDT + "test_joins_associate",
    ),
    _of(
        "tombstones never collected",
        REPLICA,
        "            self._apply(self.map.prune(horizon))\n",
        "            pass\n",
        CLUSTERS + "test_nothing_is_left_of_the_dead",
    ),
    # Who wins
    _of(
        "tie between remove and set broken by value class",
        LWWMAP,
        "    if rival is None or entry.stamp > rival.stamp:\n",
        "    if rival is not None and entry.stamp.time == rival.stamp.time and (\n"
        "        entry.is_tombstone is not rival.is_tombstone\n"
        "    ):\n"
        "        return entry.is_tombstone\n"
        "    if rival is None or entry.stamp > rival.stamp:\n",
        CRDT + "test_collection_commutes_with_merging",
        CRDT + "test_a_join_is_what_the_definition_says",
        CRDT + "test_joins_commute",
    ),
    _of(
        "equal stamps picked by arrival",
        LWWMAP,
        "    if entry.stamp == rival.stamp and entry.value != rival.value:\n",
        "    if entry.stamp == rival.stamp and entry.value != rival.value:\n        return True\n"
        "    if entry.stamp == rival.stamp and entry.value != rival.value:\n",
        CRDT + "test_one_stamp_with_two_values_is_refused",
    ),
    _of(
        "clock not observed on join",
        REPLICA,
        "        self.clock.observe(latest)\n",
        "        pass\n",
        CLUSTERS + "test_the_last_to_take_a_name_has_it",
        "tests/test_replica.py::test_the_clock_observes_what_is_joined",
    ),
    # Leases
    _of(
        "lease extended by a relay",
        LEASES,
        "        return tuple.__new__(Lease, (node, time, left, born, name, rest))\n",
        "        return held.lease if left else held.lease._replace(remaining=0)\n",
        CLUSTERS + "test_the_dead_are_gone_in_time",
    ),
    _of(
        "lease extended by a late duplicate",
        LEASES,
        "            elif time <= held.lease.time or held.deadline == math.inf:\n",
        "            elif time < held.lease.time or held.deadline == math.inf:\n",
        "tests/property/test_leases.py::test_the_table_agrees_with_a_naive_one",
        CLUSTERS + "test_the_dead_are_gone_in_time",
    ),
    _of(
        "heartbeats that are missed not asked for",
        LEASES,
        "            if not held.missed and granted and held.deadline - now <",
        "            if held.missed and granted and held.deadline - now <",
        CLUSTERS + "test_one_way_is_enough",
    ),
    _of(
        "heartbeats that come twice never pruned",
        PROTOCOL,
        "        if node != self._replica.node and node in self._replica.map.nodes:\n",
        "        if node == self._replica.node:\n",
        CLUSTERS + "test_a_mesh_carries_each_heartbeat_once",
    ),
    _of(
        "writes of who is pruned kept back for ever",
        PROTOCOL,
        "            if not arrived_here and not self._is_covered(entry):\n",
        "            spared = entry.stamp.node in self._pruned\n"
        "            if not arrived_here and not spared and not self._is_covered(entry):\n",
        "tests/test_trees.py::test_a_write_hurries_along_the_tree_and_waits_beside_it",
        CLUSTERS + "test_writes_wait_for_no_heartbeat",
    ),
    _of(
        "writes wait for the next heartbeat",
        EXCHANGE,
        "            if seconds <= 0 or (writes and connection.protocol.is_pressed):\n",
        "            if seconds <= 0:\n",
        CLUSTERS + "test_writes_wait_for_no_heartbeat",
    ),
    _of(
        "no detour where a link is lost",
        EXCHANGE,
        "            self.ask_for(self.replica.leases.miss(orphans))\n",
        "            self.ask_for([])\n",
        RELAYING + "test_who_was_heard_by_a_lost_link_is_asked_for_at_once",
        CLUSTERS + "test_writes_wait_for_no_heartbeat",
    ),
    _of(
        "no way noted, so none that is lost",
        EXCHANGE,
        "        self._note_way(source, within)\n",
        "        self._note_way(source, ())\n",
        RELAYING + "test_who_was_heard_by_a_lost_link_is_asked_for_at_once",
    ),
    _of(
        "relays wait for their own heartbeats",
        PROTOCOL,
        "            if seconds < least and node not in pruned and",
        "            if seconds < 0 and node not in pruned and",
        RELAYING + "test_each_link_has_a_time_of_its_own",
    ),
    _of(
        "what has waited is not sent",
        EXCHANGE,
        "                if connection.hold_until <= now:\n                    connection.wake()\n",
        "                if connection.hold_until <= now:\n"
        "                    connection.hold_until = math.inf\n",
        RELAYING + "test_each_link_has_a_time_of_its_own",
    ),
    _of(
        "the first link's deadline for all",
        EXCHANGE,
        "                    (connection.hold_until for connection in self.greeted), "
        "default=math.inf\n",
        "                    [each.hold_until for each in self.greeted][:1], default=math.inf\n",
        RELAYING + "test_each_link_has_a_time_of_its_own",
    ),
    _of(
        "relays hold back what is then missed",
        "manifest/options.py",
        "        return max(0.0, min(self.registration_lifetime / 2, until_missed * 3 / 4))\n",
        "        return max(self.registration_lifetime / 2, until_missed * 0)\n",
        RELAYING + "test_nobody_misses_what_relays_hold_back",
    ),
    _of(
        "each relay takes a moment whether or not it was granted",
        REPLICA,
        "        return {node: patience.get(node, 0.0) for _, node, _ in moved}\n",
        "        return {node: max(0.02, patience.get(node, 0.0)) for _, node, _ in moved}\n",
        RELAYING + "test_nobody_misses_what_relays_hold_back",
    ),
    _of(
        "what a peer lacks is forgotten where a frame is full",
        PROTOCOL,
        "            if self._lacks(node) and not self._pack_mark(packer, node, now):\n"
        "                return\n",
        "            if self._lacks(node) and not self._pack_mark(packer, node, now):\n"
        "                self._lacking.clear()\n"
        "                return\n",
        "tests/test_protocol.py::test_a_mark_and_lease_that_do_not_fit_come_again",
    ),
    _of(
        "what came while it was pruned is not told with a graft",
        PROTOCOL,
        "                # What came of it meanwhile was passed over.\n"
        "                self._lacking[node] = None\n",
        "",
        "tests/test_trees.py::test_what_was_passed_over_is_told_with_a_graft",
    ),
    _of(
        "lease judged by wall clock",
        REPLICA,
        "        self.leases = LeaseTable(waking.now, longest=options.retention)\n",
        "        self.leases = LeaseTable(\n"
        "            lambda: physical.wall() / 1000, longest=options.retention\n"
        "        )\n",
        CLUSTERS + "test_clocks_that_step_change_nothing",
    ),
    _of(
        "expiry written as a tombstone",
        REPLICA,
        "            self.view.turn(turn.node, reason)\n",
        "            self.view.turn(turn.node, reason)\n"
        "            if not turn.believed:\n"
        "                for key in [\n"
        "                    each.key for _, each in self.map.journal()\n"
        "                    if each.stamp.node == turn.node and not each.is_tombstone\n"
        "                ]:\n"
        "                    self.free(key)\n",
        CLUSTERS + "test_clusters_converge",
    ),
    _of(
        "stall not credited",
        "manifest/timekeeping.py",
        "        if time - self._beat > 2 * self._interval:\n",
        "        if time - self._beat < 0:\n",
        CLUSTERS + "test_sleep_is_credited",
    ),
    _of(
        "of two incarnations the earlier is believed",
        LEASES,
        "        return max(bearers, key=lambda held: held.seniority, default=None)\n"
        "\n"
        "    def _displacer(self, node: str, latest: dict[str, _Held | None]) -> str | None:\n"
        "        held = self._held.get(node)\n"
        "        name = None if held is None else held.lease.name\n"
        "        rival = None if name is None else latest.get(name)\n"
        "        if held is None or rival is None or rival.seniority <= held.seniority:\n",
        "        return min(bearers, key=lambda held: held.seniority, default=None)\n"
        "\n"
        "    def _displacer(self, node: str, latest: dict[str, _Held | None]) -> str | None:\n"
        "        held = self._held.get(node)\n"
        "        name = None if held is None else held.lease.name\n"
        "        rival = None if name is None else latest.get(name)\n"
        "        if held is None or rival is None or rival.seniority >= held.seniority:\n",
        "tests/property/test_leases.py::test_the_table_agrees_with_a_naive_one",
        CLUSTERS + "test_clusters_converge",
    ),
    _of(
        "heartbeats that are not sent",
        REPLICA,
        "        self.map.advance(self.node, self.clock.tick())\n",
        "        self.clock.tick()\n",
        CLUSTERS + "test_nothing_flaps",
    ),
    # Renewal
    _of(
        "renewal of a record that was taken over",
        REPLICA,
        "                del self._own[change.key]\n",
        "                pass\n",
        CLUSTERS + "test_the_last_to_take_a_name_has_it",
    ),
    _of(
        "renewal after a checkpoint",
        REPLICA,
        "        self._apply((*changes, *renewals))\n",
        "        standing = [self.map._entries.pop(each.key) for each in renewals]\n"
        "        self._apply(changes)\n"
        "        self.map._entries.update((each.key, each) for each in standing)\n"
        "        self._apply(renewals)\n",
        CLUSTERS + "test_who_sleeps_through_the_retention_shows_no_gap",
    ),
    _of(
        "renewal before joining, after a pause",
        REPLICA,
        "        renewed = now >= self._renew_from and self._renew_due(budget)\n",
        "        renewed = self._renew_due(budget)\n",
        "tests/test_replica.py::test_after_a_pause_it_joins_before_it_renews",
        CLUSTERS + "test_sleep_is_credited",
    ),
    _of(
        "no renewal",
        REPLICA,
        "        renewed = now >= self._renew_from and self._renew_due(budget)\n",
        "        renewed = False\n",
        CLUSTERS + "test_clusters_outlive_the_retention",
    ),
    # Renewal without the value
    _of(
        "value left out for who has collected it",
        RENEWING,
        "        and _PARTS * (known - collected) >=",
        "        and _PARTS * known >=",
        RENEWALS + "test_renewals_without_values_make_no_difference",
    ),
    _of(
        "value taken from the wrong key",
        RENEWING,
        "        held = here.entry(key)\n",
        '        held = here.entry(f"{node}.{first}")\n',
        RENEWALS + "test_renewals_without_values_make_no_difference",
    ),
    _of(
        "another value told as a renewal",
        REPLICA,
        "        if record.since:\n",
        "        if not record.role:\n",
        RENEWALS + "test_renewals_without_values_make_no_difference",
    ),
    _of(
        "owner renews without its value what may be collected",
        RENEWING,
        "    near = _PARTS * age < _CHAIN * from_milliseconds(retention)\n",
        "    near = age > 0\n",
        RENEWALS + "test_renewals_without_values_make_no_difference",
    ),
    _of(
        "numbers with a gap told as one run",
        "manifest/packing.py",
        "        if (last[0], last[1], last[3] + last[4]) != stands:\n",
        "        if (last[0], last[1]) != stands[:2]:\n",
        RENEWALS + "test_renewals_without_values_make_no_difference",
    ),
    _of(
        "who lacked a value claims to have it again",
        REPLICA,
        "            self._doubted = {node: None for node in nodes if node in self.map.nodes}\n",
        "            self._doubted = {node: None for node in nodes if node == self.node}\n",
        "tests/test_renewals.py::test_who_lacked_a_value_is_sent_all_in_full_by_the_next_link",
    ),
    # Ownership
    Mutant(
        "foreign free of an owner-bound id accepted",
        (
            Edit(
                "manifest/unpacking.py",
                "        if owner is not None and owner != node:\n",
                "        if owner is not None and node is None:\n",
            ),
            Edit(
                "manifest/registrations.py",
                "                elif service.owner == self._replica.node or service.persistent:\n",
                "                elif service.owner:\n",
            ),
        ),
        (CLUSTERS + "test_clusters_converge",),
    ),
    # Events
    _of(
        "duplicate Registered",
        SHOWN,
        "                self._emit(Updated(after, before))\n",
        "                self._emit(Registered(after))\n",
        CLUSTERS + "test_clusters_converge",
    ),
    _of(
        "Freed without Registered",
        SHOWN,
        "            self._emit(Freed(before, self._why_gone(before, lapse)))\n",
        "            self._emit(Freed(before, self._why_gone(before, lapse)))\n"
        "            self._emit(Freed(before, self._why_gone(before, lapse)))\n",
        CLUSTERS + "test_clusters_converge",
    ),
    _of(
        "services of a node that is believed again not shown",
        SHOWN,
        "        for key in list(self._leased.get(node, ())):\n",
        "        for key in list(self._leased.get(node, ()))[1:]:\n",
        CLUSTERS + "test_clusters_converge",
        VIEW + "test_the_view_is_what_its_definition_says",
    ),
    # Lookups
    _of(
        "a service that goes stays in all orders but one",
        ORDERING,
        "        for order in self._orders.values():\n            order.remove(version, id)\n",
        "        for order in list(self._orders.values())[:1]:\n"
        "            order.remove(version, id)\n",
        VIEW + "test_the_order_is_what_sorting_anew_would_give",
    ),
    # Leaving and staying
    _of(
        "what is registered is not freed at the end",
        REPLICA,
        "        for key in list(self._own):\n"
        "            self.free(key)\n"
        "        self._left = True\n",
        "        self._left = False\n",
        CLUSTERS + "test_the_dead_are_gone_in_time",
        CLUSTERS + "test_leaving_is_seen_at_once",
    ),
    _of(
        "farewell cut short where the application is cancelled",
        "manifest/opening.py",
        "            with trio.CancelScope(shield=True):\n"
        "                await manifest.aclose()\n",
        "            with trio.CancelScope():\n                await manifest.aclose()\n",
        CANCELLING + "test_cancelling_at_any_step_breaks_no_promise",
    ),
    _of(
        "every other record is freed at the end",
        REPLICA,
        "        for key in list(self._own):\n"
        "            self.free(key)\n"
        "        self._left = True\n",
        "        for key in list(self._own)[::2]:\n"
        "            self.free(key)\n"
        "        self._left = True\n",
        CANCELLING + "test_cancelling_at_any_step_breaks_no_promise",
    ),
    _of(
        "horizon left behind what it collected",
        LWWMAP,
        "        self._horizon = horizon\n        dropped",
        "        self._horizon = horizon - 1\n        dropped",
        CRDT + "test_joins_commute",
        CRDT + "test_collection_commutes_with_merging",
        CRDT + "test_a_join_is_what_the_definition_says",
    ),
)


@attrs.frozen
class Verdict:
    """What became of a mutant."""

    caught_by: str | None
    seconds: float
    size: str

    @property
    def killed(self) -> bool:
        """Whether a test failed, and soon enough."""
        return self.caught_by is not None and self.seconds <= SECONDS


def main(arguments: Sequence[str] | None = None) -> int:
    """Plant the mutants whose names contain one of the words, or all, and print the table."""
    parser = command_line("tests.mutants", __doc__)
    parser.add_argument(
        "words",
        nargs="*",
        metavar="word",
        help="plant the mutants alone whose names contain one of these; default: all mutants",
    )
    words = parser.parse_args(arguments).words
    names = [mutant.name for mutant in MUTANTS]
    for word in words:
        if not any(word in name for name in names):
            listed = "".join(f"\n  {name}" for name in names)
            parser.error(f"there is no mutant with {word!r} in its name; there are:{listed}")
    chosen = [
        mutant for mutant in MUTANTS if not words or any(word in mutant.name for word in words)
    ]
    say("| mutant | caught by | seconds | shrunk to |")
    say("|---|---|---|---|")
    survivors = judged = 0
    for mutant in chosen:
        try:
            verdict = judge(mutant)
        except KeyboardInterrupt:
            say(f"\n{judged - survivors} of {judged} killed; interrupted at: {mutant.name}")
            return INTERRUPTED
        judged += 1
        survivors += not verdict.killed
        caught = (verdict.caught_by or "**nobody**").replace("_", " ").removeprefix("test ")
        say(f"| {mutant.name} | {caught} | {verdict.seconds:.1f} | {verdict.size} |")
    say(f"\n{judged - survivors} of {judged} killed")
    return 1 if survivors else 0


def judge(mutant: Mutant) -> Verdict:
    """Plant one mutant in a copy of the project, and see whether its killers notice."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        for part in ("manifest", "tests"):
            ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
            shutil.copytree(ROOT / part, root / part, ignore=ignored)
        shutil.copy(ROOT / "pyproject.toml", root)
        for edit in mutant.edits:
            (root / edit.path).write_text(edit.planted(root), encoding="utf-8")
        began = time.monotonic()
        for killer in mutant.killers:
            said = run(root, killer, shrink=False)
            if said is not None:
                seconds = time.monotonic() - began
                shrunk = run(root, killer, shrink=True) or said
                return Verdict(killer.partition("::")[2], seconds, size_of(shrunk))
        return Verdict(None, time.monotonic() - began, "")


def run(root: Path, killer: str, *, shrink: bool) -> str | None:
    """Run a test on a copy of the project; return what it said where it failed, else None."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", killer]
    environment = {
        **os.environ,
        "PYTHONPATH": str(root),
        "HYPOTHESIS_PROFILE": "ci",
        "HYPOTHESIS_SHRINKING": str(SHRINKING if shrink else 0),
    }
    try:
        done = subprocess.run(
            command,
            check=False,
            cwd=root,
            env=environment,
            capture_output=True,
            text=True,
            timeout=4 * SECONDS,
        )
    except subprocess.TimeoutExpired:
        return None
    if done.returncode not in (0, 1):
        raise RuntimeError(f"pytest failed: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout if done.returncode == 1 else None


def size_of(said: str) -> str:
    """Return how large the failing case is that a test printed last: steps, or lines."""
    plans = re.findall(r"plan = (Plan\(.*)", said)
    if plans:
        return f"{plans[-1].count('Step(')} steps"
    found = re.findall(_CASE, said, re.DOTALL)
    lines = [line for line in found[-1].splitlines() if line.strip(" E")] if found else []
    return f"{len(lines)} lines"


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
