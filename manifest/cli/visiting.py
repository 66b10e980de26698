"""A link to the manifest that a command was told of: made, or a failure that says why not."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager

import trio

from manifest.errors import LinkRefused
from manifest.link import Link, LinkState
from manifest.network import Address
from manifest.registry import Manifest

from .settings import Settings
from .statuses import UNREACHABLE, Failure
from .trust import in_trust_options
from .wording import printable

__all__ = ["reach", "tell_if_absent", "visit"]


@asynccontextmanager
async def visit(
    settings: Settings, peer: Address, seconds: float | None
) -> AsyncGenerator[tuple[Manifest, Link], None]:
    """Open a manifest that holds all that a peer does, for the time of a block.

    It registers nothing. `Failure` where the peer is not there within `seconds`, or one side
    refuses the other.
    """
    async with settings.open() as manifest:
        link = manifest.connect(peer.port, peer.host)
        await reach(link, seconds)
        yield manifest, link


async def reach(link: Link, seconds: float | None) -> None:
    """Wait until all that the peer holds has arrived; `Failure` where it cannot be had in time."""
    address = link.status.address
    with _warnings_held_back(), trio.move_on_after(math.inf if seconds is None else seconds):
        await trio.lowlevel.checkpoint()
        while link.status.state is not LinkState.SYNCED:
            status = await link.wait_changed()
            if status.state is LinkState.REFUSED:
                raise Failure(UNREACHABLE, f"no link to {address}: {_reason(link)}")
        return
    raise Failure(
        UNREACHABLE,
        f"no link to {address} within {seconds:g} s: {_reason(link)}; does a manifest listen "
        "there?",
    )


async def tell_if_absent(link: Link, seconds: float) -> None:
    """Log a warning where a peer is not there within `seconds`, or refuses or is refused.

    It is still dialled after that.
    """
    when = ""
    try:
        with trio.move_on_after(seconds) as waiting:
            await link.wait_synced()
        if not waiting.cancelled_caught:
            return
        when = f" within {seconds:g} s"
    except LinkRefused:
        pass
    logging.getLogger("manifest").warning(
        "no link to %s%s: %s; still trying", link.status.address, when, _reason(link)
    )


def _reason(link: Link) -> str:
    reason = printable(link.status.reason or "no answer")
    # What a peer asks to be opened with, in terms of the options that say so here.
    reason = re.sub(
        r"\bopen both with one (cluster|retention)=$", r"give both the same --\1", reason
    )
    return in_trust_options(reason)


@contextmanager
def _warnings_held_back() -> Generator[None]:
    """Leave out the warnings of links while the command itself reports how its link fares."""
    logger = logging.getLogger("manifest")
    level = logger.level
    if level == logging.WARNING:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
