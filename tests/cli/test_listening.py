"""The command for others to connect to: `listen`."""

from __future__ import annotations

import re
import signal
import socket

import pytest

from manifest.cli.app import run
from tests.cli.processes import Registry, cli

Captured = pytest.CaptureFixture[str]


def test_listen_says_where_and_who_comes(capfd: Captured) -> None:
    """It says what it is bound to and what others are told, then who links with it."""
    with cli(
        "listen",
        "--port=0",
        "--host=127.0.0.1",
        "--advertise=h.example:1",
        "--name=a",
        "--json",
        measured=True,
    ) as listening:
        told = listening.out.event("listening")
        assert told["name"] == "a"
        assert told["addresses"] == [f"127.0.0.1:{told['port']}"]
        assert (told["service"]["address"], told["service"]["port"]) == ("h.example", 1)
        assert run(["query", f":{told['port']}", "manifest"]) == 0
        assert "h.example:1" in capfd.readouterr().out
        listening.out.event("accepted")
        listening.out.event("disconnected")
        assert listening.end(signal.SIGTERM) == 0
        assert listening.out.rest() == listening.err.rest() == []


@pytest.mark.parametrize("form", ["--json", "--cluster=x"])
def test_listen_tells_how_many_it_has_refused(form: str) -> None:
    """With a heartbeat it says how many connections it refused by then, and why, if any more."""
    with cli(
        "listen", "--port=0", "--host=127.0.0.1", "--name=a", "--cluster=x", form,
        "--heartbeat-interval=0.1", measured=True,
    ) as listening:  # fmt: skip
        said = listening.out.expect("listening")
        found = re.search(r"127\.0\.0\.1:([0-9]+)", said)
        assert found is not None
        assert run(["query", f":{found[1]}", "web", "--cluster=y", "--timeout=1"]) != 0
        told = listening.out.expect("refused")
        assert ('"refused": {"cluster": ' if form == "--json" else "so far: cluster ") in told
        assert listening.end(signal.SIGTERM) == 0


def test_listen_links_with_others(registry: Registry) -> None:
    """--connect makes a link, and Ctrl-C ends it with a word to the peer."""
    with cli(
        "listen", "--port=0", f"--connect={registry.peer}", "--name=b", measured=True
    ) as listening:
        listening.out.expect("listening     on 0.0.0.0:")
        listening.out.expect(f"synced        {registry.id} at {registry.peer}")
        assert registry.process.out.event("accepted")["link"]["peer_name"] == "b"
        assert listening.end(signal.SIGINT) == 0
        assert "was closed" in registry.process.out.event("disconnected")["reason"]


def test_listen_warns_of_what_is_not_as_it_should_be(stocked: Registry) -> None:
    """A peer that is not there is a warning after --timeout, and one that refuses one at once."""
    with cli(
        "listen", "--port=0", "--cluster=x", f"--connect={stocked.peer}", "--connect=127.0.0.1:1",
        "--timeout=0.5", measured=True,
    ) as listening:  # fmt: skip
        listening.err.expect("different clusters: ")
        listening.err.expect(f"manifest: warning: no link to {stocked.peer}: ")
        assert listening.err.kept[-1].endswith("; give both the same --cluster; still trying")
        listening.err.expect("manifest: warning: no link to 127.0.0.1:1 within 0.5 s: ")
        assert listening.err.kept[-1].endswith("; still trying")
        assert listening.end(signal.SIGTERM) == 0


def test_listen_logs_what_its_links_do() -> None:
    """-v tells of every attempt to connect."""
    with cli("listen", "--port=0", "--connect=127.0.0.1:1", "-v") as listening:
        listening.err.expect("manifest: info: ")
        assert listening.end(signal.SIGTERM) == 0


def test_a_port_in_use(capfd: Captured) -> None:
    """A port that is taken is said in one line, with what to do."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert run(["listen", "--host=127.0.0.1", f"--port={port}"]) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert err == (
        f"Error: cannot listen on 127.0.0.1:{port}: Address already in use; choose another --host "
        "or --port (0 for any)\n"
    )


@pytest.mark.parametrize(
    "host, status, message",
    [
        ("192.0.2.1", 1, "Error: cannot listen on 192.0.2.1:3100: Cannot assign requested address"),
        ("a b", 2, "'a b' is not a host name or an IP address, such as localhost"),
    ],
)
def test_a_host_that_is_not_ours(host: str, status: int, message: str, capfd: Captured) -> None:
    """A host that cannot be listened on, or can be none, is said without a traceback."""
    assert run(["listen", f"--host={host}"]) == status
    assert message in capfd.readouterr().err
