"""An observed-remove set without tombstones, and its laws on three replicas of one system.

Every add makes a dot, a name that is never used again. A remove drops the dots that it has seen,
and leaves no trace of them but that they *have* been seen. So two sets that were drawn without
regard to each other could not meet: one dot would stand for one element here and another there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import attrs
from hypothesis import settings
from hypothesis import strategies as st

from manifest.testing import check_laws


class Dot(NamedTuple):
    """The name of one add: the node that added, and which of its adds it was."""

    node: str
    number: int


@attrs.frozen
class ORSet:
    """The adds that are not removed, and how many adds of each node have been seen."""

    held: Mapping[Dot, str] = attrs.field(factory=dict)
    seen: Mapping[str, int] = attrs.field(factory=dict)

    @property
    def elements(self) -> set[str]:
        """What the set has in it."""
        return set(self.held.values())

    def has_seen(self, dot: Dot) -> bool:
        """Tell whether this add came by here, be it removed since or not."""
        return dot.number <= self.seen.get(dot.node, 0)

    def add(self, element: str, node: str) -> ORSet:
        """Return the set with the element, added by this node."""
        dot = Dot(node, self.seen.get(node, 0) + 1)
        return ORSet({**self.held, dot: element}, {**self.seen, node: dot.number})

    def remove(self, element: str) -> ORSet:
        """Return the set without the element, as far as its adds have been seen here."""
        return ORSet({dot: e for dot, e in self.held.items() if e != element}, self.seen)

    def join(self, other: ORSet) -> ORSet:
        """Return the set with the adds that both hold, or one holds and the other never saw."""
        nodes = {**self.seen, **other.seen}
        return ORSet(
            {**self.beside(other), **other.beside(self)},
            {n: max(self.seen.get(n, 0), other.seen.get(n, 0)) for n in nodes},
        )

    def beside(self, other: ORSet) -> dict[Dot, str]:
        """Return the adds held here that the other has not removed."""
        return {
            dot: element
            for dot, element in self.held.items()
            if dot in other.held or not other.has_seen(dot)
        }


NODES = ("a", "b", "c")
Step = tuple[str, int, int, str]


def run(steps: list[Step]) -> list[ORSet]:
    """Return what three replicas hold that had two elements in common before these steps."""
    common = ORSet().add("x", "a").add("y", "b")
    replicas = [common for _ in NODES]
    for action, here, there, element in steps:
        if action == "add":
            replicas[here] = replicas[here].add(element, NODES[here])
        elif action == "remove":
            replicas[here] = replicas[here].remove(element)
        else:
            replicas[here] = replicas[here].join(replicas[there])
    return replicas


steps = st.tuples(
    st.sampled_from(["add", "remove", "join"]),
    st.integers(0, 2),
    st.integers(0, 2),
    st.sampled_from("xy"),
)
systems = st.lists(steps, max_size=12).map(run)


def removed_against_added(a: ORSet, b: ORSet) -> bool:
    """Tell whether one side removed an element that the other has added anew meanwhile."""
    for mine, theirs in ((a, b), (b, a)):
        removed = {e for dot, e in theirs.held.items() if mine.has_seen(dot)} - mine.elements
        if removed & {e for dot, e in theirs.held.items() if not mine.has_seen(dot)}:
            return True
    return False


def main() -> None:
    base = ORSet().add("x", "a")
    assert base.remove("x").join(base.add("x", "b")).elements == {"x"}
    held = check_laws(
        join=ORSet.join,
        replicas=systems,
        tie=removed_against_added,
        settings=settings(derandomize=True, database=None, deadline=None),
    )
    print("OR-set:", held)


if __name__ == "__main__":
    main()
