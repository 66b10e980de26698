"""What the command lines of the benchmarks have in common: their name, and how they are told of."""

from __future__ import annotations

import argparse

__all__ = ["command_line"]


def command_line(name: str, documentation: str | None) -> argparse.ArgumentParser:
    """Return a parser for what follows `python -m benchmarks name`.

    Its help shows the lines of the documentation as they stand, for some of them are commands.
    """
    return argparse.ArgumentParser(
        prog=f"python -m benchmarks {name}",
        description=documentation,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
