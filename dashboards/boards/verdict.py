"""The first panels of each board: does anything fire, does everything run, and can these figures be trusted?"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml
from grafana_foundation_sdk.builders import common
from grafana_foundation_sdk.models import dashboard as model

from dashboards.boards.base import Panel
from dashboards.colors import RED, SEVERITIES
from dashboards.links import board_link
from dashboards.objective import waiting_late
from dashboards.panels import COUNT, NO_POLLS, describe, green_above, number, numbers, red_above, yellow_above
from dashboards.promql import (
    ALERTS,
    ALERTS_SINCE,
    CULPRITS,
    FRESHGATE_JOBS,
    UP,
    highest,
    lowest,
    missing,
    selector,
)
from dashboards.tables import add_query, table_of
from freshgate.telemetry import metrics

DASHBOARDS = Path(__file__).parents[1]
# All of `CULPRITS` in one column: of many columns the last would be out of sight.
CULPRIT = "culprit"
# Beside the Watchdog that does not fire.
BLIND = "missing: rules loaded?"
FIRING = selector(ALERTS, alertstate="firing", service="freshgate", severity="!none")


def verdict() -> Sequence[Panel]:
    """Three panels, 12 of the 24 columns."""
    watchdog = selector(ALERTS, alertname="Watchdog", alertstate="firing")
    return [
        number(
            "Alerts",
            describe(
                "Does anything fire? Watchdog always fires, and is left out; without it nobody evaluates the alerts.",
                "click on it: the table of the board *event to email* links the runbook of each.",
            ),
            COUNT,
            f"count(count by (alertname, {', '.join(CULPRITS)}) ({FIRING})) or 0 * count({watchdog})",
            limits=red_above(1),
            width=3,
            when_empty="no data: rules not loaded?",
        ).data_links([board_link("Alerts that fire, and their runbooks", "freshgate-event-to-email")]),
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
            width=5,
            when_empty="no data: nothing is scraped",
        ),
        _after_a_gap(),
    ]


def _after_a_gap() -> Panel:
    """Without it, nothing would say why mails stop for some minutes while all is well."""
    remaining = "left"
    panel = numbers(
        "After a gap",
        describe(
            "Do mails wait since events were refused, or since a receiver started? Those with a delay settle once "
            "more, for what withdraws them may come again: how many mails, and for how long yet?",
            "never. It is yellow until they leave, by themselves. If it begins anew again and again, see *Restarts* "
            "and *5xx answers*: runbooks CrashLoop and ReceiverFailing.",
        ),
        COUNT,
        [(highest(metrics.GAP_MAILS), "mails"), (highest(metrics.GAP_WAIT), remaining)],
        limits=yellow_above(1),
        width=4,
        when_empty=NO_POLLS,
    )
    return panel.override_by_name(
        remaining, [model.DynamicConfigValue("unit", "s"), model.DynamicConfigValue("decimals", 0)]
    )


def sends_late() -> Panel:
    """Of all triggers and accounts."""
    return number(
        "Sends late",
        describe(
            "How many sends had been due for more than 5 s and had not ended, at most within two minutes?",
            "find out who does not take them: *Workers by state*, *Overdue timers*, and the ESP's response time.",
        ),
        COUNT,
        waiting_late(),
        # As for the alert EspFailing.
        limits=red_above(10, yellow=1),
        when_empty=NO_POLLS,
    )


def alerts_table() -> Panel:
    """The alerts that fire, with their runbooks."""
    names = {"alertname": "Alert", "severity": "Severity", "Value": "For", CULPRIT: "Of"}
    panel = table_of(
        "Alerts that fire",
        describe(
            "What is wrong right now? The name opens the runbook. `silenced`: the effect of another alert of the "
            "table, which Alertmanager sends in its place.",
            "follow the runbook of the page on top.",
        ),
        names,
        width=12,
        height=8,
        when_empty="No alert fires.",
        hidden=CULPRITS,
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
    since = (
        f"time() - {selector(ALERTS_SINCE, service='freshgate', severity='!none')} and ignoring (alertstate) {FIRING}"
    )
    silenced = " or ".join(_silenced())
    by_severity = (
        f'(label_replace({since} and ignoring (alertstate) ({silenced}), "severity", "silenced", "", "") or '
        f"({since} unless ignoring (alertstate) ({silenced})))"
    )
    # An objective's alert fires for several windows: one row of them is enough.
    labels = ("alertname", "severity", *CULPRITS)
    watchdog = selector(ALERTS, alertname="Watchdog", alertstate="firing")
    # Where nobody evaluates the alerts, an empty table would say that none fires.
    blind = f'label_replace(0 * absent({watchdog}), "severity", "{BLIND}", "", "")'
    firing = f"max by ({', '.join(labels)}) {by_severity} or {blind}"
    quoted = ", ".join(f'"{label}"' for label in CULPRITS)
    # Labels that an alert has not leave spaces, which Grafana would read as the number 0.
    joined = f'label_join({firing}, "{CULPRIT}", " ", {quoted})'
    add_query(panel, f'label_replace({joined}, "{CULPRIT}", "$1", "{CULPRIT}", " *(.*?) *")')
    # "page" before "silenced" before "ticket".
    panel.sort_by([common.TableSortByFieldState().display_name("Severity")])
    return panel


def _silenced() -> Iterator[str]:
    """For each inhibition of Alertmanager, the alerts that it keeps silent now."""
    config = yaml.safe_load((DASHBOARDS / "alertmanager" / "alertmanager.yml").read_text(encoding="utf-8"))
    for rule in config["inhibit_rules"]:
        target, source = (_alerts(rule[f"{side}_matchers"]) for side in ("target", "source"))
        yield f"{target} and on ({', '.join(rule['equal'])}) {source}"


def _alerts(matchers: Sequence[str]) -> str:
    """The firing alerts that match, in Alertmanager's notation: `alertname =~ "A|B"`."""
    parsed = [re.fullmatch(r'(\w+) (=~|!~|!=|=) "?([^"]*)"?', matcher) for matcher in matchers]
    written = [f'{parts[1]}{parts[2]}"{parts[3]}"' for parts in parsed if parts]
    assert len(written) == len(matchers)
    return f'{ALERTS.name}{{alertstate="firing",{",".join(written)}}}'
