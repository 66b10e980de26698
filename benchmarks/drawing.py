"""Figures as pictures, where matplotlib is there: it is in the dependency group `bench`."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["drawable", "finish", "save", "subplots"]


def drawable() -> bool:
    """Return whether there is matplotlib; say so where there is none."""
    if importlib.util.find_spec("matplotlib") is not None:
        return True
    print("no matplotlib here, so nothing is drawn: it is in the group bench", file=sys.stderr)
    return False


def subplots(rows: int, columns: int, *, width: float = 5.0) -> tuple[Any, Any]:
    """Return a picture and its panels, by row and column, each so many inches wide."""
    importlib.import_module("matplotlib").use("Agg")
    return importlib.import_module("matplotlib.pyplot").subplots(  # type: ignore[no-any-return]
        rows, columns, figsize=(width * columns, 4.25 * rows), layout="constrained", squeeze=False
    )


def finish(
    axis: Any, title: str, below: str, ticks: Sequence[int], names: Sequence[str] | None = None
) -> None:
    """Put a title, scales and a legend to a panel, both axes logarithmic.

    `names` are what the ticks are called, where that is not their number.
    """
    ticker = importlib.import_module("matplotlib.ticker")
    axis.set(title=title, xlabel=below, xscale="log", yscale="log")
    axis.set_xticks(ticks, [f"{tick:,}" for tick in ticks] if names is None else names)
    axis.set_xticks([], minor=True)
    # At least a decade, so that what is constant looks so.
    least, greatest = axis.get_ylim()
    axis.set_ylim(min(least, greatest / 30), greatest * 1.5)
    axis.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter("{x:,g}")
    # Else it labels what lies between, in powers of ten.
    axis.yaxis.set_minor_formatter(ticker.NullFormatter())
    axis.grid(visible=True, which="major", alpha=0.3)
    axis.legend()


def save(figure: Any, parts: Mapping[str, Mapping[str, Any]], to: Path) -> None:
    """Say where each part was measured, and write the picture to a PNG."""
    said = [
        f"{name}: {part['machine']['date']}, {part['machine']['processor']}"
        f"{', a quick run: no result' if part['quick'] else ''}"
        for name, part in parts.items()
    ]
    figure.suptitle(f"manifest; {'; '.join(said)}")
    # Without the date of its making, so that equal figures make equal files.
    figure.savefig(to, dpi=80, metadata={"Software": None})
