"""Services as a table for a terminal: the first of two modules that import rich.

Whoever needs it imports it then, for rich takes about as long to load as a whole query takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .wording import COLUMNS

__all__ = ["services_table"]

_STYLES = ("bold", "", "dim", "")


def services_table(rows: Iterable[Sequence[str]], caption: str) -> str:
    """Return rows under `COLUMNS` as a table that fits the terminal, in its colours."""
    table = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        caption=Text(caption),
        caption_justify="left",
    )
    for heading, style in zip(COLUMNS, _STYLES, strict=True):
        table.add_column(
            heading if len(heading) < 3 else heading.capitalize(), overflow="fold", style=style
        )
    for cells in rows:
        # Text, since what comes from other machines is not to be taken for markup.
        table.add_row(*map(Text, cells))
    console = Console()
    with console.capture() as capture:
        console.print(table)
    return capture.get().rstrip("\n")
