"""The commands that ask once: `show`, `query` and `wait`.

They look from within: each opens a manifest, links it, reads the registry there, and leaves. It
registers nothing, so nobody sees it come and go but the peer that it links to.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import attrs
import click
import trio

from manifest.codec import JSON
from manifest.environment import Environment
from manifest.network import Address
from manifest.query import parse_query
from manifest.records import Service
from manifest.registry import Manifest

from .arguments import checked_data
from .running import run_asking
from .settings import Settings, describes_a_manifest, peer_argument, timeout_option
from .statuses import FOUND, NOT_FOUND, UNREACHABLE, USAGE, Failure
from .teaching import Taught
from .visiting import reach, visit
from .wording import at, data_text, printable

__all__ = ["Asked", "query", "show", "wait", "where_option"]

_STATUSES = (
    (USAGE, "the command line is wrong"),
    (UNREACHABLE, "nobody answers there, or one side refuses the other"),
)
_INTERRUPTED = ("128 + n", "signal n ended it")
_MOST_TOLD = 5
"""How much of what there is instead is told."""


@attrs.frozen
class Asked:
    """What to look for: a role, as the library's queries have it, and data that must be equal."""

    role: str | None
    data: Mapping[str, JSON]

    def __attrs_post_init__(self) -> None:
        try:
            parse_query(self.query)
        except ValueError as error:
            raise click.UsageError(str(error)) from None

    @property
    def query(self) -> str | dict[str, Any]:
        """What `Manifest.get` takes."""
        if self.role is not None and not self.data:
            return self.role
        partial_record: dict[str, Any] = {"data": dict(self.data)}
        return partial_record if self.role is None else {"role": self.role, **partial_record}

    def matches(self, service: Service) -> bool:
        """Tell whether a service is what is looked for."""
        return parse_query(self.query).matches(service)

    def there_is(self, manifest: Manifest) -> str:
        """Return what there is instead, with what keeps it from matching, where none does.

        Nothing, or a clause for the end of a sentence.
        """
        named = manifest.get({"name": parse_query(self.query).name}).values()
        nearest = manifest.get(str(self.role)).values()
        texts = [self._unlike(service) for service in nearest] or [each.role for each in named]
        distinct = list(dict.fromkeys(texts))
        more = f" and {len(distinct) - _MOST_TOLD} more" if len(distinct) > _MOST_TOLD else ""
        told = ", ".join(map(printable, distinct[:_MOST_TOLD]))
        return f"; there is {told}{more}" if distinct else ""

    def _unlike(self, service: Service) -> str:
        """Return the role of a service, and what it says where something else is asked for."""
        data = service.data
        unlike = [
            key
            for key, value in self.data.items()
            if not parse_query({"data": {key: value}}).matches(service)
        ]
        others = data_text({key: data[key] for key in unlike if key in data})
        lacking = " and ".join(key for key in unlike if key not in data)
        clauses = (others and f"with {others}", lacking and f"without {lacking}")
        return " ".join([service.role, *filter(None, clauses)])

    def __str__(self) -> str:
        return f"{printable(str(self.role))} {data_text(self.data)}".rstrip()


def where_option(command: Callable[..., int]) -> Callable[..., int]:
    """Add the option --where, which may be repeated."""
    return click.option(
        "--where",
        metavar="KEY=VALUE",
        multiple=True,
        callback=checked_data,
        help="Only services with this in their data (KEY:=JSON for what is not text).",
    )(command)


_pick_option = click.option(
    "--pick",
    is_flag=True,
    help="Print the host:port of one that matches, any of those that have both.",
)


@click.command(
    cls=Taught,
    short_help="Print all services.",
    examples=[
        "manifest show 127.0.0.1:3100",
        "manifest show db.example                # port 3100",
        "manifest show '[::1]:3100' --json | jq -r .role",
    ],
    statuses=[
        (FOUND, "there is a service"),
        (NOT_FOUND, "there is none"),
        *_STATUSES,
        _INTERRUPTED,
    ],
)
@peer_argument
@timeout_option("3", "How long to wait for the manifest to answer.")
@describes_a_manifest(lasting=False)
def show(settings: Settings, peer: Address, timeout: float) -> int:
    """Print all services that the manifest at HOST:PORT knows of."""
    return run_asking(partial(_show, settings, peer, timeout))


async def _show(settings: Settings, peer: Address, timeout: float) -> int:
    async with visit(settings, peer, timeout) as (manifest, link):
        names = sorted({service.name for service in manifest.services().values()})
        found = [service for name in names for service in manifest.get(name).values()]
        count = "1 service" if len(found) == 1 else f"{len(found)} services"
        await settings.output().services(found, f"{count} at {link.status.address}")
        return FOUND if found else NOT_FOUND


@click.command(
    cls=Taught,
    short_help="Print the services that match ROLE.",
    examples=[
        "manifest query 127.0.0.1:3100 web",
        "manifest query 127.0.0.1:3100 web@1.2.3",
        "manifest query 127.0.0.1:3100 'web@>=1.2 <3' --where zone=eu",
        'curl "http://$(manifest query 127.0.0.1:3100 web@^1 --pick)/"',
    ],
    statuses=[(FOUND, "a service matches"), (NOT_FOUND, "none does"), *_STATUSES, _INTERRUPTED],
)
@peer_argument
@click.argument("role")
@where_option
@_pick_option
@timeout_option("3", "How long to wait for the manifest to answer.")
@describes_a_manifest(lasting=False)
def query(
    *,
    settings: Settings,
    peer: Address,
    role: str,
    where: Mapping[str, JSON],
    pick: bool,
    timeout: float,
) -> int:
    """Print the services that match ROLE, newest version first.

    ROLE is a name (web), a version (web@1.2.3) or a range of them as npm has it (web@^1.2).
    """
    return run_asking(partial(_query, settings, peer, Asked(role, where), pick, timeout))


async def _query(
    settings: Settings, peer: Address, asked: Asked, pick: bool, timeout: float
) -> int:
    async with visit(settings, peer, timeout) as (manifest, link):
        if manifest.get(asked.query):
            await _print_found(settings, manifest, asked, pick)
            return FOUND
        raise Failure(
            NOT_FOUND,
            f"no service matches {asked} at {link.status.address}{asked.there_is(manifest)}",
        )


@click.command(
    cls=Taught,
    short_help="Wait until a service matches ROLE.",
    examples=[
        "manifest wait 127.0.0.1:3100 db",
        "manifest wait 127.0.0.1:3100 db@^2 --timeout 30 && ./start.sh",
        "manifest wait registry.example db --where zone=eu --json",
    ],
    statuses=[
        (FOUND, "a service matches"),
        (NOT_FOUND, "none did within the timeout"),
        (USAGE, "the command line is wrong"),
        (UNREACHABLE, "nobody answered within the timeout, or one side refuses the other"),
        _INTERRUPTED,
    ],
)
@peer_argument
@click.argument("role")
@where_option
@_pick_option
@timeout_option(None, "How long to wait, for the manifest and the service; for ever by default.")
@describes_a_manifest(lasting=False)
def wait(
    *,
    settings: Settings,
    peer: Address,
    role: str,
    where: Mapping[str, JSON],
    pick: bool,
    timeout: float | None,
) -> int:
    """Wait until a service matches ROLE, and print what `query` would.

    The manifest need not be there yet either: it is dialled until it is.
    """
    return run_asking(partial(_wait, settings, peer, Asked(role, where), pick, timeout))


async def _wait(
    settings: Settings, peer: Address, asked: Asked, pick: bool, timeout: float | None
) -> int:
    async with settings.open() as manifest, manifest.events() as events:
        link = manifest.connect(peer.port, peer.host)
        began = trio.current_time()
        await reach(link, timeout)
        deadline = math.inf if timeout is None else began + timeout
        with trio.move_on_at(deadline):
            while not (_reachable(manifest, asked) if pick else manifest.get(asked.query)):
                await anext(events)
            await _print_found(settings, manifest, asked, pick)
            return FOUND
        within = f"at {link.status.address} within {timeout:g} s"
        if manifest.get(asked.query):
            raise Failure(
                NOT_FOUND,
                f"no service matching {asked} could be connected to {within}: "
                f"{_what_they_lack(manifest, asked)}",
            )
        raise Failure(NOT_FOUND, f"no service matched {asked} {within}{asked.there_is(manifest)}")


async def _print_found(settings: Settings, manifest: Manifest, asked: Asked, pick: bool) -> None:
    output = settings.output()
    if not pick:
        found = list(manifest.get(asked.query).values())
        await output.services(found, f"{len(found)} matching {asked}")
        return
    reachable = _reachable(manifest, asked)
    if not reachable:
        raise Failure(
            NOT_FOUND, f"there is nothing to connect to: {_what_they_lack(manifest, asked)}"
        )
    service = Environment().random.choice(reachable)
    if settings.json:
        await output.services([service], "")
    else:
        await output.text(at(service))


def _is_reachable(service: Service) -> bool:
    return service.address is not None and service.port is not None


def _reachable(manifest: Manifest, asked: Asked) -> list[Service]:
    """Return the services that match and say where to connect to."""
    return [service for service in manifest.get(asked.query).values() if _is_reachable(service)]


def _what_they_lack(manifest: Manifest, asked: Asked) -> str:
    """Return why none of those that match can be connected to."""
    lacks = [
        f"{service.role} ({service.id}) has no {'port' if service.port is None else 'address'}"
        for service in manifest.get(asked.query).values()
    ]
    more = f" and {len(lacks) - _MOST_TOLD} more" if len(lacks) > _MOST_TOLD else ""
    return printable(", ".join(lacks[:_MOST_TOLD])) + more
