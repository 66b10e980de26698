"""One plan is one run; what fails comes out bare, with a test that fails in the same way."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from manifest.testing import (
    EPOCH,
    ROUGH,
    Action,
    Application,
    Block,
    Calm,
    Cluster,
    Crash,
    Deafen,
    Do,
    Faults,
    Flow,
    Heal,
    Hear,
    Isolate,
    Leave,
    Livelock,
    Node,
    NotDeterministic,
    Pause,
    Plan,
    Report,
    Restart,
    Resume,
    SetClock,
    SetDrift,
    Split,
    Stall,
    Step,
    Unblock,
    plans,
    run_plan,
    simulate,
)

ROOT = Path(__file__).parents[2]


class Counter:
    """A grow-only counter that its peers hear of, in lines of JSON."""

    def __init__(self, name: str, disk: dict[str, Any]) -> None:
        self.name = name
        self.counts: dict[str, int] = disk.setdefault("counts", {})

    async def talk(self, stream: trio.abc.Stream) -> None:
        """Exchange counts until the stream ends."""
        async with stream, trio.open_nursery() as nursery:
            nursery.start_soon(self._say, stream)
            await self._hear(stream)
            nursery.cancel_scope.cancel()

    async def _hear(self, stream: trio.abc.Stream) -> None:
        buffer = b""
        with suppress(trio.BrokenResourceError):
            while data := await stream.receive_some():
                *lines, buffer = (buffer + data).split(b"\n")
                for line in lines:
                    for name, count in json.loads(line).items():
                        self.counts[name] = max(count, self.counts.get(name, 0))

    async def _say(self, stream: trio.abc.Stream) -> None:
        with suppress(trio.BrokenResourceError):
            while True:
                await stream.send_all(json.dumps(self.counts, sort_keys=True).encode() + b"\n")
                await trio.sleep(0.5)

    async def dial(self, dial: Callable[[], Awaitable[trio.abc.Stream]]) -> None:
        """Talk to a peer, again and again."""
        while True:
            with suppress(OSError):
                await self.talk(await dial())
            await trio.sleep(0.5)


class Gossip(Application[Counter]):
    """Counters that come to agree."""

    def __init__(self) -> None:
        self.log: list[tuple[float, str]] = []

    async def run(self, node: Node[Counter]) -> None:
        counter = Counter(node.name, node.disk)
        async with trio.open_nursery() as nursery:
            listener = await node.listen()
            nursery.start_soon(trio.serve_listeners, counter.talk, [listener])
            for peer in node.peers:
                nursery.start_soon(counter.dial, partial(node.dial, peer))
            node.state = counter
            await node.leaving.wait()
            nursery.cancel_scope.cancel()

    def do(self, node: Node[Counter], operation: Any) -> None:
        assert node.state is not None
        counts = node.state.counts
        counts[node.name] = counts.get(node.name, 0) + 1

    def check_converged(self, cluster: Cluster[Counter]) -> None:
        for group in cluster.groups:
            counts = [node.state.counts for node in group if node.state is not None]
            assert all(each == counts[0] for each in counts), f"they differ: {counts}"


class Probe(Application[list[str]]):
    """Nodes that do nothing but what a test has them do, and a log of it all."""

    log: list[tuple[float, str]]

    def __init__(self) -> None:
        self.log = []

    def note(self, what: str) -> None:
        self.log.append((round(trio.current_time(), 3), what))

    async def run(self, node: Node[list[str]]) -> None:
        node.state = []
        self.note(f"{node.name}.{node.incarnation} up")
        try:
            await node.leaving.wait()
            self.note(f"{node.name} leaves")
        except trio.Cancelled:
            self.note(f"{node.name} killed")
            raise

    def do(self, node: Node[list[str]], operation: Any) -> Awaitable[object] | None:
        if callable(operation):
            outcome = operation(self, node)
            assert outcome is None or isinstance(outcome, Awaitable)
            return outcome
        self.note(f"{node.name} does {operation}")
        return None


def probe(steps: Sequence[tuple[float, Action]], **options: Any) -> tuple[list[Any], Report]:
    """Run probes through these steps; return their log, and the report."""
    made: list[Probe] = []

    def application() -> Probe:
        made.append(Probe())
        return made[-1]

    plan = Plan(options.pop("nodes", 2), [Step(*step) for step in steps], **options)
    report = run_plan(application, plan)
    return made[0].log, report


EVERYTHING = Faults(clock_offset=2.0, clock_drift=0.001)


@settings(max_examples=60)
@given(plans(st.just("add"), nodes=(1, 4), max_steps=12, faults=EVERYTHING))
def test_a_right_application_survives_everything(plan: Plan) -> None:
    """Whatever goes wrong, counters agree in the end."""
    report = run_plan(Gossip, plan)
    assert report.converged <= 60
    # But for the rounding of sums.
    assert report.seconds > sum(step.after for step in plan.steps) - 1e-6
    assert report.events >= len(plan.steps) + 1


def test_a_plan_is_one_run_and_a_seed_is_another() -> None:
    """Reports are equal for equal plans; another seed is another schedule and digest."""
    steps = [Step(0.3, Do(node % 3, "add")) for node in range(9)]
    seeds = [Plan(3, steps, seed, "mesh", ROUGH) for seed in range(8)]
    reports = [run_plan(Gossip, plan) for plan in seeds]
    assert reports == [run_plan(Gossip, plan) for plan in seeds]
    assert len({report.digest for report in reports}) == 8


def test_examples_explore_interleavings() -> None:
    """Fifty examples of one plan, seeds apart, are more than forty schedules."""
    schedules: set[int] = set()

    @settings(max_examples=50, database=None, derandomize=True)
    @given(st.integers(0, 2**32 - 1))
    def draw(seed: int) -> None:
        steps = [Step(1.0, Do(0, "add")), Step(1.0, Do(3, "add"))]
        schedules.add(run_plan(Gossip, Plan(4, steps, seed, "mesh")).schedule)

    draw()
    assert len(schedules) > 40


REPORT = """
from manifest.testing import *
from tests.testing.test_execution import Gossip
steps = [Step(0.3, Do(node % 3, "add")) for node in range(6)] + [Step(0.1, Cut(0, 1, after=30))]
print(run_plan(Gossip, Plan(3, steps, 7, "mesh", ROUGH)))
"""


def test_other_processes_make_the_same_run() -> None:
    """Whatever the hashes of strings are."""
    said = {
        subprocess.run(
            [sys.executable, "-c", REPORT],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            check=True,
            cwd=ROOT,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1
    assert b"Report(digest=" in said.pop()


# Nodes


def test_a_crash_kills_and_a_restart_is_another_incarnation() -> None:
    """The disk survives, randomness is another, and what is down does nothing."""
    drawn: list[float] = []

    def write(app: Probe, node: Node[Any]) -> None:
        drawn.append(node.random.random())
        node.disk[str(node.incarnation)] = True
        app.note(f"{node!r} {[*node.disk]}")

    log, report = probe(
        [
            (1, Do(1, write)),
            (1, Crash(1)),
            (1, Crash(1)),
            (1, Do(1, "nothing")),
            (1, Pause(1)),
            (1, Leave(1)),
            (1, Restart(1)),
            (0, Restart(1)),
            (1, Restart(1)),
            (1, Do(1, write)),
            (1, Crash(1, silently=True)),
            (1, Heal()),
        ]
    )
    assert sorted(log[:2]) == [(0, "n0.0 up"), (0, "n1.0 up")]
    assert log[2:] == [
        (1, "<node n1, incarnation 0> ['0']"),
        (2, "n1 killed"),
        (7, "n1.1 up"),
        (9, "<node n1, incarnation 1> ['0', '1']"),
        (10, "n1 killed"),
        (11, "n0 killed"),
    ]
    assert report.skipped == 5
    assert drawn[0] != drawn[1]


def test_a_node_leaves_by_itself_and_comes_back() -> None:
    """It is told to, and is down from then on."""
    steps = [(1, Leave(0)), (1, Do(0, "x")), (1, Leave(0)), (1, Restart(0)), (1, Heal())]
    log, report = probe(steps, nodes=1)
    assert log == [(0, "n0.0 up"), (1, "n0 leaves"), (4, "n0.1 up"), (5, "n0 killed")]
    assert report.skipped == 2


def test_paused_nodes_do_nothing_until_they_resume() -> None:
    """What they wait for happens meanwhile, operations are passed over; crashing ends it."""

    def tick(app: Probe, node: Node[Any]) -> Awaitable[object]:
        async def ticking() -> None:
            for _ in range(3):
                await trio.sleep(1)
                app.note(f"{node.name} ticks")

        return ticking()

    log, report = probe(
        [
            (0.5, Do(0, tick)),
            (1.2, Pause(0)),
            (5, Do(0, "x")),
            (0, Leave(0)),
            (1, Resume(0)),
            (3, Pause(0)),
            (1, Crash(0)),
            (1, Restart(0)),
            (1, Do(0, "y")),
        ],
        nodes=1,
    )
    assert log[1:4] == [(1.5, "n0 ticks"), (7.7, "n0 ticks"), (8.7, "n0 ticks")]
    assert log[4:] == [
        (11.7, "n0 killed"),
        (12.7, "n0.1 up"),
        (13.7, "n0 does y"),
        (13.7, "n0 killed"),
    ]
    assert report.skipped == 2


def test_clocks_are_set_and_drift() -> None:
    """From the start by the plan's offsets, later by its actions."""
    walls: list[int] = []

    def look(app: Probe, node: Node[Any]) -> None:
        walls.append(round((node.host.clock.wall() - EPOCH) / 1000))

    probe(
        [
            (1, Do(0, look)),
            (0, Do(1, look)),
            (0, SetClock(1, 100.0)),
            (0, SetDrift(1, 2.0)),
            (10, Do(1, look)),
            (0, Do(0, look)),
        ],
        offsets=(50.0,),
    )
    assert walls == [51, 1, 121, 61]


# What comes between nodes


class Reach(Gossip):
    """Counters, of which a test looks at who has heard of whom."""

    def do(self, node: Node[Counter], operation: Any) -> None:
        if operation == "add":
            super().do(node, operation)
        else:
            assert node.state is not None
            heard = "".join(sorted(name[1] for name in node.state.counts))
            assert heard == operation, f"{node.name} heard of {heard}"


@pytest.mark.parametrize(
    "wrong, right, heard",
    [
        (Block(0, 1), Unblock(0, 1), "1"),
        (Block(1, 0), Unblock(1, 0), "01"),
        (Block(0, 1, both_ways=True), Unblock(1, 0, both_ways=True), "1"),
        (Block(1, 0, both_ways=True), Unblock(0, 1), "1"),
        (Isolate(1), Heal(), "1"),
        (Split((0,)), Heal(), "1"),
        (Stall(0, 1), Flow(0, 1), "1"),
        (Stall(0, 1, one_way=True), Flow(0, 1, one_way=True), "1"),
        (Stall(1, 0, one_way=True), Flow(1, 0, one_way=True), "01"),
        (Deafen(1), Hear(1), "1"),
        (Deafen(0), Hear(0), "01"),
        (Stall(0, 1), Calm(), "1"),
    ],
)
def test_what_comes_between_nodes_is_mended(wrong: Action, right: Action, heard: str) -> None:
    """Node 1 hears what still gets through, and all once it is mended."""
    steps = [
        Step(2, wrong),
        Step(0, Do(0, "add")),
        Step(0, Do(1, "add")),
        Step(5, Do(1, heard)),
        Step(0, right),
        Step(2, Do(1, "01")),
    ]
    run_plan(Reach, Plan(2, steps))


def test_a_deaf_node_stays_deaf_when_it_resumes() -> None:
    """One fault's mending is not another's."""
    steps = [(1, Deafen(1)), (0, Pause(1)), (1, Resume(1)), (0, Do(0, "add")), (5, Do(1, ""))]
    run_plan(Reach, Plan(2, [Step(after, action) for after, action in steps]))


# What fails


class Bug(Probe):
    """What a node counts is wrong once it was restarted: the planted bug."""

    def do(self, node: Node[list[str]], operation: Any) -> None:
        node.disk["count"] = node.disk.get("count", 0) + 1

    def check(self, cluster: Cluster[list[str]]) -> None:
        for node in cluster.up:
            assert not (node.incarnation and node.disk), "the planted bug"


def failing(application: Callable[[], Application[Any]], plan: Plan, **how: Any) -> BaseException:
    """Return what a run raises."""
    with pytest.raises(BaseException) as raised:
        run_plan(application, plan, **how)
    return raised.value


def test_a_planted_bug_is_found_and_shrunk() -> None:
    """To the fewest steps in which it shows; and the note is a test that fails in the same way."""

    @settings(max_examples=500, database=None, derandomize=True)
    @given(plans(st.just("add"), max_steps=12, faults=attrs.evolve(Faults.none(), crashes=True)))
    def search(plan: Plan) -> None:
        run_plan(Bug, plan)

    with pytest.raises(AssertionError, match="the planted bug") as raised:
        search()
    note = next(note for note in raised.value.__notes__ if "as a regression test" in note)
    code = note[note.index("from manifest.testing") :]
    assert 3 <= code.count("Step(") <= 6
    digest = note[note.index(", trace ") + 8 :][:64]
    assert f"    # Its trace was {digest}\n" in code
    names: dict[str, Any] = {}
    exec(code, names)
    with pytest.raises(AssertionError, match="the planted bug") as again:
        names["test_what_failed_once"]()
    assert note in again.value.__notes__


class Fails(Probe):
    """Fails in whatever way a test asks for."""

    def do(self, node: Node[list[str]], operation: Any) -> Awaitable[object] | None:
        match operation:
            case "await":
                return self.fail_soon()
            case "do":
                raise LookupError("bare")
            case _:
                return None

    async def fail_soon(self) -> None:
        await trio.sleep(1)
        raise LookupError("bare")


@pytest.mark.parametrize("how", ["await", "do"])
def test_exceptions_come_out_bare(how: str) -> None:
    """Whatever nurseries there were, and with others that are paused."""
    steps = [Step(1, Pause(1)), Step(0, Do(0, how)), Step(5, Do(0, "nothing"))]
    failure = failing(Fails, Plan(2, steps))
    assert type(failure) is LookupError
    assert "run_plan(Fails, plan)" in failure.__notes__[0]


class Makers:
    """Where an application may come from that is no class of a module."""

    class Inner(Fails):
        """Of a name with a dot."""

    @classmethod
    def make(cls) -> Fails:
        """Make one."""
        return Fails()


def make_local() -> type[Fails]:
    """Return a class that is known nowhere else."""

    class Local(Fails):
        pass

    return Local


MADE: dict[str, tuple[Callable[[], Fails], str]] = {
    "inner": (Makers.Inner, "run_plan(Makers.Inner, plan)"),
    "classmethod": (Makers.make, "run_plan(Makers.make, plan)"),
    "local": (make_local(), "run_plan(Local, plan)"),
    "lambda": (lambda: Fails(), "application = ...  # <function <lambda> at "),  # noqa: PLW0108
    "partial": (partial(Fails), "application = ...  # functools.partial(<class '"),
}


@pytest.mark.parametrize("make, line", MADE.values(), ids=MADE)
def test_what_is_to_be_pasted_compiles(make: Callable[[], Fails], line: str) -> None:
    """However the application is made: where that has no name, there is a place for it."""
    note = failing(make, Plan(1, [Step(1, Do(0, "do"))])).__notes__[0]
    code = note[note.index("from manifest.testing") :]
    compile(code, "pasted", "exec")
    assert line in code


class Early(Application[None]):
    """Nodes that are done at once."""

    async def run(self, node: Node[None]) -> None:
        await trio.sleep(1)

    def do(self, node: Node[None], operation: Any) -> None: ...


def test_a_run_may_not_return_early() -> None:
    """The message says what it is to wait for."""
    failure = failing(Early, Plan(1, [Step(2, Do(0, "x"))]))
    assert isinstance(failure, RuntimeError)
    assert "returned on n0 before it was told to leave" in str(failure)


def test_nothing_need_be_checked() -> None:
    """An application without checks has converged at once."""
    assert run_plan(Early, Plan(1)).converged == 0


def test_an_unknown_action_is_refused() -> None:
    """Actions are those of this package."""
    failure = failing(Probe, Plan(1, [Step(0, Action())]))
    assert isinstance(failure, TypeError)
    assert "no such action as Action()" in str(failure)


class Spins(Probe):
    """Waits in a loop without sleeping."""

    def do(self, node: Node[list[str]], operation: Any) -> Awaitable[object]:
        return self.spin()

    async def spin(self) -> None:
        while True:  # noqa: ASYNC110 - a loop that spins is what is tested
            await trio.lowlevel.checkpoint()


def test_an_application_that_spins_is_stopped() -> None:
    """Virtual time would never move on, and the run never end; a paused node is no obstacle."""
    failure = failing(
        Spins, Plan(2, [Step(1, Pause(1)), Step(0, Do(0, "x")), Step(1, Heal())]), max_steps=500
    )
    assert isinstance(failure, Livelock)
    assert "more than 500 steps" in str(failure)


class Slow(Probe):
    """Converges after 5 seconds of calm, and says how often it was asked."""

    def check(self, cluster: Cluster[list[str]]) -> None:
        self.note("checked")

    def check_converged(self, cluster: Cluster[list[str]]) -> None:
        assert trio.current_time() >= 5, "not yet"


def test_convergence_is_waited_for() -> None:
    """It is looked for again and again, for so long and no longer."""
    report = run_plan(Slow, Plan(1), within=6)
    assert report.converged == pytest.approx(5, abs=0.06)
    failure = failing(Slow, Plan(1), within=4, max_steps=999)
    assert str(failure).startswith("not yet")
    assert "run_plan(Slow, plan, within=4, max_steps=999)" in failure.__notes__[0]


class Wrong(Probe):
    """Raises at once, where it should say that it has not converged."""

    def check_converged(self, cluster: Cluster[list[str]]) -> None:
        raise KeyError(trio.current_time())


def test_what_is_no_assertion_is_not_waited_for() -> None:
    """A mistake in the check itself comes out at once."""
    assert failing(Wrong, Plan(1)).args == (0,)


class Lazy(Gossip):
    """Is told to leave, and does not."""

    async def run(self, node: Node[Counter]) -> None:
        node.state = Counter(node.name, node.disk)
        await trio.sleep_forever()


def test_nodes_that_leave_end() -> None:
    """Whoever was told to leave and has not, when all is over, fails the run."""
    failure = failing(Lazy, Plan(1, [Step(1, Leave(0))]), within=1)
    assert "n0 was told to leave, and its `run` has not returned yet" in str(failure)


# What differs from run to run

UNSEEDED = random.Random()
KEPT: list[object] = []


class Different(Probe):
    """Takes note of something that is never the same."""

    def do(self, node: Node[list[str]], operation: Any) -> None:
        KEPT.append(object())
        what = UNSEEDED.random() if operation == "random" else id(KEPT[-1])
        node.note(f"drew {what}")

    def check_converged(self, cluster: Cluster[list[str]]) -> None:
        raise KeyError("in any case")


@pytest.mark.parametrize("how", ["random", "id"])
def test_what_is_not_deterministic_is_named(how: str) -> None:
    """By the first event that differs, in both runs; and the failure is still there."""
    failure = failing(Different, Plan(1, [Step(1, Do(0, how))]))
    assert isinstance(failure, NotDeterministic)
    lines = str(failure).splitlines()
    assert all(line.startswith("  1.000000 s: n0: drew ") for line in lines[1:3])
    assert lines[1] != lines[2]
    assert isinstance(failure.__cause__, KeyError)


def test_a_failure_that_cannot_be_repeated_is_named() -> None:
    """The second run ends otherwise, and that is what is told."""
    runs: list[Probe] = []

    class Once(Probe):
        def check(self, cluster: Cluster[list[str]]) -> None:
            runs.append(self)
            assert len(runs) > 1

    failure = failing(Once, Plan(1))
    assert isinstance(failure, NotDeterministic)
    assert "the end of the first run" in str(failure)
    assert "and the second run did not fail" in str(failure)


# What applications see


def test_groups_are_what_the_topology_connects() -> None:
    """Through nodes that are up, whatever is blocked; dead ones part those beside them."""
    seen: list[tuple[list[str], list[list[str]]]] = []

    class Groups(Probe):
        def check(self, cluster: Cluster[list[str]]) -> None:
            up = [node.name for node in cluster.up]
            seen.append((up, [[node.name for node in group] for group in cluster.groups]))
            assert len(cluster.states) == len(up)

    run_plan(Groups, Plan(4, [Step(1, Split((0,))), Step(1, Crash(2))]))
    assert seen[0] == (["n0", "n1", "n2", "n3"], [["n0", "n1", "n2", "n3"]])
    assert seen[1] == (["n0", "n1", "n3"], [["n0", "n1"], ["n3"]])


def test_a_node_has_an_environment_of_its_own() -> None:
    """For what runs on hosts directly, as a manifest does."""

    def look(app: Probe, node: Node[Any]) -> None:
        assert node.environment().network is node.host

    probe([(1, Do(0, look))])


def test_a_report_is_plain_data() -> None:
    """It is compared as such, and says what a run was like."""
    report = run_plan(Probe, Plan(1, [Step(2.5, Do(0, "x"))]))
    assert report.seconds == 2.5
    assert report.skipped == 0
    assert report.events == 2
    assert report.steps > 2
    assert attrs.asdict(report) == attrs.asdict(run_plan(Probe, Plan(1, [Step(2.5, Do(0, "x"))])))


@pytest.mark.parametrize("run", [run_plan, partial(simulate, seed=1, seconds=1)])
def test_an_application_that_is_made_already_is_refused(run: Callable[..., object]) -> None:
    """What makes none says so before anything runs, and not in the middle of it."""
    plan = Plan(2, ())
    with pytest.raises(
        ValueError, match=r"makes one, .* got <.*: give Gossip in place of Gossip\("
    ) as it:
        run(Gossip(), plan)
    assert not hasattr(it.value, "__notes__")
    with pytest.raises(ValueError, match=r"makes one, .* got 'Gossip'$"):
        run("Gossip", plan)


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"plan": None}, r"a plan is Plan\(nodes, steps, ...\), got None"),
        ({"within": "x"}, "within is a finite number, 0 or more, got 'x'"),
        ({"max_steps": "x"}, "max_steps is an integer, 1 or more, got 'x'"),
    ],
)
def test_what_cannot_be_run_is_refused(wrong: dict[str, Any], said: str) -> None:
    """The message has what was given, and what is right."""
    with pytest.raises(ValueError, match=said):
        run_plan(**{"application": Gossip, "plan": Plan(1), **wrong})


def test_operations_that_nobody_was_ready_for_are_no_success() -> None:
    """Who forgets to set `node.state` is told so, unless some nodes do; who is slow has time."""

    class Unready(Probe):
        async def run(self, node: Node[list[str]]) -> None:
            await trio.sleep(3)
            if node.index:
                node.state = []
            await node.leaving.wait()

    at_first, alone = [Step(1, Do(0, "x"))], Plan(1, [Step(1, Do(0, "x"))])
    assert run_plan(Unready, Plan(2, at_first)).converged > 1
    assert str(failing(Unready, alone, within=10)).startswith("no node is ready, so operations")
    assert run_plan(Unready, Plan(1, [*at_first, Step(0, Crash(0))])).skipped == 1


@pytest.mark.parametrize("name", ["check", "check_converged"])
def test_a_check_that_is_an_async_function_is_refused(name: str) -> None:
    """It would check nothing."""

    async def check(self: Probe, cluster: Cluster[list[str]]) -> None:
        await trio.lowlevel.checkpoint()
        raise AssertionError("never awaited")

    application: Any = type("Checks", (Probe,), {name: check})
    failure = failing(application, Plan(1, [Step(1, Heal())]))
    assert type(failure) is TypeError
    assert "check is an async function, and checks are plain ones" in str(failure)


def test_operations_that_do_not_print_as_python_are_said_to_be_so() -> None:
    """What is printed to be pasted has to be mended there."""
    note = failing(Fails, Plan(1, [Step(1, Do(0, "do")), Step(0, Do(0, object()))])).__notes__[0]
    assert ", but for the operations, whose repr is no Python that makes them:" in note
