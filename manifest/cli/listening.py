"""The command for others to connect to: `listen`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import click
import trio

from manifest.events import Accepted, Connected, Disconnected, Displaced, Heartbeat, Synced
from manifest.network import Address
from manifest.refusals import Refusal
from manifest.structure import to_json

from .arguments import PORT, checked, each_checked, parse_host, parse_peer
from .running import run_lasting
from .settings import Settings, describes_a_manifest, timeout_option
from .statuses import FOUND, NOT_FOUND, PIPE_CLOSED, USAGE, Failure
from .teaching import Taught
from .visiting import tell_if_absent
from .wording import at

__all__ = ["connect_option", "listen"]

connect_option = click.option(
    "--connect",
    "peers",
    metavar="HOST:PORT",
    multiple=True,
    callback=each_checked(parse_peer),
    help="A further manifest to link to; may be repeated, and need not be there yet.",
)


@click.command(
    cls=Taught,
    short_help="Run a manifest for others to connect to.",
    examples=[
        "manifest listen",
        "manifest listen --port 3101 --connect 127.0.0.1:3100 --name db-1",
        "manifest listen --host '::' --connect a.example --connect b.example",
        "manifest listen --port 0 --json | jq .port",
        "manifest listen --advertise registry.example:31000   # in a container",
    ],
    statuses=[
        (FOUND, "it was told to end, with Ctrl-C or SIGTERM"),
        (NOT_FOUND, "the port cannot be listened on: it is in use, say"),
        (USAGE, "the command line is wrong"),
        (PIPE_CLOSED, "whoever read the output has gone"),
    ],
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=PORT,
    show_default=True,
    help="The port to listen on; 0 takes any free one.",
)
@click.option(
    "--host",
    metavar="HOST",
    default="0.0.0.0",
    show_default=True,
    callback=checked(parse_host),
    help="The address or host name to listen on.",
)
@connect_option
@click.option("--advertise", metavar="HOST[:PORT]", help="What to tell others instead.")
@timeout_option("3", "After how long to warn that a manifest to link to is not there.")
@describes_a_manifest(lasting=True)
def listen(
    settings: Settings, port: int, host: str, peers: tuple[Address, ...], timeout: float
) -> int:
    """Run a manifest for others to connect to, until Ctrl-C.

    It holds the whole registry and hands it on; run two or three, linked to each other, and the
    loss of one goes unnoticed.
    """
    return run_lasting(partial(_listen, settings, Address(host, port), peers, timeout))


async def _listen(
    settings: Settings, address: Address, peers: tuple[Address, ...], timeout: float
) -> None:
    output = settings.output()
    async with settings.open() as manifest, manifest.events() as events:
        try:
            listener = await manifest.listen(address.port, address.host)
        except OSError as error:
            why = error.strerror or str(error)
            raise Failure(
                NOT_FOUND,
                f"cannot listen on {address}: {why}; choose another --host or --port (0 for any)",
            ) from None
        bound = [str(each) for each in listener.addresses]
        await output.fact(
            "listening",
            f"on {', '.join(bound)}; others find it at {at(listener.service)}",
            {
                "id": manifest.id,
                "name": manifest.name,
                "port": listener.port,
                "addresses": bound,
                "service": to_json(listener.service),
            },
        )
        async with trio.open_nursery() as nursery:
            for peer in peers:
                nursery.start_soon(tell_if_absent, manifest.connect(peer.port, peer.host), timeout)
            told: Mapping[Refusal, int] = {}
            async for event in events:
                match event:
                    case Accepted() | Connected() | Synced() | Disconnected() | Displaced():
                        await output.event(event)
                    case Heartbeat() if told != (refused := manifest.statistics().refused):
                        # Whoever never said Hello is no event, and there may be thousands of them.
                        told = refused
                        counts = {word.value: count for word, count in told.items()}
                        about = ", ".join(f"{word} {count}" for word, count in counts.items())
                        await output.fact("refused", f"so far: {about}", {"refused": counts})
                    case _:
                        pass
