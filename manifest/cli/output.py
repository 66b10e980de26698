"""Where a command writes: tables and lines for people, JSON lines for programs.

A pipe that nobody reads must not hold up the event loop, or a registration would lapse because a
pager waits at its first page. So all writing is done in a thread, straight to the descriptor: a
thread that is abandoned there holds no lock of the interpreter's.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, TextIO

import attrs
import click
import trio

from manifest.environment import Environment
from manifest.events import Event
from manifest.records import Service
from manifest.structure import to_json

from .wording import COLUMNS, as_json, clock, columns, describe, row

__all__ = ["Output"]

_COLOURS = {
    "registered": "green",
    "updated": "yellow",
    "freed": "red",
    "disconnected": "red",
    "displaced": "red",
}


@attrs.frozen
class Output:
    """One stream, and the form in which things are written to it."""

    stream: TextIO | None
    json: bool = attrs.field(kw_only=True)
    _lock: trio.Lock = attrs.field(factory=trio.Lock, init=False, repr=False)

    @property
    def is_terminal(self) -> bool:
        """Whether people read it as it is written."""
        return not self.json and self.stream is not None and self.stream.isatty()

    async def text(self, text: str) -> None:
        """Write text, and a line's end. BrokenPipeError where the reader has gone.

        Checkpoints always. Cancelled, it may have written a part of it.
        """
        if self.stream is None:  # as sys.stdout is where the process was started without one
            await trio.lowlevel.checkpoint()
            return
        encoding = self.stream.encoding or "utf-8"
        data = f"{text}\n".encode(encoding, "backslashreplace")
        descriptor = self.stream.fileno()
        # One at a time, so that lines of two tasks stay whole.
        async with self._lock:
            await trio.to_thread.run_sync(_write, descriptor, data, abandon_on_cancel=True)

    async def services(self, services: Sequence[Service], title: str) -> None:
        """Write services: one per line, or a table with a title on a terminal. Nothing for none."""
        if not services:
            await trio.lowlevel.checkpoint()
        elif self.json:
            await self.text("\n".join(as_json(to_json(service)) for service in services))
        elif self.is_terminal:
            from .tables import services_table  # noqa: PLC0415 - rich costs as much as a query

            await self.text(services_table([row(each, brief=True) for each in services], title))
        else:
            await self.text(columns([COLUMNS, *map(row, services)]))

    async def event(self, event: Event, because: str = "") -> None:
        """Write an event as one line, for people with what it means behind it."""
        if self.json:
            fact = to_json(event)
            await self.fact(fact.pop("event"), "", fact)
        else:
            word, about = describe(event, brief=self.is_terminal)
            await self.fact(word, about + because, {})

    async def fact(self, word: str, about: str, fact: dict[str, Any]) -> None:
        """Write what has happened, now, as one line: in a word and what it is about, or as JSON."""
        now = Environment().wall()
        if self.json:
            await self.text(as_json({"event": word, "time": now, **fact}))
            return
        padded = f"{word:<12}"
        if self.is_terminal and not os.environ.get("NO_COLOR"):
            padded = click.style(padded, fg=_COLOURS.get(word, "cyan"))
        await self.text(f"{clock(now)}  {padded}  {about}")


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
