"""Certificates: which contexts will do, what is wrong with files, and files that change."""

from __future__ import annotations

import base64
import logging
import ssl
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from manifest import TLS, open_manifest

from .certificates import OURS, THEIRS, context, expired, member, signed, too_early, write

SERVER, CLIENT = ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT


def names_in(tls: TLS) -> list[str]:
    """Return the names that its certificate is for, as a peer sees them."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = ssl.SSLContext(CLIENT)
    asking.check_hostname, asking.verify_mode = False, ssl.CERT_NONE
    client = asking.wrap_bio(back, there)
    server = tls.server.wrap_bio(there, back, server_side=True)
    for end in (client, server, client):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
    text = ssl.DER_cert_to_PEM_cert(client.getpeercert(binary_form=True) or b"")
    return [
        name for name in ("a", "b", "c") if text == signed(name).cert_chain_pems[0].bytes().decode()
    ]


# Ready contexts


def test_ready_contexts_are_taken() -> None:
    """Two contexts that verify the peer make a TLS, which is its own latest."""
    tls = member("a", peer_name="members.internal")
    assert (tls.peer_name, tls.expires) == ("members.internal", None)
    assert tls.latest() is tls
    newest = member("a").client
    newest.minimum_version = ssl.TLSVersion.MAXIMUM_SUPPORTED
    assert TLS(server=tls.server, client=newest).client is newest


def careless(protocol: int, **settings: Any) -> ssl.SSLContext:
    """Return a context with something about it changed."""
    made = context(protocol, signed("a"))
    for name, value in settings.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize(
    "given, message",
    [
        ({"server": careless(SERVER, verify_mode=ssl.CERT_NONE)}, "the server context lets in"),
        ({"server": careless(SERVER, verify_mode=ssl.CERT_OPTIONAL)}, "the server context lets in"),
        (
            {"client": careless(CLIENT, check_hostname=False, verify_mode=ssl.CERT_NONE)},
            "the client context lets in peers without a certificate; set verify_mode",
        ),
        (
            {"server": careless(SERVER, minimum_version=ssl.TLSVersion.TLSv1_2)},
            "the server context allows versions before TLS 1.3; set minimum_version = ssl.TLSVers",
        ),
        ({"client": careless(CLIENT, minimum_version=ssl.TLSVersion.MINIMUM_SUPPORTED)}, "the c"),
        ({"server": careless(CLIENT)}, r"server is a context for that side, .*PROTOCOL_TLS_SERVER"),
        ({"client": careless(SERVER)}, r"client is a context for that side, .*PROTOCOL_TLS_CLIENT"),
        ({"client": "cert.pem"}, r"client is a context .*got 'cert.pem'; manifest.TLS.load"),
        ({"peer_name": ""}, "peer_name is a DNS name"),
        ({"peer_name": 7}, "peer_name is a DNS name .* got 7"),
        ({"peer_name": "a b"}, "peer_name is a DNS name"),
        ({"peer_name": "*.x"}, r"no IP address and no wildcard, got '\*\.x'; leave it out"),
        ({"peer_name": "127.0.0.1"}, "no IP address and no wildcard, got '127.0.0.1'; leave it"),
        ({"peer_name": "::1"}, "peer_name is a DNS name .* no IP address"),
    ],
)  # fmt: skip
def test_what_would_let_anyone_in_is_refused(given: dict[str, Any], message: str) -> None:
    """A context that does not require a certificate, or allows old versions, is a ValueError."""
    right = {"server": careless(SERVER), "client": careless(CLIENT)}
    with pytest.raises(ValueError, match=message):
        TLS(**{**right, **given})


def test_a_manifest_takes_nothing_else_for_tls() -> None:
    """A bare context is a ValueError that says how to make what is wanted."""
    with pytest.raises(ValueError, match=r"tls is made by manifest.TLS.load"):
        open_manifest(tls=careless(CLIENT))  # type: ignore[arg-type]


# Files


def test_files_make_strict_contexts(tmp_path: Path) -> None:
    """Both contexts verify the peer, speak TLS 1.3 alone, and dialling checks the name as well."""
    tls = TLS.load(**write(tmp_path, signed("a")), peer_name="a")
    for side in (tls.server, tls.client):
        assert side.verify_mode is ssl.CERT_REQUIRED
        assert side.minimum_version is ssl.TLSVersion.TLSv1_3
    assert tls.client.check_hostname
    assert tls.server.num_tickets == 0
    assert tls.expires is not None
    assert tls.expires.endswith("3000 GMT")
    assert (tls.peer_name, names_in(tls)) == ("a", ["a"])
    files = write(tmp_path, signed("a"))
    assert TLS.load(
        ca=str(files["ca"]), certificate=str(files["certificate"]), key=files["key"]
    ).expires


def test_files_may_hold_more_than_certificates(tmp_path: Path) -> None:
    """What stands around certificates, in any script, is passed over; intermediate ones count."""
    between = OURS.create_child_ca()
    files = write(tmp_path, between.issue_cert("a"))
    for name in ("ca", "certificate"):
        text = files[name].read_text(encoding="utf-8")
        files[name].write_text(f"# \u00fcber alles\n{text}\n", encoding="utf-8")
    assert TLS.load(**files).expires


def encrypted(key: bytes) -> bytes:
    """Return a key in PEM, under a passphrase."""
    loaded = load_pem_private_key(key, None)
    cipher = BestAvailableEncryption(b"secret")
    return loaded.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, cipher)


BAD_PEM = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
BAD_KEY = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"


@pytest.mark.parametrize(
    "file, change, message",
    [
        ("ca", None, r"^ca: .*ca\.pem cannot be read: No such file or directory; give a PEM file"),
        ("key", None, r"^key: .*key\.pem cannot be read: No such file"),
        ("ca", lambda _: b"", r"^ca: .*ca\.pem is to hold certificates in PEM.* it holds none"),
        ("certificate", lambda _: b"\xff", r"^certificate: .*; it holds none"),
        ("ca", lambda _: BAD_PEM, r"^ca: .*it holds one that cannot be read: \w"),
        ("certificate", lambda _: BAD_PEM, r"^certificate: .*it holds one that cannot be read: \w"),
        (
            "ca",
            lambda _: signed("a").cert_chain_pems[0].bytes(),
            r"^ca: .* holds certificates, but none of a CA; give that of the CA which",
        ),
        ("key", lambda _: b"", r"^key: .*key\.pem is to hold a private key.*; it holds none"),
        ("key", lambda _: BAD_KEY, r"^key: .*key\.pem cannot be read: \w.*; give the key"),
        ("key", encrypted, r"^key: .*key\.pem is encrypted with a passphrase"),
        (
            "key",
            lambda _: signed("b").private_key_pem.bytes(),
            r"^key: .*key\.pem is not the key of .*certificate\.pem; give",
        ),
        (
            "ca",
            lambda _: THEIRS.cert_pem.bytes(),
            r"^certificate: .* refused by every peer that trusts .*: unable to get local issu",
        ),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_is_named(
    file: str, change: Callable[[bytes], bytes] | None, message: str, tmp_path: Path
) -> None:
    """What is wrong with a file is a ValueError with the argument, the file, and what is right."""
    files = write(tmp_path, signed("a"))
    path = tmp_path / f"{file}.pem"
    if change is None:
        path.unlink()
    else:
        path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match=message):
        TLS.load(**files)


@pytest.mark.parametrize(
    "leaf, message",
    [
        (expired("a"), "certificate has expired"),
        (too_early("a"), "certificate is not yet valid"),
        (THEIRS.issue_cert("a"), "unable to get local issuer certificate"),
    ],
)
def test_a_certificate_that_no_peer_would_accept_is_not_taken(
    leaf: trustme.LeafCert, message: str, tmp_path: Path
) -> None:
    """What every peer would refuse is refused here, at once and in words."""
    with pytest.raises(
        ValueError, match=f"^certificate: .*would be refused by .*: {message}; give"
    ):
        TLS.load(**write(tmp_path, leaf))


KEY = signed("a").private_key_pem.bytes().decode()
INNER = "".join(KEY.splitlines()[1:-1])


@pytest.mark.parametrize("argument", ["ca", "certificate", "key"])
@pytest.mark.parametrize(
    "given, what",
    [
        (KEY, "PEM text or the like"),
        (KEY.encode(), "PEM text or the like"),
        (KEY.replace("\n", " "), "PEM text or the like"),
        (Path(KEY), "PEM text or the like"),
        (base64.b64encode(KEY.encode()).decode(), "PEM text or the like"),
        (INNER, "PEM text or the like"),
        (INNER[:64], "PEM text or the like"),
        (b"\x30\x2e\x02\x01", "something of type bytes"),
        (b"key.pem", "something of type bytes"),
        (None, "None"),
        (7, "something of type int"),
        ("a\0b", "text with a NUL"),
    ],
    # The key is another one in each process, and so no name for a test.
    ids=range(12),
)
def test_what_is_no_path_is_named_and_not_shown(
    argument: str, given: Any, what: str, tmp_path: Path
) -> None:
    """A key in place of its path, or what is none, is told by its argument, without any of it."""
    files: dict[str, Any] = {**write(tmp_path, signed("a")), argument: given}
    with pytest.raises(ValueError, match=f"^{argument} is the path of a PEM file, .*{what}") as it:
        TLS.load(**files)
    told = "".join(traceback.format_exception(it.value, limit=0))
    assert not any(
        told[at : at + 12] in KEY + INNER for at in range(told.index("got ") + 4, len(told) - 12)
    )


def test_of_a_long_path_its_end_is_shown(tmp_path: Path) -> None:
    """Whatever stands in place of a path, no more of it than is needed to find a file is shown."""
    files: dict[str, Any] = {**write(tmp_path, signed("a")), "key": "secret/" * 30 + "my-key.pem"}
    with pytest.raises(ValueError, match=r"^key: \.\.\.my-key\.pem cannot be read") as caught:
        TLS.load(**files)
    assert "secret" not in "".join(traceback.format_exception(caught.value, limit=0))


def test_a_key_that_everybody_can_read_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning when it is loaded, none while it stays so, and none for a group's."""
    files = write(tmp_path, signed("a"))
    for mode in (0o600, 0o640):
        files["key"].chmod(mode)
        TLS.load(**files)
    assert not caplog.records
    files["key"].chmod(0o644)
    tls = TLS.load(**files)
    (warning,) = [each.message for each in caplog.records]
    assert warning.startswith("key: the mode of ")
    assert "key.pem lets every user of this machine read it: chmod 600 it" in warning
    files["certificate"].touch()
    assert tls.latest() is not tls
    assert len(caplog.records) == 1
    files["key"].chmod(0o600)
    tls.latest()
    files["key"].chmod(0o604)
    tls.latest()
    assert len(caplog.records) == 2


# Files that change


def test_new_files_are_used_from_the_next_connection_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Files that were replaced are read again, once, and only then."""
    caplog.set_level(logging.INFO, "manifest")
    tls = TLS.load(**write(tmp_path, signed("a")))
    assert tls.latest() is tls
    write(tmp_path, signed("b"))
    later = tls.latest()
    assert names_in(later) == ["b"]
    assert tls.latest() is later.latest() is later
    assert [each.message for each in caplog.records] == [
        f"certificates were read again, from {tmp_path / 'certificate.pem'}"
    ]


def test_files_that_do_not_fit_together_are_left_until_they_do(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """While one file is new and another is not, the former are used, with a warning."""
    files = write(tmp_path, signed("a"))
    tls = TLS.load(**files)
    files["key"].write_bytes(signed("b").private_key_pem.bytes())
    assert names_in(tls.latest()) == names_in(tls.latest()) == ["a"]
    (warning,) = [each.message for each in caplog.records]
    assert "those before are kept: key: " in warning
    files["certificate"].write_bytes(signed("b").cert_chain_pems[0].bytes())
    assert names_in(tls.latest()) == ["b"]
    assert len(caplog.records) == 1


def test_a_file_that_is_away_is_looked_for_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that cannot be read for now is tried again, changed or not, and complained of once."""
    files = write(tmp_path, signed("a"))
    tls = TLS.load(**files)
    files["certificate"].rename(tmp_path / "away")
    assert tls.latest() is tls
    assert tls.latest() is tls
    assert [each.levelname for each in caplog.records] == ["WARNING"]
    write(tmp_path, signed("c"))
    with monkeypatch.context() as patched:

        def none_left(*_: Any, **__: Any) -> str:
            raise OSError(24, "Too many open files")

        patched.setattr(Path, "read_text", none_left)
        assert tls.latest() is tls
    assert names_in(tls.latest()) == ["c"]
    assert [each.levelname for each in caplog.records] == ["WARNING"] * 2


def test_files_that_could_not_be_used_are_read_again_after_a_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What was wrong may have been the moment: a certificate not valid yet, no descriptor left."""
    tls = TLS.load(**write(tmp_path, signed("a.test")))
    before = tls.latest()
    write(tmp_path, too_early("b.test"))
    assert tls.latest(100.0) is before
    assert "are kept" in caplog.text
    load_cert_chain, tries = ssl.SSLContext.load_cert_chain, []

    def count(context: ssl.SSLContext, *given: Any, **more: Any) -> None:
        tries.append(given)
        load_cert_chain(context, *given, **more)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", count)
    assert tls.latest(159.0) is before
    assert not tries
    caplog.clear()
    assert tls.latest(160.0) is before
    assert tries
    # It was said already.
    assert not caplog.records
