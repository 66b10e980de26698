"""A subscriber's end of the events: an asynchronous iterator over its mailbox."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import trio

from .events import Closed, Event, Mailbox
from .records import Service

__all__ = ["Subscription"]


class Subscription:
    """What has happened since it was made, event by event, for one task.

    `snapshot` is the registry at the moment of subscribing: with it and the events a view can
    be kept that equals `Manifest.services()` at every step. The iteration ends behind `Closed`, the
    last event that there is.
    """

    def __init__(self, snapshot: Mapping[str, Service]) -> None:
        self.snapshot: Mapping[str, Service] = MappingProxyType(dict(snapshot))
        self._mailbox = Mailbox()
        self._arrived = trio.Event()
        self._reading = False
        self._left = False
        self._ended = False

    def __len__(self) -> int:
        """How many events wait to be read."""
        return len(self._mailbox)

    @property
    def merged(self) -> int:
        """How many events were merged into others because this subscriber lagged."""
        return self._mailbox.merged

    def put(self, event: Event) -> None:
        """Deliver an event. Never blocks."""
        self._mailbox.put(event)
        self._arrived.set()

    def close(self) -> None:
        """Deliver nothing more: its block has been left. Who still reads is told."""
        self._left = True
        self._arrived.set()

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Event:
        """Wait for the next event. Checkpoints always; cancellation loses nothing.

        `trio.BusyResourceError` where another task is waiting on the same subscription, and
        `trio.ClosedResourceError` once the block of the subscription has been left.
        """
        if self._reading:
            raise trio.BusyResourceError(
                "another task reads these events: give each its own events()"
            )
        self._reading = True
        try:
            await trio.lowlevel.checkpoint()
            while not (self._mailbox or self._left or self._ended):
                self._arrived = trio.Event()
                await self._arrived.wait()
        finally:
            self._reading = False
        if self._left:
            raise trio.ClosedResourceError("the block of these events was left: subscribe anew")
        if self._ended:
            raise StopAsyncIteration
        event = self._mailbox.take()
        self._ended = isinstance(event, Closed)
        return event
