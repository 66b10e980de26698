"""The demo as a live table on a terminal: the second of two modules that import rich."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import trio
from rich import box
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from .mesh import Mesh
from .story import StepState, Story

__all__ = ["live_table"]

_TICK = 0.1
_MARKS = {
    StepState.WAITING: ("", "dim"),
    StepState.RUNNING: ("now", "bold"),
    StepState.HELD: ("held", "green"),
    StepState.FAILED: ("FAILED", "bold red"),
    StepState.INTERRUPTED: ("interrupted", "yellow"),
}
_STATES = {"up": "green", "cut off": "yellow", "killed": "red", "lost": "red"}


@asynccontextmanager
async def live_table(mesh: Mesh, story: Story, title: str) -> AsyncGenerator[None, None]:
    """Show the processes and the steps as they are, for the time of a block."""

    def draw() -> Group:
        # 22 lines, so that it fits the smallest usual terminal with what follows.
        return Group(Text(title), Text(""), _processes(mesh), Text(""), _steps(story))

    with Live(draw(), auto_refresh=False, vertical_overflow="visible") as live:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_keep_drawing, lambda: live.update(draw(), refresh=True))
            try:
                yield
            finally:
                nursery.cancel_scope.cancel()
                live.update(draw(), refresh=True)


async def _keep_drawing(draw: Callable[[], None]) -> None:
    while True:
        draw()
        await trio.sleep(_TICK)


def _processes(mesh: Mesh) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading in ("Process", "State"):
        table.add_column(heading, min_width=9)
    for heading in ("Pid", "Port", "Links", "Services shown"):
        table.add_column(heading, justify="right", min_width=6)
    for node in mesh.nodes:
        runs = node.process.returncode is None
        table.add_row(
            Text(node.name, style="bold"),
            Text(node.state, style=_STATES.get(node.state, "dim")),
            str(node.process.pid),
            str(node.port or ""),
            str(node.links) if runs else "",
            str(len(node.services)) if runs else "",
        )
    return table


def _steps(story: Story) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading in ("Step", "What holds then"):
        table.add_column(heading)
    table.add_column("Time", justify="right", min_width=8)
    table.add_column("", min_width=4)
    for step in story.steps:
        mark, style = _MARKS[step.state]
        waiting = "dim" if step.state is StepState.WAITING else ""
        table.add_row(
            Text(step.name, style=waiting or "bold"),
            Text(step.text, style=waiting),
            f"{step.milliseconds:,.0f} ms" if step.is_over else "",
            Text(mark, style=style),
        )
    return table
