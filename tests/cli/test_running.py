"""How commands end, and the way in."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import IO, TextIO, cast

import click
import pytest
import trio

from manifest import ManifestInternalError, __version__
from manifest import __main__ as way_in
from manifest.cli import app, lookup
from manifest.cli.output import Output
from manifest.cli.running import run_asking, run_bare, run_lasting
from tests.cli.processes import ENVIRONMENT, UNMEASURED, Process, Registry, cli

Captured = pytest.CaptureFixture[str]


def test_the_version() -> None:
    """`python -m manifest --version` prints the name and the version."""
    with cli("--version", measured=True) as process:
        assert process.end() == 0
        assert process.out.rest() == [f"manifest {__version__}"]


@pytest.mark.parametrize("missing", [{"click", "rich"}, {"rich"}])
def test_without_its_extra_it_says_what_to_install(
    missing: set[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where click or rich is not installed, one line says how to get them; the status is 2."""
    monkeypatch.setattr(way_in, "find_spec", lambda name: None if name in missing else name)
    with pytest.raises(SystemExit) as caught:
        way_in.main()
    assert caught.value.code == 2
    assert capsys.readouterr().err == (
        f"manifest: the command line needs {' and '.join(sorted(missing))}: install them with "
        'pip install ".[cli]" in a checkout of it\n'
    )


@pytest.mark.parametrize("error", [KeyboardInterrupt, click.Abort])
def test_ctrl_c_at_any_time(error: type[BaseException], monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C before a command has begun to handle it ends with status 130, without a traceback."""

    def interrupted(*_: object, **__: object) -> int:
        raise error

    monkeypatch.setattr(app.command_line, "main", interrupted)
    monkeypatch.setattr(sys, "argv", ["manifest", "show"])
    with pytest.raises(SystemExit) as caught:
        way_in.main()
    assert caught.value.code == 130


def test_a_bug_is_told_as_one(monkeypatch: pytest.MonkeyPatch, capfd: Captured) -> None:
    """A bug in the library is not taken for an answer: it has its own status, and a traceback."""

    def broken(*_: object) -> None:
        raise ManifestInternalError("a bug in manifest, please report it")

    monkeypatch.setattr(lookup, "visit", broken)
    assert app.run(["show", "127.0.0.1:1"]) == 70
    err = capfd.readouterr().err
    assert "Traceback" in err
    assert err.endswith("manifest: a bug in manifest, please report it\n")


def test_a_lone_error_comes_out_of_its_groups() -> None:
    """Errors from nurseries are unwrapped where there is one, and left where there are two."""

    async def fail(*errors: Exception) -> int:
        await trio.lowlevel.checkpoint()
        raise ExceptionGroup("outer", [ExceptionGroup("inner", errors)])

    def body(*errors: Exception) -> Callable[[], Awaitable[int]]:
        return lambda: fail(*errors)

    with pytest.raises(ValueError, match="only"):
        run_bare(body(ValueError("only")))
    with pytest.RaisesGroup(ValueError, ValueError, match="inner"):
        run_bare(body(ValueError("one"), ValueError("two")))
    assert run_bare(body(BrokenPipeError())) == 141


@pytest.mark.parametrize(
    "run, signum, status",
    [
        (run_asking, signal.SIGINT, 130),
        (run_asking, signal.SIGTERM, 143),
        (run_lasting, signal.SIGTERM, 0),
    ],
)
def test_further_signals_change_nothing(
    run: Callable[[Callable[[], Awaitable[int]]], int], signum: signal.Signals, status: int
) -> None:
    """A command that leaves because of a signal goes on leaving when there are more of them."""
    left = []

    async def body() -> int:
        try:
            os.kill(os.getpid(), signum)
            await trio.sleep_forever()
        finally:
            with trio.move_on_after(5, shield=True):
                os.kill(os.getpid(), signum)
                await trio.sleep(0.05)
                left.append(True)
        raise AssertionError

    assert run(body) == status
    assert left == [True]


def stream_of(descriptor: int, mode: str) -> IO[str]:
    """Return a stream for a descriptor, which it closes."""
    return os.fdopen(descriptor, mode)


@contextmanager
def closed_pipe() -> Iterator[int]:
    """Give the end for writing of a pipe that nobody reads."""
    ours, theirs = os.pipe()
    os.close(ours)
    yield theirs
    os.close(theirs)


def test_a_pipe_that_nobody_reads(registry: Registry) -> None:
    """Output to a pipe that nobody reads ends a command quietly, whatever it is doing."""
    with closed_pipe() as pipe, cli("show", registry.peer, stdout=pipe) as process:
        assert process.end() == 141
        assert process.err.rest() == []


async def test_output_to_a_closed_pipe_is_an_error() -> None:
    """Who writes to a pipe that nobody reads is told so."""
    with (
        closed_pipe() as pipe,
        stream_of(os.dup(pipe), "w") as stream,
        pytest.raises(BrokenPipeError),
    ):
        await Output(cast(TextIO, stream), json=False).text("x")


async def test_no_output_at_all() -> None:
    """A process that was started without stdout goes without."""
    output = Output(None, json=False)
    assert not output.is_terminal
    await output.text("x")


def test_a_process_without_output(registry: Registry) -> None:
    """A command that has no stdout at all still answers by its status."""
    command = f"exec '{sys.executable}' -m manifest query {registry.peer} manifest >&-"
    with Process("sh", "-c", command) as process:
        assert process.end() == 0
        assert process.err.rest() == []


async def test_lines_of_two_tasks_stay_whole() -> None:
    """However much two tasks write at a time, each line is in one piece."""
    ours, theirs = os.pipe()
    with stream_of(ours, "r") as reader, stream_of(theirs, "w") as stream:
        output = Output(cast(TextIO, stream), json=False)
        async with trio.open_nursery() as nursery:
            for letter in "ab":
                nursery.start_soon(output.text, letter * 100_000)
            lines = [await trio.to_thread.run_sync(reader.readline) for _ in range(2)]
    assert sorted(lines) == ["a" * 100_000 + "\n", "b" * 100_000 + "\n"]


def on_a_terminal(
    *arguments: str, variables: str = "", measured: bool = False
) -> tuple[Process, int]:
    """Start a command line on a terminal of its own, and return what reads that."""
    ours, theirs = os.openpty()
    words = " ".join(arguments)
    script = f"stty cols 100 rows 40; {variables} exec '{sys.executable}' -m manifest {words}"
    environment = ENVIRONMENT if measured else UNMEASURED
    process = Process("sh", "-c", script, stdin=theirs, stdout=theirs, env=environment)
    os.close(theirs)
    return process, ours


def read_all(terminal: int) -> str:
    """Return all that is written to a terminal."""
    text = b""
    try:
        while data := os.read(terminal, 65536):
            text += data
    except OSError:
        # What Linux has for the end of a terminal.
        pass
    os.close(terminal)
    return text.decode()


@pytest.mark.parametrize("variables, colours", [("", True), ("NO_COLOR=1", False)])
def test_a_terminal_gets_colours_unless_they_are_not_wanted(
    variables: str, colours: bool, registry: Registry
) -> None:
    """On a terminal `watch` is coloured and ids are short, without colours under NO_COLOR."""
    process, terminal = on_a_terminal("watch", registry.peer, variables=variables, measured=colours)
    with process:
        registry.process.out.event("synced")
        text = ""
        while "synced" not in text:
            text += os.read(terminal, 65536).decode()
        assert process.end(signal.SIGINT) == 0
        text += read_all(terminal)
    assert ("\x1b[32mregistered" in text) is colours
    assert ("\x1b[" in text) is colours
    assert f"{registry.id[:8]}….1" in text


def test_a_terminal_gets_a_table(registry: Registry) -> None:
    """On a terminal `show` draws a table, as wide as that is at the most."""
    process, terminal = on_a_terminal("show", registry.peer, measured=True)
    with process:
        text = read_all(terminal)
        assert process.end() == 0
    assert "Role" in text
    assert "───" in text
    assert f"at {registry.peer}" in text


def test_json_stays_json_on_a_terminal(own: Registry) -> None:
    """--json is the same for people and programs."""
    process, terminal = on_a_terminal("query", own.peer, "manifest", "--json")
    with process:
        assert json.loads(read_all(terminal))["name"] == "manifest"
        assert process.end() == 0
