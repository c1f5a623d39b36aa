"""The first panels of each board: does anything fire, does everything run, and can these figures be trusted?"""

from __future__ import annotations

from collections.abc import Sequence

from grafana_foundation_sdk.builders import common
from grafana_foundation_sdk.models import dashboard as model

from dashboards.boards.base import Panel
from dashboards.colors import RED, SEVERITIES
from dashboards.panels import COUNT, describe, green_above, number, numbers, red_above
from dashboards.promql import ALERTS, ALERTS_SINCE, FRESHGATE_JOBS, UP, lowest, missing, selector
from dashboards.tables import add_query, table_of
from freshgate.telemetry import metrics

# The labels that say whom an alert is about, in one column: of many columns the last would be out of sight.
CULPRIT = "culprit"
OF = (
    *("trigger", "source", "esp", "queue", "process", "job", "instance"),
    *("integration", "rule_group", "window", "status", "limit"),
)
# Beside the Watchdog that does not fire.
BLIND = "missing: rules loaded?"
FIRING = selector(ALERTS, alertstate="firing", service="freshgate", severity="!none")


def verdict() -> Sequence[Panel]:
    """Two panels, 12 of the 24 columns."""
    watchdog = selector(ALERTS, alertname="Watchdog", alertstate="firing")
    return [
        number(
            "Alerts",
            describe(
                "Does anything fire? Watchdog always fires, and is left out; without it nobody evaluates the alerts.",
                "open the board *event to email*: its table links the runbook of each.",
            ),
            COUNT,
            f"count({FIRING}) or 0 * count({watchdog})",
            limits=red_above(1),
            when_empty="no data: rules not loaded?",
        ),
        numbers(
            "Processes up",
            describe(
                "Which of our processes can Prometheus scrape? And does Redis answer the timers?",
                "follow the runbook ScrapeDown, or RedisDown.",
            ),
            COUNT,
            [
                (
                    # 0 for those that are found no more: without it the others, all green, would stand there alone.
                    f"sum by (job) ({selector(UP, job=FRESHGATE_JOBS)})"
                    f" or 0 * ({missing('$__range', job=FRESHGATE_JOBS)})",
                    "{{job}}",
                ),
                (lowest(metrics.REDIS_UP), "redis"),
            ],
            limits=green_above(1),
            width=8,
            when_empty="no data: nothing is scraped",
        ),
    ]


def alerts_table() -> Panel:
    """The alerts that fire, with their runbooks."""
    names = {"alertname": "Alert", "severity": "Severity", "Value": "For", CULPRIT: "Of"}
    panel = table_of(
        "Alerts that fire",
        describe(
            "What is wrong right now? The name opens the runbook.",
            "follow the runbook of the page that is not silenced by another: the cause, not its effects.",
        ),
        names,
        width=12,
        height=8,
        when_empty="No alert fires.",
        hidden=("slo", "cluster", "namespace", "alertstate", *OF),
    )
    runbook = {"title": "Runbook", "url": "${runbooks}/${__value.text}.md", "targetBlank": True}
    panel.override_by_name("Alert", [model.DynamicConfigValue("links", [runbook])])
    panel.override_by_name("For", [model.DynamicConfigValue("unit", "s"), model.DynamicConfigValue("decimals", 0)])
    for column, width in (("Alert", 150), ("Severity", 100), ("For", 80)):
        panel.override_by_name(column, [model.DynamicConfigValue("custom.width", width)])
    colored = [
        {"type": "value", "options": {name: {"color": color, "index": number}}}
        for number, (name, color) in enumerate({**SEVERITIES, BLIND: RED}.items())
    ]
    panel.override_by_name(
        "Severity",
        [
            model.DynamicConfigValue("mappings", colored),
            model.DynamicConfigValue("custom.cellOptions", {"type": "color-text"}),
        ],
    )
    # Else the words for an empty table stand in each empty cell.
    panel.override_by_field_type("string", [model.DynamicConfigValue("noValue", " ")])
    since = selector(ALERTS_SINCE, service="freshgate", severity="!none")
    watchdog = selector(ALERTS, alertname="Watchdog", alertstate="firing")
    # Where nobody evaluates the alerts, an empty table would say that none fires.
    blind = f'label_replace(0 * absent({watchdog}), "severity", "{BLIND}", "", "")'
    firing = f"time() - {since} and ignoring (alertstate) {FIRING} or {blind}"
    labels = ", ".join(f'"{label}"' for label in OF)
    # Labels that an alert has not leave spaces, which Grafana would read as the number 0.
    joined = f'label_join({firing}, "{CULPRIT}", " ", {labels})'
    add_query(panel, f'label_replace({joined}, "{CULPRIT}", "$1", "{CULPRIT}", " *(.*?) *")')
    # "page" before "ticket".
    panel.sort_by([common.TableSortByFieldState().display_name("Severity")])
    return panel
