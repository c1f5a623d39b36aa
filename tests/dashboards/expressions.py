"""Every committed expression of panels, annotations, rules and alerts, and what a parser finds in it.

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

from dashboards import objective, promql
from dashboards.generate import DASHBOARDS
from freshgate.telemetry import metrics

# What Grafana fills in when "All" is chosen and a scrape happens every few seconds.
VARIABLES = {
    "$__rate_interval": "1m",
    "$__interval_ms": "60000",
    "$__interval": "1m",
    "$__range": "1h",
    "$source": ".*",
    "$trigger": ".*",
    "$esp": ".*",
    "$queue": ".*",
    **{f"${label}": ".*" for label in promql.SCOPE},
}
# Labels that the reader's Prometheus adds to each series.
ADDED = {"job", "instance", "cluster", "namespace"}


class Expression(NamedTuple):
    where: str
    text: str

    @property
    def filled(self) -> str:
        return fill(self.text)


def fill(text: str) -> str:
    for variable, value in VARIABLES.items():
        text = text.replace(variable, value)
    return text


def boards() -> dict[str, Any]:
    return {
        file.stem: json.loads(file.read_text(encoding="utf-8"))
        for file in sorted((DASHBOARDS / "grafana").glob("*.json"))
    }


def panels(board: Any) -> Iterator[Any]:
    """All panels but the rows."""
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
    result = []
    for uid, board in boards().items():
        for panel in panels(board):
            result += [Expression(f"{uid}: {panel['title']}", target["expr"]) for target in panel["targets"]]
        for annotation in board["annotations"]["list"]:
            if "expr" in annotation:
                result.append(Expression(f"{uid}: annotation {annotation['name']}", annotation["expr"]))
    return result


def of_rules() -> list[Expression]:
    return [Expression(rule.get("alert") or rule["record"], rule["expr"]) for rule in rules()]


def all_expressions() -> list[Expression]:
    return [*of_panels(), *of_rules()]


def selectors(text: str) -> list[tuple[str, set[str]]]:
    """The series that an expression reads: name, and labels of its matchers. Raises ValueError if it is not PromQL."""
    series = []
    for node in _walk(parser.parse(fill(text))):
        if isinstance(node, parser.VectorSelector):
            series.append((str(node.name), {matcher.name for matcher in node.matchers.matchers}))
    return series


def grouped_by(text: str) -> set[str]:
    """The labels of all `by (…)` of an expression."""
    labels: set[str] = set()
    for group in re.findall(r"\bby \(([^)]*)\)", text):
        labels |= {label.strip() for label in group.split(",")}
    return labels


def known_series() -> dict[str, set[str]]:
    """Series → labels, of all metrics that we export, record, or get from elsewhere."""
    series: dict[str, set[str]] = {}
    for metric in [*exported_metrics(), *promql.FOREIGN, *objective.RECORDED]:
        name, labels = promql.name_of(metric), set(promql.labels_of(metric))
        series[name] = labels
        if name.endswith("_seconds") or getattr(metric, "_type", "") == "histogram":
            series |= {name + "_bucket": labels | {"le"}, name + "_sum": labels, name + "_count": labels}
    return series


def unknown_names(text: str) -> list[str]:
    """Series that nobody exports, and labels that they do not have."""
    series = known_series()
    result = []
    selected = selectors(text)
    for name, labels in selected:
        if name not in series:
            result.append(name)
        else:
            result += sorted(labels - series[name] - ADDED)
    grouped = grouped_by(text)
    if not result and selected:
        result += sorted(grouped - set().union(*(series[name] for name, _ in selected)) - ADDED)
    return result


def exported_metrics() -> list[Any]:
    """The metrics of freshgate/telemetry/metrics.py."""
    return [metric for metric in vars(metrics).values() if hasattr(metric, "describe") and not isinstance(metric, type)]


def bare_counters(text: str, counters: set[str]) -> list[str]:
    """Counters outside rate, increase or the like: their value only shows how long a process has run."""
    bare = []

    def visit(node: Any, is_under: bool) -> None:
        if isinstance(node, parser.VectorSelector) and node.name in counters and not is_under:
            bare.append(node.name)
        called = isinstance(node, parser.Call) and node.func.name in ("rate", "increase", "resets", "changes")
        for child in _children(node):
            visit(child, is_under or called)

    visit(parser.parse(fill(text)), False)
    return bare


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
    """The parts that an alert compares. The comparisons themselves have no result while all is well."""
    parts: list[str] = []

    def visit(node: Any) -> None:
        if isinstance(node, parser.ParenExpr):
            visit(node.expr)
        elif isinstance(node, parser.BinaryExpr):
            if str(node.op) in (">", "<", "==", "!=", ">=", "<=", "and", "or", "unless", "/", "*", "-"):
                visit(node.lhs)
                visit(node.rhs)
        elif not isinstance(node, parser.NumberLiteral):
            parts.append(node.prettify())

    visit(parser.parse(fill(text)))
    return parts
