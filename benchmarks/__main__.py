"""All benchmarks behind one command; `nox -s bench -- ...` runs it with what it needs.

    python -m benchmarks                 manifest and its peers, on the same work (compare)
    python -m benchmarks --quick         the same, smaller: only for a look
    python -m benchmarks micro           each hot path
    python -m benchmarks growth          with the number of services and nodes; makes the plot
    python -m benchmarks retention       renewals and tombstones, by how long is remembered
    python -m benchmarks wire            formats and libraries for the wire
    python -m benchmarks ranges          libraries for npm's version ranges
    python -m benchmarks simulation      how fast clusters are simulated
    python -m benchmarks docs            write the latest figures into docs/
    python -m benchmarks everything      compare, micro, growth, docs

Each has a --help. Figures go to build/benchmarks, as JSON and as Markdown.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from .commands import INTERRUPTED, is_interrupt

try:
    from . import compare, growth, micro, pages, ranges, retention, simulation, wire
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
    "wire": wire.main,
    "ranges": ranges.main,
    "simulation": simulation.main,
    "docs": pages.main,
}
EVERYTHING = ("compare", "micro", "growth", "docs")
EVERYTHING_HELP = f"""usage: python -m benchmarks everything [--quick] [option of compare ...]

Runs {", ".join(EVERYTHING)}, one after the other: all that the pages of docs/ quote is measured
anew and written there. --quick goes to all that measure, which then are only for a look; all other
options go to compare.

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
            for command in EVERYTHING:
                # Only the comparison has options that differ from one machine to the next.
                quick = [each for each in rest if each == "--quick"]
                given = {"compare": rest, "docs": []}.get(command, quick)
                print(f"== {command}", file=sys.stderr, flush=True)
                COMMANDS[command](given)
        case [command, *rest] if command in COMMANDS:
            COMMANDS[command](rest)
        case [word, *_] if not word.startswith("-"):
            said = f"there is no {word!r}; there are {', '.join(COMMANDS)}, everything"
            print(said, file=sys.stderr)
            sys.exit(2)
        case _:
            COMMANDS["compare"](arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
