"""The documents for DataDog: they cover all boards and alerts, and query only metrics that DataDog's check reads.

`test_datadog_live.py` runs the check itself, and DataDog's own models over the JSON.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from dashboards.alerts import ALERTS
from dashboards.alerts.base import Alert
from dashboards.boards import BOARDS
from dashboards.boards.base import as_dict, panels_of
from dashboards.datadog import alerting
from dashboards.datadog.translate import NotTranslatable, parse, translate
from dashboards.datadog.widgets import OMITTED, build_widget
from dashboards.generate import DASHBOARDS
from tests.dashboards import expressions

FOLDER = DASHBOARDS / "datadog"
METRIC = re.compile(r"\b(?:avg|sum|max|min|histogram|p[0-9.]+):(freshgate\.[a-z_.]+)\{")
SENDS = 'freshgate_sends_total{outcome=~"dead|unknown",trigger=~"$trigger"}'


def documents(folder: str) -> dict[str, Any]:
    return {
        file.stem: json.loads(file.read_text(encoding="utf-8")) for file in sorted((FOLDER / folder).glob("*.json"))
    }


def metrics_of(document: Any) -> set[str]:
    """The metrics that a dashboard or monitor queries."""
    return set(METRIC.findall(json.dumps(document)))


def configured() -> dict[str, set[str]]:
    """Metric of the check's configuration, without `.count` and the like → the processes it is read from."""
    config = yaml.safe_load((FOLDER / "conf.d" / "openmetrics.d" / "conf.yaml").read_text(encoding="utf-8"))
    processes: dict[str, set[str]] = {}
    for instance in config["instances"]:
        for metric in instance["metrics"]:
            for name in metric.values():
                processes.setdefault(f"{instance['namespace']}.{name}", set()).add(instance["tags"][0])
    return processes


def widgets(board: Any) -> dict[str, Any]:
    """Title → definition of the widget."""
    definitions = [
        definition["definition"] for group in board["widgets"] for definition in group["definition"]["widgets"]
    ]
    return {definition["title"]: definition for definition in definitions}


@pytest.mark.parametrize(
    ("expr", "formula", "queries"),
    [
        (
            f"sum by (esp) (rate({SENDS}[$__rate_interval]))",
            "query1",
            ["sum:freshgate.sends.count{outcome IN (dead,unknown) AND $trigger} by {esp}.as_rate()"],
        ),
        ("max(freshgate_holds)", "query1", ["max:freshgate.holds{*}"]),
        (
            "histogram_quantile(0.95, sum by (le, source) (rate(freshgate_read_seconds_bucket[$__rate_interval])))",
            "query1",
            ["p95:freshgate.read_seconds{*} by {source}"],
        ),
        (
            'sum(increase(freshgate_received_to_accepted_seconds_bucket{le="5.0"}[$__range]))'
            " / (sum(increase(freshgate_received_to_accepted_seconds_count[$__range])) > 0)",
            "query1 / query2",
            [
                "sum:freshgate.received_to_accepted_seconds.by_bound.bucket{upper_bound:5.0}.as_count()",
                "sum:freshgate.received_to_accepted_seconds.count{*}.as_count()",
            ],
        ),
        (
            'sum by (queue) (max by (queue, state) (freshgate_workers{state=~"idle|busy"}))',
            "query1 + query2",
            ["max:freshgate.workers{state:idle} by {queue}", "max:freshgate.workers{state:busy} by {queue}"],
        ),
        (
            "max(freshgate_holds) / ((max(freshgate_holds) + 1) * (max(freshgate_holds) + 2))",
            "query1 / ((query2 + 1) * (query3 + 2))",
            ["max:freshgate.holds{*}"] * 3,
        ),
        (
            "sum by (job) (rate(freshgate_spans_lost_total[$__rate_interval]))",
            "query1",
            ["sum:freshgate.spans_lost.count{*} by {process}.as_rate()"],
        ),
        (
            'sum(rate(freshgate_receiver_http_request_total{status=~"5.."}[1h]))',
            "moving_rollup(query1, 3600, 'sum')",
            ["sum:freshgate.receiver_http_request.count{status:5*}.as_count()"],
        ),
        (
            "(max(max_over_time(freshgate_sends_late[2m])) and max(freshgate_sends_late))",
            "(moving_rollup(query1, 120, 'max'))",
            ["max:freshgate.sends_late{*}"],
        ),
        (
            "max by (process, instance) (changes(freshgate_process_start_time_seconds[$__rate_interval]))",
            "clamp_max(diff(query1), 1)",
            ["max:freshgate.process_start_time_seconds{*} by {freshgate_process,host}"],
        ),
    ],
)
def test_an_expression_means_the_same_there(expr: str, formula: str, queries: list[str]) -> None:
    translation = translate(parse(expr), windows=True)
    assert (translation.formula, translation.queries) == (formula, queries)


@pytest.mark.parametrize(
    "expr",
    [
        "time() - max(freshgate_last_event_timestamp_seconds)",
        "max(deriv(freshgate_queue_jobs[5m]))",
        "max(scrape_duration_seconds)",
        "max(freshgate_made_up)",
        "sum(max by (queue) (freshgate_queue_jobs))",
        'sum(rate(freshgate_sends_total{outcome!="sent"}[5m]))',
        "sum(increase(freshgate_sends_total[1h] offset 2d))",
        "max(freshgate_holds) == 1",
        "max(freshgate_holds) / (max(freshgate_timers_waiting) > 20)",
        "max without (job) (freshgate_holds)",
        "max by (queue) (freshgate_queue_jobs) / on (queue) max by (queue) (freshgate_queue_jobs)",
        "sum(rate(freshgate_holds[5m]))",
        # A number of changes: the newest value of a query says nothing of them.
        "max(changes(freshgate_process_start_time_seconds[$__range]))",
        'max(freshgate_queue_jobs{queue=~"a.*b"})',
    ],
)
def test_what_datadog_cannot_say_is_refused_and_never_guessed(expr: str) -> None:
    with pytest.raises(NotTranslatable):
        translate(parse(expr))


@pytest.mark.parametrize("folder", ["boards", "monitors"])
def test_no_query_asks_for_a_tag_that_prometheus_alone_has(folder: str) -> None:
    grouped = {
        tag for tags in re.findall(r" by \{([a-z_,]*)\}", json.dumps(documents(folder))) for tag in tags.split(",")
    }
    assert {"trigger", "source"} <= grouped
    assert not grouped & {"job", "instance", "le"}


def test_every_panel_is_there_or_is_said_to_be_missing() -> None:
    for uid, board in documents("boards").items():
        titles = set(widgets(board))
        panels = {panel["title"] for panel in expressions.panels(expressions.boards()[uid])}
        assert panels - titles == panels & set(OMITTED)
        assert titles <= panels
    all_titles = {panel["title"] for board in expressions.boards().values() for panel in expressions.panels(board)}
    assert set(OMITTED) <= all_titles


def test_what_is_said_to_be_missing_cannot_be_said() -> None:
    panels = [panel for board in BOARDS for panel in panels_of(as_dict(board)) if panel["title"] in OMITTED]
    assert len(panels) == len(OMITTED)
    for panel in panels:
        with pytest.raises(NotTranslatable):
            build_widget(panel)


def test_limits_and_units_are_the_boards() -> None:
    shown = widgets(documents("boards")["freshgate-queues"])
    age = shown["Age of the oldest job"]
    assert age["markers"] == [
        {"value": "y = 1", "display_type": "warning dashed"},
        {"value": "y = 2.5", "display_type": "error dashed"},
    ]
    assert age["requests"][0]["formulas"][0]["number_format"]["unit"]["unit_name"] == "second"
    fit = shown["Redis is safe for state (each must be 1)"]["requests"][0]["formulas"]
    assert [formula["alias"] for formula in fit] == [
        "answers",
        "append-only file on",
        "last write succeeded",
        "no eviction",
    ]
    assert [rule["palette"] for rule in fit[0]["conditional_formats"]] == ["white_on_green", "white_on_red"]


def test_every_alert_is_a_monitor_or_is_said_to_be_missing() -> None:
    names = {alert.name for alerts in ALERTS.values() for alert in alerts}
    assert set(documents("monitors")) | set(alerting.OMITTED) == names
    assert not set(documents("monitors")) & set(alerting.OMITTED)
    monitors = [monitor for group in documents("monitors").values() for monitor in group]
    assert len({monitor["name"] for monitor in monitors}) == len(monitors)
    for monitor in monitors:
        severities = [tag for tag in monitor["tags"] if tag.startswith("severity:")]
        assert bool(severities) != any(tag.startswith("part_of:") for tag in monitor["tags"])
        assert "$" not in monitor["query"] + monitor["message"]


def all_monitors() -> list[Any]:
    return [monitor for group in documents("monitors").values() for monitor in group]


def test_a_monitors_window_is_one_that_the_api_takes() -> None:
    """docs.datadoghq.com/api/latest/monitors: minutes to 10080, hours to 168, and of days only one."""
    windows = {window for monitor in all_monitors() for window in re.findall(r"\(last_(\w+)\):", monitor["query"])}
    assert {"1m", "30m", "72h"} <= windows
    largest = {"m": 10_080, "h": 168}
    assert [window for window in windows if not 1 <= int(window[:-1]) <= largest.get(window[-1], 0)] == []
    with pytest.raises(NotTranslatable):
        queries("max(max_over_time(freshgate_holds[200h])) > 1")


def test_a_monitor_adds_no_present_value_to_what_it_counts() -> None:
    """It sums each query over its window before it adds them: a gauge of 10 would count hundreds of times."""
    for monitor in all_monitors():
        asked = METRIC.findall(monitor["query"])
        assert monitor["query"].count(".as_count()") in (0, len(asked)), monitor["name"]
        # A rollup looks at the monitor's own window only.
        assert "moving_rollup" not in monitor["query"], monitor["name"]
    late = "(max(max_over_time(freshgate_sends_late[2m])) and max(freshgate_sends_late)) > 10"
    assert queries(late, "1m") == ["max(last_2m):max:freshgate.sends_late{*} > 10"]
    assert queries(late, "10m") == ["max(last_10m):max:freshgate.sends_late{*} > 10"]
    burning = next(monitor for monitor in all_monitors() if monitor["name"] == "Freshgate: MailsLate part 1")
    assert "sends_late" not in burning["query"]


def test_the_boards_list_the_monitors_that_notify_somebody() -> None:
    """docs.datadoghq.com/monitors/manage/search: any tag is searched as `tag:`, quoted because of its colon."""
    for board in documents("boards").values():
        asked = {widget["query"] for widget in widgets(board).values() if widget["type"] == "manage_status"}
        assert asked == {'tag:"service:freshgate" AND (tag:"severity:page" OR tag:"severity:ticket")'}
    severities = {tag for monitor in all_monitors() for tag in monitor["tags"] if tag.startswith("severity:")}
    assert severities == {"severity:page", "severity:ticket"}


def test_a_board_begins_with_all_values_of_its_variables() -> None:
    """`default` is deprecated."""
    for board in (*documents("boards").values(), documents("logs")["board"]):
        assert [
            variable for variable in board["template_variables"] if set(variable) != {"name", "prefix", "defaults"}
        ] == []


def test_the_pipeline_reads_the_fields_of_our_lines() -> None:
    processors = {at["type"]: at["sources"] for at in documents("logs")["pipeline"]["processors"]}
    assert processors == {
        "date-remapper": ["ts"],
        "status-remapper": ["level"],
        "message-remapper": ["event"],
        "trace-id-remapper": ["trace_id"],
        "span-id-remapper": ["span_id"],
    }


def test_the_parts_of_a_composite_come_before_it() -> None:
    for monitors in documents("monitors").values():
        known: set[str] = set()
        for monitor in monitors:
            assert set(re.findall(r"\{\{id:([^}]*)\}\}", monitor["query"])) <= known
            known.add(monitor["name"].removeprefix("Freshgate: "))


def queries(expr: str, pending: str = "0s") -> list[str]:
    return [
        monitor["query"] for monitor in alerting.build_monitors(Alert("A", "page", expr, "It is so.", pending=pending))
    ]


def test_conditions_keep_their_windows_guards_and_joins() -> None:
    sent = "sum by (trigger) (increase(freshgate_sends_total[1h]))"
    count = "sum:freshgate.sends.count{*} by {trigger}.as_count()"
    assert queries(f"{sent} / ({sent} > 20) > 0.05") == [
        f"sum(last_1h):{count} / {count} > 0.05",
        f"sum(last_1h):{count} > 20",
        "{{id:A part 1}} && {{id:A part 2}}",
    ]
    assert queries("max(freshgate_holds) > 0", "1h") == ["min(last_1h):max:freshgate.holds{*} > 0"]
    assert queries("min(freshgate_redis_up) == 0") == ["max(last_1m):min:freshgate.redis_up{*} <= 0"]
    assert queries("max(freshgate_queue_jobs) > 0 unless on () sum(rate(freshgate_queue_wait_seconds_count[2m])) > 0")[
        -1
    ] == ("{{id:A part 1}} && !{{id:A part 2}}")
    started = "freshgate_process_start_time_seconds"
    assert queries(f"max by (job) (changes({started}[30m])) > 3") == [
        f"sum(last_30m):clamp_max(diff(max:{started.replace('_', '.', 1)}{{*}} by {{process}}), 1) > 3"
    ]
    assert "week_before(" in queries(f"{sent} < 0.1 * ({sent.replace('[1h]', '[1h] offset 1w')} > 20)")[0]


def test_a_text_names_the_tags_that_the_labels_have_there() -> None:
    labels = "{{ $labels.process }} of {{ $labels.job }} at {{ $labels.instance }}: {{ $labels.esp }}"
    (monitor,) = alerting.build_monitors(Alert("A", "page", "max(freshgate_holds) > 0", labels))
    text = "{{freshgate_process.name}} of {{process.name}} at {{host.name}}: {{esp.name}}"
    assert monitor["message"].startswith(text)


def test_what_excludes_on_nothing_is_asked_over_all_its_tags_and_as_a_whole() -> None:
    sent = "sum by (trigger) (increase(freshgate_sends_total[1h]))"
    now, week_ago = (f"sum by (source) (increase(freshgate_events_total[2h]{offset}))" for offset in ("", " offset 1w"))
    silent = f"{now} < 0.1 * ({week_ago} > 100)"
    *parts, whole = queries(f"{sent} > 5 and on () max(freshgate_holds) > 0 unless on () {silent}")
    assert whole == "{{id:A part 1}} && {{id:A part 2}} && !({{id:A part 3}} && {{id:A part 4}})"
    assert [" by {" in part for part in parts] == [True, False, False, False]


def test_an_alert_that_is_no_condition_is_refused() -> None:
    with pytest.raises(NotTranslatable):
        queries("max(freshgate_holds)")


def test_every_metric_that_is_asked_for_is_configured() -> None:
    known = set(configured())
    for folder in ("boards", "monitors"):
        for name, document in documents(folder).items():
            bare = {re.sub(r"\.(count|bucket)$", "", metric) for metric in metrics_of(document)}
            assert bare - known == set(), name
    assert metrics_of({"q": "max:freshgate.made_up{*}"}) - known == {"freshgate.made_up"}
