"""Arguments of runs and plans, looked at before anything is run with them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import attrs

__all__ = ["check_count", "check_number", "is_number_from", "is_whole", "to_numbers_of_nodes"]

_MOST = 1e300
"""Beyond it nothing is a time or a rate; there are the infinities, and integers too large."""


def check_count(name: str, count: object, least: int = 1) -> None:
    """Refuse what is no integer of so much or more."""
    if type(count) is not int or count < least:
        raise ValueError(f"{name} is an integer, {least} or more, got {count!r:.80}")


def check_number(name: str, number: object, least: float = 0.0) -> None:
    """Refuse what is no finite number of so much or more."""
    if not isinstance(number, int | float) or not max(least, -_MOST) <= number <= _MOST:
        bound = "" if least == -math.inf else f", {least:g} or more"
        raise ValueError(f"{name} is a finite number{bound}, got {number!r:.80}")


def is_whole(instance: object, attribute: attrs.Attribute[int], value: object) -> None:
    """Validate a field that is an integer."""
    if type(value) is not int:
        raise ValueError(f"{attribute.name} is an integer, got {value!r:.80}")


def is_number_from(least: float) -> Any:
    """Return a validator of fields that are finite numbers of so much or more."""

    def validate(instance: object, attribute: attrs.Attribute[float], value: object) -> None:
        check_number(attribute.name, value, least)

    return validate


def to_numbers_of_nodes(nodes: Iterable[int]) -> tuple[int, ...]:
    """Convert what numbers several nodes: sorted where it has no order of its own."""
    if not isinstance(nodes, Iterable):
        raise ValueError(f"nodes are several, such as (0, 1), got {nodes!r:.80}")
    # By type first, for what cannot be compared is for the plan to refuse.
    unordered = isinstance(nodes, set | frozenset)
    return tuple(sorted(nodes, key=lambda node: (repr(type(node)), node)) if unordered else nodes)
