"""What `register` does: hold a registration, leave one behind, or hold one beside a command.

Beside a command the order of things is what counts. On SIGTERM the registration goes first, and
only when the peers have taken that, or had two seconds to, does the command get the signal. So
nobody is sent to a service that has begun to stop.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress

import attrs
import click
import trio

from manifest.codec import JSON
from manifest.errors import NotOwner
from manifest.events import (
    Connected,
    Disconnected,
    Displaced,
    Event,
    Freed,
    FreeReason,
    Registered,
    Updated,
)
from manifest.network import Address
from manifest.options import Timeouts
from manifest.records import Service
from manifest.registry import Manifest

from .child import ENDING, PASSED_ON, Child, start_child, wait_listening
from .output import Output
from .settings import Settings
from .statuses import FOUND, UNREACHABLE, Failure
from .visiting import reach, tell_if_absent, visit

__all__ = ["Command", "Wanted", "confirm", "hold", "hold_beside", "leave_behind"]

_LAST_WORDS = 1.0
"""Seconds for the last lines to be written, to a pipe that is perhaps not read."""
_GRACE = 5.0
"""Seconds for a command to end of which nobody will look after any more."""
_TAKEN_OVER = ": another manifest registered this id later, so this one holds nothing any more"


@attrs.frozen(kw_only=True)
class Wanted:
    """The registration that is asked for."""

    role: str
    data: Mapping[str, JSON]
    port: int | None
    address: str | None
    id: str | None
    persistent: bool

    def register(self, manifest: Manifest) -> Service:
        """Register it; without an address, once this host's is known."""
        return manifest.register(**attrs.asdict(self))

    def registered(self, manifest: Manifest) -> AbstractContextManager[Service]:
        """Register it for the time of a block."""
        return manifest.registered(**attrs.asdict(self))

    async def rehearse(self, settings: Settings) -> None:
        """Register it where nobody sees it, so that whatever is wrong with it shows at once."""
        async with settings.open() as nowhere:
            try:
                with self.registered(nowhere):
                    pass
            except (ValueError, NotOwner) as error:
                raise click.UsageError(str(error)) from None


@attrs.frozen
class Command:
    """What to run beside a registration."""

    words: tuple[str, ...]
    port: int
    when_listening: bool
    """Whether to register once it accepts connections, and not at once."""


async def hold(
    settings: Settings, peers: Sequence[Address], wanted: Wanted, timeout: float
) -> None:
    """Hold a registration until cancelled. `Failure` where the first peer is not to be had."""
    await wanted.rehearse(settings)
    output = settings.output()
    async with settings.open() as manifest, manifest.events() as events:
        link, *others = [manifest.connect(peer.port, peer.host) for peer in peers]
        await reach(link, timeout)
        async with trio.open_nursery() as nursery:
            for other in others:
                nursery.start_soon(tell_if_absent, other, timeout)
            try:
                with wanted.registered(manifest):
                    await _report(output, events, manifest)
            finally:
                with trio.move_on_after(Timeouts().close + _LAST_WORDS, shield=True):
                    await manifest.aclose()
                    await _report(output, events, manifest)


async def leave_behind(settings: Settings, peer: Address, wanted: Wanted, timeout: float) -> int:
    """Register what is persistent, and leave once the peer has it."""
    await wanted.rehearse(settings)
    async with visit(settings, peer, timeout) as (manifest, _):
        service = wanted.register(manifest)
    await confirm(settings, peer, timeout, service, is_there=True)
    await settings.output().event(Registered(service))
    return FOUND


async def confirm(
    settings: Settings, peer: Address, timeout: float, service: Service, *, is_there: bool
) -> None:
    """See that what was written last has reached a peer; `Failure` where it has not.

    A farewell waits for the peer, but not for ever; so a second visit looks.
    """
    async with visit(settings, peer, timeout) as (manifest, _):
        found = manifest.get({"id": service.id}).get(service.id)
    written = found is not None and found.timestamp >= service.timestamp
    if written is not is_there:
        raise Failure(UNREACHABLE, f"{peer} has not confirmed it; look there and try again")


async def hold_beside(
    settings: Settings, peers: Sequence[Address], wanted: Wanted, command: Command, timeout: float
) -> int:
    """Hold a registration for as long as a command runs, and return the command's exit status."""
    await wanted.rehearse(settings)
    with trio.open_signal_receiver(*ENDING, *PASSED_ON) as signals:
        child = await start_child(command.words, command.port)
        try:
            async with settings.open() as manifest:
                for peer in peers:
                    manifest.connect(peer.port, peer.host)
                beside = _Beside(settings, manifest, wanted, command, child)
                return await beside.run(signals, timeout)
        except BaseException:
            # A bug in here, and nobody would be left to pass signals on.
            child.pass_on(ENDING[1])
            with trio.move_on_after(_GRACE, shield=True):
                await child.wait()
            raise


@attrs.define(eq=False)
class _Beside:
    """A registration, and the command beside which it is held."""

    settings: Settings
    manifest: Manifest
    wanted: Wanted
    command: Command
    child: Child
    _registering: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _registration: ExitStack = attrs.field(factory=ExitStack, init=False)

    async def run(self, signals: AsyncIterable[int], timeout: float) -> int:
        """Return the command's exit status once it has ended, and the registration with it."""
        async with self.manifest.events() as events, trio.open_nursery() as nursery:
            told = trio.Event()
            nursery.start_soon(self._obey, signals)
            nursery.start_soon(self._tell, events, told)
            nursery.start_soon(self._register, timeout)
            status = await self.child.wait()
            await self._free()
            with trio.move_on_after(_LAST_WORDS):
                await told.wait()
            nursery.cancel_scope.cancel()
        return status

    async def _register(self, timeout: float) -> None:
        with self._registering:
            if self.command.when_listening:
                await wait_listening(self.command.port, self.wanted.address)
            await trio.lowlevel.checkpoint_if_cancelled()
            self._registration.enter_context(self.wanted.registered(self.manifest))
            async with trio.open_nursery() as nursery:
                for link in self.manifest.links:
                    nursery.start_soon(tell_if_absent, link, timeout)

    async def _obey(self, signals: AsyncIterable[int]) -> None:
        async for signum in signals:
            if signum in ENDING:
                await self._free()
            self.child.pass_on(signum)

    async def _free(self) -> None:
        """Free the registration, and wait until the peers have taken that or had two seconds to."""
        self._registering.cancel()
        # The persistent ones too, which closing the manifest would leave there.
        self._registration.close()
        await self.manifest.aclose()

    async def _tell(self, events: AsyncIterable[Event], told: trio.Event) -> None:
        # The command has stdout to itself.
        output = Output(sys.stderr, json=self.settings.json)
        # That nobody reads it any more is no reason to end a service.
        with suppress(OSError):
            await _report(output, events, self.manifest)
        told.set()


async def _report(output: Output, events: AsyncIterable[Event], manifest: Manifest) -> None:
    """Write what becomes of the registration and its links, until the manifest has closed."""
    async for event in events:
        match event:
            case Registered(service) | Updated(service) | Freed(service):
                if service.owner == manifest.id:
                    await output.event(event, _because(event, manifest))
            case Connected() | Disconnected() | Displaced():
                await output.event(event)
            case _:
                pass


def _because(event: Event, manifest: Manifest) -> str:
    """Return what a name that was taken over means, to be said behind the event."""
    match event:
        case Freed(_, FreeReason.REPLACED) if manifest.statistics().displaced_by is None:
            return _TAKEN_OVER
        case _:
            # That a manifest is displaced is told by an event of its own.
            return ""
