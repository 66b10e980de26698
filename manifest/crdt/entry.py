"""What a replica holds and what it ships: entries, deltas, and the changes that they make."""

from __future__ import annotations

import enum
from typing import Final, Generic, Literal, NamedTuple, TypeAlias, TypeVar

import attrs

from .stamp import Stamp
from .vector import VersionVector

__all__ = ["TOMBSTONE", "Change", "Delta", "Entry", "Tombstone"]

K = TypeVar("K")
V = TypeVar("V")


class Tombstone(enum.Enum):
    """The type of `TOMBSTONE`, the value of a key that was deleted."""

    TOMBSTONE = "TOMBSTONE"

    def __repr__(self) -> str:
        return "TOMBSTONE"


TOMBSTONE: Final = Tombstone.TOMBSTONE
_Tombstone: TypeAlias = Literal[Tombstone.TOMBSTONE]


class Entry(NamedTuple, Generic[K, V]):
    """One write: the key, when and by whom it was written, and the value or `TOMBSTONE`.

    Immutable, and shared by all that speak of that write. A tuple is made in a third of the time
    that a frozen class with slots takes.

    >>> Entry("k", Stamp(1, "a"), TOMBSTONE).is_tombstone
    True
    """

    key: K
    stamp: Stamp
    value: V | _Tombstone

    @property
    def is_tombstone(self) -> bool:
        """Whether this write deleted the key."""
        return self.value is TOMBSTONE


def _to_tuple(entries: tuple[Entry[K, V], ...]) -> tuple[Entry[K, V], ...]:
    return tuple(entries)


@attrs.frozen
class Delta(Generic[K, V]):
    """An interval of history: who has reflected `since` and joins this has reflected `until`.

    Where both are empty the delta is a *part*: entries that may be joined by anyone and that claim
    nothing. One that was made from a journal position names only the nodes whose context moved,
    and is for the reader that has had everything up to there. `horizon` is the horizon under which
    the entries were collected; claiming `until` without it would bring the dead back.
    """

    entries: tuple[Entry[K, V], ...] = attrs.field(default=(), converter=_to_tuple)
    since: VersionVector = attrs.field(factory=VersionVector)
    until: VersionVector = attrs.field(factory=VersionVector)
    horizon: int = 0

    def __bool__(self) -> bool:
        """Whether it carries entries or extends anyone's history."""
        return bool(self.entries) or not self.until <= self.since


class Change(NamedTuple, Generic[K, V]):
    """What a join or a write did to one key. `None` stands for no entry at all."""

    key: K
    before: Entry[K, V] | None
    after: Entry[K, V] | None
