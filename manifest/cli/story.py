"""What the demo does, step by step, and what must hold at the end of each.

A step is over once every process has said what the step promises; one that is not so in time fails,
and with it the demo. What must *not* happen is held against every event: a service that lapses
though its owner lives and can be reached fails the demo as well.
"""

from __future__ import annotations

import enum
import signal
from collections.abc import Awaitable, Callable, Iterable, Sequence

import attrs
import trio

from .mesh import Mesh, Node, StepFailed
from .proxy import Proxy

__all__ = ["Step", "StepState", "Story"]

_SLACK = 1.0
"""Seconds that a process may take to notice what is due, on a machine that is busy."""


class StepState(enum.Enum):
    """How far a step is."""

    WAITING = "waiting"
    RUNNING = "running"
    HELD = "held"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


@attrs.define(eq=False)
class Step:
    """One step of the story."""

    name: str
    text: str
    act: Callable[[], Awaitable[None]]
    state: StepState = StepState.WAITING
    milliseconds: float = 0.0
    """How long it took until every process had said that it holds."""
    failure: str = ""

    @property
    def is_over(self) -> bool:
        """Whether it has held or failed, or was interrupted."""
        return self.state not in (StepState.WAITING, StepState.RUNNING)


class Story:
    """The steps, over a mesh of five processes in a ring, of which the fifth can be cut off."""

    def __init__(self, mesh: Mesh, *, heartbeat: float, lifetime: float) -> None:
        self._mesh = mesh
        self._heartbeat = heartbeat
        self._lifetime = lifetime
        self._proxies: list[Proxy] = []
        self._web: dict[str, str] = {}
        self.began = trio.current_time()
        self.steps: tuple[Step, ...] = (
            Step("start", "five processes, each with a manifest that listens", self._start),
            Step("link", "links make a ring: each finds all five", self._link),
            Step("register", "each registers a web service: all see all five", self._register),
            Step("free", "n2 frees its own: gone everywhere, by the free", self._free),
            Step("cut", "n5 is cut off: each side drops what it cannot reach", self._cut),
            Step("write", "both sides register, free, and claim one id", self._write),
            Step("heal", "the cut is mended: all agree, nothing freed is back", self._heal),
            Step("kill", "kill -9 n3: its services lapse, and no others", self._kill),
            Step("leave", "SIGTERM to the rest: gone at once, exit status 0", self._leave),
        )

    async def run(self, tell: Callable[[Step], Awaitable[None]]) -> bool:
        """Do the steps, and tell of each that is over; return whether all held.

        Cancelled, it leaves the step that was under way as one that was interrupted.
        """
        for step in self.steps:
            step.state = StepState.RUNNING
            began = trio.current_time()
            try:
                await step.act()
                self._check_nothing_lapsed_by_mistake()
                step.state = StepState.HELD
            except StepFailed as error:
                step.state = StepState.FAILED
                step.failure = str(error)
            except trio.Cancelled:
                step.state = StepState.INTERRUPTED
                raise
            finally:
                step.milliseconds = (trio.current_time() - began) * 1000
            await tell(step)
            if step.state is StepState.FAILED:
                return False
        return True

    # The steps

    async def _start(self) -> None:
        for number in range(1, 6):
            await self._mesh.start(f"n{number}")
        await self._mesh.until(
            lambda: [f"{node.name} does not listen" for node in self._mesh.nodes if not node.port]
        )

    async def _link(self) -> None:
        n1, _, _, n4, n5 = nodes = self._mesh.nodes
        for node, following in zip(nodes, (*nodes[1:], n1), strict=True):
            port = following.port
            if node in (n4, n5):
                proxy = Proxy(port)
                self._proxies.append(proxy)
                port = await self._mesh.nursery.start(proxy.serve)
            await node.tell("connect", port=port)
        await self._until_each_shows(nodes, "manifest", lambda: {f"{node.id}.1" for node in nodes})

    async def _register(self) -> None:
        nodes = self._mesh.nodes
        for number, node in enumerate(nodes, start=1):
            await node.tell("register", role=f"web@1.{number}.0", port=8000 + number)
            self._web[node.name] = f"{node.id}.2"
        await self._until_each_shows(nodes, "web", lambda: set(self._web.values()))

    async def _free(self) -> None:
        nodes = self._mesh.nodes
        freed = self._web.pop("n2")
        await nodes[1].tell("free", id=freed)
        await self._until_each_shows(nodes, "web", lambda: set(self._web.values()))
        _check_reasons(nodes, freed, "freed")

    async def _cut(self) -> None:
        *rest, n5 = self._mesh.nodes
        began = trio.current_time()
        n5.state = "cut off"
        for proxy in self._proxies:
            proxy.cut()
        await self._until_each_shows(
            rest, "web", lambda: set(self._web.values()) - {self._web["n5"]}
        )
        await self._until_each_shows([n5], "web", lambda: {self._web["n5"]})
        self._check_lapsed(rest, self._web["n5"], began)
        # Long enough for the links to have found out too, so that mending takes new ones.
        await self._mesh.until(lambda: ["n5 takes its links for alive"] if n5.links else [])

    async def _write(self) -> None:
        n1, *_, n4, n5 = self._mesh.nodes
        rest = self._mesh.nodes[:4]
        await n1.tell("free", id=self._web.pop("n1"))
        await n4.tell("register", role="db@1.0.0", port=5432)
        await n4.tell("register", role="leader", id="leader", port=9001)
        await self._until_each_shows(rest, "leader", lambda: {"leader"})
        await self._until_each_shows(rest, "db", lambda: {f"{n4.id}.3"})
        # Later, so it is n5 that must have the name in the end.
        await n5.tell("register", role="db@2.0.0", port=5432)
        await n5.tell("register", role="leader", id="leader", port=9005)
        await self._until_each_shows([n5], "leader", lambda: {"leader"})
        await self._until_each_shows([n5], "db", lambda: {f"{n5.id}.3"})
        await self._until_each_shows(
            rest, "web", lambda: {id for name, id in self._web.items() if name != "n5"}
        )

    async def _heal(self) -> None:
        nodes = self._mesh.nodes
        n4, n5 = nodes[3:]
        for proxy in self._proxies:
            proxy.mend()
        n5.state = "up"
        await self._until_each_shows(nodes, "web", lambda: set(self._web.values()))
        await self._until_each_shows(nodes, "db", lambda: {f"{n4.id}.3", f"{n5.id}.3"})
        await self._until_each_shows(nodes, "manifest", lambda: {f"{node.id}.1" for node in nodes})
        await self._mesh.until(
            lambda: [
                f"{node.name} does not have n5 as the leader"
                for node in nodes
                if node.services["leader"]["owner"] != n5.id
            ]
        )
        await self._check_agreement(nodes)
        for node in nodes:
            node.lapsed.clear()

    async def _kill(self) -> None:
        n3 = self._mesh.nodes[2]
        survivors = [node for node in self._mesh.nodes if node is not n3]
        began = trio.current_time()
        n3.state = "killed"
        n3.process.kill()
        lost = self._web.pop("n3")
        await self._until_each_shows(survivors, "web", lambda: set(self._web.values()))
        self._check_lapsed(survivors, lost, began)
        await self._check_agreement(survivors)

    async def _leave(self) -> None:
        n2 = self._mesh.nodes[1]
        remaining = [node for node in self._mesh.nodes if node.state == "up" and node is not n2]
        await self._terminate([n2])
        await self._mesh.until(
            lambda: [
                f"{node.name} still shows n2" for node in remaining if f"{n2.id}.1" in node.services
            ]
        )
        _check_reasons(remaining, f"{n2.id}.1", "freed")
        await self._terminate(remaining)

    # What they have in common

    async def _until_each_shows(
        self, nodes: Sequence[Node], name: str, expected: Callable[[], set[str]]
    ) -> None:
        def complaints() -> Iterable[str]:
            for node in nodes:
                wanting, beyond = expected() - node.ids(name), node.ids(name) - expected()
                if wanting:
                    yield f"{node.name} lacks {name} {', '.join(sorted(wanting))}"
                if beyond:
                    yield f"{node.name} still shows {name} {', '.join(sorted(beyond))}"

        await self._mesh.until(complaints)

    async def _terminate(self, nodes: Sequence[Node]) -> None:
        for node in nodes:
            node.state = "left"
            node.process.send_signal(signal.SIGTERM)
        await self._mesh.until(
            lambda: [
                f"{node.name} has exit status {node.process.returncode}"
                for node in nodes
                if node.process.returncode != 0
            ]
        )

    async def _check_agreement(self, nodes: Sequence[Node]) -> None:
        """Have each say all that it shows: exactly the same, and what its events came to."""
        asked = [len(node.listed) + 1 for node in nodes]
        for node in nodes:
            await node.tell("list")
        await self._mesh.until(
            lambda: [
                f"{node.name} does not answer"
                for node, count in zip(nodes, asked, strict=True)
                if len(node.listed) < count
            ]
        )
        for node in nodes:
            if _essence(node.listed[-1]) != _essence(nodes[0].listed[-1]):
                raise StepFailed(f"{node.name} and {nodes[0].name} show different services")
            if _essence(node.listed[-1]) != _essence(node.services):
                raise StepFailed(f"the events of {node.name} do not come to what it shows")

    def _check_lapsed(self, nodes: Sequence[Node], id: str, began: float) -> None:
        """See that a service lapsed when it was due: neither before its lifetime nor much later."""
        _check_reasons(nodes, id, "expired")
        due = self._heartbeat + self._lifetime + _SLACK
        for node in nodes:
            after = node.gone[id].after - began
            if not self._lifetime <= after <= due:
                raise StepFailed(
                    f"{node.name} dropped {id} after {after:.2f} s, due were {self._lifetime:g} to "
                    f"{due:g} s"
                )

    def _check_nothing_lapsed_by_mistake(self) -> None:
        if any(node.state == "cut off" for node in self._mesh.nodes):
            return
        alive = [node for node in self._mesh.nodes if node.state == "up"]
        for node in alive:
            for other in alive:
                if any(id.startswith(other.id) for id in node.lapsed):
                    raise StepFailed(f"{node.name} let services of {other.name} lapse, which lives")


def _check_reasons(nodes: Sequence[Node], id: str, reason: str) -> None:
    for node in nodes:
        if node.gone[id].reason != reason:
            raise StepFailed(f"{id} was {node.gone[id].reason} at {node.name}, not {reason}")


def _essence(services: dict[str, dict[str, object]]) -> dict[str, dict[str, object]]:
    """Return services without their timestamps, which a renewal may change without an event."""
    return {
        id: {key: value for key, value in service.items() if key != "timestamp"}
        for id, service in services.items()
    }
