"""Certificates that a CA has signed and that nobody would make: they let nobody in, or down."""

from __future__ import annotations

import datetime as dt
import ssl
from pathlib import Path

import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtensionOID, NameOID

from manifest import TLS, LinkState, Refusal, open_manifest
from manifest.testing import SimulatedNetwork

from .certificates import OURS, context, member, signed
from .simulated import until

A, B = "10.0.0.1", "10.0.0.2"


def with_names(der: bytes) -> tuple[bytes, bytes]:
    """Return a certificate of our CA with these alternative names as they are, and its key."""
    ca = x509.load_pem_x509_certificate(OURS.cert_pem.bytes())
    signer = serialization.load_pem_private_key(OURS.private_key_pem.bytes(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    identifier = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    authority = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
    names = x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, der)
    today = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "odd")]))
        .issuer_name(ca.subject)
        .public_key(key.public_key())
        .serial_number(77)
        .not_valid_before(today - dt.timedelta(days=1))
        .not_valid_after(today + dt.timedelta(days=9))
        .add_extension(names, critical=False)
        .add_extension(authority, critical=False)
        .sign(signer, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return certificate.public_bytes(serialization.Encoding.PEM), private


NO_TEXT = b"\x30\x03\x82\x01\xff"
TWO_LINES = b"\x30\x1e\x82\x1ca\n2026-01-01 CRITICAL root: x"


@pytest.mark.parametrize("der", [NO_TEXT, TWO_LINES])
async def test_a_name_that_is_none_lets_nobody_in_and_ends_nothing(
    der: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture, autojump_clock: object
) -> None:
    """It is refused as any other name is, in one line of the log."""
    path = tmp_path / "odd.pem"
    path.write_bytes(b"".join(with_names(der)))
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    client.load_cert_chain(path)
    network = SimulatedNetwork()
    tls = member(A, "registry.internal", peer_name="registry.internal")
    async with open_manifest(environment=network.host(A).environment(), tls=tls) as manifest:
        await manifest.listen(host=A)
        stream = await network.host(B).dial(A, 3100)
        secure = trio.SSLStream(stream, client)
        await secure.do_handshake()
        await until(lambda: manifest.statistics().refused.get(Refusal.TLS) == 1)
        await trio.aclose_forcefully(secure)
        await manifest.listen(port=3200, host=A)
    said = [each.getMessage() for each in caplog.records if "registry.internal" in each.message]
    assert said
    assert not any("\n" in line for line in said)


@pytest.mark.parametrize("side", ["listening", "dialling"])
async def test_a_context_that_can_do_no_handshake_ends_the_link_alone(
    side: str, autojump_clock: object
) -> None:
    """What its owner left it no version for is said in the link's status."""

    def unable(protocol: int) -> ssl.SSLContext:
        made = context(protocol, signed(A, B))
        made.maximum_version = ssl.TLSVersion.TLSv1_2
        return made

    bad = TLS(server=unable(ssl.PROTOCOL_TLS_SERVER), client=unable(ssl.PROTOCOL_TLS_CLIENT))
    listening, dialling = (bad, member(A, B)) if side == "listening" else (member(A, B), bad)
    network = SimulatedNetwork()
    async with (
        open_manifest(environment=network.host(A).environment(), tls=listening) as one,
        open_manifest(environment=network.host(B).environment(), tls=dialling) as other,
    ):
        await one.listen(host=A)
        link = other.connect(host=A)
        await until(lambda: link.status.state in (LinkState.WAITING, LinkState.REFUSED))
        assert link.status.reason
        assert one.services()
