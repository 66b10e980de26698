"""Why TLS failed, in words that a person can act on.

OpenSSL knows exactly and says it in codes. Either end learns its part: the one that refused has the
code of what it found, the one that was refused has the alert that it was sent, which says less.
"""

from __future__ import annotations

import ssl

from .errors import LinkError, LinkRefused
from .refusals import Refusal

__all__ = ["SPEAKS_PLAIN", "TOLD_TO_PLAIN", "explain"]

SPEAKS_PLAIN = (
    "the peer does not speak TLS, and this manifest does: open both with tls=, or neither"
)
TOLD_TO_PLAIN = (
    "this manifest speaks TLS alone, and what came does not: open both with tls=, or neither"
)

_ANOTHER_CA = (
    "the peer's certificate is signed by another CA than those that this side trusts: have both "
    "made by one CA, or give both sides both CAs while you change from one to the other"
)
_USAGE = (
    "the peer's certificate is not for this end of a connection: have it made for both, with the "
    "extended key usages serverAuth and clientAuth"
)
# By the codes of OpenSSL's x509_vfy.h.
_FOUND = {
    2: _ANOTHER_CA,
    7: _ANOTHER_CA,
    9: (
        "the peer's certificate is not valid yet: one of the two clocks is wrong, or it was made "
        "for later"
    ),
    10: "the peer's certificate has expired: give the peer a new one",
    18: _ANOTHER_CA,
    19: _ANOTHER_CA,
    20: _ANOTHER_CA,
    21: _ANOTHER_CA,
    26: _USAGE,
    79: _ANOTHER_CA,
}
_NAME_MISMATCH = (62, 64)

_THIS_SIDES = "the peer refused this side's certificate: "
_ONE_VERSION = (
    "the two have no version of TLS in common: this side speaks TLS 1.3 and nothing older, so the "
    "peer is to be brought to that (a listener without a certificate looks the same)"
)
# By the names that the ssl module has for OpenSSL's reasons.
_REASONS = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": (
        "the peer presented no certificate: open it with tls= and a certificate from the CA"
    ),
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": (
        "the peer wants a certificate and this side presented none: open this manifest with tls= "
        "and a certificate from the CA"
    ),
    "TLSV1_ALERT_UNKNOWN_CA": (
        f"{_THIS_SIDES}it is signed by another CA than those that the peer trusts: have both made "
        "by one CA, or give both sides both CAs while you change from one to the other"
    ),
    "TLSV1_ALERT_DECRYPT_ERROR": (
        f"{_THIS_SIDES}its signature is not right: it is signed by another CA of the same name"
    ),
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": f"{_THIS_SIDES}it has expired",
    "SSLV3_ALERT_BAD_CERTIFICATE": (
        f"{_THIS_SIDES}it is not for the name that the peer dialled, or not valid yet by the "
        "peer's clock; the peer's log says which"
    ),
    "SSLV3_ALERT_CERTIFICATE_REVOKED": f"{_THIS_SIDES}it has been revoked",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": f"{_THIS_SIDES}the peer's log says why",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": (
        f"{_THIS_SIDES}it is to have the extended key usages serverAuth and clientAuth"
    ),
    "UNSUPPORTED_PROTOCOL": _ONE_VERSION,
    "TLSV1_ALERT_PROTOCOL_VERSION": _ONE_VERSION,
}


def explain(
    error: ssl.SSLError, name: str | None, expires: str | None, *, established: bool
) -> LinkError:
    """Return what an error of OpenSSL means for a link.

    `name` is what the peer's certificate was to be for, if anything; `expires` says until when this
    side's is valid, where that is known. `LinkRefused` unless the connection was `established` and
    broke then.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        return LinkRefused(_what_is_wrong(error, name), Refusal.TLS)
    reason = error.reason or ""
    if reason in _REASONS:
        until = f" (on {expires})" if expires and "EXPIRED" in reason else ""
        return LinkRefused(_REASONS[reason] + until, Refusal.TLS)
    said = reason.replace("_", " ").lower() or str(error)
    if established:
        return LinkError(f"the TLS connection broke: {said}")
    return LinkRefused(f"the TLS handshake failed: {said}", Refusal.TLS)


def _what_is_wrong(error: ssl.SSLCertVerificationError, name: str | None) -> str:
    if error.verify_code in _NAME_MISMATCH:
        return (
            f"the peer's certificate is not for {name}: have it made for the names and addresses "
            "under which it is dialled, or for one name that all members bear, and say which with "
            "peer_name="
        )
    said = error.verify_message
    return _FOUND.get(error.verify_code, f"the peer's certificate is not accepted: {said}")
