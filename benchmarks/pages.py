"""Writes the figures of the last runs into the pages of docs/, between their markers.

`tables` says how a page marks the place. The plots are copied beside the pages.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import compare, growth, micro, retention
from .commands import command_line
from .tables import fill, marked

__all__ = ["FIGURES", "main", "write"]

ROOT = Path(__file__).parents[1]
FIGURES: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "compare": compare.to_markdown,
    "micro": micro.to_markdown,
    "growth": growth.to_markdown,
    "retention": retention.to_markdown,
}
"""How each report reads; it is in a file of that name."""
PLOTS = ("growth.png", "retention.png")


def write(pages: Path, directory: Path) -> list[str]:
    """Fill every place that a page marks and a report is there for; return what was filled.

    ValueError where a page marks a place that no benchmark has figures for.
    """
    filled: list[str] = []
    for page in sorted(pages.glob("*.md")):
        before = text = page.read_text(encoding="utf-8")
        for name in marked(text):
            if name not in FIGURES:
                raise ValueError(
                    f"{page.name} marks a place for figures of {name!r}; there are those of "
                    f"{', '.join(FIGURES)}"
                )
            report = directory / f"{name}.json"
            if report.exists():
                read = json.loads(report.read_text(encoding="utf-8"))
                text = fill(text, name, FIGURES[name](read))
                filled.append(f"{page.name}: {name}")
        if text != before:
            page.write_text(text, encoding="utf-8")
    for plot in PLOTS:
        if (directory / plot).exists():
            shutil.copyfile(directory / plot, pages / plot)
            filled.append(plot)
    return filled


def main(arguments: Sequence[str] | None = None) -> None:
    """Write what there is, and say what that was."""
    parser = command_line("docs", __doc__)
    parser.add_argument("--directory", type=Path, default=Path("build/benchmarks"))
    given = parser.parse_args(arguments)
    filled = write(ROOT / "docs", given.directory)
    print("\n".join(filled) or f"there are no figures in {given.directory}", file=sys.stderr)


if __name__ == "__main__":
    main()
