"""How commands end: their exit statuses, and the error that carries one.

Scripts branch on these, so they are part of the command line's promise. All other modules of the
command line name them from here.
"""

from __future__ import annotations

import click

__all__ = [
    "BUG",
    "FOUND",
    "NOT_EXECUTABLE",
    "NOT_FOUND",
    "NO_COMMAND",
    "PIPE_CLOSED",
    "SIGNALLED",
    "UNREACHABLE",
    "USAGE",
    "Failure",
]

FOUND = 0
"""What was asked for is there, or what was to be done is done."""
NOT_FOUND = 1
"""It is not there, not in time, or could not be done."""
USAGE = 2
"""The command line itself is wrong."""
UNREACHABLE = 3
"""There is no link to the manifest that was named: nobody answers, or one side refuses."""
BUG = 70
"""A bug in this program, the EX_SOFTWARE of sysexits.h."""
NOT_EXECUTABLE = 126
"""The command to run is there and cannot be run."""
NO_COMMAND = 127
"""The command to run is not there."""
SIGNALLED = 128
"""Plus the number of the signal that ended it."""
PIPE_CLOSED = SIGNALLED + 13
"""Whoever read the output has gone: what a shell reports of a process that SIGPIPE ended."""


class Failure(click.ClickException):
    """A command cannot go on, through no fault of this program; shown in one line."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
