"""What the command lines of the tools in here have in common.

What is written wrongly is a usage error, which says what is right and makes the exit status 2: a
tool that has done nothing must not look like one that has found nothing. Ctrl-C is no error: who
presses it sees what has been found so far.
"""

from __future__ import annotations

import argparse
import math
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["INTERRUPTED", "amount", "command_line", "count", "interrupts", "seeds"]

INTERRUPTED = 130
"""The exit status of what Ctrl-C has ended, as a shell has it."""


def command_line(
    name: str, documentation: str | None, epilog: str | None = None
) -> argparse.ArgumentParser:
    """Return a parser for what follows `python -m name`, described by a module's first line.

    The lines of the epilog are shown as they are.
    """
    return argparse.ArgumentParser(
        prog=f"python -m {name}",
        description=documentation.partition("\n")[0] if documentation else None,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def count(text: str) -> int:
    """Return a whole number from 1 on; a usage error otherwise.

    >>> count("10_000")
    10000
    """
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r:.80} is not a whole number from 1 on, such as 3")
    return number


def amount(text: str) -> float:
    """Return a positive, finite number; a usage error otherwise.

    >>> amount("0.5")
    0.5
    """
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r:.80} is not a number above 0, such as 2.5")
    return number


def seeds(text: str) -> range:
    """Return the seeds from A up to and without B of A:B; a usage error where there are none.

    >>> seeds("41:43")
    range(41, 43)
    """
    first, _, end = text.partition(":")
    try:
        found = range(int(first), int(end))
    except ValueError:
        found = range(0)
    if not found:
        raise argparse.ArgumentTypeError(
            f"{text!r:.80} is not a range of seeds A:B, of which A is the first and B, which is "
            "greater, is one past the last: 41:42 is seed 41 alone"
        )
    return found


@contextmanager
def interrupts() -> Iterator[Callable[[], bool]]:
    """Yield what tells whether Ctrl-C was pressed within the block, so that a loop can end itself.

    A KeyboardInterrupt inside a simulation might look like one of its failures. The first Ctrl-C is
    answered at once with a line on stderr; a second one ends the process on the spot.
    """
    pressed = False

    def note(*_: object) -> None:
        nonlocal pressed
        pressed = True
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        # Past the buffers, which may be in use just now.
        os.write(2, b"\ninterrupted, ends what it is at; once more to end at once\n")

    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)
