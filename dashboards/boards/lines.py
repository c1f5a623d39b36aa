"""The board of log lines: those of one send, of one trace, and all that warn. Loki has them, so no metric is here.

`docker compose --profile logs` starts Loki, and Alloy, which names the labels; DataDog's form is beside it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from dashboards.boards.base import TAG, panel_id
from dashboards.colors import LEVELS
from dashboards.panels import COUNT


class Place(NamedTuple):
    """In Grafana's grid of 24 columns."""

    x: int
    y: int
    w: int


UID = "freshgate-lines"
TITLE = "Freshgate: log lines"
QUESTION = "What did the processes write about this send, this trace, or of late?"
# A text that no line has, so that an empty field shows nothing and not everything.
NO_ID = "paste an id"
DATA = {"type": "loki", "uid": "${logs}"}
# Title → what the panel answers, its query for Loki, and where it stands: all of them on one screen.
PANELS: Mapping[str, tuple[str, str, Place]] = {
    "Lines of the send": (
        "What happened to one send: paste its id, which `why` and the lists for operators show. A retry, a reply of "
        "the ESP and the outcome are a line each; a line leads to its trace.",
        '{service=~".+"} | send=`$send`',
        Place(x=0, y=6, w=12),
    ),
    "Lines of the trace": (
        "What the processes wrote within one trace: a click on a span leads here.",
        '{service=~".+"} | trace_id=`$trace`',
        Place(x=12, y=6, w=12),
    ),
    "Lines that warn": (
        "What went wrong of late, in whichever process.",
        '{service=~"$service", level=~"warning|error|critical"}',
        Place(x=0, y=16, w=24),
    ),
}
VOLUME = (
    "Lines by service and level",
    "Which process writes more than it did, and of which level?",
    'sum by (service, level) (count_over_time({service=~"$service"}[$__auto]))',
)


def to_json() -> str:
    """The committed form, as Grafana loads it."""
    return json.dumps(as_dict(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def as_dict() -> dict[str, Any]:
    return {
        "uid": UID,
        "title": TITLE,
        "description": QUESTION,
        "tags": [TAG],
        "editable": False,
        "schemaVersion": 41,
        "timezone": "utc",
        "refresh": "30s",
        "time": {"from": "now-24h", "to": "now"},
        "links": [
            {"title": "Boards", "type": "dashboards", "tags": [TAG], "asDropdown": True, "keepTime": True},
        ],
        "templating": {"list": _variables()},
        "panels": [_volume(), *_line_panels()],
    }


def _variables() -> list[dict[str, Any]]:
    all_services = {"text": "All", "value": "$__all"}
    return [
        {"name": "logs", "type": "datasource", "query": "loki", "label": "Logs"},
        *(
            {
                "name": name,
                "type": "textbox",
                "label": label,
                "query": NO_ID,
                "current": {"text": NO_ID, "value": NO_ID},
            }
            for name, label in (("send", "Send"), ("trace", "Trace"))
        ),
        {
            "name": "service",
            "type": "query",
            "label": "Service",
            "datasource": DATA,
            "query": {"label": "service", "stream": "", "type": 1},
            "refresh": 2,
            "multi": True,
            "includeAll": True,
            "allValue": ".+",
            "current": all_services,
        },
    ]


def _volume() -> dict[str, Any]:
    title, question, query = VOLUME
    return {
        "id": panel_id(title),
        "title": title,
        "description": question,
        "type": "timeseries",
        "datasource": DATA,
        "gridPos": {"h": 6, "w": 24, "x": 0, "y": 0},
        "targets": [_target(query, "{{service}} {{level}}")],
        "fieldConfig": {
            "defaults": {
                "unit": COUNT,
                "decimals": 0,
                "min": 0,
                "noValue": "No line: does a log reader run?",
                "custom": {"drawStyle": "bars", "fillOpacity": 60, "stacking": {"mode": "normal", "group": "A"}},
            },
            "overrides": [
                {
                    "matcher": {"id": "byRegexp", "options": f"/ {level}$/"},
                    "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": color}}],
                }
                for level, color in LEVELS.items()
            ],
        },
        "options": {"legend": {"displayMode": "list", "placement": "right", "showLegend": True}},
    }


def _line_panels() -> list[dict[str, Any]]:
    return [
        {
            "id": panel_id(title),
            "title": title,
            "description": question,
            "type": "logs",
            "datasource": DATA,
            "gridPos": {"h": 10, **place._asdict()},
            "targets": [_target(query, "")],
            "options": {
                "showTime": True,
                "enableLogDetails": True,
                "prettifyLogMessage": False,
                "sortOrder": "Ascending" if "$service" not in query else "Descending",
                "wrapLogMessage": True,
            },
        }
        for title, (question, query, place) in PANELS.items()
    ]


def _target(query: str, legend: str) -> dict[str, Any]:
    return {"refId": "A", "datasource": DATA, "expr": query, "legendFormat": legend, "queryType": "range"}
