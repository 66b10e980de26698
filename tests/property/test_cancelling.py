"""What must hold where a whole application is cancelled, at any step of any task.

Three nodes run a short plan. One of them is cancelled as soon as the simulation has taken so many
steps: while it opens, links, reads a frame or writes one, renews, or closes. What `RegistryCluster`
promises is asked of the others at every step, and of all once they have settled: contexts are
honest and go back nowhere, nothing that was freed comes back, nothing of who is there is lost.
"""

from __future__ import annotations

import math

import attrs
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from manifest import Limits
from manifest.testing import Cluster, Conditions, Do, Node, Plan, Restart, Step, run_plan
from tests.simulated import CancelAt

from .cluster import LEASE, Member, Operation, RegistryCluster

STEPS = 400
"""Up to where a node is cancelled: few plans take less."""
PROMPT = 0.5
"""Virtual seconds after the end of a node in which all others hear of it, by whichever way."""


class Cancelled(RegistryCluster):
    """A cluster with the smallest frames, whose node number `victim` is cancelled at a step."""

    def __init__(self, victim: int, step: int) -> None:
        super().__init__(limits=Limits(record_bytes=256, frame_bytes=1024))
        self.victim = victim
        self.step = step
        self.struck: dict[Member, float] = {}
        """The node that was cancelled or has left, if it was ready, and when it had ended."""

    async def run(self, node: Node[Member]) -> None:
        """Run one manifest, until it leaves or its step has come."""
        if node.index != self.victim or node.incarnation:
            await super().run(node)
            return
        cancel = CancelAt(self.step, node.scope)
        trio.lowlevel.add_instrument(cancel)
        try:
            await super().run(node)
        finally:
            trio.lowlevel.remove_instrument(cancel)
            if node.state is not None:
                self.struck[node.state] = trio.current_time()
                # Nobody is to see them when all agree.
                self.freed |= dict.fromkeys(node.state.held)

    def check(self, cluster: Cluster[Member]) -> None:
        """Hold the one that is gone to its promises, too, and the others to its last words."""
        super().check(cluster)
        for gone, ended in self.struck.items():
            complaints = [*self._complaints(gone)]
            assert not complaints, "\n".join(complaints)
            shown = gone.manifest.services()
            assert not gone.held.keys() & shown.keys(), "it left, and has not freed all it had"
            if trio.current_time() > ended + PROMPT:
                self._check_unseen(gone.manifest.id, cluster)

    def _check_unseen(self, gone: str, cluster: Cluster[Member]) -> None:
        for member in cluster.states:
            for id, service in member.manifest.services().items():
                assert service.owner != gone or service.persistent, f"{id} is still shown"


@st.composite
def lives(draw: st.DrawFn) -> Plan:
    """Three nodes that write, free and take over; the one that may be cancelled starts anew."""
    operations = st.builds(
        Operation,
        st.sampled_from(("register", "crowd", "free", "take", "drop", "keep")),
        st.integers(0, 2),
    )
    steps = st.builds(
        Step,
        st.sampled_from((0.0, 0.0, 0.01, 0.3)),
        st.builds(Do, st.integers(0, 2), operations),
    )
    return Plan(
        3,
        (
            Step(0.1, Do(1, Operation("crowd"))),
            *draw(st.lists(steps, min_size=3, max_size=8)),
            Step(1.0, Do(0, Operation("look"))),
        ),
        draw(st.integers(0, 2**32 - 1)),
        draw(st.sampled_from(["chain", "ring", "star"])),
        Conditions(
            latency=draw(st.sampled_from([(0.0, 0.0), (0.0, 0.05)])),
            capacity=draw(st.sampled_from([150, 4096, math.inf])),
        ),
    )


@given(lives(), st.integers(0, 2), st.integers(1, STEPS), st.booleans())
@settings(max_examples=settings().max_examples * 60 // 100)
def test_cancelling_at_any_step_breaks_no_promise(
    plan: Plan, victim: int, step: int, again: bool
) -> None:
    """Cancelled before any step, a node leaves the others honest, whole and of one mind."""
    last = (Step(0.1, Restart(victim)), Step(LEASE, Do(victim, Operation("register"))))
    plan = attrs.evolve(plan, steps=(*plan.steps, *(last if again else last[1:])))
    run_plan(lambda: Cancelled(victim, step), plan)
