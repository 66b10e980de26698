"""What a fault did, as a row of a table."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import attrs

__all__ = ["Outcome", "table"]


@attrs.define
class Outcome:
    """One fault: what is checked, what was found, and how long agreement took."""

    fault: str
    checked: str
    times: list[float] = attrs.field(factory=list)
    """Seconds to agreement, one for each repetition."""
    problems: list[str] = attrs.field(factory=list)
    """What did not hold."""
    notes: list[str] = attrs.field(factory=list)
    skipped: str | None = None
    """Why it was not tried, where it was not."""

    def expect(self, holds: object, problem: str) -> None:
        """Note a problem where something does not hold."""
        if not holds:
            self.problems.append(problem)

    @property
    def verdict(self) -> str:
        """Whether all held."""
        if self.skipped is not None:
            return f"skipped: {self.skipped}"
        return "**FAILED**" if self.problems else "held"


def table(outcomes: Sequence[Outcome]) -> str:
    """Return a Markdown table of outcomes, and under it what did not hold and what to know."""
    lines = [
        "| fault | checked | result | repetitions | seconds to agreement, median | range |",
        "|---|---|---|---|---|---|",
    ]
    for each in outcomes:
        median, extent = "", ""
        if each.times:
            median = f"{statistics.median(each.times):.2f}"
            extent = f"{min(each.times):.2f} to {max(each.times):.2f}"
        lines.append(
            f"| {each.fault} | {each.checked} | {each.verdict} | {len(each.times) or ''} "
            f"| {median} | {extent} |"
        )
    remarks = [
        f"- {each.fault}: {text}"
        for each in outcomes
        for text in (*dict.fromkeys(each.notes), *(f"FAILED: {text}" for text in each.problems))
    ]
    return "\n".join([*lines, *([""] if remarks else []), *remarks])
