"""Running plans: one plan, one application, one run that is always the same.

`run_plan` starts the nodes, takes the steps, mends everything at the end, and waits until the
application has converged. Where that fails, the exception carries the plan as a regression test;
and the plan is run once more, for a failure that cannot be repeated says more about the application
than about the failure.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import attrs
import trio

from .application import Application, Cluster, Node
from .arguments import check_count, check_number
from .network import SimulatedNetwork
from .pasting import Pasted
from .pausing import enter
from .plans import (
    Action,
    Block,
    Calm,
    Crash,
    Cut,
    Deafen,
    Do,
    Flow,
    Heal,
    Hear,
    Isolate,
    Leave,
    Pause,
    Plan,
    Restart,
    Resume,
    SetClock,
    SetDrift,
    Split,
    Stall,
    Step,
    Unblock,
    dials,
)
from .plans import __all__ as planned
from .scheduling import Schedule, run_scheduled
from .trace import Trace, first_difference

__all__ = ["NotDeterministic", "Report", "run_plan"]

WITHIN = 60.0
MAX_STEPS = 100_000
_LOOK = 0.05
"""Virtual seconds between two looks whether the application has converged."""


class NotDeterministic(AssertionError):
    """One plan made two different runs."""


@attrs.frozen
class Report:
    """What a run was like."""

    digest: str
    """SHA-256 of every byte, time and event: equal digests, equal runs."""
    schedule: int
    """Tells one order of tasks from another."""
    seconds: float
    """Virtual time from start to end."""
    steps: int
    """Steps that tasks took."""
    events: int
    """Events in the trace."""
    skipped: int
    """Actions that were passed over, because what they need was not so."""
    converged: float
    """Virtual seconds from the last mending until the application had converged."""


def run_plan(
    application: Callable[[], Application[Any]],
    plan: Plan,
    *,
    within: float = WITHIN,
    max_steps: int = MAX_STEPS,
) -> Report:
    """Run a plan, and return a report; or raise what the application raised.

    `application` makes a fresh application for each run. At the plan's end everything is mended:
    partitions heal, paused nodes resume, nodes that are down stay down. The application then has
    `within` virtual seconds to converge.

    The exception that comes out bears the plan as a note, to be pasted as a regression test. A plan
    that fails is run a second time: `NotDeterministic` where that run is not the same, with the
    first event that differs. `Livelock` where tasks take more than `max_steps` steps within a
    virtual millisecond.

    ValueError where `application` makes nothing, say because it is one already, and for any other
    argument that cannot be one.
    """
    check_makes_applications(application)
    check_budget(within, max_steps)
    if not isinstance(plan, Plan):
        raise ValueError(f"a plan is Plan(nodes, steps, ...), got {plan!r:.80}")

    def run(trace: Trace) -> Report:
        return execute(application, plan, plan.steps, trace, within=within, max_steps=max_steps)

    trace = Trace()
    try:
        return run(trace)
    except Exception as failure:
        again = Trace()
        run_again(run, again)
        if again.digest != trace.digest:
            one, other = first_difference(trace.record, again.record) or (None, None)
            raise not_deterministic("plan", one, other) from failure
        limits = "".join(
            f", {name}={value!r}"
            for name, value, default in (
                ("within", within, WITHIN),
                ("max_steps", max_steps, MAX_STEPS),
            )
            if value != default
        )
        failure.add_note(_regression_test(application, plan, limits, trace))
        raise


def run_again(run: Callable[[Trace], Report], trace: Trace) -> None:
    """Run what has failed once more, for the sake of its trace alone."""
    try:
        run(trace)
    except Exception:  # noqa: BLE001 - compared by its trace, and the first failure is raised
        pass
    else:
        trace.note(0.0, "and the second run did not fail")


def not_deterministic(cause: str, one: object | None, other: object | None) -> NotDeterministic:
    """Return what says that one cause made two runs, by the events at which they part."""
    return NotDeterministic(
        f"your application is not deterministic: one {cause} made two runs, which part at\n"
        f"  {one or 'the end of the first run'}\n  {other or 'the end of the second run'}\n"
        "look for the clock, randomness, ids, threads or the order of a set between there and what "
        "came before"
    )


def check_makes_applications(application: object) -> None:
    """Raise ValueError for anything but what makes an application when it is called."""
    if isinstance(application, Application) or not callable(application):
        name = type(application).__name__
        hint = f": give {name} in place of {name}()" if isinstance(application, Application) else ""
        raise ValueError(
            "application is a class of applications, or a function that makes one, because each "
            f"run has one of its own; got {application!r:.80}{hint}"
        )


def check_budget(within: object, max_steps: object) -> None:
    """Raise ValueError for times and numbers of steps that cannot be."""
    check_number("within", within)
    check_count("max_steps", max_steps)


def execute(
    application: Callable[[], Application[Any]],
    plan: Plan,
    steps: Iterable[Step],
    trace: Trace,
    *,
    within: float,
    max_steps: int,
) -> Report:
    """Run an application on a plan's nodes through these steps, and return a report."""

    async def run(schedule: Schedule) -> Report:
        execution = _Execution(application(), plan, trace, within)
        return await execution.run(steps, schedule)

    return run_scheduled(run, seed=plan.seed, max_steps=max_steps)


def new_paste() -> Pasted:
    """Return what to paste a call with that begins by importing all of `manifest.testing`."""
    return Pasted(frozenset({*planned, "Conditions", "Faults"}))


def _regression_test(
    application: Callable[[], Application[Any]], plan: Plan, limits: str, trace: Trace
) -> str:
    pasted = new_paste()
    name, made = pasted.callee(application, "application")
    for step in plan.steps:
        if isinstance(step.action, Do):
            pasted.value(step.action.operation, application)
    told = f"The run that failed, as a regression test (seed {plan.seed}, trace {trace.digest})"
    if pasted.opaque:
        told += ", but for the operations, whose repr is no Python that makes them"
    return (
        f"{told}:\n\n"
        "from manifest.testing import *\n"
        f"{pasted.head}\n"
        "def test_what_failed_once() -> None:\n"
        f"    # Its trace was {trace.digest}\n"
        f"    plan = {plan!r}\n"
        f"{made and '    ' + made}"
        f"    run_plan({name}, plan{limits})\n"
    )


class _Execution:
    """One run under way."""

    def __init__(
        self, application: Application[Any], plan: Plan, trace: Trace, within: float
    ) -> None:
        self.application = application
        self.plan = plan
        self.trace = trace
        self.within = within
        self.network = SimulatedNetwork(plan.seed, plan.conditions, trace=trace)
        self.names = [f"n{index}" for index in range(plan.nodes)]
        hosts = [self.network.host(name) for name in self.names]
        for host, offset in zip(hosts, plan.offsets, strict=False):
            host.clock.offset = offset
        self.dials = dials(plan.topology, plan.nodes, plan.seed)
        self.cluster: Cluster[Any] = Cluster(self.network, [])
        self.skipped = 0
        # Nodes on which an operation was passed over because `state` was not set yet.
        self.not_ready: dict[Node[Any], None] = {}
        self.converged = 0.0
        self.nursery: trio.Nursery

    async def run(self, steps: Iterable[Step], schedule: Schedule) -> Report:
        async with trio.open_nursery() as self.nursery:
            self.nursery.start_soon(self.network.deliver)
            try:
                await self._follow(steps)
            finally:
                # A node that is paused would not even notice that it is cancelled.
                self._resume_all()
            seconds = trio.current_time()
            self.nursery.cancel_scope.cancel()
        return Report(
            self.trace.digest,
            schedule.order,
            seconds,
            schedule.steps,
            self.trace.length,
            self.skipped,
            self.converged,
        )

    async def _follow(self, steps: Iterable[Step]) -> None:
        for index in range(self.plan.nodes):
            self.cluster.nodes.append(self._make_node(index, 0, {}))
            self._start(self.cluster.nodes[-1])
        for step in steps:
            await trio.sleep(step.after)
            await self._take(step.action)
            _call(self.application.check, self.cluster)
        await self._take(Calm())
        _call(self.application.check, self.cluster)

    # Nodes

    def _make_node(self, index: int, incarnation: int, disk: dict[str, Any]) -> Node[Any]:
        return Node(
            index,
            self.network.host(self.names[index]),
            tuple(self.names[peer] for peer in self.dials[index]),
            disk,
            incarnation,
            random.Random(f"{self.plan.seed}/{index}/{incarnation}"),
        )

    def _start(self, node: Node[Any]) -> None:
        node.host.come_back()
        self.nursery.start_soon(self._run_node, node, name=f"{node.name}.{node.incarnation}")

    async def _run_node(self, node: Node[Any]) -> None:
        enter(node.host.gate)
        # What is spawned below is behind the gate; this task only waits for it.
        try:
            async with trio.open_nursery() as nursery:  # noqa: ASYNC112 - a task, not a call
                nursery.start_soon(self._run_application, node, name=repr(node))
        finally:
            node.gone.set()

    async def _run_application(self, node: Node[Any]) -> None:
        with node.scope:
            async with trio.open_nursery() as node.nursery:
                await self.application.run(node)
                # What `do` started on the node ends with it.
                node.nursery.cancel_scope.cancel()
            if not node.leaving.is_set():
                raise RuntimeError(
                    f"the application's `run` returned on {node.name} before it was told to leave: "
                    "it is to run until it is cancelled or `node.leaving` is set"
                )

    async def _restart(self, node: Node[Any]) -> None:
        await node.gone.wait()
        if self.cluster.nodes[node.index] is node:
            following = self._make_node(node.index, node.incarnation + 1, node.disk)
            self.cluster.nodes[node.index] = following
            self._start(following)

    # Actions

    async def _take(self, action: Action) -> None:
        self.trace.note(trio.current_time(), repr(action))
        if isinstance(action, Calm):
            await self._calm()
        elif not self._carry_out(action):
            self.skipped += 1
            await trio.lowlevel.checkpoint()

    def _carry_out(self, action: Action) -> bool:  # noqa: PLR0912
        """Carry an action out, and return whether it could be; one case for each kind."""
        network, names, nodes = self.network, self.names, self.cluster.nodes
        match action:
            case Do(index, operation):
                return self._do(nodes[index], operation)
            case Block(source, target, both_ways):
                network.partition(names[source], names[target], one_way=not both_ways)
            case Unblock(source, target, both_ways):
                network.unblock(names[source], names[target])
                if both_ways:
                    network.unblock(names[target], names[source])
            case Isolate(index):
                network.split([names[index]])
            case Split(side):
                network.split([names[index] for index in side])
            case Heal():
                network.heal()
            case Cut(one, other, after):
                network.cut(names[one], names[other], after=after)
            case Stall(one, other, one_way):
                network.stall(names[one], names[other], one_way=one_way)
            case Flow(one, other, one_way):
                network.flow(names[one], names[other], one_way=one_way)
            case Deafen(index):
                nodes[index].host.deaf = True
            case Hear(index):
                nodes[index].host.deaf = False
            case Crash(index, silently):
                return self._crash(nodes[index], silently=silently)
            case Restart(index):
                return self._start_again(nodes[index])
            case Leave(index):
                if not nodes[index].up or nodes[index].paused:
                    return False
                nodes[index].leaving.set()
            case Pause(index):
                if not nodes[index].up:
                    return False
                nodes[index].paused = True
                nodes[index].host.pause()
            case Resume(index):
                nodes[index].paused = False
                nodes[index].host.resume()
            case SetClock(index, offset):
                nodes[index].host.clock.offset = offset
            case SetDrift(index, rate):
                nodes[index].host.clock.rate = rate
            case _:
                raise TypeError(f"there is no such action as {action!r}")
        return True

    def _do(self, node: Node[Any], operation: object) -> bool:
        if not node.up or node.paused:
            return False
        if node.state is None:
            self.not_ready[node] = None
            return False
        outcome = self.application.do(node, operation)
        if outcome is not None:
            node.nursery.start_soon(_await, outcome, name=f"{node!r}: {operation!r}")
        return True

    def _crash(self, node: Node[Any], *, silently: bool) -> bool:
        if not node.up:
            return False
        self._resume(node)
        node.host.crash(silently=silently)
        node.scope.cancel()
        return True

    def _start_again(self, node: Node[Any]) -> bool:
        if node.up:
            return False
        self._resume(node)
        self.nursery.start_soon(self._restart, node)
        return True

    def _resume(self, node: Node[Any]) -> None:
        node.paused = False
        node.host.deaf = False
        node.host.resume()

    def _resume_all(self) -> None:
        for node in self.cluster.nodes:
            self._resume(node)

    def _check_left(self) -> None:
        for node in self.cluster.nodes:
            assert not node.leaving.is_set() or node.gone.is_set(), (
                f"{node.name} was told to leave, and its `run` has not returned yet"
            )

    def _check_ready(self) -> None:
        if any(node.up for node in self.not_ready):
            assert any(node.state is not None for node in self.cluster.nodes), (
                "no node is ready, so operations were passed over: `run` is to set `node.state`, "
                "and has not"
            )

    async def _calm(self) -> None:
        """Mend everything, and wait until the application has converged."""
        self.network.heal()
        self._resume_all()
        began = trio.current_time()
        while True:
            try:
                self._check_left()
                self._check_ready()
                _call(self.application.check_converged, self.cluster)
            except AssertionError:
                if trio.current_time() - began >= self.within:
                    raise
            else:
                break
            await trio.sleep(_LOOK)
            _call(self.application.check, self.cluster)
        self.converged = trio.current_time() - began


def _call(check: Callable[[Cluster[Any]], object], cluster: Cluster[Any]) -> None:
    """Call a check. TypeError where it is an async function, which would check nothing."""
    outcome = check(cluster)
    if inspect.iscoroutine(outcome):
        outcome.close()
        raise TypeError(
            f"{check.__qualname__} is an async function, and checks are plain ones: what they look "
            "at must not change meanwhile"
        )


async def _await(outcome: Awaitable[object]) -> None:
    await outcome
