"""A last-writer-wins set with a frequent bug, the counterexample that refutes it, and the mend.

Of two writes at one time, an add and a remove, the join keeps the one that it holds already. Each
replica then stays with its own, for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from hypothesis import settings
from hypothesis import strategies as st

from manifest.testing import LawBroken, LawsHeld, check_laws


class Write(NamedTuple):
    """When an element was written last, and whether it was added or removed then."""

    time: int
    added: bool


LWWSet = dict[str, Write]
Join = Callable[[LWWSet, LWWSet], LWWSet]


def wrong_join(a: LWWSet, b: LWWSet) -> LWWSet:
    """Return the later write of each element; of two at one time, `a`'s."""
    joined = dict(a)
    for element, write in b.items():
        if element not in joined or write.time > joined[element].time:
            joined[element] = write
    return joined


def right_join(a: LWWSet, b: LWWSet) -> LWWSet:
    """Return the later write of each element; of two at one time, the add, whosever it is."""
    joined = dict(a)
    for element, write in b.items():
        joined[element] = max(write, joined.get(element, write))
    return joined


def tie(a: LWWSet, b: LWWSet) -> bool:
    """Tell whether an element was added and removed at one time."""
    return any(a[x].time == b[x].time and a[x] != b[x] for x in a.keys() & b.keys())


# Three times for all writes: ties are the rule.
writes = st.builds(Write, time=st.integers(1, 3), added=st.booleans())
sets = st.dictionaries(st.sampled_from("xy"), writes)


def check(join: Join) -> LawsHeld:
    reproducible = settings(derandomize=True, database=None, deadline=None)
    return check_laws(join=join, states=sets, tie=tie, settings=reproducible)


def main() -> None:
    try:
        check(wrong_join)
    except LawBroken as broken:
        print("The wrong set is refuted.", broken, sep="\n\n", end="\n\n")
    else:
        raise SystemExit("the wrong set passed, and should not have")
    print("The right one:", check(right_join))


if __name__ == "__main__":
    main()
