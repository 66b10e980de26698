"""Constant load on a manifest: services come, live for a while, and go.

The same load on simulated hosts and in real processes; what it did is noted, so that what others
saw can be held against it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import attrs
import trio

from manifest import Manifest

__all__ = ["Churn"]


def _no_note(id: str, *, held: bool) -> None:
    """Take no note."""


@attrs.define(eq=False)
class Churn:
    """Registers so many services a second, and frees the oldest as soon as it holds enough."""

    registry: Manifest
    rate: float
    """Registrations a second and, once enough are held, as many frees."""
    held: int
    """How many services it holds."""
    tick: float = 0.02
    """Seconds between bursts."""
    note: Callable[..., None] = _no_note
    """Is told `(id, held=...)` after each registration and free."""
    ids: deque[str] = attrs.field(factory=deque)
    """What it holds, oldest first."""
    count: int = 0
    """Services registered so far."""

    async def run(self) -> None:
        """Go on until cancelled; what is held then stays."""
        begun, owed_from = trio.current_time(), self.count
        while True:
            await trio.sleep(self.tick)
            owed = int((trio.current_time() - begun) * self.rate) - (self.count - owed_from)
            if owed > self.rate:
                # It was stopped for longer than a second: what was owed meanwhile is not made up.
                begun, owed_from, owed = trio.current_time(), self.count, 1
            for _ in range(owed):
                self.register()
            while len(self.ids) > self.held:
                self.free()

    def register(self) -> None:
        """Register one service more."""
        self.count += 1
        data = {"n": self.count, "zone": "eu"}
        role = f"churn-{self.count % 7}@1.0.{self.count % 5}"
        id = self.registry.register(role, data, port=1024 + self.count % 60_000).id
        self.ids.append(id)
        self.note(id, held=True)

    def free(self) -> None:
        """Free the oldest service."""
        id = self.ids.popleft()
        self.registry.free(id=id)
        self.note(id, held=False)
