"""Pausing a node as SIGSTOP does: its tasks do not run, and then they do.

Every task that belongs to a node steps through the node's gate. What happens to a paused node's
tasks meanwhile is kept for them: deadlines pass, sockets fill, and once the gate opens each task
finds all of it at once, in the order in which it would have run.

Trio has no notion of this. A task's coroutine is replaced, as it is spawned, by one that runs it
step by step; the instrument that does so is `Gatekeeper`.
"""

from __future__ import annotations

import contextvars
import types
from collections.abc import Coroutine, Generator
from typing import Any

import trio

__all__ = ["Gate", "Gatekeeper", "enter"]


class Gate:
    """What a node's tasks pass through at every step; shut, it holds them."""

    def __init__(self) -> None:
        self.shut = False
        self._held: list[trio.lowlevel.Task] = []

    def open(self) -> None:
        """Let everything through that was held, in its order."""
        self.shut = False
        held, self._held = self._held, []
        for task in held:
            trio.lowlevel.reschedule(task)

    async def _pass(self) -> None:
        while self.shut:
            self._held.append(trio.lowlevel.current_task())
            # Cancelled meanwhile, it hears of it with its next step, as a stopped process does.
            await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.FAILED)

    async def guard(self, work: Coroutine[Any, Any, Any]) -> object:
        """Run a task's coroutine step by step, each as soon as the gate is open."""
        return await self._steps(work)

    @types.coroutine
    def _steps(self, work: Coroutine[Any, Any, Any]) -> Generator[Any, Any, object]:
        result: object = None
        while True:
            if self.shut:
                yield from self._pass().__await__()
            try:
                trap = work.send(result)
            except StopIteration as stop:
                return stop.value
            result = yield trap


_gate: contextvars.ContextVar[Gate] = contextvars.ContextVar("gate")


def enter(gate: Gate) -> None:
    """Have this gate in front of every task that is spawned below the present one from now on."""
    _gate.set(gate)


class Gatekeeper(trio.abc.Instrument):
    """Puts tasks behind the gate of the node to which they belong."""

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        """Let the task run through the gate of the task above it, if there is one."""
        # Of the task above it, whoever called `start_soon`: a test does, through a node's nursery.
        above = task.parent_nursery and task.parent_nursery.parent_task
        gate = above and above.context.get(_gate)
        if gate is not None:
            task.context.run(_gate.set, gate)
            task.coro = gate.guard(task.coro)  # type: ignore[assignment]  # typed as CoroutineType
