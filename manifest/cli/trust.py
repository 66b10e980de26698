"""The options that say whom to trust and who one is: files, named here or in the environment."""

from __future__ import annotations

import re
from typing import Any

import click

from manifest.tls import TLS

__all__ = ["TRUST", "in_trust_options", "take_trust"]

TRUST = (
    click.option(
        "--tls-ca",
        metavar="FILE",
        envvar="MANIFEST_TLS_CA",
        show_envvar=True,
        help="Encrypt links, and trust peers that this CA knows.",
    ),
    click.option(
        "--tls-cert",
        metavar="FILE",
        envvar="MANIFEST_TLS_CERT",
        show_envvar=True,
        help="The certificate to show to peers.",
    ),
    click.option(
        "--tls-key",
        metavar="FILE",
        envvar="MANIFEST_TLS_KEY",
        show_envvar=True,
        help="The key of that certificate.",
    ),
    click.option(
        "--tls-peer-name",
        metavar="NAME",
        envvar="MANIFEST_TLS_PEER_NAME",
        show_envvar=True,
        help="A name that peers' certificates must bear, instead of the host that is dialled.",
    ),
)
_FILES = {"ca": "tls_ca", "certificate": "tls_cert", "key": "tls_key"}


def take_trust(arguments: dict[str, Any]) -> TLS | None:
    """Take what these options say out of the arguments of a command; None where they say nothing.

    `click.UsageError` where they do not go together, or a file cannot be used.
    """
    files = {argument: arguments.pop(option) for argument, option in _FILES.items()}
    peer_name = arguments.pop("tls_peer_name")
    if peer_name is None and not any(files.values()):
        return None
    lacking = [_option(argument) for argument, path in files.items() if not path]
    if lacking:
        raise click.UsageError(
            "--tls-ca, --tls-cert and --tls-key go together, each with a file; "
            f"{' and '.join(lacking)} {'are' if len(lacking) > 1 else 'is'} not given"
        )
    try:
        return TLS.load(**files, peer_name=peer_name)
    except ValueError as error:
        # The argument at fault stands in front, and only there.
        argument, rest = re.split(r"\b", str(error), maxsplit=2)[1:]
        raise click.UsageError(f"{_option(argument)}{rest}") from None


def in_trust_options(reason: str) -> str:
    """Return why a link is refused in terms of these options, where it says what to open with.

    >>> in_trust_options("the peer does not speak TLS: open both with tls=, or neither")
    'the peer does not speak TLS: give both --tls-ca, --tls-cert and --tls-key, or neither'
    """
    given = "--tls-ca, --tls-cert and --tls-key"
    reason = reason.replace("open both with tls=", f"give both {given}")
    reason = re.sub(
        r"open (it|this manifest) with tls= and a certificate",
        f"give {given}, with a certificate",
        reason,
    )
    return reason.replace("peer_name=", "--tls-peer-name")


def _option(argument: str) -> str:
    return f"--{_FILES.get(argument, f'tls_{argument}').replace('_', '-')}"
