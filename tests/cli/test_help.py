"""Help that teaches by example: what it must have, and that its examples are right."""

from __future__ import annotations

import re
import shlex

import click
import pytest

from manifest.cli.app import command_line, run
from manifest.cli.teaching import Taught

COMMANDS = ["listen", "show", "query", "wait", "watch", "register", "free", "certs", "demo"]


def test_every_command_is_known_here() -> None:
    """The list of commands in this file is complete, hidden ones apart."""
    shown = [name for name, command in command_line.commands.items() if not command.hidden]
    assert shown == COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_examples_and_statuses(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The --help of each command says what it does, shows examples and lists exit statuses."""
    assert run([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert text.index("Options:") < text.index("\nExamples:\n") < text.index("\nExit status:\n")
    assert max(map(len, text.splitlines())) <= 80
    assert f"  manifest {name} " in text or f"  manifest {name}\n" in text


def test_help_of_it_all_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a command's name, the commands are listed in reading order, each in a sentence."""
    assert run(["--help"]) == 0
    text = capsys.readouterr().out
    assert re.findall(r"^  ([a-z]+) +[A-Z].*[a-zE]\.$", text, re.MULTILINE) == COMMANDS
    assert "\nExamples:\n" in text
    assert "demo-node" not in text


def test_nothing_at_all_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    """Without any argument the help is shown, as a mistake."""
    assert run([]) == 2
    assert "Commands:" in capsys.readouterr().out


def examples() -> list[str]:
    """Return all examples, those of several lines joined."""
    lines = list(command_line.examples)
    for command in command_line.commands.values():
        if isinstance(command, Taught):
            lines += command.examples
    return "\n".join(lines).replace("\\\n", "").splitlines()


@pytest.mark.parametrize("example", examples())
def test_every_example_parses(example: str) -> None:
    """Each example is a command line that this program takes as it stands."""
    plain = re.sub(r'^curl "http://\$\((.*)\)/"$', r"\1", re.sub(r"\s#.*", "", example))
    words = shlex.split(plain)
    ends = [words.index(end) for end in ("|", "&", "&&") if end in words]
    program, name, *arguments = words[: min(ends, default=len(words))]
    assert program == "manifest"
    command = command_line.commands[name]
    context = command.make_context(name, arguments)
    assert isinstance(context, click.Context)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["show"], "Missing argument 'HOST:PORT'"),
        (["show", "x:y"], "'x:y' is not HOST:PORT"),
        (["show", "x", "--timeout", "0"], "'0' is not a number of seconds above 0"),
        (["show", "x", "--cluster", "a b"], "Error: --cluster is 1 to 100 bytes of text without"),
        (["show", "x", "--retention", "5"], "--retention must be at least 20 seconds, got 5; give"),
        (["show", "x", "--retention", "1e10"], "Error: --retention is a number of seconds from"),
        (["show", "\x07"], "is not HOST:PORT"),
        (["query", "x"], "Missing argument 'ROLE'"),
        (["query", "x", "web@wrong"], "wrong"),
        (["wait", "x", "web", "--where", "zone"], "'zone' is not KEY=TEXT or KEY:=JSON"),
        (["wait", "x", "web", "--where", "n:=NaN"], "numbers are finite, got nan"),
        (["watch", "x", "a b"], "without blanks"),
        (["listen", "--port", "65536"], "65536"),
        (["listen", "--connect", "::1"], "[::1]:3100"),
        (
            ["listen", "--retention", "1"],
            "--retention must be at least twice --heartbeat-interval + --registration-lifetime, 20",
        ),
        (["listen", "--name", "my name"], "Error: --name is 1 to 100 bytes of text without blanks"),
        (["listen", "--name", "my name"], "got 'my name'"),
        (["listen", "--advertise", "a:b:"], "Error: --advertise is"),
        (["listen", "--advertise", "0.0.0.0:80"], "Error: --advertise is what others connect to"),
        (["listen", "--host", "localhost:3100"], "the port goes into --port"),
        (["register", "x", "web", "python3"], "unexpected extra argument"),
        (["register", "x", "--", "python3"], "Missing argument 'ROLE'"),
        (["register", "x", "web", "--"], "a command is missing behind --"),
        (["register", "x", "web", "--when-listening"], "--when-listening needs a command"),
        (["register", "x", "web", "--data", "a=1", "--data", "a=2"], "each key can be given"),
        (["register", "x", "web@1"], "a version is three numbers"),
        (["register", "x", "web", "--id", "0123456789ABCDEF01234567.1"], "is bound to"),
        (["register", "x", "web", "--address", "a b", "--", "true"], "is not a host name or an IP"),
        (["register", "x", "web", "--address", "a:80"], "the port goes into --port"),
        (["register", "x", "web", "--address", "::"], ":: is no address to connect to, it stands"),
        (["register", "x", "web", "--data", f"a={'x' * 20_000}"], "a service has at most"),
        (["nonsense"], "No such command 'nonsense'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_without_a_traceback(
    arguments: list[str], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """A command line that is wrong ends with status 2 and a line that says what is right."""
    assert run(arguments) == 2
    captured = capfd.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""
