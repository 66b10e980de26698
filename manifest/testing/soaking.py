"""Simulations that go on for as long as one likes, from nothing but a seed."""

from __future__ import annotations

import random
import zlib
from array import array
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
from .execution import (
    Report,
    check_budget,
    check_makes_applications,
    execute,
    new_paste,
    not_deterministic,
    run_again,
)
from .network import Conditions
from .plans import Calm, Plan, Step
from .trace import Happening, Trace

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

    What the application raises comes out with a note that has the call and the trace's digest. A
    run that fails is run a second time: `NotDeterministic` where that run is not the same, with the
    first event that differs.

    ValueError where `application` makes nothing, say because it is one already, and for what else
    cannot be.
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

    def run(trace: Trace) -> Report:
        choose = RandomChooser(random.Random(f"{seed}/steps"), operations)
        steps = _until(seconds, calm_every, lambda: some_steps(choose, nodes, wrong, pauses))
        return execute(application, plan, steps, trace, within=within, max_steps=max_steps)

    trace = _Marks()
    try:
        return run(trace)
    except Exception as failure:
        again = _Marks(trace)
        run_again(run, again)
        call = _call(
            application,
            operations,
            {
                "seed": seed,
                "seconds": seconds,
                "nodes": nodes,
                "faults": faults,
                "pauses": pauses,
                "topology": topology,
                "conditions": conditions,
                "calm_every": calm_every,
                "within": within,
                "max_steps": max_steps,
            },
        )
        told = (
            f"simulate(..., seed={seed}) failed after {trace.length} events, trace {trace.digest}, "
        )
        if again.digest != trace.digest:
            error = not_deterministic("seed", *again.parting(trace))
            error.add_note(f"{told}and went otherwise when it was run again:\n\n{call}")
            raise error from failure
        failure.add_note(f"{told}and in the same way when it was run again:\n\n{call}")
        raise


class _Marks(Trace):
    """A trace that keeps four bytes of each event, and finds where it parts from another.

    That is what a simulation of any length can afford.
    """

    def __init__(self, former: _Marks | None = None) -> None:
        super().__init__(keep=False)
        self.marks = array("I")
        self.parted: Happening | None = None
        """The first event that `former` does not have at its place."""
        self._former = former
        self._parted_at = 0

    def note(self, time: float, what: str, data: bytes = b"") -> None:
        """Add an event."""
        place = self.length
        super().note(time, what, data)
        self.marks.append(zlib.crc32(data, zlib.crc32(f"{time!r} {what}".encode())))
        former = self._former
        if (
            former is not None
            and self.parted is None
            and self.marks[place : place + 1] != former.marks[place : place + 1]
        ):
            self.parted = Happening(time, what, data)
            self._parted_at = place

    def parting(self, former: _Marks) -> tuple[str | None, Happening | None]:
        """Return what the former had where this one parts from it, and what this one has there."""
        place = self.length if self.parted is None else self._parted_at
        one = f"event {place + 1} of the first run" if place < former.length else None
        return one, self.parted


def _call(
    application: Callable[[], Application[Any]],
    operations: Callable[[random.Random], Any],
    given: dict[str, Any],
) -> str:
    """Return the Python of a call of `simulate`."""
    pasted = new_paste()
    name, made = pasted.callee(application, "application")
    does, also_made = pasted.callee(operations, "operations")
    others = "".join(f"    {each}={value!r},\n" for each, value in given.items())
    return (
        f"from manifest.testing import *\n{pasted.head}\n{made}{also_made}"
        f"simulate(\n    {name},\n    {does},\n{others})\n"
    )


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
