"""The command that shows it all: `demo`, a mesh of real processes on this machine.

`story` has the steps, `mesh` the processes, `board` the table. This module puts them together, and
makes the exit status say whether every step held.
"""

from __future__ import annotations

import sys
from contextlib import AsyncExitStack, suppress
from functools import partial

import click
import trio

from .arguments import checked, parse_seconds
from .mesh import open_mesh
from .output import Output
from .running import run_asking
from .settings import set_up_logging
from .statuses import FOUND, NOT_FOUND, USAGE
from .story import Step, StepState, Story
from .teaching import Taught

__all__ = ["HEARTBEAT", "LIFETIME", "demo"]

HEARTBEAT = 0.5
LIFETIME = 1.5
_LAST_WORDS = 1.0
"""Seconds for the last line to be written when it is interrupted."""
_TITLE = f"""\
Five manifests on this machine, with a heartbeat of {HEARTBEAT:g} s and a lifetime of
{LIFETIME:g} s instead of the usual 5 s and 5 s, so that it is over soon."""


@click.command(
    cls=Taught,
    short_help="See it survive a partition and a crash.",
    examples=["manifest demo", "manifest demo | cat     # plain lines", "manifest demo --json"],
    statuses=[
        (FOUND, "every step held"),
        (NOT_FOUND, "one did not; the last line names it"),
        (USAGE, "the command line is wrong"),
        ("128 + n", "signal n ended it; the last line says how far it was"),
    ],
)
@click.option("--json", is_flag=True, help="Print one JSON object per step.")
@click.option(
    "--timeout",
    metavar="SECONDS",
    default="20",
    show_default=True,
    callback=checked(parse_seconds),
    help="How long a step may take at the most.",
)
def demo(json: bool, timeout: float) -> int:
    """Take five processes on this machine through a partition and a crash.

    They find each other, register, lose one to a partition, go on writing on both sides of it,
    agree again, and lose one to kill -9. Each step is held against what every process says, and all
    of it takes 5 to 10 seconds. Nothing but loopback is used, and nothing stays behind.
    """
    set_up_logging(0)
    return run_asking(partial(_demo, Output(sys.stdout, json=json), timeout))


async def _demo(output: Output, timeout: float) -> int:
    options = (f"--heartbeat-interval={HEARTBEAT}", f"--registration-lifetime={LIFETIME}")
    async with open_mesh(options, timeout) as mesh:
        story = Story(mesh, heartbeat=HEARTBEAT, lifetime=LIFETIME)
        interrupted = True
        try:
            # The table is left as it was at the end, and what follows stands below it.
            async with AsyncExitStack() as stack:
                if output.is_terminal:
                    from .board import live_table  # noqa: PLC0415 - rich, for terminals alone

                    await stack.enter_async_context(live_table(mesh, story, _TITLE))
                elif not output.json:
                    await output.text(_TITLE)
                held = await story.run(partial(_tell, output, story))
                interrupted = False
        finally:
            if interrupted:
                with trio.move_on_after(_LAST_WORDS, shield=True), suppress(OSError):
                    await _tell_interrupted(output, story)
        seconds = trio.current_time() - story.began
        if output.json:
            await output.fact("demo", "", {"held": held, "seconds": round(seconds, 2)})
        elif held:
            await output.text(f"All {len(story.steps)} steps held, in {seconds:.1f} s.")
        else:
            for step in story.steps:
                if step.failure:
                    await output.text(f"Step {step.name!r} failed: {step.failure}")
    return FOUND if held else NOT_FOUND


async def _tell(output: Output, story: Story, step: Step) -> None:
    """Write a step that is over as one line."""
    if output.is_terminal:
        # The table shows it already.
        await trio.lowlevel.checkpoint()
        return
    held = step.state is StepState.HELD
    number = story.steps.index(step) + 1
    if output.json:
        told = {
            "number": number,
            "step": step.name,
            "text": step.text,
            "held": held,
            "milliseconds": round(step.milliseconds, 1),
        }
        await output.fact("step", "", told if held else {**told, "failure": step.failure})
    else:
        at = trio.current_time() - story.began
        await output.text(
            f"{at:5.2f} s  {number}/{len(story.steps)} {step.name:<8}  {step.text:<52}"
            f"  {step.milliseconds:6,.0f} ms  {'held' if held else 'FAILED'}"
        )


async def _tell_interrupted(output: Output, story: Story) -> None:
    """Write that it was interrupted, which is neither held nor failed."""
    held = sum(step.state is StepState.HELD for step in story.steps)
    seconds = trio.current_time() - story.began
    if output.json:
        told = {"held": False, "interrupted": True, "seconds": round(seconds, 2)}
        await output.fact("demo", "", told)
    else:
        await output.text(
            f"Interrupted after {seconds:.1f} s: {held} of {len(story.steps)} steps held by then."
        )
