"""The journal: what changed since, at the cost of what changed since."""

from __future__ import annotations

from manifest.crdt import Entry, Stamp
from manifest.crdt.journal import Journal

Entries = dict[str, Entry[str, int]]


class Counting(Entries):
    """A map of current entries that counts how often it is asked for one."""

    asked = 0

    def get(self, *arguments: object) -> Entry[str, int] | None:  # type: ignore[override]
        self.asked += 1
        return super().get(*arguments)  # type: ignore[call-overload, no-any-return]


def write(journal: Journal[str, int], current: Entries, position: int, key: str) -> None:
    """Make an entry of this key current, at this position."""
    current[key] = Entry(key, Stamp(position, "a"), position)
    journal.append(position, current[key])


def walk(journal: Journal[str, int], after: int) -> list[tuple[int, str]]:
    """Return where a walk comes by, as positions and keys."""
    return [(position, entry.key) for position, entry in journal.after(after)]


def test_a_walk_yields_the_current_entries_oldest_change_first() -> None:
    """A key that changed twice is met once, at its last change."""
    current: Entries = {}
    journal = Journal(current)
    for position, key in enumerate("abca", start=1):
        write(journal, current, position, key)
    assert walk(journal, 0) == [(2, "b"), (3, "c"), (4, "a")]


def test_a_walk_may_start_anywhere() -> None:
    """Behind each position lies what changed behind it, where positions have gaps too."""
    current: Entries = {}
    journal = Journal(current)
    for position, key in ((2, "a"), (5, "b"), (9, "c")):
        write(journal, current, position, key)
    met = {after: [key for _, key in walk(journal, after)] for after in range(11)}
    assert met[0] == met[1] == ["a", "b", "c"]
    assert met[2] == met[4] == ["b", "c"]
    assert met[5] == met[8] == ["c"]
    assert met[9] == met[10] == []


def test_what_was_collected_is_not_met() -> None:
    """An entry that the map holds no longer is passed over."""
    current: Entries = {}
    journal = Journal(current)
    for position, key in enumerate("ab", start=1):
        write(journal, current, position, key)
    del current["a"]
    assert walk(journal, 0) == [(2, "b")]


def test_an_equal_entry_is_not_the_same_entry() -> None:
    """An item is current by identity: an equal one at another position is another change."""
    current: Entries = {}
    journal = Journal(current)
    write(journal, current, 1, "a")
    current["a"] = Entry("a", Stamp(1, "a"), 1)
    assert walk(journal, 0) == []
    journal.append(2, current["a"])
    assert walk(journal, 0) == [(2, "a")]


def test_a_walk_costs_what_changed_since() -> None:
    """Of ten thousand entries, a walk from a cursor looks at those behind the cursor alone."""
    current = Counting()
    journal = Journal(current)
    for position in range(1, 10_001):
        write(journal, current, position, f"k{position}")
    assert len(walk(journal, 9_997)) == 3
    assert current.asked == 3


def test_stale_items_are_forgotten_once_they_are_the_majority() -> None:
    """However often a key is written, the list stays within twice the map and 64 items more."""
    current: Entries = {}
    journal = Journal(current)
    longest = 0
    for position in range(1, 2_001):
        write(journal, current, position, f"k{position % 10}")
        journal.trim()
        longest = max(longest, len(journal._items))
    assert longest == 2 * 10 + 64
    assert [position for position, _ in journal.after(0)] == list(range(1_991, 2_001))


def test_compaction_costs_a_constant_for_each_change() -> None:
    """All the compactions of a run together look at no more than three items for each change."""
    current = Counting()
    journal = Journal(current)
    for position in range(1, 20_001):
        write(journal, current, position, f"k{position % 100}")
        journal.trim()
    assert current.asked <= 3 * 20_000


def test_cursors_outlive_a_compaction() -> None:
    """What lies behind a position is the same before and after stale items are forgotten."""
    current: Entries = {}
    journal = Journal(current)
    for position in range(1, 301):
        write(journal, current, position, f"k{position % 7}")
    before = [walk(journal, after) for after in range(301)]
    journal.trim()
    assert len(journal._items) == len(journal._positions) == 7
    assert [walk(journal, after) for after in range(301)] == before


def test_a_small_journal_is_left_alone() -> None:
    """Up to 64 stale items are not worth a compaction."""
    current: Entries = {}
    journal = Journal(current)
    for position in range(1, 67):
        write(journal, current, position, "k")
        journal.trim()
    assert len(journal._items) == 66
    write(journal, current, 67, "k")
    journal.trim()
    assert len(journal._items) == 1
