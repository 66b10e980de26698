"""The commands that write: `register` and `free`. `holding` does what they say."""

from __future__ import annotations

from functools import partial
from typing import Any

import click

from manifest.errors import NotOwner
from manifest.events import Freed, FreeReason
from manifest.network import Address

from .arguments import checked, checked_data, parse_address
from .child import free_port
from .holding import Command, Wanted, confirm, hold, hold_beside, leave_behind
from .listening import connect_option
from .running import run_asking, run_bare, run_lasting
from .settings import Settings, describes_a_manifest, peer_argument, timeout_option
from .statuses import (
    FOUND,
    NO_COMMAND,
    NOT_EXECUTABLE,
    NOT_FOUND,
    PIPE_CLOSED,
    UNREACHABLE,
    USAGE,
    Failure,
)
from .teaching import Taught, TaughtWithCommand, words_behind
from .visiting import visit
from .wording import printable

__all__ = ["free", "register"]


@click.command(
    cls=TaughtWithCommand,
    short_help="Register ROLE, with or without a command.",
    examples=[
        "manifest register 127.0.0.1:3100 web@1.2.3 --port 8080 --data zone=eu",
        "manifest register 127.0.0.1:3100 web@1.2.3 -- ./serve.sh     # gets a $PORT",
        "manifest register 127.0.0.1:3100 web@1.2.3 --port 8000 --when-listening \\",
        "    -- python3 -m http.server 8000",
        "manifest register a.example db --connect b.example --id primary --port 5432",
        "manifest register a.example db@16.1.0 --address 10.0.0.9 --port 5432 \\",
        "    --id db-1 --persistent",
    ],
    statuses=[
        (FOUND, "without a command: it was told to end, with Ctrl-C or SIGTERM"),
        (USAGE, "the command line is wrong"),
        (UNREACHABLE, "without a command: nobody answers there, or one side refuses the other"),
        (NOT_EXECUTABLE, "the command cannot be run"),
        (NO_COMMAND, "there is no such command"),
        (PIPE_CLOSED, "without a command: whoever read the output has gone"),
        ("other", "with a command: its own exit status, 128 + n where signal n ended it"),
    ],
)
@peer_argument
@click.argument("role")
@click.option(
    "--port",
    metavar="PORT",
    type=click.IntRange(1, 65535),
    help="The service's port; without one and without a command it is registered with none, and "
    "nobody can --pick it. With a command, any free one by default; it is in $PORT.",
)
@click.option(
    "--address",
    metavar="HOST",
    callback=checked(parse_address),
    help="The service's address; this host's, as the peer sees it, by default.",
)
@click.option(
    "--data",
    metavar="KEY=VALUE",
    multiple=True,
    callback=checked_data,
    help="What else to say of it (KEY:=JSON for what is not text); may be repeated.",
)
@click.option(
    "--id",
    metavar="ID",
    help="A shared name; the last to register it has it. Whoever had it before holds nothing from "
    "then on, and is told so; it goes on, as does its command, and does not take the name back.",
)
@click.option(
    "--persistent",
    is_flag=True,
    help="Have it stay when its owner dies. Without a command: register it and leave.",
)
@click.option(
    "--when-listening",
    is_flag=True,
    help="Register once the command accepts connections at its port.",
)
@connect_option
@timeout_option("3", "How long to wait for the manifest to answer.")
@describes_a_manifest(lasting=True)
def register(
    *,
    settings: Settings,
    peer: Address,
    peers: tuple[Address, ...],
    when_listening: bool,
    timeout: float,
    **registration: Any,
) -> int:
    """Register ROLE, such as web@1.2.3, and hold the registration until Ctrl-C.

    With a COMMAND, run it and hold the registration for as long as it runs. The command starts at
    once, whether or not the manifest at HOST:PORT is there; the registration is made at once too,
    or with --when-listening as soon as the command's port accepts connections.

    SIGINT, SIGTERM and SIGQUIT free the registration first. When the peers have taken that, at most
    two seconds later, the signal is passed on to the command; and so is each one that follows.
    SIGHUP, SIGUSR1 and SIGUSR2 are passed on as they are.
    """
    words = words_behind(click.get_current_context())
    if words is None:
        if when_listening:
            raise click.UsageError("--when-listening needs a command behind --")
        wanted = Wanted(**registration)
        if wanted.persistent:
            return run_asking(partial(leave_behind, settings, peer, wanted, timeout))
        return run_lasting(partial(hold, settings, (peer, *peers), wanted, timeout))
    port = registration["port"] = registration["port"] or free_port()
    wanted, command = Wanted(**registration), Command(words, port, when_listening)
    return run_bare(partial(hold_beside, settings, (peer, *peers), wanted, command, timeout))


@click.command(
    cls=Taught,
    short_help="Free a persistent service.",
    examples=["manifest free 127.0.0.1:3100 db-1"],
    statuses=[
        (FOUND, "it is freed"),
        (NOT_FOUND, "there is no such service, or it is not for others to free"),
        (USAGE, "the command line is wrong"),
        (UNREACHABLE, "nobody answers there, or one side refuses the other"),
        ("128 + n", "signal n ended it"),
    ],
)
@peer_argument
@click.argument("id")
@timeout_option("3", "How long to wait for the manifest to answer.")
@describes_a_manifest(lasting=False)
def free(settings: Settings, peer: Address, id: str, timeout: float) -> int:
    """Free the persistent service ID.

    All others go when their owner frees them, leaves or dies.
    """
    return run_asking(partial(_free, settings, peer, id, timeout))


async def _free(settings: Settings, peer: Address, id: str, timeout: float) -> int:
    async with visit(settings, peer, timeout) as (manifest, _):
        try:
            freed = manifest.free(id=id)
        except ValueError as error:
            raise click.UsageError(str(error)) from None
        except NotOwner as error:
            raise Failure(NOT_FOUND, str(error)) from None
    if freed is None:
        raise Failure(NOT_FOUND, f"no service {printable(id)} at {peer}")
    await confirm(settings, peer, timeout, freed, is_there=False)
    await settings.output().event(Freed(freed, FreeReason.FREED))
    return FOUND
