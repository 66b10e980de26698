"""Whole clusters, simulated: everything that can go wrong, in every order that is drawn.

`RegistryCluster` holds the invariants that must hold whatever happens. What holds only where less
goes wrong is a test of its own here, with the faults that it allows.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from manifest import Limits
from manifest.testing import (
    Block,
    Cluster,
    Conditions,
    Crash,
    Cut,
    Do,
    Faults,
    Flow,
    Heal,
    Isolate,
    Node,
    Pause,
    Plan,
    Restart,
    Resume,
    Stall,
    Step,
    plans,
)
from manifest.testing.execution import execute
from manifest.testing.trace import Trace

from .cluster import (
    HEALED_WITHIN,
    HEARTBEAT,
    LEASE,
    LIFETIME,
    OPERATIONS,
    RETENTION,
    Member,
    Operation,
    RegistryCluster,
    healing,
    run_plan,
)

ROOT = Path(__file__).parents[2]
EVERYTHING = Faults(clock_offset=2.0, clock_drift=0.001)
LEASED = OPERATIONS.filter(lambda operation: operation.kind not in ("keep", "unkeep"))
PAUSES = (0.0, 0.01, 0.2, 1.0, 3.0, 25.0)
"""The last one is longer than the retention."""
LINKED = Step(1.0, Do(0, Operation("look")))
"""After this all links have been made."""


def times(count: int) -> settings:
    """Return settings for so many plans in the profile `ci`, and in proportion in others."""
    return settings(max_examples=settings().max_examples * count // 100)


def small() -> RegistryCluster:
    """Return a cluster with the smallest frames that there are, so that deltas go in parts."""
    return RegistryCluster(limits=Limits(record_bytes=256, frame_bytes=1024))


@given(plans(OPERATIONS, nodes=(2, 4), max_steps=24, faults=EVERYTHING))
@times(350)
def test_clusters_converge(plan: Plan) -> None:
    """Whatever goes wrong, the invariants hold at every step, and all agree in the end."""
    run_plan(RegistryCluster, plan)


@given(plans(OPERATIONS, nodes=(10, 25), max_steps=8, faults=EVERYTHING, pauses=(0.2, 0.0, 1.0)))
@times(20)
def test_large_clusters_converge(plan: Plan) -> None:
    """The same with up to 25 nodes, of which a plan disturbs a few."""
    run_plan(RegistryCluster, plan)


@given(plans(OPERATIONS, nodes=(2, 2), max_steps=8, faults=EVERYTHING, pauses=(0.0, 0.01, 0.2)))
@times(2200)
def test_pairs_converge(plan: Plan) -> None:
    """The same with two nodes and little time, for as many schedules as there is time for."""
    run_plan(RegistryCluster, plan)


@given(plans(OPERATIONS, nodes=(2, 3), max_steps=20, faults=EVERYTHING, pauses=PAUSES))
@times(80)
def test_clusters_outlive_the_retention(plan: Plan) -> None:
    """The same where tombstones are collected and records renewed again and again."""
    run_plan(RegistryCluster, plan)


CROWD = st.builds(
    Operation, st.sampled_from(("register", "register", "crowd", "free")), st.integers(0, 5)
)


@given(
    plans(CROWD, nodes=(2, 3), max_steps=16, faults=Faults(cuts=True, stalls=True, pauses=False))
)
@times(250)
def test_parts_are_cut_anywhere(plan: Plan) -> None:
    """The same where a join takes many frames, and streams break in between."""
    run_plan(small, plan)


class Watchful(RegistryCluster):
    """A cluster in which the dead are gone in time, whoever relays and whoever joins late."""

    def check(self, cluster: Cluster[Member]) -> None:
        """Hold everybody to the leases, too."""
        super().check(cluster)
        now = trio.current_time()
        for member in cluster.states:
            for service in member.manifest.services().values():
                died = self.died.get(service.owner, now)
                assert now <= died + LEASE + 0.5, (
                    f"{member.manifest.id} shows {service} {now - died} s after its owner's end"
                )


@st.composite
def deaths(draw: st.DrawFn, nodes: int) -> tuple[Step, ...]:
    """One node dies, and another that was down joins while its lease still runs."""
    dies, joins = draw(st.permutations(range(nodes)))[:2]
    return (
        Step(0.0, Do(dies, Operation("register"))),
        Step(draw(st.sampled_from([0.2, 1.0])), Crash(joins)),
        Step(1.0, Crash(dies, silently=draw(st.booleans()))),
        Step(draw(st.sampled_from([0.1, 1.0, 2.0, 2.9])), Restart(joins)),
    )


@given(
    plans(
        LEASED,
        nodes=(3, 5),
        max_steps=10,
        faults=Faults(partitions=False, stalls=False, pauses=False),
        conditions=[Conditions(), Conditions(latency=(0.0, 0.05))],
    ),
    st.data(),
)
@times(70)
def test_the_dead_are_gone_in_time(plan: Plan, data: st.DataObject) -> None:
    """A dead owner's services vanish within its lease, relays and late joiners or not."""
    watch = [Step(LEASE / 6, Do(0, Operation("look"))) for _ in range(8)]
    steps = (*plan.steps, *data.draw(deaths(plan.nodes)), *watch)
    run_plan(Watchful, attrs.evolve(plan, steps=steps))


def longest_interruption(nodes: int, phase: float | None) -> float:
    """Return for how long a chain may be interrupted before too many heartbeats are lost.

    All heartbeats are sent together; `phase` is how long ago that was, or None where it may be
    anything. One that has arrived is good for a lease. One that was on its way is lost, and the one
    before it is good for a heartbeat interval less: on its way it is for a moment, or for as long
    as a relay may hold it back.
    """
    # In milliseconds four fifths of a patience of 750, and some.
    under_way = 0.05 if nodes == 2 else 0.65
    if phase is None:
        return LIFETIME - under_way
    return (LIFETIME if phase <= under_way else LEASE) - phase


@st.composite
def interruptions(draw: st.DrawFn, nodes: int, begin: float, longest: float) -> tuple[Step, ...]:
    """Something goes wrong, so that fewer heartbeats are lost than the lifetime allows."""
    ways = [(0, 1), (1, 0), (1, 2), (2, 1)][: 2 * nodes - 2]
    one, other = draw(st.sampled_from(ways))
    wrong, right = draw(
        st.sampled_from(
            [
                (Isolate(one), Heal()),
                (Stall(one, other), Flow(one, other)),
                (Pause(one), Resume(one)),
                (Cut(one, other, after=draw(st.integers(0, 60))), Heal()),
            ]
        )
    )
    return (
        Step(begin, Do(draw(st.integers(0, nodes - 1)), draw(OPERATIONS))),
        Step(0.0, wrong),
        Step(draw(st.sampled_from([0.01, 0.5, 0.95])) * longest, right),
        Step(2 * LEASE, Do(0, Operation("look"))),
    )


@st.composite
def interrupted(draw: st.DrawFn) -> Plan:
    """A chain that is interrupted: first by the phase of the heartbeats, then at any."""
    nodes = draw(st.integers(2, 3))
    begins = draw(st.lists(st.integers(0, 200).map(lambda each: each / 100), max_size=4))
    chunks = [
        draw(interruptions(nodes, begin, longest_interruption(nodes, None if later else begin % 1)))
        for later, begin in enumerate(begins or [0.0])
    ]
    # At a whole second: that is when all of them send heartbeats.
    first = Step(1.0, Do(1, Operation("register")))
    steps = (first, *(step for each in chunks for step in each))
    return Plan(nodes, steps, draw(st.integers(0, 2**32 - 1)))


class Steady(RegistryCluster):
    """A cluster in which nothing ever expires."""

    def check(self, cluster: Cluster[Member]) -> None:
        """Hold everybody to not having seen anything expire."""
        super().check(cluster)
        for member in cluster.states:
            assert not member.expired, f"{member.manifest.id} saw {member.expired} expire"


@given(interrupted())
@times(60)
def test_nothing_flaps(plan: Plan) -> None:
    """Where fewer heartbeats are lost than the lifetime allows, nothing expires, anywhere.

    Between neighbours an interruption may last for as long as the lifetime. Of what a relay tells
    it is shorter by as long as relays may hold a heartbeat back, for one more may be lost.
    """
    run_plan(Steady, plan)


@st.composite
def detours(draw: st.DrawFn) -> Plan:
    """A cluster with cycles, of which one link carries nothing for long, once all is settled."""
    nodes = draw(st.integers(3, 5))
    one = draw(st.integers(0, nodes - 1))
    other = (one + 1) % nodes
    ways = draw(st.sampled_from([[(one, other)], [(other, one)], [(one, other), (other, one)]]))
    blocks = [Step(0.0, Block(*way)) for way in ways]
    return Plan(
        nodes,
        (
            *(Step(0.1, Do(node, Operation("register"))) for node in range(nodes)),
            Step(2 * LEASE, Do(0, Operation("look"))),
            Step(draw(st.integers(0, 100)) / 100, Do(0, Operation("look"))),
            *blocks,
            *(Step(0.5, Do(0, Operation("look"))) for _ in range(12)),
        ),
        draw(st.integers(0, 2**32 - 1)),
        draw(st.sampled_from(["ring", "mesh"])),
    )


@given(st.integers(0, 2**32 - 1), st.sampled_from(["chain", "ring", "mesh"]))
@times(10)
def test_heartbeats_arrive_while_they_help(seed: int, topology: str) -> None:
    """However far they come, relays hold them back for no longer than their owner can spare."""
    looks = (Step(0.5, Do(0, Operation("look"))) for _ in range(20))
    run_plan(Steady, Plan(8, (*looks,), seed, topology))


class Spared(Steady):
    """A cluster whose links carry, once all is settled, little more than that their ends live."""

    bytes_before: int | None = None

    def check(self, cluster: Cluster[Member]) -> None:
        """Hold ten heartbeats to a hundred bytes each, on each link and way."""
        super().check(cluster)
        carried = sum(cluster.network.transmitted.values())
        if self.bytes_before is None and trio.current_time() >= 6 * LEASE:
            self.bytes_before = carried
        elif self.bytes_before is not None and len(cluster.up) > 1:
            ways = len(cluster.network.ends)
            seconds = trio.current_time() - 6 * LEASE
            assert carried - self.bytes_before <= (seconds / HEARTBEAT + 1) * ways * 100


@given(st.integers(0, 2**32 - 1), st.integers(3, 6))
@times(10)
def test_a_mesh_carries_each_heartbeat_once(seed: int, nodes: int) -> None:
    """What arrives by one link is spared the others, however many ways there are."""
    looks = (Step(1.0, Do(0, Operation("look"))) for _ in range(30))
    # Long enough for nothing to be renewed.
    run_plan(lambda: Spared(retention=600.0), Plan(nodes, (*looks,), seed, "mesh"))


@given(detours())
@times(30)
def test_one_way_is_enough(plan: Plan) -> None:
    """Heartbeats that a link was spared come by it again where those by another stay away."""
    run_plan(Steady, plan)


class Immediate(RegistryCluster):
    """A cluster in which a registration is seen everywhere a moment later, without heartbeats."""

    def __init__(self) -> None:
        super().__init__(heartbeat_interval=5.0, registration_lifetime=5.0, retention=600.0)
        self.written_at = 0.0

    def do(self, node: Node[Member], operation: Operation) -> None:
        """Take note of when it was."""
        super().do(node, operation)
        if operation.kind == "register":
            self.written_at = trio.current_time()

    def check(self, cluster: Cluster[Member]) -> None:
        """Hold everybody to what everybody has registered."""
        super().check(cluster)
        held = {id for member in cluster.states for id in member.held}
        if trio.current_time() >= self.written_at + 0.2:
            for member in cluster.states:
                missing = held - member.manifest.services().keys()
                assert not missing, f"{member.manifest.id} has yet to hear of {missing}"


@st.composite
def losses(draw: st.DrawFn) -> Plan:
    """A cluster with cycles that loses a node, once all is settled, and writes go on."""
    nodes = draw(st.integers(4, 6))
    lost = draw(st.integers(0, nodes - 1))
    writers = st.integers(0, nodes - 1).filter(lambda node: node != lost)
    return Plan(
        nodes,
        (
            *(Step(0.1, Do(node, Operation("register"))) for node in range(nodes)),
            *(Step(5.0, Do(draw(writers), Operation("register"))) for _ in range(4)),
            Step(draw(st.integers(0, 50)) / 10, Do(draw(writers), Operation("look"))),
            Step(0.0, Crash(lost)),
            *(
                step
                for _ in range(4)
                for step in (
                    Step(0.3, Do(draw(writers), Operation("register"))),
                    Step(0.25, Do(draw(writers), Operation("look"))),
                )
            ),
        ),
        draw(st.integers(0, 2**32 - 1)),
        draw(st.sampled_from(["ring", "mesh"])),
    )


@given(losses())
@times(30)
def test_writes_wait_for_no_heartbeat(plan: Plan) -> None:
    """Whoever a writer reaches hears of it at once, also where a way has just been lost."""
    run_plan(Immediate, plan)


class Lasting(RegistryCluster):
    """A cluster in which the last to take a name has it, for as long as it lives."""

    def check_converged(self, cluster: Cluster[Member]) -> None:
        """Hold them to the last taker of each name."""
        super().check_converged(cluster)
        shown = cluster.states[0].manifest.services()
        for id, taker in self.takers.items():
            assert shown[id].owner == taker, f"{id} went back to its old holder"


class Undisputed(Lasting):
    """A cluster in which who took a name has it, at every moment: nobody is kept from knowing."""

    def check(self, cluster: Cluster[Member]) -> None:
        """Hold everybody to the last taker, once all have had the time to hear of it."""
        super().check(cluster)
        if trio.current_time() < self.taken_at + 0.5:
            return
        for member in cluster.states:
            shown = member.manifest.services()
            for id, taker in self.takers.items():
                assert shown[id].owner == taker, f"{id} went back to its old holder"


class Forgiving(Lasting):
    """A cluster of which only the first node is ever paused, and nothing else goes wrong."""

    def check(self, cluster: Cluster[Member]) -> None:
        """Hold the first node to its credit: all others were alive, however long it slept."""
        super().check(cluster)
        first = cluster.nodes[0].state
        assert first is None or not first.expired, f"it saw {first.expired} expire"


@st.composite
def naps(draw: st.DrawFn, lengths: Sequence[float]) -> tuple[Step, ...]:
    """The first node sleeps, while others go on."""
    within = st.builds(
        Do, st.integers(1, 2), st.builds(Operation, st.sampled_from(["take", "register", "free"]))
    )
    return (
        Step(0.3, Do(0, Operation(draw(st.sampled_from(["take", "register"]))))),
        Step(draw(st.sampled_from([0.01, 0.3])), Pause(0)),
        *(Step(0.3, each) for each in draw(st.lists(within, max_size=3))),
        Step(draw(st.sampled_from(lengths)), Resume(0)),
        Step(draw(st.sampled_from([0.3, 5.0])), Do(1, Operation("look"))),
    )


@given(st.lists(naps((0.01, 2.0, 8.0, 15.0)), min_size=1, max_size=3), st.integers(0, 2**32 - 1))
@times(50)
def test_sleep_is_credited(chunks: list[tuple[Step, ...]], seed: int) -> None:
    """A node that slept takes nobody for dead, and takes nothing back that others took over.

    In a mesh, so that its sleep parts nobody from anybody else.
    """
    run_plan(Forgiving, Plan(3, [step for each in chunks for step in each], seed, "mesh"))


@given(
    plans(
        OPERATIONS,
        nodes=(2, 3),
        max_steps=16,
        faults=attrs.evolve(Faults.none(), clock_offset=86_400.0),
    )
)
@times(40)
def test_clocks_that_step_change_nothing(plan: Plan) -> None:
    """Wall clocks that step by up to a day while everything runs expire nothing."""
    after = [Step(LEASE, Do(0, Operation("look"))), Step(LEASE, Do(1, Operation("look")))]
    run_plan(Steady, attrs.evolve(plan, steps=(LINKED, *plan.steps, *after), offsets=()))


TAKEOVERS = st.builds(Operation, st.sampled_from(("take", "take", "drop")))


@given(
    plans(
        TAKEOVERS,
        nodes=(2, 4),
        max_steps=12,
        faults=attrs.evolve(Faults.none(), clock_offset=2.0),
        pauses=(0.3, 1.0),
    )
)
@times(50)
def test_the_last_to_take_a_name_has_it(plan: Plan) -> None:
    """However far clocks are apart, who takes a name over has it, and no renewal takes it back."""
    renewing = [Step(1.0, Do(0, Operation("look"))) for _ in range(int(0.8 * RETENTION))]
    run_plan(Undisputed, attrs.evolve(plan, steps=(LINKED, *plan.steps, *renewing)))


class Prompt(RegistryCluster):
    """A cluster in which whoever leaves takes its services along, a moment later."""

    def check(self, cluster: Cluster[Member]) -> None:
        """Hold everybody to showing nothing of whoever left a moment ago."""
        super().check(cluster)
        now = trio.current_time()
        for member in cluster.states:
            for service in member.manifest.services().values():
                left = self.died.get(service.owner, now)
                assert now <= left + 0.2 or service.persistent, f"{service} was left behind"


@given(
    plans(
        OPERATIONS,
        nodes=(2, 3),
        max_steps=16,
        faults=attrs.evolve(Faults.none(), leaves=True),
        pauses=(0.5, 1.0),
        topologies=["mesh"],
    )
)
@times(50)
def test_leaving_is_seen_at_once(plan: Plan) -> None:
    """What a manifest registered goes with it at once, where nothing is in the way."""
    run_plan(Prompt, attrs.evolve(plan, steps=(LINKED, *plan.steps)))


@given(st.lists(naps((25.0,)), min_size=1, max_size=2), st.integers(0, 2**32 - 1))
@times(20)
def test_who_sleeps_through_the_retention_shows_no_gap(
    chunks: list[tuple[Step, ...]], seed: int
) -> None:
    """What a join collects of a sleeper's own records is renewed in the same step."""
    run_plan(RegistryCluster, Plan(3, [step for each in chunks for step in each], seed, "mesh"))


class Tidy(RegistryCluster):
    """A cluster in which, once it has been quiet for the retention, nothing is left of the dead."""

    def check_converged(self, cluster: Cluster[Member]) -> None:
        """Hold every map to what is alive."""
        super().check_converged(cluster)
        for group in cluster.groups:
            alive = {node.state.manifest.id for node in group if node.state}
            for member in (node.state for node in group if node.state):
                entries = member.manifest._hub.replica.map
                assert entries.tombstones == 0, f"{entries.tombstones} tombstones are left"
                assert set(entries.context) <= alive, "contexts of the dead are left"
                assert len(entries) == len(member.manifest.services()), "entries of the dead"


@given(plans(LEASED, nodes=(2, 3), max_steps=16, faults=EVERYTHING))
@times(40)
def test_nothing_is_left_of_the_dead(plan: Plan) -> None:
    """Every tombstone, and every trace of a node that is gone, goes in the end."""
    quiet = (Step(0.0, Heal()), Step(1.3 * RETENTION, Do(0, Operation("look"))))
    run_plan(Tidy, attrs.evolve(plan, steps=(*plan.steps, *quiet)))


SHORT = 2 * LEASE
"""The shortest retention that there may be."""
OWN = OPERATIONS.filter(
    lambda operation: operation.kind in ("register", "update", "free", "again", "steal")
)


class Complete(RegistryCluster):
    """A cluster whose nodes are all connected, and of which everybody shows all that there is."""

    def __init__(self) -> None:
        super().__init__(retention=SHORT)
        self.changed: dict[str, float] = {}
        """When each id was last registered or freed."""

    def do(self, node: Node[Member], operation: Operation) -> None:
        """Take note of when it was."""
        assert node.state is not None
        before = {**node.state.held}
        super().do(node, operation)
        held = node.state.held
        for id in {**before, **held}:
            if before.get(id) is not held.get(id):
                self.changed[id] = trio.current_time()

    def check(self, cluster: Cluster[Member]) -> None:
        """Hold everybody to what everybody holds, once they have had the time to hear of it."""
        super().check(cluster)
        held = {id: each for member in cluster.states for id, each in member.held.items()}
        settled = [id for id, time in self.changed.items() if trio.current_time() >= time + 0.5]
        for member in cluster.states:
            shown = member.manifest.services()
            for id in settled:
                assert (id in shown) == (id in held), f"{member.manifest.id} is wrong about {id}"
                assert id not in held or shown[id].data == held[id].data, f"{id} is out of date"


@given(
    plans(
        OWN,
        nodes=(2, 3),
        max_steps=16,
        faults=attrs.evolve(Faults.none(), clock_offset=0.5),
        pauses=(0.6, 0.2, 2.0),
    )
)
@times(12)
def test_nothing_is_lost_by_collection(plan: Plan) -> None:
    """What is live is shown by everybody all the time, however often the retention passes."""
    looks = [Step(0.5, Do(0, Operation("look"))) for _ in range(int(3 * SHORT / 0.5))]
    run_plan(Complete, attrs.evolve(plan, steps=(LINKED, *plan.steps, *looks)))


def final_views(plan: Plan, retention: float) -> dict[str, object]:
    """Return what each node shows at the end of a plan: ids, roles, ports and data."""
    ends: dict[str, object] = {}

    class Ending(RegistryCluster):
        def check_converged(self, cluster: Cluster[Member]) -> None:
            super().check_converged(cluster)
            for node in cluster.up:
                assert node.state is not None
                shown = node.state.manifest.services()
                ends[node.name] = {
                    id: (each.role, each.port, each.data) for id, each in shown.items()
                }

    run_plan(lambda: Ending(retention=retention), plan)
    return ends


# What is written where others do not hear of it, under a name that is shared, may come to other
# ends: who renews a name within its half of a cluster is its last writer.
UNCOLLECTED = st.one_of(
    plans(OPERATIONS, nodes=(2, 3), max_steps=12, faults=Faults.none(), pauses=(0.3, 1.0, 8.0)),
    plans(
        OWN,
        nodes=(2, 3),
        max_steps=12,
        faults=attrs.evolve(Faults(), leaves=False),
        pauses=(0.3, 1.0, 8.0),
        conditions=[Conditions()],
    ),
)


@given(UNCOLLECTED)
@times(12)
def test_collection_changes_no_view(plan: Plan) -> None:
    """A plan ends in the same views whether or not anything is ever collected."""
    after = Step(1.5 * SHORT, Do(0, Operation("look")))
    plan = attrs.evolve(plan, steps=(LINKED, *plan.steps, after))
    assert final_views(plan, SHORT) == final_views(plan, 600.0)


class Thrifty(RegistryCluster):
    """A cluster without cycles, in which no entry comes twice or goes back."""

    def check(self, cluster: Cluster[Member]) -> None:
        """Hold every link to having brought nothing in vain."""
        super().check(cluster)
        for member in cluster.states:
            for link in member.manifest.links:
                assert link.traffic.entries_redundant == 0, f"{link} brought an entry in vain"


# Where two write one key at once, one of the two entries comes in vain.
@given(plans(OWN, nodes=(2, 4), max_steps=16, faults=Faults.none(), topologies=["chain", "star"]))
@times(80)
def test_no_entry_goes_back(plan: Plan) -> None:
    """Where nothing breaks and there are no cycles, every entry crosses every link once."""
    links = Step(2.0, Do(0, Operation("look")))
    run_plan(Thrifty, attrs.evolve(plan, steps=(links, *plan.steps)))


@given(st.integers(0, 2**32 - 1), st.sampled_from(["ring", "mesh", "dial 3"]))
@times(2)
def test_twenty_nodes_agree_soon_after_healing(seed: int, topology: str) -> None:
    """From healing to agreement no more passes than a heartbeat, or the longest redial."""
    report = run_plan(RegistryCluster, healing(seed, topology))
    assert report.converged <= HEALED_WITHIN


@given(plans(OPERATIONS, nodes=(2, 4), max_steps=16, faults=EVERYTHING))
@times(40)
def test_one_plan_makes_one_run(plan: Plan) -> None:
    """Byte for byte and event for event, a plan is the same run every time."""
    assert run_plan(RegistryCluster, plan) == run_plan(RegistryCluster, plan)


def test_a_trace_has_what_a_registry_tells() -> None:
    """Two runs that differ in an event, or in who is told of it, have different digests."""
    register = Step(1.0, Do(0, Operation("register")))
    plan = Plan(2, (LINKED, register, Step(1.0, Do(1, Operation("look")))))
    trace = Trace()
    execute(RegistryCluster, plan, plan.steps, trace, within=60.0, max_steps=100_000)
    told = [each.what.partition(": ") for each in trace.record]
    for node in ("n0", "n1"):
        assert any(who == node and what.startswith("Registered") for who, _, what in told)


@pytest.mark.parametrize("hash_seed", ["0", "1234"])
def test_other_processes_make_the_same_runs(hash_seed: str) -> None:
    """Another process, with other hashes of strings, comes to the same digests."""
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.property.digests", "--seeds", "5"]
    said = subprocess.run(command, env=environment, capture_output=True, check=True, cwd=ROOT)
    from .digests import digest_of  # noqa: PLC0415 - the same module, in this process

    assert json.loads(said.stdout) == {str(seed): digest_of(seed) for seed in range(5)}
