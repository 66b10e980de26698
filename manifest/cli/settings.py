"""The options that commands share, gathered into one value, and the manifest that they describe."""

from __future__ import annotations

import functools
import logging
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import attrs
import click

from manifest.opening import open_manifest
from manifest.options import Options
from manifest.registry import Manifest

from .arguments import checked, parse_peer, parse_seconds
from .output import Output
from .trust import TRUST, take_trust
from .wording import printable

__all__ = [
    "Settings",
    "describes_a_manifest",
    "peer_argument",
    "set_up_logging",
    "tear_down_logging",
    "timeout_option",
]

_LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)


@attrs.frozen
class Settings:
    """What the shared options say."""

    given: Mapping[str, Any]
    """Arguments for `open_manifest`."""
    json: bool

    def open(self) -> AbstractAsyncContextManager[Manifest]:
        """Return a manifest, to be entered."""
        return open_manifest(**self.given)

    def output(self) -> Output:
        """Return where to write what the command finds."""
        return Output(sys.stdout, json=self.json)


class _OneLine(logging.Formatter):
    """Log lines without what a peer could have put in them to steer the terminal."""

    def format(self, record: logging.LogRecord) -> str:
        text = f"manifest: {record.levelname.lower()}: {super().format(record)}"
        return "\n".join(map(printable, text.splitlines()))


def set_up_logging(verbose: int) -> None:
    """Send the library's warnings to stderr, and with -v and -vv what else it has to say."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine())
    logger = logging.getLogger("manifest")
    logger.handlers[:] = [handler]
    logger.setLevel(_LEVELS[min(verbose, len(_LEVELS) - 1)])


def tear_down_logging() -> None:
    """Leave the library's logger as it was."""
    logger = logging.getLogger("manifest")
    logger.handlers.clear()
    logger.setLevel(logging.NOTSET)


_SHARED = (
    click.option("--json", is_flag=True, help="Print one JSON object per line."),
    click.option(
        "--cluster",
        metavar="NAME",
        default="manifest",
        show_default=True,
        help="The cluster; manifests of another refuse.",
    ),
    click.option(
        "--retention",
        metavar="SECONDS",
        default="3600",
        show_default=True,
        callback=checked(parse_seconds),
        help="How long the cluster remembers what was freed; the same in all of it.",
    ),
    click.option("-v", "--verbose", count=True, help="Log what the links do; -vv logs more."),
)
_LASTING = (
    click.option("--name", metavar="NAME", help="A name that survives restarts, such as db-1."),
    click.option(
        "--heartbeat-interval",
        metavar="SECONDS",
        default="5",
        show_default=True,
        callback=checked(parse_seconds),
        help="How often to say that it is alive.",
    ),
    click.option(
        "--registration-lifetime",
        metavar="SECONDS",
        default="5",
        show_default=True,
        callback=checked(parse_seconds),
        help="How long its registrations stay after a heartbeat fell due.",
    ),
)


def describes_a_manifest(
    *, lasting: bool, trusting: bool = True
) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Add the shared options to a command, which gets them as one argument, `settings`.

    A manifest that only asks and leaves needs fewer of them than one that is lasting. One that is
    not `trusting` knows nothing of TLS, whatever the environment says.
    """
    options = (*(_LASTING if lasting else ()), *_SHARED, *(TRUST if trusting else ()))
    taken = ("cluster", "retention", "name", "heartbeat_interval", "registration_lifetime")

    def decorate(command: Callable[..., int]) -> Callable[..., int]:
        @functools.wraps(command)
        def call(json: bool, verbose: int, **arguments: Any) -> int:
            given = {key: arguments.pop(key) for key in taken if key in arguments}
            if "advertise" in arguments:
                given["advertise"] = arguments.pop("advertise")
            _check(given)
            if trusting and (tls := take_trust(arguments)) is not None:
                given["tls"] = tls
            set_up_logging(verbose)
            return command(settings=Settings(given, json), **arguments)

        for option in reversed(options):
            call = option(call)
        return call

    return decorate


def _check(given: Mapping[str, Any]) -> None:
    """Refuse what `open_manifest` would, in terms of the options that the command has."""
    if "heartbeat_interval" not in given:
        # It has no options for its own heartbeat, on which the least depends.
        least = 2 * Options().lease
        if given["retention"] < least:
            raise click.UsageError(
                f"--retention must be at least {least:g} seconds, got {given['retention']:g}; give "
                "that of the manifest that you ask"
            )
    try:
        Options(**given)
    except ValueError as error:
        raise click.UsageError(_in_options(str(error), given)) from None


def _in_options(complaint: str, given: Mapping[str, Any]) -> str:
    """Return a complaint about arguments of `open_manifest` as one about options.

    >>> _in_options("retention must be more than heartbeat_interval, got 1 s", {"retention": 1.0})
    '--retention must be more than heartbeat_interval, got 1 s'
    """
    # What was given stands at the end, and is left as it is.
    what, got, value = complaint.partition(", got ")
    for name in given:
        what = re.sub(rf"\b{name}\b", f"--{name.replace('_', '-')}", what)
    return f"{what}{got}{value}"


def peer_argument(command: Callable[..., int]) -> Callable[..., int]:
    """Add the argument HOST:PORT, the manifest to link to."""
    return click.argument("peer", metavar="HOST:PORT", callback=checked(parse_peer))(command)


def timeout_option(
    default: str | None, meaning: str
) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Add the option --timeout, in seconds."""
    return click.option(
        "--timeout",
        metavar="SECONDS",
        default=default,
        show_default=default is not None,
        callback=checked(parse_seconds),
        help=meaning,
    )
