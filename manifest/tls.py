"""Who a manifest is, and whom it lets in: certificates, as contexts of the `ssl` module.

Its invariant: both ends of every connection prove that a CA of this side's choice knows them. A
context that would let in a peer without a certificate, or speak less than TLS 1.3, is a mistake
here, and never a weaker kind of security.

Files are looked at again for every new connection, and read again where they have changed. They are
replaced one after the other, by somebody else, so what does not fit together is left until it does:
meanwhile what was read last goes on being used.
"""

from __future__ import annotations

import logging
import os
import re
import ssl
import stat
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import attrs

__all__ = ["TLS"]

_log = logging.getLogger("manifest")

_AGAIN = 60.0
"""Seconds after which files that could not be used are read again, changed or not."""
_LONG = 100
"""How long a path may be to be shown whole."""

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_KEY = re.compile(r"-----BEGIN ([A-Z]+ )?PRIVATE KEY-----")
_ENCRYPTED = ("-----BEGIN ENCRYPTED PRIVATE KEY-----", "Proc-Type: 4,ENCRYPTED")
_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?")
# PEM, the same once more in base64, or what stands between its first line and its last.
_CONTENTS = re.compile(r".*(-----BEGIN|LS0tLS1CRUdJTi|\n).*|M[A-Za-z0-9+/=]{60,}", re.DOTALL)


def _verifies(wrong_side: int, maker: str) -> Any:
    def check(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
        name = attribute.name
        if not isinstance(value, ssl.SSLContext) or value.protocol == wrong_side:
            raise ValueError(
                f"{name} is a context for that side, made by ssl.SSLContext({maker}), got "
                f"{value!r:.80}; manifest.TLS.load(...) makes both from files"
            )
        if value.verify_mode != ssl.CERT_REQUIRED:
            raise ValueError(
                f"the {name} context lets in peers without a certificate; set verify_mode = "
                "ssl.CERT_REQUIRED on it, and load_verify_locations(...) with your CA"
            )
        if value.minimum_version not in (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.MAXIMUM_SUPPORTED):
            raise ValueError(
                f"the {name} context allows versions before TLS 1.3; set minimum_version = "
                "ssl.TLSVersion.TLSv1_3 on it"
            )

    return check


def _name(_: object, attribute: attrs.Attribute[str | None], value: object) -> None:
    if value is None:
        return
    if not (isinstance(value, str) and _NAME.fullmatch(value)) or _is_ip(value):
        raise ValueError(
            "peer_name is a DNS name that the certificates of all members bear, such as "
            f"registry.internal, and no IP address and no wildcard, got {value!r:.80}; leave it "
            "out to have certificates checked for the host or the IP address that is dialled"
        )


def _is_ip(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


@attrs.frozen(kw_only=True)
class TLS:
    """Certificates for both sides of a manifest's links: `open_manifest(tls=...)`.

    Made by `TLS.load` from files, or from contexts that are ready. Those must require a certificate
    of the peer, on both sides, and TLS 1.3: everything else is a ValueError. A ready `client`
    context decides by its `check_hostname` whether a peer's certificate must be for the host that
    was dialled.
    """

    server: ssl.SSLContext = attrs.field(
        validator=_verifies(ssl.PROTOCOL_TLS_CLIENT, "ssl.PROTOCOL_TLS_SERVER")
    )
    """For peers that connect to this manifest."""
    client: ssl.SSLContext = attrs.field(
        validator=_verifies(ssl.PROTOCOL_TLS_SERVER, "ssl.PROTOCOL_TLS_CLIENT")
    )
    """For peers that this manifest dials."""
    peer_name: str | None = attrs.field(default=None, validator=_name)
    """A name that every peer's certificate must be for, on both sides, instead of the host that was
    dialled: to keep out other holders of certificates from a CA that is not the cluster's own."""
    expires: str | None = None
    """Until when this manifest's certificate is valid, in words, where that is known."""
    _files: _Files | None = attrs.field(default=None, alias="files", eq=False, repr=False)

    @classmethod
    def load(
        cls,
        *,
        ca: str | os.PathLike[str],
        certificate: str | os.PathLike[str],
        key: str | os.PathLike[str],
        peer_name: str | None = None,
    ) -> TLS:
        """Return what PEM files hold: the CA's certificates, this manifest's own, and its key.

        `certificate` may hold intermediate ones behind the first, and `ca` several of which any
        will do. Where the files change, new connections use what they hold then; where that cannot
        be used, the log says why and the former is used on. ValueError for what cannot be used: the
        file, what is wrong with it and what is right. Where every user of the machine can read the
        key, the log warns of it. Reads the files, and does not checkpoint.
        """
        return _Files(
            _path("ca", ca), _path("certificate", certificate), _path("key", key), peer_name
        ).load()

    def latest(self, now: float = 0.0) -> TLS:
        """Return this, or what its files hold by now, for a connection that begins.

        `now` is the time in seconds, by any clock that goes on: files that could not be used are
        read again after a minute of it, changed or not.
        """
        return self if self._files is None else self._files.latest(now)


@attrs.define(eq=False)
class _Files:
    """Three files, what was read from them last, and what they looked like then."""

    ca: Path
    certificate: Path
    key: Path
    peer_name: str | None
    _looked: object = None
    _complaint: str = ""
    _again_at: float = 0.0
    """When to look at what could not be used once more, in the caller's seconds."""
    _exposed: bool = False
    _tls: TLS = attrs.field(init=False)

    def load(self) -> TLS:
        """Read the files. ValueError where they cannot be used."""
        # Looked at first: what changes while it is read is read again the next time.
        looked = self._look()
        authorities = _certificates("ca", self.ca)
        own = _certificates("certificate", self.certificate)
        key = _text("key", self.key)
        # What cannot be read, for want of descriptors say, may be there without a change; what was
        # read and is wrong is not looked into again for every connection.
        self._looked = looked
        self._tls = self._made_of(authorities, own, key)
        self._look_who_can_read_the_key()
        return self._tls

    def latest(self, now: float) -> TLS:
        """Return what the files hold, or held when they last could be used."""
        if self._look() == self._looked and not (
            # It may only not have been valid yet, or there was no descriptor to read it by.
            self._complaint and now >= self._again_at
        ):
            return self._tls
        try:
            self.load()
        except ValueError as error:
            self._again_at = now + _AGAIN
            if str(error) != self._complaint:
                self._complaint = str(error)
                _log.warning("certificates were not read again, those before are kept: %s", error)
        else:
            self._complaint = ""
            _log.info("certificates were read again, from %s", _shown(self.certificate))
        return self._tls

    def _look(self) -> object:
        seen: list[tuple[int, ...] | None] = []
        for path in (self.ca, self.certificate, self.key):
            try:
                found = path.stat()
            except OSError:
                seen.append(None)
            else:
                seen.append((found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns))
        return seen

    def _look_who_can_read_the_key(self) -> None:
        """Warn of a key that every user can read, once until it is mended."""
        with suppress(OSError):
            # Elsewhere the mode says nothing of who can read it.
            mode = self.key.stat().st_mode if os.name == "posix" else 0
            exposed = bool(mode & stat.S_IROTH)
            if exposed and not self._exposed:
                _log.warning(
                    "key: the mode of %s lets every user of this machine read it: chmod 600 it, "
                    "and make a new key and certificate if somebody may have read it",
                    _shown(self.key),
                )
            self._exposed = exposed

    def _made_of(self, authorities: str, own: str, key: str) -> TLS:
        _check_certificates("ca", self.ca, authorities)
        _check_certificates("certificate", self.certificate, own)
        _check_key(self.key, key)
        server = self._context(ssl.PROTOCOL_TLS_SERVER, authorities)
        client = self._context(ssl.PROTOCOL_TLS_CLIENT, authorities)
        # A server would send tickets to resume by, and nobody resumes.
        server.num_tickets = 0
        expires = self._try_out(server, client)
        return TLS(
            server=server, client=client, peer_name=self.peer_name, expires=expires, files=self
        )

    def _context(self, protocol: int, authorities: str) -> ssl.SSLContext:
        context = ssl.SSLContext(protocol)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=authorities)
        if not context.get_ca_certs():
            raise ValueError(
                f"ca: {_shown(self.ca)} holds certificates, but none of a CA; give that of the CA "
                "which signed the certificates of all members"
            )
        try:
            # Without a passphrase given, OpenSSL would ask for one at the terminal.
            context.load_cert_chain(self.certificate, self.key, password="")
        except (ssl.SSLError, OSError) as error:
            if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
                problem = f"is not the key of {_shown(self.certificate)}"
            else:
                problem = f"cannot be read: {_said(error)}"
            raise ValueError(
                f"key: {_shown(self.key)} {problem}; give the key with which that certificate was "
                "made"
            ) from error
        return context

    def _try_out(self, server: ssl.SSLContext, client: ssl.SSLContext) -> str:
        """Connect it with itself, for no member would accept what it does not accept itself.

        Returns until when the certificate is valid.
        """
        # For the names of its certificate it is others that ask.
        client.check_hostname = False
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        dialling = client.wrap_bio(to_client, to_server)
        accepting = server.wrap_bio(to_server, to_client, server_side=True)
        try:
            for end in (dialling, accepting, dialling, accepting):
                with suppress(ssl.SSLWantReadError):
                    end.do_handshake()
        except ssl.SSLError as error:
            said = getattr(error, "verify_message", None) or _said(error)
            raise ValueError(
                f"certificate: {_shown(self.certificate)} would be refused by every peer that "
                f"trusts {_shown(self.ca)}: {said}; give one that is signed by that CA, is "
                "valid now, and is for both serverAuth and clientAuth"
            ) from error
        client.check_hostname = True
        return " ".join(str((accepting.getpeercert() or {})["notAfter"]).split())


def _path(argument: str, given: object) -> Path:
    """Return the path of a file. ValueError for anything else, of which nothing is shown.

    It may be the key itself, and errors end in logs.
    """
    path = os.fspath(given) if isinstance(given, os.PathLike) else given
    text = path.decode("latin-1") if isinstance(path, bytes) else path
    if isinstance(text, str) and _CONTENTS.fullmatch(text):
        what = "PEM text or the like, which is not shown here"
    elif not isinstance(path, str):
        what = "None" if path is None else f"something of type {type(path).__name__}"
    elif "\0" in path:
        what = "text with a NUL, which no path has"
    else:
        return Path(path)
    raise ValueError(
        f"{argument} is the path of a PEM file, as a str or a pathlib.Path, got {what}"
    )


def _shown(path: Path) -> str:
    """Return a path for a message: the end of a long one, and nothing that is not printable."""
    whole = repr(str(path))[1:-1]
    return whole if len(whole) <= _LONG else f"...{repr(path.name)[1:-1][-40:]}"


def _text(argument: str, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ValueError(
            f"{argument}: {_shown(path)} cannot be read: {error.strerror}; give a PEM file that "
            "this user can read"
        ) from None  # which would show the whole path


def _certificates(argument: str, path: Path) -> str:
    """Return the certificates in a file, without what stands around them."""
    return "\n".join(_CERTIFICATE.findall(_text(argument, path)))


def _check_certificates(argument: str, path: Path, found: str) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=found)
    except (ssl.SSLError, ValueError) as error:
        problem = f"one that cannot be read: {_said(error)}" if found else "none"
        raise ValueError(
            f"{argument}: {_shown(path)} is to hold certificates in PEM, which begin with "
            f"-----BEGIN CERTIFICATE-----; it holds {problem}"
        ) from error


def _check_key(path: Path, text: str) -> None:
    if any(mark in text for mark in _ENCRYPTED):
        raise ValueError(
            f"key: {_shown(path)} is encrypted with a passphrase, and nobody is there to type it; "
            "decrypt it with openssl pkey -in ... -out ..., into a file that this user alone can "
            "read, or give contexts that are ready"
        )
    if not _KEY.search(text):
        raise ValueError(
            f"key: {_shown(path)} is to hold a private key in PEM, which begins with "
            "-----BEGIN PRIVATE KEY-----; it holds none"
        )


def _said(error: Exception) -> str:
    """Return what OpenSSL said, without the place in its source where it did."""
    return re.sub(r"^\[[^]]*\] | \(_ssl\.c:[0-9]+\)$", "", str(error))
