"""Our Grafana boards → DataDog's dashboards, with the same rows, panels, texts, limits and variables.

`translate.py` translates the queries. OMITTED lists the panels that DataDog has no query for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dashboards.boards import BOARDS
from dashboards.boards.base import Board, as_dict, panels_of
from dashboards.datadog.conf import NAMESPACE
from dashboards.datadog.translate import Translation, parse, translate
from dashboards.panels import COUNT, PER_MINUTE
from dashboards.promql import without_end

# Panel → why it is left out, and where to look instead.
OMITTED = {
    "Jobs arriving and jobs taken": "no growth of a sum of maxima: compare *Time jobs waited for a worker* with "
    "*Jobs waiting*",
    "Share of workers that are busy": "no sum of maxima: see *Workers by state*",
    "Workers alive": "no sum of maxima: see *Workers by state*",
    "Time since the last event, by source": "no clock in a formula: the monitor SourceSilent watches it",
    "401 answers": "no largest of several shares: see *Requests rejected with 401*",
    "Restarts": "no number of changes: see *Restarts by process*",
    "Uptime by process": "no clock in a formula: the same metric says since when a process runs",
    "Scrape duration": "the Agent's own `datadog.agent` metrics and `agent status` show it",
}
MARKS = {"green": "ok", "yellow": "warning", "red": "error"}
PALETTES = {"green": "white_on_green", "yellow": "white_on_yellow", "red": "white_on_red"}
UNITS: dict[str, dict[str, str]] = {
    PER_MINUTE: {"per_unit_name": "minute"},
    "suffix:×": {},
    COUNT: {},
    "none": {},
    "s": {"unit_name": "second"},
    "bytes": {"unit_name": "byte"},
    "percentunit": {"unit_name": "fraction"},
}
# DataDog's own list of monitors stands in for these panels. The parts of composites have no severity.
ALERTS_SHOWN_AS = {"Alerts": "counts", "Alerts that fire": "countsAndList"}
ALERTS_QUERY = 'tag:"service:freshgate" AND (tag:"severity:page" OR tag:"severity:ticket")'
HEALTH_CHECK = f"{NAMESPACE}.openmetrics.health"


def build_dashboards() -> dict[str, dict[str, Any]]:
    """uid → a dashboard as DataDog's API takes it."""
    return {board.uid: build_dashboard(board) for board in BOARDS}


def build_dashboard(board: Board) -> dict[str, Any]:
    grafana = as_dict(board)
    groups: list[dict[str, Any]] = []
    for panel in panels_of(grafana):
        if panel["type"] == "row":
            groups.append({"title": panel["title"], "type": "group", "layout_type": "ordered", "widgets": []})
        elif panel["title"] not in OMITTED:
            groups[-1]["widgets"].append({"definition": build_widget(panel)})
    return {
        "title": board.title,
        "description": board.question,
        "layout_type": "ordered",
        "reflow_type": "auto",
        "template_variables": [{"name": name, "prefix": name, "defaults": ["*"]} for name in board.variables],
        "widgets": [{"definition": group} for group in groups],
    }


def build_widget(panel: Any) -> dict[str, Any]:
    """The widget's definition for one panel. Raises NotTranslatable."""
    title = {"title": panel["title"], "description": panel["description"]}
    if shown := ALERTS_SHOWN_AS.get(panel["title"]):
        return {**title, "type": "manage_status", "query": ALERTS_QUERY, "display_format": shown}
    if panel["title"] == "Processes up":
        check = {"check": HEALTH_CHECK, "grouping": "cluster", "group_by": ["process"], "tags": []}
        return {**title, "type": "check_status", **check}
    if panel["type"] == "heatmap":
        return {**title, "type": "heatmap", "requests": [_heat(panel)]}
    if panel["type"] == "stat":
        return {**title, **_numbers(panel)}
    if panel["type"] == "table":
        return {**title, **_table(panel)}
    stacked = panel["fieldConfig"]["defaults"]["custom"].get("stacking", {}).get("mode") == "normal"
    request = {**_request(panel), "response_format": "timeseries", "display_type": "area" if stacked else "line"}
    marks = [{"value": f"y = {at:g}", "display_type": f"{MARKS[color]} dashed"} for color, at in _limits(panel)]
    return {**title, "type": "timeseries", "requests": [request], "markers": marks, "show_legend": True}


def _numbers(panel: Any) -> dict[str, Any]:
    """One large number, or a table where there are several."""
    request = _request(panel)
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    # In Grafana the last step that is reached wins, in DataDog the first rule that holds.
    formats = [
        {**_rule(step.get("value"), steps), "palette": PALETTES[step["color"]]} for step in reversed(steps) if steps[1:]
    ]
    for formula in request["formulas"]:
        formula["conditional_formats"] = formats
    _aggregate(request)
    grouped = any(" by {" in query["query"] for query in request["queries"])
    widget_type = "query_table" if grouped or len(request["formulas"]) > 1 else "query_value"
    return {"type": widget_type, "requests": [{**request, "response_format": "scalar"}]}


def _table(panel: Any) -> dict[str, Any]:
    """A table with the columns of Grafana's, which names them by the letter of their query."""
    names = panel["transformations"][-1]["options"]["renameByName"]
    targets = [{**target, "legendFormat": names[f"Value #{target['refId']}"]} for target in panel["targets"]]
    request = _request({**panel, "targets": targets})
    _aggregate(request)
    return {"type": "query_table", "requests": [{**request, "response_format": "scalar"}]}


def _aggregate(request: dict[str, Any]) -> None:
    """How DataDog makes one number of each query: the sum of what is counted, or the newest value."""
    for query in request["queries"]:
        counted = query["query"].endswith("as_count()")
        query["aggregator"] = "sum" if counted else "avg" if query["query"].endswith("as_rate()") else "last"


def _rule(at: float | None, steps: Any) -> dict[str, Any]:
    if at is None:
        return {"comparator": "<", "value": steps[1]["value"]}
    return {"comparator": ">=", "value": at}


def _heat(panel: Any) -> dict[str, Any]:
    """The request of a heatmap, which shows the distribution itself."""
    (target,) = panel["targets"]
    median = translate(parse(f"histogram_quantile(0.5, {target['expr']})"))
    query = median.queries[0].replace("p50:", "histogram:")
    return {"request_type": "histogram", "query": {"data_source": "metrics", "name": "query1", "query": query}}


def _request(panel: Any) -> dict[str, Any]:
    """Queries and formulas of all targets; the numbering of queries continues from target to target."""
    queries: list[str] = []
    formulas = []
    number_format = _unit(panel["fieldConfig"]["defaults"]["unit"])
    for target in panel["targets"]:
        translation = translate(parse(without_end(target["expr"])), windows=True)
        formula = _renumbered(translation, len(queries))
        queries += translation.queries
        legend = target.get("legendFormat") or ""
        alias = {} if "{{" in legend or not legend else {"alias": legend}
        formulas.append({"formula": formula, **alias, **number_format})
    named = [{"data_source": "metrics", "name": f"query{at}", "query": query} for at, query in enumerate(queries, 1)]
    return {"queries": named, "formulas": formulas}


def _renumbered(translation: Translation, before: int) -> str:
    formula = translation.formula
    for number in range(len(translation.queries), 0, -1):
        formula = formula.replace(f"query{number}", f"query#{number + before}")
    return formula.replace("#", "")


def _unit(unit: str) -> dict[str, Any]:
    named = UNITS[unit]
    return {"number_format": {"unit": {"type": "canonical_unit", **named}}} if named else {}


def _limits(panel: Any) -> Iterator[tuple[str, float]]:
    for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]:
        if step.get("value") is not None:
            yield step["color"], step["value"]
