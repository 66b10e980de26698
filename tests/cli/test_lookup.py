"""The commands that ask: `show`, `query` and `wait`."""

from __future__ import annotations

import json
import signal
import sys
from typing import Any

import pytest

from manifest.cli.app import run
from manifest.cli.lookup import _is_reachable
from manifest.cli.output import Output
from tests.cli.processes import Process, Registry, cli
from tests.cli.test_wording import a_service

Captured = pytest.CaptureFixture[str]


def lines(capfd: Captured) -> list[str]:
    """Return what was printed, line by line."""
    return capfd.readouterr().out.splitlines()


def facts(capfd: Captured) -> list[dict[str, Any]]:
    """Return what was printed as JSON lines."""
    return [json.loads(line) for line in lines(capfd)]


def test_show_prints_aligned_columns(stocked: Registry, capfd: Captured) -> None:
    """Without a terminal `show` prints columns with full ids: by name, newest version first."""
    assert run(["show", stocked.peer]) == 0
    head, *rows = lines(capfd)
    assert head.split() == ["ROLE", "ADDRESS", "ID", "DATA"]
    assert [row.split()[0] for row in rows] == [
        "db", "manifest@0.1.0", "web@2.0.0", "web@1.10.0", "web@1.2.3"
    ]  # fmt: skip
    id_at = head.index("ID")
    assert all(row[id_at - 1] == " " for row in rows)
    assert all(row[id_at:].startswith((stocked.id, "primary")) for row in rows)
    assert "[2001:db8::5]:8003" in rows[2]
    assert rows[4].endswith("zone=eu weight:=10")


def test_show_prints_json_lines(stocked: Registry, capfd: Captured) -> None:
    """With --json each line is one service with all its fields, in ASCII."""
    assert run(["show", stocked.peer, "--json"]) == 0
    db, *_ = services = facts(capfd)
    assert len(services) == 5
    assert db["id"] == "primary"
    assert db["data"] == {"note": "two words", "red": "\x1b[31m"}
    assert set(db) == {
        "id", "role", "name", "version", "address", "port", "owner", "timestamp", "persistent",
        "data",
    }  # fmt: skip


def test_show_draws_a_table_on_a_terminal(
    stocked: Registry, capfd: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal `show` draws a table with short ids, and nothing in it steers the terminal."""
    monkeypatch.setattr(Output, "is_terminal", True)
    monkeypatch.setenv("COLUMNS", "100")
    assert run(["show", stocked.peer]) == 0
    text = capfd.readouterr().out
    assert f"{stocked.id[:8]}….1" in text
    assert stocked.id not in text
    assert r"""'red:="\u001b[31m"'""" in text
    assert f"5 services at {stocked.peer}" in text


def test_show_registers_nothing(stocked: Registry, capfd: Captured) -> None:
    """Who only looks is not seen: a second `show` finds what the first did."""
    assert run(["show", stocked.peer]) == 0
    first = lines(capfd)
    assert run(["show", stocked.peer]) == 0
    assert lines(capfd) == first


def test_show_finds_nothing(own: Registry, capfd: Captured) -> None:
    """Where nothing is registered, `show` prints nothing and says so by its status."""
    own.free(f"{own.id}.1")
    assert run(["show", own.peer]) == 1
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "arguments, roles",
    [
        (["web"], ["web@2.0.0", "web@1.10.0", "web@1.2.3"]),
        (["web@1.2.3"], ["web@1.2.3"]),
        (["web@^1"], ["web@1.10.0", "web@1.2.3"]),
        (["web@>=1.5 <3"], ["web@2.0.0", "web@1.10.0"]),
        (["web", "--where", "zone=eu"], ["web@1.2.3"]),
        (["web", "--where", "zone=us", "--where", "weight:=20"], ["web@1.10.0"]),
    ],
)
def test_query_finds_what_matches(
    arguments: list[str], roles: list[str], stocked: Registry, capfd: Captured
) -> None:
    """A name, a version, a range, and data that must be equal; newest version first."""
    assert run(["query", stocked.peer, *arguments]) == 0
    assert [row.split()[0] for row in lines(capfd)[1:]] == roles


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["api"], "Error: no service matches api at {}\n"),
        (["web@3"], "Error: no service matches web@3 at {}; there is web@2.0.0, web@1.10.0"),
        (["db", "--where", "a=b c"], "Error: no service matches db 'a=b c' at {}; there is db"),
        (
            ["web@^1", "--where", "weight=10"],
            "Error: no service matches web@^1 weight=10 at {}; there is web@1.10.0 with weight:=20",
        ),
        (
            ["web", "--where", "zone=eu", "--where", "weight:=20"],
            (
                "Error: no service matches web zone=eu weight:=20 at {}; there is web@2.0.0 "
                "without zone and weight, web@1.10.0 with zone=us, web@1.2.3 with weight:=10\n"
            ),
        ),
        (
            ["web@3", "--where", "zone=eu"],
            "Error: no service matches web@3 zone=eu at {}; there is web@2.0.0, web@1.10.0, ",
        ),
    ],
)  # fmt: skip
def test_query_says_what_there_is_instead(
    arguments: list[str], message: str, stocked: Registry, capfd: Captured
) -> None:
    """Where nothing matches, the status is 1 and the error names what has that name."""
    assert run(["query", stocked.peer, *arguments]) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith(message.format(stocked.peer))


def test_query_names_a_few_of_many(registry: Registry, capfd: Captured) -> None:
    """The error about what there is instead stays one line, however much that is."""
    for minor in range(7):
        registry.register(f"many@1.{minor}.0")
    assert run(["query", registry.peer, "many@2"]) == 1
    assert capfd.readouterr().err.endswith("many@1.3.0, many@1.2.0 and 2 more\n")


def test_pick_prints_one_address(stocked: Registry, capfd: Captured) -> None:
    """--pick prints host:port alone, for a shell to put into a command."""
    assert run(["query", stocked.peer, "web@2", "--pick"]) == 0
    assert lines(capfd) == ["[2001:db8::5]:8003"]
    assert run(["query", stocked.peer, "web", "--pick", "--json"]) == 0
    assert [fact["name"] for fact in facts(capfd)] == ["web"]


def test_pick_takes_only_what_can_be_connected_to(own: Registry, capfd: Captured) -> None:
    """--pick leaves out what has no port or no address, and says so where there is nothing else."""
    portless = own.register("api@1.0.0", id="portless", address="10.0.0.9")
    assert run(["query", own.peer, "api", "--pick"]) == 1
    out, err = capfd.readouterr()
    assert (out, err) == (
        "",
        f"Error: there is nothing to connect to: api@1.0.0 ({portless}) has no port\n",
    )
    assert run(["query", own.peer, "api", "--pick", "--json"]) == 1
    assert run(["wait", own.peer, "api", "--pick", "--timeout=0.5"]) == 1
    assert capfd.readouterr().err.endswith(
        f"Error: no service matching api could be connected to at {own.peer} within 0.5 s: "
        f"api@1.0.0 ({portless}) has no port\n"
    )
    for number in range(6):
        own.register(f"api@2.0.{number}", port=80)
    with cli("wait", own.peer, "many", "--pick", measured=True) as waiting:
        own.register("many", id="first")
        own.register("many@1.0.0", port=81, address="10.0.0.8")
        assert waiting.out.expect("10.0.0.8:81")
        assert waiting.end() == 0
    for _ in range(3):
        assert run(["query", own.peer, "api", "--pick"]) == 0
        assert lines(capfd) == ["127.0.0.1:80"]
    for number in range(7):
        own.register(f"db@1.{number}.0", address="10.0.0.9")
    assert run(["query", own.peer, "db", "--pick"]) == 1
    assert capfd.readouterr().err.endswith(") has no port and 2 more\n")


def test_what_has_no_address_is_not_picked() -> None:
    """A service may be registered before its address is known."""
    service = a_service(None, 80)
    assert not _is_reachable(service)


def test_wait_returns_at_once_where_it_is_there(stocked: Registry, capfd: Captured) -> None:
    """What is there already need not be waited for, with a timeout or without."""
    assert run(["wait", stocked.peer, "web@^1", "--where", "zone=eu"]) == 0
    assert lines(capfd)[1].startswith("web@1.2.3")
    assert run(["wait", stocked.peer, "web@^1", "--timeout", "30", "--pick"]) == 0
    assert len(lines(capfd)) == 1


def test_wait_gives_up_in_time(stocked: Registry, capfd: Captured) -> None:
    """After the timeout the status is 1; the error says what was waited for, where, how long."""
    assert run(["wait", stocked.peer, "api@^2", "--timeout", "0.5"]) == 1
    assert capfd.readouterr().err == (
        f"Error: no service matched api@^2 at {stocked.peer} within 0.5 s\n"
    )
    assert run(["wait", stocked.peer, "web", "--where", "weight=10", "--timeout", "0.5"]) == 1
    assert capfd.readouterr().err.startswith(
        f"Error: no service matched web weight=10 at {stocked.peer} within 0.5 s; there is web@2"
    )


def test_wait_sees_what_comes(registry: Registry) -> None:
    """A service that is registered while `wait` waits ends the waiting."""
    with cli("wait", registry.peer, "api@^2", "--json") as waiting:
        registry.process.out.event("synced")
        registry.register("api@2.1.0")
        assert json.loads(waiting.out.expect("api"))["version"] == "2.1.0"
        assert waiting.end() == 0


def test_a_signal_ends_waiting(registry: Registry) -> None:
    """Ctrl-C ends a command that has not found its answer with status 130, without a word."""
    with cli("wait", registry.peer, "never", measured=True) as waiting:
        registry.process.out.event("synced")
        assert waiting.end(signal.SIGINT) == 130
        assert waiting.out.rest() == waiting.err.rest() == []
        # It has taken its leave, and was not just gone.
        reason = registry.process.out.event("disconnected")["reason"]
        assert "the manifest was closed" in reason


@pytest.mark.parametrize("command", [["show"], ["query", "web"], ["wait", "web"], ["watch"]])
def test_nobody_there(command: list[str], capfd: Captured) -> None:
    """Where nobody listens, the status is 3, and the error says who was asked and for how long."""
    name, *role = command
    assert run([name, "127.0.0.1:1", *role, "--timeout", "0.3"]) == 3
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("Error: no link to 127.0.0.1:1 within 0.3 s: could not connect: ")
    assert err.endswith("; does a manifest listen there?\n")
    assert err.count("\n") == 1


def test_another_cluster(stocked: Registry, capfd: Captured) -> None:
    """A manifest of another cluster is refused at once, with the reason, in one line."""
    assert run(["show", stocked.peer, "--cluster", "other", "--timeout", "20"]) == 3
    _, err = capfd.readouterr()
    assert err.startswith(f"Error: no link to {stocked.peer}: ")
    assert 'is of "other"' in err
    assert err.endswith("; give both the same --cluster\n")
    assert err.count("\n") == 1


def test_another_retention(stocked: Registry, capfd: Captured) -> None:
    """Retention is the same in the whole cluster, and --retention says which it is."""
    assert run(["show", stocked.peer, "--retention", "60", "-v"]) == 3
    _, err = capfd.readouterr()
    assert "retention must be the same in the whole cluster: " in err
    assert " 60 s at " in err
    assert " 3600 s at " in err
    assert "; give both the same --retention\n" in err
    assert "manifest: warning: " in err


A_DAY_LATE = """
import time, trio, manifest

async def main():
    late = manifest.Environment(wall=lambda: time.time_ns() // 1_000_000 - 86_400_000)
    async with manifest.open_manifest(environment=late) as m:
        listener = await m.listen(port=0, host="127.0.0.1")
        print(listener.port, flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


def test_another_clock(capfd: Captured) -> None:
    """A manifest whose clock is a day off is refused, with both times and what to do."""
    with Process(sys.executable, "-c", A_DAY_LATE) as late:
        port = late.out.expect("")
        assert run(["show", f":{port}"]) == 3
    assert "set both machines' clocks (NTP)" in capfd.readouterr().err
