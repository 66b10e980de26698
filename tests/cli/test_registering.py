"""The commands that write: `register`, alone and with a command, and `free`."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest
import trio

from manifest import Manifest
from manifest.cli import holding
from manifest.cli.app import run
from manifest.cli.proxy import Proxy
from tests.cli.processes import Registry, cli

Captured = pytest.CaptureFixture[str]


def test_register_holds_until_told_to_end(registry: Registry) -> None:
    """The registration is there with all that was said of it, and gone at once with SIGTERM."""
    with cli(
        "register", registry.peer, "web@1.2.3", "--port=80", "--data=zone=eu", "--data=n:=[1]",
        "--json", measured=True,
    ) as held:  # fmt: skip
        service = registry.process.out.event("registered")["service"]
        assert (service["address"], service["port"]) == ("127.0.0.1", 80)
        assert service["data"] == {"zone": "eu", "n": [1]}
        assert held.out.event("registered")["service"]["id"] == service["id"]
        assert held.end(signal.SIGTERM) == 0
        freed = registry.process.out.event("freed")
        assert (freed["service"]["id"], freed["reason"]) == (service["id"], "freed")
        assert '"freed"' in "".join(held.out.rest())
        assert held.err.rest() == []


def test_register_takes_a_name_over(registry: Registry) -> None:
    """The last to register an id has it, and the former holder is told that it was replaced."""
    given = ("register", registry.peer, "db", "--id=primary")
    with cli(*given, "--address=a", "--port=1", measured=True) as first:
        first.out.expect("registered    db a:1 primary")
        with cli(*given, "--address=b") as second:
            first.out.expect(
                "freed         db a:1 primary (replaced): another manifest registered this id "
                "later, so this one holds nothing any more"
            )
            assert first.end(signal.SIGINT) == 0
            second.out.expect("registered    db b primary")
            assert second.end(signal.SIGINT) == 0
    assert registry.process.out.event("freed")["reason"] == "replaced"
    assert registry.process.out.event("freed")["reason"] == "freed"


def test_a_name_that_is_taken_over_beside_a_command(registry: Registry) -> None:
    """Beside a command the loss of a name is told too, and the command runs on."""
    with cli("register", registry.peer, "db", "--id=shared", "--", "sleep", "60") as first:
        first.err.expect("registered    db 127.0.0.1:")
        registry.register("db", id="shared", port=1)
        first.err.expect("(replaced): another manifest registered this id later, so this one holds")
        assert first.popen.poll() is None
        registry.free("shared")
        assert first.end(signal.SIGTERM) == 143


def test_register_links_to_several(registry: Registry, own: Registry) -> None:
    """With --connect a registration reaches several manifests, though one of them is not there."""
    with cli(
        "register", registry.peer, "api", f"--connect={own.peer}", "--connect=127.0.0.1:1",
        "--timeout=2", measured=True,
    ) as held:  # fmt: skip
        own.process.out.expect('"role": "api"')
        registry.process.out.expect('"role": "api"')
        held.err.expect("no link to 127.0.0.1:1 within 2 s")
        assert held.end(signal.SIGTERM) == 0


def test_register_needs_somebody(capfd: Captured) -> None:
    """A registration that nobody would hear of is refused with status 3."""
    assert run(["register", "127.0.0.1:1", "web", "--timeout=0.3"]) == 3
    assert "no link to 127.0.0.1:1 within 0.3 s" in capfd.readouterr().err


def test_what_is_persistent_stays_until_it_is_freed(registry: Registry, capfd: Captured) -> None:
    """`register --persistent` leaves it behind at once, and `free` takes it away, once."""
    arguments = ["db@16.0.0", "--id=db-1", "--address=10.0.0.9", "--port=5432", "--persistent"]
    assert run(["register", registry.peer, *arguments]) == 0
    assert "registered    db@16.0.0 10.0.0.9:5432 db-1" in capfd.readouterr().out
    registry.process.out.expect('"reason": "the peer said: the manifest was closed"')
    assert run(["query", registry.peer, "db", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["persistent"] is True
    assert run(["free", registry.peer, "db-1", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["reason"] == "freed"
    assert run(["free", registry.peer, "db-1"]) == 1
    assert capfd.readouterr().err == f"Error: no service db-1 at {registry.peer}\n"


def test_what_is_not_ours_is_not_freed(stocked: Registry, capfd: Captured) -> None:
    """What another manifest holds it alone can free; what can be no id is a mistake."""
    assert run(["free", stocked.peer, "primary"]) == 1
    assert "only its owner can free it" in capfd.readouterr().err
    assert run(["free", stocked.peer, "a b"]) == 2
    assert "an id is text without blanks" in capfd.readouterr().err


def test_what_is_not_confirmed_is_not_said_to_be_done(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, capfd: Captured
) -> None:
    """What the peer does not show on a second look has not been done, for all that is known."""
    arguments = ["register", registry.peer, "db", "--id=u", "--persistent"]
    with monkeypatch.context() as patched:
        patched.setattr(Manifest, "get", lambda *_: {})
        assert run(arguments) == 3
    out, err = capfd.readouterr()
    assert out == ""
    assert err == f"Error: {registry.peer} has not confirmed it; look there and try again\n"
    assert run(arguments) == 0
    with monkeypatch.context() as patched:
        patched.setattr(Manifest, "get", lambda manifest, _: manifest.services())
        patched.setattr(Manifest, "free", lambda manifest, id: manifest.services()[id])
        assert run(["free", registry.peer, "u"]) == 3
    assert "has not confirmed it" in capfd.readouterr().err
    assert run(["free", registry.peer, "u"]) == 0


# With a command


def test_a_command_gets_a_port_and_hands_its_status_on(registry: Registry) -> None:
    """The command's port is in $PORT and registered, its output is its own, its status ours."""
    script = 'read go; echo "port $PORT"; exit 7'
    with cli(
        "register", registry.peer, "web@1.0.0", "--json", "--", "sh", "-c", script, measured=True
    ) as held:
        service = registry.process.out.event("registered")["service"]
        assert held.err.event("registered")["service"]["id"] == service["id"]
        assert held.popen.stdin is not None
        held.popen.stdin.write(b"go\n")
        held.popen.stdin.flush()
        assert held.end() == 7
        assert held.out.rest() == [f"port {service['port']}"]
        assert '{"event": "freed"' in "".join(held.err.rest())
        assert registry.process.out.event("freed")["reason"] == "freed"


TELL_TALE = """
import signal, sys, trio, manifest

async def look():
    async with manifest.open_manifest() as m:
        await m.connect(port=int(sys.argv[1])).wait_synced()
        return len(m.get("web"))

async def main():
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        print("ready", await look(), flush=True)
        async for signum in signals:
            print(signal.Signals(signum).name, await look(), flush=True)
            sys.exit(4)

trio.run(main, strict_exception_groups=False)
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_it_is_freed_before_the_command_hears_of_the_signal(
    name: str, registry: Registry, own: Registry
) -> None:
    """When the command gets the signal, a third process already finds the service gone."""
    own.process.tell(do="connect", port=registry.port)
    own.process.out.event("synced")
    command = (sys.executable, "-c", TELL_TALE, str(own.port))
    with cli("register", registry.peer, "web@1.0.0", "--", *command, measured=True) as held:
        own.process.out.expect('"role": "web@1.0.0"')
        held.out.expect("ready 1")
        assert held.end(signal.Signals[name]) == 4
        held.out.expect(f"{name} 0")


@pytest.mark.parametrize("number", [9, 15])
def test_a_command_that_a_signal_ends(number: int, registry: Registry) -> None:
    """A command that dies of signal n makes the status 128 + n, as a shell has it."""
    script = f"kill -{number} $$"
    with cli("register", registry.peer, "web", "--", "sh", "-c", script) as held:
        assert held.end() == 128 + number


STUBBORN = (
    'trap "echo again" TERM; trap "echo reload" HUP; echo ready; while :; do sleep 0.01; done'
)


def test_a_stubborn_command_is_told_again_and_never_killed(registry: Registry) -> None:
    """Every signal is passed on as it is, and none is made worse; SIGHUP frees nothing."""
    with cli(
        "register", registry.peer, "web@1.0.0", "--", "sh", "-c", STUBBORN, measured=True
    ) as held:
        held.out.expect("ready")
        held.err.expect("registered")
        held.signal(signal.SIGHUP)
        held.out.expect("reload")
        held.signal(signal.SIGTERM)
        held.out.expect("again")
        held.signal(signal.SIGTERM)
        held.out.expect("again")
        freed = [line for line in held.err.kept if "freed" in line]
        assert freed == []
        assert held.popen.poll() is None
        assert held.end(signal.SIGQUIT) == 128 + signal.SIGQUIT
        held.err.expect("freed         web@1.0.0")


SERVER = """
import os, socket, sys
sys.stdin.readline()
listener = socket.create_server(("127.0.0.1", int(os.environ["PORT"])))
sys.stdin.readline()
"""


def test_a_command_may_be_registered_once_it_listens(registry: Registry, capfd: Captured) -> None:
    """With --when-listening nobody finds the service before its port accepts connections."""
    with cli(
        "register", registry.peer, "web@1.0.0", "--when-listening", "--address=localhost", "--",
        sys.executable, "-c", SERVER, measured=True,
    ) as held:  # fmt: skip
        registry.process.out.event("synced")
        assert run(["query", registry.peer, "web"]) == 1
        assert held.popen.stdin is not None
        held.popen.stdin.write(b"listen\n")
        held.popen.stdin.flush()
        registry.process.out.expect('"role": "web@1.0.0"')
        held.popen.stdin.close()
        assert held.end() == 0
    capfd.readouterr()


def test_a_command_that_never_listens_is_never_registered(registry: Registry) -> None:
    """A command that ends before it listens was never there for others, and ends as it ends."""
    with cli(
        "register",
        registry.peer,
        "web",
        "--when-listening",
        "--json",
        "--",
        "sleep",
        "100",
        measured=True,
    ) as held:
        held.err.event("connected")
        assert held.end(signal.SIGTERM) == 128 + signal.SIGTERM
        assert "registered" not in "".join(held.err.rest())


def test_what_is_persistent_is_freed_with_its_command(registry: Registry) -> None:
    """Beside a command a persistent registration outlives a crash, and not a proper end."""
    arguments = ["db", "--id=p", "--persistent", "--address=h", "--port=1"]
    with cli("register", registry.peer, *arguments, "--", "sh", "-c", "read go") as held:
        service = registry.process.out.event("registered")["service"]
        assert (service["id"], service["port"], service["persistent"]) == ("p", 1, True)
        assert held.popen.stdin is not None
        held.popen.stdin.close()
        assert held.end() == 1
        assert registry.process.out.event("freed")["service"]["id"] == "p"


def test_a_command_does_not_wait_for_the_registry() -> None:
    """The command starts though nobody is there to hear of it; that is a warning."""
    with cli(
        "register", "127.0.0.1:1", "web", "--timeout=0.5", "--", "sh", "-c", "echo ready; read go"
    ) as held:
        held.out.expect("ready")
        held.err.expect("no link to 127.0.0.1:1 within 0.5 s")
        assert held.end(signal.SIGINT) == 128 + signal.SIGINT


@pytest.mark.parametrize(
    "command, status, message",
    [
        ("no-such-command", 127, "no-such-command: there is no such command"),
        ("/etc/passwd", 126, "/etc/passwd cannot be run: Permission denied"),
    ],
)
def test_a_command_that_cannot_be_run(
    command: str, status: int, message: str, registry: Registry, capfd: Captured
) -> None:
    """A command that cannot be started gives the status that a shell would."""
    assert run(["register", registry.peer, "web", "--", command]) == status
    assert capfd.readouterr().err == f"Error: {message}\n"


def test_nobody_need_read_what_is_told(registry: Registry) -> None:
    """A service does not end because whoever read the registration's own lines has gone."""
    ours, theirs = os.pipe()
    with cli(
        "register", registry.peer, "web@1.0.0", "--", "sh", "-c", "read go; exit 5",
        stderr=theirs, measured=True,
    ) as held:  # fmt: skip
        os.close(theirs)
        os.close(ours)
        registry.process.out.expect('"role": "web@1.0.0"')
        assert held.popen.stdin is not None
        held.popen.stdin.close()
        assert held.end() == 5


async def test_a_peer_that_does_not_answer_delays_the_signal_and_no_more() -> None:
    """Where the peer has vanished, the command gets its signal all the same, soon."""
    async with trio.open_nursery() as nursery:
        registry = await trio.to_thread.run_sync(Registry)
        proxy = Proxy(registry.port)
        port: int = await nursery.start(proxy.serve)
        script = 'trap "echo got it; exit 3" TERM; echo ready; while :; do sleep 0.01; done'
        with cli("register", f":{port}", "web@1.0.0", "--", "sh", "-c", script) as held:
            await trio.to_thread.run_sync(held.out.expect, "ready")
            await trio.to_thread.run_sync(held.err.expect, "registered")
            await trio.to_thread.run_sync(registry.process.out.expect, '"role": "web@1.0.0"')
            proxy.cut()
            began = trio.current_time()
            assert await trio.to_thread.run_sync(held.end, signal.SIGTERM) == 3
            assert 0.5 < trio.current_time() - began < 10
        nursery.cancel_scope.cancel()
    registry.close()


def test_a_bug_here_ends_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Should this program fail, it does not leave behind a command that nobody looks after."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    async def fail(*_: object) -> int:
        await trio.to_thread.run_sync(fifo.read_text)
        raise RuntimeError("a bug")

    monkeypatch.setattr(holding._Beside, "run", fail)
    script = 'trap "echo ended >$2; exit" TERM; echo ready >$1; while :; do sleep 0.01; done'
    files = [str(fifo), str(tmp_path / "end")]
    with pytest.raises(RuntimeError, match="a bug"):
        run(["register", "127.0.0.1:1", "web", "--", "sh", "-c", script, "sh", *files])
    assert (tmp_path / "end").read_text() == "ended\n"
