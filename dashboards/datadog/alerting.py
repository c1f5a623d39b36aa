"""Our alerts → DataDog's monitors: the same conditions, windows, words and severities.

A condition of several parts is a composite monitor over one monitor each; `install.py` puts in their numbers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import promql_parser as parser

from dashboards.alert_builders import Alert
from dashboards.alerts import ALERTS
from dashboards.datadog.translate import NotTranslatable, Translated, parse, translate
from dashboards.datadog.widgets import HEALTH_CHECK

# Alert → why DataDog needs no monitor for it.
OMITTED = {"Watchdog": "it shows that Prometheus and Alertmanager work; DataDog watches over itself"}
PRIORITIES = {"page": 1, "ticket": 4}
# A gauge must be so for as long as the alert waits, and at least for one reading of the Agent.
SHORTEST = "1m"
SAME = {">": ">", "<": "<", "==": "<="}


@dataclass(frozen=True)
class Part:
    """One monitor of one condition. asked: the text without `>` and its number."""

    asked: str
    op: str
    limit: float
    by: tuple[str, ...]

    @property
    def query(self) -> str:
        return f"{self.asked} {self.op} {self.limit:g}"


def monitors() -> dict[str, list[dict[str, Any]]]:
    """Alert → its monitors as DataDog's API takes them, the parts first. `{{id:NAME}}` is the number of another."""
    told: dict[str, list[dict[str, Any]]] = {}
    for alerts in ALERTS.values():
        for alert in alerts:
            if alert.name not in OMITTED:
                of_name = told.setdefault(alert.name, [])
                of_name += of_alert(
                    alert, sum(one["name"].startswith(f"Freshgate: {alert.name} part") for one in of_name)
                )
    return told


def of_alert(alert: Alert, before: int = 0) -> list[dict[str, Any]]:
    """before: how many parts of that name there are. Raises NotTranslatable."""
    node = parse(alert.expr)
    if isinstance(node, parser.Call) and node.func.name == "absent":
        selector = node.args[0].prettify()
        asked = translate(parse(f"max({selector})")).inline()
        # Never below 0: it is the missing data that tells.
        query = f"min(last_5m):{asked} < 0"
        return [_monitor(alert, query, thresholds={"critical": 0}, on_missing_data="show_and_notify_no_data")]
    if isinstance(node, parser.BinaryExpr) and getattr(node.lhs, "name", "") == "up":
        query = f'"{HEALTH_CHECK}".over("*").by("host","process").last(4).count_by_status()'
        return [_monitor(alert, query, kind="service check", thresholds={"critical": 3, "ok": 1})]
    parts: list[Part] = []
    joined = _joined(node, alert.lasts, parts)
    if len(parts) == 1:
        return [_monitor(alert, parts[0].query, thresholds={"critical": parts[0].limit})]
    names = [f"{alert.name} part {number}" for number in range(before + 1, before + len(parts) + 1)]
    made = [_part(name, alert, part) for name, part in zip(names, parts, strict=True)]
    query = re.sub(r"#(\d+)", lambda match: f"{{{{id:{names[int(match[1])]}}}}}", joined)
    return [*made, _monitor(alert, query, kind="composite")]


def _joined(node: Any, lasts: str, parts: list[Part]) -> str:
    """The parts of a condition, as `#0 && !#1`."""
    if isinstance(node, parser.ParenExpr):
        return _joined(node.expr, lasts, parts)
    op = str(node.op) if isinstance(node, parser.BinaryExpr) else ""
    joins = {"and": "{} && {}", "or": "{} || {}", "unless": "{} && !{}"}
    if op in joins:
        return joins[op].format(_joined(node.lhs, lasts, parts), _joined(node.rhs, lasts, parts))
    if op not in SAME:
        raise NotTranslatable(f"no condition: {node.prettify()}")
    numbers = [len(parts)]
    parts.append(_condition(node, lasts))
    for guard in _guards(node):
        numbers.append(len(parts))
        parts.append(_condition(guard, lasts))
    return " && ".join(f"#{number}" for number in numbers)


def _condition(node: Any, lasts: str) -> Part:
    op = str(node.op)
    if not isinstance(node.rhs, parser.NumberLiteral):
        # now < 0.1 * (then > 20): the difference is below 0.
        now, then = translate(node.lhs, guarded=True), translate(node.rhs, guarded=True)
        told = Translated("", [*now.queries, *then.queries], now.by, True, now.window_s)
        return _part_of(f"{now.inline()} - ({then.inline()})", told, op, 0, lasts)
    told = translate(node.lhs, guarded=True)
    return _part_of(told.inline(), told, op, node.rhs.val, lasts)


def _part_of(asked: str, told: Translated, op: str, limit: float, lasts: str) -> Part:
    if told.counts:
        return Part(f"sum(last_{_window(told.window_s)}):{asked}", SAME[op], limit, told.by)
    whole_time = "min" if op == ">" else "max"
    return Part(f"{whole_time}(last_{lasts if lasts != '0s' else SHORTEST}):{asked}", SAME[op], limit, told.by)


def _guards(node: Any) -> list[Any]:
    """Conditions inside of a formula: `a / (b > 20)` asks for more than 20 of b, too."""
    found: list[Any] = []

    def look(inner: Any) -> None:
        if isinstance(inner, parser.BinaryExpr):
            limit = inner.rhs.val if isinstance(inner.rhs, parser.NumberLiteral) else 0
            if str(inner.op) == ">" and inner is not node and limit > 0:
                found.append(inner)
            look(inner.lhs)
            look(inner.rhs)
        elif isinstance(inner, parser.ParenExpr):
            look(inner.expr)

    look(node)
    return found


def _window(seconds: int) -> str:
    for size, letter in ((86_400, "d"), (3600, "h"), (60, "m")):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{letter}"
    raise NotTranslatable(f"a window of {seconds} s")


def _part(name: str, alert: Alert, part: Part) -> dict[str, Any]:
    """Without a severity, so that nobody is told of a part."""
    return {
        "name": f"Freshgate: {name}",
        "type": "query alert",
        "query": part.query,
        "message": f"A part of {alert.name}; tells nobody.",
        "tags": ["service:freshgate", f"part_of:{alert.name}"],
        "options": _options({"critical": part.limit}),
    }


def _monitor(
    alert: Alert,
    query: str,
    *,
    kind: str = "query alert",
    thresholds: dict[str, float] | None = None,
    on_missing_data: str = "",
) -> dict[str, Any]:
    missing = {"on_missing_data": on_missing_data} if on_missing_data else {}
    window = f" {alert.labels['window']}" if "window" in alert.labels else ""
    return {
        "name": f"Freshgate: {alert.name}{window}",
        "type": kind,
        "query": query,
        "message": f"{_summary(alert.summary, kind)}\n\nWhat to do: dashboards/runbooks/{alert.name}.md",
        "tags": ["service:freshgate", f"severity:{alert.severity}", f"alert:{alert.name}"],
        "priority": PRIORITIES[alert.severity],
        "options": _options(thresholds, **missing),
    }


def _options(thresholds: dict[str, float] | None, **more: Any) -> dict[str, Any]:
    told: dict[str, Any] = {"include_tags": True, "notify_audit": False, "renotify_interval": 0, **more}
    # A window that began before the first value is evaluated all the same: silence is no health.
    return {**told, "require_full_window": False, **({"thresholds": thresholds} if thresholds else {})}


def _summary(text: str, kind: str) -> str:
    """`{{ $labels.trigger }}` → `{{trigger.name}}`; `{{ $value | … }}` → `{{value}}`, of a composite the first's."""
    text = re.sub(r"\{\{ \$labels\.(\w+) \}\}", r"{{\1.name}}", text)
    value = "{{a.value}}" if kind == "composite" else "{{value}}"
    text = text.replace("{{job.name}} at {{instance.name}}", "{{process.name}} on {{host.name}}")
    return re.sub(r"\{\{ \$value[^}]*\}\}", value, text)
