"""One row of the table: what ours takes, what the other side of the pair takes, their ratio, and the goal.

The measurements make rows; `__main__.py` prints them and writes them as JSON.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median
from typing import Literal, NamedTuple

import msgspec


class Goal(msgspec.Struct, frozen=True):
    """A bound on the ratio, or on our own figure where there is nothing to compare with."""

    of: Literal["ratio", "ours"]
    sense: Literal["at least", "at most"]
    bound: float

    def reached(self, row: Row) -> bool:
        figure = row.ratio if self.of == "ratio" else row.ours
        if figure is None:
            return False
        return figure >= self.bound if self.sense == "at least" else figure <= self.bound


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """`ratio` is the median of the ratios of pairs measured one after the other; `spread` their least and greatest."""

    part: str
    name: str
    unit: str
    ours: float
    against: float | None = None
    against_what: str = ""
    ratio: float | None = None
    spread: tuple[float, float] | None = None
    goal: Goal | None = None


class Effort(NamedTuple):
    """How long a run may take."""

    quick: bool

    def of(self, full: int, quick: int) -> int:
        return quick if self.quick else full


def paired(
    part: str,
    name: str,
    unit: str,
    pairs: Sequence[tuple[float, float]],
    against_what: str,
    goal: Goal | None = None,
) -> Row:
    """A row of (ours, theirs) rounds."""
    ratios = [ours / theirs for ours, theirs in pairs]
    return Row(
        part=part,
        name=name,
        unit=unit,
        ours=median(ours for ours, _ in pairs),
        against=median(theirs for _, theirs in pairs),
        against_what=against_what,
        ratio=median(ratios),
        spread=(min(ratios), max(ratios)),
        goal=goal,
    )


def percentile(values: Iterable[float], share: float) -> float:
    """The smallest value that at least this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -int(-len(ordered) * share // 1) - 1)]


HEADS = ("row", "ours", "against", "", "ratio", "spread", "goal", "reached")


def table(rows: Sequence[Row]) -> str:
    """All rows, one line each."""
    lines = [HEADS, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADS))]
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    texts = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([texts[0], rule, *texts[1:]])


def _cells(row: Row) -> tuple[str, ...]:
    goal = row.goal
    return (
        f"{row.part}: {row.name}",
        f"{number(row.ours)} {row.unit}",
        "" if row.against is None else number(row.against),
        row.against_what,
        "" if row.ratio is None else number(row.ratio),
        "" if row.spread is None else f"{number(row.spread[0])} to {number(row.spread[1])}",
        "" if goal is None else f"{goal.sense} {goal.bound:g}" + (" x" if goal.of == "ratio" else f" {row.unit}"),
        "" if goal is None else ("yes" if goal.reached(row) else "NO"),
    )


def number(value: float) -> str:
    """Three significant digits, and no more digits after the point than they need."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
