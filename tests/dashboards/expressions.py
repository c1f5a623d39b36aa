"""Every expression of every panel, variable, annotation, rule and alert, as it is committed; and what a parser says.

The pure tests and those against a real Prometheus share it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import promql_parser as parser
import yaml

from dashboards.generate import DASHBOARDS

# What Grafana puts in: everything chosen, a scrape every few seconds.
FILLED = {"$__rate_interval": "1m", "$__range": "1h", "$source": ".*", "$trigger": ".*", "$esp": ".*", "$queue": ".*"}


class Expression(NamedTuple):
    where: str
    text: str

    @property
    def filled(self) -> str:
        return fill(self.text)


def fill(text: str) -> str:
    for variable, value in FILLED.items():
        text = text.replace(variable, value)
    return text


def boards() -> dict[str, Any]:
    return {
        file.stem: json.loads(file.read_text(encoding="utf-8"))
        for file in sorted((DASHBOARDS / "grafana").glob("*.json"))
    }


def panels(board: Any) -> Iterator[Any]:
    """All but the rows."""
    for panel in board["panels"]:
        if panel["type"] == "row":
            yield from panel.get("panels") or ()
        else:
            yield panel


def rules(folder: Path = DASHBOARDS / "prometheus") -> Iterator[Any]:
    for file in sorted(folder.glob("*.yml")):
        for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]:
            yield from group["rules"]


def of_panels() -> list[Expression]:
    found = []
    for uid, board in boards().items():
        for panel in panels(board):
            found += [Expression(f"{uid}: {panel['title']}", target["expr"]) for target in panel["targets"]]
        for one in board["annotations"]["list"]:
            if "expr" in one:
                found.append(Expression(f"{uid}: annotation {one['name']}", one["expr"]))
    return found


def of_rules() -> list[Expression]:
    return [Expression(rule.get("alert") or rule["record"], rule["expr"]) for rule in rules()]


def everything() -> list[Expression]:
    return [*of_panels(), *of_rules()]


def selectors(text: str) -> list[tuple[str, set[str]]]:
    """Each series that an expression reads: its name, and the labels it is matched by. ValueError: no PromQL."""
    found = []
    for node in _walk(parser.parse(fill(text))):
        if isinstance(node, parser.VectorSelector):
            found.append((str(node.name), {matcher.name for matcher in node.matchers.matchers}))
    return found


def grouped_by(text: str) -> set[str]:
    """The labels of all its `by (…)`."""
    found: set[str] = set()
    for group in re.findall(r"\bby \(([^)]*)\)", text):
        found |= {label.strip() for label in group.split(",")}
    return found


def bare_counters(text: str, counters: set[str]) -> list[str]:
    """Counters that are not under rate, increase or the like: their value says only how long a process runs."""
    found = []

    def look(node: Any, is_under: bool) -> None:
        if isinstance(node, parser.VectorSelector) and node.name in counters and not is_under:
            found.append(node.name)
        called = isinstance(node, parser.Call) and node.func.name in ("rate", "increase", "resets", "changes")
        for child in _children(node):
            look(child, is_under or called)

    look(parser.parse(fill(text)), False)
    return found


def _walk(node: Any) -> Iterator[Any]:
    yield node
    for child in _children(node):
        yield from _walk(child)


def _children(node: Any) -> list[Any]:
    if isinstance(node, parser.Call):
        return list(node.args)
    names = ("expr", "lhs", "rhs", "vs", "vector_selector", "param")
    return [getattr(node, name) for name in names if getattr(node, name, None) is not None]


def operands(text: str) -> list[str]:
    """What an alert compares: its parts without comparisons and set operations, since in health those yield nothing."""
    found: list[str] = []

    def look(node: Any) -> None:
        if isinstance(node, parser.ParenExpr):
            look(node.expr)
        elif isinstance(node, parser.BinaryExpr):
            if str(node.op) in (">", "<", "==", "!=", ">=", "<=", "and", "or", "unless", "/", "*", "-"):
                look(node.lhs)
                look(node.rhs)
        elif not isinstance(node, parser.NumberLiteral):
            found.append(node.prettify())

    look(parser.parse(fill(text)))
    return found
