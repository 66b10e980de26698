"""The demo: that it shows what it says, and notices what is not so."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import trio
import trio.testing

from manifest.cli import demo
from manifest.cli.app import run
from manifest.cli.mesh import Gone, Mesh, Node, StepFailed, open_mesh
from manifest.cli.proxy import Proxy
from manifest.cli.story import Story, _check_reasons
from tests.cli.processes import PATIENCE, cli
from tests.cli.test_running import on_a_terminal, read_all

Captured = pytest.CaptureFixture[str]

STEPS = ["start", "link", "register", "free", "cut", "write", "heal", "kill", "leave"]


@pytest.fixture(autouse=True)
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start the demo's processes without coverage, so that its times are what a user has."""
    for name in os.environ:
        if name.startswith("COV"):
            monkeypatch.delenv(name)


def test_the_demo_holds_what_it_promises(capfd: Captured) -> None:
    """All steps hold, each is told with its time, it takes under 20 seconds and leaves nothing."""
    began, before = time.monotonic(), children_of(os.getpid())
    assert run(["demo", "--timeout=60"]) == 0
    assert time.monotonic() - began < 20
    out, err = capfd.readouterr()
    assert err == ""
    title, more, *steps, last = out.splitlines()
    assert f"{title} {more}" == (
        "Five manifests on this machine, with a heartbeat of 0.5 s and a lifetime of 1.5 s instead "
        "of the usual 5 s and 5 s, so that it is over soon."
    )
    for number, (step, line) in enumerate(zip(STEPS, steps, strict=True), start=1):
        assert re.fullmatch(rf" *\d+\.\d\d s  {number}/9 {step} .* [\d,]+ ms  held", line), line
    assert re.fullmatch(r"All 9 steps held, in \d+\.\d s\.", last)
    # What other tests of this process have started may still run.
    assert children_of(os.getpid()) == before


def test_ctrl_c_ends_the_demo_and_all_that_it_started() -> None:
    """On a terminal the demo is a live table; Ctrl-C ends it, which it says; no process is left."""
    process, terminal = on_a_terminal("demo", "--timeout=60", measured=True)
    with process:
        text = ""
        while not re.search(r"register.* ms.*held", text):
            text += os.read(terminal, 65536).decode()
        nodes = children_of(process.popen.pid)
        assert process.end(signal.SIGINT) == 130
        text += read_all(terminal)
        assert process.err.rest() == []
    *_, table, last = text.rsplit("Step", 1)
    assert re.search(r" ms   \S*interrupted", table + last)
    assert re.search(r"Interrupted after \d+\.\d s: [3-8] of 9 steps held by then\.\s*$", last)
    assert all(f"n{number} " in text for number in range(1, 6))
    assert all(step in text for step in STEPS)
    assert len(nodes) == 5
    assert not any(map(runs, nodes))


def test_a_demo_that_is_interrupted_says_so_to_programs_too() -> None:
    """With --json the last line of a demo that was interrupted is not that of one that is over."""
    with cli("demo", "--timeout=60", "--json", measured=True) as process:
        process.out.expect('"step": "link"')
        assert process.end(signal.SIGTERM) == 143
        fact = json.loads(process.out.rest()[-1])
        assert (fact["event"], fact["held"], fact["interrupted"]) == ("demo", False, True)


def test_a_step_that_does_not_hold_fails_the_demo(
    monkeypatch: pytest.MonkeyPatch, capfd: Captured
) -> None:
    """A cut that cuts nothing is noticed: the step fails, no step follows, and the status is 1."""
    meshes: list[Mesh] = []

    @asynccontextmanager
    async def opened(*arguments: Any) -> AsyncGenerator[Mesh, None]:
        async with open_mesh(*arguments) as mesh:
            meshes.append(mesh)
            yield mesh

    def cut_nothing(_: Proxy) -> None:
        meshes[0].patience = 0.2

    monkeypatch.setattr(demo, "open_mesh", opened)
    monkeypatch.setattr(Proxy, "cut", cut_nothing)
    assert run(["demo", "--json", "--timeout=60"]) == 1
    *held, failed, last = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [fact["step"] for fact in held] == STEPS[:4]
    assert all(fact["held"] and fact["milliseconds"] > 0 for fact in held)
    assert (failed["step"], failed["held"]) == ("cut", False)
    assert failed["failure"].startswith("after 0.2 s still not so: n1 still shows web ")
    assert (last["event"], last["held"]) == ("demo", False)


def test_a_process_that_ends_fails_the_demo(
    monkeypatch: pytest.MonkeyPatch, capfd: Captured
) -> None:
    """A process that cannot start is not waited for, and what it said is passed on."""
    monkeypatch.setattr(demo, "HEARTBEAT", 0)
    assert run(["demo", "--timeout=60"]) == 1
    out, err = capfd.readouterr()
    *_, step, last = out.splitlines()
    assert step.endswith("FAILED")
    assert re.match(r"Step 'start' failed: n\d has ended with status 2: .*not a number of s", last)
    assert err == ""


def children_of(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    children = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(status.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it has ended meanwhile
        if parent == pid:
            children.append(int(status.parent.name))
    return children


def runs(pid: int) -> bool:
    """Tell whether there is such a process."""
    return Path(f"/proc/{pid}").exists()


async def ended(stream: trio.SocketStream) -> bool:
    """Tell whether the other end has gone, with a word or without."""
    try:
        return await stream.receive_some() == b""
    except trio.BrokenResourceError:
        return True


# What is checked, without processes


def a_node(number: int, **facts: Any) -> Node:
    """Return a process that has said what is given."""
    return Node(f"n{number}", cast(trio.Process, None), id=f"{number:024X}", state="up", **facts)


async def a_story(*nodes: Node) -> Story:
    """Return a story about some processes."""
    await trio.lowlevel.checkpoint()
    mesh = Mesh(cast(trio.Nursery, None), (), 0.01)
    mesh.nodes.extend(nodes)
    return Story(mesh, heartbeat=0.5, lifetime=1.5)


@pytest.mark.parametrize(
    "after, holds", [(1.49, False), (1.51, True), (2.9, True), (3.1, False), (0.0, False)]
)
async def test_a_lapse_has_its_time(after: float, holds: bool) -> None:
    """A service lapses neither before its lifetime is over nor a second after it was due."""
    node = a_node(1, gone={"x": Gone("expired", 100 + after)})
    story = await a_story(node)
    if holds:
        story._check_lapsed([node], "x", 100)
    else:
        with pytest.raises(StepFailed, match=r"n1 dropped x after .* s, due were 1\.5 to 3 s"):
            story._check_lapsed([node], "x", 100)


def test_a_service_goes_for_the_right_reason() -> None:
    """What was freed has not expired, and the other way round."""
    node = a_node(1, gone={"x": Gone("expired", 0)})
    _check_reasons([node], "x", "expired")
    with pytest.raises(StepFailed, match="x was expired at n1, not freed"):
        _check_reasons([node], "x", "freed")


async def test_nothing_lapses_that_lives() -> None:
    """A service that expires though its owner lives fails the demo, except while it is cut off."""
    one, two = a_node(1), a_node(2)
    story = await a_story(one, two)
    story._check_nothing_lapsed_by_mistake()
    two.note({"event": "freed", "service": {"id": f"{one.id}.2"}, "reason": "expired"})
    with pytest.raises(StepFailed, match="n2 let services of n1 lapse, which lives"):
        story._check_nothing_lapsed_by_mistake()
    one.state = "cut off"
    story._check_nothing_lapsed_by_mistake()


async def test_processes_that_disagree_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """What two processes list is the same, and what their events came to; timestamps apart."""

    async def tell(node: Node, do: str) -> None:
        await trio.lowlevel.checkpoint()
        node.note({"event": do, "services": answers[node.name]})

    monkeypatch.setattr(Node, "tell", tell)
    x, y = {"x": {"port": 1, "timestamp": 1}}, {"x": {"port": 1, "timestamp": 2}}
    one, two = a_node(1, services=x), a_node(2, services=x)
    story = await a_story(one, two)
    answers = {"n1": x, "n2": y}
    await story._check_agreement([one, two])
    answers["n2"] = {}
    with pytest.raises(StepFailed, match="n2 and n1 show different services"):
        await story._check_agreement([one, two])
    answers["n1"] = {}
    with pytest.raises(StepFailed, match="the events of n1 do not come to what it shows"):
        await story._check_agreement([one, two])


async def test_what_is_still_not_so_is_said() -> None:
    """A step that waits in vain says of each process what it lacks, and what it has too many."""
    node = a_node(1, services={"x": {"name": "web", "owner": "o"}})
    story = await a_story(node)
    with pytest.raises(StepFailed, match="n1 lacks web y; n1 still shows web x"):
        await story._until_each_shows([node], "web", lambda: {"y"})


async def test_a_process_of_the_demo_obeys_known_commands_alone() -> None:
    """A command that a process does not know ends it, and that is noticed with what it said."""
    async with open_mesh((), PATIENCE) as mesh:
        node = await mesh.start("n1")
        await mesh.until(lambda: [] if node.port else ["starting"])
        await node.tell("nonsense")
        with pytest.raises(StepFailed, match=r"n1 has ended with status 1: .*nonsense"):
            await mesh.until(lambda: ["waiting for its end"])


async def test_a_proxy_lets_an_end_through() -> None:
    """Through a proxy, the end of either side is seen at the other; what is cut waits."""
    async with trio.open_nursery() as nursery:
        [target] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        proxy = Proxy(target.socket.getsockname()[1])
        port: int = await nursery.start(proxy.serve)
        near = await trio.open_tcp_stream("127.0.0.1", port)
        far = await target.accept()
        await near.send_all(b"1")
        assert await far.receive_some() == b"1"
        proxy.cut()
        await near.send_all(b"2")
        with trio.move_on_after(0.05) as scope:
            await far.receive_some()
        assert scope.cancelled_caught
        proxy.mend()
        assert await far.receive_some() == b"2"
        await near.send_eof()
        assert await far.receive_some() == b""
        await far.aclose()
        assert await near.receive_some() == b""
        await near.aclose()
        near = await trio.open_tcp_stream("127.0.0.1", port)
        far = await target.accept()
        # What arrives unread at a socket that is closed makes it say so with a reset.
        await near.send_all(b"3")
        await far.wait_send_all_might_not_block()
        await trio.testing.wait_all_tasks_blocked(0.01)
        await trio.aclose_forcefully(far)
        assert await ended(near)
        await near.aclose()
        await target.aclose()
        lost = await trio.open_tcp_stream("127.0.0.1", port)
        assert await lost.receive_some() == b""
        await lost.aclose()
        nursery.cancel_scope.cancel()
