"""All benchmarks behind one command; `nox -s bench -- ...` runs it with what it needs.

    python -m benchmarks                 manifest and its peers, on the same work (compare)
    python -m benchmarks --quick         the same, smaller: only for a look
    python -m benchmarks micro           each hot path
    python -m benchmarks growth          with the number of services and nodes; makes the plot
    python -m benchmarks retention       renewals and tombstones, by how long is remembered
    python -m benchmarks profile         calls and time of a hop and a join, by layer of the code
    python -m benchmarks wire            formats and libraries for the wire
    python -m benchmarks ranges          libraries for npm's version ranges
    python -m benchmarks simulation      how fast clusters are simulated
    python -m benchmarks docs            write the latest figures into docs/
    python -m benchmarks everything      compare, micro, growth, retention, docs

Each has a --help. What `docs` writes, and profile, go to build/benchmarks as JSON and as Markdown;
wire, ranges and simulation print what they find, and pages that quote it say by which command.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from .commands import INTERRUPTED, is_interrupt

try:
    from . import compare, growth, layers, micro, pages, ranges, retention, simulation, wire
except ModuleNotFoundError as error:
    sys.exit(
        f"the benchmarks need {error.name}, which this Python does not have: `nox -s bench -- ...` "
        "installs what they need"
    )

COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "compare": compare.main,
    "micro": micro.main,
    "growth": growth.main,
    "retention": retention.main,
    "profile": layers.main,
    "wire": wire.main,
    "ranges": ranges.main,
    "simulation": simulation.main,
    "docs": pages.main,
}
EVERYTHING = ("compare", "micro", "growth", "retention", "docs")
EVERYTHING_HELP = f"""usage: python -m benchmarks everything [--quick] [--directory PATH]
                                       [option of compare ...]

Runs {", ".join(EVERYTHING)}, one after the other: all figures that a page of docs/ has
between markers are measured anew and written there. What docs/wire.md, docs/lookup.md and
docs/testing.md quote of wire, ranges and simulation is put there by hand. --quick goes to all that
measure, which then are only for a look, and --directory to all; all other options go to compare.

    python -m benchmarks everything --node-peers DIRECTORY
    python -m benchmarks compare --help         the options of compare
"""


def main(arguments: list[str]) -> None:
    """Run the command that is named, or else the comparison; leave with 130 on Ctrl-C."""
    try:
        _run(arguments)
    except (KeyboardInterrupt, BaseExceptionGroup) as error:
        if not is_interrupt(error):
            raise
        print("interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)


def _run(arguments: list[str]) -> None:
    match arguments:
        case ["-h" | "--help", *_]:
            print(__doc__)
        case ["everything", *rest] if {"-h", "--help"} & {*rest}:
            print(EVERYTHING_HELP)
        case ["everything", *rest]:
            _run_everything(rest)
        case [command, *rest] if command in COMMANDS:
            COMMANDS[command](rest)
        case [word, *_] if not word.startswith("-"):
            said = f"there is no {word!r}; there are {', '.join(COMMANDS)}, everything"
            print(said, file=sys.stderr)
            sys.exit(2)
        case _:
            COMMANDS["compare"](arguments)


def _run_everything(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--quick", action="store_const", const=["--quick"], default=[])
    parser.add_argument("--directory")
    given, others = parser.parse_known_args(arguments)
    where = [] if given.directory is None else ["--directory", given.directory]
    for command in EVERYTHING:
        # Only the comparison has options that differ from one machine to the next.
        more = others if command == "compare" else []
        quick = [] if command == "docs" else given.quick
        print(f"== {command}", file=sys.stderr, flush=True)
        COMMANDS[command]([*quick, *more, *where])


if __name__ == "__main__":
    main(sys.argv[1:])
