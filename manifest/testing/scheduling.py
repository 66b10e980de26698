"""One `trio.run` that does the same thing every time: virtual time, a seeded scheduler, a budget.

Trio runs tasks that are ready at the same time in an order that is random on purpose. Here the
order is drawn from a seed: another seed is another interleaving, the same seed the same one. Trio
keeps the switch for this private, for its own tests and those of pytest-trio; the two names that
are used are looked up when a simulation starts, and it says so if they have gone.

A program that keeps its tasks busy without ever waiting for anything freezes virtual time, and one
that sleeps for next to nothing all but does. That is noticed by counting the steps that tasks take
while the time moves on by less than a millisecond.
"""

from __future__ import annotations

import gc
import math
import random
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Any, TypeVar

import trio

from .clocks import VirtualClock
from .pausing import Gatekeeper

__all__ = ["Livelock", "Schedule", "run_scheduled"]

T = TypeVar("T")

_MASK = 2**64 - 1
_MOMENT = 0.001
"""Virtual seconds that count as one and the same time."""


class Livelock(AssertionError):
    """Tasks keep running, and virtual time does not move on."""


class Schedule(Gatekeeper):
    """The order in which tasks ran: how many steps, and a number that tells two orders apart."""

    def __init__(self, max_steps: int) -> None:
        self.steps = 0
        """Steps that tasks have taken."""
        self.order = 0
        """A digest of which task took which step."""
        self.busy: str | None = None
        """The name of the task that ran when the budget was spent, and the time, if it was."""
        self.scope = trio.CancelScope()
        self._max_steps = max_steps
        self._until = max_steps
        self._since = -math.inf
        self._first: int | None = None

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        """Count it."""
        number: int = task._counter  # see the module's docstring
        if self._first is None:
            self._first = number
        self.steps += 1
        self.order = (self.order * 1_000_003 + number - self._first) & _MASK
        if self.steps > self._until and self.busy is None:
            self.busy = f"{task.name} at {trio.current_time():g} s"
            self.scope.cancel()

    def after_io_wait(self, timeout: float) -> None:
        """Begin to count anew where time has moved on."""
        if (time := trio.current_time()) >= self._since + _MOMENT:
            self._since = time
            self._until = self.steps + self._max_steps


def run_scheduled(
    run: Callable[[Schedule], Awaitable[T]], *, seed: int, max_steps: int = 100_000
) -> T:
    """Run an async function to its end in virtual time, and return what it returns.

    `Livelock` where tasks take more than `max_steps` steps within a virtual millisecond. A lone
    exception comes out without the groups that nurseries put around it.
    """
    schedule = Schedule(max_steps)
    results: list[T] = []

    async def within_budget() -> None:
        with schedule.scope:
            results.append(await run(schedule))

    failure: BaseException | None = None
    with _drawn_from(seed), _collecting_seldom():
        try:
            trio.run(within_budget, clock=VirtualClock(_is_awaited), instruments=[schedule])
        except BaseException as error:  # noqa: ASYNC103, BLE001 - raised again, bare
            failure = _alone(error)
    if schedule.busy is not None:
        raise Livelock(
            f"tasks took more than {max_steps} steps within a virtual millisecond; the last was "
            f"{schedule.busy}: something waits in a loop without sleeping, or there is so much to "
            "do at once that it takes a larger max_steps"
        ) from failure
    if failure is not None:
        try:
            raise failure
        finally:
            # The exception refers to this frame, so this frame must not refer to it.
            del failure
    return results[0]


def _is_awaited() -> bool:
    """Tell whether a task waits for all others to be blocked: Trio keeps that to itself, too."""
    scheduler: Any = trio._core._run
    return bool(scheduler.GLOBAL_RUN_CONTEXT.runner.waiting_for_idle)


def _alone(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


@contextmanager
def _collecting_seldom() -> Generator[None]:
    """Have Python look for cycles in the memory once for 100,000 objects, not for every 700.

    A simulation of many nodes holds many objects for long. Looking at them took a fifth to a third
    of the time of 100 nodes, and found next to nothing.
    """
    thresholds = gc.get_threshold()
    # Zero says never, and is left.
    gc.set_threshold(thresholds[0] and max(100_000, thresholds[0]), *thresholds[1:])
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)


@contextmanager
def _drawn_from(seed: int) -> Generator[None]:
    """Have Trio's scheduler draw from a seed, and leave it as it was found."""
    scheduler: Any = trio._core._run
    try:
        was, source = scheduler._ALLOW_DETERMINISTIC_SCHEDULING, scheduler._r
    except AttributeError as error:
        raise RuntimeError(
            f"simulations need a switch of Trio's scheduler that Trio {trio.__version__} does not "
            "have: use an earlier Trio, and report it to this project"
        ) from error
    scheduler._ALLOW_DETERMINISTIC_SCHEDULING = True
    scheduler._r = random.Random(seed)
    try:
        yield
    finally:
        scheduler._ALLOW_DETERMINISTIC_SCHEDULING, scheduler._r = was, source
