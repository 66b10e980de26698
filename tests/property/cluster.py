"""The registry as an application of `manifest.testing`, with what must hold of any cluster of it.

The nodes run the real code. What every one of them writes is entered in a `Ledger` as it happens,
so that what a replica claims to have reflected can be held against what was really written.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import attrs
import trio
from hypothesis import strategies as st

from manifest import (
    Freed,
    FreeReason,
    LinkState,
    Manifest,
    NotOwner,
    Registered,
    Service,
    Timeouts,
    Updated,
    open_manifest,
    testing,
)
from manifest.codec import JSON
from manifest.crdt import Entry, Stamp, from_milliseconds
from manifest.records import Record, is_persistent, key_of, owner_of
from manifest.testing import (
    Application,
    Cluster,
    Crash,
    Do,
    Node,
    Plan,
    Report,
    Restart,
    Split,
    Step,
)
from tests.property.orders import ORDERS

__all__ = [
    "HEALED_WITHIN",
    "HEARTBEAT",
    "LEASE",
    "OPERATIONS",
    "RETENTION",
    "Ledger",
    "Member",
    "Operation",
    "RegistryCluster",
    "healing",
    "run_plan",
    "some_operation",
]

HEARTBEAT, LIFETIME, RETENTION = 1.0, 2.0, 20.0
"""In virtual seconds: short, so that everything that takes time happens within a short plan."""
LEASE = HEARTBEAT + LIFETIME
REDIAL = 1.0
"""The longest that a link waits before it dials again."""
HEALED_WITHIN = max(HEARTBEAT, REDIAL) + 0.1
"""In how many seconds all agree once nothing is in the way."""


@attrs.frozen
class Operation:
    """Something that an application does with its manifest."""

    kind: str
    which: int = 0


KINDS = ("register", "update", "free", "again", "take", "drop", "keep", "unkeep", "steal")
OPERATIONS: st.SearchStrategy[Operation] = st.builds(
    Operation, st.sampled_from(KINDS), st.integers(0, 2)
)


def some_operation(draw: random.Random) -> Operation:
    """Return one operation, for simulations that go on for long."""
    return Operation(draw.choice(KINDS), draw.randint(0, 2))


def run_plan(application: Callable[[], RegistryCluster], plan: Plan) -> Report:
    """Run a plan, and count it where it holds."""
    report = testing.run_plan(application, plan)
    ORDERS.append(report.schedule)
    return report


def healing(seed: int, topology: str) -> Plan:
    """Return a plan by which 20 nodes are split for long, write on both sides, and heal."""
    half = tuple(range(10))
    steps = [
        Step(3.0, Split(half)),
        *(Step(0.1, Do(node, Operation("register"))) for node in range(20)),
        *(Step(0.1, Do(node, Operation("take"))) for node in range(0, 20, 3)),
        Step(12.0, Crash(3)),
        Step(1.0, Do(4, Operation("free"))),
        Step(1.0, Restart(3)),
        Step(2.0, Do(5, Operation("look"))),
    ]
    return Plan(20, steps, seed, topology)


@attrs.define
class Ledger:
    """Every write that was ever made in a run, by whom, and whether it was asked for."""

    writes: dict[tuple[Stamp, str], Entry[str, Record]] = attrs.field(factory=dict)
    """By stamp and key, for what is renewed at once bears one stamp."""
    asked: dict[tuple[str, str], None] = attrs.field(factory=dict)
    """By which node, and under which key, something was freed on purpose."""
    leaving: dict[str, None] = attrs.field(factory=dict)
    """Nodes that free all that they have."""
    complaints: list[str] = attrs.field(factory=list)
    latest: dict[str, int] = attrs.field(factory=dict)
    """The time of each node's last write."""
    made: dict[tuple[str, JSON], Stamp] = attrs.field(factory=dict)
    """When an application registered what, by id and number. A renewal is no such write."""
    tombstones: dict[str, list[Stamp]] = attrs.field(factory=dict)
    """When each key was freed."""

    def enter(self, node: str, entry: Entry[str, Record]) -> None:
        """Take note that an entry now stands in a node's map."""
        known = self.writes.get((entry.stamp, entry.key))
        if known is not None:
            if known != entry:
                self.complaints.append(f"two writes under one stamp: {known} and {entry}")
            return
        self.writes[entry.stamp, entry.key] = entry
        if entry.stamp.node != node:
            self.complaints.append(f"{node} holds {entry}, which its writer never wrote")
            return
        # What is renewed at once bears one stamp; the map sees to it that nothing else does.
        if entry.stamp.time < self.latest.get(node, 0):
            self.complaints.append(f"the stamps of {node} go back: {entry}")
        self.latest[node] = entry.stamp.time
        if not entry.is_tombstone:
            return
        self.tombstones.setdefault(entry.key, []).append(entry.stamp)
        if (node, entry.key) not in self.asked and node not in self.leaving:
            self.complaints.append(f"{node} wrote a tombstone that nobody asked for: {entry}")

    def honest(self, manifest: Manifest) -> Iterator[str]:
        """Yield which writes a manifest claims to have reflected and has not."""
        entries, context = manifest._hub.replica.map, manifest._hub.replica.map.context
        for (stamp, _), write in self.writes.items():
            if stamp.time > context.get(stamp.node, 0):
                continue
            held = entries.entry(write.key)
            if held is not None and held.stamp >= stamp:
                continue
            if is_persistent(write.key) or stamp.time > entries.horizon:
                yield f"{manifest.id} claims {write}, and holds {held}"


@attrs.define(eq=False)
class Member:
    """One manifest in a cluster, and what is known about it from outside."""

    manifest: Manifest
    node: Node[Any]
    ledger: Ledger
    held: dict[str, Service] = attrs.field(factory=dict)
    """What it registered last under each id of its own that it has not freed."""
    given_up: dict[str, None] = attrs.field(factory=dict)
    """The ids of its own that it has freed, and may register again."""
    shared: dict[str, dict[str, Any]] = attrs.field(factory=dict)
    """The data that it last registered under each shared id, until it freed that itself."""
    context: dict[str, int] = attrs.field(factory=dict)
    horizon: int = 0
    seen: dict[str, Service] = attrs.field(factory=dict)
    """A view that is kept from a snapshot and events."""
    buried: dict[str, Stamp] = attrs.field(factory=dict)
    """Ids that it has seen freed, and when they were: what is shown of them next is later."""
    complaints: list[str] = attrs.field(factory=list)
    expired: list[Service] = attrs.field(factory=list)
    """What it has seen expire, in order."""

    async def follow(self, task_status: trio.TaskStatus[None]) -> None:
        """Keep a view from events, and compare it with the registry whenever it has caught up."""
        async with self.manifest.events() as events:
            self.seen = dict(events.snapshot)
            task_status.started()
            async for event in events:
                self.node.note(f"{event}")
                match event:
                    case Registered(service):
                        if service.id in self.seen:
                            self.complaints.append(f"Registered twice in a row: {service}")
                        self._hold_to_its_grave(service)
                        self.seen[service.id] = service
                    case Updated(service, before):
                        if self.seen.get(service.id) != before:
                            self.complaints.append(f"Updated, but {before} was not there")
                        self.seen[service.id] = service
                    case Freed(service, reason):
                        if self.seen.pop(service.id, None) != service:
                            self.complaints.append(f"Freed, but it was not there: {service}")
                        held = self.held.get(service.id)
                        if held is not None and held.data == service.data:
                            self.complaints.append(f"Freed, though its owner holds it: {service}")
                        if reason is FreeReason.EXPIRED:
                            self.expired.append(service)
                        if reason is FreeReason.FREED:
                            self._bury(service, caught_up=not len(events))
                    case _:
                        pass
                if not len(events) and self.seen != self.manifest.services():
                    self.complaints.append(
                        f"snapshot and events make {self.seen}, services() are "
                        f"{self.manifest.services()}"
                    )

    def _bury(self, service: Service, *, caught_up: bool) -> None:
        """Take note of when something was freed that was seen to be."""
        key = key_of(service.id, persistent=service.persistent)
        later = [
            each for each in self.ledger.tombstones.get(key, ()) if each > service._entry.stamp
        ]
        if not later:
            self.complaints.append(f"Freed, which nobody did: {service}")
            return
        # It was the first of these at the earliest; and where no event waits, the one that is held.
        held = self.manifest._hub.replica.map.entry(key)
        exact = caught_up and held is not None and held.is_tombstone
        self.buried[service.id] = held.stamp if held is not None and exact else min(later)

    def _hold_to_its_grave(self, service: Service) -> None:
        """Complain of what was seen freed, and was not registered anew since by its owner.

        Shared names are left out: they pass from one owner to another, and back.
        """
        freed = self.buried.pop(service.id, None)
        if freed is None or not (service.persistent or owner_of(service.id)):
            return
        made = self.ledger.made.get((service.id, service.data["number"]))
        if made is None or made <= freed:
            self.complaints.append(f"{service} was seen freed and came back")


class RegistryCluster(Application[Member]):
    """Manifests that listen, dial, register, free, take over; and the invariants of all that."""

    def __init__(self, **options: Any) -> None:
        self.options = {
            "heartbeat_interval": HEARTBEAT,
            "registration_lifetime": LIFETIME,
            "retention": RETENTION,
            # A Hello that is under way for longer than clocks may be apart would be refused.
            "timeouts": Timeouts(handshake=2.0, dial=1.0, refused=2.0),
            **options,
        }
        self.ledger = Ledger()
        self.numbers = 0
        self.freed: dict[str, None] = {}
        """Ids that their owner freed: nobody is to see them when all agree."""
        self.takers: dict[str, str] = {}
        """Who was the last to take each shared id."""
        self.taken_at = 0.0
        """When somebody last took one."""
        self.died: dict[str, float] = {}
        """When manifests ended, in virtual seconds."""

    async def run(self, node: Node[Member]) -> None:
        """Run one manifest. Every other node has a name that survives its restarts."""
        name = node.name if node.index % 2 else None
        async with (
            open_manifest(environment=node.environment(), name=name, **self.options) as manifest,
            trio.open_nursery() as nursery,
        ):
            member = Member(manifest, node, self.ledger)
            self._observe(manifest)
            await nursery.start(member.follow)
            await manifest.listen(3100)
            for peer in node.peers:
                manifest.connect(3100, peer)
            node.state = member
            try:
                await node.leaving.wait()
                self.ledger.leaving[manifest.id] = None
                # Everybody else may take what persists; what is its own it frees as it closes.
                self.freed |= dict.fromkeys(member.held)
            finally:
                self.ledger.leaving[manifest.id] = None
                self.died[manifest.id] = trio.current_time()
            nursery.cancel_scope.cancel()

    def _observe(self, manifest: Manifest) -> None:
        refresh = manifest._hub.replica.view.refresh

        def observed(
            key: str, before: Entry[str, Record] | None, after: Entry[str, Record] | None
        ) -> None:
            if after is not None:
                self.ledger.enter(manifest.id, after)
            refresh(key, before, after)

        manifest._hub.replica.view.refresh = observed  # type: ignore[method-assign]

    def do(self, node: Node[Member], operation: Operation) -> None:
        """Carry out an operation."""
        member = node.state
        assert member is not None
        manifest, which = member.manifest, operation.which
        self.numbers += 1
        data = {"number": self.numbers}
        match operation.kind:
            case "register" | "update" | "crowd" | "free" | "again":
                self._write_own(member, operation, data)
            case "take":
                member.shared[f"shared-{which}"] = data
                manifest.register("db@2.0.0", data, id=f"shared-{which}")
                self.takers[f"shared-{which}"] = manifest.id
                self.taken_at = trio.current_time()
                if manifest.get({"id": f"shared-{which}"})[f"shared-{which}"].data != data:
                    self.ledger.complaints.append(f"{manifest.id} took shared-{which} in vain")
            case "drop":
                if member.shared.pop(f"shared-{which}", None):
                    with suppress(NotOwner):
                        self._free(manifest, f"shared-{which}")
                        self.takers.pop(f"shared-{which}", None)
            case "keep":
                kept = manifest.register("disk", data, id=f"kept-{which}", persistent=True)
                self.ledger.made[kept.id, self.numbers] = kept._entry.stamp
            case "unkeep":
                self._free(manifest, f"kept-{which}")
            case "steal":
                self._steal(manifest, which)
            case _:
                pass

    def _write_own(self, member: Member, operation: Operation, data: dict[str, Any]) -> None:
        """Register, change or free what is a manifest's own.

        Where nothing is there to be registered again, something is freed for the next time, and
        registered where nothing is held: few plans would come to it otherwise.
        """
        manifest, which, kind = member.manifest, operation.which, operation.kind
        if kind == "again" and not member.given_up:
            kind = "free" if member.held else "register"
        if kind == "update" and not member.held:
            kind = "register"
        match kind:
            case "register":
                self._register(member, f"web@1.{which}.0", data, port=80 + which)
            case "update":
                id = [*member.held][which % len(member.held)]
                self._register(member, f"web@2.{which}.0", data, port=80 + which, id=id)
            case "crowd":
                for number in range(12):
                    filler = "x" * (number * (7 + which) % 120)
                    self._register(member, "web@1.0.0", {**data, "filler": filler})
            case "free" if member.held:
                id = [*member.held][which % len(member.held)]
                del member.held[id]
                self._free(manifest, id)
                self.freed[id] = member.given_up[id] = None
            case "again":
                id = [*member.given_up][which % len(member.given_up)]
                del member.given_up[id], self.freed[id]
                self._register(member, f"web@3.{which}.0", data, id=id)
            case _:
                pass

    def _register(self, member: Member, role: str, data: dict[str, Any], **options: Any) -> None:
        """Register something under an id of the manifest's own."""
        service = member.manifest.register(role, data, **options)
        member.held[service.id] = service
        self.ledger.made[service.id, self.numbers] = service._entry.stamp

    def _free(self, manifest: Manifest, id: str) -> None:
        for persistent in (False, True):
            self.ledger.asked[manifest.id, key_of(id, persistent=persistent)] = None
        manifest.free(id=id)

    def _steal(self, manifest: Manifest, which: int) -> None:
        theirs = [id for id in manifest.services() if owner_of(id) not in (None, manifest.id)]
        if not theirs:
            return
        id = theirs[which % len(theirs)]
        with suppress(NotOwner):
            manifest.free(id=id)
            self.ledger.complaints.append(f"{manifest.id} freed {id}, which is not its own")
        with suppress(NotOwner):
            manifest.register("evil", id=id)
            self.ledger.complaints.append(f"{manifest.id} changed {id}, which is not its own")

    # What must hold at every moment

    def check(self, cluster: Cluster[Member]) -> None:
        """Raise where an invariant is broken; see tests/property/test_clusters.py for the list."""
        complaints = [*self.ledger.complaints]
        for node in cluster.up:
            member = node.state
            if member is None:
                continue
            complaints += self._complaints(member)
            if not node.paused:
                shown = member.manifest.services()
                complaints += [
                    f"{node.name} does not show its own {id}"
                    for id in member.held
                    if id not in shown
                ]
        assert not complaints, "\n".join(complaints)

    def _complaints(self, member: Member) -> Iterator[str]:
        yield from member.complaints
        yield from self.ledger.honest(member.manifest)
        entries = member.manifest._hub.replica.map
        if entries.horizon < member.horizon:
            yield f"the horizon of {member.manifest.id} went back"
        member.horizon = entries.horizon
        context = dict(entries.context)
        for id, time in member.context.items():
            # What the horizon has passed is reflected without being named.
            if max(context.get(id, 0), entries.horizon) < time:
                yield f"the context of {member.manifest.id} for {id} went back"
        member.context = context

    # What must come to hold once nothing is in the way

    def check_converged(self, cluster: Cluster[Member]) -> None:
        """Raise where nodes that the topology connects do not agree, or agree on what is wrong."""
        for group in cluster.groups:
            members = [node.state for node in group if node.state is not None]
            assert len(members) == len(group), "a node is not ready"
            self._check_linked(group)
            self._check_agreed(members)
            self._check_right(members)

    def _check_linked(self, group: list[Node[Member]]) -> None:
        names = {node.name for node in group}
        for node in group:
            assert node.state is not None
            dialled = [link for link in node.state.manifest.links if link.dialled]
            for link in dialled:
                if link.status.address.partition(":")[0] in names:
                    assert link.status.state is LinkState.SYNCED, f"{node.name}: {link.status}"

    def _check_agreed(self, members: list[Member]) -> None:
        maps = [member.manifest._hub.replica.map for member in members]
        horizon = max(each.horizon for each in maps)
        first, *others = [
            {
                entry.key: entry
                for _, entry in each.journal()
                if entry.stamp.time > horizon or is_persistent(entry.key)
            }
            for each in maps
        ]
        for other in others:
            assert other == first, "entries differ"
        # Heartbeats are under way all the time: contexts agree but for a few of them.
        alive = {member.manifest.id for member in members}
        slack = from_milliseconds(int(3 * HEARTBEAT * 1000))
        contexts = [each.context for each in maps]
        for id in dict.fromkeys(id for context in contexts for id in context):
            times = [max(context.get(id, 0), horizon) for context in contexts]
            assert max(times) - min(times) <= (slack if id in alive else 0), "contexts differ"
        shown = [member.manifest.services() for member in members]
        assert all(each == shown[0] for each in shown), "views differ"

    def _check_right(self, members: list[Member]) -> None:
        """Compare what they agree on with what was done: nothing lost, nothing brought back."""
        shown = members[0].manifest.services()
        alive = {member.manifest.id for member in members}
        for member in members:
            for id, service in member.held.items():
                assert id in shown, f"{id} was lost"
                assert shown[id].data == service.data, f"{id} was changed"
        for id, service in shown.items():
            assert id not in self.freed, f"{id} was freed and came back"
            assert service.persistent or service.owner in alive, f"the owner of {id} is dead"
        for id in (f"shared-{number}" for number in range(3)):
            self._check_shared(id, shown, alive)

    def _check_shared(self, id: str, shown: dict[str, Service], alive: set[str]) -> None:
        """The last of those writers that are here has what it wrote, unless others came later."""
        last: dict[str, Entry[str, Record]] = {}
        for entry in self.ledger.writes.values():
            if entry.key == id:
                last[entry.stamp.node] = max(
                    entry, last.get(entry.stamp.node, entry), key=lambda each: each.stamp
                )
        if not last:
            return
        winner = max(last.values(), key=lambda each: each.stamp)
        if winner.stamp.node in alive and not winner.is_tombstone:
            assert id in shown, f"{id} was lost"
            assert shown[id].owner == winner.stamp.node, f"{id} is not its last writer's"
        elif winner.stamp.node in alive:
            assert id not in shown, f"{id} was freed and came back"
