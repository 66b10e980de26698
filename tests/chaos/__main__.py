"""Real faults done to real processes: what holds, and how long it takes until all agree.

    python -m tests.chaos                       every fault, a few minutes
    python -m tests.chaos --repetitions 10 --only partition --only blip

Prints a Markdown table. The exit status is 1 where a check fails. What needs network namespaces,
and so root, is skipped without, and the table says so. Processes and namespaces are removed in any
case, on Ctrl-C and SIGTERM too; the namespaces bear the id of this process in their names.
"""

from __future__ import annotations

import shlex
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import trio

from tests.commands import INTERRUPTED, command_line, count

from .cluster import Place
from .faults import FAULTS
from .namespaces import lab, reason_against
from .table import Outcome, table


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the faults that the command line names; return 1 where a check failed."""
    # Names contain blanks and commas, so each has a line and is quoted as a shell takes it.
    known = "\n".join(f"  {shlex.quote(name)}" for name in FAULTS)
    parser = command_line("tests.chaos", __doc__, f"faults:\n{known}")
    parser.add_argument(
        "--repetitions", type=count, default=3, help="of each fault; default: %(default)s"
    )
    parser.add_argument(
        "--only",
        action="append",
        metavar="FAULT",
        help="one of those below; repeatable; default: all of them",
    )
    given = parser.parse_args(arguments)
    for name in given.only or ():
        if name not in FAULTS:
            parser.error(f"there is no fault {name!r}; there are:\n{known}")
    began = time.monotonic()
    outcomes: list[Outcome] = []
    names = given.only or [*FAULTS]
    trio.run(_run, names, given.repetitions, outcomes)
    say(f"{table(outcomes)}\n\ntook {time.monotonic() - began:,.0f} s\n")
    if len(outcomes) < len(names):
        say("interrupted\n")
        return INTERRUPTED
    return int(any(each.problems for each in outcomes))


async def _run(names: Sequence[str], repetitions: int, outcomes: list[Outcome]) -> None:
    # Ctrl-C is received for as long as there is something to be removed.
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_end_on_signal, signals, nursery.cancel_scope)
            against = reason_against()
            for name in names:
                outcome = Outcome(name, FAULTS[name].checked)
                if FAULTS[name].on_hosts and against:
                    outcome.skipped = against
                else:
                    await _do(outcome, repetitions)
                outcomes.append(outcome)
                say(f"{name}: {outcome.verdict}\n")
            nursery.cancel_scope.cancel()


async def _end_on_signal(signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
    await anext(signals)
    scope.cancel()


async def _do(outcome: Outcome, repetitions: int) -> None:
    """Do one fault, and note whatever is wrong."""
    fault = FAULTS[outcome.fault]
    with (
        tempfile.TemporaryDirectory() as directory,
        lab() if fault.on_hosts else nullcontext() as hosts,
    ):
        try:
            with trio.fail_after(60 + 60 * repetitions):
                await fault.run(Place(Path(directory), hosts), outcome, repetitions)
        except Exception as error:  # noqa: BLE001 - noted, and the next fault is done
            outcome.problems.append(f"{type(error).__name__}: {error}")
        if outcome.problems:
            _show_what_was_said(Path(directory), outcome.fault)


def _show_what_was_said(directory: Path, fault: str) -> None:
    for path in sorted(directory.iterdir()):
        if text := path.read_text():
            say(f"process {path.stem} of {fault} said at last:\n{text[-2000:]}\n")


def say(text: str) -> None:
    """Write text to stdout at once."""
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
