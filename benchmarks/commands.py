"""What the command lines of the benchmarks have in common: how they are told of, and Ctrl-C."""

from __future__ import annotations

import argparse

__all__ = ["INTERRUPTED", "check_count", "command_line", "is_interrupt"]

INTERRUPTED = 130
"""The exit status of what Ctrl-C has ended, as a shell has it."""


def command_line(name: str, documentation: str | None) -> argparse.ArgumentParser:
    """Return a parser for what follows `python -m benchmarks name`.

    Its help shows the lines of the documentation as they stand, for some of them are commands.
    """
    return argparse.ArgumentParser(
        prog=f"python -m benchmarks {name}",
        description=documentation,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def check_count(parser: argparse.ArgumentParser, option: str, count: int) -> None:
    """End with a usage error where nothing would be measured."""
    if count < 1:
        parser.error(f"{option} is 1 or more, got {count}")


def is_interrupt(error: BaseException) -> bool:
    """Return whether it is Ctrl-C that has ended something, be it within a nursery of Trio.

    >>> is_interrupt(BaseExceptionGroup("", [OSError(), KeyboardInterrupt()]))
    True
    >>> is_interrupt(ValueError())
    False
    """
    if isinstance(error, BaseExceptionGroup):
        return error.subgroup(KeyboardInterrupt) is not None
    return isinstance(error, KeyboardInterrupt)
