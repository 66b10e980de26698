"""The command that makes a working set of certificates for a trial: `certs`.

Its invariant: no key is ever lost by mistake. All that is asked for is checked before anything is
written, a file that is there is left as it is unless that is asked for too, and the CA's always.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import click

from manifest.environment import Environment
from manifest.records import check_host, is_wildcard

from .arguments import each_checked
from .output import Output
from .running import run_asking
from .statuses import FOUND, NOT_FOUND, PIPE_CLOSED, USAGE, Failure
from .teaching import Taught

if TYPE_CHECKING:
    from .issuing import Authority, Pair

__all__ = ["certs", "parse_member", "parse_other"]

_MEMBER = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,61}[A-Za-z0-9])?")
_LOCAL = ("localhost", "127.0.0.1", "::1")
_CA_YEARS = 10


def parse_member(text: str) -> str:
    """Return the name of a member, which names its files as well; ValueError otherwise.

    >>> parse_member("db-1.example")
    'db-1.example'
    """
    if not _MEMBER.fullmatch(text) or text == "ca" or text.endswith("-key"):
        raise ValueError(
            f"{text!r:.80} is not a host name such as db-1 or db-1.example, up to 63 letters, "
            "digits, dots and dashes; ca, and what ends in -key, are names of other files"
        )
    return text


def parse_other(text: str) -> str:
    r"""Return a name or an address as it stands in a certificate; ValueError otherwise.

    >>> parse_other("10.0.0.7"), parse_other("b\u00fccher.example"), parse_other("fe80::1%eth0")
    ('10.0.0.7', 'xn--bcher-kva.example', 'fe80::1')
    """
    try:
        check_host(text)
    except ValueError:
        raise ValueError(
            f"{text!r:.80} is not a host name or an IP address, such as registry.internal, "
            "10.0.0.7 or ::1; a certificate is for all ports"
        ) from None
    if is_wildcard(text):
        raise ValueError(
            f"{text} is no address to connect to, it stands for every address of a host; give "
            "those that peers dial, each with an --also of its own"
        )
    host = text.partition("%")[0].rstrip(".")
    try:
        return host.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise ValueError(f"{text!r:.80} cannot be a name in a certificate: {error}") from None


@click.command(
    cls=Taught,
    short_help="Make certificates for a trial.",
    examples=[
        "manifest certs a b c                 # a CA, and a certificate for each",
        "manifest certs d                     # one more from the same CA",
        "manifest certs a --replace           # a new one: a's links use it from now on",
        "manifest certs a b --also 10.0.0.7 --also registry.internal",
        "manifest listen --tls-ca certs/ca.pem --tls-cert certs/a.pem \\",
        "    --tls-key certs/a-key.pem",
    ],
    statuses=[
        (FOUND, "they are made"),
        (NOT_FOUND, "they cannot be made: there are such files already, say"),
        (USAGE, "the command line is wrong, or the extra `certs` is not installed"),
        (PIPE_CLOSED, "whoever read the output has gone"),
    ],
)
@click.argument(
    "names", metavar="NAME...", nargs=-1, required=True, callback=each_checked(parse_member)
)
@click.option(
    "--dir",
    "directory",
    metavar="DIR",
    default="certs",
    show_default=True,
    help="Where to write them; made if need be. A CA that is there goes on being used.",
)
@click.option(
    "--also",
    metavar="HOST",
    multiple=True,
    callback=each_checked(parse_other),
    help="A further name or address that all of these are for; may be repeated.",
)
@click.option(
    "--days",
    type=click.IntRange(1, 3650),
    default=90,
    show_default=True,
    help="How long they are valid.",
)
@click.option("--replace", is_flag=True, help="Replace those of these names that are there.")
@click.option("--json", is_flag=True, help="Print one JSON object per line.")
def certs(
    *,
    names: tuple[str, ...],
    directory: str,
    also: tuple[str, ...],
    days: int,
    replace: bool,
    json: bool,
) -> int:
    """Make a CA, and a certificate signed by it for each NAME, for a trial.

    Each is for NAME, localhost and the loopback addresses: those under which it is dialled. Whoever
    has ca-key.pem can let anyone in: keep it away from the machines that run the members.
    """
    if find_spec("cryptography") is None:
        raise Failure(
            USAGE,
            'making certificates needs cryptography: install it with pip install ".[certs]" in a '
            "checkout of manifest",
        )
    now = datetime.fromtimestamp(Environment().wall() // 1000, UTC)
    order = _Order(Path(directory), tuple(dict.fromkeys(names)), also, now, days)
    try:
        made = order.make(replace=replace)
    except OSError as error:
        raise Failure(
            NOT_FOUND, f"{error.filename} cannot be written or read: {error.strerror}"
        ) from None
    return run_asking(partial(_tell, Output(sys.stdout, json=json), made))


@attrs.frozen
class _Made:
    """What was made for one name."""

    name: str
    certificate: Path
    key: Path
    hosts: tuple[str, ...]
    expires: datetime


async def _tell(output: Output, made: list[_Made]) -> int:
    for each in made:
        until = f"{each.expires:%Y-%m-%d}"
        hosts = f"for {', '.join(each.hosts)}, " if each.hosts else ""
        await output.fact(
            "made",
            f"{each.certificate} and {each.key}, {hosts}valid until {until}",
            {
                "name": each.name,
                "certificate": str(each.certificate),
                "key": str(each.key),
                "hosts": list(each.hosts),
                "expires": round(each.expires.timestamp() * 1000),
            },
        )
    return FOUND


@attrs.frozen
class _Order:
    """What is asked for."""

    directory: Path
    names: tuple[str, ...]
    also: tuple[str, ...]
    now: datetime
    days: int

    def make(self, *, replace: bool) -> list[_Made]:
        """Make it, and return what was made; `Failure` or OSError where that cannot be."""
        if self.directory.exists() and not self.directory.is_dir():
            raise Failure(
                NOT_FOUND,
                f"{self.directory} is a file, and --dir names a directory: give another one, which "
                "is made if need be",
            )
        paths = [path for name in self.names for path in self._paths(name)]
        there = [str(path) for path in paths if path.exists()]
        if there and not replace:
            raise Failure(
                NOT_FOUND,
                f"there is {', '.join(there)} already; give --replace to lose what it holds, or "
                "another --dir",
            )
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        authority, made = self._authority()
        until = min(self.now + timedelta(days=self.days), authority.expires)
        for name in self.names:
            hosts = tuple(dict.fromkeys((name, *_LOCAL, *self.also)))
            self._write(name, authority.issue(name, hosts, self.now, until), replace=replace)
            made.append(_Made(name, *self._paths(name), hosts, until))
        return made

    def _authority(self) -> tuple[Authority, list[_Made]]:
        """Return the CA, and that it was made if it was."""
        # Imported here, for it comes with an extra of its own.
        from .issuing import Pair, make_authority, read_authority  # noqa: PLC0415

        certificate, key = self._paths("ca")
        missing = [path for path in (certificate, key) if not path.exists()]
        if len(missing) == 1:
            raise Failure(
                NOT_FOUND,
                f"{missing[0]} is not there, and to sign takes both the CA's certificate and its "
                f"key, {certificate.name} and {key.name}: put it back, or give another --dir to "
                "begin with a new CA",
            )
        if missing:
            expires = self.now + timedelta(days=365 * _CA_YEARS)
            authority = make_authority("manifest trial CA", self.now, expires)
            self._write("ca", authority.pair, replace=False)
            return authority, [_Made("ca", certificate, key, (), expires)]
        try:
            authority = read_authority(Pair(certificate.read_bytes(), key.read_bytes()))
        except ValueError as error:
            problem = str(error)
        else:
            if authority.expires > self.now:
                return authority, []
            problem = f"it expired on {authority.expires:%Y-%m-%d}"
        raise Failure(
            NOT_FOUND,
            f"the CA in {certificate} and {key} cannot be used: {problem}; give another --dir to "
            "begin with a new one",
        )

    def _paths(self, name: str) -> tuple[Path, Path]:
        return self.directory / f"{name}.pem", self.directory / f"{name}-key.pem"

    def _write(self, name: str, pair: Pair, *, replace: bool) -> None:
        certificate, key = self._paths(name)
        _write_file(key, pair.key, 0o600, replace=replace)
        _write_file(certificate, pair.certificate, 0o644, replace=replace)


def _write_file(path: Path, data: bytes, mode: int, *, replace: bool) -> None:
    """Write a file that is there whole or not at all, and at no moment open to others."""
    if not replace:
        # Fails where somebody else has made it meanwhile.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        return
    descriptor, temporary = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    Path(temporary).chmod(mode)
    Path(temporary).replace(path)
