"""Log lines for DataDog: the Agent's file, the pipeline that reads our JSON, and the board of a send's lines."""

from __future__ import annotations

from typing import Any

from dashboards.boards import lines

SOURCE = "freshgate"
# Field of our lines → what it is for DataDog (docs.datadoghq.com/logs/log_configuration/processors).
REMAPPED = {
    "ts": "date-remapper",
    "level": "status-remapper",
    "event": "message-remapper",
    "trace_id": "trace-id-remapper",
    "span_id": "span-id-remapper",
}
# The same facts as the panels of Grafana, in DataDog's search.
SEARCHES = {
    "Lines of the send": f"source:{SOURCE} $send",
    "Lines of the trace": f"source:{SOURCE} $trace",
    "Lines that warn": f"source:{SOURCE} status:(warn OR error OR critical)",
}
# Variable → the field that it searches. A text that no line has shows nothing, and not everything.
VARIABLES = {"send": "@send", "trace": "@trace_id"}


def build_agent_configuration() -> dict[str, Any]:
    """What the Agent reads on the machine of `make run`; in Docker a label of the containers says the same."""
    return {"logs": [{"type": "file", "path": "/CHECKOUT/var/log/*.log", "service": SOURCE, "source": SOURCE}]}


def build_pipeline() -> dict[str, Any]:
    """As `POST /api/v1/logs/config/pipelines` takes it."""
    return {
        "name": "Freshgate",
        "is_enabled": True,
        "filter": {"query": f"source:{SOURCE}"},
        "processors": [
            {"type": kind, "name": f"{field} of our lines", "is_enabled": True, "sources": [field]}
            for field, kind in REMAPPED.items()
        ],
    }


def build_board() -> dict[str, Any]:
    return {
        "title": lines.TITLE,
        "description": lines.QUESTION,
        "layout_type": "ordered",
        "reflow_type": "auto",
        "template_variables": [
            {"name": name, "prefix": field, "defaults": [lines.NO_ID.replace(" ", "-")]}
            for name, field in VARIABLES.items()
        ],
        "widgets": [{"definition": _widget(title)} for title in lines.PANELS],
    }


def _widget(title: str) -> dict[str, Any]:
    return {
        "title": title,
        "type": "list_stream",
        "requests": [
            {
                "response_format": "event_list",
                "query": {"data_source": "logs_stream", "query_string": SEARCHES[title], "indexes": []},
                "columns": [
                    {"field": "status_line", "width": "auto"},
                    {"field": "timestamp", "width": "auto"},
                    {"field": "content", "width": "full"},
                ],
            }
        ],
    }
