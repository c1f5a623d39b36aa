"""The boards as they are committed: generated, complete, readable, and asking only for series that exist.

`test_live.py` runs their expressions against a real Prometheus.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from dashboards import objective, promql
from dashboards.boards import BOARDS
from dashboards.boards.base import TAG, VARIABLES
from dashboards.generate import DASHBOARDS, files
from freshgate.telemetry import metrics
from tests.dashboards import expressions
from tests.dashboards.expressions import Expression

# Of Grafana's own units, those that the boards use (`test_units.py` asks Grafana's registry); `sec` would be shown as a
# mere number, and `percent` means 0 to 100.
UNITS = {"s", "short", "percentunit", "reqps", "ops", "bytes"}
GENERATED = ("grafana", "prometheus", "datadog")
PARTS = ("_bucket", "_sum", "_count")


def known() -> dict[str, set[str]]:
    """Series → labels, of all that we export, record, or get from elsewhere."""
    series: dict[str, set[str]] = {}
    ours = [one for one in vars(metrics).values() if hasattr(one, "describe") and not isinstance(one, type)]
    for metric in [*ours, *promql.FOREIGN, *objective.RECORDED]:
        name, labels = promql.name_of(metric), set(promql.labels_of(metric))
        series[name] = labels
        if name.endswith("_seconds"):
            series |= {name + "_bucket": labels | {"le"}, name + "_sum": labels, name + "_count": labels}
    return series


def unknown(text: str) -> list[str]:
    """Series that nobody exports, and labels that they do not have."""
    series = known()
    found = []
    read = expressions.selectors(text)
    for name, labels in read:
        if name not in series:
            found.append(name)
        else:
            found += sorted(labels - series[name] - {"job", "instance"})
    grouped = expressions.grouped_by(text)
    if not found and read:
        found += sorted(grouped - set().union(*(series[name] for name, _ in read)) - {"job", "instance"})
    return found


def faults(panel: Any) -> list[str]:
    """What a panel lacks."""
    told = []
    defaults = panel.get("fieldConfig", {}).get("defaults", {})
    if not panel.get("title"):
        told.append("no title")
    description = panel.get("description", "")
    if "?" not in description or "**When it is red:** " not in description:
        told.append("the description asks no question, or does not say what to do")
    if defaults.get("unit") not in UNITS:
        told.append(f"unit {defaults.get('unit')}")
    if not defaults.get("thresholds", {}).get("steps"):
        told.append("no thresholds")
    if panel.get("datasource", {}).get("uid") != "${datasource}":
        told.append("not the chosen data source")
    if not panel.get("targets"):
        told.append("no expression")
    for target in panel.get("targets", ()):
        for window in re.findall(r"\[([^\]]*)\]", target["expr"]):
            if window not in ("$__rate_interval", "$__range"):
                told.append(f"a fixed window of {window}")
        if target["datasource"]["uid"] != "${datasource}":
            told.append("an expression of another data source")
    return told


def outdated(folder: Path) -> set[str]:
    """Below dashboards/: files that are not as the code writes them, or that it does not write."""
    written = files()
    generated = {
        str(file.relative_to(folder)) for name in GENERATED for file in (folder / name).rglob("*") if file.is_file()
    }
    committed = {path for path in generated if not path.endswith((".py", ".pyc", ".md"))}
    same = {path for path in committed & set(written) if (folder / path).read_text(encoding="utf-8") == written[path]}
    return (committed | set(written)) - same


def test_what_is_committed_is_what_the_code_writes() -> None:
    assert outdated(DASHBOARDS) == set()


def test_a_board_that_was_edited_left_over_or_forgotten_is_noticed(tmp_path: Path) -> None:
    for path, text in files().items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    assert outdated(tmp_path) == set()
    (tmp_path / "grafana" / "freshgate-queues.json").write_text("{}", encoding="utf-8")
    (tmp_path / "grafana" / "freshgate-old.json").write_text("{}", encoding="utf-8")
    (tmp_path / "prometheus" / "rules.yml").unlink()
    assert outdated(tmp_path) == {"grafana/freshgate-queues.json", "grafana/freshgate-old.json", "prometheus/rules.yml"}


@pytest.mark.parametrize("uid", sorted(board.uid for board in BOARDS))
def test_every_panel_has_what_it_needs(uid: str) -> None:
    told = {panel["title"]: faults(panel) for panel in expressions.panels(expressions.boards()[uid])}
    assert {title: one for title, one in told.items() if one} == {}


def test_a_panel_that_lacks_something_is_noticed() -> None:
    (panel, *_) = expressions.panels(expressions.boards()["freshgate-queues"])
    assert faults(panel) == []
    changes: tuple[dict[str, Any], ...] = (
        {"title": ""},
        {"description": "A line."},
        {"targets": []},
        {"datasource": {"uid": "prometheus"}},
        {"fieldConfig": {"defaults": {"unit": "sec", "thresholds": {"steps": [1]}}}},
        {"fieldConfig": {"defaults": {"unit": "s"}}},
        {"targets": [{"expr": "rate(up[5m])", "datasource": {"uid": "${datasource}"}}]},
    )
    for change in changes:
        assert faults({**panel, **change}), change


def board_faults(uid: str, board: Any) -> list[str]:
    """What a board lacks as a whole."""
    told = []
    titles = [panel["title"] for panel in expressions.panels(board)]
    told += [f"two panels {title}" for title in {title for title in titles if titles.count(title) > 1}]
    if board["uid"] != uid or board["tags"] != [TAG]:
        told.append("another uid or tag")
    if board["editable"] is not False:
        told.append("can be edited, until the next release overwrites it")
    links = [(one["type"], one["tags"], one["includeVars"], one["keepTime"]) for one in board["links"]]
    if links != [("dashboards", [TAG], True, True)]:
        told.append("no links to the others that keep time and choice")
    return told + variable_faults(board) + overlaps(board)


def variable_faults(board: Any) -> list[str]:
    """dashboard-linter's rules on templates: the data source is one, and each asks anew when the time changes.

    Its rules that ask for `job` and `instance` are left out: dashboards/README.md says why.
    """
    text = json.dumps([panel["targets"] for panel in expressions.panels(board)])
    used = {name for name in VARIABLES if f"${name}" in text}
    variables = {one["name"]: one for one in board["templating"]["list"]}
    told = [f"variable {name} is not used, or not there" for name in set(variables) ^ {"datasource", *used}]
    source = variables.get("datasource", {})
    if (source.get("type"), source.get("query"), source.get("label")) != ("datasource", "prometheus", "Data source"):
        told.append("the data source cannot be chosen")
    for name in used & set(variables):
        one = variables[name]
        if one["refresh"] != 2:
            told.append(f"{name} does not change with the time")
        if (one["includeAll"], one["allValue"], one["multi"]) != (True, ".*", True):
            told.append(f"{name}: not all or several can be chosen")
        if one["datasource"]["uid"] != "${datasource}":
            told.append(f"{name} asks another data source")
        asked = re.fullmatch(r"label_values\((\w+), (\w+)\)", one["query"])
        if not asked or asked[2] not in known().get(asked[1], ()):
            told.append(f"{name} asks for a label that does not exist")
    return told


def overlaps(board: Any) -> list[str]:
    taken: set[tuple[int, int]] = set()
    told = []
    for panel in board["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        if at["x"] + at["w"] > 24 or cells & taken:
            told.append(f"{panel['title']} covers another, or leaves the board")
        taken |= cells
    return told


@pytest.mark.parametrize("uid", sorted(board.uid for board in BOARDS))
def test_each_board_is_sound_as_a_whole(uid: str) -> None:
    assert board_faults(uid, expressions.boards()[uid]) == []


def test_a_board_that_is_not_sound_is_noticed() -> None:
    uid = "freshgate-queues"
    board = expressions.boards()[uid]
    source, queue, *_ = board["templating"]["list"]
    first, second, *_ = [panel for panel in board["panels"] if panel["type"] != "row"]
    changes: tuple[dict[str, Any], ...] = (
        {"editable": True},
        {"uid": "another"},
        {"tags": []},
        {"links": []},
        {"panels": [first, {**second, "title": first["title"]}]},
        {"panels": [first, {**second, "gridPos": first["gridPos"]}]},
        {"panels": [{**first, "gridPos": {**first["gridPos"], "x": 20}}]},
        {"templating": {"list": [source]}},
        {"templating": {"list": [queue]}},
        {"templating": {"list": [{**source, "query": "loki"}, *board["templating"]["list"][1:]]}},
    )
    for change in changes:
        assert board_faults(uid, {**board, **change}), change
    for wrong in (
        {"refresh": 1},
        {"multi": False},
        {"allValue": ""},
        {"query": "label_values(freshgate_made_up, queue)"},
        {"query": "label_values(freshgate_queue_jobs, colour)"},
        {"datasource": {"uid": "prometheus"}},
    ):
        assert variable_faults({**board, "templating": {"list": [source, {**queue, **wrong}]}}), wrong


@pytest.mark.parametrize("one", expressions.everything(), ids=lambda one: one.where)
def test_every_expression_asks_for_series_that_exist(one: Expression) -> None:
    assert unknown(one.text) == []


def test_a_renamed_series_or_label_is_noticed() -> None:
    assert unknown("rate(freshgate_made_up_total[5m])") == ["freshgate_made_up_total"]
    assert unknown('rate(freshgate_sends_total{colour="red"}[5m])') == ["colour"]
    assert unknown("sum by (colour) (rate(freshgate_sends_total[5m]))") == ["colour"]
    assert unknown("rate(freshgate_gate_seconds_bucket[5m])") == []
    with pytest.raises(ValueError, match="."):
        unknown("sum by (")


@pytest.mark.parametrize("one", expressions.everything(), ids=lambda one: one.where)
def test_counters_are_read_as_rates(one: Expression) -> None:
    counters = {name for name in known() if name.endswith(("_total", *PARTS))}
    assert expressions.bare_counters(one.text, counters) == []


def test_a_bare_counter_is_noticed() -> None:
    counters = {"freshgate_sends_total"}
    assert expressions.bare_counters("sum(freshgate_sends_total)", counters) == ["freshgate_sends_total"]
    assert expressions.bare_counters("sum(rate(freshgate_sends_total[5m])) / 2", counters) == []


def test_a_label_that_a_metric_does_not_have_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="colour"):
        promql.selector(metrics.SENDS, colour="red")


def is_bound(le: str, histogram: Any) -> bool:
    return any(str(bound) == le for bound in histogram._kwargs["buckets"])


def test_the_objective_is_a_bound_of_its_histograms() -> None:
    for histogram in (metrics.RECEIVED_TO_ACCEPTED, metrics.OCCURRED_TO_ACCEPTED):
        assert is_bound(promql.OBJECTIVE_LE, histogram)
    assert not is_bound("5", metrics.RECEIVED_TO_ACCEPTED)
    assert not is_bound("5.0", metrics.GATE)


def not_shown(texts: Iterable[str]) -> list[str]:
    """Metrics of which no expression speaks."""
    read = {name for text in texts for name, _ in expressions.selectors(text)}
    bare = {re.sub("_(bucket|sum|count)$", "", name) for name in read}
    ours = [one for one in vars(metrics).values() if hasattr(one, "describe") and not isinstance(one, type)]
    return sorted({promql.name_of(metric) for metric in ours} - bare)


def test_every_metric_is_shown_or_alerted_on() -> None:
    texts = [one.text for one in expressions.everything()]
    assert not_shown(texts) == []
    assert not_shown(text for text in texts if "freshgate_holds" not in text) == ["freshgate_holds"]
