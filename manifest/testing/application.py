"""What a simulation runs: your application, on nodes that are started, stopped and cut off.

An `Application` says what one node does, how an operation is carried out on it, and what must hold.
All the rest, when and where and what goes wrong meanwhile, is a plan's.
"""

from __future__ import annotations

import abc
import random
from collections.abc import Awaitable
from typing import Any, Generic, TypeVar

import attrs
import trio

from manifest import Environment

from .network import Host, SimulatedListener, SimulatedNetwork
from .streams import StreamEnd

__all__ = ["PORT", "Application", "Cluster", "Node", "StateT"]

PORT = 3100
"""Where nodes listen, unless they choose otherwise."""

StateT = TypeVar("StateT")


@attrs.define(eq=False, repr=False)
class Node(Generic[StateT]):
    """One incarnation of a node: a process that was started on a host, and may be gone by now."""

    index: int
    """Its number in the plan, from 0."""
    host: Host
    """Its network and its clocks."""
    peers: tuple[str, ...]
    """The names of the hosts that the topology has it dial."""
    disk: dict[str, Any]
    """What outlives it, and is there for the next incarnation."""
    incarnation: int
    """How many there were on this host before it."""
    random: random.Random
    """Randomness of its own, from the plan's seed."""
    state: StateT | None = None
    """What `run` puts here for `do` and the checks to find; they see the node only then."""
    leaving: trio.Event = attrs.field(factory=trio.Event)
    """Set when the plan has it leave: `run` is to end by itself."""
    paused: bool = False
    nursery: trio.Nursery = attrs.field(init=False)
    """Where what `do` returns is awaited: it ends with the node, and is paused with it."""
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    gone: trio.Event = attrs.field(factory=trio.Event)

    def __repr__(self) -> str:
        return f"<node {self.name}, incarnation {self.incarnation}>"

    @property
    def name(self) -> str:
        """The name of its host."""
        return self.host.name

    @property
    def up(self) -> bool:
        """Whether it runs: started, and neither leaving nor stopped. It may not be ready yet."""
        return not (self.leaving.is_set() or self.scope.cancel_called or self.gone.is_set())

    def environment(self) -> Environment:
        """Return what `open_manifest(environment=...)` needs to run on this node."""
        return self.host.environment()

    async def dial(self, peer: str, port: int = PORT) -> StreamEnd:
        """Connect to another node. OSError where nobody listens there."""
        return await self.host.dial(peer, port)

    async def listen(self, port: int = PORT) -> SimulatedListener:
        """Listen for others, as `trio.serve_listeners` wants it. OSError where it is taken."""
        (listener,) = await self.host.listen("0.0.0.0", port)
        assert isinstance(listener, SimulatedListener)
        return listener

    def note(self, event: str) -> None:
        """Add an event to the trace, so that runs that differ in it are seen to differ."""
        self.host.network.note(f"{self.name}: {event}")


@attrs.define(eq=False)
class Cluster(Generic[StateT]):
    """All nodes of a run, as they are at one moment."""

    network: SimulatedNetwork
    nodes: list[Node[StateT]]
    """The present incarnation of each node, or the last one of those that are down."""

    @property
    def up(self) -> list[Node[StateT]]:
        """The nodes that run, paused ones included."""
        return [node for node in self.nodes if node.up]

    @property
    def states(self) -> list[StateT]:
        """The states of the nodes that run and are ready."""
        return [node.state for node in self.up if node.state is not None]

    @property
    def groups(self) -> list[list[Node[StateT]]]:
        """The nodes that run, in groups that the topology connects without those that are down.

        What a partition keeps apart is still one group.
        """
        rest, groups = {node.name: node for node in self.up}, []
        while rest:
            group = [rest.pop(next(iter(rest)))]
            for node in group:
                near = [each for each in rest.values() if _adjoin(node, each)]
                group += [rest.pop(each.name) for each in near]
            groups.append(sorted(group, key=lambda node: node.index))
        return groups


def _adjoin(one: Node[Any], other: Node[Any]) -> bool:
    return one.name in other.peers or other.name in one.peers


class Application(abc.ABC, Generic[StateT]):
    """What runs on every node, what can be done to it, and what must hold. One is made per run."""

    @abc.abstractmethod
    async def run(self, node: Node[StateT]) -> None:
        """Run one node, from its start until it is cancelled, as a crash does, or leaves.

        Set `node.state` once it is ready. Return when `node.leaving` is set; an exception fails the
        run.
        """

    @abc.abstractmethod
    def do(self, node: Node[StateT], operation: Any) -> Awaitable[object] | None:
        """Carry out an operation on a node that runs; what is awaitable runs on the node."""

    def check(self, cluster: Cluster[StateT]) -> None:
        """Raise where something is wrong that must never be so. Called after every step."""

    def check_converged(self, cluster: Cluster[StateT]) -> None:
        """Raise where something is not as it must become once nothing is in the way.

        Called again and again, when everything has been mended, until it raises no more or the time
        for that is over.
        """
