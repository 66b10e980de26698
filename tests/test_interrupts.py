"""Ctrl-C, wherever it comes: what was begun is done, the block ends, and the peers are told."""

import contextlib
import inspect
import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import CodeType, FrameType, SimpleNamespace
from typing import Any, Self

import attrs
import pytest
import trio
from trio.testing import MockClock

import manifest
from manifest import Closed, FreeReason, Manifest, Service, Timeouts, open_manifest, opening
from manifest.connection import Connection
from manifest.replica import Replica
from manifest.testing import Conditions, Host, SimulatedNetwork

from .simulated import Puppet

A, B = "10.0.0.1", "10.0.0.2"
PACKAGE = str(Path(manifest.__file__).parent)


def roles(m: Manifest) -> list[str]:
    """Return the roles that a manifest shows, its peers' own registrations apart, sorted."""
    return sorted(s.role for s in m.services().values() if not s.role.startswith("manifest@"))


@pytest.fixture
def default_interrupt() -> Iterator[None]:
    """Have SIGINT raise KeyboardInterrupt, as in a program that has not said otherwise."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_in_a_task_of_the_library_ends_the_block(
    default_interrupt: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while the library runs comes out of the block, bare, after a goodbye."""
    network = SimulatedNetwork()
    pulse = Replica.pulse

    def interrupted(replica: Replica, budget: float) -> bool:
        if trio.current_time() > 2:
            monkeypatch.setattr(Replica, "pulse", pulse)
            signal.raise_signal(signal.SIGINT)
        return pulse(replica, budget)

    async def main() -> None:
        async with open_manifest(environment=network.host(B).environment()) as b:
            await b.listen()
            try:
                async with open_manifest(environment=network.host(A).environment()) as a:
                    a.register("web", port=80)
                    await a.connect(host=B).wait_synced()
                    await trio.sleep_forever()
            finally:
                with trio.CancelScope(shield=True):
                    await trio.testing.wait_all_tasks_blocked()
                assert roles(b) == []

    monkeypatch.setattr(Replica, "pulse", interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        trio.run(main, clock=MockClock(autojump_threshold=0))
    assert caught.value.__cause__ is None


def in_package(code: CodeType) -> bool:
    """Tell whether code is the library's own."""
    return code.co_filename.startswith(PACKAGE)


class InterruptAt:
    """Presses Ctrl-C at the line of that number, of those of the code that is watched."""

    def __init__(self, number: int, watched: Callable[[CodeType], bool] = in_package) -> None:
        self.number = number
        self.watched = watched
        self.lines = 0
        self.before = sys.gettrace()

    def __enter__(self) -> Self:
        sys.settrace(self.trace)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self.before)

    def trace(self, frame: FrameType, event: str, _: object) -> Any:
        if event == "line":
            self.lines += 1
            if self.lines == self.number:
                sys.settrace(self.before)
                signal.raise_signal(signal.SIGINT)
        return self.trace if self.watched(frame.f_code) else None


async def block(host: Host, happened: list[str], *, linked: bool) -> None:
    """Open a manifest for a while, and note what happens in its block."""

    def monotonic() -> float:
        # Where it hangs it is shielded, and nothing ends it but a fault of its own.
        assert trio.current_time() < 60, "it hangs"
        return host.clock.monotonic()

    environment = attrs.evolve(host.environment(), monotonic=monotonic)
    await host.network.host(B).listen(B, 3100)
    async with open_manifest(environment=environment, timeouts=Timeouts(close=1)) as m:
        happened.append("entered")
        try:
            if linked:
                m.connect(host=B)
                await m.listen()
            await trio.sleep(1)
            happened.append("left")
        except KeyboardInterrupt:
            happened.append("interrupted")
            raise


@pytest.mark.parametrize("linked", [False, True])
def test_ctrl_c_on_any_line_of_opening_and_closing(default_interrupt: None, linked: bool) -> None:
    """Whichever line of theirs it hits, it comes out bare, and nothing of the manifest is left."""
    generator, mine = contextlib._AsyncGeneratorContextManager[Any], opening._Opening
    functions: list[Any] = [
        generator.__aenter__, generator.__aexit__, mine.__aenter__, mine.__aexit__, opening._open,
    ]  # fmt: skip
    codes = [inspect.unwrap(each).__code__ for each in functions]

    def interrupted_at(number: int) -> tuple[list[str], int]:
        """Return what happened in the block, and how many lines there were."""
        host, happened = SimulatedNetwork().host(A), list[str]()
        clock = MockClock(autojump_threshold=0)
        with InterruptAt(number, codes.__contains__) as interrupt:
            if not number:
                trio.run(partial(block, host, happened, linked=linked), clock=clock)
            else:
                with pytest.raises(KeyboardInterrupt) as caught:
                    trio.run(partial(block, host, happened, linked=linked), clock=clock)
                assert caught.value.__cause__ is None
        assert (host.ends, host.listeners) == ([], {})
        return happened, interrupt.lines

    happened, last = interrupted_at(0)
    assert happened == ["entered", "left"]
    assert last > 20
    seen = [interrupted_at(number)[0] for number in range(1, last + 1)]
    # Before there is anything to wait for, when it has been opened, and when the block is over.
    phases = [[], ["entered", "interrupted"], ["entered", "left"]]
    assert seen == sorted(seen, key=phases.index)
    assert all(phase in seen for phase in phases)


async def test_ctrl_c_while_it_ends_leaves_nobody_waiting(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C comes through every shield: to whoever waits for the end, but to nobody else."""

    async def interrupted() -> None:
        await trio.lowlevel.checkpoint()
        raise KeyboardInterrupt

    async with (
        open_manifest(environment=SimulatedNetwork().host(A).environment()) as m,
        m.events() as events,
    ):
        ended = SimpleNamespace(wait=interrupted, set=m._tasks._ended.set)
        monkeypatch.setattr(m._tasks, "_ended", ended)
        with pytest.raises(KeyboardInterrupt):
            await m.aclose()
        with trio.move_on_after(60) as scope:
            await m.aclose()
        # If it did not return, neither would the end of the block.
        m._tasks._closed.set()
        assert not scope.cancelled_caught
        assert [each async for each in events] == [Closed()]


def test_ctrl_c_during_the_goodbye_is_no_bug(default_interrupt: None) -> None:
    """Ctrl-C while a goodbye is being said ends it at once, and comes out bare."""
    network = SimulatedNetwork()

    async def main() -> None:
        async with open_manifest(environment=network.host(A).environment()) as a:
            await a.listen()
            puppet = Puppet(await network.host(B).dial(A, 3100))
            await puppet.greet()
            trio.lowlevel.spawn_system_task(interrupt)

    async def interrupt() -> None:
        await trio.sleep(0.5)
        signal.raise_signal(signal.SIGINT)

    clock = MockClock(autojump_threshold=0)
    with pytest.raises(KeyboardInterrupt):
        trio.run(main, clock=clock)
    assert clock.current_time() < 0.6
    assert not network.host(A).ends


def free_at_end(m: Manifest, _: Service) -> None:
    """Register for the time of a block, which does nothing."""
    with m.registered("web", port=9):
        pass


CALLS: dict[str, Callable[[Manifest, Service], object]] = {
    "register": lambda m, _: m.register("web", {"zone": "eu"}, port=9),
    "take_over": lambda m, _: m.register("web", port=9, id="shared", address=None),
    "registered": free_at_end,
    "free": lambda m, service: m.free(service),
    "free_port": lambda m, _: m.free(port=8),
    "connect": lambda m, _: m.connect(host=B),
    "close_link": lambda m, _: next(iter(m._hub.links)).close(),
    "stop_listening": lambda m, _: next(iter(m._hub.listeners)).close(),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_ctrl_c_on_any_line_of_a_call_leaves_it_whole(
    default_interrupt: None, call: Callable[[Manifest, Service], object]
) -> None:
    """Whichever line it hits, the call is done or not begun, peers are told, and it comes out."""
    # Over a link that was closed long before, nobody says goodbye.
    told = call is not CALLS["close_link"]
    # It may come out at once of what looks at what it was given, at length.
    looks = call in (CALLS["register"], CALLS["take_over"])

    async def interrupted_at(number: int) -> int:
        """Return how many lines there were."""
        network = SimulatedNetwork()
        interrupt = InterruptAt(number)
        done = at_once = ended = False

        async def use() -> None:
            nonlocal done, at_once
            async with open_manifest(environment=network.host(A).environment()) as a:
                await a.listen()
                link = a.connect(host=B)
                await link.wait_synced()
                service = a.register("web", port=8)
                await trio.sleep(1)
                try:
                    with interrupt:
                        call(a, service)
                    done = True
                except KeyboardInterrupt:
                    at_once = True
                    raise
                finally:
                    shown = a.services()
                    a._hub.replica.view.turn(a.id, FreeReason.EXPIRED)
                    assert a.services() == shown
                await trio.sleep(1)
                assert not number

        async with open_manifest(environment=network.host(B).environment()) as b:
            await b.listen()
            try:
                await use()
            except KeyboardInterrupt:
                ended = True
            await trio.testing.wait_all_tasks_blocked()
            assert ended == bool(number)
            assert done or (looks and at_once)
            seen.append(at_once)
            assert not (told and roles(b))
        return interrupt.lines

    def run(number: int) -> int:
        return trio.run(interrupted_at, number, clock=MockClock(autojump_threshold=0))

    seen: list[bool] = []
    last = run(0)
    assert last > 5
    for number in range(1, last + 1):
        run(number)
    assert any(seen) == looks
    assert not all(seen)


def test_ctrl_c_on_any_line_of_a_lookup_costs_no_later_one(default_interrupt: None) -> None:
    """A lookup that it ends leaves nothing half made: the same one finds everything after it."""
    queries: list[Any] = [{"port": 8}, "web@^1", "web", {"role": "web@>=1", "zone": "eu"}]

    async def interrupted_at(query: Any, number: int) -> int:
        async with open_manifest(environment=SimulatedNetwork().host(A).environment()) as m:
            expected = [m.register(f"web@1.{i}.0", {"zone": "eu"}, port=8) for i in range(3)]
            with contextlib.suppress(KeyboardInterrupt), InterruptAt(number) as interrupt:
                m.get(query)
            assert list(m.get(query).values()) == expected[::-1]
            return interrupt.lines

    for query in queries:
        last = trio.run(interrupted_at, query, 0)
        assert last > 5
        for number in range(1, last + 1):
            trio.run(interrupted_at, query, number)


def test_ctrl_c_in_a_loop_of_registrations_cuts_no_goodbye_short(
    default_interrupt: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was sent ahead is freed at the peer too: the block ends, and then Ctrl-C comes out."""
    network = SimulatedNetwork(conditions=Conditions(latency=(0.01, 0.01), capacity=4096))
    sent = 0
    send_ahead = Connection.send_ahead

    def interrupted(connection: Connection) -> None:
        nonlocal sent
        sent += 1
        if sent == 700:
            signal.raise_signal(signal.SIGINT)
        send_ahead(connection)

    async def use(b: Manifest) -> None:
        async with open_manifest(environment=network.host(A).environment()) as a:
            await a.connect(host=B).wait_synced()
            a.register("web", port=2000)
            await trio.sleep(0.1)
            assert roles(b) == ["web"]
            with monkeypatch.context() as patch:
                patch.setattr(Connection, "send_ahead", interrupted)
                for port in range(1, 1001):
                    a.register("web", port=port)

    async def main() -> None:
        async with (
            trio.open_nursery() as nursery,
            open_manifest(environment=network.host(B).environment()) as b,
        ):
            nursery.start_soon(network.deliver)
            await b.listen()
            with pytest.raises(KeyboardInterrupt):
                await use(b)
            assert sent == 1000
            await trio.sleep(0.1)
            assert roles(b) == []
            nursery.cancel_scope.cancel()

    trio.run(main, clock=MockClock(autojump_threshold=0))


def test_ctrl_c_that_waits_outlives_cancellation(default_interrupt: None) -> None:
    """Where the goodbye is cancelled as well, it is Ctrl-C that comes out."""
    network = SimulatedNetwork(conditions=Conditions(latency=(0.01, 0.01)))

    async def main() -> None:
        async with (
            trio.open_nursery() as nursery,
            open_manifest(environment=network.host(B).environment()) as b,
            open_manifest(environment=network.host(A).environment()) as a,
        ):
            nursery.start_soon(network.deliver)
            await b.listen()
            await a.connect(host=B).wait_synced()
            with trio.CancelScope() as scope:  # noqa: ASYNC912 - `aclose` is one
                interrupt_a_call(a)
                scope.cancel()
                # Cancellation alone would end the scope without a word.
                with contextlib.suppress(KeyboardInterrupt):
                    await a.aclose()
                came_out.append(True)
            nursery.cancel_scope.cancel()

    came_out: list[bool] = []
    trio.run(main, clock=MockClock(autojump_threshold=0))
    assert came_out


def interrupt_a_call(m: Manifest) -> None:
    """Register something, and have Ctrl-C come while that cannot be interrupted."""
    told = m._hub.registrations._told

    def interrupted() -> None:
        signal.raise_signal(signal.SIGINT)
        told()

    m._hub.registrations._told = interrupted
    m.register("web", port=80)
    m._hub.registrations._told = told
