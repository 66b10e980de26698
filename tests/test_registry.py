"""The manifest: opening and closing, registering and finding, leases and partitions, end to end."""

import inspect
import logging
import math
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from typing import Any

import pytest
import trio
from trio.testing import MockClock

import manifest
from manifest import (
    Closed,
    Disconnected,
    Displaced,
    Environment,
    Freed,
    Heartbeat,
    Limits,
    LinkState,
    Manifest,
    ManifestClosed,
    ManifestInternalError,
    NotOwner,
    Registered,
    Service,
    ServiceNotFound,
    Timeouts,
    Updated,
    open_manifest,
)
from manifest.messages import Bye
from manifest.network import Address
from manifest.protocol import LinkProtocol
from manifest.records import Record, key_of
from manifest.replica import Replica
from manifest.testing import Conditions, Host, SimulatedListener, SimulatedNetwork

from .simulated import CancelAt, Puppet, pausable, running, until

A, B, C = "10.0.0.1", "10.0.0.2", "10.0.0.3"
SELF = f"manifest@{manifest.__version__}"
"""The role under which a listening manifest registers itself."""


@asynccontextmanager
async def pair(
    network: SimulatedNetwork | None = None, **options: Any
) -> AsyncIterator[tuple[Manifest, Manifest]]:
    """Two manifests on hosts A and B, the second linked to the first."""
    network = network or SimulatedNetwork()
    async with (
        open_manifest(environment=network.host(A).environment(), **options) as a,
        open_manifest(environment=network.host(B).environment(), **options) as b,
    ):
        await a.listen()
        await b.connect(host=A).wait_synced()
        yield a, b


def alone() -> Environment:
    """Return the environment of a host that is the only one."""
    return SimulatedNetwork().host(A).environment()


async def follow(
    m: Manifest, into: list[Any], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Note every event, and hold a view that is kept from them against the registry."""
    async with m.events() as events:
        view = dict(events.snapshot)
        task_status.started()
        async for event in events:
            into.append(event)
            match event:
                case Registered(service):
                    assert service.id not in view, "Registered twice in a row"
                    view[service.id] = service
                case Updated(service, before):
                    assert view[service.id] == before
                    view[service.id] = service
                case Freed(service):
                    assert view.pop(service.id) == service
                case _:
                    pass
            if not len(events):
                assert view == m.services()


def frees(events: list[Any]) -> list[tuple[str, str]]:
    """Return the roles and reasons of what was freed, in order."""
    return [(each.service.role, str(each.reason)) for each in events if isinstance(each, Freed)]


def roles(m: Manifest) -> list[str]:
    """Return the roles that a manifest shows, its peers' own registrations apart, sorted."""
    return sorted(each.role for each in m.services().values() if each.role != SELF)


def at(service: Service, address: str) -> Service:
    """Return a service as it would be at another address."""
    entry = service._entry
    return Service.of(entry.key, entry.stamp, entry.value.at(address))


# Opening and closing: structured concurrency


ERRORS = [
    ValueError("mine"),
    ExceptionGroup("mine", [ValueError("one"), ExceptionGroup("nested", [KeyError("two")])]),
    KeyboardInterrupt("mine"),
    SystemExit(3),
    StopAsyncIteration("mine"),
    ManifestInternalError("mine, whatever its name"),
]


@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
async def test_what_the_block_raises_comes_out_bare(
    autojump_clock: MockClock, error: BaseException, linked: bool
) -> None:
    """An exception in the block comes out as it is: the same object, in no group, with no cause."""
    network = SimulatedNetwork()
    caught: BaseException | None = None
    async with open_manifest(environment=network.host(B).environment()) as other:
        await other.listen()
        try:
            async with open_manifest(environment=network.host(A).environment()) as m:
                if linked:
                    await m.connect(host=B).wait_synced()
                    m.connect(host=C)
                    await m.listen()
                raise error  # noqa: TRY301 - in this very block
        except BaseException as raised:  # noqa: ASYNC103, BLE001 - this is what is tested
            caught = raised
        assert caught is error
        assert (caught.__cause__, caught.__context__) == (None, None)
        assert not network.host(A).ends


async def test_the_cause_of_an_exception_is_kept(autojump_clock: MockClock) -> None:
    """What the application chained to its exception is still there when it comes out."""
    cause = KeyError("first")
    with pytest.raises(ValueError, match="second") as caught:
        async with open_manifest(environment=alone()):
            raise ValueError("second") from cause
    assert caught.value.__cause__ is cause


async def test_cancellation_passes_through(autojump_clock: MockClock) -> None:
    """A cancelled block ends in its own scope, and its peers have heard a goodbye."""
    network = SimulatedNetwork()
    events: list[Any] = []
    async with open_manifest(environment=network.host(B).environment()) as b:
        await b.listen()
        async with trio.open_nursery() as nursery:
            await nursery.start(follow, b, events)
            with trio.move_on_after(5) as scope:
                async with open_manifest(environment=network.host(A).environment()) as a:
                    a.register("web", port=80)
                    await a.connect(host=B).wait_synced()
                    await trio.sleep_forever()
            assert scope.cancelled_caught
            assert trio.current_time() < 5.1
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    assert frees(events) == [("web", "freed")]
    lost = [each.reason for each in events if isinstance(each, Disconnected)]
    assert lost == ["the peer said: the manifest was closed"]


async def test_opening_under_a_cancelled_scope(autojump_clock: MockClock) -> None:
    """Opening a manifest where everything is cancelled already is cancelled, and does not hang."""
    with trio.CancelScope() as scope:
        scope.cancel()
        async with open_manifest(environment=alone()):
            raise AssertionError("the block was entered")
    assert scope.cancelled_caught


async def test_a_deadline_within_the_block_stays_there(autojump_clock: MockClock) -> None:
    """A scope inside the block that is cancelled leaves the manifest running."""
    async with pair() as (a, b):
        with trio.move_on_after(1):
            await a.wait_for("web")
        b.register("web", port=80)
        assert await a.wait_for("web")


async def test_a_goodbye_to_a_peer_that_does_not_listen_is_bounded(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Leaving takes at most `timeouts.close`, also when cancelled and when peers are stuck."""
    network = SimulatedNetwork(conditions=Conditions(capacity=1000))
    with trio.move_on_after(1) as scope:
        async with open_manifest(
            environment=network.host(A).environment(), timeouts=Timeouts(close=1.5)
        ) as m:
            await m.listen()
            puppet = Puppet(await network.host(B).dial(A, 3100))
            await puppet.greet()
            m.register("web", {"fill": "x" * 10_000}, port=80)
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert 2.4 < trio.current_time() < 2.6
    assert not network.host(A).ends
    assert farewells_not_taken(caplog) == 1


def farewells_not_taken(caplog: pytest.LogCaptureFixture) -> int:
    """Return how often the log says that peers have not taken a farewell."""
    texts = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    return sum("not every peer has taken the farewell" in text for text in texts)


async def test_a_peer_that_is_lost_during_the_goodbye_is_warned_of(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """It may have hung up, in order even, but has not taken what there was to be told."""
    network = SimulatedNetwork(conditions=Conditions(capacity=1000))
    async with open_manifest(environment=network.host(A).environment()) as m:
        await m.listen()
        puppet = Puppet(await network.host(B).dial(A, 3100))
        await puppet.greet()
        m.register("web", {"fill": "x" * 10_000}, port=80)
        await trio.sleep(0.1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(m.aclose)
            await trio.sleep(0.5)
            await puppet.end.aclose()
    assert trio.current_time() < 1
    assert farewells_not_taken(caplog) == 1


async def test_a_peer_that_leaves_during_the_goodbye_is_not_warned_of(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """It has said Bye itself, so it shows nothing to anybody any more."""
    network = SimulatedNetwork(conditions=Conditions(capacity=1000))
    async with open_manifest(environment=network.host(A).environment()) as m:
        await m.listen()
        puppet = Puppet(await network.host(B).dial(A, 3100))
        await puppet.greet()
        m.register("web", {"fill": "x" * 10_000}, port=80)
        await trio.sleep(0.1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(m.aclose)
            await trio.sleep(0.5)
            puppet.protocol.close("closed", "the manifest was closed")
            await puppet.say()
    assert trio.current_time() < 1
    assert farewells_not_taken(caplog) == 0


async def test_a_goodbye_that_was_taken_is_not_warned_of(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor is one where both leave at once, or where a link was down already."""
    async with pair() as (a, b):
        a.connect(host=C)
        a.register("web", port=80)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(a.aclose)
            nursery.start_soon(b.aclose)
    async with pair() as (a, b):
        a.register("web", port=80)
        await a.aclose()
        await until(lambda: not roles(b))
    assert farewells_not_taken(caplog) == 0


async def test_links_that_were_told_are_not_made_again_meanwhile(
    autojump_clock: MockClock,
) -> None:
    """While one peer is slow to take the goodbye, no other one is dialled anew."""
    network = SimulatedNetwork(conditions=Conditions(capacity=1000))
    async with open_manifest(environment=network.host(B).environment()) as b:
        await b.listen()
        async with open_manifest(environment=network.host(A).environment()) as a:
            await a.connect(host=B).wait_synced()
            a.connect(host=C)
            await a.listen()
            stuck = Puppet(await network.host(C).dial(A, 3100))
            await stuck.greet()
            for number in range(100):
                a.register("web", {"fill": "x" * 100}, port=1000 + number)
            await trio.sleep(1)
            dials = len(network.host(A).dials)
            begun = trio.current_time()
        assert trio.current_time() - begun > 1.9
        assert len(network.host(A).dials) == dials
        assert (roles(b), b.links) == ([], ())


async def live(host: Host, peer: Manifest) -> None:
    """Open, listen, connect, register, wait and close, as an application may."""
    options: dict[str, Any] = {"heartbeat_interval": 1.0, "registration_lifetime": 1.0}
    async with open_manifest(environment=host.environment(), **options) as m, m.events() as events:
        listener = await m.listen()
        link = m.connect(host=B)
        peer.connect(host=A)
        await link.wait_synced()
        m.register("web", {"fill": "x" * 300}, port=80)
        with m.registered("api", port=81):
            await m.wait_for("manifest")
            async for event in events:
                if isinstance(event, Heartbeat):
                    break
        listener.close()
        await m.listen()
        await m.aclose()
        await m.aclose()


@pytest.mark.parametrize("capacity", [math.inf, 150])
def test_cancelling_at_any_step_leaves_nothing_behind(capacity: float) -> None:
    """Cancelled before any step of any task, a life ends without tasks, sockets or half frames.

    The network itself asserts that no stream is written after an interrupted send. Where streams
    hold less than a frame, sends are interrupted within frames.
    """

    async def cancelled_at(step: int) -> tuple[bool, int]:
        network = SimulatedNetwork(conditions=Conditions(capacity=capacity))
        async with open_manifest(environment=network.host(B).environment()) as b:
            await b.listen()
            await trio.testing.wait_all_tasks_blocked()
            tasks = trio.lowlevel.current_statistics().tasks_living
            with trio.CancelScope() as scope:
                cancel = CancelAt(step, scope)
                trio.lowlevel.add_instrument(cancel)
                try:
                    await live(network.host(A), b)
                finally:
                    trio.lowlevel.remove_instrument(cancel)
            a = network.host(A)
            assert (a.ends, a.listeners) == ([], {})
            for link in b.links:
                link.close()
            await trio.sleep(3.1)
            assert trio.lowlevel.current_statistics().tasks_living == tasks
            assert (roles(b), b.links, len(b.services())) == ([], (), 1)
            # Nothing that arrived was malformed, and nothing that was sent.
            assert b.statistics().refused == {}
        assert not network.ends
        return scope.cancelled_caught, cancel.steps

    step, steps, caught = 0, 1, 0
    while step <= steps:
        step += 1
        cancelled, steps = trio.run(cancelled_at, step, clock=MockClock(autojump_threshold=0))
        caught += cancelled
    assert caught > 50


PLACES: list[tuple[Any, str]] = [
    (Replica, "pulse"),
    (LinkProtocol, "receive_data"),
    (LinkProtocol, "bytes_to_send"),
    (LinkProtocol, "__init__"),
    (Host, "remote"),
]


@pytest.mark.parametrize("place", PLACES, ids=lambda place: ".".join((place[0].__name__, place[1])))
async def test_a_bug_in_the_library_is_an_internal_error(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, place: tuple[type, str]
) -> None:
    """A bug in a task of the library ends the block with one error that has it as its cause."""
    bug = RuntimeError("planted")
    works = getattr(*place)

    def fails(subject: Any, *arguments: Any, **options: Any) -> Any:
        result = works(subject, *arguments, **options)
        if subject in subjects or getattr(subject, "_replica", None) in subjects:
            raise bug
        return result

    network = SimulatedNetwork()
    subjects: list[object] = [network.host(A)]

    async def use() -> None:
        async with open_manifest(environment=network.host(A).environment()) as a:
            await a.connect(host=B).wait_synced()
            subjects.append(a._hub.replica)
            with monkeypatch.context() as patch:
                patch.setattr(*place, fails)
                a.connect(host=B)
                await trio.sleep(10)
                raise AssertionError("the block was not cancelled")

    async with open_manifest(environment=network.host(B).environment()) as b:
        await b.listen()
        with pytest.raises(ManifestInternalError, match=r"please report it: .*planted") as caught:
            await use()
    assert caught.value.__cause__ is bug
    assert not network.ends


class Broken(Exception):
    """What an application raises."""


@pytest.mark.parametrize("grouped", [False, True])
async def test_a_bug_and_an_exception_at_once(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, grouped: bool
) -> None:
    """Where both fail, the application's exception comes out with the library's as its cause."""

    def fails(*_: object) -> None:
        raise RuntimeError("planted")

    async def fail_when_cancelled() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise Broken

    async def use() -> None:
        async with open_manifest(environment=alone()):
            monkeypatch.setattr(Replica, "pulse", fails)
            if not grouped:
                await fail_when_cancelled()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(fail_when_cancelled)
                nursery.start_soon(trio.sleep_forever)

    with pytest.raises(ExceptionGroup if grouped else Broken) as caught:
        await use()
    if isinstance(caught.value, ExceptionGroup):
        # The cancellation that the crash brought about has been taken out.
        assert [type(each) for each in caught.value.exceptions] == [Broken]
    assert isinstance(caught.value.__cause__, ManifestInternalError)
    assert isinstance(caught.value.__cause__.__cause__, RuntimeError)


async def test_several_bugs_at_once(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several bugs at once are one internal error, with all of them as its cause."""

    def fails(*_: object) -> None:
        raise RuntimeError("planted")

    async def use() -> None:
        async with open_manifest(environment=alone()):
            monkeypatch.setattr(Replica, "pulse", fails)
            monkeypatch.setattr(Replica, "leave", fails)
            await trio.sleep_forever()

    with pytest.raises(ManifestInternalError) as caught:
        await use()
    assert isinstance(caught.value.__cause__, ExceptionGroup)
    assert len(caught.value.__cause__.exceptions) == 2


async def test_closing_twice_and_at_once(autojump_clock: MockClock) -> None:
    """`aclose` may be called again, and by several tasks: each returns when all is over."""
    network = SimulatedNetwork()
    async with open_manifest(environment=network.host(A).environment()) as m:
        await m.listen()
        puppet = Puppet(await network.host(B).dial(A, 3100))
        await puppet.greet()
        ends: list[float] = []

        async def close() -> None:
            await m.aclose()
            ends.append(trio.current_time())
            assert (network.host(A).ends, network.host(A).listeners) == ([], {})

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(close)
        assert len(set(ends)) == 1
        assert 0.9 < ends[0] < 1.1
        await m.aclose()
        assert trio.current_time() == ends[0]


async def test_closing_can_be_cancelled(autojump_clock: MockClock) -> None:
    """A cancelled `aclose` does not wait for peers, and nothing is left all the same."""
    network = SimulatedNetwork()
    seen: list[Any] = []
    async with (
        open_manifest(environment=network.host(A).environment()) as m,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(follow, m, seen)
        await m.listen()
        puppet = Puppet(await network.host(B).dial(A, 3100))
        await puppet.greet()
        with trio.move_on_after(0.5) as scope:
            await m.aclose()
        assert scope.cancelled_caught
        assert (network.host(A).ends, network.host(A).listeners, m.links) == ([], {}, ())
        with pytest.raises(ManifestClosed):
            m.register("web", port=80)
    assert trio.current_time() == 0.5
    assert [type(each) for each in seen[-2:]] == [Disconnected, Closed]


async def test_a_closed_manifest_says_so(autojump_clock: MockClock) -> None:
    """What would need an open manifest raises `ManifestClosed`; what was last known can be read."""
    async with pair() as (a, b):
        theirs = b.register("web", port=80)
        await a.wait_for("web")
        a.register("mine", port=81)
        await a.aclose()
        for use in (
            lambda: a.register("web"),
            lambda: a.free(id="x"),
            lambda: a.connect(host=B),
        ):
            with pytest.raises(ManifestClosed, match="is closed: open a new one") as caught:
                use()
            assert isinstance(caught.value, trio.ClosedResourceError)
        with pytest.raises(ManifestClosed), a.registered("web"):
            pass
        with pytest.raises(ManifestClosed):
            await a.listen()
        with pytest.raises(ManifestClosed):
            async with a.events():
                pass
        with pytest.raises(ManifestClosed):
            await a.wait_for("nothing")
        assert await a.wait_for("web") == {theirs.id: theirs}
        assert (a.pick("web"), a.links, roles(a)) == (theirs, (), ["web"])
        assert a.statistics().services == 1


async def test_leaving_is_seen_at_once(autojump_clock: MockClock) -> None:
    """A closed manifest's services are gone at its peers at once, far ones too."""
    network = SimulatedNetwork()
    async with pair(network) as (a, b):
        async with open_manifest(environment=network.host(C).environment()) as c:
            await c.connect(host=A).wait_synced()
            c.register("web", port=80)
            await b.wait_for("web")
            await trio.sleep(3)
            closing = trio.current_time()
        assert trio.current_time() - closing < 0.1
        assert await until(lambda: not b.get("web")) < 0.1
        assert (a.get("web"), a.statistics().nodes) == ({}, 2)
        assert await until(lambda: b.statistics().nodes == 2) < 0.2


async def test_two_that_close_at_once_do_not_wait_for_each_other(
    autojump_clock: MockClock,
) -> None:
    """Manifests that close in the same moment take each other's goodbye for the answer."""
    async with pair() as (a, b), trio.open_nursery() as nursery:
        a.register("web", port=80)
        await b.wait_for("web")
        begun = trio.current_time()
        nursery.start_soon(a.aclose)
        nursery.start_soon(b.aclose)
    assert trio.current_time() - begun < 0.1


async def test_a_large_goodbye_is_taken_whole(autojump_clock: MockClock) -> None:
    """A peer that needs more than a second for all that is freed still gets all of it."""
    network = SimulatedNetwork(conditions=Conditions(capacity=1000))
    async with open_manifest(environment=network.host(A).environment()) as a:
        await a.listen()
        for number in range(1000):
            a.register("web", port=1 + number)
        puppet = Puppet(await network.host(B).dial(A, 3100))
        await puppet.greet()
        while len(puppet.replica.map) < 1001:
            await puppet.hear()
        heard: list[Any] = []

        async def hear_slowly() -> None:
            while not any(isinstance(each, Bye) for each in heard):
                heard.extend(await puppet.hear())
                await trio.sleep(0.2)
            await puppet.end.aclose()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(hear_slowly)
            await a.aclose()
        assert len(puppet.replica.map) == 0
        assert trio.current_time() > 1


# Options and environment


def test_the_signature_says_what_an_address_is_by_default() -> None:
    """In the signature of `register` the default of `address` is told in words."""
    assert "address: 'str | _Unset | None' = this host's, once it is known" in str(
        inspect.signature(Manifest.register)
    )


def test_a_bad_option_is_a_value_error() -> None:
    """Options are judged before anything is opened."""

    async def main() -> None:
        async with open_manifest(registration_lifetime=-1):
            raise AssertionError("the block was entered")

    with pytest.raises(ValueError, match="registration_lifetime"):
        trio.run(main)


@pytest.mark.parametrize("environment", [5, "", [], False, Environment])
def test_what_is_no_environment_is_a_value_error(environment: Any) -> None:
    """Nothing but None stands for the world as it is."""
    problem = r"^environment is made by manifest\.Environment\(\.\.\.\), got "
    with pytest.raises(ValueError, match=problem):
        open_manifest(environment=environment)


@pytest.mark.parametrize("data", ["abc", "", [], 0, False])
async def test_data_beside_a_mapping_is_a_mapping_as_well(
    autojump_clock: MockClock, data: Any
) -> None:
    """What is no mapping is refused, with a role in a mapping as with a role in text."""
    async with open_manifest(environment=alone()) as m:
        for role in ("q", {"role": "q"}):
            with pytest.raises(ValueError, match="data is a mapping such as"):
                m.register(role, data)
        port: Any = 8080
        with pytest.raises(ValueError, match=r"got 8080; for a port say port=8080$"):
            m.register("web", port)
        assert not m.services()


async def test_a_manifest_tells_what_it_is(autojump_clock: MockClock) -> None:
    """Id, name and repr say which manifest it is; two never have one id."""
    async with pair() as (a, b):
        assert (len(a.id), a.name) == (24, None)
        assert a.id != b.id
        assert repr(a) == f"<Manifest {a.id}, 1 services>"
    async with open_manifest(name="db-1", environment=alone()) as m:
        assert (m.name, repr(m)) == ("db-1", f"<Manifest {m.id} 'db-1', 0 services>")


# Listening


async def test_listening_on_any_free_port(autojump_clock: MockClock) -> None:
    """Port 0 binds a free port, which is told and registered as `manifest@<version>`."""
    async with open_manifest(environment=alone()) as m:
        listener = await m.listen(port=0)
        assert listener.port >= 49152
        assert listener.addresses == (Address("0.0.0.0", listener.port),)
        assert repr(listener) == f"<Listener on 0.0.0.0:{listener.port}>"
        assert m.get("manifest") == {listener.service.id: listener.service}
        assert (listener.service.role, listener.service.port) == (SELF, listener.port)
        # A wildcard is no address; this host's is.
        assert listener.service.address == A


async def test_listening_on_several_addresses(autojump_clock: MockClock) -> None:
    """A host that stands for several addresses is bound on each of them, at one port."""
    async with open_manifest(environment=alone()) as m:
        listener = await m.listen(port=0, host="localhost")
        assert [each.host for each in listener.addresses] == ["127.0.0.1", "::1"]
        assert len({each.port for each in listener.addresses}) == 1
        assert repr(listener).endswith(f"127.0.0.1:{listener.port}, [::1]:{listener.port}>")
        assert listener.service.address == "127.0.0.1"
        for host in ("127.0.0.1", "::1"):
            async with open_manifest(environment=m._hub.environment) as other:
                await other.connect(port=listener.port, host=host).wait_synced()


async def test_each_listener_is_registered_under_its_own_address(
    autojump_clock: MockClock,
) -> None:
    """Of several listeners each is registered where it listens, and services at the better one."""
    async with open_manifest(environment=alone()) as m:
        near = await m.listen(port=1, host="127.0.0.1")
        assert m.register("web", port=80).address == "127.0.0.1"
        far = await m.listen(port=2, host="10.9.9.9")
        assert m.register("web", port=80).address == "10.9.9.9"
        assert (near.service.address, far.service.address) == ("127.0.0.1", "10.9.9.9")
        assert (await m.listen(port=3, host="10.8.8.8")).service.address == "10.8.8.8"
        assert m.register("web", port=80).address == "10.9.9.9"
        assert m.listening == "127.0.0.1:1"


@pytest.mark.parametrize(
    "advertise, shown",
    [
        ("example.org", ("example.org", 3100)),
        ("example.org:443", ("example.org", 443)),
        ("[2001:db8::1]:443", ("2001:db8::1", 443)),
    ],
)
async def test_advertising_another_address(
    autojump_clock: MockClock, advertise: str, shown: tuple[str, int]
) -> None:
    """What is advertised is what others are told, and this host's address for its services."""
    network = SimulatedNetwork()
    environment = network.host(A).environment()
    async with open_manifest(advertise=advertise, environment=environment) as m:
        assert m.register("early").address == shown[0]
        listener = await m.listen()
        assert (listener.service.address, listener.service.port) == shown
        assert listener.port == 3100
        puppet = Puppet(await network.host(B).dial(A, 3100))
        await puppet.greet()
        assert m.register("web", address=None).address == shown[0]
        assert puppet.protocol.peer is not None
        assert puppet.protocol.peer.listening == str(Address(*shown))


async def test_closing_a_listener_frees_its_port(autojump_clock: MockClock) -> None:
    """A closed listener's port and registration are free, and links that it accepted go on."""
    async with pair() as (a, b):
        (listener,) = a._hub.listeners
        assert a.listening == f"{A}:3100"
        listener.close()
        listener.close()
        assert a.get("manifest") == {}
        assert a.listening is None
        again = await a.listen()
        assert again.port == 3100
        assert await until(lambda: list(b.get("manifest")) == [again.service.id]) < 0.1
        service = a.register("web", port=80)
        assert await b.wait_for("web") == {service.id: service}
        again.close()
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(OSError, match="refused"):
            await b._hub.environment.network.dial(A, 3100)
        assert a.links[0].status.state is LinkState.SYNCED


async def test_a_port_that_is_slow_to_be_free(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`listen` waits until this manifest's own closed listeners have let go of their ports."""
    close = SimulatedListener.aclose

    async def slowly(listener: SimulatedListener) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(1)
            await close(listener)

    monkeypatch.setattr(SimulatedListener, "aclose", slowly)
    async with open_manifest(environment=alone()) as m:
        listener = await m.listen()
        listener.close()
        await m.listen()
        assert trio.current_time() == 1


async def test_a_port_in_use_leaves_nothing(autojump_clock: MockClock) -> None:
    """Where the port cannot be bound, that is an OSError, and nothing is registered."""
    async with open_manifest(environment=alone()) as m:
        await m.listen()
        with pytest.raises(OSError, match="in use"):
            await m.listen()
        assert len(m.services()) == 1


@pytest.mark.parametrize("port", [-1, 65536, "3100", 1.0, False, 0.0])
async def test_listening_on_what_is_no_port(autojump_clock: MockClock, port: Any) -> None:
    """What is no port is a ValueError for `listen` and `connect`, and so is what is no host."""
    async with open_manifest(environment=alone()) as m:
        with pytest.raises(ValueError, match="a port is an integer"):
            await m.listen(port=port)
        with pytest.raises(ValueError, match="a port is an integer"):
            m.connect(port=port)


@pytest.mark.parametrize(
    "host, problem",
    [
        ("", "^a host is a host name or an IP address, got ''$"),
        ("not a host", "^a host is a host name or an IP address, got 'not a host'$"),
        (None, "^a host is a host name or an IP address, got None$"),
        ("localhost:3100", "^a host has a colon only if it is an IPv6 .*; give the port as port="),
        ("[::1]", "without brackets"),
    ],
)
async def test_what_is_no_host(autojump_clock: MockClock, host: Any, problem: str) -> None:
    """What is no host is a ValueError for `listen` and `connect`, a port within it included."""
    async with open_manifest(environment=alone()) as m:
        with pytest.raises(ValueError, match=problem):
            await m.listen(host=host)
        with pytest.raises(ValueError, match=problem):
            m.connect(host=host)
        assert not m.links


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
async def test_every_address_of_a_host_is_nowhere_to_connect_to(
    autojump_clock: MockClock, host: str
) -> None:
    """Only to listen on; who means this host is told how to say so."""
    async with open_manifest(environment=alone()) as m:
        with pytest.raises(ValueError, match="to connect to this host say 127"):
            m.connect(host=host)
        assert not m.links


async def test_a_host_and_a_port_in_the_wrong_order(autojump_clock: MockClock) -> None:
    """A host given in the place of the port is a ValueError that shows the right order."""
    wrong: Any = ("localhost", 3100)
    async with open_manifest(environment=alone()) as m:
        with pytest.raises(
            ValueError, match=r"^connect takes the port first, as in connect\(3100,"
        ):
            m.connect(*wrong)
        with pytest.raises(ValueError, match=r"^listen takes the port first, as in listen\(3100,"):
            await m.listen(*wrong)


@pytest.mark.parametrize(
    "place, right",
    [("localhost:3100", "3100, 'localhost'"), ("[::1]:80", "80, '[::1]'"), (":3100", "3100")],
)
async def test_a_host_and_a_port_in_one(autojump_clock: MockClock, place: Any, right: str) -> None:
    """An address as one text is a ValueError that shows how to say it."""
    async with open_manifest(environment=alone()) as m:
        with pytest.raises(ValueError) as caught:
            m.connect(place)
        assert str(caught.value).startswith(
            f"connect takes a port and a host, as in connect({right}),"
        )
        assert not m.links


def test_what_is_not_opened_says_how_to_open_it() -> None:
    """Who forgot `async with` is told so, whatever they call."""
    opening: Any = open_manifest()
    with pytest.raises(
        AttributeError,
        match=r"^open_manifest\(\.\.\.\) has no register: what it opens has, .*async with",
    ):
        opening.register("web")


async def test_a_manifest_that_closes_while_it_binds(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A `listen` that the end of the manifest overtakes binds nothing and says why."""
    network = SimulatedNetwork()
    async with trio.open_nursery() as nursery:

        async def listen(m: Manifest) -> None:
            with pytest.raises(ManifestClosed):
                await m.listen()

        async with open_manifest(environment=network.host(A).environment()) as m:
            bind = Host.listen

            async def slowly(host: Host, name: str, port: int) -> Any:
                bound = await bind(host, name, port)
                await trio.sleep(1)
                return bound

            monkeypatch.setattr(Host, "listen", slowly)
            # It goes on when the manifest has closed.
            nursery.start_soon(listen, m)  # noqa: ASYNC111
            await trio.sleep(0.5)
        await trio.sleep(1)
        assert not network.host(A).listeners


# Registering


async def test_registering_is_immediate(autojump_clock: MockClock) -> None:
    """A service is registered when `register` returns, and is soon at the peers, exactly."""
    async with pair() as (a, b):
        service = a.register("web@1.2.3", {"zone": "eu", "weight": 3}, port=8080)
        assert a.get("web") == {service.id: service}
        assert (service.role, service.name, str(service.version)) == ("web@1.2.3", "web", "1.2.3")
        assert (service.address, service.port, service.owner) == (A, 8080, a.id)
        assert service.data == {"zone": "eu", "weight": 3}
        assert service.id.startswith(f"{a.id}.")
        assert not service.persistent
        found = await b.wait_for("web")
        assert trio.current_time() < 0.1
        assert found == {service.id: service}
        assert found[service.id].timestamp == service.timestamp


async def test_registering_a_mapping(autojump_clock: MockClock) -> None:
    """A mapping may say everything; arguments beside it come first, and the rest is data."""
    async with open_manifest(environment=alone()) as m:
        service = m.register(
            {"role": "web@1.0.0", "port": 1, "address": "h", "id": "x", "zone": "eu"},
            {"rack": 7},
            port=2,
        )
        assert (service.id, service.address, service.port) == ("x", "h", 2)
        assert service.data == {"zone": "eu", "rack": 7}
        other = m.register({"role": "db", "persistent": True, "id": "x"}, id="y", address="g")
        assert (other.id, other.persistent, other.address) == ("y", True, "g")


BAD = [
    (("web@nonsense",), {}, "version"),
    (("",), {}, "a role is"),
    ((None,), {}, "a role is"),
    (({"port": 80},), {}, "role"),
    (("web", ["zone"]), {}, "data is a mapping"),
    (("web", {"x": math.nan}), {}, "finite"),
    (("web",), {"port": 0}, "a port is"),
    (("web",), {"address": "a b"}, "an address is"),
    (("web",), {"address": "foo:80"}, "an address has a colon only if .* give the port as port="),
    (("web",), {"address": "0.0.0.0"}, "is no address to connect to"),
    (("web",), {"address": "::"}, "is no address to connect to"),
    (("web",), {"persistent": "yes"}, "persistent is True or False, got 'yes'"),
    (("web",), {"persistent": None}, "persistent is True or False, got None"),
    (({"role": "web"},), {"persistent": 0}, "persistent is True or False, got 0"),
    (({"role": "web"}, [1]), {}, "data is a mapping"),
    (({"role": "web"}, []), {}, "data is a mapping"),
    (({"role": "web", "id": "x"},), {"id": ""}, "an id is"),
    (("web",), {"id": "*x"}, "an id is"),
    (("web", {"x": "y" * 20_000}), {}, "at most 16384 bytes"),
]


@pytest.mark.parametrize("arguments, options, problem", BAD)
async def test_what_cannot_be_registered(
    autojump_clock: MockClock, arguments: Any, options: Any, problem: str
) -> None:
    """What is malformed or too large is a ValueError that says so, and nothing is registered."""
    async with open_manifest(environment=alone()) as m:
        with pytest.raises(ValueError, match=problem):
            m.register(*arguments, **options)
        assert not m.services()


async def test_another_manifests_id_cannot_be_registered(autojump_clock: MockClock) -> None:
    """An id that is bound to its owner cannot be registered by anybody else."""
    async with pair() as (a, b):
        service = a.register("web", port=80)
        with pytest.raises(NotOwner, match=f"is bound to the manifest {a.id}"):
            b.register("web", id=service.id)
        assert a.register("web", port=81, id=service.id).id == service.id
        assert a.services()[service.id].port == 81


async def test_a_persistent_service_does_not_stand_in_for_another_manifests(
    autojump_clock: MockClock,
) -> None:
    """An owner-bound id is its owner's alone to register, persistent or not."""
    async with pair() as (a, b):
        service = a.register("web", port=80)
        kept = a.register("db", port=81, persistent=True)
        await b.wait_for("db")
        for id in (service.id, kept.id):
            with pytest.raises(NotOwner, match=f"the id {id} is bound to the manifest {a.id}"):
                b.register("evil", id=id, port=666, persistent=True)
        assert a.register("db", port=82, id=kept.id, persistent=True).port == 82
        assert await until(lambda: b.services()[kept.id].port == 82) < 0.1
        # Free what is not there, as a hostile peer might: it hides nothing of the owner's.
        b._hub.replica.free(f"*{service.id}")
        assert b.free(id=kept.id)
        await until(lambda: kept.id not in a.services())
        assert a.services()[service.id] == b.services()[service.id] == service


async def test_ids_that_are_in_use_are_not_made(autojump_clock: MockClock) -> None:
    """An id of its own form that was chosen by hand is not made again: shown, waiting, or freed."""
    async with open_manifest(environment=alone()) as m:
        one, two, three, four = (f"{m.id}.{n}" for n in (1, 2, 3, 4))
        m.register("mine", id=one, port=1, address=A)
        m.register("mine", id=two, port=2, address=None)
        m.register("mine", id=three, port=3, address=A, persistent=True)
        m.register("mine", id=four, port=4, address=A)
        m.free(id=four)
        made = [m.register("made", address=A, persistent=kept).id for kept in (False, True)]
        assert made == [f"{m.id}.5", f"{m.id}.6"]
        m._hub.learn_address(A)
        assert {each.id: each.port for each in m.get("mine").values()} == {one: 1, two: 2, three: 3}


async def test_ids_of_persistent_services_that_wait_are_not_made(autojump_clock: MockClock) -> None:
    """What waits for an address takes its id before it is registered, persistent or not."""
    async with open_manifest(environment=alone()) as m:
        m.register("mine", id=f"{m.id}.1", port=1, address=None, persistent=True)
        assert m.register("made", address=A).id == f"{m.id}.2"
        m._hub.learn_address(A)
        assert [each.id for each in m.get("mine").values()] == [f"{m.id}.1"]


async def test_registering_for_a_block(autojump_clock: MockClock) -> None:
    """`registered` frees at the end of the block, however it ends, and only what is still its."""
    async with pair() as (a, b):
        with a.registered("web", port=80) as service:
            assert await b.wait_for("web") == {service.id: service}
        assert a.get("web") == {}
        assert await until(lambda: not b.get("web")) < 0.1
        with suppress(Broken), a.registered("web", port=80):
            raise Broken
        assert a.get("web") == {}
        with a.registered("web", port=80, id="primary"):
            await b.wait_for("web")
            taken = b.register("web", port=81, id="primary")
            await until(lambda: a.services()["primary"].owner == b.id)
        assert a.services()["primary"] == taken
        with a.registered("db", persistent=True, id="db"):
            pass
        assert a.get("db") == {}
        with a.registered("last", port=80):
            await a.aclose()


# An address to be filled in


async def test_an_address_that_is_not_known_yet(autojump_clock: MockClock) -> None:
    """`address=None` waits for this host's address, and registers as soon as a peer has told it."""
    network = SimulatedNetwork()
    async with (
        open_manifest(environment=network.host(A).environment()) as a,
        open_manifest(environment=network.host(B).environment()) as b,
    ):
        await a.listen()
        waiting = b.register("web", port=80, address=None)
        assert waiting.address is None
        assert b.get("web") == {}
        await b.connect(host=A).wait_synced()
        (service,) = b.get("web").values()
        assert (service.id, service.address, service.port) == (waiting.id, B, 80)
        assert await a.wait_for("web") == {service.id: service}
        assert b.register("web", address=None).address == B


async def test_an_address_that_becomes_known_later(autojump_clock: MockClock) -> None:
    """Left out while it is not known, the address is told to all as soon as it is, as an update."""
    network = SimulatedNetwork()
    events: list[Any] = []
    async with (
        open_manifest(environment=network.host(A).environment()) as a,
        open_manifest(environment=network.host(B).environment()) as b,
        trio.open_nursery() as nursery,
    ):
        await a.listen()
        await nursery.start(follow, b, events)
        early = b.register("web", {"zone": "eu"}, port=80)
        lasting = b.register("db", port=81, id="db", persistent=True)
        assert (early.address, lasting.address) == (None, None)
        assert b.services() == {early.id: early, lasting.id: lasting}
        await b.connect(host=A).wait_synced()
        (web,) = b.get("web").values()
        assert web == at(early, B)
        assert b.get("db") == {"db": at(lasting, B)}
        await until(lambda: a.services() == b.services())
        await trio.testing.wait_all_tasks_blocked()
        assert [each for each in events if isinstance(each, Updated)] == [
            Updated(web, early),
            Updated(b.services()["db"], lasting),
        ]
        # Once, and not with each further address.
        b._hub.learn_address("10.0.0.99")
        assert b.get("web") == {web.id: web}
        assert b.free(early) == web
        nursery.cancel_scope.cancel()


async def test_an_address_comes_too_late_for_another_registration(
    autojump_clock: MockClock,
) -> None:
    """What was freed, replaced, or taken over meanwhile is left as it is when the address comes."""
    network = SimulatedNetwork()
    (listener,) = await network.host(A).listen(A, 3100)
    async with open_manifest(environment=network.host(B).environment()) as m:
        freed = m.register("web", port=1)
        assert m.free(freed) == freed
        with m.registered("web", port=2):
            pass
        m.register("api", port=3, id="given")
        given = m.register("api", port=3, id="given", address="10.0.0.9")
        m.register("api", port=4, id="waits")
        m.register("api", port=5, id="waits", address=None)
        m.register("db", port=6, id="taken")
        m.register("db", port=7, id="gone", persistent=True)
        # A peer that does not say how it sees this host.
        m.connect(host=A)
        puppet = Puppet(await listener.accept())  # type: ignore[arg-type]
        await puppet.greet()
        while "taken" not in puppet.replica.map:
            await puppet.hear()
        taken = puppet.replica.write("taken", Record("db", "10.0.0.7", 8))
        puppet.replica.free(key_of("gone", persistent=True))
        await puppet.say()
        await until(lambda: m.services().get("taken") == taken and "gone" not in m.services())
        m._hub.learn_address(B)
        assert m.services()["waits"].address == B
        assert m.services()["waits"].port == 5
        assert m.get("api") == {"given": given, "waits": m.services()["waits"]}
        assert m.get("db") == {"taken": taken}
        assert m.get("web") == {}


async def test_what_waits_can_be_freed(autojump_clock: MockClock) -> None:
    """What waits for its address is freed by service, id or port, and never registered then."""
    async with open_manifest(environment=alone()) as m:
        one = m.register("web", port=1, address=None)
        two = m.register("web", port=2, address=None)
        three = m.register("web", port=3, address=None, id="three", persistent=True)
        assert m.free(one) == one
        assert m.free(port=2) == two
        assert m.free(id="three", port=4) is None
        assert m.free(id="three", port=3) == three
        assert m.free(id="three") is None
        with m.registered("web", port=4, address=None):
            pass
        await m.listen()
        assert roles(m) == []


async def test_what_waits_can_be_registered_anew(autojump_clock: MockClock) -> None:
    """Registering under the same id replaces what waits, at once if the address is given."""
    async with open_manifest(environment=alone()) as m:
        m.register("web", port=1, address=None, id="x")
        m.register("web", port=2, address=None, id="x")
        m.register("api", port=1, address=None, id="y")
        m.register("api", port=2, address="10.0.0.9", id="y")
        await m.listen()
        assert (m.services()["x"].port, m.services()["x"].address) == (2, A)
        assert (m.services()["y"].port, m.services()["y"].address) == (2, "10.0.0.9")


async def test_what_waits_goes_with_what_it_is_to_replace(autojump_clock: MockClock) -> None:
    """Freed by its id, by either of its ports, or at the end of a block, nothing of it is left."""
    async with open_manifest(environment=alone()) as m:
        for persistent in (False, True):
            options: dict[str, Any] = {"id": "x", "persistent": persistent}

            def waiting(options: dict[str, Any] = options) -> Service:
                m.register("web", port=1, address=A, **options)
                return m.register("web", port=2, address=None, **options)

            waits = waiting()
            assert m.free(id="x") == waits
            assert (m.free(id="x"), m.services()) == (None, {})
            assert m.free(waiting()) == waits
            assert m.services() == {}
            waiting()
            assert m.free(port=2) == waits
            assert m.services() == {}
            waiting()
            freed = m.free(port=1)
            assert freed is not None
            assert (freed.port, freed.address) == (1, A)
            assert m.services() == {}
            m.register("web", port=1, address=A, **options)
            with m.registered("web", port=2, address=None, **options):
                assert m.services()["x"].port == 1
            assert m.services() == {}
        m._hub.learn_address(B)
        assert m.services() == {}


async def test_what_waits_to_take_a_name_over_goes_alone(autojump_clock: MockClock) -> None:
    """What another manifest holds under the name stays, for it was not taken over yet."""
    network = SimulatedNetwork()
    async with (
        open_manifest(environment=network.host(A).environment()) as a,
        open_manifest(environment=network.host(A).environment()) as b,
    ):
        await a.listen()
        theirs = a.register("web", port=1, id="x")
        for persistent in (False, True):
            kept = a.register("db", port=1, id="y", persistent=True)
            await b.connect().wait_synced()
            b._hub.registrations.address = None
            id, service = ("y", kept) if persistent else ("x", theirs)
            waits = b.register("web", port=2, id=id, address=None, persistent=persistent)
            assert b.free(id=id) == waits
            with b.registered("web", port=2, id=id, address=None, persistent=persistent):
                pass
            assert b.services()[id] == service
        b.register("web", port=2, id="x", address=None)
        with pytest.raises(NotOwner):
            b.free(id="x", port=1)


async def test_what_waits_is_forgotten_at_the_end(autojump_clock: MockClock) -> None:
    """A manifest that closes before its address is known never registers what waited."""
    async with open_manifest(environment=alone()) as m:
        m.register("web", port=1, address=None)
        await m.aclose()
        m._hub.learn_address(A)
        assert m.services() == {}


async def test_an_address_has_room_before_it_is_known(autojump_clock: MockClock) -> None:
    """A record that an address would make too large is refused before, not when it is known."""
    async with open_manifest(environment=alone()) as m:
        data = {"fill": "x" * 16_250}
        with pytest.raises(ValueError, match="at most 16384 bytes"):
            m.register("web", data, address=None)
        with pytest.raises(ValueError, match="at most 16384 bytes"):
            m.register("web", data)
        m.register("web", data, address=A)


async def test_room_in_reserve_for_an_address_is_named(autojump_clock: MockClock) -> None:
    """What the reserve alone makes too large is told of it, and what to give; the rest is not."""
    async with open_manifest(environment=alone(), limits=Limits(record_bytes=256)) as m:
        with pytest.raises(
            ValueError, match=r"got \d\d, and 255 more are reserved .*address=\.\.\."
        ):
            m.register("w")
        with pytest.raises(ValueError, match=r"got 3\d\d: keep large things elsewhere"):
            m.register("w", {"fill": "x" * 300})
        m.register("w", address=A)


@pytest.mark.parametrize("nonsense", ["", "a b", "0.0.0.0", "::", "\n", "ä" * 200])
async def test_a_peer_that_tells_nonsense_is_not_believed(
    autojump_clock: MockClock, nonsense: str
) -> None:
    """An address that could not be registered is not this host's, whoever says so."""
    async with open_manifest(environment=alone()) as m:
        m.register("web", address=None)
        m._hub.learn_address(nonsense)
        assert m.get("web") == {}
        m._hub.learn_address(A)
        assert len(m.get("web")) == 1


async def test_an_address_that_others_can_reach_is_the_better_one(
    autojump_clock: MockClock,
) -> None:
    """The loopback address that one peer sees gives way to the one that another peer sees."""
    network = SimulatedNetwork()
    async with (
        open_manifest(environment=network.host(A).environment()) as near,
        open_manifest(environment=network.host(B).environment()) as far,
        open_manifest(environment=network.host(A).environment()) as m,
    ):
        await near.listen()
        await far.listen()
        await m.connect().wait_synced()
        assert m.register("web").address == "127.0.0.1"
        await m.connect(host=B).wait_synced()
        assert m.register("web").address == A
        m._hub.learn_address("10.0.0.99")
        assert m.register("web").address == A


# Freeing


async def test_freeing_is_seen_at_once(autojump_clock: MockClock) -> None:
    """A freed service is gone when `free` returns, and at the peers before any lease lapses."""
    async with pair() as (a, b):
        service = a.register("web", port=80)
        await b.wait_for("web")
        assert a.free(service) == service
        assert a.get("web") == {}
        assert await until(lambda: not b.get("web")) < 0.1


async def test_what_to_free(autojump_clock: MockClock) -> None:
    """By service, id, port, or id and port: what is meant is freed and returned, else None."""
    async with open_manifest(environment=alone()) as m:
        one, two, three = (m.register("web", port=port, id=f"at-{port}") for port in (1, 2, 2))
        assert two.id == three.id
        assert m.free(port=9) is None
        assert m.free(id="at-9") is None
        assert m.free(id="at-1", port=2) is None
        assert m.free(one, port=2) is None
        assert m.free(id="at-1", port=1) == one
        assert m.free(one) is None
        assert m.free(port=2) == three
        kept = m.register("db", id="db", persistent=True)
        shadow = m.register("db", id="db", port=5)
        # Both bear one id, and the later-written one is shown.
        assert m.services()["db"] == shadow
        assert m.free(kept) == kept
        assert m.services()["db"] == shadow
        m.register("db", id="db", persistent=True)
        assert m.free(id="db") == kept
        assert m.free(id="db") == shadow
        assert m.services() == {}
        for no_service in ("at-2", 2, m.services()):
            with pytest.raises(
                ValueError, match=r"^free\(service\) takes .* say free\(id=\.\.\.\)"
            ):
                m.free(no_service)  # type: ignore[arg-type]
        for nothing in ({}, {"service": one, "id": "at-2"}):
            with pytest.raises(ValueError, match="say what to free"):
                m.free(**nothing)  # type: ignore[arg-type]  # one of each at random
        with pytest.raises(ValueError, match="a port is"):
            m.free(port=0)


async def test_only_the_owner_frees(autojump_clock: MockClock) -> None:
    """Another's service cannot be freed, by whatever it is named; a port means one's own first."""
    async with pair() as (a, b):
        theirs = a.register("web", port=80)
        await b.wait_for("web")
        for what in ({"service": theirs}, {"id": theirs.id}, {"port": 80}):
            with pytest.raises(NotOwner, match=f"belongs to the manifest {a.id}"):
                b.free(**what)
        mine = b.register("api", port=80)
        assert b.free(port=80) == mine
        assert b.get("web") == {theirs.id: theirs}
        assert a.free(port=80) == theirs


async def test_persistent_services_outlive_their_owner(autojump_clock: MockClock) -> None:
    """A persistent service stays when its owner closes or dies, until somebody frees it."""
    network = SimulatedNetwork()
    async with pair(network) as (a, b):
        async with open_manifest(environment=network.host(C).environment()) as c:
            await c.connect(host=A).wait_synced()
            kept = c.register("db", port=5432, persistent=True)
            c.register("web", port=80)
            await b.wait_for("web")
        await trio.sleep(60)
        assert b.get("db") == a.get("db") == {kept.id: kept}
        assert roles(b) == ["db"]
        assert b.free(kept) == kept
        assert await until(lambda: not a.get("db")) < 0.1
        await trio.sleep(60)
        assert roles(a) == roles(b) == []


async def test_a_persistent_service_at_a_port_can_be_freed_by_anyone(
    autojump_clock: MockClock,
) -> None:
    """`free(port=...)` finds another manifest's persistent service."""
    async with pair() as (a, b):
        kept = a.register("db", port=5432, persistent=True)
        await b.wait_for("db")
        assert b.free(port=5432) == kept
        assert await until(lambda: not a.get("db")) < 0.1


# Shared names


async def test_a_shared_name_is_taken_over(autojump_clock: MockClock) -> None:
    """The last writer holds a shared name; the former owner sees that, and renews it no more."""
    network = SimulatedNetwork()
    events: list[Any] = []
    options: dict[str, Any] = {
        "heartbeat_interval": 1.0,
        "registration_lifetime": 1.0,
        "retention": 10.0,
    }
    async with pair(network, **options) as (a, b), trio.open_nursery() as nursery:
        former = a.register("primary", port=1, id="primary")
        await b.wait_for("primary")
        await nursery.start(follow, a, events)
        latter = b.register("primary", port=2, id="primary")
        await until(lambda: a.services()["primary"] == latter)
        replaced, registered = (each for each in events if isinstance(each, Freed | Registered))
        assert replaced == Freed(former, manifest.FreeReason.REPLACED)
        assert registered == Registered(latter)
        with pytest.raises(NotOwner):
            a.free(former)
        await trio.sleep(60)
        assert a.services()["primary"] == b.services()["primary"] == latter
        assert b.free(latter) == latter
        assert await until(lambda: not a.get("primary")) < 0.1
        await trio.sleep(60)
        assert roles(a) == roles(b) == []
        nursery.cancel_scope.cancel()


async def test_registering_anew_updates(autojump_clock: MockClock) -> None:
    """Registering under one's own id again is one `Updated` at the peers, with both versions."""
    events: list[Any] = []
    async with pair() as (a, b), trio.open_nursery() as nursery:
        before = a.register("web@1.0.0", port=1)
        await b.wait_for("web")
        await nursery.start(follow, b, events)
        after = a.register("web@1.1.0", port=2, id=before.id)
        await b.wait_for("web@1.1")
        await trio.testing.wait_all_tasks_blocked()
        assert [each for each in events if not isinstance(each, Heartbeat)] == [
            Updated(after, before)
        ]
        nursery.cancel_scope.cancel()


async def test_a_named_restart_displaces_at_once(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A later-born manifest of the same name is believed at once, and the earlier one is told."""
    network = SimulatedNetwork()
    events: list[Any] = []
    mine: list[Any] = []
    async with pair(network) as (_, b), trio.open_nursery() as nursery:
        await nursery.start(follow, b, events)
        async with open_manifest(name="db-1", environment=network.host(C).environment()) as old:
            # It follows what happens after this one has closed, too.
            await nursery.start(follow, old, mine)  # noqa: ASYNC111
            await old.connect(host=A).wait_synced()
            former = old.register("db", port=1)
            await b.wait_for("db")
            network.host(C).clock.step(0.1)
            environment = network.host(C).environment()
            async with open_manifest(name="db-1", environment=environment) as new:
                latter = new.register("db", port=2, address=C)
                await new.connect(host=A).wait_synced()
                await until(lambda: b.get("db") == {latter.id: latter}, within=0.2)
                assert frees(events) == [("db", "replaced")]
                await until(lambda: old.statistics().displaced_by == new.id, within=0.2)
                assert [each for each in mine if isinstance(each, Displaced)] == [Displaced(new.id)]
                (told,) = [each for each in caplog.records if each.levelno == logging.WARNING]
                assert f"the later-born manifest {new.id} bears this one's name" in told.message
                # What is not shown can still be freed by its owner, in every way.
                one, two = old.register("db", port=3), old.register("db", port=4)
                assert old.get("db") == {latter.id: latter}
                assert (old.free(former), old.free(id=one.id)) == (former, one)
                assert old.free(port=4) == two
                assert old.free(port=4) is None
                old.register("db", port=5)
            # The later one has left, so the earlier one is believed again.
            await until(lambda: b.get("db"), within=0.2)
            assert [each.port for each in b.get("db").values()] == [5]
            assert old.statistics().displaced_by is None
        nursery.cancel_scope.cancel()


# Finding


async def test_looking_up(autojump_clock: MockClock) -> None:
    """Names, versions, ranges and partial records find what they say, the newest version first."""
    async with open_manifest(environment=alone()) as m:
        for version in ("1.2.0", "2.0.0", "1.10.0"):
            m.register(f"web@{version}", {"zone": "eu"}, port=80)
        m.register("web@1.3.0", {"zone": "us"}, port=81)

        def versions(query: Any) -> list[str]:
            return [str(each.version) for each in m.get(query).values()]

        assert versions("web") == ["2.0.0", "1.10.0", "1.3.0", "1.2.0"]
        assert versions("web@^1.2") == ["1.10.0", "1.3.0", "1.2.0"]
        assert versions("web@1.2.0") == ["1.2.0"]
        assert versions({"role": "web", "zone": "us"}) == ["1.3.0"]
        assert versions("api") == []
        copy = m.services()
        copy.clear()
        assert len(m.services()) == 4
        for wrong in ("web@?", 7):
            with pytest.raises(ValueError):
                m.get(wrong)  # type: ignore[arg-type]  # that is what is tested


async def test_waiting_for_a_service(autojump_clock: MockClock) -> None:
    """`wait_for` returns what is there, or wakes as soon as something matches, and not before."""
    async with pair() as (a, b), trio.open_nursery() as nursery:
        woken: list[float] = []

        async def wait(m: Manifest, query: str) -> None:
            assert await m.wait_for(query) == m.get(query)
            woken.append(trio.current_time())

        for m in (a, b):
            nursery.start_soon(wait, m, "web@^2")
        await trio.sleep(10)
        service = a.register("web@1.0.0", port=80)
        await trio.sleep(10)
        assert woken == []
        a.register("web@2.0.0", port=80, id=service.id)
        await trio.sleep(1)
        assert [int(each) for each in woken] == [20, 20]
        with pytest.raises(ValueError):
            await a.wait_for("web@?")


async def test_waiting_ends_with_the_manifest(autojump_clock: MockClock) -> None:
    """Who waits for a service is told when the manifest closes."""
    async with trio.open_nursery() as nursery:

        async def wait(m: Manifest) -> None:
            with pytest.raises(ManifestClosed):
                await m.wait_for("web")

        async with open_manifest(environment=alone()) as m:
            # It waits on when the manifest has closed.
            nursery.start_soon(wait, m)  # noqa: ASYNC111
            await trio.sleep(1)


async def test_picking_spreads_evenly(autojump_clock: MockClock) -> None:
    """Each pick is of the one that was picked longest ago, and a new one's turn comes at once."""
    async with pair() as (a, b):
        services = [a.register("web@1.0.0", port=port) for port in (1, 2, 3)]
        await until(lambda: len(b.get("web")) == 3)
        picked = Counter(b.pick("web@^1").port for _ in range(300))
        assert picked == {1: 100, 2: 100, 3: 100}
        late = a.register("web@1.1.0", port=4)
        await b.wait_for("web@1.1.0")
        assert b.pick("web") == late
        assert {b.pick("web").port for _ in range(3)} == {1, 2, 3}
        a.free(services[0])
        await until(lambda: len(b.get("web")) == 3)
        assert Counter(b.pick("web").port for _ in range(300)) == {2: 100, 3: 100, 4: 100}
        with pytest.raises(ServiceNotFound, match=r"no service matches 'api': await wait_for\("):
            b.pick("api")
        with pytest.raises(LookupError):
            b.pick("web@^7")
        await b.aclose()
        # There is nothing to wait for any more.
        with pytest.raises(ServiceNotFound, match=f"'api': the manifest {b.id} is closed$"):
            b.pick("api")


async def test_first_picks_differ_between_manifests(autojump_clock: MockClock) -> None:
    """Which of equals comes first is chance, so that not everybody begins with the same."""
    first: set[str] = set()
    for seed in range(20):
        environment = SimulatedNetwork(seed).host(A).environment()
        async with open_manifest(environment=environment) as m:
            for number in range(3):
                m.register("web", id=f"web-{number}")
            first.add(m.pick("web").id)
    assert first == {"web-0", "web-1", "web-2"}


# Events and statistics


async def test_a_view_kept_from_events_equals_the_registry(autojump_clock: MockClock) -> None:
    """Snapshot and events together are the registry at every step, through all that happens."""
    network = SimulatedNetwork()
    events: dict[str, list[Any]] = {"a": [], "b": []}
    options: dict[str, Any] = {"heartbeat_interval": 1.0, "registration_lifetime": 1.0}
    async with pair(network, **options) as (a, b), trio.open_nursery() as nursery:
        a.register("before", port=1)
        # The view is compared whenever no event waits: see `follow`.
        await nursery.start(follow, a, events["a"])
        await nursery.start(follow, b, events["b"])
        service = a.register("web", port=1)
        b.register("shared", id="shared", port=2)
        await trio.sleep(1)
        a.register("shared", id="shared", port=3)
        a.register("web", port=2, id=service.id)
        await trio.sleep(1)
        network.partition(A, B)
        await trio.sleep(5)
        a.free(service)
        b.register("shared", id="shared", port=4)
        network.heal()
        await trio.sleep(5)
        nursery.cancel_scope.cancel()
    assert ("web", "expired") in frees(events["b"])
    assert ("shared", "replaced") in frees(events["a"])


async def test_closed_is_the_last_event(autojump_clock: MockClock) -> None:
    """The goodbye is seen as events, `Closed` behind all of them, and the iteration ends."""
    network = SimulatedNetwork()
    seen: list[Any] = []
    async with (
        open_manifest(environment=network.host(B).environment()) as b,
        open_manifest(environment=network.host(A).environment()) as a,
        trio.open_nursery() as nursery,
    ):
        await b.listen()
        await nursery.start(follow, a, seen)
        await a.connect(host=B).wait_synced()
        a.register("web", port=80)
        await trio.sleep(1)
        await a.aclose()
    assert [type(each) for each in seen[-3:]] == [Freed, Disconnected, Closed]
    assert sum(isinstance(each, Closed) for each in seen) == 1


async def test_subscribing_while_the_manifest_closes(autojump_clock: MockClock) -> None:
    """A subscription that is made in the last moment has `Closed` as its only event."""
    async with trio.open_nursery() as nursery:
        seen: list[Any] = []

        async def subscribe(m: Manifest) -> None:
            with suppress(ManifestClosed):
                async with m.events() as events:
                    seen.append([event async for event in events])

        async with open_manifest(environment=alone()) as m:
            for _ in range(30):
                # It reads on when the manifest has closed.
                nursery.start_soon(subscribe, m)  # noqa: ASYNC111
                await trio.lowlevel.checkpoint()
            with trio.CancelScope() as scope:
                scope.cancel()
                await m.aclose()
    assert len(seen) >= 29
    assert all(each == [Closed()] for each in seen)


async def test_heartbeats_are_events(autojump_clock: MockClock) -> None:
    """A manifest tells that it has told the others that it is alive, once per interval."""
    seen: list[Any] = []
    async with (
        open_manifest(heartbeat_interval=2, environment=alone()) as m,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(follow, m, seen)
        await trio.sleep(20.5)
        nursery.cancel_scope.cancel()
    beats = [each.time for each in seen if isinstance(each, Heartbeat)]
    assert len(beats) == 10
    assert {later - earlier for earlier, later in pairwise(beats)} == {2000}


async def test_a_subscriber_that_lags_costs_little(autojump_clock: MockClock) -> None:
    """What a subscriber has not read is merged per service: hundreds of changes are one event."""
    async with pair() as (a, b), b.events() as events:
        for number in range(300):
            a.register("web", {"n": number}, port=80, id="web")
            await trio.sleep(0.01)
        await trio.sleep(1)
        assert len(events) <= 4
        statistics = b.statistics()
        assert (statistics.subscribers, statistics.lag) == (1, len(events))
        assert statistics.merged == events.merged > 100
        latest = [each for each in [await anext(events)] if isinstance(each, Registered)]
        assert latest[0].service == b.services()["web"]


async def test_statistics(autojump_clock: MockClock) -> None:
    """Statistics count what is held, who is believed, and what the links carried."""
    async with pair() as (a, b):
        service = a.register("web", port=80)
        await b.wait_for("web")
        a.free(service)
        await trio.sleep(1)
        mine, theirs = a.statistics(), b.statistics()
        assert (mine.id, mine.services, mine.entries, mine.tombstones) == (a.id, 1, 1, 1)
        assert (theirs.services, theirs.entries, theirs.tombstones) == (1, 1, 1)
        assert mine.nodes == theirs.nodes == 2
        assert mine.bytes_sent == theirs.bytes_received > 0
        assert mine.bytes_received == theirs.bytes_sent > 0
        assert (mine.subscribers, mine.lag, mine.merged, mine.refused) == (0, 0, 0, {})
        assert (mine.paused, mine.displaced_by) == (0.0, None)
        (link,) = theirs.links
        assert (link.dialled, link.status.state) == (True, LinkState.SYNCED)
        assert link.traffic.entries_received == 3


# Leases


@pytest.mark.parametrize("silently", [False, True])
async def test_a_killed_owners_services_lapse(autojump_clock: MockClock, silently: bool) -> None:
    """The dead are gone within heartbeat + lifetime + 1 s, not before lifetime, at any distance."""
    network = SimulatedNetwork()
    async with pair(network) as (a, b), running(network.host(C)) as c:
        await c.manifest.connect(host=A).wait_synced()
        c.manifest.register("web", port=80)
        await b.wait_for("web")
        await trio.sleep(47)
        await c.kill(silently=silently)
        near = await until(lambda: not a.get("web"))
        far = near + await until(lambda: not b.get("web"))
        assert 5 < near < 11
        assert 5 < far < 11


async def test_late_joiners_extend_no_lease(autojump_clock: MockClock) -> None:
    """A chain of relays and late joiners believes in the dead no longer than their neighbour."""
    network = SimulatedNetwork()
    async with pair(network) as (a, b), trio.open_nursery() as nursery:
        async with running(network.host(C)) as c:
            await c.manifest.connect(host=A).wait_synced()
            c.manifest.register("web", port=80)
            await b.wait_for("web")
            await c.kill()
        died = trio.current_time()
        gone: list[float] = []

        async def join(number: int) -> None:
            environment = network.host(f"10.0.1.{number}").environment()
            async with open_manifest(environment=environment) as m:
                await trio.sleep(number)
                await m.connect(host=A).wait_synced()
                assert m.get("web")
                await until(lambda: not m.get("web"))
                gone.append(trio.current_time() - died)

        for number in range(1, 5):
            nursery.start_soon(join, number)
        await until(lambda: len(gone) == 4)
        assert max(gone) < 11
        assert not a.get("web")


async def test_a_short_pause_of_a_node_is_not_seen(autojump_clock: MockClock) -> None:
    """A node that does not run for 3 s loses nothing at the others, and they nothing at it."""
    network = SimulatedNetwork()
    seen: list[Any] = []
    with pausable():
        async with (
            pair(network) as (a, b),
            running(network.host(C)) as c,
            trio.open_nursery() as nursery,
        ):
            await c.manifest.connect(host=A).wait_synced()
            c.manifest.register("web", port=80)
            a.register("api", port=80)
            await b.wait_for("web")
            await c.manifest.wait_for("api")
            for m in (a, b, c.manifest):
                await nursery.start(follow, m, seen)
            for _ in range(10):
                c.host.pause()
                await trio.sleep(3)
                c.host.resume()
                await trio.sleep(4.7)
            assert frees(seen) == []
            nursery.cancel_scope.cancel()


async def test_a_long_pause_of_a_node_is_seen_by_the_others_alone(
    autojump_clock: MockClock,
) -> None:
    """A node that does not run for three leases lapses at the others and comes back with all."""
    network = SimulatedNetwork()
    seen: list[Any] = []
    theirs: list[Any] = []
    with pausable():
        async with (
            pair(network) as (a, b),
            running(network.host(C)) as c,
            trio.open_nursery() as nursery,
        ):
            await c.manifest.connect(host=A).wait_synced()
            service = c.manifest.register("web", port=80)
            a.register("api", port=80)
            await b.wait_for("web")
            await c.manifest.wait_for("api")
            await nursery.start(follow, b, seen)
            await nursery.start(follow, c.manifest, theirs)
            c.host.pause()
            await trio.sleep(30)
            assert frees(seen) == [("web", "expired")]
            c.host.resume()
            assert await until(lambda: b.get("web") == {service.id: service}) < 2
            await trio.sleep(30)
            assert frees(seen) == [("web", "expired")]
            # It judged nobody before it had read what they said meanwhile.
            assert frees(theirs) == []
            assert c.manifest.statistics().paused > 27
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("hours", [-24, 24])
async def test_a_wall_clock_that_steps_changes_nothing(
    autojump_clock: MockClock, hours: float
) -> None:
    """A wall clock that steps by a day, either way, while a manifest runs changes nothing."""
    network = SimulatedNetwork()
    seen: list[Any] = []
    async with pair(network) as (a, b), trio.open_nursery() as nursery:
        a.register("web", port=80)
        await b.wait_for("web")
        for m in (a, b):
            await nursery.start(follow, m, seen)
        network.host(A).clock.step(hours * 3600)
        await trio.sleep(60)
        a.register("api", port=80)
        b.register("db", port=80)
        await b.wait_for("api")
        await a.wait_for("db")
        await trio.sleep(300)
        assert frees(seen) == []
        assert not any(isinstance(each, Disconnected) for each in seen)
        assert roles(a) == roles(b) == ["api", "db", "web"]
        network.cut(A, B)
        await trio.sleep(5)
        assert b.links[0].status.state is LinkState.SYNCED
        nursery.cancel_scope.cancel()


async def test_a_machine_that_was_suspended_is_anchored_anew(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the wall clock has moved and time has not passed, the peers are right, and are met."""
    network = SimulatedNetwork()
    network.host(B).clock.step(-3600)
    async with (
        open_manifest(environment=network.host(A).environment()) as a,
        open_manifest(environment=network.host(B).environment()) as b,
    ):
        await a.listen()
        theirs = b.register("web", port=80)
        link = b.connect(host=A)
        await until(lambda: link.status.state is LinkState.REFUSED)
        network.host(B).clock.step(3600)
        await until(lambda: link.status.state is LinkState.SYNCED)
        assert any("anchored anew, moved by 3600.0 s" in text for text in caplog.messages)
        assert await until(lambda: a.get("web")) < 6
        b.free(theirs)
        assert await until(lambda: not a.get("web")) < 0.1


# Nothing is freed that is alive


@pytest.mark.parametrize("services, seconds", [(1000, 60), (10_000, 600)], ids=["1000", "10000"])
async def test_nothing_alive_is_ever_freed(
    autojump_clock: MockClock, services: int, seconds: float
) -> None:
    """With default settings not one of many services is freed that should not be."""
    seen: list[Any] = []
    async with pair() as (a, b), trio.open_nursery() as nursery:
        for m in (a, b):
            await nursery.start(follow_frees, m, seen)
        for number in range(services // 2):
            a.register(f"web-{number % 100}@1.0.{number % 7}", port=1 + number)
            b.register(f"api-{number % 100}@1.0.{number % 7}", port=1 + number)
        await trio.sleep(seconds)
        assert seen == []
        assert len(a.services()) == len(b.services()) == services + 1
        nursery.cancel_scope.cancel()


async def follow_frees(
    m: Manifest, into: list[Any], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Note what is freed, and what is lost."""
    async with m.events() as events:
        task_status.started()
        async for event in events:
            if isinstance(event, Freed | Disconnected):
                into.append(event)  # noqa: PERF401 - read while it goes on


@pytest.mark.parametrize("seconds", [1000, 4000, 10 * 86_400])
async def test_clocks_that_were_set_forward_free_nothing(
    autojump_clock: MockClock, seconds: float
) -> None:
    """However far all clocks were behind: whoever comes next has them all set right, unnoticed."""
    network, seen = SimulatedNetwork(), list[Any]()
    async with pair(network) as (a, b), trio.open_nursery() as nursery:
        far = await nursery.start(opened, network.host(C).environment())
        await b.listen()
        await far.connect(host=B).wait_synced()
        ms = (a, b, far)
        for m in ms:
            m.register("web", port=80)
            m.register("kept", id=f"at-{m.id}", port=81)
        await until(lambda: all(len(m.services()) == 8 for m in ms))
        for m in ms:
            await nursery.start(follow, m, seen)
        await trio.sleep(600)
        for host in (A, B, C, "10.0.0.4"):
            network.host(host).clock.step(seconds)
        async with open_manifest(environment=network.host("10.0.0.4").environment()) as visitor:
            visitor.connect(host=A)
            await until(lambda: len(visitor.services()) == 8)
            await trio.sleep(60)
            assert len(visitor.services()) == 8
        await trio.sleep(3600)
        assert all(len(m.services()) == 8 for m in ms)
        assert frees(seen) == []
        assert {m._hub.replica.physical.now() // 1000 for m in ms} == {
            network.host(A).clock.wall() // 1000
        }
        nursery.cancel_scope.cancel()


async def opened(
    environment: Environment,
    *,
    task_status: trio.TaskStatus[Manifest] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Open a manifest for as long as the task runs."""
    async with open_manifest(environment=environment) as m:
        task_status.started(m)
        await trio.sleep_forever()


async def test_what_is_renewed_is_never_freed(autojump_clock: MockClock) -> None:
    """Through five retentions live services stay, tombstones go, and nobody sees a renewal."""
    seen: list[Any] = []
    options: dict[str, Any] = {
        "heartbeat_interval": 2.0,
        "registration_lifetime": 2.0,
        "retention": 60.0,
    }
    async with pair(**options) as (a, b), trio.open_nursery() as nursery:
        for number in range(200):
            a.register("web", port=1 + number)
        gone = a.register("gone", port=1)
        await b.wait_for("gone")
        a.free(gone)
        await trio.sleep(1)
        for m in (a, b):
            await nursery.start(follow, m, seen)
        await trio.sleep(300)
        assert not any(isinstance(each, Freed | Registered | Updated) for each in seen)
        assert len(a.services()) == len(b.services()) == 201
        assert a.statistics().tombstones == b.statistics().tombstones == 0
        nursery.cancel_scope.cancel()


async def test_a_steady_link_is_cheap(autojump_clock: MockClock) -> None:
    """With 1,000 registrations a link carries 16 bytes a second each way, renewals apart."""
    network = SimulatedNetwork()
    async with pair(network) as (a, b):
        for number in range(1000):
            a.register(f"web-{number % 100}@1.2.3", {"zone": "eu"}, port=1 + number)
        await until(lambda: len(b.services()) == 1001)
        await trio.sleep(10)
        before = dict(network.transmitted)
        await trio.sleep(1200)
        rates = {way: (network.transmitted[way] - before[way]) / 1200 for way in before}
        assert max(rates.values()) < 20


# Partitions


async def test_a_partition_longer_than_the_retention_heals(autojump_clock: MockClock) -> None:
    """Both sides free, re-register and take over for longer than tombstones last; then all agree.

    Nothing that was freed comes back, nothing that lives is lost.
    """
    network = SimulatedNetwork()
    options: dict[str, Any] = {
        "heartbeat_interval": 1.0,
        "registration_lifetime": 1.0,
        "retention": 20.0,
    }
    events: list[Any] = []
    async with (
        pair(network, **options) as (a, b),
        open_manifest(environment=network.host(C).environment(), **options) as c,
        trio.open_nursery() as nursery,
    ):
        await c.connect(host=A).wait_synced()
        everyone = (a, b, c)
        freed = [a.register("freed", port=1), b.register("freed", port=2)]
        lives = {m: m.register("lives", port=3) for m in everyone}
        a.register("shared", port=10, id="taken-by-b")
        b.register("shared", port=11, id="taken-by-a")
        a.register("shared", port=12, id="freed-by-owner")
        a.register("shared", port=13, id="contested")
        kept = b.register("kept", port=14, id="kept", persistent=True)
        await until(lambda: all(len(m.services()) == 11 for m in everyone))
        for m in everyone:
            await nursery.start(follow, m, events)
        network.partition(A, B)
        await trio.sleep(30)
        a.free(freed[0])
        b.free(freed[1])
        a.free(id="freed-by-owner")
        a.free(kept)
        b.register("shared", port=20, id="taken-by-b")
        a.register("shared", port=21, id="taken-by-a")
        for number in range(12):
            # Both sides hold the name, and each thinks itself the last writer.
            a.register("shared", {"n": number}, port=30, id="contested")
            b.register("shared", {"n": number}, port=31, id="contested")
            again = b.register("again", port=40, id="again")
            await trio.sleep(2)
            b.free(again)
            await trio.sleep(2)
        last = b.register("shared", port=32, id="contested")
        network.heal()
        await until(lambda: a.services() == b.services() == c.services(), within=5)
        await trio.sleep(60)
        assert a.services() == b.services() == c.services()
        assert roles(a) == ["lives", "lives", "lives", "shared", "shared", "shared"]
        for m, service in lives.items():
            assert m.services()[service.id] == service
        # The former owner of a name may have renewed it when it came back: either holds it, one.
        names = {id: each.port for id, each in a.services().items() if each.name == "shared"}
        assert names.keys() == {"taken-by-a", "taken-by-b", "contested"}
        assert names["contested"] == last.port
        # That of the persistent service stays, as the service itself would have.
        assert [m.statistics().tombstones for m in everyone] == [1, 1, 1]
        nursery.cancel_scope.cancel()


async def test_a_peer_hears_why_a_manifest_left(autojump_clock: MockClock) -> None:
    """The Bye of a closing manifest comes behind its frees."""
    network = SimulatedNetwork()
    async with open_manifest(environment=network.host(A).environment()) as m:
        await m.listen()
        service = m.register("web", port=80)
        puppet = Puppet(await network.host(B).dial(A, 3100))
        await puppet.greet()
        while service.id not in puppet.replica.map:
            await puppet.hear()
        heard: list[Any] = []

        async def hear_all() -> None:
            while not any(isinstance(each, Bye) for each in heard):
                heard.extend(await puppet.hear())
            await puppet.end.aclose()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(hear_all)
            await m.aclose()
        assert heard[-1] == Bye(code="closed", reason="the manifest was closed")
        assert len(puppet.replica.map) == 0
