"""The command line as a whole: its commands, and how every end of one becomes an exit status."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence

import click

from manifest import __version__
from manifest.errors import ManifestInternalError

from .certs import certs
from .demo import demo
from .listening import listen
from .lookup import query, show, wait
from .node import demo_node
from .registering import free, register
from .settings import tear_down_logging
from .statuses import BUG, FOUND, SIGNALLED, USAGE, Failure
from .teaching import TaughtGroup
from .watching import watch

__all__ = ["command_line", "run"]


@click.group(
    cls=TaughtGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    examples=[
        "manifest demo",
        "manifest listen --port 3100 &",
        "manifest register 127.0.0.1:3100 web@1.2.3 -- ./serve.sh     # gets a $PORT",
        "manifest query 127.0.0.1:3100 web@^1",
        "manifest wait 127.0.0.1:3100 db --timeout 30 && ./start.sh",
    ],
)
@click.version_option(__version__, "-V", "--version", message="manifest %(version)s")
def command_line() -> None:
    """A service registry with no server to lose.

    Each command has examples and its exit statuses in its --help, and --json for pipes.
    """


for _command in (listen, show, query, wait, watch, register, free, certs, demo, demo_node):
    command_line.add_command(_command)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name, and return its exit status.

    What is wrong with them, and what a command fails of, is said on stderr in a line or two.
    """
    given = sys.argv[1:] if arguments is None else arguments
    if not given:
        click.echo(command_line.get_help(click.Context(command_line, info_name="manifest")))
        return USAGE
    try:
        status = command_line.main(given, prog_name="manifest", standalone_mode=False)
    except Failure as error:
        error.show()
        return error.status
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        # Ctrl-C before or after the command's own handling of it.
        return SIGNALLED + 2
    except ManifestInternalError as error:
        traceback.print_exception(error)
        sys.stderr.write(f"manifest: {error}\n")
        return BUG
    finally:
        tear_down_logging()
    return FOUND if status is None else int(status)
