"""One process of the demo: a manifest that obeys JSON lines on stdin and tells of itself on stdout.

It leaves when its stdin ends, so a demo that is killed leaves no processes behind.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any

import click
import trio

from manifest.registry import Manifest
from manifest.structure import to_json
from manifest.subscription import Subscription

from .output import Output
from .running import run_lasting
from .settings import Settings, describes_a_manifest

__all__ = ["demo_node"]


@click.command(hidden=True)
@describes_a_manifest(lasting=True, trusting=False)
def demo_node(settings: Settings) -> int:
    """Run one process of the demo."""
    return run_lasting(lambda: _obey(settings))


async def _obey(settings: Settings) -> None:
    output = Output(sys.stdout, json=True)
    async with settings.open() as manifest, manifest.events() as events:
        listener = await manifest.listen(0, "127.0.0.1")
        await output.fact("listening", "", {"id": manifest.id, "port": listener.port})
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_tell, output, events)
            rest = b""
            # Read in a thread, unbuffered, for the same reason for which `Output` writes so.
            while data := await trio.to_thread.run_sync(os.read, 0, 65536, abandon_on_cancel=True):
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    await _do(manifest, output, **json.loads(line))
            nursery.cancel_scope.cancel()


async def _tell(output: Output, events: Subscription) -> None:
    async for event in events:
        await output.event(event)


async def _do(manifest: Manifest, output: Output, do: str, **arguments: Any) -> None:
    if do == "list":
        await output.fact("list", "", {"services": to_json(manifest.services())})
        return
    plain: dict[str, Callable[..., object]]
    plain = {"connect": manifest.connect, "register": manifest.register, "free": manifest.free}
    plain[do](**arguments)
    await trio.lowlevel.checkpoint()
