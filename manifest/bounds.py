"""How much a registry may hold: judged before a message is joined, and before a record is written.

An owner is held to its limits where it writes, by an exception that its application reads. What a
peer brings is held to the same limits, of records and tombstones to twice as many: a record may
overtake the free of another on its way, and replicas collect later than the owner does. So no owner
that keeps its limits is ever beyond those of a peer with the same ones.

What is beyond them is refused whole, with the link that brought it, and so it is passed on to
nobody. What a message could add at the most is looked at first, which is enough for nearly all of
them; only where that would be too much is it counted what it does add.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable

from .crdt import Entry, LWWMap
from .errors import LimitReached, LinkRefused
from .messages import Gossip
from .options import Limits
from .records import Record, is_persistent
from .refusals import Refusal

__all__ = ["check_arrival", "check_registration"]

_LEEWAY = 2
"""How many times an owner's limits a replica may hold of it."""


def check_registration(
    limits: Limits, entries: LWWMap[str, Record], node: str, key: str, *, waiting: int
) -> None:
    """Raise `LimitReached` where a node has no room to write a record under a key.

    `waiting` are the records that it is going to write as well.
    """
    present = entries.entry(key)
    if present is not None and present.stamp.node == node and not present.is_tombstone:
        return
    share = entries.share(node)
    if share.live + waiting >= limits.owner_records:
        raise LimitReached(
            f"this manifest has {share.live + waiting} services, and owner_records is "
            f"{limits.owner_records}: free some of them, or open the whole cluster with "
            "limits=Limits(owner_records=...)"
        )
    if share.tombstones >= limits.owner_tombstones:
        raise LimitReached(
            f"this manifest has freed {share.tombstones} services within the retention, and "
            f"owner_tombstones is {limits.owner_tombstones}: register anew under ids that were "
            "used before, or open the whole cluster with limits=Limits(owner_tombstones=...) or "
            "a shorter retention"
        )
    if is_persistent(key) and share.permanent >= limits.owner_persistent:
        raise LimitReached(
            f"this manifest has written {share.permanent} persistent services, those that it freed "
            f"included, and owner_persistent is {limits.owner_persistent}: use ids again, or open "
            "the whole cluster with limits=Limits(owner_persistent=...)"
        )
    if present is None and len(entries) + entries.tombstones >= limits.entries:
        raise LimitReached(
            f"the registry has {len(entries) + entries.tombstones} entries, tombstones included, "
            f"and entries is {limits.entries}: register anew under ids that were used before, free "
            "services and wait for the retention, or open the whole cluster with "
            "limits=Limits(entries=...) or a shorter retention"
        )


def check_arrival(
    limits: Limits, entries: LWWMap[str, Record], leased: Collection[str], gossip: Gossip
) -> None:
    """Raise `LinkRefused` where joining a message would bring more than may be held.

    `leased` are the nodes whose leases are held.
    """
    delta = gossip.delta
    horizon = max(entries.horizon, delta.horizon)
    # Even if none of them is known: that is all that is asked of nearly every message.
    if len(entries.nodes) + len(delta.until) > limits.owners:
        named = (node for node, time in delta.until.items() if time > horizon)
        _check_owners(limits, named, entries.nodes)
    if len(leased) + len(gossip.leases) > limits.owners:
        granted = (each.node for each in gossip.leases if each.time > horizon)
        _check_owners(limits, granted, leased)
    if not delta.entries:
        return
    writers = {entry.stamp.node for entry in delta.entries}
    if len(entries.writers) + len(writers) > limits.owners:
        _check_owners(limits, writers, entries.writers)
    if not _has_ample_room(limits, entries, writers, len(delta.entries)):
        _count(limits, entries, delta.entries, horizon)


def _has_ample_room(
    limits: Limits, entries: LWWMap[str, Record], writers: Collection[str], count: int
) -> bool:
    """Tell whether there is room even if each entry is a new one, of any writer and kind."""
    if len(entries) + entries.tombstones + count > limits.entries:
        return False
    for node in writers:
        share = entries.share(node)
        if (
            share.live + count > _LEEWAY * limits.owner_records
            or share.tombstones + count > _LEEWAY * limits.owner_tombstones
            or share.permanent + count > _LEEWAY * limits.owner_persistent
        ):
            return False
    return True


def _check_owners(limits: Limits, nodes: Iterable[str], known: Collection[str]) -> None:
    """Refuse nodes that are too many beside those that are known."""
    new = {node for node in nodes if node not in known}
    if new and len(known) + len(new) > limits.owners:
        raise LinkRefused(
            f"it brings {len(new)} nodes beside the {len(known)} that are known, and owners is "
            f"{limits.owners}: those that have gone are forgotten after the retention; or open "
            "the whole cluster with limits=Limits(owners=...)",
            Refusal.OWNERS,
        )


def _count(
    limits: Limits,
    entries: LWWMap[str, Record],
    arriving: Iterable[Entry[str, Record]],
    horizon: int,
) -> None:
    """Refuse what is too much, counting what comes beside what is there already."""
    total = len(entries) + entries.tombstones
    live: Counter[str] = Counter()
    tombstones: Counter[str] = Counter()
    persistent: Counter[str] = Counter()
    for entry in arriving:
        node, present = entry.stamp.node, entries.entry(entry.key)
        lasts = is_persistent(entry.key)
        if (entry.stamp.time <= horizon and not lasts) or (
            present is not None and present.stamp >= entry.stamp
        ):
            continue
        total += present is None
        mine = present if present is not None and present.stamp.node == node else None
        if mine is not None:
            (tombstones if mine.is_tombstone else live)[node] -= 1
        (tombstones if entry.is_tombstone else live)[node] += 1
        persistent[node] += lasts and mine is None
    if total > limits.entries:
        raise LinkRefused(
            f"with what it brings there would be {total} entries, tombstones included, and entries "
            f"is {limits.entries}: open the whole cluster with limits=Limits(entries=...)",
            Refusal.ENTRIES,
        )
    for counts, kind, refusal in (
        (live, 0, Refusal.OWNER_RECORDS),
        (tombstones, 1, Refusal.OWNER_TOMBSTONES),
        (persistent, 2, Refusal.OWNER_PERSISTENT),
    ):
        limit = _LEEWAY * getattr(limits, refusal.value)
        for node, count in counts.items():
            held = entries.share(node)[kind]
            if count > 0 and held + count > limit:
                raise LinkRefused(
                    f"with what it brings {node} would have {held + count}, and a peer's may have "
                    f"twice {refusal.value}, {limit}: open the whole cluster with "
                    f"limits=Limits({refusal.value}=...)",
                    refusal,
                )
