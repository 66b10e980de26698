"""A grow-only counter, in which each node counts for itself, and the laws that it keeps."""

from __future__ import annotations

import json
from collections.abc import Mapping

import attrs
from hypothesis import settings
from hypothesis import strategies as st

from manifest.testing import check_laws


@attrs.frozen
class GCounter:
    """How often each node has counted; a node that has not is absent."""

    counts: Mapping[str, int] = attrs.field(factory=dict)

    @property
    def value(self) -> int:
        """What all nodes have counted together."""
        return sum(self.counts.values())

    def increment(self, node: str, by: int = 1) -> GCounter:
        """Return the counter after this node has counted on."""
        return GCounter({**self.counts, node: self.counts.get(node, 0) + by})

    def join(self, other: GCounter) -> GCounter:
        """Return the counter that has seen what both have seen: the greater count of each node."""
        nodes = {**self.counts, **other.counts}
        return GCounter({n: max(self.counts.get(n, 0), other.counts.get(n, 0)) for n in nodes})

    def delta(self, reader: GCounter) -> GCounter:
        """Return what the reader lacks: the nodes that have counted further here."""
        ahead = {n: c for n, c in self.counts.items() if c > reader.counts.get(n, 0)}
        return GCounter(ahead)

    def encode(self) -> str:
        """Return it as JSON."""
        return json.dumps(dict(self.counts))

    @classmethod
    def decode(cls, text: str) -> GCounter:
        """Return the counter that was encoded."""
        return cls(json.loads(text))


# Any three counters may meet, so each is drawn by itself. Few nodes and small counts make ties.
counters = st.dictionaries(st.sampled_from("abc"), st.integers(1, 3)).map(GCounter)


def main() -> None:
    left, right = GCounter().increment("a").increment("a"), GCounter().increment("b")
    assert left.join(right).value == right.join(left).value == 3
    held = check_laws(
        join=GCounter.join,
        states=counters,
        # A tie: two say the same of one node, and differ in another.
        tie=lambda a, b: a != b and bool(a.counts.items() & b.counts.items()),
        delta=GCounter.delta,
        join_delta=GCounter.join,
        encode=GCounter.encode,
        decode=GCounter.decode,
        settings=settings(derandomize=True, database=None, deadline=None),
    )
    print("G-counter:", held)


if __name__ == "__main__":
    main()
