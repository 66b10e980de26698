"""Figures as people read them: Markdown tables, and pages that have some between two markers.

A page keeps its prose and gets its figures from the last run:

    <!-- figures: compare -->
    ... replaced by `python -m benchmarks docs` ...
    <!-- end of figures -->
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .measuring import Spread

__all__ = [
    "counted_on",
    "figure",
    "fill",
    "marked",
    "measured_on",
    "spread",
    "table",
    "write_report",
]

_MARKED = re.compile(
    r"(?P<begin><!-- figures: (?P<name>[a-z-]+) -->\n).*?(?P<end><!-- end of figures -->)",
    re.DOTALL,
)


def figure(value: float) -> str:
    """Return a number with three digits that count, and no exponent.

    >>> [figure(value) for value in (0.06712, 1.5, 12.345, 117_000, 0, 0.00001234)]
    ['0.0671', '1.5', '12.3', '117,000', '0', '0.0000123']
    """
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    digits = 2 - math.floor(math.log10(abs(value)))
    rounded = round(value, digits)
    if digits <= 0:
        return f"{rounded:,.0f}"
    return f"{rounded:,.{digits}f}".rstrip("0").rstrip(".")


def spread(measured: Spread) -> str:
    """Return the median, and the least and the greatest where they are others.

    >>> spread(Spread(2.0, 1.0, 3.0)), spread(Spread(1.0, 1.0, 1.0))
    ('2 (1 to 3)', '1')
    """
    if measured.least == measured.greatest:
        return figure(measured.median)
    least, greatest = figure(measured.least), figure(measured.greatest)
    return f"{figure(measured.median)} ({least} to {greatest})"


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], *, words: int = 1) -> str:
    """Return a Markdown table; all columns but the first `words` hold numbers.

    >>> print(table(["work", "ms"], [["join", "2"]]))
    | work | ms |
    |---|---:|
    | join | 2 |
    """
    rules = ["---" if column < words else "---:" for column in range(len(headers))]
    lines = [f"| {' | '.join(headers)} |", f"|{'|'.join(rules)}|"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines)


def measured_on(machine: Mapping[str, Any], *, repetitions: int, quick: bool) -> str:
    """Return the sentences that say where figures come from, and how far they can be trusted."""
    how = "once" if repetitions == 1 else f"median (least to greatest) of {repetitions}"
    return _said_of(machine, f"Measured on {machine['date']}, {how}", quick=quick)


def counted_on(machine: Mapping[str, Any], *, quick: bool) -> str:
    """Return the same of figures that come out alike each time: nothing was timed."""
    return _said_of(machine, f"Counted on {machine['date']}", quick=quick)


def _said_of(machine: Mapping[str, Any], how: str, *, quick: bool) -> str:
    where = "; ".join(f"{name} {value}" for name, value in machine.items() if name != "date")
    said = f"{how}: {where}."
    if quick:
        said += " A quick run, with fewer and smaller pieces of work: **smoke, and no result.**"
    return said


def write_report(to: Path, report: Mapping[str, Any], text: str) -> None:
    """Write a report as JSON, and beside it, as Markdown, what is said of it."""
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    to.with_suffix(".md").write_text(text + "\n", "utf-8")


def marked(page: str) -> list[str]:
    r"""Return the names of the places for figures in a page.

    >>> marked("<!-- figures: micro -->\n<!-- end of figures -->\n")
    ['micro']
    """
    return [match["name"] for match in _MARKED.finditer(page)]


def fill(page: str, name: str, text: str) -> str:
    r"""Return a page with the figures of this name replaced. ValueError unless it has one place.

    >>> fill("<!-- figures: micro -->\nold\n<!-- end of figures -->", "micro", "new")
    '<!-- figures: micro -->\n\nnew\n\n<!-- end of figures -->'
    """
    places = marked(page).count(name)
    if places != 1:
        raise ValueError(
            f'a page has one place marked "<!-- figures: {name} -->" and "<!-- end of figures -->"'
            f", got {places} of them"
        )

    def replace(match: re.Match[str]) -> str:
        if match["name"] != name:
            return match[0]
        return f"{match['begin']}\n{text.strip()}\n\n{match['end']}"

    return _MARKED.sub(replace, page)
