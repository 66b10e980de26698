"""Simulations that go on for as long as one likes, from nothing but a seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from .application import Application
from .arguments import check_number
from .chaos import (
    PAUSES,
    ROUGH,
    Faults,
    RandomChooser,
    check_pauses,
    checked_faults,
    some_steps,
)
from .execution import Report, check_budget, check_makes_applications, execute
from .network import Conditions
from .plans import Calm, Plan, Step
from .trace import Trace

__all__ = ["simulate"]


def simulate(
    application: Callable[[], Application[Any]],
    operations: Callable[[random.Random], Any],
    *,
    seed: int,
    seconds: float,
    nodes: int = 5,
    faults: Faults | None = None,
    pauses: Sequence[float] = PAUSES,
    topology: str = "ring",
    conditions: Conditions | None = None,
    calm_every: float = 120.0,
    within: float = 60.0,
    max_steps: int = 100_000,
) -> Report:
    """Run an application for so many virtual seconds of operations and faults, and return a report.

    `operations` makes one operation of the randomness that it is given. Every `calm_every` seconds
    everything is mended, and the application has `within` seconds to converge; then it goes on. All
    is decided by the seed: the same arguments make the same run.

    What the application raises comes out with a note that says how to repeat it. ValueError where
    `application` makes nothing, say because it is one already, and for what else cannot be.
    """
    check_makes_applications(application)
    check_budget(within, max_steps)
    if not callable(operations):
        raise ValueError(
            f"operations is a function that makes one of a random.Random, got {operations!r:.80}"
        )
    check_number("seconds", seconds, 0.001)
    check_number("calm_every", calm_every, 0.001)
    check_pauses(pauses)
    wrong = checked_faults(faults)
    plan = Plan(nodes, (), seed, topology, ROUGH if conditions is None else conditions)
    choose = RandomChooser(random.Random(f"{seed}/steps"), operations)
    steps = _until(seconds, calm_every, lambda: some_steps(choose, nodes, wrong, pauses))
    trace = Trace(keep=False)
    try:
        return execute(application, plan, steps, trace, within=within, max_steps=max_steps)
    except Exception as failure:
        failure.add_note(
            f"simulate(..., seed={seed}) failed after {trace.length} events, trace "
            f"{trace.digest}: the same call fails in the same way"
        )
        raise


def _until(seconds: float, calm_every: float, some: Callable[[], Iterable[Step]]) -> Iterator[Step]:
    """Yield steps for so many seconds, with a calm every now and then."""
    time, calm_at = 0.0, calm_every
    while time < seconds:
        for step in some():
            time += step.after
            yield step
        if time >= calm_at:
            yield Step(0.0, Calm())
            calm_at = time + calm_every
