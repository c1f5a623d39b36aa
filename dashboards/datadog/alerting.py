"""Our alerts → DataDog's monitors, with the same conditions, windows, texts and severities.

An alert of several conditions becomes a composite monitor over one monitor each; `install.py` fills in their ids.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import promql_parser as parser

from dashboards.alerts import ALERTS
from dashboards.alerts.base import Alert
from dashboards.datadog.translate import TAGS, NotTranslatable, Translation, parse, translate
from dashboards.datadog.widgets import HEALTH_CHECK
from dashboards.promql import FRESHGATE_JOBS, missing

# Alert → why DataDog needs no monitor for it.
OMITTED = dict.fromkeys(
    ("Watchdog", "MonitoringDown", "NotificationsFail", "RulesFail"),
    "it watches over Prometheus and Alertmanager; DataDog watches over itself",
)
# Of an alert with several rules, what DataDog cannot say: that a check is no longer scheduled on any host.
OMITTED_RULES = (missing("1d", job=FRESHGATE_JOBS),)
PRIORITIES = {"page": 1, "ticket": 4}
# A gauge is watched over the alert's pending time, and at least over one interval of the Agent.
MIN_WINDOW = "1m"
BY = re.compile(r" by \([^)]*\)")
# PromQL's comparisons → DataDog's, which has no equality; our gauges of health are never below 0.
COMPARISONS = {">": ">", "<": "<", "==": "<="}


@dataclass(frozen=True)
class Condition:
    """One comparison of an alert. value: the query on the left of the comparison. by: the tags it is grouped by."""

    value: str
    comparison: str
    limit: float
    by: tuple[str, ...]

    @property
    def query(self) -> str:
        return f"{self.value} {self.comparison} {self.limit:g}"


def build_all_monitors() -> dict[str, list[dict[str, Any]]]:
    """Alert → its monitors as DataDog's API takes them, the parts first. `{{id:NAME}}` stands for a monitor's id."""
    monitors: dict[str, list[dict[str, Any]]] = {}
    for group in ALERTS.values():
        for alert in group:
            if alert.name not in OMITTED and alert.expr not in OMITTED_RULES:
                same_name = monitors.setdefault(alert.name, [])
                part_prefix = f"Freshgate: {alert.name} part"
                same_name += build_monitors(
                    alert, sum(monitor["name"].startswith(part_prefix) for monitor in same_name)
                )
    return monitors


def build_monitors(alert: Alert, parts_before: int = 0) -> list[dict[str, Any]]:
    """The monitors of one alert. parts_before: how many parts its name has already. Raises NotTranslatable."""
    node = parse(alert.expr)
    if isinstance(node, parser.Call) and node.func.name == "absent":
        value = translate(parse(f"max({node.args[0].prettify()})")).inline()
        # The value is never below 0: missing data is what notifies.
        query = f"min(last_5m):{value} < 0"
        return [_monitor(alert, query, thresholds={"critical": 0}, on_missing_data="show_and_notify_no_data")]
    if isinstance(node, parser.BinaryExpr) and getattr(node.lhs, "name", "") == "up":
        query = f'"{HEALTH_CHECK}".over("*").by("host","process").last(4).count_by_status()'
        return [_monitor(alert, query, monitor_type="service check", thresholds={"critical": 3, "ok": 1})]
    conditions: list[Condition] = []
    formula = _collect_conditions(node, alert.pending, conditions)
    if len(conditions) == 1:
        return [_monitor(alert, conditions[0].query, thresholds={"critical": conditions[0].limit})]
    first = parts_before + 1
    names = [f"{alert.name} part {number}" for number in range(first, first + len(conditions))]
    parts = [_part(name, alert, condition) for name, condition in zip(names, conditions, strict=True)]
    query = re.sub(r"#(\d+)", lambda match: f"{{{{id:{names[int(match[1])]}}}}}", formula)
    return [*parts, _monitor(alert, query, monitor_type="composite")]


def _collect_conditions(node: Any, pending: str, conditions: list[Condition]) -> str:
    """Appends the conditions of the expression, and returns how they are joined, such as `#0 && !#1`."""
    if isinstance(node, parser.ParenExpr):
        return _collect_conditions(node.expr, pending, conditions)
    op = str(node.op) if isinstance(node, parser.BinaryExpr) else ""
    joins = {"and": "{} && {}", "or": "{} || {}", "unless": "{} && !{}"}
    if op in joins:
        first = _collect_conditions(node.lhs, pending, conditions)
        second = _collect_conditions(_side_of_whole(node) if _is_on_nothing(node) else node.rhs, pending, conditions)
        return joins[op].format(first, f"({second})" if op == "unless" and " " in second else second)
    if op not in COMPARISONS:
        raise NotTranslatable(f"not a condition: {node.prettify()}")
    numbers = []
    for comparison in (node, *_guards(node)):
        numbers.append(len(conditions))
        conditions.append(_condition(comparison, pending))
    return " && ".join(f"#{number}" for number in numbers)


def _is_on_nothing(node: Any) -> bool:
    return bool(node.modifier and node.modifier.matching and not node.modifier.matching.labels)


def _side_of_whole(node: Any) -> Any:
    """The right side of `a unless on () b`, over all that it groups by: DataDog joins no monitors of different tags."""
    return parse(BY.sub("", node.rhs.prettify()))


def _condition(node: Any, pending: str) -> Condition:
    op = str(node.op)
    if not isinstance(node.rhs, parser.NumberLiteral):
        # now < 0.1 * (week_ago > 20) becomes: the difference is below 0.
        now, week_ago = translate(node.lhs, guarded=True), translate(node.rhs, guarded=True)
        both = Translation("", [*now.queries, *week_ago.queries], now.by, True, now.window_s)
        return _over_window(f"{now.inline()} - ({week_ago.inline()})", both, op, 0, pending)
    translation = translate(node.lhs, guarded=True)
    return _over_window(translation.inline(), translation, op, node.rhs.val, pending)


def _over_window(value: str, translation: Translation, op: str, limit: float, pending: str) -> Condition:
    """A counter is summed over its own window; a gauge must hold during the whole pending time.

    Of a gauge that falls to 0 for seconds, the largest value counts: the other conditions hold for the pending time.
    """
    if translation.recent_s and op == ">":
        window = f"max(last_{_window(max(translation.recent_s, _seconds(pending)))})"
    elif translation.counts:
        window = f"sum(last_{_window(translation.window_s)})"
    else:
        window = f"{'min' if op == '>' else 'max'}(last_{pending if pending != '0s' else MIN_WINDOW})"
    return Condition(f"{window}:{value}", COMPARISONS[op], limit, translation.by)


def _guards(node: Any) -> list[Any]:
    """Conditions inside a formula: `a / (b > 20)` also asks for more than 20 of b."""
    guards: list[Any] = []

    def visit(inner: Any) -> None:
        if isinstance(inner, parser.BinaryExpr):
            limit = inner.rhs.val if isinstance(inner.rhs, parser.NumberLiteral) else 0
            if str(inner.op) == ">" and inner is not node and limit > 0:
                guards.append(inner)
            visit(inner.lhs)
            visit(inner.rhs)
        elif isinstance(inner, parser.ParenExpr):
            visit(inner.expr)

    visit(node)
    return guards


def _window(seconds: int) -> str:
    """As DataDog's API takes it: minutes, or 1 to 168 hours; of days only one."""
    for size, letter, limit in ((3600, "h", 168), (60, "m", 10_080)):
        if seconds and seconds % size == 0 and seconds // size <= limit:
            return f"{seconds // size}{letter}"
    raise NotTranslatable(f"a window of {seconds} s")


def _seconds(duration: str) -> int:
    """Of Prometheus' durations that our alerts use: `10m`."""
    return int(duration[:-1]) * {"s": 1, "m": 60, "h": 3600}[duration[-1]]


def _part(name: str, alert: Alert, condition: Condition) -> dict[str, Any]:
    """The monitor of one condition. It has no severity, so that it notifies nobody."""
    return {
        "name": f"Freshgate: {name}",
        "type": "query alert",
        "query": condition.query,
        "message": f"One condition of {alert.name}. It notifies nobody.",
        "tags": ["service:freshgate", f"part_of:{alert.name}"],
        "options": _options({"critical": condition.limit}),
    }


def _monitor(
    alert: Alert,
    query: str,
    *,
    monitor_type: str = "query alert",
    thresholds: dict[str, float] | None = None,
    on_missing_data: str = "",
) -> dict[str, Any]:
    missing = {"on_missing_data": on_missing_data} if on_missing_data else {}
    window = f" {alert.labels['window']}" if "window" in alert.labels else ""
    return {
        "name": f"Freshgate: {alert.name}{window}",
        "type": monitor_type,
        "query": query,
        "message": f"{_summary(alert.summary, monitor_type)}\n\nWhat to do: dashboards/runbooks/{alert.name}.md",
        "tags": ["service:freshgate", f"severity:{alert.severity}", f"alert:{alert.name}"],
        "priority": PRIORITIES[alert.severity],
        "options": _options(thresholds, **missing),
    }


def _options(thresholds: dict[str, float] | None, **more: Any) -> dict[str, Any]:
    options: dict[str, Any] = {"include_tags": True, "notify_audit": False, "renotify_interval": 0, **more}
    # A window is evaluated even if it began before the first value: silence does not prove health.
    return {**options, "require_full_window": False, **({"thresholds": thresholds} if thresholds else {})}


def _summary(text: str, monitor_type: str) -> str:
    """`{{ $labels.job }}` → `{{process.name}}`; `{{ $value | … }}` → `{{value}}` (composite: its first part's)."""
    text = text.replace("Prometheus cannot", "The Agent cannot")
    text = re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda label: f"{{{{{TAGS.get(label[1], label[1])}.name}}}}", text)
    value = "{{a.value}}" if monitor_type == "composite" else "{{value}}"
    return re.sub(r"\{\{ \$value[^}]*\}\}", value, text)
