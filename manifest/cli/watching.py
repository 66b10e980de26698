"""The command that looks on: `watch`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import click

from manifest.codec import JSON
from manifest.events import Connected, Disconnected, Event, Freed, Registered, Synced, Updated
from manifest.network import Address

from .lookup import Asked, where_option
from .running import run_lasting
from .settings import Settings, describes_a_manifest, peer_argument, timeout_option
from .statuses import FOUND, PIPE_CLOSED, UNREACHABLE, USAGE
from .teaching import Taught
from .visiting import reach

__all__ = ["watch"]


@click.command(
    cls=Taught,
    short_help="Print what happens, as it happens.",
    examples=[
        "manifest watch 127.0.0.1:3100",
        "manifest watch 127.0.0.1:3100 web@^1 --where zone=eu",
        "manifest watch 127.0.0.1:3100 --new-only --json | jq -r .event",
    ],
    statuses=[
        (FOUND, "it was told to end, with Ctrl-C or SIGTERM"),
        (USAGE, "the command line is wrong"),
        (UNREACHABLE, "nobody answers there, or one side refuses the other"),
        (PIPE_CLOSED, "whoever read the output has gone"),
    ],
)
@peer_argument
@click.argument("role", required=False)
@where_option
@click.option("--new-only", is_flag=True, help="Leave out what is registered already.")
@timeout_option("3", "How long to wait for the manifest to answer at first.")
@describes_a_manifest(lasting=False)
def watch(
    *,
    settings: Settings,
    peer: Address,
    role: str | None,
    where: Mapping[str, JSON],
    new_only: bool,
    timeout: float,
) -> int:
    """Print what happens in the registry, as it happens, until Ctrl-C.

    What is registered already comes first; `synced` says that this was all of it. With ROLE,
    services that match it alone. A link that is lost is made again.
    """
    asked = None if role is None and not where else Asked(role, where)
    return run_lasting(partial(_watch, settings, peer, asked, new_only, timeout))


async def _watch(
    settings: Settings, peer: Address, asked: Asked | None, new_only: bool, timeout: float
) -> None:
    output = settings.output()
    async with settings.open() as manifest, manifest.events() as events:
        await reach(manifest.connect(peer.port, peer.host), timeout)
        synced = False
        async for event in events:
            synced = synced or isinstance(event, Synced)
            if _concerns(event, asked) and (synced or not new_only or isinstance(event, Connected)):
                await output.event(event)


def _concerns(event: Event, asked: Asked | None) -> bool:
    match event:
        case Registered(service) | Freed(service):
            return asked is None or asked.matches(service)
        case Updated(service, before):
            return asked is None or asked.matches(service) or asked.matches(before)
        case Connected() | Synced() | Disconnected():
            return True
        case _:
            return False
