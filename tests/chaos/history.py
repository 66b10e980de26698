"""What nodes did and saw, and from when on they agreed.

Under constant load no two nodes show the same at any moment, so agreement is about what was done
before a moment, such as the one in which a partition healed: all that was held then and still is
must be shown, and all that had been freed must not be. What is freed later is of no interest from
then on.

Pure: times are seconds of one clock that all nodes share, in whatever order.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import attrs

__all__ = ["History", "agreed_at", "expired", "returned"]


@attrs.frozen
class History:
    """What one node did and saw."""

    node: str
    did: Sequence[tuple[float, str, bool]]
    """When it registered (True) or freed an id."""
    saw: Sequence[tuple[float, str, bool, str]]
    """When an id came into view or went, and why it went."""

    @classmethod
    def of(cls, node: str, answer: dict[str, Any]) -> History:
        """Return what a worker answers."""
        return cls(node, answer["did"], answer["saw"])


def _owner(id: str) -> str:
    return id.partition(".")[0]


def _held_and_freed(
    histories: Iterable[History], by: float
) -> tuple[dict[str, float], dict[str, None]]:
    """Return what was held at a time, each with the time of its free, and what had been freed."""
    held: dict[str, float] = {}
    freed: dict[str, None] = {}
    for history in histories:
        for time, id, registered in history.did:
            if registered and time <= by:
                held[id] = math.inf
            elif not registered and time <= by:
                del held[id]
                freed[id] = None
            elif not registered and id in held:
                held[id] = time
    return held, freed


def agreed_at(histories: Sequence[History], since: float) -> float:
    """Return when all agreed for good on what was done until `since`; infinity where they do not.

    No earlier than `since`. Ids of nodes without a history are left out.
    """
    held, freed = _held_and_freed(histories, since)
    return max((_agrees_at(history, held, freed, since) for history in histories), default=since)


def _agrees_at(
    history: History, held: dict[str, float], freed: dict[str, None], since: float
) -> float:
    shown: set[str] = set()
    changes: list[tuple[float, str, bool]] = []
    for time, id, visible, _ in history.saw:
        if time > since:
            changes.append((time, id, visible))
        elif visible:
            shown.add(id)
        else:
            shown.discard(id)
    changes += [(time, id, False) for id, time in held.items() if time < math.inf]
    wrong = {id for id in held if id not in shown} | {id for id in freed if id in shown}
    agreed = math.inf if wrong else since
    for time, id, visible in sorted(changes):
        was_wrong = bool(wrong)
        is_wrong = visible if id in freed else id in held and not visible and time < held[id]
        (wrong.add if is_wrong else wrong.discard)(id)
        if wrong:
            agreed = math.inf
        elif was_wrong:
            agreed = time
    return agreed


def returned(histories: Sequence[History], since: float) -> list[str]:
    """Return what had been freed by `since`, and came after it into a view that it had left.

    What somebody hears of late, and had not been told of before, is no return: it is old news, and
    that it was freed is on its way.
    """
    _, freed = _held_and_freed(histories, since)
    found: list[str] = []
    for history in histories:
        left: set[str] = set()
        for time, id, visible, _ in history.saw:
            if not visible:
                left.add(id)
            elif time > since and id in freed and id in left:
                found.append(f"{id} at {history.node}")
    return found


def expired(
    histories: Iterable[History], *, since: float, of: Iterable[str] | None = None
) -> dict[str, list[float]]:
    """Return when services expired after `since`, by who saw it; `of` these owners alone."""
    owners = None if of is None else set(of)
    return {
        history.node: [
            time
            for time, id, _, reason in history.saw
            if reason == "expired" and time > since and (owners is None or _owner(id) in owners)
        ]
        for history in histories
    }
