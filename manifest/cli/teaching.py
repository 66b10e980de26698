"""Help that teaches by example: commands whose `--help` ends in lines to paste and exit statuses.

Every example is a command line that works as it stands; a test parses each of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

__all__ = ["Taught", "TaughtGroup", "TaughtWithCommand", "words_behind"]

_WORDS = "manifest.command"


class Taught(click.Command):
    """A command that shows examples and what its exit status says."""

    def __init__(
        self,
        *args: Any,
        examples: Sequence[str],
        statuses: Sequence[tuple[int | str, str]],
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)
        self.statuses = tuple((str(status), meaning) for status, meaning in statuses)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the two sections below the options."""
        _write_examples(formatter, self.examples)
        with formatter.section("Exit status"):
            formatter.write_dl(self.statuses)


class TaughtWithCommand(Taught):
    """A command that may be followed by `--` and another command, which is left as it is.

    Only what stands behind `--` counts: a forgotten argument never takes its first word.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse what stands before `--`, and keep what stands behind it."""
        if "--" in args:
            end = args.index("--")
            args, command = args[:end], args[end + 1 :]
            if not command:
                raise click.UsageError("a command is missing behind --", ctx)
            ctx.meta[_WORDS] = tuple(command)
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Return the pieces of the usage line."""
        return [*super().collect_usage_pieces(ctx), "[-- COMMAND ...]"]


def words_behind(context: click.Context) -> tuple[str, ...] | None:
    """Return the words behind `--`, or None where there is no `--`."""
    words: tuple[str, ...] | None = context.meta.get(_WORDS)
    return words


class TaughtGroup(click.Group):
    """The commands, in the order in which they were added, with examples."""

    def __init__(self, *args: Any, examples: Sequence[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which a reader needs them."""
        return list(self.commands)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the section below the commands."""
        _write_examples(formatter, self.examples)


def _write_examples(formatter: click.HelpFormatter, examples: Sequence[str]) -> None:
    with formatter.section("Examples"):
        for example in examples:
            # Not `write_text`, which would wrap what is to be pasted.
            formatter.write(f"{'':>{formatter.current_indent}}{example}\n")
