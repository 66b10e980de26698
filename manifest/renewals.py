"""Renewals without values: the same entries, told in fewer bytes to who holds what they renew.

An owner-bound id has one writer. So between the write that *set* a value and a renewal there is
nothing but renewals, and who holds the value under any of those stamps needs the new stamp and the
key, no more. An entry whose owner only renewed it says so: `Record.since` is the time of the write
that set the value. The rest are three rules, one for each who has a part in it:

- the owner (`renewed`) renews so only what is younger than 11/16 of the retention, and writes all
  else in full: of two neighbours in a chain of renewals the later one is always that near;
- the sender (`holds_value`) leaves a value out only where the peer has reflected the write that
  set it and cannot have collected the renewal that it reflected last;
- the receiver (`expand`) takes the value from its own map, and refuses the message with `CausalGap`
  where it does not stand there.

What comes out is the delta as it would have come in full: the map, its laws and its honesty know
nothing of this. docs/protocol.md has the argument. Nothing here may import Trio or read a clock.
"""

from __future__ import annotations

import attrs

from .crdt import CausalGap, Entry, LWWMap, Stamp, from_milliseconds
from .messages import Gossip, Renewal
from .records import Record, owner_of

__all__ = ["expand", "holds_value", "renewed"]

_CHAIN, _KEPT, _PARTS = 11, 12, 16
"""In sixteenths of the retention: how far apart neighbours in a chain may be, and how much of its
history a peer must have kept. Renewals are done by ten; the last one is for the way."""


def renewed(entry: Entry[str, Record], stamp: Stamp, retention: int) -> Entry[str, Record]:
    """Return an entry written again under a new stamp, `retention` in milliseconds.

    It says since when its value stands; unless anybody may write its key, or a peer could have
    collected the old entry before this one arrives, what the horizon took from here included.

    >>> node, minute = "0123456789ABCDEF01234567", 60_000 << 16
    >>> old = Entry(f"{node}.1", Stamp(100 * minute, node), Record("web"))
    >>> renewed(old, Stamp(110 * minute, node), 3_600_000).value.since == 100 * minute
    True
    >>> renewed(old, Stamp(150 * minute, node), 3_600_000).value.since
    0
    """
    record = entry.value
    assert isinstance(record, Record), "an own entry is live"
    age = stamp.time - entry.stamp.time
    near = _PARTS * age < _CHAIN * from_milliseconds(retention)
    since = _set_at(record, entry.stamp) if near and owner_of(entry.key) is not None else 0
    # One object for all the renewals that follow.
    record = record if record.since == since else record.set_at(since)
    return Entry(entry.key, stamp, record)


def holds_value(entry: Entry[str, Record], known: int, collected: int, retention: int) -> bool:
    """Tell whether a peer holds the value that an entry renews.

    It has reflected what the entry's node wrote up to `known`, and has collected up to `collected`.
    """
    record = entry.value
    return (
        isinstance(record, Record)
        and 0 < record.since <= known
        and _PARTS * (known - collected) >= _KEPT * from_milliseconds(retention)
    )


def expand(gossip: Gossip, here: LWWMap[str, Record]) -> Gossip:
    """Return a message with its renewals as entries in full, their values taken from a map.

    All or nothing: `CausalGap` where a value does not stand here. It costs as much as entries do.
    """
    if not gossip.renewals:
        return gossip
    horizon = max(here.horizon, gossip.delta.horizon)
    entries = list(gossip.delta.entries)
    for renewal in gossip.renewals:
        if renewal.time > horizon:
            entries += _expanded(renewal, here)
    delta = attrs.evolve(gossip.delta, entries=tuple(entries))
    return attrs.evolve(gossip, delta=delta, renewals=())


def _expanded(renewal: Renewal, here: LWWMap[str, Record]) -> list[Entry[str, Record]]:
    node, _, since, first, length = renewal
    stamp, reflected = Stamp(renewal.time, node), here.reflected(node)
    entries: list[Entry[str, Record]] = []
    for number in range(first, first + length):
        key = f"{node}.{number}"
        held = here.entry(key)
        if held is not None and held.stamp >= stamp:
            continue
        if held is None or held.stamp.node != node or not isinstance(held.value, Record):
            raise _gap(key, renewal, "it holds no record of that node there")
        set_at = _set_at(held.value, held.stamp)
        if not set_at <= since <= reflected:
            raise _gap(key, renewal, f"it holds one set at {set_at}, having reflected {reflected}")
        record = held.value if held.value.since else held.value.set_at(set_at)
        entries.append(Entry(key, stamp, record))
    return entries


def _gap(key: str, renewal: Renewal, instead: str) -> CausalGap:
    return CausalGap(
        f"{key} comes renewed at {renewal.time}, its value, set by {renewal.since}, left out, and "
        f"this replica lacks it: {instead}; link anew, so that the peer learns what is lacking"
    )


def _set_at(record: Record, stamp: Stamp) -> int:
    """Return when a value was set that stands under a stamp."""
    return record.since or stamp.time
