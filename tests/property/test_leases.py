"""The lease table does what a naive one does that works everything out anew at each question."""

from __future__ import annotations

import math
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st

from manifest.leases import LeaseTable
from manifest.messages import Lease
from tests.samples import A, B, C

SELF, LONGEST = "D" * 24, 20.0


@attrs.define
class Naive:
    """Every lease that counted, and nothing worked out ahead."""

    now: float = 0.0
    horizon: int = 0
    held: dict[str, tuple[Lease, float]] = attrs.field(factory=dict)
    believed: set[str] = attrs.field(factory=set)

    def grant(self, lease: Lease) -> None:
        if lease.node == SELF:
            return
        known = self.held[lease.node][0].time if lease.node in self.held else self.horizon
        if lease.time > known:
            self.held[lease.node] = (lease, self.now + min(lease.remaining / 1_000, LONGEST))

    def runs(self, node: str) -> bool:
        return self.held[node][1] > self.now

    def displacer(self, node: str) -> str | None:
        mine = self.held[node][0]
        rivals = [
            (lease.born, lease.node)
            for lease, _ in self.held.values()
            if lease.name == mine.name is not None and self.runs(lease.node)
        ]
        return max(rivals)[1] if rivals and max(rivals) > (mine.born, mine.node) else None

    def settle(self) -> set[tuple[str, bool, str | None]]:
        believed = {node for node in self.held if self.runs(node) and not self.displacer(node)}
        turns: set[tuple[str, bool, str | None]]
        turns = {(node, True, None) for node in believed - self.believed}
        turns |= {(node, False, self.displacer(node)) for node in self.believed - believed}
        self.believed = believed
        return turns

    def forget(self, horizon: int) -> None:
        self.horizon = max(self.horizon, horizon)
        for node, (lease, _) in list(self.held.items()):
            if lease.time <= horizon and not self.runs(node) and node not in self.believed:
                del self.held[node]

    def next_deadline(self) -> float:
        ahead = [end for node, (_, end) in self.held.items() if node != SELF and end > self.now]
        return min(ahead, default=math.inf)


leases = st.builds(
    Lease,
    node=st.sampled_from([A, B, C, SELF]),
    time=st.integers(1, 12),
    # Some end together, some are longer than allowed, some say goodbye.
    remaining=st.sampled_from([0, 1_000, 2_000, 5_000, 30_000]),
    born=st.integers(0, 2),
    name=st.sampled_from([None, "db", "web"]),
    patience=st.sampled_from([0, 500, 4_000]),
)
steps = st.one_of(
    st.tuples(st.just("grant"), leases),
    st.tuples(st.just("pass"), st.sampled_from([0.5, 1.0, 3.0, 25.0])),
    st.tuples(st.just("relay"), st.sampled_from([A, B, C, SELF])),
    st.tuples(st.just("forget"), st.integers(0, 12)),
    st.tuples(st.just("settle")),
)


@given(st.lists(steps, max_size=40), st.sampled_from([None, "db"]))
def test_the_table_agrees_with_a_naive_one(history: list[Any], name: str | None) -> None:
    """Turns, who is believed, who by, what is left and the next deadline are the naive answers.

    What a relay would pass on is granted back at once, which must change nothing.
    """
    naive = Naive()
    table = LeaseTable(lambda: naive.now, longest=LONGEST)
    own = Lease(SELF, 0, 0, 1, name)
    table.hold_for_ever(own)
    naive.held[SELF] = (own, math.inf)
    for step in [*history, ("settle",), ("pass", 100.0), ("settle",)]:
        match step:
            case "grant", lease:
                table.grant(lease)
                naive.grant(lease)
            case "pass", seconds:
                naive.now += seconds
            case "relay", node:
                left = table.remaining(node)
                held = None if node == SELF else naive.held.get(node)
                assert (left is None) == (held is None)
                if left is not None and held is not None:
                    ms = max(0, int((held[1] - naive.now) * 1_000))
                    # What is longer than allowed has waited for as long as it is cut.
                    rest = max(0, held[0].patience - (held[0].remaining - ms))
                    assert left == held[0]._replace(remaining=ms, patience=rest)
                    table.grant(left)
            case "forget", horizon:
                # What was not judged yet stays until the next time, so judge first.
                assert {attrs.astuple(turn) for turn in table.settle()} == naive.settle()
                table.forget(horizon)
                naive.forget(horizon)
            case _:
                turns = [attrs.astuple(turn) for turn in table.settle()]
                assert len(turns) == len({node for node, _, _ in turns})
                assert set(turns) == naive.settle()
                # Until the next deadline nothing turns by itself.
                assert table.next_deadline() == naive.next_deadline()
                assert table.settle() == []
        assert set(table.believed) == naive.believed
        assert all(table.believes(node) == (node in naive.believed) for node in (A, B, C, SELF))
        assert len(table._deadlines) <= 2 * len(naive.held)
    assert naive.believed == {SELF}
