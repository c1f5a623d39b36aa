"""One row of the table: Freshgate's figure, that of a simpler program in the same run, their ratio, and the goal.

The parts measure rows; `__main__.py` prints them and writes them as JSON.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Literal, NamedTuple

import msgspec


class Goal(msgspec.Struct, frozen=True):
    """A bound on the ratio, or on the value where there is nothing to compare with."""

    of: Literal["ratio", "value"]
    sense: Literal["at least", "at most"]
    bound: float

    def reached(self, row: Row) -> bool:
        figure = row.ratio if self.of == "ratio" else row.value
        if figure is None:
            return False
        return figure >= self.bound if self.sense == "at least" else figure <= self.bound


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One figure and what it is compared with.

    value           Freshgate's figure, the median of its rounds; NaN where the machine lacks what it needs
    reference       the same of the program that `reference_name` names
    ratio, spread   median, smallest and largest ratio of the rounds, of which each measured both one after the other
    """

    part: str
    name: str
    unit: str
    value: float
    reference: float | None = None
    reference_name: str = ""
    ratio: float | None = None
    spread: tuple[float, float] | None = None
    goal: Goal | None = None


class Effort(NamedTuple):
    """How thorough a run is: each part scales its rounds by it."""

    quick: bool

    def of(self, full: int, quick: int) -> int:
        return quick if self.quick else full


def paired(
    part: str,
    name: str,
    unit: str,
    pairs: Sequence[tuple[float, float]],
    reference_name: str,
    goal: Goal | None = None,
) -> Row:
    """The row of rounds (value, reference)."""
    ratios = [value / reference for value, reference in pairs]
    return Row(
        part=part,
        name=name,
        unit=unit,
        value=median(value for value, _ in pairs),
        reference=median(reference for _, reference in pairs),
        reference_name=reference_name,
        ratio=median(ratios),
        spread=(min(ratios), max(ratios)),
        goal=goal,
    )


def percentile(values: Iterable[float], share: float) -> float:
    """The smallest value that at least this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -int(-len(ordered) * share // 1) - 1)]


HEADERS = ("measured", "Freshgate", "compared with", "", "ratio", "spread", "goal", "reached")


def table(rows: Sequence[Row]) -> str:
    """All rows, one line each."""
    lines = [HEADERS, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADERS))]
    rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
    texts = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([texts[0], rule, *texts[1:]])


def _cells(row: Row) -> tuple[str, ...]:
    goal = row.goal
    return (
        f"{row.part}: {row.name}",
        f"{number(row.value)} {row.unit}",
        "" if row.reference is None else number(row.reference),
        row.reference_name,
        "" if row.ratio is None else number(row.ratio),
        "" if row.spread is None else f"{number(row.spread[0])} to {number(row.spread[1])}",
        "" if goal is None else f"{goal.sense} {goal.bound:g}" + (" x" if goal.of == "ratio" else f" {row.unit}"),
        "" if goal is None else ("yes" if goal.reached(row) else "NO"),
    )


def number(value: float) -> str:
    """Three significant digits, and no more digits after the point than they need."""
    if math.isnan(value):
        return "not measured"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
