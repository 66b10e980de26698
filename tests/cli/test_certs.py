"""Certificates for a trial, and commands that use them: `certs`, and the options of TLS."""

from __future__ import annotations

import json
import re
import signal
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from manifest import TLS
from manifest.cli import certs as making
from manifest.cli.app import run
from manifest.environment import Environment
from tests.certificates import OURS, THEIRS, Files, signed, write
from tests.cli.processes import Registry, cli

Captured = pytest.CaptureFixture[str]


def make(directory: Path, *arguments: str) -> int:
    """Run `manifest certs`, with its output into a directory."""
    return run(["certs", *arguments, f"--dir={directory}"])


def files_of(directory: Path, name: str) -> Files:
    """Return the files of a member, as `TLS.load` takes them."""
    return Files(
        ca=directory / "ca.pem",
        certificate=directory / f"{name}.pem",
        key=directory / f"{name}-key.pem",
    )


def options_of(directory: Path, name: str) -> list[str]:
    """Return the options that make a command a member."""
    files = files_of(directory, name)
    return [
        f"--tls-ca={files['ca']}",
        f"--tls-cert={files['certificate']}",
        f"--tls-key={files['key']}",
    ]


# Making them


def test_a_working_set(tmp_path: Path, capfd: Captured) -> None:
    """One CA and one certificate per name are made; keys are for their owner's eyes alone."""
    there = tmp_path / "new" / "certs"
    assert make(there, "a", "b", "--also=10.0.0.7", "--also=registry.internal", "--json") == 0
    told = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [(each["event"], each["name"]) for each in told] == [
        ("made", "ca"),
        ("made", "a"),
        ("made", "b"),
    ]
    local = ["localhost", "127.0.0.1", "::1"]
    assert told[1]["hosts"] == ["a", *local, "10.0.0.7", "registry.internal"]
    assert told[1]["key"] == str(there / "a-key.pem")
    assert sorted(each.name for each in there.iterdir()) == [
        "a-key.pem", "a.pem", "b-key.pem", "b.pem", "ca-key.pem", "ca.pem",
    ]  # fmt: skip
    for key in there.glob("*-key.pem"):
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(there.stat().st_mode) == 0o700
    for name in ("a", "b"):
        assert TLS.load(**files_of(there, name), peer_name="registry.internal").expires


def test_nothing_is_overwritten_unless_it_is_asked_for(tmp_path: Path, capfd: Captured) -> None:
    """What is there stays, all of it; with --replace what is named is new, from the same CA."""
    assert make(tmp_path, "a") == 0
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert make(tmp_path, "b", "a") == 1
    assert "a.pem" in (said := capfd.readouterr().err)
    assert "give --replace" in said
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert make(tmp_path, "a", "b", "--replace") == 0
    after = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert [path.name for path in sorted(before) if before[path] == after[path]] == [
        "ca-key.pem",
        "ca.pem",
    ]
    assert stat.S_IMODE((tmp_path / "a-key.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "a.pem").stat().st_mode) == 0o644
    assert len(after) == 6
    assert TLS.load(**files_of(tmp_path, "a")).expires


def spoil(directory: Path, ca: bytes | None, key: bytes | None) -> None:
    """Put something else where the CA was."""
    for name, text in (("ca.pem", ca), ("ca-key.pem", key)):
        if text is None:
            (directory / name).unlink()
        else:
            (directory / name).write_bytes(text)


FOREIGN = signed("x", by=THEIRS)


@pytest.mark.parametrize(
    "change, said",
    [
        ((b"", b""), "cannot be used: they cannot be read"),
        (
            (OURS.cert_pem.bytes(), FOREIGN.private_key_pem.bytes()),
            "cannot be used: the key is not that of the certificate",
        ),
        ((None, b"kept"), "ca.pem is not there, and to sign takes both "),
        (
            (OURS.cert_pem.bytes(), None),
            "ca-key.pem is not there, and to sign takes both the CA's certificate and its key",
        ),
    ],
)
def test_a_ca_that_cannot_be_used_stays_as_it_is(
    change: tuple[bytes | None, bytes | None], said: str, tmp_path: Path, capfd: Captured
) -> None:
    """A CA that is not whole is told of, and neither replaced nor used."""
    assert make(tmp_path, "a") == 0
    spoil(tmp_path, *change)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert make(tmp_path, "b") == 1
    assert said in capfd.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_ca_with_another_kind_of_key_is_not_used(tmp_path: Path, capfd: Captured) -> None:
    """Only a CA of the kind that this command makes is used."""
    assert make(tmp_path, "a") == 0
    key = ed25519.Ed25519PrivateKey.generate()
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "ca-key.pem").write_bytes(text)
    assert make(tmp_path, "b") == 1
    assert "the key is not one of an elliptic curve" in capfd.readouterr().err


def test_a_ca_that_has_expired_is_not_used(
    tmp_path: Path, capfd: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten years on the CA is told to have expired; nothing outlives it before that."""
    assert make(tmp_path, "a") == 0

    class Later:
        def __init__(self, milliseconds: int) -> None:
            self.wall = lambda: milliseconds

    ten_years = 10 * 365 * 86_400_000
    real = Environment().wall()
    monkeypatch.setattr(making, "Environment", lambda: Later(real + ten_years - 86_400_000))
    capfd.readouterr()
    assert make(tmp_path, "b", "--json") == 0
    (told,) = capfd.readouterr().out.splitlines()
    assert json.loads(told)["expires"] <= real + ten_years + 1000
    monkeypatch.setattr(making, "Environment", lambda: Later(real + ten_years + 86_400_000))
    assert make(tmp_path, "c") == 1
    assert "cannot be used: it expired on " in capfd.readouterr().err


def test_a_directory_that_cannot_be_one(tmp_path: Path, capfd: Captured) -> None:
    """A file where the directory should be is said in a line."""
    (tmp_path / "file").write_bytes(b"")
    assert make(tmp_path / "file", "a") == 1
    assert "file is a file, and --dir names a directory: " in capfd.readouterr().err
    assert make(tmp_path / "file" / "below", "a") == 1
    assert "cannot be written or read: " in capfd.readouterr().err


@pytest.mark.parametrize(
    "arguments, said",
    [
        ([], "Missing argument 'NAME...'"),
        (["ca"], "'ca' is not a host name such as db-1"),
        (["a-key"], "names of other files"),
        (["../a"], "'../a' is not a host name"),
        (["a", "--also=0.0.0.0"], "0.0.0.0 is no address to connect to"),
        (["a", "--also=bad host"], "'bad host' is not a host name or an IP address, such as"),
        (["a", "--also=db:3100"], "'db:3100' is not a host name or an IP address"),
        (["a", f"--also={'x' * 64}"], "cannot be a name in a certificate"),
        (["a", "--days=0"], "--days"),
    ],
)
def test_what_is_wrong_with_a_name(
    arguments: list[str], said: str, tmp_path: Path, capfd: Captured
) -> None:
    """A name that cannot be one is a mistake of the command line, and nothing is written."""
    assert make(tmp_path / "certs", *arguments) == 2
    assert said in (told := capfd.readouterr().err)
    assert not re.search("--port|--address", told)
    assert not (tmp_path / "certs").exists()


def test_without_cryptography(
    tmp_path: Path, capfd: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the extra it says what to install."""
    monkeypatch.setattr(making, "find_spec", lambda name: None)
    assert make(tmp_path, "a") == 2
    assert 'pip install ".[certs]"' in capfd.readouterr().err


# Using them


def test_two_processes_under_tls(tmp_path: Path, capfd: Captured) -> None:
    """Members find each other over real sockets; strangers, and those in plain, are told why."""
    assert make(tmp_path / "ours", "a", "b") == 0
    assert make(tmp_path / "theirs", "a") == 0
    capfd.readouterr()
    with cli(
        "listen", "--port=0", "--name=a", "--json", *options_of(tmp_path / "ours", "a"),
        measured=True,
    ) as hub:  # fmt: skip
        peer = f"127.0.0.1:{hub.out.event('listening')['port']}"
        with cli(
            "register", peer, "web@1.2.3", *options_of(tmp_path / "ours", "b"), measured=True
        ) as holder:
            holder.out.expect("registered    web@1.2.3")
            assert run(["query", peer, "web", *options_of(tmp_path / "ours", "b")]) == 0
            assert "web@1.2.3" in capfd.readouterr().out
            assert run(["query", peer, "web", *options_of(tmp_path / "theirs", "a")]) == 3
            assert "is signed by another CA" in capfd.readouterr().err
            hub.err.expect("the peer refused this side's certificate: it is signed by another CA")
            assert run(["query", peer, "web"]) == 3
            expected = "does not: give both --tls-ca, --tls-cert and --tls-key, or neither"
            assert expected in capfd.readouterr().err
            hub.err.expect("the peer does not speak TLS, and this manifest does")
            assert holder.end(signal.SIGTERM) == 0
        assert make(tmp_path / "ours", "a", "b", "--replace") == 0
        assert run(["query", peer, "manifest", *options_of(tmp_path / "ours", "b")]) == 0
        assert hub.end(signal.SIGTERM) == 0
        assert "listening on" not in "".join(hub.err.kept + hub.err.rest())


def test_a_member_meets_one_in_plain(stocked: Registry, tmp_path: Path, capfd: Captured) -> None:
    """A command with certificates refuses a registry without, and says what to give both."""
    assert make(tmp_path, "b") == 0
    assert run(["show", stocked.peer, *options_of(tmp_path, "b")]) == 3
    expected = "the peer does not speak TLS, and this manifest does: give both --tls-ca, "
    assert expected in capfd.readouterr().err


def test_the_environment_says_it_too(
    stocked: Registry, tmp_path: Path, capfd: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each option has an environment variable, and what is given on the command line wins."""
    files = write(tmp_path, signed("b"))
    for name, path in (
        ("CA", files["ca"]),
        ("CERT", files["certificate"]),
        ("KEY", tmp_path / "nothing"),
    ):
        monkeypatch.setenv(f"MANIFEST_TLS_{name}", str(path))
    assert run(["show", stocked.peer]) == 2
    assert "Error: --tls-key: " in capfd.readouterr().err
    assert run(["show", stocked.peer, f"--tls-key={files['key']}"]) == 3
    assert "the peer does not speak TLS" in capfd.readouterr().err
    monkeypatch.setenv("MANIFEST_TLS_PEER_NAME", "a b")
    assert run(["show", stocked.peer, f"--tls-key={files['key']}"]) == 2
    assert "Error: --tls-peer-name is a DNS name" in (said := capfd.readouterr().err)
    assert "None" not in said
    monkeypatch.setenv("MANIFEST_TLS_KEY", key := files["key"].read_text(encoding="utf-8"))
    assert run(["show", stocked.peer]) == 2
    assert "Error: --tls-key is the path of a PEM file, " in (said := capfd.readouterr().err)
    assert not any(line in said for line in key.splitlines())


@pytest.mark.parametrize(
    "given, said",
    [
        (["--tls-ca=x"], "go together, each with a file; --tls-cert and --tls-key are not given"),
        (["--tls-ca=x", "--tls-cert=y"], "; --tls-key is not given"),
        (["--tls-peer-name=x"], "--tls-ca and --tls-cert and --tls-key are not given"),
        (["--tls-ca=x", "--tls-cert=y", "--tls-key=z"], "Error: --tls-ca: x cannot be read: No su"),
    ],
)
def test_options_that_do_not_go_together(given: list[str], said: str, capfd: Captured) -> None:
    """Some files without the others, or files that are not there, are mistakes said in a line."""
    assert run(["show", "127.0.0.1", *given]) == 2
    assert said in capfd.readouterr().err
