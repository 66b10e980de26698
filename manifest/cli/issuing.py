"""Making certificates: a CA, and what it signs. The one module that needs `cryptography`.

Keys are of the curve P-256, which every TLS 1.3 implementation has. A member both dials and is
dialled, so its certificate is for both ends of a connection.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import datetime, timedelta

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["Authority", "Pair", "make_authority", "read_authority"]

_EARLIER = timedelta(hours=1)
"""For how long before it was made a certificate is valid, as machines' clocks differ."""


@attrs.frozen
class Pair:
    """A certificate and its key, in PEM."""

    certificate: bytes
    key: bytes


@attrs.frozen
class Authority:
    """A CA, which signs."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def expires(self) -> datetime:
        """Until when it is valid, and what it has signed with it."""
        return self.certificate.not_valid_after_utc

    @property
    def pair(self) -> Pair:
        """Its certificate and its key, in PEM."""
        return _pair(self.certificate, self.key)

    def issue(self, name: str, hosts: Sequence[str], now: datetime, until: datetime) -> Pair:
        """Return a new certificate for a member that is dialled under these names and addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = (
            _begin(name, key, now, min(until, self.expires))
            .issuer_name(self.certificate.subject)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.SubjectAlternativeName(map(_general_name, hosts)), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()),
                critical=False,
            )
        )
        return _pair(builder.sign(self.key, hashes.SHA256()), key)


def make_authority(name: str, now: datetime, until: datetime) -> Authority:
    """Return a new CA, which may sign members' certificates and no further CA's."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        _begin(name, key, now, until)
        .issuer_name(_named(name))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
    )
    return Authority(builder.sign(key, hashes.SHA256()), key)


def read_authority(pair: Pair) -> Authority:
    """Return the CA that `make_authority` made. ValueError for anything else."""
    try:
        certificate = x509.load_pem_x509_certificate(pair.certificate)
        key = load_pem_private_key(pair.key, password=None)
    except (ValueError, TypeError) as error:
        # TypeError says that the key is encrypted.
        raise ValueError(f"they cannot be read: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("the key is not one of an elliptic curve")
    if certificate.public_key() != key.public_key():
        raise ValueError("the key is not that of the certificate")
    return Authority(certificate, key)


def _begin(
    name: str, key: ec.EllipticCurvePrivateKey, now: datetime, until: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_named(name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _usage(
    *, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pair(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pair:
    return Pair(
        certificate.public_bytes(Encoding.PEM),
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )
