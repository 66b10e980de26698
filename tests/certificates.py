"""Certificates for tests: two CAs, what they signed, and both as contexts and as files."""

from __future__ import annotations

import datetime as dt
import functools
import ssl
from pathlib import Path
from typing import Any, TypedDict

import trustme

from manifest import TLS

__all__ = [
    "OURS",
    "THEIRS",
    "Files",
    "context",
    "expired",
    "member",
    "signed",
    "too_early",
    "write",
]

OURS, THEIRS = trustme.CA(), trustme.CA()


class Files(TypedDict):
    """Paths, by the names that `TLS.load` has for them."""

    ca: Path
    certificate: Path
    key: Path


def expired(*names: str) -> trustme.LeafCert:
    """Return a certificate that was valid in 2020."""
    # Without a zone, as trustme takes times.
    since, until = dt.datetime(2020, 1, 1), dt.datetime(2020, 2, 1)  # noqa: DTZ001
    return OURS.issue_cert(*names, not_before=since, not_after=until)


def too_early(*names: str) -> trustme.LeafCert:
    """Return a certificate that will be valid in 2990."""
    return OURS.issue_cert(*names, not_before=dt.datetime(2990, 1, 1))  # noqa: DTZ001


@functools.cache
def signed(*names: str, by: trustme.CA = OURS) -> trustme.LeafCert:
    """Return a certificate for some names and addresses; one for those given, however often."""
    return by.issue_cert(*names)


def context(
    protocol: int, leaf: trustme.LeafCert | None, trusted: trustme.CA = OURS
) -> ssl.SSLContext:
    """Return a context that is right but for what is asked of it."""
    made = ssl.SSLContext(protocol)
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.verify_mode = ssl.CERT_REQUIRED
    trusted.configure_trust(made)
    if leaf is not None:
        leaf.configure_cert(made)
    return made


def member(
    *names: str,
    leaf: trustme.LeafCert | None = None,
    trusted: trustme.CA = OURS,
    tickets: int = 0,
    **more: Any,
) -> TLS:
    """Return what a member with a certificate for these names is opened with, or with this one."""
    leaf = leaf or signed(*names)
    server = context(ssl.PROTOCOL_TLS_SERVER, leaf, trusted)
    client = context(ssl.PROTOCOL_TLS_CLIENT, leaf, trusted)
    server.num_tickets = tickets
    return TLS(server=server, client=client, **more)


def write(directory: Path, leaf: trustme.LeafCert, trusted: trustme.CA = OURS) -> Files:
    """Write a certificate, its key and a CA; return their paths as `TLS.load` takes them."""
    directory.mkdir(exist_ok=True)
    files = Files(
        ca=directory / "ca.pem",
        certificate=directory / "certificate.pem",
        key=directory / "key.pem",
    )
    for path, text in (
        (files["ca"], trusted.cert_pem.bytes()),
        (files["certificate"], b"".join(pem.bytes() for pem in leaf.cert_chain_pems)),
        (files["key"], leaf.private_key_pem.bytes()),
    ):
        # Replaced, as careful tools do it.
        fresh = directory / "fresh"
        fresh.write_bytes(text)
        fresh.chmod(0o600)
        fresh.replace(path)
    return files
